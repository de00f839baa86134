"""A mapped netlist: cells of a library on signals, as integer arrays in topological order; read from BLIF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.printed.gates import Port
from edgecomp.backends.printed.library import BUFFER, ONE, OUTPUT, ZERO, PrintedTarget
from edgecomp.errors import ToolError

INVERTER = "INV"


@dataclass(frozen=True, slots=True, kw_only=True)
class Netlist:
    """Signal 0 is false, 1 true, then the inputs' bits in order, then one for each cell.

    Cell i is `names[kind[i]]`; its pins read signals pins[i] (-1 where it has fewer). Ports' bits are signals.
    """

    names: tuple[str, ...]
    kind: NDArray[np.int16]
    pins: NDArray[np.int32]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def cells(self) -> int:
        return len(self.kind)

    @property
    def first(self) -> int:
        """The signal of cell 0."""
        return 2 + sum(len(port.bits) for port in self.inputs)

    def counts(self) -> dict[str, int]:
        """How many of each cell."""
        return {name: int((self.kind == k).sum()) for k, name in enumerate(self.names) if (self.kind == k).any()}


@dataclass(slots=True, kw_only=True)
class Assembly:
    """Builds a Netlist from named gates in any order: composites dissolve, buffers and equal cells vanish."""

    target: PrintedTarget
    drivers: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)  # net -> (cell, nets)
    signal: dict[str, int] = field(default_factory=dict)
    made: dict[tuple[str, tuple[int, ...]], int] = field(default_factory=dict)
    gates: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    first: int = 2

    def drive(self, net: str, cell: str, inputs: Mapping[str, str]) -> None:
        """Note that `cell` with these pins drives `net`."""
        if cell in self.target.composites:
            composite = self.target.composites[cell]
            local = {pin: inputs[pin] for pin in composite.pins}
            for output, part, pins in composite.gates:
                local[output] = net if output == OUTPUT else f"{net}/{output}"
                self.drivers[local[output]] = (part, tuple(local[pin] for pin in pins))
        elif cell in (ZERO, ONE):
            self.signal[net] = int(cell == ONE)
        else:
            pins = ("a",) if cell == BUFFER else self.target.cells[cell].pins
            self.drivers[net] = (cell, tuple(inputs[pin] for pin in pins))

    def resolve(self, net: str) -> int:
        """The signal of a net, its cone built first; without recursion, for cones may be deep."""
        stack = [net]
        while stack:
            top = stack[-1]
            if top in self.signal:
                stack.pop()
                continue
            if top not in self.drivers:
                raise ToolError(f"the mapped netlist drives {top} nowhere", where="ABC")
            cell, inputs = self.drivers[top]
            waiting = [name for name in inputs if name not in self.signal]
            if waiting:
                stack += waiting
                continue
            self.signal[top] = self.gate(cell, tuple(self.signal[name] for name in inputs))
            stack.pop()
        return self.signal[net]

    def gate(self, cell: str, pins: tuple[int, ...]) -> int:
        """The signal of a cell with these pins, which may be one that is there already."""
        if cell == BUFFER:
            return pins[0]
        if cell == INVERTER and pins[0] >= self.first:
            other, inputs = self.gates[pins[0] - self.first]
            if other == INVERTER:
                return inputs[0]
        key = (cell, tuple(sorted(pins)) if self.symmetric(cell) else pins)
        if key not in self.made:
            self.gates.append((cell, pins))
            self.made[key] = self.first + len(self.gates) - 1
        return self.made[key]

    def symmetric(self, cell: str) -> bool:
        """Whether a two-input cell does not care which pin is which."""
        truth = self.target.cells[cell].truth
        return len(truth) == 4 and truth[1] == truth[2]


def read_blif(text: str, target: PrintedTarget, inputs: Sequence[Port], outputs: Sequence[Port]) -> Netlist:
    """The netlist of a mapped BLIF whose ports are named as `bit_names` says."""
    assembly = Assembly(target=target)
    sources = []
    for port, names in zip(inputs, bit_names(inputs), strict=True):
        bits = tuple(assembly.first + k for k in range(len(port.bits)))
        assembly.signal |= dict(zip(names, bits, strict=True))
        assembly.first += len(bits)
        sources.append(Port(node=port.node, index=port.index, bits=bits, signed=port.signed))
    for line in text.replace("\\\n", " ").splitlines():
        _take(assembly, line.split())
    ends = []
    for port, names in zip(outputs, bit_names(outputs), strict=True):
        bits = tuple(assembly.resolve(name) for name in names)
        ends.append(Port(node=port.node, index=port.index, bits=bits, signed=port.signed))
    return assemble(assembly.first, assembly.gates, tuple(sources), tuple(ends))


def bit_names(ports: Sequence[Port]) -> list[tuple[str, ...]]:
    """The names of each port's bits: bits of one flat bus a node, in order; a bus of one bit has the node's name."""
    widths: dict[str, int] = {}
    for port in ports:
        widths[port.node] = widths.get(port.node, 0) + len(port.bits)
    used = dict.fromkeys(widths, 0)
    found = []
    for port in ports:
        first = used[port.node]
        used[port.node] += len(port.bits)
        places = range(first, used[port.node])
        found.append(tuple(port.node if widths[port.node] == 1 else f"{port.node}[{k}]" for k in places))
    return found


def _take(assembly: Assembly, words: list[str]) -> None:
    """One line of BLIF."""
    if words[:1] == [".gate"]:
        pins = dict(word.partition("=")[::2] for word in words[2:])
        assembly.drive(pins.pop(OUTPUT), words[1], pins)
    elif words[:1] in ([".names"], [".subckt"], [".latch"]):
        raise ToolError(f"the mapped netlist holds what is no cell: {' '.join(words)}", where="ABC")


def assemble(
    first: int, gates: Sequence[tuple[str, tuple[int, ...]]], inputs: tuple[Port, ...], outputs: tuple[Port, ...]
) -> Netlist:
    """The netlist of the cells that an output needs, of `gates` (cell, signals) in topological order.

    Gate i drives signal `first` + i.
    """
    needed = [False] * len(gates)
    stack = [bit - first for port in outputs for bit in port.bits if bit >= first]
    while stack:
        gate = stack.pop()
        if not needed[gate]:
            needed[gate] = True
            stack += [pin - first for pin in gates[gate][1] if pin >= first]
    place = np.concatenate([np.arange(first), first + np.cumsum(needed) - 1]).astype(np.int64)
    kept = [gate for gate, used in zip(gates, needed, strict=True) if used]
    names = tuple(sorted({cell for cell, _ in kept}))
    width = max((len(pins) for _, pins in kept), default=1)
    pins = np.full((len(kept), width), -1, dtype=np.int32)
    for row, (_, given) in enumerate(kept):
        pins[row, : len(given)] = place[list(given)]
    kind = np.array([names.index(cell) for cell, _ in kept], dtype=np.int16)
    ends = tuple(Port(node=p.node, index=p.index, bits=tuple(int(place[b]) for b in p.bits), signed=p.signed)
                 for p in outputs)  # fmt: skip
    return Netlist(names=names, kind=kind, pins=pins, inputs=inputs, outputs=ends)
