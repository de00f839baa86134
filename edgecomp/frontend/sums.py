"""Sums, comparisons and joins of values on unlike grids, made exact with the shortest multipliers that are proven."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.builder import Builder, Grid, Pending
from edgecomp.frontend.functions import Affine, Normalise, compose, entry
from edgecomp.frontend.joint import MAX_VALUES
from edgecomp.frontend.lattice import Logit, shortest_lines
from edgecomp.frontend.requantise import shortened
from edgecomp.frontend.symbols import Real, gcd
from edgecomp.ir import Add, ArgMax, Reshape
from edgecomp.ir.ranges import MAX_BITS


def add(builder: Builder, a: Real, b: Real, sign: int, where: str) -> Real:
    """a + sign * b. Where shifts do not bring both to one grid, it waits for its quantiser (see `Pending`)."""
    if _cheap(a, b) or a.shape != b.shape or a.posts or b.posts or not a.base or not b.base:
        return exact_sum(builder, a, b, sign, where)
    first, second, flip = (a, b, False) if _count(builder, b) <= _count(builder, a) else (b, a, True)
    if _count(builder, second) > MAX_VALUES or {first.base, second.base} & builder.pending.keys():
        return exact_sum(builder, a, b, sign, where)
    value = builder.values[first.base]
    name = f"{where}+{len(builder.pending)}"  # no node has such a name
    builder.values[name] = replace(value, lo=(0,) * value.shape[0], hi=(0,) * value.shape[0])
    builder.pending[name] = Pending(
        first=builder.apply(first, Affine(a=(Fraction(sign if flip else 1),), b=(Fraction(0),))),
        second=builder.apply(second, Affine(a=(Fraction(1 if flip else sign),), b=(Fraction(0),))),
        exactly=lambda: exact_sum(builder, a, b, sign, where),
    )
    return Real(base=name, shape=a.shape)


def _count(builder: Builder, real: Real) -> int:
    """How many integers a value takes, for one that is a linear map of them; more than any limit for another."""
    value = builder.values[real.base]
    plain = all(isinstance(op, Affine | Normalise) for op in real.chain)
    return value.greatest - value.least + 1 if plain else 1 << MAX_BITS


def _cheap(a: Real, b: Real) -> bool:
    """Whether one of two affine values lies on the other's grid up to powers of two."""
    if any(len(real.chain) > 1 or not all(isinstance(op, Affine) for op in real.chain) for real in (a, b)):
        return False
    scales = [
        real.chain[0].a if real.chain and isinstance(real.chain[0], Affine) else (Fraction(1),) for real in (a, b)
    ]
    size = max(map(len, scales))
    ratios = [entry(scales[0], c) / entry(scales[1], c) for c in range(size) if entry(scales[1], c)]
    parts = [part for ratio in ratios for part in (abs(ratio.numerator), ratio.denominator)]
    return all(part & (part - 1) == 0 and part < 1 << 16 for part in parts)


def exact_sum(builder: Builder, a: Real, b: Real, sign: int, where: str) -> Real:
    """a + sign * b on their coarsest common grid."""
    rank = max(len(a.shape), len(b.shape))
    first, second = (_ranked(builder, builder.grid(real, where), rank) for real in (a, b))
    channels = max(first.shape[0], second.shape[0])
    pairs = [
        (entry(first.scale, c), entry(second.scale, c))
        for c in range(channels if max(len(first.scale), len(second.scale)) > 1 else 1)
    ]
    steps = [gcd([p, q]) for p, q in pairs]
    p = [int(pair[0] / step) for pair, step in zip(pairs, steps, strict=True)]
    q = [sign * int(pair[1] / step) for pair, step in zip(pairs, steps, strict=True)]
    if max(abs(v) for v in (*p, *q)) >= 1 << MAX_BITS:
        raise too_long(where)
    base = builder.emit(Add(name=builder.name(where), a=first.base, b=second.base, p=shortened(p), q=shortened(q)))
    size = max(len(first.offset), len(second.offset))
    offset = tuple(entry(first.offset, c) + sign * entry(second.offset, c) for c in range(size))
    chain = compose((Affine(a=tuple(steps), b=offset),))
    return Real(base=base, shape=builder.values[base].shape, chain=chain)


def too_long(where: str) -> InexpressibleError:
    return InexpressibleError(
        f"exact common scales need more than {MAX_BITS} bits", where=where,
        hint="use power-of-two scales, or quantise before this operator",
    )  # fmt: skip


def winner(builder: Builder, grid: Grid, where: str) -> str:
    """ArgMax of real values: integers brought to multiples that compare as unlike scales and offsets do."""
    base, size = grid.base, math.prod(grid.shape)
    if grid.shape != (size,):
        base = builder.emit(Reshape(name=builder.name(f"{where}_flat"), x=base, shape=(size,)))
    if len(set(grid.scale)) > 1 or len(set(grid.offset)) > 1:
        value = builder.values[base]
        lines = shortest_lines(
            [
                Logit(scale=entry(grid.scale, c), offset=entry(grid.offset, c), lo=value.lo[c], hi=value.hi[c])
                for c in range(size)
            ]
        )
        base = builder.rescaled(
            base, [line.multiplier for line in lines], [line.addend for line in lines], f"{where}_logits"
        )
    return builder.emit(ArgMax(name=builder.name(where), x=base))


def common(builder: Builder, grids: Sequence[Grid], where: str) -> list[Grid]:
    """The same values on one scale per tensor; InexpressibleError where their offsets differ."""
    if len({grid.offset for grid in grids}) != 1 or any(len(grid.offset) > 1 for grid in grids):
        raise InexpressibleError("values with unlike offsets are joined", where=where, hint="quantise them alike")
    step = gcd([s for grid in grids for s in grid.scale])
    out = []
    for grid in grids:
        factors = [int(s / step) for s in grid.scale]
        base = grid.base if set(factors) == {1} else builder.rescaled(grid.base, factors, [0], f"{grid.base}_common")
        out.append(replace(grid, base=base, scale=(step,)))
    return out


def _ranked(builder: Builder, grid: Grid, rank: int) -> Grid:
    if len(grid.shape) == rank:
        return grid
    shape = (1,) * (rank - len(grid.shape)) + grid.shape
    if len(grid.scale) > 1 or len(grid.offset) > 1:
        raise InexpressibleError("scales per channel are broadcast along another axis", where=grid.base)
    base = builder.emit(Reshape(name=builder.name(f"{grid.base}_ranked"), x=grid.base, shape=shape))
    return replace(grid, base=base, shape=shape)
