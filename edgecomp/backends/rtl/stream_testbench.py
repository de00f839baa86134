"""The testbench of a streamed circuit for Icarus Verilog; the one for Verilator is hls/rtl_stream_testbench.cpp."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgecomp.backends.rtl.axis import AXIS_TOP, padded
from edgecomp.backends.rtl.circuit import Ends
from edgecomp.backends.rtl.stream_circuit import StreamCircuit
from edgecomp.backends.rtl.stream_plan import Border
from edgecomp.backends.rtl.testbench import checks, closings, feeds, files, openings
from edgecomp.backends.rtl.top import TOP, width_of

QUIET = 2000  # cycles beside four of the longest frames inside in which nothing moves, after which it is given up


def stream_testbench(design: StreamCircuit, *, axis: bool) -> str:
    """Feeds the frames, back to back at first and with gaps later, and compares every code; says `passed` at its end.

    +samples=N bounds how many are read. A reset in the middle of the first frame goes before. With AXI4-Stream ports
    the sink stalls in the second half.
    """
    ready = "!(checked >= bound / 2 && ($random & 1))" if axis else "1"
    return "\n".join([
        *_declarations(design), *_ports(design, axis=axis), "", "    always #5 clk = !clk;", "",
        "    task give_up(input [8*64:1] what);",
        '        begin $display("ERROR: %0s", what); $finish; #1000; end', "    endtask", "",
        "    task place;", "        integer at;", "        begin",
        *_gathered(design.inputs, design.in_beats, "in_data", "in_beat", "at", "into"),
        "        end", "    endtask", "",
        "    initial begin", "        total = -1;", *openings(design), "        bound = total;",
        '        if ($value$plusargs("samples=%d", wanted) && wanted < total) bound = wanted;',
        "        repeat (4) @(negedge clk);", "        rst = 0; in_valid = 1;",
        f"        repeat ({design.in_beats // 2 + 3}) @(negedge clk);", "        rst = 1;",
        "        repeat (2) @(negedge clk);", "        rst = 0; in_valid = 0; started = 1; @(negedge clk);",
        "        while (fed < bound) begin", *feeds(design), "            fed = fed + 1; beat = 0;",
        f"            while (beat < {design.in_beats}) begin",
        "                in_valid = !(fed > bound / 2 && ($random & 1));",
        "                place; if (!in_valid) in_beat = ~in_beat;",
        "                #1 took = in_valid && in_ready;",
        "                if (took && first_in < 0) first_in = cycle;",
        "                @(negedge clk); if (took) beat = beat + 1;", "            end", "        end",
        "        in_valid = 0;", "        while (checked < bound) @(negedge clk);",
        "        repeat (64) @(negedge clk);", "        if (bound == total) begin", *closings(design), "        end",
        '        $display("passed: %0d samples, latency %0d cycles", bound, first_out - first_in);',
        "        $finish;", "    end", "",
        f"    always @(negedge clk) out_ready = {ready};", "",
        "    always @(posedge clk) begin", "        cycle <= cycle + 1;",
        "        if (started && !rst && (in_ready === 1'bx || out_valid === 1'bx))",
        "            give_up(\"a handshake is unknown\");",
        "        quiet <= (in_valid && in_ready) || out_valid ? 0 : quiet + 1;",
        f"        if (quiet > {_patience(design)}) give_up(\"not every sample came out\");",
        "        if (started && !rst && out_valid && out_ready) begin",
        "            if (checked == bound) give_up(\"a result too many came out\");",
        *_gathered(design.outputs, design.out_beats, "out_data", "out_beat", "k", "from"),
        *([f"            if (out_last !== (shown == {design.out_beats - 1})) give_up(\"TLAST is at another beat\");"]
          if axis else []),
        "            shown = shown + 1;", f"            if (shown == {design.out_beats}) begin",
        "            if (first_out < 0) first_out = cycle;", "            shown = 0;", *checks(design),
        "            checked = checked + 1;", "            end", "        end", "    end", "endmodule", "",
    ])  # fmt: skip


def _patience(design: StreamCircuit) -> int:
    movers = [mover for _, each in design.plan.edges for mover in each.stream.movers]
    longest = max((math.prod(m.outer if isinstance(m, Border) else m.grid) for m in movers), default=0)
    return QUIET + 4 * max(longest, design.in_beats, design.out_beats)


def _declarations(design: StreamCircuit) -> list[str]:
    wide_in, wide_out = width_of(design.inputs), width_of(design.outputs)
    return [
        "`timescale 1 ns / 1 ps", "module testbench;",
        "    reg clk = 0, rst = 1, in_valid = 0, out_ready = 1, took = 0, started = 0;",
        f"    reg [{wide_in - 1}:0] in_data = 0;", f"    reg [{wide_in // design.in_beats - 1}:0] in_beat = 0;",
        f"    reg [{wide_out - 1}:0] out_data = 0;", f"    wire [{wide_out // design.out_beats - 1}:0] out_beat;",
        "    wire in_ready, out_valid, out_last;",
        f"    integer {', '.join(files(design))}, found, total, count, wanted, bound = 0, k;",
        "    integer fed = 0, checked = 0, cycle = 0, first_in = -1, first_out = -1, beat = 0, shown = 0, quiet = 0;",
        "    reg signed [63:0] value, got;", "    reg [8*16:1] word;",
    ]  # fmt: skip


def _ports(design: StreamCircuit, *, axis: bool) -> list[str]:
    if not axis:
        return [f"    {TOP} dut (.clk(clk), .rst(rst), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_beat),",
                "        .out_valid(out_valid), .out_data(out_beat));"]  # fmt: skip
    wide_in, wide_out = width_of(design.inputs) // design.in_beats, width_of(design.outputs) // design.out_beats
    return [f"    wire [{padded(wide_out) - 1}:0] m_data;", f"    assign out_beat = m_data[{wide_out - 1}:0];",
            f"    wire [{padded(wide_in) - 1}:0] s_data = in_beat;",
            f"    {AXIS_TOP} dut (.aclk(clk), .aresetn(!rst), .s_axis_tvalid(in_valid), .s_axis_tready(in_ready),",
            "        .s_axis_tdata(s_data), .s_axis_tlast(1'b0), .m_axis_tvalid(out_valid),",
            "        .m_axis_tready(out_ready), .m_axis_tdata(m_data), .m_axis_tlast(out_last));"]  # fmt: skip


def _gathered(ends: Sequence[Ends], beats: int, frame: str, beat: str, index: str, way: str) -> list[str]:
    """The place `beat` of the frame into the bus of a beat, or the bus into place `shown` of the frame."""
    lines, place = [], 0
    for end in ends:
        number = "beat" if way == "into" else "shown"
        inside = f"{frame}[{place} + ({index} * {beats} + {number}) * {end.bits} +: {end.bits}]"
        own = f"{beat}[{place // beats} + {index} * {end.bits} +: {end.bits}]"
        moved = f"{own} = {inside};" if way == "into" else f"{inside} = {own};"
        lines.append(f"            for ({index} = 0; {index} < {end.elements // beats}; {index} = {index} + 1) {moved}")
        place += end.elements * end.bits
    return lines
