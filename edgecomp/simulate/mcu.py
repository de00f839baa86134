"""C on a core: compiled, run in its simulator on given vectors, every code compared, size and effort counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from edgecomp import tools
from edgecomp.backends.hls.testbench import vector_text
from edgecomp.backends.mcu.project import FOLDER, CProgram, needed, project
from edgecomp.backends.mcu.target import Counts, McuTarget
from edgecomp.bundle import Bundle
from edgecomp.errors import MismatchError, ToolError

Codes = NDArray[np.int64]

RUN_SECONDS = 300.0
BLOCK = 1024 + 2  # instructions of port_block: its nops, the call and the return
_TICKS = re.compile(
    r"ticks: (\d+) in all, (\d+) to (\d+) a call, (\d+) for none, (\d+) for the block; stack: (\d+) bytes"
)
_SIZES = re.compile(r"^\s+(\d+)\s+(\d+)\s+(\d+)\s+\d+\s+[0-9a-f]+\s", re.MULTILINE)
_DONE = re.compile(r"(\d+) samples: (\d+) of (\d+) codes differ")
_MANY = re.compile(r"many: (\d+) samples in (\d+) ns")
_SPEED = re.compile(r"speed: (\d+) calls in (\d+) ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What C costs on a core. Bytes and counts are of the program alone: no start-up, no testbench, no vectors.

    `flash_bytes` is text, constants and initial values with the library's helpers; `ram_bytes` static data;
    `stack_bytes` the deepest of some calls, the arguments' storage left out. `mean`, `least` and `most` are
    instructions (or cycles) a call. On the host all these are 0 and `per_second` is the number of calls a second,
    `many_per_second` that of samples where many are computed at a time (0 where the program has no such form).
    `outputs` holds the codes that were printed where nothing was expected.
    """

    counts: Counts
    flash_bytes: int = 0
    ram_bytes: int = 0
    stack_bytes: int = 0
    mean: float = 0.0
    least: int = 0
    most: int = 0
    per_second: float = 0.0
    many_per_second: float = 0.0
    samples: int
    codes: int
    outputs: Mapping[str, Codes]

    def over(self, machine: McuTarget) -> tuple[str, ...]:
        """What the part has too little of."""
        return over(machine, self.flash_bytes, self.ram_bytes, self.stack_bytes)


def over(machine: McuTarget, flash: int, ram: int, stack: int) -> tuple[str, ...]:
    reasons = []
    if machine.flash_bytes and flash > machine.flash_bytes:
        reasons.append(f"{flash} bytes of flash of {machine.flash_bytes} (measured)")
    if machine.ram_bytes and ram + stack > machine.ram_bytes:
        reasons.append(f"{ram} bytes of RAM and {stack} of stack of {machine.ram_bytes} (measured)")
    return tuple(reasons)


def need_tools(machine: McuTarget) -> dict[str, Path]:
    """The programs by the variable of run.sh that names each; ToolError saying how to get the first that lacks."""
    hint = f"install it (Debian: apt-get install {' '.join(machine.packages)})"
    programs = [tools.need(name, hint=hint) for name in needed(machine)]
    found = {"CC": programs[0]}
    if machine.simulator and not machine.driver:
        found["SIMULATOR"] = programs[1]
    return found


def measure(
    program: CProgram,
    machine: McuTarget,
    inputs: Mapping[str, Codes],
    expected: Mapping[str, Codes] | None = None,
    *,
    seconds: float = RUN_SECONDS,
) -> Measured:
    """Compile and run any C on a core, on codes (N, ...) of every input.

    MismatchError where a code is not the expected one, or the program is too large to run at all; ToolError where a
    tool is missing, fails or does not end. Without expected codes the outputs are brought back instead.
    """
    files = {f"{FOLDER}/tb_data/inputs_{name}.dat": vector_text(codes) for name, codes in inputs.items()}
    files |= {f"{FOLDER}/tb_data/expected_{name}.dat": vector_text(codes) for name, codes in (expected or {}).items()}
    with TemporaryDirectory(prefix="edgecomp-") as name:
        project(program, machine).merge(Bundle(files=files)).spill(Path(name))
        return run_measured(Path(name), machine, show=expected is None, seconds=seconds)


def run_measured(folder: Path, machine: McuTarget, *, show: bool = False, seconds: float = RUN_SECONDS) -> Measured:
    """Run `folder`/mcu/run.sh and read what it says; errors as those of `measure`."""
    environment = {key: str(path) for key, path in need_tools(machine).items()} | ({"DEFINE": "-DSHOW"} if show else {})
    bash = tools.need("bash", hint="install bash")
    ran = tools.run([bash, f"{FOLDER}/run.sh"], cwd=folder, seconds=seconds, accept=range(256),
                    environment=environment)  # fmt: skip
    text, status = ran.output, ran.status
    sizes = _SIZES.search(text)
    flash, ram = (int(sizes[1]) + int(sizes[2]), int(sizes[2]) + int(sizes[3])) if sizes else (0, 0)
    reasons = over(machine, flash, ram, 0)
    if status and reasons:
        raise MismatchError(f"it does not fit {machine.description}: {'; '.join(reasons)}", where=machine.name)
    _refuse(status, text, machine)
    done = _DONE.search(text)
    assert done, "the testbench did not say how many codes it compared"
    counted, outputs = _counted(text, machine), _outputs(text) if show else {}
    return Measured(counts=machine.counts, flash_bytes=flash, ram_bytes=ram, samples=int(done[1]), codes=int(done[3]),
                    outputs=outputs, **counted)  # type: ignore[arg-type]  # fmt: skip


def _refuse(status: int, text: str, machine: McuTarget) -> None:
    if status in (1, 2, 3):
        said = [line for line in text.splitlines() if "first difference" in line or "ERROR" in line]
        what = said[0] if said else text.strip()[-400:]
        raise MismatchError(f"the simulation does not pass: {what}", where=machine.name)
    if status == 124:
        raise ToolError("the simulator did not end and was killed", where=machine.name, hint="use fewer vectors")
    if status:
        what = f"{machine.compiler} failed" if status == 4 else f"run.sh ended with status {status}"
        raise ToolError(f"{what}: {tools.first_error(text)}", where=machine.name)


def _counted(text: str, machine: McuTarget) -> dict[str, int | float]:
    """Instructions, cycles or calls a second, and the stack, from the testbench's words."""
    if machine.counts is Counts.TIME:
        speed = _SPEED.search(text)
        assert speed, "the testbench did not say how fast it was"
        many = _MANY.search(text)
        return {"per_second": int(speed[1]) * 1e9 / max(int(speed[2]), 1),
                "many_per_second": int(many[1]) * 1e9 / max(int(many[2]), 1) if many else 0.0}  # fmt: skip
    found, done = _TICKS.search(text), _DONE.search(text)
    assert found, "the testbench did not say what it counted"
    assert done, "the testbench did not say how many codes it compared"
    total, least, most, none, block, stack = map(int, found.groups())
    ticks = (block - none) / BLOCK if machine.counts is Counts.INSTRUCTIONS else 1.0
    return {"stack_bytes": stack, "mean": (total / int(done[1]) - none) / ticks,
            "least": round((least - none) / ticks), "most": round((most - none) / ticks)}  # fmt: skip


def _outputs(text: str) -> dict[str, Codes]:
    rows: dict[str, list[list[int]]] = {}
    for line in text.splitlines():
        if line.startswith("codes "):
            _, name, *codes = line.split()
            rows.setdefault(name, []).append([int(code) for code in codes])
    return {name: np.array(values, dtype=np.int64) for name, values in rows.items()}
