"""The scripts of a project: run.sh for g++, build_prj.tcl and its options for Vitis HLS and Vivado HLS."""

from __future__ import annotations

from edgecomp.backends.hls.drive import PROJECT

RUN_SH = f"""\
#!/usr/bin/env bash
# Compiles the circuit with its testbench and the bundled types, runs it on the golden vectors, and exits with a status
# other than 0 on any difference and on any missing or short file. Needs bash and g++ (or CXX).
set -euo pipefail
cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")"
build="$(mktemp -d)"
trap 'rm -rf -- "$build"' EXIT
"${{CXX:-g++}}" -std=c++14 -O1 -w -Ifirmware/ap_types -Ifirmware/nnet_utils -Ifirmware \\
    {PROJECT}_test.cpp firmware/{PROJECT}.cpp -o "$build/csim"
cd firmware
"$build/csim" --data ../tb_data
"""

BUILD_PRJ_TCL = """\
# Builds the project: vitis-run --mode hls --tcl build_prj.tcl, or vivado_hls -f build_prj.tcl, in this folder.
# build_opt.tcl says which steps run. The testbench checks itself: csim and cosim fail when a code differs.
source project.tcl
source build_opt.tcl

open_project -reset ${project_name}_prj
set_top ${project_name}
add_files firmware/${project_name}.cpp -cflags "-std=c++14"
add_files -tb ${project_name}_test.cpp -cflags "-std=c++14"
add_files -tb firmware/weights
add_files -tb tb_data
open_solution -reset solution1
catch {config_array_partition -maximum_size $maximum_size}
config_compile -name_max_length 80
set_part $part
config_schedule -enable_dsp_full_reg=false
create_clock -period $clock_period -name default
set_clock_uncertainty $clock_uncertainty default

if {$opt(csim)} {
    csim_design
}
if {$opt(synth)} {
    csynth_design
}
if {$opt(cosim)} {
    cosim_design
}
if {$opt(export)} {
    export_design -format ip_catalog -version $version
}
exit
"""


def build_opt(*, csim: bool, synth: bool, cosim: bool) -> str:
    """build_opt.tcl: the steps that build_prj.tcl runs."""
    steps = {"csim": csim, "synth": synth, "cosim": cosim, "export": False}
    return "array set opt {\n" + "".join(f"    {name} {int(on)}\n" for name, on in steps.items()) + "}\n"
