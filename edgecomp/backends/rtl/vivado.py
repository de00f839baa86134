"""A project for Vivado: constraints, and a script that synthesises, places and routes the circuit by itself."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.backends.rtl.axis import AXIS_TOP
from edgecomp.backends.rtl.options import Interface
from edgecomp.backends.rtl.top import TOP

PORTS = {
    Interface.PLAIN: ("clk", "rst in_valid in_data[*]", "out_valid out_data[*]"),
    Interface.AXIS: ("aclk", "aresetn s_axis_tvalid s_axis_tdata[*] s_axis_tlast m_axis_tready",
                     "s_axis_tready m_axis_tvalid m_axis_tdata[*] m_axis_tlast"),
}  # fmt: skip

PROJECT = """\
# Synthesises, places and routes the circuit out of context, and fails where its clock is not met:
#   vivado -mode batch -source project.tcl
# Runs in any folder. The project, utilization.rpt, timing.rpt and routed.dcp are left in build/ beside this file.
set here [file dirname [file normalize [info script]]]
set build [file join $here build]
set top {top}
set part {part}
set sources {{
{sources}
}}

file mkdir $build
create_project -force -part $part $top $build
foreach name $sources {{
    {read} [file join $here .. src $name]
}}
read_xdc [file join $here constraints.xdc]

synth_design -top $top -part $part -mode out_of_context
opt_design
place_design
phys_opt_design
route_design
write_checkpoint -force [file join $build routed.dcp]
report_utilization -file [file join $build utilization.rpt]
report_timing_summary -file [file join $build timing.rpt]

set paths [get_timing_paths -setup -max_paths 1]
if {{[llength $paths] == 0}} {{
    error "no path is timed: the constraints do not fit the circuit"
}}
set slack [get_property SLACK [lindex $paths 0]]
puts "worst setup slack: $slack ns"
if {{$slack < 0}} {{
    error "the clock is not met: worst setup slack $slack ns, see [file join $build timing.rpt]"
}}
"""

CONSTRAINTS = """\
# The ports are timed as if registers stood just outside. Only their setup: hold depends on what surrounds the circuit.
create_clock -name {clock} -period {period:.3f} [get_ports {clock}]
set_input_delay -max -clock {clock} 0.000 [get_ports {{{inputs}}}]
set_output_delay -max -clock {clock} 0.000 [get_ports {{{outputs}}}]
"""


def vivado_files(
    names: Sequence[str], part: str, clock_ns: float, interface: Interface, *, ready: bool
) -> dict[str, str]:
    """project.tcl and constraints.xdc, to lie in a folder beside `src/`, which holds `names`.

    `ready`: the plain ports have an in_ready.
    """
    clock, inputs, outputs = PORTS[interface]
    outputs = f"in_ready {outputs}" if ready and interface is Interface.PLAIN else outputs
    vhdl = any(name.endswith(".vhd") for name in names)
    project = PROJECT.format(
        top=AXIS_TOP if interface is Interface.AXIS else TOP,
        part=part,
        sources="\n".join(f"    {name}" for name in sorted(names)),
        read="read_vhdl -vhdl2008" if vhdl else "read_verilog",
    )
    constraints = CONSTRAINTS.format(clock=clock, period=clock_ns, inputs=inputs, outputs=outputs)
    return {"project.tcl": project, "constraints.xdc": constraints}
