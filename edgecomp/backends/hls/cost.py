"""What one node costs as a circuit of constants, adders, comparators and tables: a model, before any synthesis.

Assumptions. A weight is known when the circuit is built, so a product is one shifted copy of x for each non-zero digit
of the weight's canonical signed form, and a layer's output is one adder tree over all copies and the bias; nothing is
shared between outputs. An adder takes one LUT a bit, a comparator one for two bits, a table of T entries T / 64 LUTs a
bit. A path is a chain of levels, each with a delay; registers stand where the next level would miss the clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.hls.tables import prefers_lookup
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Encoding,
    Input,
    Ints,
    MaxPool,
    Mul,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Rounding,
    Slice,
    Step,
    SumPool,
    TableDense,
    Transpose,
    Value,
    operands,
)
from edgecomp.ir.ranges import round_shift, scaled

LUT_TABLE_ENTRIES = 64
DSP_A_BITS, DSP_B_BITS = 26, 17  # magnitudes that one DSP48E2 multiplies; a DSP48E1 has 24 and 17
SMALLEST_DSP_OPERAND = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of logic: an adder, comparator or multiplexer of `bits`, and the bits alive after it."""

    bits: int
    live: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One node, fully parallel: `products` counts the multiply-accumulates that a reuse factor would share."""

    levels: tuple[Level, ...] = ()
    multipliers: int = 0
    adder_bits: int = 0
    weight_bits: int = 0
    lut: int = 0
    dsp: int = 0
    products: int = 0
    product_bits: tuple[int, int] = (0, 0)


def digits(values: NDArray[Any]) -> NDArray[np.int64]:
    """Non-zero digits of the canonical signed form of each integer: ones in n xor 3n."""
    count = np.vectorize(lambda n: (abs(int(n)) ^ 3 * abs(int(n))).bit_count(), otypes=[np.int64])
    return np.asarray(count(values), dtype=np.int64)


def cost(node: Node, values: Mapping[str, Value]) -> Cost:
    """The cost of a node for the values around it; data movement is wires and costs nothing."""
    value, xs = values[node.name], [values[name] for name in operands(node)]
    match node:
        case Dense() | Conv():
            return weighted(node, xs[0], value)
        case Requant():
            return requant(node, xs[0], value)
        case Step():
            return step(node, xs[0], value)
        case Add():
            return added(node, xs, value)
        case Mul():
            return multiplied(xs, value)
        case TableDense() | MaxPool() | SumPool() | ArgMax():
            return reduction(node, xs[0], value)
        case Input() | Output():
            return offset(node, value)
        case Concat() | Slice() | Reshape() | Transpose() | Pad():
            return Cost()
        case _:
            assert_never(node)


def tree(terms: int, narrow: int, wide: int, trees: int) -> tuple[Level, ...]:
    """The levels of `trees` balanced trees over `terms` operands each, growing from `narrow` to `wide` bits."""
    depth = max(0, terms - 1).bit_length()
    levels = []
    for level in range(1, depth + 1):
        bits = narrow + (wide - narrow) * level // depth
        levels.append(Level(bits=bits, live=math.ceil(terms / (1 << level)) * bits * trees))
    return tuple(levels)


def weighted(node: Dense | Conv, x: Value, value: Value) -> Cost:
    """An adder tree for each output and place over the digits of its weights."""
    weight = node.weight.array.reshape(len(node.weight.array), -1)
    places = math.prod(value.shape[1:])
    count = digits(weight)
    bias = np.broadcast_to(node.bias.array, (len(weight),)) != 0
    terms = count.sum(axis=1) + bias
    width = math.ceil((x.bits + value.bits) / 2)
    adders = int(np.maximum(terms - 1, 0).sum()) * places
    return Cost(
        levels=tree(int(terms.max()), x.bits, value.bits, value.size),
        multipliers=int((count > 1).sum()) * places,
        adder_bits=adders * width,
        weight_bits=stored_bits(node.weight) + stored_bits(node.bias),
        lut=adders * width,
        products=int((count > 0).sum()) * places,
        product_bits=(x.bits, bits_of_ints(node.weight)),
    )


def bits_of_ints(values: Ints) -> int:
    lo, hi = int(values.array.min()), int(values.array.max())
    return max(lo.bit_length(), hi.bit_length()) + (lo < 0)


def stored_bits(values: Ints) -> int:
    """Bits of a constant array at one width; zeros are stored as well."""
    return values.array.size * max(1, bits_of_ints(values))


def requant(node: Requant, x: Value, value: Value) -> Cost:
    """Shift-adds for multiplier and addend, a decrement for half to even, comparators where a bound is reached."""
    per_channel = x.size // x.shape[0]
    terms = np.broadcast_to(digits(node.multiplier.array), (x.shape[0],)) + (node.addend.array != 0)
    low, high = scaled(node, x)
    wide = max(int(v).bit_length() for v in (*low, *high)) + 1
    adders = int(np.maximum(terms - 1, 0).sum()) * per_channel
    even = node.rounding is Rounding.HALF_EVEN
    inner = max(1, wide - node.shift)
    lo, hi = (np.broadcast_to(side.array, (x.shape[0],)) for side in (node.lo, node.hi))
    first, last = round_shift(low, node.shift, node.rounding), round_shift(high, node.shift, node.rounding)
    clipped = int(((first < lo) | (last > hi)).sum()) * per_channel
    levels = list(tree(int(terms.max()), x.bits, wide, x.size))
    levels += [Level(bits=inner, live=inner * x.size)] * even
    levels += [Level(bits=inner, live=value.bits * x.size)] * bool(clipped)
    extra = x.size * (inner + math.ceil(node.shift / 6)) * even + clipped * (inner + value.bits)
    return Cost(
        levels=tuple(levels),
        multipliers=int((np.broadcast_to(digits(node.multiplier.array), (x.shape[0],)) > 1).sum()) * per_channel,
        adder_bits=adders * math.ceil((x.bits + wide) / 2) + x.size * inner * even,
        weight_bits=sum(stored_bits(side) for side in (node.multiplier, node.addend, node.lo, node.hi)),
        lut=adders * math.ceil((x.bits + wide) / 2) + extra,
    )


def step(node: Step, x: Value, value: Value) -> Cost:
    """A table over every code, or a binary search: a comparator and a choice of threshold in each stage."""
    count = node.thresholds.shape[1]
    if prefers_lookup(node, x):
        entries = x.greatest - x.least + 1
        depth = max(1, math.ceil(math.log(max(2, entries), LUT_TABLE_ENTRIES)))
        return Cost(
            levels=(Level(bits=value.bits, live=value.bits * x.size),) * depth,
            weight_bits=entries * len(node.values.array) * value.bits,
            lut=x.size * value.bits * math.ceil(entries / LUT_TABLE_ENTRIES),
        )
    stages = max(1, count.bit_length())
    table = math.ceil((count * x.bits + (count + 1) * value.bits) / LUT_TABLE_ENTRIES)
    return Cost(
        levels=(Level(bits=x.bits, live=(x.bits + stages) * x.size), Level(bits=1, live=0)) * stages,
        weight_bits=stored_bits(node.values) + (stored_bits(node.thresholds) if count else 0),
        lut=x.size * (stages * math.ceil(x.bits / 2) + table),
    )


def added(node: Add, xs: list[Value], value: Value) -> Cost:
    terms = digits(node.p.array) + digits(node.q.array)
    adders = int(np.broadcast_to(np.maximum(terms - 1, 0), (value.shape[0],)).sum()) * (value.size // value.shape[0])
    return Cost(
        levels=tree(int(terms.max()), max(x.bits for x in xs), value.bits, value.size),
        adder_bits=adders * value.bits,
        weight_bits=stored_bits(node.p) + stored_bits(node.q),
        lut=adders * value.bits,
    )


def multiplied(xs: list[Value], value: Value) -> Cost:
    """Code times code: DSP slices unless an operand is narrow."""
    a, b = max(x.bits for x in xs), min(x.bits for x in xs)
    in_dsp = b >= SMALLEST_DSP_OPERAND
    slices = math.ceil(a / DSP_A_BITS) * math.ceil(b / DSP_B_BITS)
    level = Level(bits=value.bits, live=value.bits * value.size)
    return Cost(
        levels=(level,) * (3 if in_dsp else max(1, b.bit_length())),
        multipliers=value.size,
        lut=0 if in_dsp else value.size * a * b,
        dsp=value.size * slices if in_dsp else 0,
    )


def reduction(node: TableDense | MaxPool | SumPool | ArgMax, x: Value, value: Value) -> Cost:
    """Trees of adders, of comparators with a choice, or of tables and adders."""
    if isinstance(node, TableDense):
        outputs, inputs, entries = node.tables.shape
        width = bits_of_ints(node.tables)
        roms = outputs * inputs * width * math.ceil(entries / LUT_TABLE_ENTRIES)
        adds = (inputs - 1) * outputs * value.bits
        read = Level(bits=width, live=outputs * inputs * width)
        depth = max(1, math.ceil(math.log(max(2, entries), LUT_TABLE_ENTRIES)))
        levels = (read,) * depth + tree(inputs, width, value.bits, outputs)
        return Cost(levels=levels, adder_bits=adds, weight_bits=stored_bits(node.tables), lut=roms + adds)
    terms = x.size if isinstance(node, ArgMax) else math.prod(node.kernel)
    count = (terms - 1) * value.size
    if isinstance(node, SumPool):
        bits = count * math.ceil((x.bits + value.bits) / 2)
        return Cost(levels=tree(terms, x.bits, value.bits, value.size), adder_bits=bits, lut=bits)
    carried = x.bits + (value.bits if isinstance(node, ArgMax) else 0)
    levels = tuple(part for level in tree(terms, x.bits, x.bits, value.size) for part in (level, Level(bits=1, live=0)))
    return Cost(levels=levels, lut=count * (math.ceil(x.bits / 2) + carried))


def offset(node: Input | Output, value: Value) -> Cost:
    """A zero point is one adder for each element; a bipolar code is wires."""
    if node.encoding is Encoding.BIPOLAR or not node.zero_point:
        return Cost()
    bits = value.size * value.bits
    return Cost(levels=(Level(bits=value.bits, live=bits),), adder_bits=bits, lut=bits, weight_bits=value.bits)
