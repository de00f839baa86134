"""The gate-level IR: a graph of AND and XOR nodes with inverted edges, hashed and folded as it is built.

A literal is 2 * node + inverted; node 0 is the constant false, so that literal 0 is false and 1 is true. Nodes stand in
topological order in integer arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FALSE, TRUE = 0, 1


class Kind(IntEnum):
    """What a node is."""

    CONSTANT = 0
    INPUT = 1
    AND = 2
    XOR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One element of an input or output on wires: `node` and its row-major `index`, bits from the lowest up.

    `bits` are literals; a signed port is two's complement.
    """

    node: str
    index: int
    bits: tuple[int, ...]
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """A combinational circuit: node i has kind[i] and, for AND and XOR, the operand literals a[i] and b[i] < 2 * i."""

    kind: NDArray[np.int8]
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def gates(self) -> int:
        """How many AND and XOR nodes there are."""
        return int((self.kind >= Kind.AND).sum())


@dataclass(slots=True, kw_only=True)
class Gates:
    """Builds a Circuit; every method that gives a literal folds constants and finds a node that is there already."""

    kind: list[int] = field(default_factory=lambda: [int(Kind.CONSTANT)])
    a: list[int] = field(default_factory=lambda: [0])
    b: list[int] = field(default_factory=lambda: [0])
    depth: list[int] = field(default_factory=lambda: [0])
    known: dict[tuple[int, int, int], int] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)

    def new(self, kind: Kind, a: int, b: int) -> int:
        """The literal of a fresh node."""
        self.kind.append(int(kind))
        self.a.append(a)
        self.b.append(b)
        self.depth.append(1 + max(self.depth[a >> 1], self.depth[b >> 1]) if kind >= Kind.AND else 0)
        return 2 * (len(self.kind) - 1)

    def add_input(self, node: str, index: int, width: int, *, signed: bool) -> Port:
        port = Port(node=node, index=index, signed=signed,
                    bits=tuple(self.new(Kind.INPUT, 0, 0) for _ in range(width)))  # fmt: skip
        self.inputs.append(port)
        return port

    def both(self, a: int, b: int) -> int:
        """a and b."""
        a, b = min(a, b), max(a, b)
        if a == FALSE or a == b ^ 1:
            return FALSE
        if a in (TRUE, b):
            return b
        return self._hashed(Kind.AND, a, b)

    def either(self, a: int, b: int) -> int:
        """a or b."""
        return self.both(a ^ 1, b ^ 1) ^ 1

    def differ(self, a: int, b: int) -> int:
        """a exclusive-or b."""
        inverted = (a ^ b) & 1
        a, b = min(a | 1, b | 1) ^ 1, max(a | 1, b | 1) ^ 1
        if a == b:
            return inverted
        if a == FALSE:
            return b ^ inverted
        return self._hashed(Kind.XOR, a, b) ^ inverted

    def choose(self, select: int, a: int, b: int) -> int:
        """a where select is false, b where it is true."""
        if a == b:
            return a
        if a == b ^ 1:
            return self.differ(select, a)
        if b in (FALSE, TRUE):
            return self.either(select, a) if b else self.both(select ^ 1, a)
        if a in (FALSE, TRUE):
            return self.either(select ^ 1, b) if a else self.both(select, b)
        return self.either(self.both(select ^ 1, a), self.both(select, b))

    def add2(self, a: int, b: int) -> tuple[int, int]:
        """Half adder: (sum, carry)."""
        return self.differ(a, b), self.both(a, b)

    def add3(self, a: int, b: int, c: int) -> tuple[int, int]:
        """Full adder: (sum, carry); the exclusive-or of a and b serves both."""
        half = self.differ(a, b)
        return self.differ(half, c), self.majority(a, b, c)

    def majority(self, a: int, b: int, c: int) -> int:
        """Whether two of three hold."""
        if a == b or c in (FALSE, TRUE):
            return self.both(a, b) if c == FALSE or a == b else self.either(a, b)
        return self.either(self.both(a, b), self.both(c, self.differ(a, b)))

    def _hashed(self, kind: Kind, a: int, b: int) -> int:
        key = (int(kind), a, b)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self.new(kind, a, b)
        return found

    def finish(self, outputs: list[Port]) -> Circuit:
        """The circuit of what the outputs need; every input stays."""
        needed = self._needed(outputs)
        number = np.cumsum(needed) - 1
        place = 2 * number

        def moved(literals: list[int]) -> NDArray[np.int32]:
            lits = np.array(literals, dtype=np.int64)[needed]
            return np.asarray(place[lits >> 1] + (lits & 1), dtype=np.int32)

        def port(p: Port) -> Port:
            bits = tuple(int(place[lit >> 1]) + (lit & 1) for lit in p.bits)
            return Port(node=p.node, index=p.index, bits=bits, signed=p.signed)

        return Circuit(kind=np.array(self.kind, dtype=np.int8)[needed], a=moved(self.a), b=moved(self.b),
                       inputs=tuple(map(port, self.inputs)), outputs=tuple(map(port, outputs)))  # fmt: skip

    def _needed(self, outputs: list[Port]) -> NDArray[np.bool_]:
        needed = np.array(self.kind) <= Kind.INPUT
        for p in outputs:
            needed[[lit >> 1 for lit in p.bits]] = True
        for node in range(len(self.kind) - 1, 0, -1):
            if needed[node] and self.kind[node] >= Kind.AND:
                needed[self.a[node] >> 1] = needed[self.b[node] >> 1] = True
        return needed
