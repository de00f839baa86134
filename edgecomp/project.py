"""`targets/*.toml` and a project's `edgecomp.toml`, read into frozen objects."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgecomp.errors import UsageError
from edgecomp.resources import resource


@dataclass(frozen=True, slots=True, kw_only=True)
class FpgaTarget:
    """An FPGA part: what it offers, the clock that a design for it aims at, and where the numbers are from."""

    name: str
    part: str
    clock_ns: float
    lut: int
    ff: int
    dsp: int
    bram18: int
    source: str
    description: str = ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the known names closest to `name`, else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names) or 'none'}"


def target_names() -> tuple[str, ...]:
    """The names that --target takes beside the families, sorted."""
    return tuple(sorted(path.stem for path in resource("targets").glob("*.toml")))


def load_target(name: str) -> FpgaTarget:
    """The target of that name; a family ("fpga") gives its default part. UsageError with the nearest names else."""
    tables = {known: tomllib.loads((resource("targets") / f"{known}.toml").read_text()) for known in target_names()}
    defaults = {table["family"]: table for table in tables.values() if table.get("default")}
    table = tables.get(name) or defaults.get(name)
    if table is None:
        hint = nearest(name, [*tables, *defaults])
        raise UsageError(f"there is no target named {name}", where="--target", hint=hint)
    return _fpga(table)


def _fpga(table: Mapping[str, object]) -> FpgaTarget:
    """An FPGA's table as an object; its form is ours, and a test reads every file."""
    numbers = {key: _quantity(table, key) for key in ("clock", "lut", "ff", "dsp", "bram18")}
    sources = sorted({source for _, source in numbers.values()})
    counts = {key: int(numbers[key][0]) for key in ("lut", "ff", "dsp", "bram18")}
    return FpgaTarget(name=str(table["name"]), part=str(table["part"]), clock_ns=float(numbers["clock"][0]),
                      source="; ".join(sources), description=str(table["description"]), **counts)  # fmt: skip


def _quantity(table: Mapping[str, object], key: str) -> tuple[float, str]:
    quantity = table[key]
    assert isinstance(quantity, dict), f"a target's table lacks {key}"
    return quantity["value"], str(quantity["source"])
