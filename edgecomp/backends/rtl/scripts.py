"""run.sh of an RTL bundle."""

from __future__ import annotations

HEAD = """\
#!/usr/bin/env bash
# Simulates the circuit on the golden vectors and exits with a status other than 0 on any difference and on any missing
# or short file. """

RUN_GHDL = f"""{HEAD}Needs bash and GHDL.
set -euo pipefail
cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")"
build="$(mktemp -d)"
trap 'rm -rf -- "$build"' EXIT
ghdl="${{EDGECOMP_GHDL:-ghdl}}"
flags=(--std=08 -fsynopsys --workdir="$build")
"$ghdl" -i "${{flags[@]}}" src/*.vhd testbench.vhd >"$build/ghdl.log" 2>&1 || {{ cat "$build/ghdl.log"; exit 3; }}
"$ghdl" -m "${{flags[@]}}" testbench >>"$build/ghdl.log" 2>&1 || {{ cat "$build/ghdl.log"; exit 3; }}
"$ghdl" -r "${{flags[@]}}" testbench --ieee-asserts=disable 2>&1 | tee "$build/ghdl.out" || true
grep -q 'passed:' "$build/ghdl.out" || exit 1
"""


def run_verilog(top: str) -> str:
    """run.sh of Verilog sources: testbench.cpp and testbench.v drive the module `top`."""
    return f"""{HEAD}Needs bash, g++, Verilator and Icarus Verilog: Verilator runs every vector several
# times (at full speed, with gaps or stalls, after a reset in the middle), Icarus the first ones meanwhile.
# -fno-const-bit-op-tree: Verilator 5.006 simulates large netlists wrongly without it.
set -euo pipefail
cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")"
build="$(mktemp -d)"
trap 'rm -rf -- "$build"' EXIT
icarus() {{
    "${{EDGECOMP_IVERILOG:-iverilog}}" -g2005 -o "$build/icarus" testbench.v src/*.v || return 3
    "${{EDGECOMP_VVP:-vvp}}" -n "$build/icarus" +samples="${{ICARUS_SAMPLES:-100}}"
}}
icarus >"$build/icarus.log" 2>&1 &
second=$!
trap 'kill "$second" 2>/dev/null || true; wait "$second" 2>/dev/null || true; rm -rf -- "$build"' EXIT
status=0
"${{EDGECOMP_VERILATOR:-verilator}}" --cc --exe --build -j 2 -O3 --output-split 20000 --output-split-cfuncs 1000 \\
    -Wno-fatal -Wno-lint -Wno-style -Wfuture-WIDTHTRUNC -fno-const-bit-op-tree \\
    --top-module {top} --Mdir "$build/obj" -CFLAGS "-std=c++17 -O0 -w" \\
    src/*.v "$PWD/testbench.cpp" \\
    >"$build/verilator.log" 2>&1 || {{ cat "$build/verilator.log"; exit 3; }}
"$build/obj/V{top}" layout.txt tb_data || status=$?
[ "$status" -eq 0 ] || exit "$status"
wait "$second" || status=$?
cat "$build/icarus.log"
[ "$status" -eq 0 ] || exit "$status"
grep -q '^passed' "$build/icarus.log" || exit 1
"""
