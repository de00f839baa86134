"""A coarser network: fewer bits of weights and codes, weights and channels left out, simpler rounding.

Each value of the coarse network stands for `value * 2^e`: the exponents e run through the graph with the nodes, and
what follows takes them up exactly (a shorter shift, other thresholds), so that narrow weights and codes are narrow
integers on every target. Where no node can take one up, and at the outputs, the value is brought back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from edgecomp.frontend.builder import Builder
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Input,
    Ints,
    MaxPool,
    Mul,
    Network,
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
    operands,
)
from edgecomp.ir.ranges import infer

Means = Mapping[str, NDArray[np.float64]]
Array = NDArray[np.int64]
PARTS = 16  # steps of the share of weights that is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a node loses; nothing by default.

    Of a Dense or Conv: `dropped` low bits of its weights, `pruned` sixteenths of them, the smallest ones, all but
    `digits` signed digits of each (0 keeps all), and the output channels `idle`. Of a Requant or Step: `dropped` low
    bits of its codes; `floored` rounds half up where ties went to even.
    """

    dropped: int = 0
    pruned: int = 0
    digits: int = 0
    idle: tuple[int, ...] = ()
    floored: bool = False


def coarsen(network: Network, changes: Mapping[str, Change], means: Means) -> Network:
    """The network with these changes by node. `means`: of each Dense's and Conv's input channels, over real data.

    What a layer loses on the mean of its input is added to its bias.
    """
    made = _Coarse(builder=Builder(nodes=[], values={}, taken={node.name for node in network.nodes}))
    for node in network.nodes:
        made.emit(node, changes.get(node.name, Change()), means)
    return Network(nodes=tuple(made.builder.nodes))


@dataclass(slots=True, kw_only=True)
class _Coarse:
    """The nodes so far; of each value its exponent, and the bias per channel that its readers still have to add."""

    builder: Builder
    exponents: dict[str, int] = field(default_factory=dict)
    left: dict[str, Array] = field(default_factory=dict)

    def emit(self, node: Node, change: Change, means: Means) -> None:
        node = self.settled(node)
        given = [self.exponents[name] for name in operands(node)]
        match node:
            case Requant():
                self.put(self.requant(node, given[0], change), change.dropped)
            case Step():
                self.put(self.step(node, given[0], change), change.dropped)
            case Dense() | Conv():
                self.linear(node, given[0], change, means)
            case Add():
                least = min(given)
                p, q = (node.p.array << given[0] - least, node.q.array << given[1] - least)
                self.put(replace(node, p=Ints(p), q=Ints(q)), least)
            case Concat():
                least = min(given)
                self.put(replace(node, xs=tuple(self.raised(x, least) for x in node.xs)), least)
            case Pad():
                self.put(replace(node, value=node.value >> given[0]), given[0])
            case Input() | Slice() | Reshape() | Transpose() | MaxPool() | SumPool() | Mul() | ArgMax():
                self.put(node, 0 if isinstance(node, ArgMax) else sum(given))
            case TableDense() | Output():
                self.put(node, 0)
            case _:
                assert_never(node)

    def settled(self, node: Node) -> Node:
        """The node reading values that it can take as they are; rescalings take up whatever is left."""
        if isinstance(node, Requant | Step):
            return node
        whole = isinstance(node, TableDense | Output) or (isinstance(node, ArgMax) and len(node.tree.array) > 0)
        for name in dict.fromkeys(operands(node)):
            odd = isinstance(node, Pad) and node.value & (1 << self.exponents[name]) - 1
            if name in self.left or ((whole or odd) and self.exponents[name]):
                node = renamed(node, name, self.raised(name, 0))
        return node

    def put(self, node: Node, exponent: int) -> None:
        self.builder.nodes.append(node)
        self.builder.values[node.name] = infer(node, self.builder.values)
        self.exponents[node.name] = exponent

    def raised(self, name: str, exponent: int) -> str:
        """The value of `name` with a smaller exponent, and with the bias that was left."""
        factor, value = 1 << self.exponents[name] - exponent, self.builder.values[name]
        addend = self.left.get(name, np.zeros(1, dtype=np.int64))
        if factor == 1 and name not in self.left:
            return name
        node = Requant(name=self.builder.name(f"{name}_whole"), x=name, multiplier=Ints([factor]), addend=Ints(addend),
                       shift=0, lo=Ints([value.least * factor + int(addend.min())]),
                       hi=Ints([value.greatest * factor + int(addend.max())]))  # fmt: skip
        self.put(node, exponent)
        return node.name

    def linear(self, node: Dense | Conv, given: int, change: Change, means: Means) -> None:
        if change == Change() and not given:
            self.put(node, 0)
            return
        whole = node.weight.array
        weight = coarse_weights(whole, change)
        lost = (whole - (weight << change.dropped)).reshape(len(whole), -1).astype(float)
        bias = np.broadcast_to(node.bias.array, len(whole)) + _mean_of(node, lost, means.get(node.name))
        exponent = given + change.dropped
        if exponent:
            self.left[node.name] = bias
            bias = np.zeros_like(bias)
        self.put(replace(node, weight=Ints(weight), bias=Ints(bias)), exponent)

    def requant(self, node: Requant, given: int, change: Change) -> Requant:
        addend: Array = node.addend.array
        left = self.left.get(node.x)
        if left is not None:
            addend = addend + node.multiplier.array * left
        even = node.rounding is Rounding.HALF_EVEN and not change.floored and not change.dropped
        if change.dropped:
            addend = addend + (1 << node.shift + change.dropped - 1)
        shift = node.shift + change.dropped
        short = min(given, shift - 1 if even else shift)
        if even and (addend & (1 << short) - 1).any():
            even = not (addend & (1 << short) - 1).all()  # with such bits there is no tie
            short = 0 if even else short
        return replace(
            node, multiplier=Ints(node.multiplier.array << given - short), addend=Ints(addend >> short),
            shift=shift - short, lo=Ints(-(-node.lo.array >> change.dropped)), hi=Ints(node.hi.array >> change.dropped),
            rounding=Rounding.HALF_EVEN if even else Rounding.FLOOR,
        )  # fmt: skip

    def step(self, node: Step, given: int, change: Change) -> Step:
        thresholds, values = node.thresholds.array, node.values.array
        left = self.left.get(node.x)
        if left is not None:
            thresholds = thresholds - left[:, None]
            values = np.broadcast_to(values, (len(left), values.shape[1]))
        thresholds = -(-thresholds >> given)
        if change.dropped:
            ends = -(-values.min() >> change.dropped), values.max() >> change.dropped
            values = np.clip(_rounded(values, change.dropped), *ends)
            kept = (values[:, 1:] != values[:, :-1]).any(axis=0)
            values, thresholds = values[:, [True, *kept]], thresholds[:, kept]
        return replace(node, thresholds=Ints(thresholds), values=Ints(values))


def renamed(node: Node, old: str, new: str) -> Node:
    """The node reading `new` for `old`."""
    match node:
        case Add() | Mul():
            return replace(node, a=new if node.a == old else node.a, b=new if node.b == old else node.b)
        case Concat():
            return replace(node, xs=tuple(new if x == old else x for x in node.xs))
        case Input():
            return node
        case _:
            return replace(node, x=new)


def coarse_weights(weight: Array, change: Change) -> Array:
    """The weights without what the change takes, in units of 2^dropped."""
    kept = weight.copy()
    if change.pruned:
        order = np.argsort(np.abs(kept), axis=None, kind="stable")
        kept.reshape(-1)[order[: kept.size * change.pruned // PARTS]] = 0
    kept = _rounded(kept, change.dropped)
    if change.digits:
        kept = few_digits(kept, change.digits)
    kept[list(change.idle)] = 0
    return kept


def few_digits(weight: Array, count: int) -> Array:
    """Each weight's `count` highest signed digits, no two of which are neighbours."""
    left, out = weight.copy(), np.zeros_like(weight)
    for _ in range(count):
        magnitude = np.abs(left)
        top = np.where(magnitude, np.floor(np.log2(np.maximum(magnitude * 2 / 3, 0.5))).astype(np.int64) + 1, 0)
        digit = np.where(magnitude, np.sign(left) << top, 0)
        out, left = out + digit, left - digit
    return out


def digits_of(values: Array) -> Array:
    """How many signed digits each number needs at least (its non-adjacent form's)."""
    size = np.abs(values)
    count: Array = np.bitwise_count(size ^ 3 * size).astype(np.int64)
    return count


def _rounded(values: Array, bits: int) -> Array:
    """values / 2^bits, half up."""
    return np.asarray(values) + ((1 << bits) >> 1) >> bits


def _mean_of(node: Dense | Conv, lost: NDArray[np.float64], means: NDArray[np.float64] | None) -> Array:
    """What the lost weights (O, ...) give on the mean input."""
    if means is None:
        return np.zeros(len(lost), dtype=np.int64)
    if isinstance(node, Dense):
        return np.rint(lost @ means).astype(np.int64)
    outputs, inputs = node.weight.shape[:2]
    of_input = lost.reshape(outputs, inputs, -1).sum(axis=2)
    group = np.arange(outputs) * node.groups // outputs
    found: Array = np.rint((of_input * means.reshape(node.groups, inputs)[group]).sum(axis=1)).astype(np.int64)
    return found
