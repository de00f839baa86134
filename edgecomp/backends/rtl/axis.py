"""AXI4-Stream ports: the top module around the plain one and hls/rtl_axis.v, and its testbench for Icarus Verilog."""

from __future__ import annotations

from edgecomp.backends.rtl.circuit import Circuit
from edgecomp.backends.rtl.testbench import checks, closings, feeds, files, openings
from edgecomp.backends.rtl.top import TOP, width_of

AXIS_TOP = "network_axis"
SPARE = 2  # entries beyond the latency that hls/rtl_axis.v needs for a word a cycle


def address_bits(circuit: Circuit) -> int:
    return (circuit.cycles + SPARE - 1).bit_length()


def padded(bits: int) -> int:
    """Whole bytes."""
    return (bits + 7) // 8 * 8


def axis_top(circuit: Circuit) -> str:
    """The top module in Verilog."""
    wide_in, wide_out = width_of(circuit.inputs), width_of(circuit.outputs)
    spare = padded(wide_out) - wide_out
    return "\n".join([
        "`timescale 1 ns / 1 ps", "",
        f"// {AXIS_TOP}: {TOP} with AXI4-Stream ports. A word is a sample: host codes, lowest element first, as",
        "// layout.txt lists them, padded with zeros to whole bytes. TLAST comes out with the word it went in with.",
        f"module {AXIS_TOP} (", "    input wire aclk,", "    input wire aresetn,", "    input wire s_axis_tvalid,",
        "    output wire s_axis_tready,", f"    input wire [{padded(wide_in) - 1}:0] s_axis_tdata,",
        "    input wire s_axis_tlast,", "    output wire m_axis_tvalid,", "    input wire m_axis_tready,",
        f"    output wire [{padded(wide_out) - 1}:0] m_axis_tdata,", "    output wire m_axis_tlast", ");",
        "    wire rst = !aresetn;", "    wire take, out_valid;",
        f"    wire [{wide_out - 1}:0] out_data, m_data;",
        f"    {TOP} circuit (.clk(aclk), .rst(rst), .in_valid(take), .in_data(s_axis_tdata[{wide_in - 1}:0]),",
        "        .out_valid(out_valid), .out_data(out_data));",
        f"    rtl_axis #(.LATENCY({circuit.cycles}), .OUT_BITS({wide_out}), .ADDRESS_BITS({address_bits(circuit)}))"
        " ports (",
        "        .clk(aclk), .rst(rst), .s_valid(s_axis_tvalid), .s_ready(s_axis_tready), .s_last(s_axis_tlast),",
        "        .m_valid(m_axis_tvalid), .m_ready(m_axis_tready), .m_last(m_axis_tlast), .m_data(m_data),",
        "        .take(take), .out_valid(out_valid), .out_data(out_data));",
        f"    assign m_axis_tdata = {f'{{{spare}' + chr(39) + 'd0, m_data}' if spare else 'm_data'};", "endmodule", "",
    ])  # fmt: skip


def axis_testbench(circuit: Circuit) -> str:
    """Feeds the samples with both sides always ready at first and with stalls later; says `passed` at its end.

    The sink also stalls once for longer than the FIFO lasts. +samples=N bounds how many samples are read.
    """
    stall = 4 * (1 << address_bits(circuit)) + 16
    return "\n".join([
        *_declarations(circuit), "    initial begin", "        total = -1;", *openings(circuit),
        "        bound = total;",
        '        if ($value$plusargs("samples=%d", wanted) && wanted < total) bound = wanted;',
        "        repeat (4) @(negedge clk);", "        aresetn = 1;",
        "        while (fed < bound || s_valid) begin", "            @(negedge clk);",
        "            if (cycle > 64 * bound + 10000) give_up(\"words are stopped for ever\");",
        "            if (!s_valid || accepted) begin",
        "                s_valid = fed < bound && !(fed >= bound / 4 && ($random & 1));",
        "                s_last = $random;", "                noise = {$random, $random};",
        "                if (s_valid) begin", *feeds(circuit),
        "                s_last = fed % 5 == 2 || fed % 7 == 0;",
        "                fed = fed + 1;", "                end",
        "            end", "        end",
        f"        repeat ({circuit.cycles} * 8 + {2 * stall} + 64) @(negedge clk);",
        "        if (checked != bound) give_up(\"not every word came out\");", "        if (bound == total) begin",
        *closings(circuit), "        end",
        '        $display("passed: %0d samples, latency %0d cycles", bound, first_out - first_in);',
        "        $finish;", "    end", "",
        "    always @(negedge clk) begin",
        f"        if (checked >= bound / 2 && stalled < {stall}) begin m_ready = 0; stalled = stalled + 1; end",
        "        else m_ready = checked < bound / 4 || checked >= bound || ($random & 1);", "    end", "",
        "    always @(posedge clk) begin", "        cycle <= cycle + 1;", "        accepted <= s_valid && s_ready;",
        "        if (first_in < 0 && s_valid && s_ready) first_in = cycle;",
        "        if (aresetn && (s_ready === 1'bx || m_valid === 1'bx)) give_up(\"a handshake is unknown\");",
        "        if (held && (m_valid !== 1 || {m_last, m_data} !== before)) give_up(\"a waiting word moved\");",
        "        held = aresetn && m_valid && !m_ready;", "        before = {m_last, m_data};",
        "        if (aresetn && m_valid && m_ready) begin",
        "            if (first_out < 0) first_out = cycle;",
        "            if (checked == bound) give_up(\"a word too many came out\");", *checks(circuit),
        "            if (m_last !== (checked % 5 == 2 || checked % 7 == 0)) give_up(\"TLAST is at another word\");",
        "            checked = checked + 1;", "        end", "    end", "endmodule", "",
    ])  # fmt: skip


def _declarations(circuit: Circuit) -> list[str]:
    wide_in, wide_out = width_of(circuit.inputs), width_of(circuit.outputs)
    spare, out = padded(wide_in) - wide_in, padded(wide_out)
    data = f"{{noise[{spare - 1}:0], in_data}}" if spare else "in_data"
    return [
        "`timescale 1 ns / 1 ps", "module testbench;",
        "    reg clk = 0, aresetn = 0, s_valid = 0, s_last = 0, m_ready = 0, accepted = 0, held = 0;",
        "    reg [63:0] noise = 0;", f"    reg [{wide_in - 1}:0] in_data = 0;", f"    reg [{out}:0] before = 0;",
        "    wire s_ready, m_valid, m_last;", f"    wire [{out - 1}:0] m_data;",
        f"    wire [{wide_out - 1}:0] out_data = m_data[{wide_out - 1}:0];",
        f"    integer {', '.join(files(circuit))}, found, total, count, wanted, bound = 0, k;",
        "    integer fed = 0, checked = 0, cycle = 0, stalled = 0, first_in = -1, first_out = -1;",
        "    reg signed [63:0] value, got;", "    reg [8*16:1] word;",
        f"    {AXIS_TOP} dut (.aclk(clk), .aresetn(aresetn), .s_axis_tvalid(s_valid), .s_axis_tready(s_ready),",
        f"        .s_axis_tdata({data}), .s_axis_tlast(s_last), .m_axis_tvalid(m_valid), .m_axis_tready(m_ready),",
        "        .m_axis_tdata(m_data), .m_axis_tlast(m_last));", "    always #5 clk = !clk;", "",
        "    task give_up(input [8*64:1] what);", '        begin $display("ERROR: %0s", what); $finish; #1000; end',
        "    endtask", "",
    ]  # fmt: skip
