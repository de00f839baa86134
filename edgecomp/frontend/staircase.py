"""A chain on a bounded interval as a staircase: what it is on every integer, found by bisection and proven exactly.

A staircase is the chain itself on the integers of the interval: value[i] from threshold[i - 1] on.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.evaluate import codes
from edgecomp.frontend.functions import Affine, Chain, Clip, Mode, Round, entry, monotone, turning_point

Codes = NDArray[np.int64]

ENUMERATE = 1 << 13  # an interval up to this long is evaluated at every integer
ENUMERATE_WAVY = 1 << 20  # the same where a chain has no known turning points


@dataclass(frozen=True, slots=True, kw_only=True)
class Staircase:
    """One channel's map on lo..hi: values[number of thresholds <= x]; neighbouring values differ."""

    lo: int
    hi: int
    thresholds: Codes
    values: Codes


def _runs(xs: Codes, ys: Codes) -> tuple[Codes, Codes]:
    edges = np.flatnonzero(np.diff(ys)) + 1
    return xs[edges], ys[np.concatenate([[0], edges])]


def _at(chain: Chain, channel: int, xs: Codes) -> Codes:
    return codes(chain, xs, np.full(len(xs), channel, dtype=np.int64))


def _bisect(chain: Chain, channel: int, lo: int, hi: int, sign: int) -> tuple[Codes, Codes]:
    """Thresholds and values of a monotone piece, by bisection for every code at once."""
    first, last = (int(v) for v in _at(chain, channel, np.array([lo, hi], dtype=np.int64)))
    if hi - lo < 4 * abs(last - first):  # more codes than integers: many would be bisected in vain
        xs = np.arange(lo, hi + 1, dtype=np.int64)
        return _runs(xs, _at(chain, channel, xs))
    wanted = np.arange(first + sign, last + sign, sign, dtype=np.int64)
    below = np.full(len(wanted), lo, dtype=np.int64)  # the code is not yet reached here
    reached = np.full(len(wanted), hi, dtype=np.int64)
    guess = _guess(chain, channel, wanted, lo, hi)
    for offset in (0, -1, 1) if guess is not None else ():
        assert guess is not None
        probe = np.clip(guess + offset, below + 1, np.maximum(reached - 1, below + 1))
        probe = np.minimum(probe, reached)
        ok = sign * (_at(chain, channel, probe) - wanted) >= 0
        reached, below = np.where(ok, probe, reached), np.where(ok, below, probe)
    while True:
        open_ = np.flatnonzero(reached - below > 1)
        if not len(open_):
            break
        middle = (below[open_] + reached[open_]) // 2
        ok = sign * (_at(chain, channel, middle) - wanted[open_]) >= 0
        reached[open_] = np.where(ok, middle, reached[open_])
        below[open_] = np.where(ok, below[open_], middle)
    thresholds, index = np.unique(reached, return_index=True)
    counts = np.diff(np.append(index, len(reached)))
    values = np.concatenate([[first], wanted[index + counts - 1]])
    return thresholds, values


def slope(chain: Chain, channel: int) -> Fraction | None:
    """The slope of a chain whose only operations are affine maps, clips and one rounding at the end; else None."""
    a = Fraction(1)
    rounded = False
    for op in chain:
        match op:
            case Affine():
                if rounded and entry(op.a, channel) not in (1, -1):
                    return None
                a *= entry(op.a, channel)
            case Clip():
                pass
            case Round():
                if rounded:
                    return None
                rounded = True
            case _:
                return None
    return a


def _guess(chain: Chain, channel: int, wanted: Codes, lo: int, hi: int) -> Codes | None:
    """Where an affine chain should reach each wanted code: right to within one nearly always, and checked by all."""
    a = slope(chain, channel)
    if a is None or a == 0 or len(wanted) < 2:
        return None
    middle = np.array([wanted[len(wanted) // 2]])
    x, y = lo, hi
    first = int(_at(chain, channel, np.array([lo], dtype=np.int64))[0])
    sign = 1 if wanted[-1] > first else -1
    while y - x > 1:  # one threshold by plain bisection anchors the line
        half = (x + y) // 2
        reached = sign * (_at(chain, channel, np.array([half], dtype=np.int64)) - middle)[0] >= 0
        x, y = (x, half) if reached else (half, y)
    line = y + (wanted - middle).astype(np.float64) / float(a)
    guess: Codes = np.clip(np.rint(line), lo + 1, hi).astype(np.int64)
    return guess


def _split(chain: Chain, channel: int, lo: int, hi: int) -> list[tuple[int, int]] | None:
    """Pieces of lo..hi on which the chain is monotone; None where its turning points are not known."""
    pieces = [(lo, hi)]
    for i, op in enumerate(chain):
        turn = turning_point(op)
        if turn is None or monotone((op,), channel) is not None:
            continue
        before = chain[:i]
        if monotone(before, channel) is None:
            return None
        at_least = (*before, Affine(a=(Fraction(1),), b=(-turn,)), Round(mode=Mode.FLOOR, lo=-1, hi=0))
        pieces = [part for piece in pieces for part in _cut(at_least, channel, *piece)]
    return pieces


def _cut(at_least: Chain, channel: int, lo: int, hi: int) -> list[tuple[int, int]]:
    """lo..hi cut where the indicator chain `at_least` changes."""
    thresholds, _ = _bisect(at_least, channel, lo, hi, monotone(at_least, channel) or 1)
    return [(lo, hi)] if not len(thresholds) else [(lo, int(thresholds[0]) - 1), (int(thresholds[0]), hi)]


def _pieces(chain: Chain, channel: int, lo: int, hi: int) -> list[tuple[Codes, Codes]]:
    """(xs, ys) where each piece's run-length form changes, in order."""
    out = []
    for start, stop in _split(chain, channel, lo, hi) or []:
        ends = _at(chain, channel, np.array([start, stop], dtype=np.int64))
        sign = 1 if ends[1] >= ends[0] else -1
        thresholds, values = _bisect(chain, channel, start, stop, sign)
        out.append((np.concatenate([[start], thresholds]), values))
    return out


def staircase(chain: Chain, channel: int, lo: int, hi: int, where: str) -> Staircase:
    """The exact staircase of a chain ending in a quantiser on the integers lo..hi."""
    if hi - lo < ENUMERATE:
        xs = np.arange(lo, hi + 1, dtype=np.int64)
        thresholds, values = _runs(xs, _at(chain, channel, xs))
        return Staircase(lo=lo, hi=hi, thresholds=thresholds, values=values)
    pieces = _pieces(chain, channel, lo, hi)
    if pieces:
        thresholds, values = _runs(np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces]))
        return Staircase(lo=lo, hi=hi, thresholds=thresholds, values=values)
    if hi - lo < ENUMERATE_WAVY:
        xs = np.arange(lo, hi + 1, dtype=np.int64)
        thresholds, values = _runs(xs, _at(chain, channel, xs))
        return Staircase(lo=lo, hi=hi, thresholds=thresholds, values=values)
    raise InexpressibleError(
        f"the map from {lo}..{hi} to codes is not monotone and its turning points are not known",
        where=where,
        hint="quantise between the two activations",
    )


def mirrored(stairs: Staircase) -> Staircase:
    """The staircase of f(-x)."""
    return Staircase(lo=-stairs.hi, hi=-stairs.lo, thresholds=1 - stairs.thresholds[::-1], values=stairs.values[::-1])
