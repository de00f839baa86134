"""The top module: the pipeline between a bus of host codes in and one out, with a valid bit that travels along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgecomp.backends.rtl.circuit import Circuit, Ends

TOP, CORE = "network", "pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Bits high..low of a signal, or `count` times its bit `low` where `count` is not 0; "" is constant zero."""

    signal: str
    high: int
    low: int
    count: int = 0


def width_of(ends: Sequence[Ends]) -> int:
    return sum(end.elements * end.bits for end in ends)


def elements(ends: Sequence[Ends]) -> Iterator[tuple[int, int]]:
    """(lowest bit on the bus, bits) of every element in order."""
    place = 0
    for end in ends:
        for _ in range(end.elements):
            yield place, end.bits
            place += end.bits


def to_core(circuit: Circuit) -> list[Run]:
    """What the pipeline reads, from its lowest bit up: each element's bits that it wants."""
    runs = []
    for (place, bits), (signed, integers, fraction) in zip(elements(circuit.inputs), _formats(circuit, 0), strict=True):
        width = signed + integers + fraction
        assert fraction <= 0 <= bits + fraction - width, f"{bits} bits cannot feed {(signed, integers, fraction)}"
        if width > 0:
            runs.append(Run(signal="in_data", low=place - fraction, high=place - fraction + width - 1))
    return runs


def from_core(circuit: Circuit) -> list[Run]:
    """The output bus from its lowest bit up: each element extended to its contract's bits."""
    runs, place = [], 0
    for (_, bits), (signed, integers, fraction) in zip(elements(circuit.outputs), _formats(circuit, 1), strict=True):
        width, below = signed + integers + fraction, max(-fraction, 0)
        skip = max(fraction, 0)
        kept = min(max(width - skip, 0), max(bits - below, 0))
        below = min(below, bits)
        if below:
            runs.append(Run(signal="", high=0, low=0, count=below))
        if kept:
            runs.append(Run(signal="core_data", low=place + skip, high=place + skip + kept - 1))
        if bits - below - kept:
            top = Run(signal="core_data" if signed and kept else "", high=0, low=place + width - 1,
                      count=bits - below - kept)  # fmt: skip
            runs.append(top)
        place += max(width, 0)
    return runs


def _formats(circuit: Circuit, side: int) -> list[tuple[int, int, int]]:
    found = circuit.program.out_kifs if side else circuit.program.inp_kifs
    return [(int(k), int(i), int(f)) for k, i, f in found.T]


def layout(circuit: Circuit) -> str:
    """One line a node: direction, name, elements, bits of each, 1 where signed; in the order of the bus."""
    sides = (("input", circuit.inputs), ("output", circuit.outputs))
    lines = [f"{side} {e.node} {e.elements} {e.bits} {int(e.signed)}" for side, ends in sides for e in ends]
    return "\n".join([*lines, ""])


def verilog_top(circuit: Circuit, name: str = TOP, core: str = CORE) -> str:
    """The module `name` in Verilog around the pipeline `core`."""
    return "\n".join([
        "`timescale 1 ns / 1 ps", "",
        f"// {name}: takes a sample in every cycle in which in_valid is high; its result stands at out_data with",
        f"// out_valid {circuit.cycles} cycles later. rst clears the valid bits only. Buses hold host codes, lowest",
        "// element first" + (", as layout.txt lists them." if name == TOP else "."),
        f"module {name} (", "    input wire clk,", "    input wire rst,", "    input wire in_valid,",
        f"    input wire [{width_of(circuit.inputs) - 1}:0] in_data,", "    output wire out_valid,",
        f"    output wire [{width_of(circuit.outputs) - 1}:0] out_data", ");",
        f"    wire [{core_width(circuit, 0) - 1}:0] core_in;", f"    wire [{core_width(circuit, 1) - 1}:0] core_data;",
        f"    reg [{circuit.cycles - 1}:0] valid;", "",
        "    always @(posedge clk) begin",
        f"        if (rst) valid <= {circuit.cycles}'d0;",
        "        else valid <= " + ("in_valid;" if circuit.cycles == 1
                                    else f"{{valid[{circuit.cycles - 2}:0], in_valid}};"),
        "    end", f"    assign out_valid = valid[{circuit.cycles - 1}];", "",
        f"    assign core_in = {_joined(to_core(circuit))};",
        f"    {core} core (.clk(clk), .model_inp(core_in), .model_out(core_data));",
        f"    assign out_data = {_joined(from_core(circuit))};", "endmodule", "",
    ])  # fmt: skip


def core_width(circuit: Circuit, side: int) -> int:
    return sum(max(sum(kif), 0) for kif in _formats(circuit, side))


def _joined(runs: Sequence[Run]) -> str:
    return "{" + ", ".join(_verilog(run) for run in reversed(runs)) + "}" if runs else "1'd0"


def _verilog(run: Run) -> str:
    if not run.signal:
        return f"{run.count}'d0"
    return f"{{{run.count}{{{run.signal}[{run.low}]}}}}" if run.count else f"{run.signal}[{run.high}:{run.low}]"
