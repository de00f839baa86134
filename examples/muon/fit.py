"""The bound beside the networks: a least-squares line through one hit per gap, and the position-only predictor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.muon.simulate import Chamber, Floats, Hits, Tracks, rms_below

Flags = NDArray[np.bool_]

CHUNK: Final = 20_000
"""Tracks whose hypotheses are held in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Parameters of the fit; `tune` finds the three free ones on training tracks."""

    sigma_widths: float = 0.30
    """Spread of a residual in channel widths, for the cut and the choice between hypotheses."""
    drop_cost: float = 4.0
    """Added to a hypothesis' chi2 for each gap it dropped."""
    triplet_weight: float = 1.0
    """Weight of a hit in the triplet against one in a doublet."""
    cut_sigmas: float = 3.0
    """The worst residual beyond this is dropped."""
    min_gaps: int = 5
    """Gaps that dropping must leave."""
    merge_neighbours: bool = False
    """Take a run of neighbouring hits as one hit in its middle instead of choosing one of them: a stronger rival."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hypotheses:
    """One hit per gap: the track of each hypothesis, positions (n, gaps) in mm, and which gaps have a hit at all."""

    track: NDArray[np.int64]
    position_mm: Floats
    used: Flags


def candidates(hits: Hits, chamber: Chamber, merge: bool) -> tuple[NDArray[np.int64], Floats]:
    """Positions to choose from: their count (tracks, gaps), and all of them in mm, by track, gap and channel."""
    if not merge:
        _, gap, channel = np.nonzero(hits)
        return hits.sum(axis=2, dtype=np.int64), chamber.centres_mm()[gap, channel]
    steps = np.diff(hits.astype(np.int8), axis=2, prepend=0, append=0)
    _, gap, first = np.nonzero(steps == 1)
    _, _, end = np.nonzero(steps == -1)
    centres = chamber.centres_mm()
    return (steps == 1).sum(axis=2, dtype=np.int64), (centres[gap, first] + centres[gap, end - 1]) / 2


def list_hypotheses(hits: Hits, chamber: Chamber, merge: bool = False) -> Hypotheses:
    """Every choice of a single hit per gap, for all tracks at once (gaps without a hit are left out)."""
    tracks, gaps, _ = hits.shape
    count, position_of = candidates(hits, chamber, merge)
    first = np.concatenate(([0], np.cumsum(count.reshape(-1))[:-1])).reshape(tracks, gaps)
    choices = np.maximum(count, 1)
    total = choices.prod(axis=1)
    track = np.repeat(np.arange(tracks), total)
    rest = np.arange(total.sum()) - np.repeat(np.cumsum(total) - total, total)
    position = np.zeros((len(track), gaps))
    for gap in range(gaps):
        rest, pick = np.divmod(rest, choices[track, gap])
        index = np.minimum(first[track, gap] + pick, len(position_of) - 1)
        position[:, gap] = position_of[index]
    return Hypotheses(track=track, position_mm=position, used=count[track] > 0)


def fit_lines(position_mm: Floats, weight: Floats, z_mm: Floats) -> tuple[Floats, Floats]:
    """Weighted least squares of lines through positions (n, gaps): value at z = 0 and slope, each (n,).

    Fewer than two used gaps give slope 0.
    """
    total = weight.sum(axis=1)
    total = np.where(total > 0, total, 1.0)
    mean_z = weight @ z_mm / total
    mean_x = np.einsum("ng,ng->n", weight, position_mm) / total
    spread = weight @ z_mm**2 - total * mean_z**2
    covariance = np.einsum("ng,ng->n", weight, position_mm * z_mm) - total * mean_z * mean_x
    enough = spread > 1.0
    slope = np.where(enough, covariance / np.where(enough, spread, 1.0), 0.0)
    return mean_x - slope * mean_z, slope


def fit_hypotheses(hypotheses: Hypotheses, chamber: Chamber, options: FitOptions) -> tuple[Floats, Floats]:
    """Deflection in mrad and cost (chi2 with the price of dropped gaps) of each hypothesis."""
    z = chamber.z_mm() - chamber.reference_z_mm()
    sigma = options.sigma_widths * chamber.widths_mm()
    prior = np.ones(len(z))
    prior[: chamber.stations[0]] = options.triplet_weight
    used = hypotheses.used.copy()
    cost = np.zeros(len(used))
    centre, slope = fit_lines(hypotheses.position_mm, used * prior, z)
    for _ in range(len(z) - options.min_gaps):
        pull = np.abs(hypotheses.position_mm - centre[:, None] - slope[:, None] * z) / sigma * used
        worst = pull.argmax(axis=1)
        drop = np.flatnonzero((pull.max(axis=1) > options.cut_sigmas) & (used.sum(axis=1) > options.min_gaps))
        used[drop, worst[drop]] = False
        cost[drop] += options.drop_cost
        centre[drop], slope[drop] = fit_lines(hypotheses.position_mm[drop], used[drop] * prior, z)
    pull = (hypotheses.position_mm - centre[:, None] - slope[:, None] * z) / sigma * used
    cost += (pull**2 * prior).sum(axis=1)
    deflection = np.arctan(slope) - np.arctan2(centre, chamber.reference_z_mm())
    return deflection * 1e3, cost


def choose_best(track: NDArray[np.int64], cost: Floats, deflection: Floats) -> Floats:
    """The deflection of the cheapest hypothesis of each track; `track` is sorted and names every track."""
    order = np.lexsort((cost, track))
    first = np.flatnonzero(np.diff(track[order], prepend=-1))
    return deflection[order[first]]


def fit_deflection(hits: Hits, chamber: Chamber, options: FitOptions) -> Floats:
    """Deflection in mrad of each track of hits (tracks, gaps, channels); 0 without two gaps to join."""
    found = []
    for start in range(0, len(hits), CHUNK):
        hypotheses = list_hypotheses(hits[start : start + CHUNK], chamber, options.merge_neighbours)
        deflection, cost = fit_hypotheses(hypotheses, chamber, options)
        deflection[hypotheses.used.sum(axis=1) < 2] = 0.0
        found.append(choose_best(hypotheses.track, cost, deflection))
    return np.concatenate(found)


def tune(tracks: Tracks, chamber: Chamber, start: FitOptions | None = None) -> FitOptions:
    """The options with the smallest RMS below 30 mrad on the tracks; one parameter after the other, twice."""

    def loss(options: FitOptions) -> float:
        return rms_below(fit_deflection(tracks.hits, chamber, options) - tracks.deflection_mrad)[0]

    best = FitOptions() if start is None else start
    for _ in range(2):
        best = min((replace(best, sigma_widths=value) for value in np.linspace(0.16, 0.44, 15).tolist()), key=loss)
        best = min((replace(best, drop_cost=float(value)) for value in range(0, 21, 2)), key=loss)
        best = min((replace(best, triplet_weight=value) for value in (0.7, 1.0, 1.4, 2.0, 2.8)), key=loss)
    return best


def predict_from_position(train: Tracks, hits: Hits, chamber: Chamber) -> Floats:
    """The mean deflection of the training tracks at the same position: what the geometry alone gives away, in mrad."""

    def position(hits: Hits) -> NDArray[np.int64]:
        count = np.maximum(hits.sum(axis=(1, 2), dtype=np.int64), 1)
        mean: NDArray[np.int64] = hits.sum(axis=1, dtype=np.int64) @ np.arange(chamber.channels) // count
        return mean

    where = position(train.hits)
    total = np.bincount(where, weights=train.deflection_mrad, minlength=chamber.channels)
    mean: Floats = total / np.maximum(np.bincount(where, minlength=chamber.channels), 1)
    return mean[position(hits)]
