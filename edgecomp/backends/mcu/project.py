"""C with its testbench as a folder: sources, what a core needs to run them in a simulator, run.sh and a Makefile."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.backends.mcu.target import Counts, McuTarget
from edgecomp.bundle import Bundle
from edgecomp.resources import resource

FOLDER = "mcu"
SIMULATOR_SECONDS = 240  # of run.sh; a run of a whole golden set takes a few
RUN_SH = """\
#!/usr/bin/env bash
# Compiles the C alone (its size) and with its testbench, runs that on the golden vectors, and exits with a status other
# than 0 on any difference (1), on any missing or short file (2), and where the core faults (3), the compiler fails (4)
# or the simulator does not end (124). Needs bash, {needs}.
set -euo pipefail
cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")"
build="$(mktemp -d)"
trap 'rm -rf -- "$build"' EXIT
compile() {{ "${{CC:-{compiler}}}" {flags} -I. -Itest "$@" || exit 4; }}
{size}compile {define} ${{DEFINE:-}} test/testbench.c {harness} {sources} {link} -o "$build/test"
{driver}timeout {seconds} {simulator} "$build/test"
"""
SIZE = """\
compile {sources} {entries} -Wl,--gc-sections {alone} -o "$build/alone"
"${{SIZE:-{size}}}" "$build/alone"
"""
MAKEFILE = """\
# Object files for {description}. `make` compiles them, `make test` runs the network on its golden vectors.
CC = {compiler}
CFLAGS = {flags}

all: {name}.o golden.o
{name}.o: {name}.c {name}.h
golden.o: golden.c golden.h {name}.h
%.o: %.c
\t$(CC) $(CFLAGS) -c -o $@ $<

.PHONY: all test clean
test:
\tbash run.sh
clean:
\trm -f {name}.o golden.o
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CProgram:
    """C to be run on a core: texts by file name (each .c is compiled), the functions that a user calls, and the text of
    test_network.h, which says how the testbench calls it.

    test_network.h defines INPUTS(X) and OUTPUTS(X), lists of X(C type, identifier, "name", element count), and CALL, a
    statement that reads the arrays v_<identifier> of the inputs and writes those of the outputs.
    """

    sources: Mapping[str, str]
    entries: tuple[str, ...]
    test: str


def project(program: CProgram, machine: McuTarget) -> Bundle:
    """Everything but the vectors, below `mcu/`."""
    files = {f"{FOLDER}/{name}": text.encode() for name, text in program.sources.items()}
    files[f"{FOLDER}/test/test_network.h"] = program.test.encode()
    shipped = ["testbench.c", "port.h", *machine.harness, *([machine.layout] if machine.layout else [])]
    shipped += ["simavr.c"] if machine.driver else []
    files |= {f"{FOLDER}/test/{name}": resource(f"hls/mcu_{name}").read_bytes() for name in shipped}
    files[f"{FOLDER}/run.sh"] = run_script(program, machine).encode()
    first = next(name for name in sorted(program.sources) if name.endswith(".c"))
    files[f"{FOLDER}/Makefile"] = MAKEFILE.format(
        description=machine.description, compiler=machine.compiler, flags=" ".join(machine.flags),
        name=first.removesuffix(".c")).encode()  # fmt: skip
    return Bundle(files=files)


def run_script(program: CProgram, machine: McuTarget) -> str:
    sources = " ".join(sorted(name for name in program.sources if name.endswith(".c")))
    entries = f"-Wl,-e,{program.entries[0]} " + " ".join(f"-Wl,-u,{name}" for name in program.entries)
    cross = machine.counts is not Counts.TIME
    size = SIZE.format(sources=sources, entries=entries, alone=" ".join(machine.alone), size=machine.size)
    driver = f'{shlex.join(machine.driver)} -o "$build/driver" || exit 4\n' if machine.driver else ""
    head, *rest = machine.simulator or ("",)
    simulator = '"$build/driver"' if head == "driver" else f'"${{SIMULATOR:-{head}}}"' if head else ""
    return RUN_SH.format(
        needs=" and ".join(needed(machine)), compiler=machine.compiler, flags=" ".join(machine.flags),
        size=size if cross else "", define="-DMEASURE" if cross else "-DSPEED",
        harness=" ".join(f"test/{name}" for name in machine.harness), sources=sources,
        link=" ".join([*(["-Wl,--gc-sections"] if cross else []), *machine.link]), driver=driver,
        seconds=SIMULATOR_SECONDS, simulator=" ".join([simulator, *rest]).strip())  # fmt: skip


def needed(machine: McuTarget) -> tuple[str, ...]:
    """The programs that a build for this machine runs."""
    head = machine.simulator[0] if machine.simulator else ""
    more = (machine.driver[0],) if machine.driver else (head,) if head else ()
    return (machine.compiler, *more)
