"""What a network will cost on a target, told from its nodes in a millisecond; explore shows how far that is off.

Only ratios between candidates matter: explore measures some of them and scales what it foretold by their median.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgecomp.approx.coarse import digits_of
from edgecomp.ir import (
    Add,
    ArgMax,
    Conv,
    Dense,
    MaxPool,
    Mul,
    Network,
    Node,
    Requant,
    Rounding,
    Step,
    SumPool,
    TableDense,
    Value,
    operands,
)

ADDER_LEVELS = 1.25  # of alkaid's levels of logic: a usual adder
FEW_THRESHOLDS = 8  # comparators up to so many, a table of bits beyond

Values = Mapping[str, Value]
Array = NDArray[np.int64]


def luts_and_cycles(network: Network, cutoff: float) -> tuple[float, float]:
    """LUTs of an unrolled circuit, and the stages of at most `cutoff` levels that its longest path needs."""
    values = network.values()
    luts, depth = 0.0, dict[str, float]()
    for node in network.nodes:
        more, levels = _logic(node, values)
        luts += more
        depth[node.name] = levels + max((depth[name] for name in operands(node)), default=0.0)
    return luts, max(1.0, max(depth.values()) / cutoff)


def _logic(node: Node, values: Values) -> tuple[float, float]:
    """(LUTs, levels) of a node."""
    value = values[node.name]
    x = values[operands(node)[0]] if operands(node) else value
    places = math.prod(value.shape[1:])
    match node:
        case Dense() | Conv():
            rows = digits_of(node.weight.array.reshape(len(node.weight.array), -1)).sum(axis=1)
            width = np.array([(x.bits + _bits(value, c)) / 2 for c in range(len(rows))])
            return float((np.maximum(rows - 1, 0) * width).sum()) * places, _tree(int(rows.max()))
        case Requant():
            return _rescaling(node, x, value)
        case Step():
            count = node.thresholds.shape[1]
            each = count * x.bits / 2 if count <= FEW_THRESHOLDS else _table(x.bits, value.bits)
            return each * value.size, 1 + math.log2(count + 1) / 2
        case TableDense():
            _, inputs, states = node.tables.shape
            used = float((np.ptp(node.tables.array, axis=2) > 0).sum())
            return used * (_table(math.log2(states), value.bits) + value.bits), 1 + _tree(inputs)
        case MaxPool() | SumPool():
            count = math.prod(node.kernel) - 1
            return 1.5 * count * value.bits * value.size, _tree(count + 1) * (2 if isinstance(node, MaxPool) else 1)
        case Add():
            return float(value.bits * value.size), ADDER_LEVELS
        case Mul():
            return float(x.bits * values[node.b].bits * value.size), ADDER_LEVELS * math.log2(1 + x.bits)
        case ArgMax():
            return (x.size - 1) * (1.5 * x.bits + value.bits), 2 * _tree(x.size)
        case _:
            return 0.0, 0.0


def _bits(value: Value, channel: int) -> int:
    return max(abs(value.lo[channel]), abs(value.hi[channel])).bit_length() + 1


def _tree(count: int) -> float:
    """Levels of a tree of additions."""
    return ADDER_LEVELS * math.ceil(math.log2(max(count, 1)))


def _table(inputs: float, outputs: float) -> float:
    """LUTs of a table with 6-input LUTs."""
    return outputs * max(1.0, 2 ** (inputs - 6))


def _rescaling(node: Requant, x: Value, value: Value) -> tuple[float, float]:
    digits = digits_of(node.multiplier.array)
    product = float((np.maximum(digits - 1, 0)).mean()) * (x.bits + 4)
    add = float(x.bits) if node.addend.array.any() else 0.0
    even = float(value.bits) if node.rounding is Rounding.HALF_EVEN else 0.0
    clip = value.bits + (x.bits - value.bits) / 3 if x.bits - node.shift > value.bits - 1 else 0.0
    levels = (
        _tree(int(digits.max())) + (ADDER_LEVELS if add else 0) + (ADDER_LEVELS if even else 0) + (1 if clip else 0)
    )
    return (product + add + even + clip) * value.size, levels


def work(network: Network) -> float:
    """Steps of C for one sample: a multiply-accumulate each, and what every element costs beside."""
    values = network.values()
    total = 0.0
    for node in network.nodes:
        value = values[node.name]
        match node:
            case Dense() | Conv():
                total += node.weight.array.size * math.prod(value.shape[1:])
            case TableDense():
                total += 2 * math.prod(node.tables.shape[:2])
            case Requant():
                total += value.size * (2 + (node.rounding is Rounding.HALF_EVEN) + (node.multiplier.array != 1).any())
            case Step():
                total += value.size * 4 * math.log2(node.thresholds.shape[1] + 1)
            case MaxPool() | SumPool():
                total += value.size * math.prod(node.kernel)
            case Add() | Mul() | ArgMax():
                total += value.size
            case _:
                total += 0.5 * value.size
    return total
