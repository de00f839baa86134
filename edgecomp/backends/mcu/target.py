"""A machine that C is built for: `targets/*.toml` of family "mcu" as an object."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edgecomp.resources import resource

FAMILY = "mcu"


class Counts(Enum):
    """What a machine's simulator counts: retired instructions, clock cycles, or (the computer at hand) time."""

    INSTRUCTIONS = "instructions"
    CYCLES = "cycles"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class McuTarget:
    """`compiler` is looked for on the PATH; `flags` are what C is compiled with, `link` and `alone` what links it with
    the testbench (`harness` and `layout` are files of `hls/`, without their "mcu_") and on its own.

    `simulator` is the program that takes the linked file as its last argument, with its own arguments; "driver" stands
    for the program that `driver` compiles. Flash and RAM in bytes, clock in Hz, each with its source; 0 where nothing
    is limited. `packages` are Debian's.
    """

    name: str
    description: str
    compiler: str
    flags: tuple[str, ...]
    harness: tuple[str, ...]
    layout: str
    driver: tuple[str, ...]
    link: tuple[str, ...]
    alone: tuple[str, ...]
    simulator: tuple[str, ...]
    counts: Counts
    packages: tuple[str, ...]
    flash_bytes: int
    flash_source: str
    ram_bytes: int
    ram_source: str
    clock_hz: int
    clock_source: str
    source: str

    @property
    def size(self) -> str:
        """The program that prints a linked file's sections."""
        return f"{self.compiler.removesuffix('gcc')}size"


def load_machine(name: str) -> McuTarget:
    """The machine of `targets/<name>.toml`; its form is ours, and a test reads every file."""
    table = tomllib.loads((resource("targets") / f"{name}.toml").read_text("utf-8"))
    assert table["family"] == FAMILY, f"{name} is no microcontroller"
    lists = {key: tuple(table.get(key, ()))
             for key in ("flags", "harness", "driver", "link", "alone", "simulator", "packages")}  # fmt: skip
    flash, ram, clock = (_quantity(table, *what) for what in (("flash", "byte"), ("ram", "byte"), ("clock", "Hz")))
    return McuTarget(name=table["name"], description=table["description"], compiler=table["compiler"],
                     layout=table.get("layout", ""), counts=Counts(table["counts"]), source=table["source"],
                     flash_bytes=flash[0], flash_source=flash[1], ram_bytes=ram[0], ram_source=ram[1],
                     clock_hz=clock[0], clock_source=clock[1], **lists)  # fmt: skip


def _quantity(table: dict[str, Any], name: str, unit: str) -> tuple[int, str]:
    """(value, source) of a number; 0 where the machine does not state it."""
    if name not in table:
        return 0, "not limited"
    assert table[name]["unit"] == unit, f"{name} is in {table[name]['unit']}"
    return int(table[name]["value"]), str(table[name]["source"])


def machines() -> tuple[McuTarget, ...]:
    """Every machine that comes with edgecomp, by name."""
    paths = sorted(resource("targets").glob("*.toml"))
    return tuple(load_machine(path.stem) for path in paths if f'family = "{FAMILY}"' in path.read_text("utf-8"))
