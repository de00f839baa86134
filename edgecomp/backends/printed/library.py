"""A printed cell library: `targets/*.toml` of family "printed" as an object, and what ABC maps to."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.errors import UsageError
from edgecomp.resources import resource

FAMILY = "printed"
OUTPUT = "O"
BUFFER, ZERO, ONE = "BUF_PSEUDO", "TIE0", "TIE1"
_TOKEN = re.compile(r"[a-z]\w*|[!*+()]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell: its pins in order, `truth[state]` with state = the sum of pin_k * 2^k, and its facts by voltage.

    `static_uw[v][state]` is its power while its inputs hold that state; `rise_ms`, `fall_ms` are its output's delays.
    """

    name: str
    function: str
    pins: tuple[str, ...]
    truth: tuple[bool, ...]
    area_um2: float
    static_uw: Mapping[float, tuple[float, ...]]
    rise_ms: Mapping[float, float]
    fall_ms: Mapping[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """A level-sensitive latch: mean power and the slower edge's delay by voltage. Two are a register bit."""

    area_um2: float
    mean_uw: Mapping[float, float]
    delay_ms: Mapping[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """Cells that stand together for one: (output, cell, inputs) each; the last output is O."""

    name: str
    function: str
    pins: tuple[str, ...]
    gates: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    """An analogue-to-digital converter for one input."""

    bits: int
    area_mm2: float
    power_mw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedTarget:
    """A cell library with the supplies that circuits may run from (name, mW) and the period of one result."""

    name: str
    description: str
    source: str
    period_ms: float
    voltages: tuple[float, ...]
    cells: Mapping[str, Cell]
    composites: Mapping[str, Composite]
    supplies: tuple[tuple[str, float], ...]
    converters: tuple[Converter, ...]
    latch: Latch | None = None


def load_library(name: str = "egfet") -> PrintedTarget:
    """The library of `targets/<name>.toml`."""
    return read_library(resource("targets") / f"{name}.toml")


def libraries() -> tuple[PrintedTarget, ...]:
    """Every library that comes with edgecomp, by name."""
    paths = sorted(resource("targets").glob("*.toml"))
    return tuple(read_library(path) for path in paths if f'family = "{FAMILY}"' in path.read_text("utf-8"))


def read_library(path: Path) -> PrintedTarget:
    """The library that a TOML file describes; UsageError where it is none."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
        assert table["family"] == FAMILY
        cells = {key: _cell(key, entry) for key, entry in table["cells"].items()}
        supplies = sorted(((str(k), float(v)) for k, v in table["supplies"].items()), key=lambda s: s[1])
        return PrintedTarget(
            name=table["name"], description=table["description"], source=table["source"],
            period_ms=float(table["period_ms"]), cells=cells, supplies=tuple(supplies),
            voltages=tuple(sorted(set.intersection(*(set(c.static_uw) for c in cells.values())), reverse=True)),
            composites={key: _composite(key, entry) for key, entry in table.get("composites", {}).items()},
            converters=tuple(Converter(**entry) for entry in table.get("converters", ())),
            latch=_latch(table["latch"]) if "latch" in table else None,
        )  # fmt: skip
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AssertionError) as error:
        hint = "see targets/egfet.toml for the form"
        raise UsageError(f"is no printed cell library: {error!r}", where=str(path), hint=hint) from error


def _cell(name: str, entry: Mapping[str, Any]) -> Cell:
    pins, truth = parse_function(entry["function"])
    mean = _by_voltage(entry["mean"])
    static = {v: tuple(map(float, states)) for v, states in _by_voltage(entry["static"]).items()}
    if any(len(states) != len(truth) for states in static.values()):
        raise ValueError(f"{name} has {len(truth)} states")
    rise, fall = _by_voltage(entry["rise"]), _by_voltage(entry["fall"])
    return Cell(name=name, function=entry["function"], pins=pins, truth=truth, area_um2=float(entry["area"]),
                static_uw={v: _states(static, mean, v) for v in mean},
                rise_ms={v: _between(rise, v) for v in mean}, fall_ms={v: _between(fall, v) for v in mean})  # fmt: skip


def _latch(entry: Mapping[str, Any]) -> Latch:
    mean, rise, fall = (_by_voltage(entry[key]) for key in ("mean", "rise", "fall"))
    return Latch(area_um2=float(entry["area"]), mean_uw={v: float(p) for v, p in mean.items()},
                 delay_ms={v: max(_between(rise, v), _between(fall, v)) for v in mean})  # fmt: skip


def _by_voltage(table: Mapping[str, Any]) -> dict[float, Any]:
    return {float(voltage): value for voltage, value in table.items()}


def _states(static: Mapping[float, tuple[float, ...]], mean: Mapping[float, float], v: float) -> tuple[float, ...]:
    """Power by state at voltage v; that of the next higher voltage, scaled by the means, where it is not given."""
    if v in static:
        return static[v]
    above = min((u for u in static if u > v), default=max(static))
    return tuple(p * mean[v] / mean[above] for p in static[above])


def _between(table: Mapping[float, float], v: float) -> float:
    known = sorted(table)
    return float(np.interp(v, known, [table[u] for u in known]))


def _composite(name: str, entry: Mapping[str, Any]) -> Composite:
    pins, _ = parse_function(entry["function"])
    gates = []
    for line in entry["gates"]:
        output, _, cell, *inputs = line.split()
        gates.append((output, cell, tuple(inputs)))
    return Composite(name=name, function=entry["function"], pins=pins, gates=tuple(gates))


def parse_function(text: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """(pins in alphabetical order, truth table) of a genlib function: ! not, * and, + or, parentheses."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", ""):
        raise ValueError(f"function {text!r}")
    pins = tuple(sorted({token for token in tokens if token[0].isalpha()}))
    truth = []
    for state in range(1 << len(pins)):
        value = {pin: bool(state >> k & 1) for k, pin in enumerate(pins)}
        rest = list(reversed(tokens))
        truth.append(_either(rest, value))
        if rest:
            raise ValueError(f"function {text!r}")
    return pins, tuple(truth)


def _either(rest: list[str], value: Mapping[str, bool]) -> bool:
    result = _both(rest, value)
    while rest and rest[-1] == "+":
        rest.pop()
        result |= _both(rest, value)
    return result


def _both(rest: list[str], value: Mapping[str, bool]) -> bool:
    result = _factor(rest, value)
    while rest and rest[-1] == "*":
        rest.pop()
        result &= _factor(rest, value)
    return result


def _factor(rest: list[str], value: Mapping[str, bool]) -> bool:
    if not rest:
        raise ValueError("a function ends too early")
    token = rest.pop()
    if token == "!":
        return not _factor(rest, value)
    if token == "(":
        result = _either(rest, value)
        if not rest or rest.pop() != ")":
            raise ValueError("a parenthesis stays open")
        return result
    return value[token]


def area_of(target: PrintedTarget, name: str) -> float:
    """A cell's or composite's area in um2."""
    if name in target.cells:
        return target.cells[name].area_um2
    return sum(target.cells[cell].area_um2 for _, cell, _ in target.composites[name].gates)


def genlib(target: PrintedTarget, voltage: float) -> str:
    """The library as ABC reads it: areas in mm2, delays in ms, composites, a pseudo buffer and constants."""
    lines = [f"GATE {ZERO} 0 {OUTPUT}=CONST0;", f"GATE {ONE} 0 {OUTPUT}=CONST1;",
             f"GATE {BUFFER} 0.05 {OUTPUT}=a; PIN * NONINV 1 999 0.1 0 0.1 0"]  # fmt: skip
    functions = {name: cell.function for name, cell in target.cells.items()}
    functions |= {name: item.function for name, item in target.composites.items()}
    for name, function in functions.items():
        rise, fall = delay_of(target, name, voltage)
        area = area_of(target, name) / 1e6
        lines.append(f"GATE {name} {area:.6f} {OUTPUT}={function}; "
                     f"PIN * UNKNOWN 1 999 {rise:.4f} 0 {fall:.4f} 0")  # fmt: skip
    return "\n".join(lines) + "\n"


def delay_of(target: PrintedTarget, name: str, voltage: float) -> tuple[float, float]:
    """(rise, fall) in ms; a composite's is the sum of its longest chain of slower edges."""
    if name in target.cells:
        cell = target.cells[name]
        return cell.rise_ms[voltage], cell.fall_ms[voltage]
    arrival: dict[str, float] = {}
    for output, part, inputs in target.composites[name].gates:
        slow = max(delay_of(target, part, voltage))
        arrival[output] = max(arrival.get(pin, 0.0) for pin in inputs) + slow
    return arrival[OUTPUT], arrival[OUTPUT]


def cell_models(target: PrintedTarget, names: Sequence[str]) -> str:
    """Verilog models of the cells named."""
    lines = []
    for name in sorted(set(names)):
        cell = target.cells[name]
        body = cell.function.replace("!", "~").replace("*", " & ").replace("+", " | ")
        lines += [f"module {name} ({', '.join(f'input {pin}' for pin in cell.pins)}, output {OUTPUT});",
                  f"    assign {OUTPUT} = {body};", "endmodule", ""]  # fmt: skip
    return "\n".join(lines)
