"""A streamed network in Verilog: its pipelines, and the top module that joins them by the modules of rtl_stream.v."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgecomp.backends.rtl.circuit import Circuit, Ends
from edgecomp.backends.rtl.stream_circuit import StreamCircuit
from edgecomp.backends.rtl.stream_depth import runs_ahead
from edgecomp.backends.rtl.stream_plan import Border, Import, Interval, Mover
from edgecomp.backends.rtl.top import TOP, core_width, verilog_top, width_of
from edgecomp.ir import Network
from edgecomp.ir.ranges import bits_of
from edgecomp.resources import resource

SCALE = "`timescale 1 ns / 1 ps"
EDGE = "clk(clk), .rst(rst)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An element on a bus: its lowest bit, its width, and whether its highest bit is a sign."""

    low: int
    bits: int
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """The signal NAME_data with NAME_valid and NAME_ready, and the elements of its tokens (channel, then place)."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def width(self) -> int:
        return max(piece.low + piece.bits for piece in self.pieces)


def stream_sources(design: StreamCircuit, *, ready: bool) -> dict[str, str]:
    """The files below `src/`; the top has `out_ready` where `ready`."""
    from alkaid.codegen.rtl.verilog.comb import comb_logic_gen
    from alkaid.codegen.rtl.verilog.lookup import lookup_source

    files, stages, number = {}, [], itertools.count()
    for place, circuit in enumerate(design.circuits):
        if not (core_width(circuit, 0) and core_width(circuit, 1)):
            files[f"segment{place}.v"] = constant_segment(circuit, place, design.plan.segments[place].network)
            continue
        names = [f"logic{next(number)}" for _ in circuit.machine.logic]
        for name, logic in zip(names, circuit.machine.logic.values(), strict=True):
            files[f"{name}.v"] = comb_logic_gen(logic, name, print_latency=False, timescale=SCALE)
            stages.append(logic)
        files[f"pipeline{place}.v"] = pipeline(circuit, f"pipeline{place}", names)
        files[f"segment{place}.v"] = verilog_top(circuit, f"segment{place}", f"pipeline{place}")
    tables = lookup_source(stages, timescale=SCALE)
    files |= {"tables.v": tables} if tables else {}
    return {
        **files,
        "cells.v": resource("hls/rtl_cells.v").read_text(),
        "stream.v": resource("hls/rtl_stream.v").read_text(),
        f"{TOP}.v": stream_top(design, ready=ready),
    }


def constant_segment(circuit: Circuit, place: int, network: Network) -> str:
    """A segment whose tokens are all alike: no bit of what it reads matters."""
    low = np.concatenate([np.full((1, math.prod(n.shape)), n.lo) for n in network.inputs], axis=1)
    codes = circuit.predict(low)[0].tolist()
    bits = [end.bits for end in circuit.outputs for _ in range(end.elements)]
    fixed = ", ".join(f"{b}'d{code % (1 << b)}" for code, b in reversed(list(zip(codes, bits, strict=True))))
    return "\n".join([
        SCALE, "", f"module segment{place} (", "    input wire clk,", "    input wire rst,", "    input wire in_valid,",
        f"    input wire [{width_of(circuit.inputs) - 1}:0] in_data,", "    output wire out_valid,",
        f"    output wire [{width_of(circuit.outputs) - 1}:0] out_data", ");",
        f"    reg [{circuit.cycles}:0] valid;",
        f"    always @(posedge clk) valid <= rst ? {circuit.cycles + 1}'d0 : {{valid, in_valid}};",
        f"    assign out_valid = valid[{circuit.cycles - 1}];", f"    assign out_data = {{{fixed}}};", "endmodule", "",
    ])  # fmt: skip


def pipeline(circuit: Circuit, name: str, stages: Sequence[str]) -> str:
    """The stages with a register behind each."""
    logic = list(circuit.machine.logic.values())
    shapes = [(_kifs(stage.inp_qint), _kifs(stage.out_qint)) for stage in logic]
    assert all(out == into for (_, out), (into, _) in itertools.pairwise(shapes)), "stages of different shapes"
    assert len(logic) == circuit.cycles, f"{len(logic)} stages in {circuit.cycles} cycles"
    widths = [sum(map(sum, shapes[0][0])), *(sum(map(sum, out)) for _, out in shapes)]
    lines = [SCALE, "", f"module {name} (", "    input wire clk,", f"    input wire [{widths[0] - 1}:0] model_inp,",
             f"    output wire [{widths[-1] - 1}:0] model_out", ");"]  # fmt: skip
    source = "model_inp"
    for place, (stage, width) in enumerate(zip(stages, widths[1:], strict=True)):
        lines += [f"    wire [{width - 1}:0] given{place};", f"    reg [{width - 1}:0] held{place};",
                  f"    {stage} stage{place} (.model_inp({source}), .model_out(given{place}));",
                  f"    always @(posedge clk) held{place} <= given{place};"]  # fmt: skip
        source = f"held{place}"
    return "\n".join([*lines, f"    assign model_out = {source};", "endmodule", ""])


def _kifs(intervals: Sequence[object]) -> list[tuple[int, int, int]]:
    return [tuple(int(part) for part in interval.kif) for interval in intervals]  # type: ignore[attr-defined,misc]


def stream_top(design: StreamCircuit, *, ready: bool) -> str:
    """The top module. Where `ready` is not, results come when they come and nothing stalls them."""
    wide_in, wide_out = width_of(design.circuits[0].inputs), width_of(design.circuits[-1].outputs)
    ports = ["input wire clk", "input wire rst", "input wire in_valid", "output wire in_ready",
             f"input wire [{wide_in - 1}:0] in_data", "output wire out_valid",
             *(["input wire out_ready"] if ready else []), f"output wire [{wide_out - 1}:0] out_data"]  # fmt: skip
    lines = [
        SCALE, "", f"// {TOP}: takes one place of a frame, its channels lowest first, in a cycle in which in_valid and",
        f"// in_ready are high; places row-major, {design.in_beats} a frame. Gives {design.out_beats} of the result a"
        " frame.", "// rst drops the frames that are inside. layout.txt lists the frames' nodes.",
        f"module {TOP} (", ",\n".join(f"    {port}" for port in ports), ");",
    ]  # fmt: skip
    for number, circuit in enumerate(design.circuits):
        lines += [f"    wire take{number}, put{number};", f"    wire [{width_of(circuit.outputs) - 1}:0] data{number};"]
    for k, (_, each) in enumerate(design.plan.edges):
        lines += _edge(design, k, each)
    for number in range(len(design.circuits)):
        lines += _segment(design, number, ready=ready)
    return "\n".join([*lines, "endmodule", ""])


def _segment(design: StreamCircuit, number: int, *, ready: bool) -> list[str]:
    """A segment takes a token of every import where all are there and every FIFO behind has room."""
    circuit = design.circuits[number]
    behind = [f"room{k}" for k, (_, each) in enumerate(design.plan.edges) if each.stream.source == number]
    lines = _last_fifo(design, circuit) if ready and number == len(design.circuits) - 1 else []
    behind += ["room_out"] if lines else []
    before = [(k, each) for k, (reader, each) in enumerate(design.plan.edges) if reader == number]
    there = [bus_of(design, k, each).name + "_valid" for k, each in before] or ["in_valid"]
    data = "in_data"
    if before:
        data = "{" + ",\n        ".join(reversed(list(_given(design, circuit, before)))) + "}"
    if number == 0:
        lines.append(f"    assign in_ready = {' && '.join(behind) or '!rst'};")
    if number == len(design.circuits) - 1 and not ready:
        lines += [f"    assign out_valid = put{number};", f"    assign out_data = data{number};"]
    return [
        "", f"    assign take{number} = {' && '.join([*there, *behind])};",
        *(f"    assign {bus_of(design, k, each).name}_ready = take{number};" for k, each in before),
        f"    segment{number} compute{number} (.{EDGE}, .in_valid(take{number}), .in_data({data}),",
        f"        .out_valid(put{number}), .out_data(data{number}));", *lines,
    ]  # fmt: skip


def _last_fifo(design: StreamCircuit, circuit: Circuit) -> list[str]:
    """Holds results that the sink does not take at once."""
    number = len(design.circuits) - 1
    bits = (circuit.cycles + 3).bit_length()
    return ["    wire room_out;",
            f"    stream_fifo #(.BITS({width_of(circuit.outputs)}), .ADDRESS_BITS({bits})) fifo_out (.{EDGE},",
            f"        .take(take{number}), .ready(room_out), .put(put{number}), .in_data(data{number}),",
            "        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));"]  # fmt: skip


def _given(design: StreamCircuit, circuit: Circuit, before: Sequence[tuple[int, Import]]) -> Iterator[str]:
    """What a segment reads, element by element, at the widths of its inputs."""
    ends = {end.node: end for end in circuit.inputs}
    for k, each in before:
        bus = bus_of(design, k, each)
        pieces = iter(bus.pieces)
        for name in each.inputs:
            for _ in range(ends[name].elements):
                yield extended(f"{bus.name}_data", next(pieces), ends[name].bits)
        assert next(pieces, None) is None, f"{bus.name} is not read to its end"


def extended(signal: str, piece: Piece, bits: int) -> str:
    """An element of a bus at `bits` bits, which hold what it can be."""
    if bits <= piece.bits:
        return f"{signal}[{piece.low + bits - 1}:{piece.low}]"
    top = f"{signal}[{piece.low + piece.bits - 1}]" if piece.signed else "1'b0"
    return f"{{{bits - piece.bits}{{{top}}}}}, {signal}[{piece.low + piece.bits - 1}:{piece.low}]"


def bus_of(design: StreamCircuit, k: int, each: Import) -> Bus:
    """The bus at the end of edge k."""
    return _buses(design, k, each)[-1]


def first_bus(design: StreamCircuit, k: int, each: Import) -> Bus:
    """The bus behind the FIFO of edge k."""
    return _buses(design, k, each)[0]


def _buses(design: StreamCircuit, k: int, each: Import) -> list[Bus]:
    """The bus behind the FIFO of edge k, and behind each mover."""
    _, ends = exported(design, each)
    widths = [(end.bits, end.signed) for end in ends for _ in range(end.elements)]
    buses = [Bus(name=f"edge{k}", pieces=_side_by_side(widths))]
    for place, mover in enumerate(each.stream.movers):
        buses.append(_behind(mover, buses[-1], f"edge{k}_{place}"))
    return buses


def _side_by_side(widths: Sequence[tuple[int, bool]]) -> tuple[Piece, ...]:
    lows = itertools.accumulate([bits for bits, _ in widths], initial=0)
    return tuple(Piece(low=low, bits=bits, signed=signed) for low, (bits, signed) in zip(lows, widths, strict=False))


def _behind(mover: Mover, before: Bus, name: str) -> Bus:
    if isinstance(mover, Border):
        intervals = [_widened(piece, fill) for piece, fill in zip(before.pieces, mover.fills, strict=True)]
        return Bus(name=name, pieces=_side_by_side([(bits_of(*ends), ends[0] < 0) for ends in intervals]))
    pieces = [Piece(low=tap * before.width + piece.low, bits=piece.bits, signed=piece.signed)
              for piece in before.pieces for tap in range(mover.taps)]  # fmt: skip
    return Bus(name=name, pieces=tuple(pieces))


def _widened(piece: Piece, fill: int) -> Interval:
    """All that an element may hold, and the fill."""
    lo, hi = (-(1 << (piece.bits - 1)), (1 << (piece.bits - 1)) - 1) if piece.signed else (0, (1 << piece.bits) - 1)
    return min(lo, fill), max(hi, fill)


def exported(design: StreamCircuit, each: Import) -> tuple[int, list[Ends]]:
    """(lowest bit, ends) of an import's value on the output bus of its source."""
    source = each.stream.source
    (export,) = (e for e in design.plan.segments[source].exports if e.value == each.stream.value)
    outputs = design.circuits[source].outputs
    first = [end.node for end in outputs].index(export.outputs[0])
    found = list(outputs[first : first + len(export.outputs)])
    assert tuple(end.node for end in found) == export.outputs, f"the outputs of {export.value} lie apart"
    return width_of(outputs[:first]), found


def _edge(design: StreamCircuit, k: int, each: Import) -> list[str]:
    """A FIFO behind the source, then every mover."""
    low, ends = exported(design, each)
    source, buses = each.stream.source, _buses(design, k, each)
    wait = runs_ahead(each.stream, design.plan.segments[source].beats)
    first = buses[0]
    lines = ["", f"    wire room{k};", *(line for bus in buses for line in _wires(bus))]
    lines += [
        f"    stream_fifo #(.BITS({first.width}), .ADDRESS_BITS({design.address_bits[k]})) fifo{k} (.{EDGE},",
        f"        .take(take{source}), .ready(room{k}), .put(put{source}),"
        f" .in_data(data{source}[{low + width_of(ends) - 1}:{low}]),",
        f"        {_outgoing(first)});",
    ]  # fmt: skip
    for place, (mover, before, after) in enumerate(zip(each.stream.movers, buses, buses[1:], strict=False)):
        lines += _mover(mover, before, after, f"{k}_{place}", wait=wait)
    return lines


def _wires(bus: Bus) -> list[str]:
    return [f"    wire {bus.name}_valid, {bus.name}_ready;", f"    wire [{bus.width - 1}:0] {bus.name}_data;"]


def _outgoing(bus: Bus) -> str:
    return f".out_valid({bus.name}_valid), .out_ready({bus.name}_ready), .out_data({bus.name}_data)"


def _mover(mover: Mover, before: Bus, after: Bus, name: str, *, wait: bool) -> list[str]:
    rows, cols = mover.grid
    ports = f".in_valid({before.name}_valid), .in_ready({before.name}_ready)"
    if isinstance(mover, Border):
        (top, bottom), (left, right) = mover.pads
        data = ",\n        ".join(extended(f"{before.name}_data", piece, wide.bits) for piece, wide in
                                  zip(reversed(before.pieces), reversed(after.pieces), strict=True))  # fmt: skip
        fill = ", ".join(f"{piece.bits}'d{value % (1 << piece.bits)}" for piece, value in
                         zip(reversed(after.pieces), reversed(mover.fills), strict=True))  # fmt: skip
        return [f"    stream_border #(.BITS({after.width}), .FILL({{{fill}}}), .ROWS({rows}), .COLS({cols}),",
                f"        .TOP({top}), .BOTTOM({bottom}), .LEFT({left}), .RIGHT({right}), .WAIT({int(wait)}))",
                f"        border{name} (.{EDGE},",
                f"        {ports}, .in_data({{{data}}}),", f"        {_outgoing(after)});"]  # fmt: skip
    parts = {"KERNEL": mover.kernel, "DILATION": mover.dilation, "STRIDE": mover.stride, "PLACES": mover.places}
    sizes = ", ".join(f".{head}_ROWS({r}), .{head}_COLS({c})" for head, (r, c) in parts.items())
    return [f"    stream_window #(.BITS({before.width}), .ROWS({rows}), .COLS({cols}), {sizes},",
            f"        .FIRST_ROW({mover.first[0]}), .FIRST_COL({mover.first[1]})) window{name} (.{EDGE},",
            f"        {ports}, .in_data({before.name}_data),", f"        {_outgoing(after)});"]  # fmt: skip
