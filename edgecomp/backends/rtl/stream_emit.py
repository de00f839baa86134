"""The `rtl/` folder of a streamed network: sources, both testbenches, and the script that runs them."""

from __future__ import annotations

from edgecomp.backends.rtl.axis import AXIS_TOP, padded
from edgecomp.backends.rtl.emit import FOLDER, with_vivado
from edgecomp.backends.rtl.options import Interface, RtlOptions
from edgecomp.backends.rtl.scripts import run_verilog
from edgecomp.backends.rtl.stream_circuit import StreamCircuit
from edgecomp.backends.rtl.stream_testbench import stream_testbench
from edgecomp.backends.rtl.stream_top import stream_sources
from edgecomp.backends.rtl.top import TOP, width_of
from edgecomp.bundle import Bundle
from edgecomp.project import FpgaTarget
from edgecomp.resources import resource


def stream_files(design: StreamCircuit, interface: Interface = Interface.PLAIN) -> Bundle:
    """Everything below `rtl/` but the vectors and what a vendor's tool reads."""
    axis = interface is Interface.AXIS
    files = {f"src/{name}": text for name, text in stream_sources(design, ready=axis).items()}
    files |= {f"src/{AXIS_TOP}.v": stream_axis_top(design)} if axis else {}
    files |= {
        "layout.txt": stream_layout(design), "vectors.hpp": resource("hls/rtl_vectors.hpp").read_text(),
        "testbench.cpp": resource("hls/rtl_stream_testbench.cpp").read_text(),
        "testbench.v": stream_testbench(design, axis=axis), "run.sh": run_verilog(AXIS_TOP if axis else TOP),
    }  # fmt: skip
    return Bundle(files={f"{FOLDER}/{name}": text.encode() for name, text in sorted(files.items())})


def stream_part_files(design: StreamCircuit, target: FpgaTarget, options: RtlOptions) -> Bundle:
    """`stream_files`, and for Xilinx parts a project for Vivado."""
    return with_vivado(stream_files(design, options.interface), target, options)


def stream_layout(design: StreamCircuit) -> str:
    """One line a node: direction, name, elements of a frame, bits of each, 1 where signed, beats of a frame."""
    sides = (("input", design.inputs, design.in_beats), ("output", design.outputs, design.out_beats))
    lines = [f"{side} {e.node} {e.elements} {e.bits} {int(e.signed)} {beats}" for side, ends, beats in sides
             for e in ends]  # fmt: skip
    return "\n".join([*lines, ""])


def stream_axis_top(design: StreamCircuit) -> str:
    """The top module with AXI4-Stream ports: a place a word, padded to whole bytes; TLAST at a result's last word."""
    wide_in, wide_out = width_of(design.circuits[0].inputs), width_of(design.circuits[-1].outputs)
    spare, last = padded(wide_out) - wide_out, design.out_beats - 1
    bits = max(1, last.bit_length())
    return "\n".join([
        "`timescale 1 ns / 1 ps", "",
        f"// {AXIS_TOP}: {TOP} with AXI4-Stream ports. A word is a place of a frame, padded with zeros to whole bytes;",
        f"// {design.in_beats} of them make a frame, whatever TLAST says, which is not looked at; TLAST comes out with",
        f"// the last of {design.out_beats} words of a result.",
        f"module {AXIS_TOP} (", "    input wire aclk,", "    input wire aresetn,", "    input wire s_axis_tvalid,",
        "    output wire s_axis_tready,", f"    input wire [{padded(wide_in) - 1}:0] s_axis_tdata,",
        "    input wire s_axis_tlast,", "    output wire m_axis_tvalid,", "    input wire m_axis_tready,",
        f"    output wire [{padded(wide_out) - 1}:0] m_axis_tdata,", "    output wire m_axis_tlast", ");",
        f"    wire [{wide_out - 1}:0] out_data;", f"    reg [{bits - 1}:0] word;",
        f"    {TOP} circuit (.clk(aclk), .rst(!aresetn), .in_valid(s_axis_tvalid), .in_ready(s_axis_tready),",
        f"        .in_data(s_axis_tdata[{wide_in - 1}:0]), .out_valid(m_axis_tvalid), .out_ready(m_axis_tready),",
        "        .out_data(out_data));",
        f"    assign m_axis_tdata = {f'{{{spare}' + chr(39) + 'd0, out_data}' if spare else 'out_data'};",
        f"    assign m_axis_tlast = word == {last};", "    always @(posedge aclk)",
        "        if (!aresetn) word <= 0;",
        "        else if (m_axis_tvalid && m_axis_tready) word <= m_axis_tlast ? 0 : word + 1;", "endmodule", "",
    ])  # fmt: skip
