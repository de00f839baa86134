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

from edgecomp.frontend.functions import Affine, Chain, Normalise, Vector, channels_of, compose, entry
from edgecomp.frontend.requantise import (
    MAX_SHIFT,
    PRODUCT_BITS,
    Form,
    Record,
    Staircase,
    mirrored,
    roundest,
    shortened,
    slope,
    staircase,
)
from edgecomp.ir import Add, Ints, Requant, Rounding, Value

MAX_VALUES = 1 << 12  # integers of the narrower operand
MAX_STAIRCASES = 1 << 13
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

    `second` is affine; `names` are those of the operands and of the result.
    """
    line = second[0] if second else Affine(a=(Fraction(1),), b=(Fraction(0),))
    whole = compose((*first, *then))
    if len(second) > 1 or not isinstance(line, Affine):
        return None
    spans = {(*pair,) for pair in zip(a.lo, a.hi, b.lo, b.hi, strict=True)}
    shared = len(spans) == 1 and channels_of((*whole, line)) == 1
    channels = 1 if shared else a.shape[0]
    if sum(b.hi[c] - b.lo[c] + 1 for c in range(channels)) > MAX_STAIRCASES:
        return None
    slopes = [_slopes(first, line, then, c) for c in range(channels)]
    if any(pair is None for pair in slopes):
        return None
    rows = [_segments(first, line, then, c, a, b, names[2]) for c in range(channels)]
    return _search(rows, [pair for pair in slopes if pair is not None], names)


def _slopes(first: Chain, line: Affine, then: Chain, c: int) -> tuple[Fraction, Fraction] | None:
    """How steeply the quotient rises in a and in b on channel c; None where it bends."""
    inner, outer = slope(_rational(first), c), slope(_rational(then), c)
    if inner is None or outer is None or inner * outer == 0:
        return None
    return inner * outer, entry(line.a, c) * outer


def _rational(chain: Chain) -> Chain:
    """The chain with batch norms as affine maps, their roots rounded far beyond what a multiplier can tell."""
    return tuple(_rounded(op) if isinstance(op, Normalise) else op for op in chain)


def _rounded(op: Normalise) -> Affine:
    size = max(map(len, (op.gamma, op.variance)))
    roots = [_root(entry(op.variance, c)) for c in range(size)]
    return Affine(a=tuple(entry(op.gamma, c) / roots[c] for c in range(size)), b=(Fraction(0),))


def _root(v: Fraction) -> Fraction:
    scale = 1 << 2 * ROOT_BITS
    return Fraction(math.isqrt(v.numerator * v.denominator * scale), v.denominator << ROOT_BITS)


def _segments(first: Chain, line: Affine, then: Chain, c: int, a: Value, b: Value, where: str) -> Segments:
    """Every segment of every staircase of channel c."""
    stairs: list[tuple[int, Staircase]] = []
    for other in range(b.lo[c], b.hi[c] + 1):
        offset: Vector = tuple(
            entry(line.a, i) * other + entry(line.b, i) for i in range(max(len(line.a), len(line.b)))
        )
        chain = compose((*first, Affine(a=(Fraction(1),), b=offset), *then))
        stairs.append((other, staircase(chain, c, a.lo[c], a.hi[c], where)))
    falling = any(one.values[-1] < one.values[0] for _, one in stairs)
    if falling:
        stairs = [(other, mirrored(one)) for other, one in stairs]
    value = np.concatenate([one.values for _, one in stairs])
    least, greatest = value.min(), value.max()
    return Segments(
        start=np.concatenate([[one.lo, *one.thresholds] for _, one in stairs]),
        end=np.concatenate([[*(one.thresholds - 1), one.hi] for _, one in stairs]),
        value=value, other=np.concatenate([[other] * len(one.values) for other, one in stairs]),
        floor=value > least, ceiling=value < greatest, sign=-1 if falling else 1,
    )  # fmt: skip


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
