"""Functions of single codes as exact tables: how the edges of a Kolmogorov-Arnold network become one TableDense.

A tabular tensor holds, for each of its elements, the one integer of an IR node that the element depends on, and its
exact value for every number that this integer can be. It begins where an operator gives functions of one value that no
chain describes: a constant that widens it (x - grid, a basis), Abs, Equal. From there on arithmetic with constants and
with functions of the same codes, ReLU, Clip and quantisers are done on the tables. A matrix product or a sum that meets
functions of unlike codes is a TableDense; any other reader gets the values as a node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.builder import Builder
from edgecomp.frontend.functions import Affine, compose
from edgecomp.frontend.symbols import Objects, Real, Tabular, fractions, gcd
from edgecomp.ir import Ints, Reshape, Step, TableDense
from edgecomp.ir.ranges import MAX_ELEMENTS

ZERO = Fraction(0)

MAX_CODE_BITS = 8
MAX_ENTRIES = 1 << 20  # of one tensor's tables while they are Fractions
GRID_BITS = 31  # of a table's entries on their common grid


def tabular(builder: Builder, real: Real, where: str) -> Tabular:
    """A value on an integer grid, with a table for each of its elements."""
    grid = builder.grid(real, where)
    base, value = grid.base, builder.values[grid.base]
    lo, count = value.least, value.greatest - value.least + 1
    if count > 1 << MAX_CODE_BITS:
        raise InexpressibleError(
            f"a function by tables of a value of {value.bits} bits", where=where,
            hint=f"quantise it to {MAX_CODE_BITS} bits or fewer before it",
        )  # fmt: skip
    limit((*value.shape, count), where)
    if value.shape != (value.size,):
        base = _unfolded(builder, base) or builder.emit(
            Reshape(name=builder.name(f"{base}_flat"), x=base, shape=(value.size,))
        )
    codes = fractions(np.arange(lo, lo + count))
    spread = (-1, *[1] * len(value.shape))
    scale, offset = (np.array(part, dtype=object).reshape(spread) for part in (grid.scale, grid.offset))
    table = np.broadcast_to(codes * scale + offset, (*value.shape, count))
    place = np.arange(value.size).reshape(value.shape)
    return bounded(Tabular(base=base, place=place, table=np.asarray(table), lo=lo), where)


def _unfolded(builder: Builder, base: str) -> str | None:
    """What a reshaping to more axes was made from, where that has one."""
    node = next(node for node in builder.nodes if node.name == base)
    flat = isinstance(node, Reshape) and builder.values[node.x].shape == (builder.values[base].size,)
    return node.x if flat and isinstance(node, Reshape) else None


def _folded(builder: Builder, base: str) -> str:
    size = builder.values[base].size
    return builder.emit(Reshape(name=builder.name(f"{base}_flat"), x=base, shape=(size,)))


def bounded(tab: Tabular, where: str) -> Tabular:
    limit((*tab.shape, tab.table.shape[-1]), where)
    return tab


def limit(shape: Sequence[int], where: str) -> None:
    """InexpressibleError for more entries than memory should hold; asked before they are made."""
    if math.prod(shape) > MAX_ENTRIES:
        raise InexpressibleError(
            f"functions by tables of {math.prod(shape)} entries exceed {MAX_ENTRIES}", where=where,
            hint="use fewer bits before them, or fewer basis functions",
        )  # fmt: skip


def limit_sums(outputs: int, inputs: int, size: int, count: int, where: str) -> None:
    """The same of sums: `outputs` of `inputs` functions of `size` codes that take `count` values."""
    if outputs * max(inputs, size * count) > MAX_ELEMENTS:
        raise InexpressibleError(
            f"tables of {outputs} x {size} x {count} entries exceed {MAX_ELEMENTS}", where=where,
            hint="use fewer bits before them",
        )  # fmt: skip


# ---- on the tables --------------------------------------------------------------------------------------------------


def each(tab: Tabular, act: Callable[[Any], Any]) -> Tabular:
    """act of every entry."""
    out = np.empty(tab.table.size, dtype=object)
    out[:] = [act(v) for v in tab.table.reshape(-1)]
    return replace(tab, table=out.reshape(tab.table.shape))


def with_constant(tab: Tabular, array: Objects, act: Callable[[Any, Any], Any], where: str) -> Tabular:
    """act(table, constant) under broadcasting of the tensor and `array`, which has no batch axis."""
    shape = np.broadcast_shapes(tab.shape, array.shape)
    wide = Tabular(base=tab.base, place=np.broadcast_to(tab.place, shape), lo=tab.lo,
                   table=np.broadcast_to(tab.table.reshape(*[1] * (len(shape) - len(tab.shape)), *tab.table.shape),
                                         (*shape, tab.table.shape[-1])))  # fmt: skip
    other = np.broadcast_to(array, shape)[..., None]
    return replace(bounded(wide, where), table=np.asarray(act(wide.table, other), dtype=object))


def together(a: Tabular, b: Tabular, act: Callable[[Any, Any], Any], where: str) -> Tabular:
    """act(a, b) of functions of the same codes, broadcast; InexpressibleError where an element would depend on two."""
    if len(a.shape) != len(b.shape):
        raise InexpressibleError(
            f"values of shapes {a.shape} and {b.shape} behind their batch do not broadcast", where=where,
            hint="give both as many axes",
        )  # fmt: skip
    shape = np.broadcast_shapes(a.shape, b.shape)
    limit((*shape, a.table.shape[-1]), where)
    places = np.broadcast_to(a.place, shape), np.broadcast_to(b.place, shape)
    if (a.base, a.lo, a.table.shape[-1]) != (b.base, b.lo, b.table.shape[-1]) or not np.array_equal(*places):
        raise InexpressibleError(
            "functions of two different codes meet element by element", where=where,
            hint="sum edge functions over their inputs by ReduceSum or a matrix product",
        )  # fmt: skip
    tables = [np.broadcast_to(t.table.reshape(*[1] * (len(shape) - len(t.shape)), *t.table.shape),
                              (*shape, t.table.shape[-1])) for t in (a, b)]  # fmt: skip
    wide = Tabular(base=a.base, place=places[0], table=tables[0], lo=a.lo)
    return replace(bounded(wide, where), table=np.asarray(act(*tables), dtype=object))


def moved(tab: Tabular, act: Callable[[NDArray[Any]], NDArray[Any]]) -> Tabular:
    """The tensor after a data movement `act` of its elements."""
    order = act(np.arange(tab.place.size).reshape(tab.shape))
    table = tab.table.reshape(-1, tab.table.shape[-1])[order.reshape(-1)]
    return replace(tab, place=act(tab.place), table=table.reshape(*order.shape, tab.table.shape[-1]))


# ---- sums -----------------------------------------------------------------------------------------------------------


def product(builder: Builder, tab: Tabular, weight: Objects, where: str) -> Tabular | Real:
    """tab (..., K) @ weight (K, O): tables where each result depends on one code, else a TableDense."""
    if tab.shape[-1:] != weight.shape[:1]:
        raise InexpressibleError(f"a weight of {weight.shape} on a value of shape {tab.shape}", where=where)
    if np.all(tab.place == tab.place[..., :1]):
        limit((*tab.shape[:-1], weight.shape[1], tab.table.shape[-1]), where)
        table = np.moveaxis(np.tensordot(tab.table, weight, axes=(len(tab.shape) - 1, 0)), -1, -2)
        place = np.repeat(tab.place[..., :1], weight.shape[1], axis=-1)
        return bounded(replace(tab, place=place, table=table), where)
    if len(tab.shape) > 1:
        raise InexpressibleError(
            f"a matrix product that sums functions of several codes in a value of shape {tab.shape}", where=where,
            hint="flatten the basis functions of all inputs into one axis before it",
        )  # fmt: skip
    return summed(builder, tab, weight.T, where)


def summed(builder: Builder, tab: Tabular, weight: Objects, where: str) -> Real:
    """weight (O, K) @ tab (K,) as a TableDense: y_o = sum over codes i of (sum over k of code i: w_ok * table_k)[x_i].

    Its entries are whole multiples of one scale; InexpressibleError where that takes more than GRID_BITS bits.
    """
    size, count = builder.values[tab.base].size, tab.table.shape[-1]
    limit_sums(len(weight), weight.shape[1], size, count, where)
    tables = np.full((len(weight), size, count), ZERO, dtype=object)
    for o, k in np.argwhere(weight != 0):
        tables[o, tab.place[k]] += weight[o, k] * tab.table[k]
    codes, scale = on_grid(tables, where)
    base = builder.emit(TableDense(name=builder.name(where), x=tab.base, tables=codes, lo=Ints([tab.lo])))
    return Real(base=base, shape=(len(weight),), chain=compose((Affine(a=(scale,), b=(ZERO,)),)))


def on_grid(tables: Objects, where: str) -> tuple[Ints, Fraction]:
    """(codes, scale): the entries as codes * scale, for the greatest such scale."""
    flat = tables.reshape(-1).tolist()
    scale = gcd(list(set(flat)))
    codes = {v: int(v / scale) for v in set(flat)}
    if max(abs(v) for v in codes.values()) >= 1 << GRID_BITS:
        raise InexpressibleError(
            f"the entries of edge functions share no grid of {GRID_BITS} bits", where=where,
            hint="put a quantiser behind the edge functions, or use quantised coefficients and power-of-two scales",
        )  # fmt: skip
    return Ints(np.array([codes[v] for v in flat], dtype=np.int64).reshape(tables.shape)), scale


def reduced(builder: Builder, tab: Tabular, axes: Sequence[int], divisor: int, where: str) -> Tabular | Real:
    """The sum over `axes` divided by `divisor`; those axes are gone."""
    kept = [axis for axis in range(len(tab.shape)) if axis not in axes]
    turned = moved(tab, lambda array: array.transpose(*kept, *axes).reshape(*[array.shape[a] for a in kept], -1))
    if np.all(turned.place == turned.place[..., :1]):
        total = np.asarray(turned.table.sum(axis=-2) / Fraction(divisor), dtype=object)
        return replace(turned, place=turned.place[..., 0], table=total)
    outputs, inner = int(np.prod(turned.shape[:-1], dtype=np.int64)), turned.shape[-1]
    limit_sums(outputs, outputs * inner, builder.values[tab.base].size, tab.table.shape[-1], where)
    weight = np.kron(np.eye(outputs, dtype=np.int64), np.ones((1, inner), dtype=np.int64)).astype(object)
    done = summed(builder, moved(turned, lambda array: array.reshape(-1)), weight * Fraction(1, divisor), where)
    return done if len(kept) == 1 else reshaped(builder, done, turned.shape[:-1] or (1,), where)


def reshaped(builder: Builder, done: Tabular | Real, shape: tuple[int, ...], where: str) -> Tabular | Real:
    if isinstance(done, Tabular):
        return moved(done, lambda array: array.reshape(shape))
    return done if done.shape == shape else builder.layout(done, Reshape(name="", x="", shape=shape), where)


# ---- as a node ------------------------------------------------------------------------------------------------------


def materialised(builder: Builder, tab: Tabular, where: str) -> Real:
    """The values as a node: a Step where each element depends on the code at its own place, else a TableDense."""
    flat = moved(tab, lambda array: array.reshape(-1))
    if np.array_equal(flat.place, np.arange(builder.values[tab.base].size)):
        done = _stepped(builder, flat, where)
    else:
        limit_sums(flat.shape[0], flat.shape[0], builder.values[tab.base].size, tab.table.shape[-1], where)
        done = summed(builder, flat, np.eye(flat.shape[0], dtype=np.int64).astype(object), where)
    return done if tab.shape == flat.shape else builder.layout(done, Reshape(name="", x="", shape=tab.shape), where)


def _stepped(builder: Builder, tab: Tabular, where: str) -> Real:
    codes, scale = on_grid(tab.table, where)
    values = codes.array
    thresholds = np.broadcast_to(np.arange(1, values.shape[1]) + tab.lo, (len(values), values.shape[1] - 1))
    base = builder.emit(Step(name=builder.name(where), x=tab.base, thresholds=Ints(thresholds), values=Ints(values)))
    return Real(base=base, shape=tab.shape, chain=compose((Affine(a=(scale,), b=(ZERO,)),)))
