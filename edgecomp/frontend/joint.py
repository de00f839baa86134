"""A quantised sum of two values on unlike grids: short multipliers for both, proven for every pair of integers.

code(a, b) = Q(f(a) + g * b + h), f affine up to clips behind the sum. For every integer b the code is a staircase in a.
An Add p * a + q * b and one shift equal it if and only if they agree at both ends of every segment of every such
staircase; the smallest shift with such p and q is taken, and what is returned has been proven on every b.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.frontend.evaluate import codes
from edgecomp.frontend.functions import Affine, Chain, Normalise, Operation, channels_of, compose, perfect_root, picked
from edgecomp.frontend.requantise import MAX_SHIFT, PRODUCT_BITS, Form, Record, roundest, shortened
from edgecomp.frontend.staircase import slope
from edgecomp.ir import Add, Ints, Requant, Rounding, Value

Codes = NDArray[np.int64]

MAX_VALUES = 1 << 12  # integers of the narrower operand
MAX_STAIRCASES = 1 << 13
MAX_SEGMENTS = 1 << 21  # of one channel
ROOT_BITS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Where one channel's code stands still: from `start` to `end` of a it is `value` at b, for b = `other`.

    `floor` marks segments above the least code, whose start must not fall below; `ceiling` those below the greatest.
    """

    start: NDArray[Any]
    end: NDArray[Any]
    value: NDArray[Any]
    other: NDArray[Any]
    floor: NDArray[np.bool_]
    ceiling: NDArray[np.bool_]
    sign: int

    @property
    def reach(self) -> int:
        """The greatest magnitude of anything in it."""
        return max(int(np.abs(part).max()) for part in (self.start, self.end, self.value, self.other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """The nodes that equal a quantised sum, and the record for the report."""

    nodes: tuple[Add, Requant]
    record: Record


def joint(first: Chain, second: Chain, then: Chain, a: Value, b: Value, names: tuple[str, str, str]) -> Joint | None:
    """The shortest exact Add and Requant for then(first(a) + second(b)); None where none is found.

    `second` is made of affine maps and batch norms; `names` are those of the operands and of the result.
    """
    parts = (first, second, then)
    spans = set(zip(a.lo, a.hi, b.lo, b.hi, strict=True))
    shared = len(spans) == 1 and max(map(channels_of, parts)) == 1
    channels = 1 if shared else a.shape[0]
    if sum(b.hi[c] - b.lo[c] + 1 for c in range(channels)) > MAX_STAIRCASES:
        return None
    rows, slopes = [], []
    for c in range(channels):
        lone = [tuple(picked(op, c) for op in part) for part in parts]
        steep = _slopes(lone[0], lone[1], lone[2])
        if steep is None:
            return None
        found = _segments(lone[0], lone[1], lone[2], (a.lo[c], a.hi[c]), (b.lo[c], b.hi[c]), steep[0] < 0)
        if found is None:
            return None
        rows.append(found)
        slopes.append(steep)
    return _search(rows, slopes, names)


def _slopes(first: Chain, second: Chain, then: Chain) -> tuple[Fraction, Fraction] | None:
    """How steeply the quotient rises in a and in b; None where it bends."""
    steep = [slope(tuple(_rational(op) for op in part), 0) for part in (first, second, then)]
    if steep[0] is None or steep[1] is None or steep[2] is None or steep[0] * steep[2] == 0:
        return None
    return steep[0] * steep[2], steep[1] * steep[2]


def _rational(op: Operation) -> Operation:
    """A batch norm as an affine map, its root rounded down far beyond what a multiplier can tell."""
    if not isinstance(op, Normalise):
        return op
    a = op.gamma[0] / _root(op.variance[0])
    return Affine(a=(a,), b=(op.beta[0] - a * op.mean[0],))


def _root(v: Fraction) -> Fraction:
    """The square root, too small by at most 2^-ROOT_BITS."""
    return Fraction(math.isqrt((v.numerator << 2 * ROOT_BITS) // v.denominator), 1 << ROOT_BITS)


def _bracket(second: Chain, other: int) -> tuple[Fraction, Fraction]:
    """Rationals that enclose second(other)."""
    low = high = Fraction(other)
    for op in second:
        if isinstance(op, Normalise):
            root = _root(op.variance[0])
            roots = (root,) if perfect_root(op.variance[0]) == root else (root, root + Fraction(1, 1 << ROOT_BITS))
            ends = [op.gamma[0] * (v - op.mean[0]) / r + op.beta[0] for v in (low, high) for r in roots]
        else:
            assert isinstance(op, Affine)
            ends = [op.a[0] * v + op.b[0] for v in (low, high)]
        low, high = min(ends), max(ends)
    return low, high


def _segments(
    first: Chain, second: Chain, then: Chain, a: tuple[int, int], b: tuple[int, int], falling: bool
) -> Segments | None:
    """Every segment of one channel's staircases; None where second(b) is not known well enough to decide them."""
    brackets = [_bracket(second, other) for other in range(b[0], b[1] + 1)]
    sides = dict.fromkeys(tuple(pair[side] for pair in brackets) for side in (0, 1))  # one where all are rational
    found = [_staircases(compose((*first, Affine(a=(Fraction(1),), b=side), *then)), a, b, falling) for side in sides]
    low, high = found[0], found[-1]
    if low is None or high is None or not all(np.array_equal(x, y) for x, y in zip(low, high, strict=True)):
        return None
    start, end, value, other = low
    return Segments(start=start, end=end, value=value, other=other, floor=value > value.min(),
                    ceiling=value < value.max(), sign=-1 if falling else 1)  # fmt: skip


def _staircases(chain: Chain, a: tuple[int, int], b: tuple[int, int], falling: bool) -> tuple[Codes, ...] | None:
    """(start, end, value, other) of all segments: channel i of the chain belongs to other = b[0] + i.

    Where the chain falls in a, the segments are those of -a. All codes of all staircases are bisected at once; None
    where they are more than MAX_SEGMENTS.
    """
    sign, (lo, hi) = (-1, (-a[1], -a[0])) if falling else (1, a)
    column = np.arange(b[1] - b[0] + 1, dtype=np.int64)
    least, most = (codes(chain, np.full_like(column, sign * x), column) for x in (lo, hi))
    count = most - least
    if count.sum() > MAX_SEGMENTS:
        return None
    row = np.repeat(column, count)
    wanted = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(least, count) + 1
    below, reached = np.full_like(row, lo), np.full_like(row, hi)
    while np.any(reached - below > 1):
        middle = (below + reached) // 2
        ok = codes(chain, sign * middle, row) >= wanted
        reached, below = np.where(ok, middle, reached), np.where(ok, below, middle)
    row, start = np.concatenate([column, row]), np.concatenate([np.full_like(column, lo), reached])
    value = np.concatenate([least, wanted])
    order = np.lexsort((value, start, row))
    row, start, value = row[order], start[order], value[order]
    following = np.append(np.where(row[1:] == row[:-1], start[1:], hi + 1), hi + 1)
    kept = following > start  # of codes reached at once only the greatest stands
    return start[kept], following[kept] - 1, value[kept], row[kept] + b[0]


def _addend(rows: Segments, shift: int, p: int, q: int) -> int | None:
    """An addend with which the quotient is right at both ends of every segment, or None."""
    rows = _typed(rows, (rows.reach + 2) * ((1 << shift) + abs(p) + abs(q)))
    least = (rows.value << shift) - p * rows.start - q * rows.other
    beyond = ((rows.value + 1) << shift) - p * rows.end - q * rows.other
    low = int(least[rows.floor].max()) if rows.floor.any() else None
    high = int(beyond[rows.ceiling].min()) if rows.ceiling.any() else None
    if low is None or high is None:
        return low if low is not None else None if high is None else high - 1
    return roundest(low, high - 1) if low < high else None


def _typed(rows: Segments, reach: int) -> Segments:
    """The rows in Python's integers where `reach` goes beyond int64."""
    if reach < 1 << 62:
        return rows
    wide = {name: getattr(rows, name).astype(object) for name in ("start", "end", "value", "other")}
    return replace(rows, **wide)


def _fit(rows: Segments, slopes: tuple[Fraction, Fraction], shift: int) -> tuple[int, int, int] | None:
    """(p, q, addend) of one channel at a shift."""
    if not rows.floor.any() and not rows.ceiling.any():
        return 0, 0, int(rows.value[0]) << shift
    p, q = (v * (1 << shift) for v in slopes)
    for one, other in product(_around(rows.sign * p), _around(q)):
        addend = _addend(rows, shift, one, other) if one > 0 else None
        if addend is not None:
            return rows.sign * one, other, addend
    return None


def _around(v: Fraction) -> tuple[int, int]:
    near = round(v)
    return (near, near + 1 if v > near else near - 1)


def _search(
    rows: Sequence[Segments], slopes: Sequence[tuple[Fraction, Fraction]], names: tuple[str, str, str]
) -> Joint | None:
    for shift in range(MAX_SHIFT + 1):
        found = []
        for one, pair in zip(rows, slopes, strict=True):
            fit = _fit(one, pair, shift)
            if fit is None:
                break
            found.append(fit)
        else:
            return _made(rows, found, shift, names)
    return None


def _made(
    rows: Sequence[Segments], found: Sequence[tuple[int, int, int]], shift: int, names: tuple[str, str, str]
) -> Joint | None:
    reach = [one.reach for one in rows]
    if (
        max((abs(p) + abs(q)) * far + abs(addend) for (p, q, addend), far in zip(found, reach, strict=True))
        >> PRODUCT_BITS
    ):
        return None
    p, q, addends = zip(*found, strict=True)
    total = Add(name=f"{names[2]}_sum", a=names[0], b=names[1], p=shortened(p), q=shortened(q))
    last = Requant(
        name=names[2], x=total.name, multiplier=Ints([1]), addend=shortened(addends), shift=shift,
        lo=shortened([int(one.value.min()) for one in rows]), hi=shortened([int(one.value.max()) for one in rows]),
    )  # fmt: skip
    segments = sum(len(one.value) for one in rows)
    record = Record(
        node=names[2], form=Form.MULTIPLY, rounding=Rounding.FLOOR, channels=len(rows), breakpoints=segments,
        multiplier_bits=max(abs(v).bit_length() for v in (*p, *q)), shift=shift,
        proof=f"both multipliers of the sum agree at the ends of all {segments} segments, for every code of {names[1]}",
    )  # fmt: skip
    return Joint(nodes=(total, last), record=record)
