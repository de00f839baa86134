"""Mapped gates, simulated bit-parallel: 64 vectors in a machine word, one numpy operation for each cell and chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.printed.gates import Port
from edgecomp.backends.printed.library import PrintedTarget
from edgecomp.backends.printed.netlist import Netlist
from edgecomp.backends.printed.sequential import Machine
from edgecomp.errors import MismatchError

Codes = NDArray[np.int64]
Lanes = NDArray[np.uint64]  # bit k of word w is vector 64 * w + k

CHUNK_VECTORS = 1 << 17  # 16 KiB a signal


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRun:
    """Output codes (N, elements) by node; `states[i, s]` counts the vectors in which cell i's inputs hold state s."""

    outputs: Mapping[str, Codes]
    states: NDArray[np.int64]


def simulate(netlist: Netlist, target: PrintedTarget, inputs: Mapping[str, Codes], *, states: bool = True) -> GateRun:
    """The netlist on host codes (N, *shape) of every input; input states are counted where `states`."""
    flat = {name: np.ascontiguousarray(codes.reshape(len(codes), -1)) for name, codes in inputs.items()}
    samples = len(next(iter(flat.values())))
    cells = [target.cells[name] for name in netlist.names]
    acts = [evaluator(cell.truth) for cell in cells]
    ways = 1 << netlist.pins.shape[1]
    total = np.zeros((netlist.cells, ways if states else 0), dtype=np.int64)
    results: dict[str, Codes] = {
        node: np.zeros((samples, sum(p.node == node for p in netlist.outputs)), dtype=np.int64)
        for node in dict.fromkeys(p.node for p in netlist.outputs)
    }
    for start in range(0, samples, CHUNK_VECTORS):
        part = {name: codes[start : start + CHUNK_VECTORS] for name, codes in flat.items()}
        count = len(next(iter(part.values())))
        signals = run_cells(netlist, acts, load(netlist, part, count))
        if states:
            total += count_states(netlist, [len(cell.pins) for cell in cells], signals, count)
        for port in netlist.outputs:
            results[port.node][start : start + count, port.index] = unload(signals, port, count)
    return GateRun(outputs=results, states=total)


def simulate_machine(
    netlist: Netlist, target: PrintedTarget, machine: Machine, inputs: Mapping[str, Codes], *, states: bool = True
) -> GateRun:
    """The machine on host codes, cycle by cycle from any contents of its registers; see `simulate`.

    Every cycle from the first to that of the result is counted in the states. MismatchError where `done` does not rise
    just then.
    """
    flat = {name: np.ascontiguousarray(codes.reshape(len(codes), -1)) for name, codes in inputs.items()}
    samples = len(next(iter(flat.values())))
    cells = [target.cells[name] for name in netlist.names]
    acts, widths = [evaluator(cell.truth) for cell in cells], [len(cell.pins) for cell in cells]
    total = np.zeros((netlist.cells, (1 << netlist.pins.shape[1]) if states else 0), dtype=np.int64)
    given = [port for port in netlist.outputs if port.node not in machine.own]
    results: dict[str, Codes] = {
        node: np.zeros((samples, sum(p.node == node for p in given)), dtype=np.int64)
        for node in dict.fromkeys(p.node for p in given)
    }
    for begin in range(0, samples, CHUNK_VECTORS):
        part = {name: codes[begin : begin + CHUNK_VECTORS] for name, codes in flat.items()}
        count = len(next(iter(part.values())))
        for signals in _cycles(netlist, machine, acts, part, count):
            if states:
                total += count_states(netlist, widths, signals, count)
        for port in given:
            results[port.node][begin : begin + count, port.index] = unload(signals, port, count)
    return GateRun(outputs=results, states=total)


def _cycles(
    netlist: Netlist, machine: Machine, acts: Sequence[Callable[..., None]], inputs: Mapping[str, Codes], count: int
) -> Iterator[Lanes]:
    """The settled signals of every cycle after the one of `start`, up to that of the result."""
    own = {port.node: max(p.index for p in netlist.inputs if p.node == port.node) + 1
           for port in netlist.inputs if port.node in machine.own}  # fmt: skip
    idle = {name: np.zeros((count, elements), dtype=np.int64) for name, elements in own.items()}
    signals = load(netlist, {**inputs, **idle}, count)
    rng = np.random.default_rng(0)
    outputs = {(port.node, port.index): port.bits for port in netlist.outputs}
    start = next(port.bits[0] for port in netlist.inputs if port.node == machine.start)
    registers = [(bit, end) for port in netlist.inputs if (f"{port.node}_next", port.index) in outputs
                 for bit, end in zip(port.bits, outputs[f"{port.node}_next", port.index], strict=True)]  # fmt: skip
    for bit, _ in registers:
        signals[bit] = rng.integers(0, 1 << 64, size=signals.shape[1], dtype=np.uint64)
    for cycle in range(-1, machine.cycles + 1):
        signals[start] = ~np.uint64(0) if cycle < 0 else np.uint64(0)
        run_cells(netlist, acts, signals)
        if cycle >= 0:
            done = signals[outputs[machine.done, 0][0]]
            if (done != (~np.uint64(0) if cycle == machine.cycles else np.uint64(0))).any():
                raise MismatchError(f"{machine.done} is wrong in cycle {cycle}", where=machine.done,
                                    hint="this is a fault of edgecomp: please report it with the model")  # fmt: skip
            yield signals
        taken = [signals[end].copy() for _, end in registers]
        for (bit, _), lane in zip(registers, taken, strict=True):
            signals[bit] = lane


def evaluator(truth: Sequence[bool]) -> Callable[..., None]:
    """act(out, *operands): the function of a truth table on lanes; the common ones in one or two operations."""
    known: dict[tuple[bool, ...], Callable[..., None]] = {
        (True, False): lambda out, a: np.invert(a, out=out),
        (False, False, False, True): lambda out, a, b: np.bitwise_and(a, b, out=out),
        (False, True, True, True): lambda out, a, b: np.bitwise_or(a, b, out=out),
        (False, True, True, False): lambda out, a, b: np.bitwise_xor(a, b, out=out),
        (True, True, True, False): lambda out, a, b: np.invert(np.bitwise_and(a, b, out=out), out=out),
        (True, False, False, False): lambda out, a, b: np.invert(np.bitwise_or(a, b, out=out), out=out),
        (True, False, False, True): lambda out, a, b: np.invert(np.bitwise_xor(a, b, out=out), out=out),
    }
    table = tuple(truth)
    return known[table] if table in known else lambda out, *operands: _minterms(table, out, operands)


def _minterms(truth: tuple[bool, ...], out: Lanes, operands: Sequence[Lanes]) -> None:
    out[:] = 0
    for state, value in enumerate(truth):
        if value:
            out |= _in_state(state, operands)


def _in_state(state: int, operands: Sequence[Lanes]) -> Lanes:
    """The vectors in which the operands hold a state."""
    found = operands[0] if state & 1 else ~operands[0]
    for place, lane in enumerate(operands[1:], start=1):
        found = found & (lane if state >> place & 1 else ~lane)
    return found


def load(netlist: Netlist, inputs: Mapping[str, Codes], count: int) -> Lanes:
    """All signals, the constants and inputs set."""
    words = (count + 63) // 64
    signals = np.zeros((netlist.first + netlist.cells, words), dtype=np.uint64)
    signals[1] = ~np.uint64(0)
    row = 2
    for port in netlist.inputs:
        codes = inputs[port.node][:, port.index]
        for place in range(len(port.bits)):
            bits = np.packbits((codes >> place & 1).astype(np.uint8), bitorder="little")
            signals[row].view(np.uint8)[: len(bits)] = bits
            row += 1
    return signals


def run_cells(netlist: Netlist, acts: Sequence[Callable[..., None]], signals: Lanes) -> Lanes:
    lanes = list(signals)
    counts = (netlist.pins >= 0).sum(axis=1).tolist()
    rows = zip(netlist.kind.tolist(), netlist.pins.tolist(), counts, lanes[netlist.first :], strict=True)
    for kind, pins, used, out in rows:
        acts[kind](out, *[lanes[pin] for pin in pins[:used]])
    return signals


def count_states(netlist: Netlist, widths: Sequence[int], signals: Lanes, count: int) -> NDArray[np.int64]:
    """How many of `count` vectors hold each cell's inputs in each state."""
    tail = np.uint64((1 << count % 64) - 1) if count % 64 else ~np.uint64(0)
    found = np.zeros((netlist.cells, 1 << netlist.pins.shape[1]), dtype=np.int64)
    ones = {}

    def total(lane: Lanes) -> int:
        return int(np.bitwise_count(lane[:-1]).sum()) + int(np.bitwise_count(lane[-1] & tail))

    for cell in range(netlist.cells):
        pins = netlist.pins[cell, : widths[netlist.kind[cell]]].tolist()
        for pin in pins:
            if pin not in ones:
                ones[pin] = total(signals[pin])
        if len(pins) == 1:
            found[cell, :2] = count - ones[pins[0]], ones[pins[0]]
        elif len(pins) == 2:
            a, b = ones[pins[0]], ones[pins[1]]
            ab = total(signals[pins[0]] & signals[pins[1]])
            found[cell, :4] = count - a - b + ab, a - ab, b - ab, ab
        else:
            operands = [signals[pin] for pin in pins]
            found[cell, : 1 << len(pins)] = [total(_in_state(s, operands)) for s in range(1 << len(pins))]
    return found


def unload(signals: Lanes, port: Port, count: int) -> Codes:
    """The codes of an output port."""
    codes = np.zeros(count, dtype=np.int64)
    for place, signal in enumerate(port.bits):
        bits = np.unpackbits(signals[signal].view(np.uint8), bitorder="little")[:count].astype(np.int64)
        weight = -(1 << place) if port.signed and place == len(port.bits) - 1 else 1 << place
        codes += bits * weight
    return codes
