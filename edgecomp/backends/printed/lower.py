"""A Network as a circuit: linear nodes stay sums of bits until a node needs the number itself."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.printed.argmax import classify, decide
from edgecomp.backends.printed.forms import Form
from edgecomp.backends.printed.gates import Circuit, Gates, Port
from edgecomp.backends.printed.sums import Sum, Word, combine, constant, of_word, to_word
from edgecomp.backends.printed.words import clip, extended, greatest, half_even, lookup, shifted, step
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
    Value,
    operands,
)
from edgecomp.ir.ranges import bits_of

Sums = NDArray[Any]  # of Sum objects, shaped like the value, no batch axis

LOOKUP_BITS = 6  # a threshold function of so few bits is a tree of multiplexers


def to_circuit(network: Network, form: Form) -> Circuit:
    """The network's circuit in one form; inputs and outputs are host codes."""
    readers = Counter(name for node in network.nodes for name in set(operands(node)))
    state = Lowering(form=form, readers=readers, known=network.values())
    for node in network.nodes:
        state.values[node.name] = state.lower(node)
    return state.gates.finish(state.outputs)


def array(elements: Sequence[Sum], shape: tuple[int, ...]) -> Sums:
    out = np.empty(len(elements), dtype=object)
    out[:] = list(elements)
    return out.reshape(shape)


def padded(x: Sums, pads: Sequence[tuple[int, int]], filler: Sum | None) -> Sums:
    """x with `filler` around it, (before, after) on every axis."""
    out: Sums = np.empty([size + sum(pad) for size, pad in zip(x.shape, pads, strict=True)], dtype=object)
    out.fill(filler)
    out[tuple(slice(before, before + size) for size, (before, _) in zip(x.shape, pads, strict=True))] = x
    return out


def entry(vector: Ints, channel: int) -> int:
    """A parameter's entry for a channel."""
    return int(vector.array[channel if len(vector.array) > 1 else 0])


@dataclass(slots=True, kw_only=True)
class Lowering:
    """The circuit so far, every value as sums, and the numbers already made from sums."""

    form: Form
    readers: Counter[str]
    known: Mapping[str, Value]
    gates: Gates = field(default_factory=Gates)
    values: dict[str, Sums] = field(default_factory=dict)
    words: dict[Sum, Word] = field(default_factory=dict)
    outputs: list[Port] = field(default_factory=list)

    def word(self, value: Sum) -> Word:
        if value not in self.words:
            self.words[value] = to_word(self.gates, value)
        return self.words[value]

    def settled(self, name: str) -> Sums:
        """The value as sums of the bits of its own numbers, for nodes that would copy its sums many times."""
        x = self.values[name]
        return array([of_word(self.word(s)) for s in x.reshape(-1)], x.shape)

    def operand(self, name: str) -> Sums:
        """The value for a node that adds: its own sums where nobody else needs them as numbers."""
        return self.values[name] if self.readers[name] == 1 else self.settled(name)

    def each(self, x: Sums, act: Any) -> Sums:
        """act(channel, element) for every element."""
        rows = x.reshape(x.shape[0], -1)
        return array([act(c, s) for c in range(len(rows)) for s in rows[c]], x.shape)

    def lower(self, node: Node) -> Sums:
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

    def arithmetic(self, node: Dense | Conv | Add | Mul | SumPool | TableDense) -> Sums:
        match node:
            case Dense():
                return self.dense(node)
            case Conv():
                return self.conv(node)
            case Add() | Mul():
                return self.pair(node)
            case SumPool():
                return self.pool(node)
            case TableDense():
                return self.table_dense(node)
            case _:
                assert_never(node)

    def function(self, node: Requant | Step | MaxPool | ArgMax) -> Sums:
        x = self.values[node.x]
        match node:
            case Requant():
                return self.each(x, lambda c, s: self.requant(node, c, s))
            case Step():
                return self.each(x, lambda c, s: self.step(node, c, s))
            case MaxPool():
                return self.pool(node)
            case ArgMax():
                tree = node.tree.array.tolist()
                found = decide(self.gates, [self.word(s) for s in x], tree) if tree else None
                return array([of_word(found or classify(self.gates, list(x), self.form))], (1,))
            case _:
                assert_never(node)

    def input(self, node: Input) -> Sums:
        count = int(np.prod(node.shape))
        width = bits_of(node.lo, node.hi)
        found = []
        for index in range(count):
            port = self.gates.add_input(node.name, index, width, signed=node.lo < 0)
            code = of_word(Word(bits=port.bits, signed=port.signed, lo=node.lo, hi=node.hi))
            bipolar = node.encoding is Encoding.BIPOLAR
            found.append(combine([(2, code)], -1) if bipolar else combine([(1, code)], -node.zero_point))
        return array(found, node.shape)

    def output(self, node: Output) -> Sums:
        for index, value in enumerate(self.values[node.x].reshape(-1)):
            if node.encoding is Encoding.BIPOLAR:
                code = shifted(self.word(combine([(1, value)], 1)), 1)
            else:
                code = self.word(combine([(1, value)], node.zero_point))
            whole = self.known[node.name]
            bits = extended(code, whole.bits)
            self.outputs.append(Port(node=node.name, index=index, bits=bits, signed=whole.signed))
        return self.values[node.x]

    def dense(self, node: Dense) -> Sums:
        x = self.settled(node.x)
        rows = [
            combine([(int(w), s) for w, s in zip(row, x, strict=True) if w], entry(node.bias, j))
            for j, row in enumerate(node.weight.array)
        ]
        return array(rows, (len(rows),))

    def conv(self, node: Conv) -> Sums:
        weight = node.weight.array
        dilation = node.dilation
        x = padded(self.settled(node.x), ((0, 0), *node.pads), constant(0))
        spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
        places = places_of(x.shape[1:], spans, node.stride)
        per_group, outputs = weight.shape[1], weight.shape[0]
        found = []
        for j in range(outputs):
            first = j // (outputs // node.groups) * per_group
            for place in itertools.product(*places):
                where = tuple(slice(p, p + s, d) for p, s, d in zip(place, spans, dilation, strict=True))
                taps = x[(slice(first, first + per_group), *where)].reshape(-1)
                pairs = [(int(w), s) for w, s in zip(weight[j].reshape(-1), taps, strict=True) if w]
                found.append(combine(pairs, entry(node.bias, j)))
        return array(found, (outputs, *(len(p) for p in places)))

    def pair(self, node: Add | Mul) -> Sums:
        if isinstance(node, Mul):
            a, b = np.broadcast_arrays(self.settled(node.a), self.settled(node.b))
            return self.each(a, Product(state=self, others=iter(b.reshape(-1))))
        a, b = np.broadcast_arrays(self.operand(node.a), self.operand(node.b))
        others = iter(b.reshape(-1))
        return self.each(a, lambda c, s: combine([(entry(node.p, c), s), (entry(node.q, c), next(others))]))

    def requant(self, node: Requant, channel: int, x: Sum) -> Sum:
        scaled = self.word(combine([(entry(node.multiplier, channel), x)], entry(node.addend, channel)))
        even = node.rounding is Rounding.HALF_EVEN
        rounded = half_even(self.gates, scaled, node.shift) if even else shifted(scaled, node.shift)
        return of_word(clip(self.gates, rounded, entry(node.lo, channel), entry(node.hi, channel)))

    def step(self, node: Step, channel: int, x: Sum) -> Sum:
        row = channel if len(node.values.array) > 1 else 0
        thresholds, values = node.thresholds.array[row], node.values.array[row]
        word = self.word(x)
        if len(word.bits) > LOOKUP_BITS:
            return of_word(step(self.gates, word, thresholds.tolist(), values.tolist()))
        reached = values[np.searchsorted(thresholds, np.arange(word.lo, word.hi + 1), side="right")]
        return of_word(lookup(self.gates, word, reached.tolist()))

    def table_dense(self, node: TableDense) -> Sums:
        tables, x = node.tables.array, self.values[node.x]
        words = [self.word(s) for s in x]
        starts = [word.lo - entry(node.lo, i) for i, word in enumerate(words)]
        found = []
        for row in tables:
            reached = [t[s : s + w.hi - w.lo + 1].tolist() for t, s, w in zip(row, starts, words, strict=True)]
            parts = [(1, self.table(word, values)) for word, values in zip(words, reached, strict=True)]
            found.append(combine(parts))
        return array(found, (len(tables),))

    def table(self, word: Word, values: list[int]) -> Sum:
        """values[word - word.lo]: a sum of the word's bits where the table is one, else a tree of multiplexers."""
        plain = linear(word, values)
        return of_word(lookup(self.gates, word, values)) if plain is None else plain

    def pool(self, node: MaxPool | SumPool) -> Sums:
        largest = isinstance(node, MaxPool)
        dilation = node.dilation if isinstance(node, MaxPool) else (1,) * len(node.kernel)
        source = self.values[node.x] if largest else self.operand(node.x)
        x = padded(source, ((0, 0), *node.pads), None)
        spans = [(k - 1) * d + 1 for k, d in zip(node.kernel, dilation, strict=True)]
        places = places_of(x.shape[1:], spans, node.stride)
        found = []
        for c in range(x.shape[0]):
            for place in itertools.product(*places):
                where = tuple(slice(p, p + s, d) for p, s, d in zip(place, spans, dilation, strict=True))
                window = [s for s in x[c][where].reshape(-1) if s is not None]
                top = of_word(greatest(self.gates, [self.word(s) for s in window])) if largest else None
                found.append(combine([(1, s) for s in window]) if top is None else top)
        return array(found, (x.shape[0], *(len(p) for p in places)))

    def move(self, node: Concat | Slice | Reshape | Transpose | Pad) -> Sums:
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
                return padded(self.values[node.x], node.pads, constant(node.value))
            case _:
                assert_never(node)


@dataclass(slots=True, kw_only=True)
class Product:
    """Multiplies each element with the next of `others`: one AND for every pair of bits."""

    state: Lowering
    others: Any

    def __call__(self, channel: int, a: Sum) -> Sum:
        b: Sum = next(self.others)
        parts = [(b.const, a), (a.const, Sum(const=0, terms=b.terms, lo=0, hi=0))]
        for first, p in a.terms:
            for second, q in b.terms:
                bit = self.state.gates.both(2 * first, 2 * second)
                parts.append((p * q, of_word(Word(bits=(bit,), signed=False, lo=0, hi=1))))
        corners = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        total = combine(parts)
        return Sum(const=total.const, terms=total.terms, lo=min(corners), hi=max(corners))


def places_of(shape: Sequence[int], spans: Sequence[int], stride: Sequence[int]) -> list[range]:
    """The first places of all windows along each spatial axis."""
    return [range(0, size - span + 1, s) for size, span, s in zip(shape, spans, stride, strict=True)]


def linear(word: Word, values: list[int]) -> Sum | None:
    """The table as const + a coefficient for each bit of the word, where that is what it is."""
    if not word.lo <= 0 <= word.hi:
        return None
    zero, weights = values[-word.lo], []
    for k in range(len(word.bits)):
        code = -(1 << k) if word.signed and k == len(word.bits) - 1 else 1 << k
        if not word.lo <= code <= word.hi:
            return None
        weights.append(values[code - word.lo] - zero)
    for code in range(word.lo, word.hi + 1):
        bits = (w for k, w in enumerate(weights) if code >> k & 1)
        if values[code - word.lo] != zero + sum(bits):
            return None
    parts = [
        (w, of_word(Word(bits=(lit,), signed=False, lo=0, hi=1))) for w, lit in zip(weights, word.bits, strict=True)
    ]
    total = combine(parts, zero)
    return Sum(const=total.const, terms=total.terms, lo=min(values), hi=max(values))
