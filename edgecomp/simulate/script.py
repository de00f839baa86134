"""A bundle's own run.sh: it compiles and runs a testbench, and its status says whether every code was equal."""

from __future__ import annotations

from pathlib import Path

from edgecomp import tools
from edgecomp.errors import MismatchError

RUN_SECONDS = 1800.0
GXX_HINT = "install g++ (Debian: apt-get install g++)"


def verify_script(folder: Path, part: str) -> str:
    """Run `folder`/`part`/run.sh; the testbench's last words.

    MismatchError with what it says is wrong; ToolError with a tool's first error and its log's path.
    """
    bash = tools.need("bash", hint="install bash")
    tools.need("g++", hint=GXX_HINT)
    ran = tools.run([bash, f"{part}/run.sh"], cwd=folder, seconds=RUN_SECONDS, accept=(0, 1, 2))
    if ran.status:
        said = [line for line in ran.output.splitlines() if "first difference" in line or "rror" in line]
        what = said[0] if said else ran.output.strip()[-400:]
        raise MismatchError(f"the simulation does not pass: {what}", where=str(folder / part))
    return ran.output.strip()
