"""What is written so far: constant tables, names, elements read and stored, and the nodes that each element passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

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


@dataclass(slots=True, kw_only=True)
class Writer:
    """The program so far: constant tables, and names."""

    network: Network
    values: Mapping[str, Value]
    plan: Plan
    names: Names
    ends: dict[str, str] = field(default_factory=dict)
    tables: Lines = field(default_factory=list)
    constant_bytes: int = 0

    def table(self, hint: str, values: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
        """A constant array's reader: `READ(&name[` without its index and end."""
        name = self.names.of(hint)
        declaration, read, size = constant(name, values)
        self.constant_bytes += size
        self.tables.append(declaration)
        return f"{read}(&{name}["

    def parameter(self, hint: str, vector: Ints, channel: str) -> str:
        """A per-channel parameter: a literal where all channels share it."""
        if same(vector):
            return literal(int(vector.array.reshape(-1)[0]))
        return f"{self.table(hint, vector.array)}{channel}])"

    def read(self, name: str, index: str) -> str:
        """An element of a value, as a signed expression wide enough for it."""
        value, node = self.values[name], self.node(self.plan.source[name])
        kind = local(value.least, value.greatest)
        if isinstance(node, Input):
            wide = local(min(node.lo, value.least), max(2 * node.hi, value.greatest))
            code = f"({wide}){self.ends[node.name]}[{index}]"
            if node.encoding is Encoding.BIPOLAR:
                return f"(2 * {code} - 1)"
            return f"({code} - {literal(node.zero_point)})" if node.zero_point else code
        slot, member = self.plan.place[node.name]
        return f"({kind})s{slot}.{member}[{index}]"

    def node(self, name: str) -> Node:
        return next(node for node in self.network.nodes if node.name == name)

    # ---- elementwise nodes that each element passes on its way ----

    def passed(self, variable: str, value: Value, chain: Sequence[Elementwise], index: str, channel: str) -> Lines:
        """Take `variable`, an element of `value`, through the chain and store it under `index`."""
        lines: Lines = []
        name = ""
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
            value, name = self.values[node.name], node.name
        target = self.target(name, index)
        return [*lines, f"{target} = ({stored(value.least, value.greatest)}){variable};"]

    def target(self, name: str, index: str) -> str:
        if name in self.ends:
            return f"{self.ends[name]}[{index}]"
        slot, member = self.plan.place[name]
        return f"s{slot}.{member}[{index}]"

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
        least = f"({kind}){self.parameter(f'{node.name}_lo', node.lo, channel)}"
        most = f"({kind}){self.parameter(f'{node.name}_hi', node.hi, channel)}"
        if (lo >> node.shift) - 1 < int(node.lo.array.max()):
            lines.append(f"if ({q} < {least}) {q} = {least};")
        if hi >> node.shift > int(node.hi.array.min()):
            lines.append(f"if ({q} > {most}) {q} = {most};")
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
        k = self.names.of("k")
        known = self.values[node.name]
        result = self.names.of("y")
        values = self.table(f"{node.name}_values", node.values.array)
        final = f"const {local(known.least, known.greatest)} {result} = {values}{base}{k}]);"
        if count == 1:
            return [f"const int_fast16_t {k} = 0;", final], result
        ends = node.thresholds.array
        kind = local(min(int(ends.min()), value.least), max(int(ends.max()), value.greatest))
        reach = f"({kind}){x} >= ({kind}){self.table(f'{node.name}_thresholds', ends)}{row}"
        if count - 1 <= FEW_THRESHOLDS:
            return [f"int_fast16_t {k} = 0;", f"while ({k} < {count - 1} && {reach}{k}])) {k}++;", final], result
        high, middle = self.names.of("high"), self.names.of("middle")
        search = [f"int_fast32_t {k} = 0, {high} = {count - 1};", f"while ({k} < {high}) {{",
                  f"    const int_fast32_t {middle} = ({k} + {high}) / 2;",
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
