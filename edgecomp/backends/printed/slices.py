"""A large circuit in slices, each mapped and proven alone, and the joining of their netlists.

Mapping takes more than linear time and a proof far more, so a circuit of hundreds of thousands of gates is cut along
its topological order where few signals cross. Slices that are each proven equivalent make a whole that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.printed.gates import Circuit, Kind, Port
from edgecomp.backends.printed.library import PrintedTarget
from edgecomp.backends.printed.netlist import INVERTER, Assembly, Netlist, assemble

LARGE = 20_000  # gates; a circuit of fewer is mapped whole
SLICE, SLACK = 4_000, 1_000  # gates of a slice, and how far its end may move to cross fewer signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Gates of one circuit that follow each other: they read the nodes `reads` and give those in `gives`.

    `circuit` has one port x with the bits read, and one port y with those given.
    """

    circuit: Circuit
    reads: NDArray[np.int64]
    gives: NDArray[np.int64]


def cut(circuit: Circuit) -> tuple[Slice, ...]:
    """The slices of a circuit, in topological order."""
    last = _last_reader(circuit)
    edges = _ends(circuit, last)
    return tuple(_slice(circuit, last, begin, end) for begin, end in pairwise(edges))


def _last_reader(circuit: Circuit) -> NDArray[np.int64]:
    """For each node the last node that reads it; the number of nodes where an output does."""
    last = np.zeros(len(circuit.kind), dtype=np.int64)
    gates = np.flatnonzero(circuit.kind >= Kind.AND)
    for operand in (circuit.a, circuit.b):
        np.maximum.at(last, operand[gates] >> 1, gates)
    last[[bit >> 1 for port in circuit.outputs for bit in port.bits]] = len(last)
    return last


def _ends(circuit: Circuit, last: NDArray[np.int64]) -> list[int]:
    """Where slices begin, and the end of the last: of the ends within reach that which fewest gates' values cross."""
    is_gate = circuit.kind >= Kind.AND
    nodes, gates = np.flatnonzero(is_gate), np.cumsum(is_gate)
    change = np.zeros(len(last) + 2, dtype=np.int64)
    np.add.at(change, nodes + 1, 1)
    np.add.at(change, last[nodes] + 1, -1)
    crossing = np.cumsum(change)
    edges = [0]
    while gates[-1] - (gates[edges[-1] - 1] if edges[-1] else 0) > SLICE + SLACK:
        done = int(gates[edges[-1] - 1]) if edges[-1] else 0
        low, high = (int(np.searchsorted(gates, done + count)) + 1 for count in (SLICE - SLACK, SLICE + SLACK))
        edges.append(low + int(np.argmin(crossing[low:high])))
    return [*edges, len(last)]


def _slice(circuit: Circuit, last: NDArray[np.int64], begin: int, end: int) -> Slice:
    own = begin + np.flatnonzero(circuit.kind[begin:end] >= Kind.AND)
    operands = [circuit.a[own].astype(np.int64), circuit.b[own].astype(np.int64)]
    used = np.unique(np.concatenate(operands) >> 1)
    reads = used[~np.isin(used, own) & (circuit.kind[used] != Kind.CONSTANT)]
    gives = own[last[own] >= end]
    place = np.zeros(len(last), dtype=np.int64)
    place[reads] = 1 + np.arange(len(reads))
    place[own] = 1 + len(reads) + np.arange(len(own))
    first = np.full(1 + len(reads), Kind.INPUT, dtype=np.int8)
    first[0] = Kind.CONSTANT
    a, b = (np.concatenate([np.zeros(len(first), dtype=np.int64), 2 * place[o >> 1] + (o & 1)]) for o in operands)
    part = Circuit(kind=np.concatenate([first, circuit.kind[own]]), a=a.astype(np.int32), b=b.astype(np.int32),
                   inputs=(_port("x", place[reads]),), outputs=(_port("y", place[gives]),))  # fmt: skip
    return Slice(circuit=part, reads=reads, gives=gives)


def _port(name: str, nodes: NDArray[np.int64]) -> Port:
    return Port(node=name, index=0, bits=tuple(int(node) * 2 for node in nodes), signed=False)


def join(circuit: Circuit, slices: Sequence[Slice], netlists: Sequence[Netlist], target: PrintedTarget) -> Netlist:
    """The circuit's netlist from those of its slices; inverters of inverters and equal cells vanish at the seams."""
    given = [bit >> 1 for port in circuit.inputs for bit in port.bits]
    assembly = Assembly(target=target, first=2 + len(given))
    signal = dict(zip(given, range(2, assembly.first), strict=True))
    for part, netlist in zip(slices, netlists, strict=True):
        local = [0, 1, *(signal[int(node)] for node in part.reads)]
        for kind, pins in zip(netlist.kind.tolist(), netlist.pins.tolist(), strict=True):
            read = tuple(local[pin] for pin in pins if pin >= 0)
            local.append(assembly.gate(netlist.names[kind], read))
        signal |= {int(node): local[bit] for node, bit in zip(part.gives, netlist.outputs[0].bits, strict=True)}

    def bit(literal: int) -> int:
        if literal < 2:
            return literal
        found = signal[literal >> 1]
        if found < 2:
            return found ^ (literal & 1)
        return assembly.gate(INVERTER, (found,)) if literal & 1 else found

    inputs, outputs = (
        tuple(Port(node=p.node, index=p.index, bits=tuple(map(bit, p.bits)), signed=p.signed) for p in ports)
        for ports in (circuit.inputs, circuit.outputs)
    )
    return assemble(assembly.first, assembly.gates, inputs, outputs)
