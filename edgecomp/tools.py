"""Outside tools: find one, ask its version, run it with a time limit, and show its first error."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgecomp.errors import ToolError

MAX_OUTPUT_BYTES = 1 << 24
VERSION_SECONDS = 20.0
_ERROR = re.compile(r"\b(fatal|error|errors|exception|not found|cannot|undefined)\b", re.IGNORECASE)
_VERSION = re.compile(r"v?\d+\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run: exit status, what it wrote to stdout and stderr (its end where that is long), wall seconds."""

    status: int
    output: str
    seconds: float


def variable(name: str) -> str:
    """The environment variable that overrides where a tool is: g++ is EDGECOMP_GXX, vitis-run EDGECOMP_VITIS_RUN."""
    return "EDGECOMP_" + re.sub(r"\W", "_", name.replace("+", "X")).upper()


def find(name: str) -> Path | None:
    """The tool's program: where EDGECOMP_<TOOL> says, else the first on the PATH; None where there is none.

    ToolError where the variable is set and names no program.
    """
    override = os.environ.get(variable(name))
    found = shutil.which(override or name)
    if override and found is None:
        raise ToolError(f"{override!r} is no program", where=variable(name), hint=f"set it to the path of {name}")
    return Path(found) if found else None


def need(name: str, *, hint: str) -> Path:
    """The tool's program, or ToolError naming it; `hint` says how to get it."""
    found = find(name)
    if found is None:
        what = f"{name} is not on the PATH"
        raise ToolError(what, where=name, hint=f"{hint}; or set {variable(name)} to its path")
    return found


def version(program: Path, arguments: Sequence[str] = ("--version",)) -> str:
    """The first line with a version number that the tool prints, else "unknown"."""
    try:
        output = run([program, *arguments], cwd=Path.cwd(), seconds=VERSION_SECONDS, accept=range(256)).output
    except ToolError:
        return "unknown"
    return next((line.strip() for line in output.splitlines() if _VERSION.search(line)), "unknown")


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    seconds: float,
    accept: Collection[int] = (0,),
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a tool without a terminal; `environment` adds to ours.

    ToolError when it cannot start, runs out of its seconds, or ends with a status that is not in `accept`; it shows the
    tool's first error line and names its log, which is kept then. Its whole process group is killed on the time limit
    and on any exception, Ctrl-C included; its temporary files lie in a folder that goes with it.
    """
    name = Path(command[0]).name
    handle, log = tempfile.mkstemp(prefix=f"edgecomp-{re.sub(r'[^A-Za-z0-9]', '', name)}-", suffix=".log")
    kept = False
    start = time.monotonic()
    try:
        with os.fdopen(handle, "wb") as file, tempfile.TemporaryDirectory(prefix="edgecomp-tool-") as scratch:
            inherited = {**os.environ, "TMPDIR": scratch, **(environment or {})}
            status = _finish(_start(command, cwd, file, inherited), seconds)
        if status is None or status not in accept:
            kept = True
            raise _failure(name, status, seconds, Path(log))
        return Run(status=status, output=_tail(Path(log)), seconds=time.monotonic() - start)
    finally:
        if not kept:
            os.unlink(log)


def _start(
    command: Sequence[str | Path], cwd: Path, log: IO[bytes], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        hint = "edgecomp doctor lists the tools and how to get them"
        raise ToolError(f"cannot be run: {error.strerror}", where=str(command[0]), hint=hint) from error


def _finish(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status, or None when the time ran out; nothing of the process group is left in any case."""
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _failure(name: str, status: int | None, seconds: float, log: Path) -> ToolError:
    if status is None:
        what = f"{name} did not end within {seconds:g} s"
    elif status < 0:
        what = f"{name} was killed by {signal.Signals(-status).name}"
    else:
        what = f"{name} ended with status {status}"
    line = first_error(_tail(log))
    return ToolError(f"{what}: {line}" if line else what, where=name, hint=f"its whole output is in {log}")


def first_error(output: str) -> str:
    """The first line that speaks of an error, else the last line that says anything."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if _ERROR.search(line)), lines[-1] if lines else "")[:400]


def _tail(log: Path) -> str:
    """The log's text, or its end where it is longer than MAX_OUTPUT_BYTES."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_OUTPUT_BYTES))
        return file.read().decode("utf-8", "replace")
