"""Synthesis with Yosys: what the sources take of a Xilinx part, stage by stage."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgecomp import tools
from edgecomp.backends.rtl.top import TOP
from edgecomp.errors import ToolError
from edgecomp.project import FpgaTarget
from edgecomp.report.figures import Figure, Source
from edgecomp.resources import resource

SECONDS = 3600.0
ADDITION = "xilinx_sum3.v"  # of three operands, which Yosys does not find itself
KINDS = {
    "lut": ("6-input LUTs", {"LUT": 1, "SRL": 1, "RAM32": 1, "RAM64": 1, "RAM128": 1, "RAM256": 1}),
    "ff": ("flip-flops", {"FD": 1}),
    "carry": ("carry blocks", {"CARRY": 1}),
    "dsp": ("DSP slices", {"DSP": 1}),
    "bram18": ("18 Kb block RAMs", {"RAMB18": 1, "RAMB36": 2}),
}


def family_of_part(target: FpgaTarget) -> str:
    return "xc7" if target.part.startswith("xc7") else "xcup"


def synthesize(folder: Path, target: FpgaTarget) -> dict[str, Figure]:
    """`folder`/rtl/src through synth_xilinx; ToolError where Yosys fails.

    Registers part the stages, so each is synthesised by itself, as many at a time as there are processors, and the
    registers with the top. Keys are a resource, or a resource with the stage's module.
    """
    script = f"synth_xilinx -family {family_of_part(target)} -nodsp -noiopad -flatten"
    (folder / ADDITION).write_bytes(resource("hls/xilinx_sum3.v").read_bytes())
    stages = stages_of(folder / "rtl" / "src")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        counts = list(pool.map(lambda top: _count(folder, script, top, stages), [*stages, TOP]))
    total: dict[str, int] = {}
    for cells in counts:
        for name, number in cells.items():
            total[name] = total.get(name, 0) + number
    method = f"pyosys {importlib.metadata.version('pyosys')}: {script}"
    found = cell_figures(total, method)
    for stage, cells in zip(stages, counts, strict=False):
        number = used(cells, "lut")
        found[f"lut_{stage}"] = Figure(value=number, unit=KINDS["lut"][0], source=Source.TOOL, method=method)
    return found


def stages_of(folder: Path) -> list[str]:
    """The modules between the registers, the first stage first."""
    names = [path.stem for path in folder.glob("logic*.v")]
    return sorted(names, key=lambda name: int(name.removeprefix("logic")))


def _count(folder: Path, script: str, top: str, stages: list[str]) -> dict[str, int]:
    """Cells by type below `top`; the stages are black boxes to the circuit's own top."""
    apart = stages if top == TOP else []
    shown = [path for path in sorted((folder / "rtl" / "src").glob("*.v")) if path.stem not in apart]
    passes = ["read_verilog " + " ".join(str(path.relative_to(folder)) for path in shown)]
    passes += [f"read_verilog -lib rtl/src/{stage}.v" for stage in apart]
    passes += [f"read_verilog -overwrite {ADDITION}", f"{script} -top {top}", f"tee -q -o {top}.json stat -json"]
    lines = ["from pyosys import libyosys as ys", "d = ys.Design()", *(f"ys.run_pass({p!r}, d)" for p in passes)]
    tools.run([sys.executable, "-c", "\n".join(lines)], cwd=folder, seconds=SECONDS)
    cells = json.loads((folder / f"{top}.json").read_text())["design"]["num_cells_by_type"]
    return {name: number for name, number in cells.items() if name not in apart}


def used(cells: dict[str, int], kind: str) -> int:
    """How much of a resource the cells are."""
    heads = KINDS[kind][1]
    return sum(number * each for name, number in cells.items() for head, each in heads.items() if name.startswith(head))


def cell_figures(cells: dict[str, int], method: str) -> dict[str, Figure]:
    """LUT (LUT RAM and shift registers included), FF, carry, DSP and 18 Kb block RAM of a count of cells by type."""
    if not cells:
        raise ToolError("synthesis gave no cells", where="yosys")
    return {kind: Figure(value=used(cells, kind), unit=unit, source=Source.TOOL, method=method)
            for kind, (unit, _) in KINDS.items()}  # fmt: skip
