"""A machine that C is built for: `targets/*.toml` of family "mcu" as an object."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from edgecomp.resources import resource

FAMILY = "mcu"


@dataclass(frozen=True, slots=True, kw_only=True)
class McuTarget:
    """`compiler` is looked for on the PATH; `flags` are what the bundle's C is compiled with."""

    name: str
    description: str
    compiler: str
    flags: tuple[str, ...]
    source: str


def load_machine(name: str) -> McuTarget:
    """The machine of `targets/<name>.toml`; its form is ours, and a test reads every file."""
    table = tomllib.loads((resource("targets") / f"{name}.toml").read_text("utf-8"))
    assert table["family"] == FAMILY, f"{name} is no microcontroller"
    return McuTarget(name=table["name"], description=table["description"], compiler=table["compiler"],
                     flags=tuple(table["flags"]), source=table["source"])  # fmt: skip


def machines() -> tuple[McuTarget, ...]:
    """Every machine that comes with edgecomp, by name."""
    paths = sorted(resource("targets").glob("*.toml"))
    return tuple(load_machine(path.stem) for path in paths if f'family = "{FAMILY}"' in path.read_text("utf-8"))
