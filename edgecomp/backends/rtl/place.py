"""Place and route with nextpnr: the clock that a circuit reaches on a part, its buses fed by shift registers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgecomp import tools
from edgecomp.backends.rtl.axis import AXIS_TOP, padded
from edgecomp.backends.rtl.circuit import Ends
from edgecomp.backends.rtl.options import Interface, Io, RtlOptions
from edgecomp.backends.rtl.parts import family
from edgecomp.backends.rtl.synthesis import MAPPED, SECONDS, yosys
from edgecomp.backends.rtl.top import TOP, width_of
from edgecomp.errors import ToolError
from edgecomp.project import FpgaTarget
from edgecomp.report.figures import Figure, Source

HARNESS = "harness"
SEEDS = (1, 2, 3)
TOO_LARGE = re.compile(r"no Bels remaining|[Uu]nable to (find|place)|failed to place|more than available")
AT_A_TIME = 2  # each takes some 0.5 GB


def harness_for(inputs: Sequence[Ends], outputs: Sequence[Ends], options: RtlOptions) -> str:
    """A top with six pins: both buses, which hold these ends, are shifted through, for no package has pins for them."""
    wide_in, wide_out = width_of(inputs), width_of(outputs)
    if options.interface is Interface.AXIS:
        instance = (f"{AXIS_TOP} circuit (.aclk(clk), .aresetn(!held_rst), .s_axis_tvalid(held_valid), "
                    ".s_axis_tready(result[0]), .s_axis_tdata(given[0 +: W]), .s_axis_tlast(given[W]), "
                    ".m_axis_tvalid(out_valid), .m_axis_tready(given[W + 1]), .m_axis_tdata(result[2 +: V]), "
                    ".m_axis_tlast(result[1]));")  # fmt: skip
        return _harness(padded(wide_in), padded(wide_out), 2, instance)
    instance = (f"{TOP} circuit (.clk(clk), .rst(held_rst), .in_valid(held_valid), .in_data(given), "
                ".out_valid(out_valid), .out_data(result));")  # fmt: skip
    if options.io is Io.STREAM:
        instance = (f"{TOP} circuit (.clk(clk), .rst(held_rst), .in_valid(held_valid), .in_ready(result[0]), "
                    ".in_data(given[0 +: W]), .out_valid(out_valid), .out_data(result[1 +: V]));")  # fmt: skip
        return _harness(wide_in, wide_out, 1, instance)
    return _harness(wide_in, wide_out, 0, instance)


def _harness(inputs: int, outputs: int, flags: int, instance: str) -> str:
    return f"""\
module {HARNESS} (input clk, input rst, input valid, input serial_in, output reg serial_out, output out_valid);
    localparam W = {inputs}, V = {outputs}, FLAGS = {flags};
    reg [W+FLAGS-1:0] given;
    reg [V+FLAGS-1:0] kept;
    reg held_rst, held_valid;
    wire [V+FLAGS-1:0] result;
    {instance}
    always @(posedge clk) begin
        held_rst <= rst;
        held_valid <= valid;
        given <= {{given, serial_in}};
        kept <= out_valid ? result : kept >> 1;
        serial_out <= kept[0];
    end
endmodule
"""


def place(folder: Path, target: FpgaTarget, *, harness: str, clock_ns: float) -> dict[str, Figure]:
    """Best and least of the clock over SEEDS, and the cells placed, harness included.

    `folder`/mapped/ holds the netlists, the last of which is the top's. ToolError where nextpnr fails.
    """
    (folder / f"{HARNESS}.v").write_text(harness)
    kind = family(target)
    tops = " ".join(str(path.relative_to(folder)) for path in (folder / MAPPED).glob("network*.v"))
    yosys(folder, [f"read_verilog {HARNESS}.v", f"read_verilog -lib {tops}", f"{kind.script} -top {HARNESS}",
                   f"write_verilog -noattr {MAPPED}/{HARNESS}.v"])  # fmt: skip
    netlists = " ".join(f"{MAPPED}/{path.name}" for path in sorted((folder / MAPPED).glob("*.v")))
    yosys(folder, [f"read_verilog -lib +/{kind.models}", f"read_verilog {netlists}", f"hierarchy -top {HARNESS}",
                   "blackbox =A:whitebox", "flatten", "opt_clean", "delete t:$scopeinfo",
                   "write_json placed.json"])  # fmt: skip
    program = find_program(target.place[0])
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        runs = list(pool.map(lambda seed: run_placer(folder, program, target.place[1:], seed, clock_ns), SEEDS))
    version = re.search(r"\d+\.[\d.]*\d", tools.version(program, ("--version",)))
    method = f"{target.place[0]} {version[0] if version else ''}, {len(SEEDS)} seeds, with the registers that feed it"
    clocks = sorted(mhz for mhz, _ in runs)
    found = {
        "fmax_mhz": Figure(value=clocks[-1], unit="MHz", source=Source.TOOL, method=f"best of {method}"),
        "fmax_least_mhz": Figure(value=clocks[0], unit="MHz", source=Source.TOOL, method=f"least of {method}"),
    }
    for name, number in sorted(runs[0][1].items()):
        found[f"placed_{name.lower()}"] = Figure(value=number, unit="cells", source=Source.TOOL, method=method)
    return found


def find_program(name: str) -> Path:
    """nextpnr where its variable or the PATH says, else the one that the extra `place` brings."""
    found = tools.find(name)
    bundled = Path(sys.executable).parent / f"yowasp-{name}"
    if found is None and bundled.is_file():
        found = bundled
    if found is None:
        raise ToolError(f"{name} is not there", where=name,
                        hint=f"pip install yowasp-{name}, or set {tools.variable(name)} to its path")  # fmt: skip
    return found


def run_placer(
    folder: Path, program: Path, arguments: Sequence[str], seed: int, clock_ns: float
) -> tuple[float, dict[str, int]]:
    """(MHz, cells by type) of one seed."""
    report = f"placed{seed}.json.report"
    loose = "--pcf-allow-unconstrained" if "ice40" in program.name else "--lpf-allow-unconstrained"
    wanted = ["--freq", f"{1000 / clock_ns:.4f}", "--timing-allow-fail", "--quiet", loose]
    files = ["--json", "placed.json", "--report", report]
    try:
        tools.run([program, *arguments, "--seed", str(seed), *files, *wanted], cwd=folder, seconds=SECONDS)
    except ToolError as error:
        if TOO_LARGE.search(error.problems[0].what):
            raise ToolError(f"it does not fit with the shift registers that feed it: {error.problems[0].what}",
                            where=program.name, hint="use a larger part") from error  # fmt: skip
        raise
    said = json.loads((folder / report).read_text())
    clocks = [clock["achieved"] for clock in said["fmax"].values()]
    if not clocks:
        raise ToolError("it timed no clock", where=program.name)
    cells = {name: use["used"] for name, use in said["utilization"].items() if use["used"]}
    return round(min(clocks), 3), cells
