"""Synthesis with Yosys, stage by stage: what the sources take of a part, and proofs that netlists do what they do."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgecomp import tools
from edgecomp.backends.printed.mapping import DIFFERENT, EQUIVALENT, abc_program
from edgecomp.backends.rtl.parts import Family, family
from edgecomp.backends.rtl.top import TOP
from edgecomp.errors import MismatchError, ToolError
from edgecomp.project import FpgaTarget
from edgecomp.report.figures import Figure, Source
from edgecomp.resources import resource

SECONDS, PROOF_SECONDS = 3600.0, 900.0
SIMULATED = 400_000  # look-up tables times cycles of the netlist's simulation: half a minute
MAPPED = "mapped"  # the folder of netlists
DEFINED = ("proc", "setundef -zero")  # tables hold X where no operand reaches: the same value for mapper and proof
ALONE = (*DEFINED, "flatten", "memory", "opt_expr", "opt_clean", "techmap", "opt_expr", "opt_clean", "aigmap",
         "opt_clean -purge", "setundef -zero -undriven", "setundef -zero")  # fmt: skip
FAULT = "this is a fault of edgecomp or of Yosys: please report it with the model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module's cells by type."""

    name: str
    cells: dict[str, int]


def synthesize(folder: Path, target: FpgaTarget, *, top: str = TOP) -> dict[str, Figure]:
    """`folder`/rtl/src mapped to `folder`/mapped/; ToolError where Yosys fails.

    Registers part the stages, so each is mapped by itself, as many at a time as there are processors, and the
    registers with the top. Keys are a resource, or a resource with the stage's module.
    """
    kind = family(target)
    (folder / MAPPED).mkdir()
    if kind.sum3:
        (folder / kind.sum3).write_bytes(resource(f"hls/{kind.sum3}").read_bytes())
    stages = stages_of(folder / "rtl" / "src")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        modules = list(pool.map(lambda name: _module(folder, kind, name, stages), [*stages, top]))
    total: dict[str, int] = {}
    for module in modules:
        for name, number in module.cells.items():
            total[name] = total.get(name, 0) + number
    method = f"pyosys {importlib.metadata.version('pyosys')}: {kind.script}"
    found = cell_figures(total, method, kind)
    for module in modules[:-1]:
        found[f"lut_{module.name}"] = Figure(value=used(module.cells, "lut", kind), unit=kind.kinds["lut"][0],
                                             source=Source.TOOL, method=method)  # fmt: skip
    return found


def prove(folder: Path, target: FpgaTarget) -> Figure:
    """How many stages' netlists, which `synthesize` has left, are proven to do what their sources do on every input.

    A proof that takes too long is none; MismatchError where a netlist does something else.
    """
    stages = stages_of(folder / "rtl" / "src")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        proven = list(pool.map(lambda name: _proven(folder, family(target), name, stages), stages))
    said = f"yosys-abc: the netlist equals its source on every input; of {len(stages)} stages"
    return Figure(value=sum(proven), unit="stages", source=Source.TOOL, method=said)


def stages_of(folder: Path) -> list[str]:
    """The modules between the registers, the first stage first."""
    names = [path.stem for path in folder.glob("logic*.v")]
    return sorted(names, key=lambda name: int(name.removeprefix("logic")))


def yosys(folder: Path, passes: Sequence[str], *, seconds: float = SECONDS) -> None:
    """The passes on an empty design, in a process of its own."""
    lines = ["from pyosys import libyosys as ys", "d = ys.Design()", *(f"ys.run_pass({p!r}, d)" for p in passes)]
    tools.run([sys.executable, "-c", "\n".join(lines)], cwd=folder, seconds=seconds)


def _read(folder: Path, top: str, stages: list[str]) -> str:
    """The pass that reads the sources but for the other stages."""
    others = {name for name in stages if name != top}
    shown = [path for path in sorted((folder / "rtl" / "src").glob("*.v")) if path.stem not in others]
    return "read_verilog " + " ".join(str(path.relative_to(folder)) for path in shown)


def _module(folder: Path, kind: Family, top: str, stages: list[str]) -> Module:
    """Map what is below `top`; the stages are black boxes to the circuit's own top."""
    apart = [] if top in stages else stages
    passes = [_read(folder, top, stages), *(f"read_verilog -lib rtl/src/{stage}.v" for stage in apart)]
    passes += [f"read_verilog -overwrite {kind.sum3}"] if kind.sum3 else []
    defined = () if apart else (f"hierarchy -top {top}", *DEFINED)  # a memory's read enable may not be made zero
    passes += [*defined, f"{kind.script} -top {top}", f"tee -q -o {top}.json stat -json",
               f"write_verilog -noattr {MAPPED}/{top}.v"]  # fmt: skip
    yosys(folder, passes)
    cells = json.loads((folder / f"{top}.json").read_text())["design"]["num_cells_by_type"]
    return Module(name=top, cells={name: number for name, number in cells.items() if name not in apart})


def _proven(folder: Path, kind: Family, top: str, stages: list[str]) -> bool:
    """Whether the netlist of a stage was proven equal to its source in time; MismatchError where it is not equal."""
    netlist = [f"read_verilog {MAPPED}/{top}.v", f"read_verilog -defer -overwrite +/{kind.models}"]
    for name, read in (("source", [_read(folder, top, stages)]), ("netlist", netlist)):
        yosys(folder, [*read, f"hierarchy -top {top}", *ALONE, f"write_aiger {top}.{name}.aig"])
    try:
        said = tools.run([abc_program(), "-q", f"&r {top}.source.aig; &cec {top}.netlist.aig"], cwd=folder,
                         seconds=PROOF_SECONDS).output  # fmt: skip
    except ToolError:
        return False
    if DIFFERENT in said:
        raise MismatchError(f"the netlist of {top} does not compute what its source does", where="yosys", hint=FAULT)
    return EQUIVALENT in said


def simulate_netlist(folder: Path, target: FpgaTarget, luts: int, *, top: str = TOP, cycles: int = 1) -> Figure:
    """The netlists with Yosys's models of their cells in Icarus Verilog, on golden samples as many as time allows.

    A sample takes `cycles`. Where it is a frame of many, two are enough: what one leaves behind meets the other.
    """
    names = " ".join(f"{MAPPED}/{path.name}" for path in sorted((folder / MAPPED).glob("*.v")))
    yosys(
        folder,
        [
            f"read_verilog {names}",
            f"read_verilog -defer -overwrite +/{family(target).models}",
            f"hierarchy -top {top}",
            "proc",
            "flatten",
            "opt_clean",
            "write_verilog -noattr netlist.v",
        ],
    )
    samples = max(10 if cycles == 1 else 2, min(200, SIMULATED // max(luts * cycles, 1)))
    icarus = tools.need("iverilog", hint="install it (Debian: apt-get install iverilog)")
    bench, program = folder / "rtl" / "testbench.v", folder / "netlist.vvp"
    tools.run([icarus, "-g2005", "-o", program, bench, folder / "netlist.v"], cwd=folder, seconds=SECONDS)
    vvp = tools.need("vvp", hint="install it (Debian: apt-get install iverilog)")
    said = tools.run([vvp, "-n", program, f"+samples={samples}"], cwd=folder / "rtl", seconds=SECONDS).output
    passed = next((line.split() for line in said.splitlines() if line.startswith("passed")), None)
    if passed is None:
        raise MismatchError(f"the mapped netlist differs: {said.strip()[-200:]}", where="Icarus Verilog",
                            hint=FAULT)  # fmt: skip
    return Figure(
        value=int(passed[1]),
        unit="samples",
        source=Source.MEASURED,
        method="mapped netlist in Icarus Verilog, with Yosys's models of the cells; every code equal",
    )


def used(cells: dict[str, int], resource_name: str, kind: Family) -> int:
    """How much of a resource the cells are."""
    heads = kind.kinds[resource_name][1]
    fits = {name: max((head for head in heads if name.startswith(head)), key=len, default="") for name in cells}
    return sum(number * heads.get(fits[name], 0) for name, number in cells.items())


def cell_figures(cells: dict[str, int], method: str, kind: Family) -> dict[str, Figure]:
    """Each resource of a count of cells by type."""
    if not cells:
        raise ToolError("synthesis gave no cells", where="yosys")
    return {name: Figure(value=used(cells, name, kind), unit=unit, source=Source.TOOL, method=method)
            for name, (unit, _) in kind.kinds.items()}  # fmt: skip
