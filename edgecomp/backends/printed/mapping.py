"""Mapping a circuit to a printed library: Yosys reads the Verilog, a portfolio of ABC scripts maps it, each result is
proven equivalent, and the smallest is kept."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgecomp.backends.printed.cost import area_cm2, delay_ms
from edgecomp.backends.printed.gates import Circuit
from edgecomp.backends.printed.library import PrintedTarget, genlib
from edgecomp.backends.printed.netlist import Netlist, read_blif
from edgecomp.backends.printed.scripts import PORTFOLIO
from edgecomp.backends.printed.slices import LARGE, Slice, cut, join
from edgecomp.backends.printed.verilog import circuit_blif, circuit_verilog, netlist_blif
from edgecomp.errors import MismatchError, ToolError
from edgecomp.tools import find, run

TOP = "classifier"
SCRIPT_SECONDS, GATE_SECONDS = 60.0, 0.02  # one script or proof may take the first, or the second for each gate
YOSYS_SECONDS = 300.0
PASSES = ("read_verilog circuit.v", f"hierarchy -top {TOP}", "proc", "opt -full", "techmap", "opt",
          "write_blif circuit.blif")  # fmt: skip
EQUIVALENT = "Networks are equivalent"
DIFFERENT = "Networks are NOT EQUIVALENT"


Advance = Callable[[int, int, str], None]
"""Hears how many of how many are done, and what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one script gave: its place in the portfolio and its area, or why it gave nothing."""

    script: int
    area_cm2: float | None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """The smallest netlist, proven equivalent to the circuit, a large one's slice by slice; every attempt beside it."""

    netlist: Netlist
    attempts: tuple[Attempt, ...]


def abc_program() -> Path:
    """ABC: where EDGECOMP_YOSYS_ABC or the PATH says, else the one that comes with pyosys."""
    found = find("yosys-abc")
    spec = importlib.util.find_spec("pyosys") if found is None else None
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "yosys-abc"
        found = bundled if bundled.is_file() else None
    if found is None:
        raise ToolError("yosys-abc is not there", where="yosys-abc",
                        hint="pip install pyosys, or set EDGECOMP_YOSYS_ABC to its path")  # fmt: skip
    return found


def read_with_yosys(verilog: str, folder: Path) -> None:
    """Turn the Verilog into folder/circuit.blif: with EDGECOMP_YOSYS or the PATH's yosys, else with pyosys."""
    (folder / "circuit.v").write_text(verilog)
    program = find("yosys")
    if program is not None:
        run([program, "-q", "-p", "; ".join(PASSES)], cwd=folder, seconds=YOSYS_SECONDS)
        return
    lines = ["from pyosys import libyosys as ys", "d = ys.Design()", *(f"ys.run_pass({p!r}, d)" for p in PASSES)]
    run([sys.executable, "-c", "\n".join(lines)], cwd=folder, seconds=YOSYS_SECONDS)


def map_circuit(
    circuit: Circuit, target: PrintedTarget, *, scripts: Sequence[str] = PORTFOLIO, jobs: int | None = None,
    progress: Advance | None = None, offset: int = 0,
) -> Mapped:  # fmt: skip
    """The smallest of what `scripts` make of the circuit, `jobs` at a time (default: the machine's processors).

    Scripts are numbered from `offset`. A large circuit is mapped in slices, the smallest of each kept.

    A script that crashes, runs out of time or is not proven equivalent in time gives nothing and is reported among the
    attempts. MismatchError where a result is proven different; ToolError where none is left.
    """
    workers = jobs or os.cpu_count() or 1
    if circuit.gates <= LARGE:
        return _map_whole(circuit, target, scripts, workers, progress, offset)
    slices, mapped = cut(circuit), []

    def one(part: Slice) -> Mapped:
        return _map_whole(part.circuit, target, scripts, 1, None, offset, slice_of=True)

    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(one, slices):
            mapped.append(found)
            if progress is not None:
                progress(len(mapped), len(slices), "slices mapped and proven")
    netlist = join(circuit, slices, [one.netlist for one in mapped], target)
    tries = zip(*(one.attempts for one in mapped), strict=True)
    return Mapped(netlist=netlist, attempts=tuple(_summed(attempts) for attempts in tries))


def _summed(attempts: Sequence[Attempt]) -> Attempt:
    """One script's attempts at every slice as one."""
    areas = [one.area_cm2 for one in attempts if one.area_cm2 is not None]
    if len(areas) == len(attempts):
        return Attempt(script=attempts[0].script, area_cm2=sum(areas))
    failures = sorted({one.failure for one in attempts if one.failure})
    text = f"{len(attempts) - len(areas)} of {len(attempts)} slices: {'; '.join(failures)}"
    return Attempt(script=attempts[0].script, area_cm2=None, failure=text)


def _map_whole(
    circuit: Circuit, target: PrintedTarget, scripts: Sequence[str], workers: int, progress: Advance | None,
    offset: int, *, slice_of: bool = False,
) -> Mapped:  # fmt: skip
    """One circuit, or a slice of one: of that there is no Verilog that anyone sees, so Yosys has nothing to read."""
    with tempfile.TemporaryDirectory(prefix="edgecomp-map-") as scratch:
        folder = Path(scratch)
        if slice_of:
            (folder / "circuit.blif").write_text(circuit_blif(circuit, TOP))
        else:
            read_with_yosys(circuit_verilog(circuit, TOP), folder)
        (folder / "cells.genlib").write_text(genlib(target, max(target.voltages)))
        program = abc_program()

        def attempt(place: int) -> tuple[Attempt, Netlist | None]:
            return _attempt(circuit, target, program, folder, place + offset, scripts[place])

        found = []
        with ThreadPoolExecutor(workers) as pool:
            for one in pool.map(attempt, range(len(scripts))):
                found.append(one)
                if progress is not None:
                    progress(len(found), len(scripts), "mapping scripts run and proven")
    kept = [(a.area_cm2, delay_ms(n, target, max(target.voltages)), a.script, n)
            for a, n in found if n is not None and a.area_cm2 is not None]  # fmt: skip
    if not kept:
        reasons = "; ".join(sorted({a.failure for a, _ in found}))
        raise ToolError(f"no mapping script gave a netlist: {reasons}", where="yosys-abc")
    return Mapped(netlist=min(kept, key=lambda k: k[:3])[3], attempts=tuple(a for a, _ in found))


def _attempt(
    circuit: Circuit, target: PrintedTarget, program: Path, folder: Path, place: int, script: str
) -> tuple[Attempt, Netlist | None]:
    """One script: map, dissolve what is no cell, and prove the cells equivalent to what Yosys read."""
    raw, clean = f"raw{place}.blif", f"clean{place}.blif"
    seconds = max(SCRIPT_SECONDS, GATE_SECONDS * circuit.gates)
    begin = f"read_genlib cells.genlib; read_blif circuit.blif; {script}; topo; write_blif {raw}"
    try:
        run([program, "-q", begin], cwd=folder, seconds=seconds)
        if not (folder / raw).exists():
            raise ToolError("the script wrote nothing", where="yosys-abc")
        netlist = read_blif((folder / raw).read_text(), target, circuit.inputs, circuit.outputs)
        (folder / clean).write_text(netlist_blif(netlist, target, TOP))
        proof = run([program, "-q", f"read_genlib cells.genlib; cec -n circuit.blif {clean}"], cwd=folder,
                    seconds=seconds).output  # fmt: skip
    except ToolError as error:
        return Attempt(script=place, area_cm2=None, failure=error.problems[0].what), None
    if DIFFERENT in proof:
        raise MismatchError(f"mapping script {place} changed the circuit", where="yosys-abc",
                            hint="this is a fault of the mapper: please report it with the model")  # fmt: skip
    if EQUIVALENT not in proof:
        return Attempt(script=place, area_cm2=None, failure="not proven equivalent"), None
    return Attempt(script=place, area_cm2=area_cm2(netlist, target)), netlist
