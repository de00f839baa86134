"""Synthesis and co-simulation with Vitis HLS or Vivado HLS where they are installed, and what their reports say."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from edgecomp import tools
from edgecomp.backends.hls.drive import PROJECT
from edgecomp.backends.hls.options import Vendor
from edgecomp.backends.hls.scripts import build_opt
from edgecomp.errors import MismatchError, ToolError
from edgecomp.report.figures import Figure, Source

SYNTH_SECONDS = 4 * 3600.0
COSIM_SECONDS = 8 * 3600.0
COMMANDS = {
    Vendor.VITIS: ("vitis-run", "--mode", "hls", "--tcl", "build_prj.tcl"),
    Vendor.VIVADO: ("vivado_hls", "-f", "build_prj.tcl"),
}
HINTS = {
    Vendor.VITIS: "install Vitis and source its settings64.sh, or build without --synth",
    Vendor.VIVADO: "install Vivado HLS and source its settings64.sh, or build without --synth",
}
SOLUTION = f"{PROJECT}_prj/solution1"

# Where csynth.xml holds each figure, and its unit: UG1399 (Vitis HLS) and UG902 (Vivado HLS), synthesis report.
FIGURES = {
    "cycles": ("PerformanceEstimates/SummaryOfOverallLatency/Worst-caseLatency", "cycles"),
    "initiation_interval": ("PerformanceEstimates/SummaryOfOverallLatency/Interval-max", "cycles"),
    "clock_estimate_ns": ("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod", "ns"),
    "lut": ("AreaEstimates/Resources/LUT", "6-input LUTs"),
    "ff": ("AreaEstimates/Resources/FF", "flip-flops"),
    "dsp": ("AreaEstimates/Resources/DSP", "DSP slices"),
    "bram18": ("AreaEstimates/Resources/BRAM_18K", "18 Kb block RAMs"),
}
_CELL = re.compile(r"\d+(\.\d+)?|NA|-|x|\?")  # an average need not be whole; what was not measured is no number
UNDETERMINED = ("undef", "?")  # latencies that depend on the data
OLDER = {"AreaEstimates/Resources/DSP": "AreaEstimates/Resources/DSP48E"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """What the vendor's tool says of a project: figures with source TOOL by name, and the wall seconds it took."""

    figures: Mapping[str, Figure]
    seconds: float


def program_of(vendor: Vendor) -> Path:
    """The vendor's program; ToolError naming it where it is not there."""
    return tools.need(COMMANDS[vendor][0], hint=HINTS[vendor])


def synthesize(folder: Path, vendor: Vendor, *, cosim: bool) -> Synthesis:
    """Run C synthesis, and co-simulation where asked for, on a copy of `folder`/hls; the folder stays as it is.

    ToolError naming the tool where it is not there, fails, takes too long, or writes no report or another than the
    documented one; MismatchError where the co-simulation does not pass.
    """
    program = program_of(vendor)
    with tempfile.TemporaryDirectory(prefix="edgecomp-synth-") as scratch:
        project = Path(scratch) / "hls"
        shutil.copytree(folder / "hls", project)
        (project / "build_opt.tcl").write_text(build_opt(csim=False, synth=True, cosim=cosim))
        seconds = SYNTH_SECONDS + (COSIM_SECONDS if cosim else 0)
        ran = tools.run([program, *COMMANDS[vendor][1:]], cwd=project, seconds=seconds)
        reports = project / SOLUTION
        figures = dict(read_csynth(reports / "syn" / "report", vendor))
        if cosim:
            figures |= read_cosim(reports / "sim" / "report" / f"{PROJECT}_cosim.rpt", vendor)
    return Synthesis(figures=figures, seconds=ran.seconds)


def _file_of(folder: Path, names: tuple[str, ...], tool: str) -> Path:
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ToolError(f"{tool} wrote no {names[0]}", where=tool, hint="run it by hand in the bundle's hls folder")
    return found


def read_csynth(folder: Path, vendor: Vendor) -> Mapping[str, Figure]:
    """The figures of a synthesis report folder."""
    tool = COMMANDS[vendor][0]
    path = _file_of(folder, (f"{PROJECT}_csynth.xml", "csynth.xml"), tool)
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ToolError(f"{path.name} is no XML: {error}", where=tool) from error
    return {name: _figure(root, place, unit, tool, path.name) for name, (place, unit) in FIGURES.items()}


def _figure(root: ElementTree.Element, place: str, unit: str, tool: str, file: str) -> Figure:
    text = (root.findtext(place) or root.findtext(OLDER.get(place, place)) or "").strip()
    method = f"{tool}, {file}, {place}"
    if text in UNDETERMINED and unit == "cycles":
        return Figure(value="undetermined", unit=unit, source=Source.TOOL, method=method)
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ToolError(f"{file} holds {text!r} as {place}, not a number", where=tool)
    return Figure(value=float(text) if "." in text else int(text), unit=unit, source=Source.TOOL, method=method)


def read_cosim(path: Path, vendor: Vendor) -> Mapping[str, Figure]:
    """Latency and interval that the co-simulation saw; MismatchError unless its status is Pass."""
    tool = COMMANDS[vendor][0]
    text = _file_of(path.parent, (path.name,), tool).read_text()
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if "|" in line]
    row = next((row for row in rows if row[0] in ("VHDL", "Verilog") and row[1:2] != ["NA"]), None)
    if row is None or len(row) < 8 or not all(_CELL.fullmatch(cell) for cell in row[2:8]):
        raise ToolError(f"{path.name} has no row of results", where=tool)
    if row[1] != "Pass":
        raise MismatchError(f"the co-simulation's status is {row[1]}", where=path.name)
    cells = {"cosim_cycles": row[4], "cosim_initiation_interval": row[7]}
    return {
        name: Figure(value=int(cell), unit="cycles", source=Source.TOOL, method=f"{tool}, {path.name}, greatest")
        for name, cell in cells.items() if cell.isdecimal()
    }  # fmt: skip
