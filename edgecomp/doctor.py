"""What edgecomp works with: which tools and packages are there, in which version, and how to get the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from edgecomp import tools
from edgecomp.errors import Problem, ToolError

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)\s*(?P<wanted>[^;]*?)\s*(;\s*extra\s*==\s*[\"'](?P<extra>\w+)[\"'])?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """An outside program: what needs it, how to get it, and the arguments that make it print its version."""

    name: str
    used_for: str
    how_to_get: str
    required: bool
    version_arguments: tuple[str, ...] = ("--version",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One tool or package: its version, or what is wrong with it (then `problem` says how to mend it)."""

    name: str
    version: str
    used_for: str
    required: bool
    problem: Problem | None = None


USED_FOR = {
    None: "everything",
    "place": "place and route for Lattice parts",
    "train": "training and export",
    "explore": "searching for smaller circuits",
}
TOOLS = (
    Tool(
        name="g++",
        used_for="simulation in every build",
        how_to_get="apt-get install g++",
        required=True,
    ),
    Tool(
        name="verilator",
        used_for="simulation in builds with --flow rtl",
        how_to_get="apt-get install verilator",
        required=False,
    ),
    Tool(
        name="iverilog",
        used_for="second simulation in builds with --flow rtl",
        how_to_get="apt-get install iverilog",
        required=False,
        version_arguments=("-V",),
    ),
    Tool(
        name="ghdl",
        used_for="simulation of --flow rtl --set language=vhdl",
        how_to_get="apt-get install ghdl",
        required=False,
    ),
    Tool(
        name="gcc",
        used_for="build --target host, and avr's simulator",
        how_to_get="apt-get install gcc",
        required=False,
    ),
    Tool(
        name="arm-none-eabi-gcc",
        used_for="build --target cortex_m0, cortex_m3, cortex_m4",
        how_to_get="apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
        required=False,
    ),
    Tool(
        name="qemu-system-arm",
        used_for="build --target cortex_m0, cortex_m3, cortex_m4",
        how_to_get="apt-get install qemu-system-arm",
        required=False,
    ),
    Tool(
        name="riscv64-unknown-elf-gcc",
        used_for="build --target rv32imc",
        how_to_get="apt-get install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
        required=False,
    ),
    Tool(
        name="qemu-system-riscv32",
        used_for="build --target rv32imc",
        how_to_get="apt-get install qemu-system-misc",
        required=False,
    ),
    Tool(
        name="avr-gcc",
        used_for="build --target avr",
        how_to_get="apt-get install gcc-avr avr-libc libsimavr-dev libelf-dev",
        required=False,
    ),
    Tool(
        name="chromium",
        used_for="the tests of report.html",
        how_to_get="apt-get install chromium",
        required=False,
    ),
    Tool(
        name="vitis-run",
        used_for="build --synth and --cosim with Vitis HLS",
        how_to_get="install AMD Vitis and source its settings64.sh",
        required=False,
    ),
    Tool(
        name="vivado_hls",
        used_for="build --synth and --cosim with Vivado HLS",
        how_to_get="install Vivado HLS (up to 2020.1) and source its settings64.sh",
        required=False,
        version_arguments=("-version",),
    ),
)


def examine() -> tuple[Finding, ...]:
    """Every tool, then every package that edgecomp or its extras ask for."""
    return (*(_tool(tool) for tool in TOOLS), _abc(), *_packages())


def version_of(name: str) -> str:
    """The version of one of TOOLS as it says itself; "missing" where it is not there."""
    tool = next(tool for tool in TOOLS if tool.name == name)
    program = tools.find(name)
    return tools.version(program, tool.version_arguments) if program else "missing"


def _tool(tool: Tool) -> Finding:
    problem, version = None, "missing"
    try:
        program = tools.need(tool.name, hint=tool.how_to_get)
        version = f"{tools.version(program, tool.version_arguments)} at {program}"
    except ToolError as error:
        problem = error.problems[0]
    return Finding(name=tool.name, version=version, used_for=tool.used_for, required=tool.required, problem=problem)


def _abc() -> Finding:
    """The mapper of printed circuits, on the PATH or in the package pyosys."""
    from edgecomp.backends.printed.mapping import abc_program

    problem, version = None, "missing"
    try:
        program = abc_program()
        version = f"{tools.version(program, ('-q', 'version'))} at {program}"
    except ToolError as error:
        problem = error.problems[0]
    return Finding(name="yosys-abc", version=version, used_for="mapping and proof of printed circuits", required=False,
                   problem=problem)  # fmt: skip


def _packages() -> list[Finding]:
    findings = []
    for requirement in metadata.requires("edgecomp") or []:
        parts = _REQUIREMENT.fullmatch(requirement)
        assert parts, f"edgecomp asks for {requirement!r}"
        if parts["extra"] in USED_FOR:
            findings.append(_package(parts["name"], parts["wanted"], parts["extra"]))
    return findings


def _package(name: str, wanted: str, extra: str | None) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = "missing"
    problem = None
    if version == "missing" or (wanted.startswith("==") and version.partition("+")[0] != wanted[2:]):
        what = "is missing" if version == "missing" else f"has version {version}, tested with {wanted[2:]}"
        source = f"'.[{extra}]'" if extra else "."
        problem = Problem(what=what, where=name, hint=f"in a checkout of edgecomp: pip install {source}")
    used_for = USED_FOR[extra] + (f" (extra {extra})" if extra else "")
    return Finding(name=name, version=version, used_for=used_for, required=extra is None, problem=problem)
