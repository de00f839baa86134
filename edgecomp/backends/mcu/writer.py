"""What is written so far: constant tables, names, elements read and stored, and the nodes that each element passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.mcu.ctypes import constant, literal, local, same, stored
from edgecomp.backends.mcu.names import Names
from edgecomp.backends.mcu.plan import Elementwise, Plan
from edgecomp.ir import (
    Encoding,
    Input,
    Ints,
    Network,
    Node,
    Output,
    Requant,
    Rounding,
    Step,
    Value,
)

Lines = list[str]
FEW_THRESHOLDS = 8  # a longer list is halved again and again
MOST_COMPARED = 31  # thresholds that are all compared where that makes a loop over samples a loop over vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A constant array: the type of an element, its reader `(type)READ(` without address and end, its name."""

    element: str
    read: str
    name: str


@dataclass(slots=True, kw_only=True)
class Writer:
    """The program so far: constant tables, and names.

    `lane` is the index of a sample where LANES of them are computed side by side: an element's samples then lie one
    after the other, and every statement on elements is a loop over them.
    """

    network: Network
    values: Mapping[str, Value]
    plan: Plan
    names: Names
    ends: dict[str, str] = field(default_factory=dict)
    tables: Lines = field(default_factory=list)
    known: dict[tuple[str, Ints], Table] = field(default_factory=dict)
    helpers: dict[str, tuple[str, Lines]] = field(default_factory=dict)
    constant_bytes: int = 0
    lane: str = ""

    def each(self, lines: Lines) -> Lines:
        """The statements on the elements of all samples."""
        if not self.lane:
            return lines
        return [f"for (int {self.lane} = 0; {self.lane} < LANES; {self.lane}++) {{", *indented(lines), "}"]

    def cell(self, variable: str) -> str:
        """A variable of each sample."""
        return f"{variable}[{self.lane}]" if self.lane else variable

    def begun(self, kind: str, variable: str, start: str) -> Lines:
        """The declaration of such a variable."""
        if not self.lane:
            return [f"{kind} {variable} = {start};"]
        return [f"{kind} {variable}[LANES];", *self.each([f"{self.cell(variable)} = {start};"])]

    def sample(self, index: str) -> str:
        """The place of an element of this sample."""
        return f"({index}) * LANES + {self.lane}" if self.lane else index

    def table(self, hint: str, values: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
        """A constant array's reader: `READ(&name[` without its index and end."""
        table = self.walked(hint, values)
        return f"{table.read}&{table.name}["

    def walked(self, hint: str, values: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Table:
        """A constant array, written once."""
        key = hint, Ints(values)
        if key not in self.known:
            name = self.names.of(hint)
            declaration, read, size = constant(name, values)
            self.constant_bytes += size
            self.tables.append(declaration)
            self.known[key] = Table(element=read[1:].partition(")")[0], read=f"{read}(", name=name)
        return self.known[key]

    def helper(self, hint: str, before: str, rest: Lines) -> str:
        """The name of a function that stands between `before` and `rest` in its definition, written once."""
        key = "\n".join([before, *rest])
        if key not in self.helpers:
            name = self.names.of(hint)
            self.helpers[key] = name, [f"{before}{name}{rest[0]}", *rest[1:], ""]
        return self.helpers[key][0]

    def parameter(self, hint: str, vector: Ints, channel: str) -> str:
        """A per-channel parameter: a literal where all channels share it."""
        if same(vector):
            return literal(int(vector.array.reshape(-1)[0]))
        return f"{self.table(hint, vector.array)}{channel}])"

    def read(self, name: str, index: str) -> str:
        """An element of a value, as a signed expression wide enough for it."""
        return self.decoded(name, f"{self.place(name)[1]}[{self.sample(index)}]")

    def decoded(self, name: str, code: str) -> str:
        """What is stored for an element of a value, as a signed expression wide enough for it."""
        value, node = self.values[name], self.node(self.plan.source[name])
        if not isinstance(node, Input):
            return f"({local(value.least, value.greatest)}){code}"
        code = f"({local(min(node.lo, value.least), max(2 * node.hi, value.greatest))}){code}"
        if node.encoding is Encoding.BIPOLAR:
            return f"(2 * {code} - 1)"
        return f"({code} - {literal(node.zero_point)})" if node.zero_point else code

    def place(self, name: str) -> tuple[str, str]:
        """(type of an element, array) in which a value lies, as codes where it is an input."""
        value, node = self.values[name], self.node(self.plan.source[name])
        if isinstance(node, Input):
            return stored(node.lo, node.hi), self.ends[node.name]
        slot, member = self.plan.place[node.name]
        return stored(value.least, value.greatest), f"s{slot}.{member}"

    def node(self, name: str) -> Node:
        return next(node for node in self.network.nodes if node.name == name)

    # ---- elementwise nodes that each element passes on its way ----

    def passed(self, variable: str, value: Value, chain: Sequence[Elementwise], index: str, channel: str) -> Lines:
        """Take `variable`, an element of `value`, through the chain and store it under `index`."""
        lines, result, last = self.through(variable, value, chain, channel)
        return [*lines, f"{self.target(chain[-1].name, index)} = ({stored(last.least, last.greatest)}){result};"]

    def through(
        self, variable: str, value: Value, chain: Sequence[Elementwise], channel: str
    ) -> tuple[Lines, str, Value]:
        """(lines, variable, value) behind the chain."""
        lines: Lines = []
        for node in chain:
            match node:
                case Requant():
                    more, variable = self.requant(node, variable, value, channel)
                case Step():
                    more, variable = self.step(node, variable, value, channel)
                case Output():
                    more, variable = self.output(node, variable)
                case _:
                    assert_never(node)
            lines += more
            value = self.values[node.name]
        return lines, variable, value

    def target(self, name: str, index: str) -> str:
        if name in self.ends:
            return f"{self.ends[name]}[{self.sample(index)}]"
        slot, member = self.plan.place[name]
        return f"s{slot}.{member}[{self.sample(index)}]"

    def requant(self, node: Requant, x: str, value: Value, channel: str) -> tuple[Lines, str]:
        lo, hi = self._scaled(node, value)
        kind, v, q = local(lo, hi), self.names.of("v"), self.names.of("q")
        factor = self.parameter(f"{node.name}_multiplier", node.multiplier, channel)
        addend = self.parameter(f"{node.name}_addend", node.addend, channel)
        scaled = f"({kind}){x}" if factor == "1" else f"({kind}){factor} * {x}"
        lines = [f"const {kind} {v} = {scaled}{'' if addend == '0' else f' + {addend}'};"]
        floor = f"({v} < 0 ? ~(~{v} >> {node.shift}) : {v} >> {node.shift})" if lo < 0 else f"{v} >> {node.shift}"
        lines.append(f"{kind} {q} = {floor if node.shift else v};")
        if node.rounding is Rounding.HALF_EVEN:
            lines.append(f"if (({v} & {literal((1 << node.shift) - 1)}) == 0 && ({q} & 1)) {q} -= 1;")
        for what, sign, bound in zip(("lo", "hi"), "<>", bounds(node, value), strict=True):
            if bound is not None:
                end = f"({kind}){self.parameter(f'{node.name}_{what}', bound, channel)}"
                lines.append(f"if ({q} {sign} {end}) {q} = {end};")
        return lines, q

    def _scaled(self, node: Requant, value: Value) -> tuple[int, int]:
        """The interval of multiplier * x + addend over all channels, 0 and both of its terms included."""
        ends = [0]
        for c in range(len(value.lo)):
            m, b = (int(p.array[c if len(p.array) > 1 else 0]) for p in (node.multiplier, node.addend))
            terms = [m * x for x in (value.lo[c], value.hi[c])]
            ends += [m, b, value.lo[c], value.hi[c], *terms, *(t + b for t in terms)]
        ends += [int(v) for v in (*node.lo.array, *node.hi.array)] + [(1 << node.shift) - 1]
        return min(ends), max(ends)

    def step(self, node: Step, x: str, value: Value, channel: str) -> tuple[Lines, str]:
        rows, count = node.values.shape
        row = "" if rows == 1 else f"{channel} * {count - 1} + "
        base = "" if rows == 1 else f"{channel} * {count} + "
        k, known, result = self.names.of("k"), self.values[node.name], self.names.of("y")
        ends, first = node.thresholds.array, counted(node, value)
        if first is None:
            final = f"{self.table(f'{node.name}_values', node.values.array)}{base}{k}])"
        else:
            ends, final = first[1], f"{k} + {first[0]}" if first[0] else k
        final = f"const {local(known.least, known.greatest)} {result} = {final};"
        if count == 1:
            return [f"const int_fast16_t {k} = 0;", final], result
        kind = local(min(int(ends.min()), value.least), max(int(ends.max()), value.greatest))
        reach = f"({kind}){x} >= ({kind}){self.table(f'{node.name}_thresholds', ends)}{row}"
        if self.lane and count - 1 <= MOST_COMPARED:
            return [f"const {kind} {k} = {' + '.join(f'({reach}{i}]))' for i in range(count - 1))};", final], result
        if count - 1 <= FEW_THRESHOLDS:
            return [f"int_fast16_t {k} = 0;", f"while ({k} < {count - 1} && {reach}{k}])) {k}++;", final], result
        high, middle = self.names.of("high"), self.names.of("middle")
        index = local(0, 2 * count)
        search = [f"{index} {k} = 0, {high} = {count - 1};", f"while ({k} < {high}) {{",
                  f"    const {index} {middle} = ({k} + {high}) / 2;",
                  f"    if ({reach}{middle}])) {k} = {middle} + 1; else {high} = {middle};", "}"]  # fmt: skip
        return [*search, final], result

    def output(self, node: Output, x: str) -> tuple[Lines, str]:
        if node.encoding is Encoding.BIPOLAR:
            return [], f"(({x} + 1) / 2)"
        value = self.values[node.name]
        return [], f"(({local(value.least, value.greatest)}){x} + {literal(node.zero_point)})" if node.zero_point else x

    def stored(self, node: Node, expression: str, chain: Sequence[Elementwise], index: str, channel: str) -> Lines:
        """The chain behind an element of a node's value, or its store."""
        value = self.values[node.name]
        if chain:
            return self.passed(expression, value, chain, index, channel)
        return [f"{self.target(node.name, index)} = ({stored(value.least, value.greatest)}){expression};"]


def bounds(node: Requant, value: Value) -> tuple[Ints | None, Ints | None]:
    """(lo, hi) to compare with: None where no channel reaches beyond its own, and one for all where that does."""
    parameters = (node.multiplier, node.addend, node.lo, node.hi)
    count = max(len(value.lo), *(len(p.array) for p in parameters))
    m, b, lo, hi = (np.broadcast_to(p.array, count).tolist() for p in parameters)
    tie = (1 << node.shift) - 1 if node.rounding is Rounding.HALF_EVEN else -1

    def rounded(v: int) -> int:
        q = v >> node.shift
        return q - (q & 1) if v & tie == 0 else q

    ends = [sorted(rounded(m[c] * x[c % len(x)] + b[c]) for x in (value.lo, value.hi)) for c in range(count)]
    low = _bound([-least for least, _ in ends], [-x for x in lo])
    high = _bound([max(most, least) for (_, most), least in zip(ends, lo, strict=True)], hi)  # behind the lower one
    return None if low is None else Ints([-x for x in low]), None if high is None else Ints(high)


def _bound(most: Sequence[int], bound: Sequence[int]) -> Sequence[int] | None:
    """Upper bounds that do what `bound` does to what is at most `most`: none, one for all, or these."""
    needed = {end for reached, end in zip(most, bound, strict=True) if reached > end}
    if not needed:
        return None
    one = min(needed)
    free = all(reached <= one for reached, end in zip(most, bound, strict=True) if reached <= end)
    return [one] if len(needed) == 1 and free else bound


def counted(node: Step, value: Value) -> tuple[int, NDArray[np.int64]] | None:
    """(the first value, thresholds) where each value is one more than the one before: the count says it alone.

    Rows are filled up with their last threshold; in its place stands one that no element reaches.
    """
    values, ends = node.values.array, node.thresholds.array.copy()
    first, beyond = int(values.flat[0]), max(value.greatest + 1, int(ends.max(initial=0)))
    for row, limits in zip(values - first, ends, strict=True):
        filled = np.flatnonzero(row == row[-1])[0]
        limits[filled:] = beyond
        if not np.array_equal(row, np.minimum(np.arange(len(row)), filled)):
            return None
    if beyond <= value.greatest or int(stored(int(ends.min(initial=0)), beyond).strip("uint_")) > 16:
        return None
    return first, ends


def opened(index: str, count: int) -> Lines:
    return [f"for (int_fast16_t {index} = 0; {index} < {count}; {index}++) {{"]


def indented(lines: Sequence[str]) -> Lines:
    return ["    " + line for line in lines]


def flat(indices: Sequence[str], shape: Sequence[int]) -> str:
    """The row-major place of an element."""
    place = indices[0]
    for index, size in zip(indices[1:], shape[1:], strict=True):
        place = f"({place}) * {size} + {index}"
    return place
