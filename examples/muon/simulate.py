"""A seeded simulation of a muon trigger chamber, and the test tracks of this example.

Seven gas gaps of 50 channels stand in three stations of 3, 2 and 2 gaps (layout of arXiv 2202.04976). The geometry is
projective: a straight line from the interaction point crosses the same channel number everywhere, so only a deflected
track walks across channels. Run `python -m examples.muon.simulate` to write `data.npz` again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Hits = NDArray[np.uint8]

HERE: Final = Path(__file__).resolve().parent
BLOCK: Final = 10_000
"""Tracks drawn from one random stream; a longer sample starts with the same tracks as a shorter one."""

TRAIN_SEED: Final = 1
VALIDATION_SEED: Final = 2
TEST_SEED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Chamber:
    """Geometry, material and read-out of the chamber; lengths in mm, angles in mrad, momenta in GeV.

    "Paper" is arXiv 2202.04976; "assumed" marks a choice of this example, made before any network was trained.
    """

    gap_z_mm: tuple[float, ...] = (13500.0, 13525.0, 13550.0, 14450.0, 14475.0, 14975.0, 15000.0)
    """Distance of each gap from the interaction point. Paper: 1.5 m from first to last; the rest assumed."""
    stations: tuple[int, ...] = (3, 2, 2)
    """Gaps per station (paper)."""
    channels: int = 50
    """Channels per gap (paper)."""
    first_width_mm: float = 18.0
    """Channel width in the first gap; it grows with z to 20 mm in the last one (paper: 18 to 20 mm)."""
    stagger: tuple[float, ...] = (-1 / 3, 0.0, 1 / 3, -1 / 4, 1 / 4, -1 / 4, 1 / 4)
    """Shift of each gap in channel widths: thirds in a triplet, halves in a doublet (staggered wires; assumed)."""
    inner_edge_mm: float = 2000.0
    """Radius of channel 0's lower edge in the first gap, before the stagger (assumed; an end-cap chamber)."""
    margin_channels: float = 4.0
    """Tracks cross the reference plane at least this far from the edges, so that none leaves the chamber at 4 sigma
    and the deflection stays independent of the position (assumed)."""
    deflection_mrad: float = 16.0
    """Standard deviation of the Gaussian deflection (issue: RMS of at least 15 mrad)."""
    momentum_min_gev: float = 4.0
    """Softest muon at the chamber (assumed: a low threshold of a first-level muon trigger)."""
    momentum_max_gev: float = 200.0
    """Hardest muon (assumed; scattering is negligible beyond)."""
    momentum_index: float = 3.0
    """The spectrum falls as momentum to the power of minus this (assumed; typical of prompt muons)."""
    radiation_lengths: float = 0.04
    """Material of one gap, at normal incidence, in radiation lengths (assumed: glass-epoxy, copper, honeycomb)."""
    inefficiency: float = 0.03
    """Probability that a gap sees nothing of a muon (assumed: wire supports and dead time; 97 % efficient)."""
    sharing_mm: float = 1.0
    """The neighbour fires too with probability exp(-distance to the shared edge / this): a tenth of the hits are
    doubled (assumed; below the wire pitch of 1.8 mm)."""
    noise: float = 1e-3
    """Probability that a channel fires by itself in one bunch crossing (assumed: some 100 Hz/cm2 of background over a
    wire channel of 200 cm2 and two crossings of 25 ns)."""

    def clean(self) -> Chamber:
        """The same chamber with every gap firing exactly one channel; the material stays."""
        return _clean(self)

    def z_mm(self) -> Floats:
        return np.asarray(self.gap_z_mm)

    def reference_z_mm(self) -> float:
        """The plane at which a track's position is defined: half way between the first and the last gap."""
        return (self.gap_z_mm[0] + self.gap_z_mm[-1]) / 2

    def widths_mm(self) -> Floats:
        """Channel width of each gap, shape (gaps,)."""
        return self.first_width_mm * self.z_mm() / self.gap_z_mm[0]

    def edges_mm(self) -> Floats:
        """Lower edge of channel 0 of each gap, shape (gaps,)."""
        return self.inner_edge_mm * self.z_mm() / self.gap_z_mm[0] + np.asarray(self.stagger) * self.widths_mm()

    def centres_mm(self) -> Floats:
        """Centre of every channel, shape (gaps, channels)."""
        return self.edges_mm()[:, None] + (np.arange(self.channels) + 0.5) * self.widths_mm()[:, None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tracks:
    """Hits (tracks, gaps, channels) as 0 or 1, and the deflection of each track at the first gap in mrad."""

    hits: Hits
    deflection_mrad: Floats

    def __len__(self) -> int:
        return len(self.deflection_mrad)


def _clean(chamber: Chamber) -> Chamber:
    from dataclasses import replace

    return replace(chamber, inefficiency=0.0, sharing_mm=0.0, noise=0.0)


def highland_mrad(momentum_gev: Floats, radiation_lengths: Floats) -> Floats:
    """RMS of the projected scattering angle in mrad (Highland's formula, Review of Particle Physics, beta = 1)."""
    return 13.6 / momentum_gev * np.sqrt(radiation_lengths) * (1 + 0.038 * np.log(radiation_lengths))


def draw_momenta(chamber: Chamber, tracks: int, rng: np.random.Generator) -> Floats:
    """Momenta in GeV from the falling power law, by inverting its cumulative distribution."""
    power = 1 - chamber.momentum_index
    low, high = chamber.momentum_min_gev**power, chamber.momentum_max_gev**power
    drawn: Floats = (low + rng.random(tracks) * (high - low)) ** (1 / power)
    return drawn


def draw_crossings(chamber: Chamber, tracks: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Where each track crosses each gap, (tracks, gaps) in mm, and its deflection in mrad.

    The deflection is the angle between the track and the line from the interaction point to its crossing of the
    reference plane; scattering in each gap turns the track for the gaps behind it.
    """
    z, plane = chamber.z_mm(), chamber.reference_z_mm()
    scale = plane / chamber.gap_z_mm[0]
    position = rng.uniform(chamber.margin_channels, chamber.channels - chamber.margin_channels, tracks)
    radius = (chamber.inner_edge_mm + position * chamber.first_width_mm) * scale
    deflection = rng.normal(0.0, chamber.deflection_mrad, tracks)
    angle = np.arctan2(radius, plane) + deflection * 1e-3
    crossings = radius[:, None] + np.tan(angle)[:, None] * (z - plane)
    path = chamber.radiation_lengths / np.cos(angle)
    kick = highland_mrad(draw_momenta(chamber, tracks, rng), path) * 1e-3
    for gap in range(len(z) - 1):
        turned = np.tan(angle + kick * rng.standard_normal(tracks)) - np.tan(angle)
        crossings[:, gap + 1 :] += turned[:, None] * (z[gap + 1 :] - z[gap])
    return crossings, deflection


def fire_channels(chamber: Chamber, crossings: Floats, rng: np.random.Generator) -> Hits:
    """Hits (tracks, gaps, channels) of the crossings, with inefficiency, charge sharing and noise."""
    tracks, gaps = crossings.shape
    # One channel more on each side catches what falls outside of the chamber.
    hits = np.zeros((tracks, gaps, chamber.channels + 2), np.uint8)
    place = (crossings - chamber.edges_mm()) / chamber.widths_mm()
    channel = np.clip(np.floor(place).astype(np.int64) + 1, 0, chamber.channels + 1)
    seen = rng.random((tracks, gaps)) >= chamber.inefficiency
    row, gap = np.nonzero(seen)
    hits[row, gap, channel[seen]] = 1
    fraction = place - np.floor(place)
    distance = np.minimum(fraction, 1 - fraction) * chamber.widths_mm()
    # A range of zero turns sharing off: no crossing lies nearer than the smallest positive double.
    reach = max(chamber.sharing_mm, float(np.finfo(np.float64).tiny))
    with np.errstate(over="ignore"):
        shared = seen & (rng.random((tracks, gaps)) < np.exp(-distance / reach))
    row, gap = np.nonzero(shared)
    neighbour = channel + np.where(fraction < 0.5, -1, 1)
    hits[row, gap, np.clip(neighbour[shared], 0, chamber.channels + 1)] = 1
    inside = np.ascontiguousarray(hits[:, :, 1:-1])
    inside.reshape(-1)[rng.integers(0, inside.size, rng.binomial(inside.size, chamber.noise))] = 1
    return inside


def simulate(tracks: int, seed: int, chamber: Chamber | None = None) -> Tracks:
    """`tracks` tracks of a chamber (the realistic default one if none is given), drawn from the seed."""
    chamber = Chamber() if chamber is None else chamber
    hits, deflections = [], []
    for block in range(-(-tracks // BLOCK)):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))
        crossings, deflection = draw_crossings(chamber, BLOCK, rng)
        hits.append(fire_channels(chamber, crossings, rng))
        deflections.append(deflection)
    return Tracks(hits=np.concatenate(hits)[:tracks], deflection_mrad=np.concatenate(deflections)[:tracks])


def rms_below(difference_mrad: Floats, limit_mrad: float = 30.0) -> tuple[float, float]:
    """Root mean square of the differences below the limit, and the fraction kept (metric of arXiv 2202.04976)."""
    kept = difference_mrad[np.abs(difference_mrad) < limit_mrad]
    return float(np.sqrt(np.mean(kept**2))), len(kept) / len(difference_mrad)


def write_data(path: Path) -> None:
    """Write the first block of test tracks: x uint8 (10000, 7, 50), y float64 in mrad."""
    test = simulate(BLOCK, TEST_SEED)
    np.savez_compressed(path, x=test.hits, y=test.deflection_mrad)


if __name__ == "__main__":
    write_data(HERE / "data.npz")
