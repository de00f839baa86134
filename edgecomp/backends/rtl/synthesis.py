"""Synthesis with Yosys: what the sources take of a Xilinx part."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

from edgecomp import tools
from edgecomp.backends.rtl.top import TOP
from edgecomp.errors import ToolError
from edgecomp.project import FpgaTarget
from edgecomp.report.figures import Figure, Source
from edgecomp.resources import resource

SECONDS = 3600.0
ADDITION = "xilinx_sum3.v"  # of three operands, which Yosys does not find itself


def family_of_part(target: FpgaTarget) -> str:
    return "xc7" if target.part.startswith("xc7") else "xcup"


def synthesize(folder: Path, target: FpgaTarget) -> dict[str, Figure]:
    """`folder`/rtl/src through synth_xilinx; ToolError where Yosys fails."""
    script = f"synth_xilinx -family {family_of_part(target)} -nodsp -noiopad -flatten -top {TOP}"
    passes = ["read_verilog rtl/src/*.v", f"read_verilog -overwrite {ADDITION}", script,
              "tee -q -o stat.json stat -json"]  # fmt: skip
    (folder / ADDITION).write_bytes(resource("hls/xilinx_sum3.v").read_bytes())
    lines = ["from pyosys import libyosys as ys", "d = ys.Design()", *(f"ys.run_pass({p!r}, d)" for p in passes)]
    tools.run([sys.executable, "-c", "\n".join(lines)], cwd=folder, seconds=SECONDS)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return cell_figures(cells, f"pyosys {importlib.metadata.version('pyosys')}: {script}")


def cell_figures(cells: dict[str, int], method: str) -> dict[str, Figure]:
    """LUT (LUT RAM and shift registers included), FF, carry, DSP and 18 Kb block RAM of a count of cells by type."""
    if not cells:
        raise ToolError("synthesis gave no cells", where="yosys")

    def count(*heads: str) -> int:
        return sum(number for name, number in cells.items() if name.startswith(heads))

    found = {"lut": (count("LUT", "SRL", "RAM32", "RAM64", "RAM128", "RAM256"), "6-input LUTs"),
             "ff": (count("FD"), "flip-flops"), "carry": (count("CARRY"), "carry blocks"),
             "dsp": (count("DSP"), "DSP slices"),
             "bram18": (count("RAMB18") + 2 * count("RAMB36"), "18 Kb block RAMs")}  # fmt: skip
    return {name: Figure(value=value, unit=unit, source=Source.TOOL, method=method)
            for name, (value, unit) in found.items()}  # fmt: skip
