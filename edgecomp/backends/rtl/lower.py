"""A Network as alkaid's traced arithmetic: every element of every value is one word."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.functions import decided, entry, requant, step, winner
from edgecomp.backends.rtl.packs import Term, packed_total
from edgecomp.backends.rtl.product import Products
from edgecomp.backends.rtl.words import (
    TooWideError,
    Word,
    constant_of,
    fixed,
    floored,
    free,
    greater,
    grid,
    plus,
    settled,
    times,
    total,
    variable,
)
from edgecomp.errors import InexpressibleError
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Encoding,
    Input,
    MaxPool,
    Mul,
    Network,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Slice,
    Step,
    SumPool,
    TableDense,
    Transpose,
    Value,
)

Words = NDArray[Any]  # of words, shaped like the value, no batch axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """The words of all inputs and of all outputs as host codes, in the network's order, each row-major."""

    inputs: tuple[Word, ...]
    outputs: tuple[Word, ...]


def trace(network: Network, form: Form) -> Traced:
    """Every node in turn; InexpressibleError names a node that needs a constant too wide."""
    state = Lowering(form=form, known=network.values(), products=Products(depth=form.depth, packed=form.packed))
    for node in network.nodes:
        try:
            state.values[node.name] = state.bounded(node, state.lower(node))
        except TooWideError as error:
            raise InexpressibleError(str(error), where=node.name, hint="use narrower codes or weights") from error
    return Traced(inputs=tuple(state.inputs), outputs=tuple(state.outputs))


def array(elements: Sequence[Word], shape: tuple[int, ...]) -> Words:
    out = np.empty(len(elements), dtype=object)
    out[:] = list(elements)
    return out.reshape(shape)


def padded(x: Words, pads: Sequence[tuple[int, int]], filler: Word | None) -> Words:
    """x with `filler` around it, (before, after) on every axis."""
    out: Words = np.empty([size + sum(pad) for size, pad in zip(x.shape, pads, strict=True)], dtype=object)
    out.fill(filler)
    out[tuple(slice(before, before + size) for size, (before, _) in zip(x.shape, pads, strict=True))] = x
    return out


@dataclass(slots=True, kw_only=True)
class Lowering:
    """The words of every value so far."""

    form: Form
    known: Mapping[str, Value]
    products: Products
    values: dict[str, Words] = field(default_factory=dict)
    inputs: list[Word] = field(default_factory=list)
    outputs: list[Word] = field(default_factory=list)

    def bounded(self, node: Node, x: Words) -> Words:
        """Every word held to its channel's interval."""
        value = self.known[node.name]
        if isinstance(node, Input | Output):
            return x
        rows = x.reshape(x.shape[0], -1)
        return array([settled(w, value.lo[c], value.hi[c]) for c in range(len(rows)) for w in rows[c]], x.shape)

    def each(self, x: Words, act: Callable[[int, Word], Word]) -> Words:
        """act(channel, element) for every element."""
        rows = x.reshape(x.shape[0], -1)
        return array([act(c, word) for c in range(len(rows)) for word in rows[c]], x.shape)

    def lower(self, node: Node) -> Words:
        match node:
            case Input():
                return self.input(node)
            case Output():
                return self.output(node)
            case Concat() | Slice() | Reshape() | Transpose() | Pad():
                return self.move(node)
            case Dense() | Conv() | Add() | Mul() | SumPool() | TableDense():
                return self.arithmetic(node)
            case Requant() | Step() | MaxPool() | ArgMax():
                return self.function(node)
            case _:
                assert_never(node)

    def arithmetic(self, node: Dense | Conv | Add | Mul | SumPool | TableDense) -> Words:
        match node:
            case Dense():
                bias = [entry(node.bias, j) for j in range(len(node.weight.array))]
                return array(self.products.multiply(node.weight.array, bias, list(self.values[node.x])), (len(bias),))
            case Conv():
                return self.conv(node)
            case Add():
                a, b = np.broadcast_arrays(self.values[node.a], self.values[node.b])
                others = iter(b.reshape(-1))
                return self.each(a, lambda c, w: self.added(entry(node.p, c), w, entry(node.q, c), next(others)))
            case Mul():
                a, b = np.broadcast_arrays(self.values[node.a], self.values[node.b])
                others = iter(b.reshape(-1))
                return self.each(a, lambda _, w: self.multiplied(w, next(others)))
            case SumPool():
                return self.pool(node)
            case TableDense():
                return self.table_dense(node)
            case _:
                assert_never(node)

    def added(self, p: int, a: Word, q: int, b: Word) -> Word:
        return total([times(a, p), times(b, q)])

    def multiplied(self, a: Word, b: Word) -> Word:
        known = constant_of(a), constant_of(b)
        if known[0] is not None or known[1] is not None:
            return times(b, known[0]) if known[0] is not None else times(a, int(b.low))
        return free(a * b)

    def function(self, node: Requant | Step | MaxPool | ArgMax) -> Words:
        x = self.values[node.x]
        match node:
            case Requant():
                return self.each(x, lambda c, w: requant(node, c, w, self.form))
            case Step():
                rows = [(node.thresholds.array[c].tolist(), v.tolist()) for c, v in enumerate(node.values.array)]
                return self.each(x, lambda c, w: step(*rows[c if len(rows) > 1 else 0], w, self.form))
            case MaxPool():
                return self.pool(node)
            case ArgMax():
                tree = node.tree.array.tolist()
                return array([decided(list(x), tree) if tree else winner(list(x))], (1,))
            case _:
                assert_never(node)

    def input(self, node: Input) -> Words:
        found = []
        for _ in range(int(np.prod(node.shape))):
            code = variable(node.lo, node.hi)
            self.inputs.append(code)
            bipolar = node.encoding is Encoding.BIPOLAR
            found.append(plus(times(code, 2), -1) if bipolar else plus(code, -node.zero_point))
        return array(found, node.shape)

    def output(self, node: Output) -> Words:
        bipolar = node.encoding is Encoding.BIPOLAR
        for word in self.values[node.x].reshape(-1):
            self.outputs.append(floored(plus(word, 1), 1) if bipolar else plus(word, node.zero_point))
        return self.values[node.x]

    def conv(self, node: Conv) -> Words:
        weight, shape = node.weight.array, node.weight.shape
        x = padded(self.values[node.x], ((0, 0), *node.pads), fixed(0))
        places, windows = windows_of(x.shape[1:], shape[2:], node.stride, node.dilation)
        per_group, outputs = shape[1], shape[0] // node.groups
        found: Words = np.empty((shape[0], len(windows)), dtype=object)
        for group in range(node.groups):
            rows = slice(group * outputs, (group + 1) * outputs)
            channels = slice(group * per_group, (group + 1) * per_group)
            matrix = weight[rows].reshape(outputs, -1)
            bias = [entry(node.bias, j) for j in range(rows.start, rows.stop)]
            for number, where in enumerate(windows):
                taps = list(x[(channels, *where)].reshape(-1))
                found[rows, number] = array(self.products.multiply(matrix, bias, taps), (outputs,))
        return found.reshape(shape[0], *places)

    def table_dense(self, node: TableDense) -> Words:
        x = self.values[node.x]
        places = [grid(word) - entry(node.lo, i) for i, word in enumerate(x)]
        sums = [packed_total([Term(word=word, values=tuple(row[i][places[i]].tolist())) for i, word in enumerate(x)])
                for row in node.tables.array]  # fmt: skip
        return array(sums, (len(sums),))

    def pool(self, node: MaxPool | SumPool) -> Words:
        dilation = node.dilation if isinstance(node, MaxPool) else (1,) * len(node.kernel)
        x = padded(self.values[node.x], ((0, 0), *node.pads), None)
        places, windows = windows_of(x.shape[1:], node.kernel, node.stride, dilation)
        found = []
        for channel in x:
            for where in windows:
                window = [word for word in channel[where].reshape(-1) if word is not None]
                found.append(greatest(window) if isinstance(node, MaxPool) else total(window))
        return array(found, (x.shape[0], *places))

    def move(self, node: Concat | Slice | Reshape | Transpose | Pad) -> Words:
        match node:
            case Concat():
                return np.concatenate([self.values[name] for name in node.xs], axis=node.axis)
            case Slice():
                part = slice(node.start, node.stop, node.step)
                return np.asarray(self.values[node.x][(slice(None),) * node.axis + (part,)])
            case Reshape():
                return self.values[node.x].reshape(node.shape)
            case Transpose():
                return self.values[node.x].transpose(node.perm)
            case Pad():
                return padded(self.values[node.x], node.pads, fixed(node.value))
            case _:
                assert_never(node)


def greatest(words: list[Word]) -> Word:
    """The greatest of several."""
    while len(words) > 1:
        pairs = [words[i : i + 2] for i in range(0, len(words), 2)]
        words = [greater(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return words[0]


Where = tuple[slice, ...]


def windows_of(
    shape: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[int], list[Where]]:
    """How many windows there are along each spatial axis, and where each lies, row-major."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    firsts = [range(0, size - span + 1, s) for size, span, s in zip(shape, spans, stride, strict=True)]

    def at(place: Sequence[int]) -> Iterator[slice]:
        for start, span, gap in zip(place, spans, dilation, strict=True):
            yield slice(start, start + span, gap)

    return [len(first) for first in firsts], [tuple(at(place)) for place in itertools.product(*firsts)]
