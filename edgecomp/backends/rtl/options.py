"""Options of the RTL back end, from `--set key=value` strings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from edgecomp.errors import UsageError
from edgecomp.project import nearest, refuse_unknown

Choice = TypeVar("Choice", bound=StrEnum)
SETTINGS = ("clock_ns", "effort", "interface", "io", "language", "latency_cutoff")


class Effort(StrEnum):
    """How many exact forms of the circuit are tried: the usual one, or every one of `figures.FORMS`."""

    QUICK = "quick"
    FULL = "full"


class Language(StrEnum):
    """The language of the sources and of their second testbench."""

    VERILOG = "verilog"
    VHDL = "vhdl"


class Interface(StrEnum):
    """The ports: valid bits that nothing stalls, or AXI4-Stream with back-pressure."""

    PLAIN = "plain"
    AXIS = "axis"


class Io(StrEnum):
    """How a sample goes in: all of it in one cycle, or one place of it a cycle, its channels side by side."""

    PARALLEL = "parallel"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlOptions:
    """`clock_ns` replaces the target's clock; `latency_cutoff` is the delay of a stage in levels of logic."""

    clock_ns: float | None = None
    latency_cutoff: float | None = None
    effort: Effort = Effort.FULL
    language: Language = Language.VERILOG
    interface: Interface = Interface.PLAIN
    io: Io = Io.PARALLEL


def parse_options(settings: Mapping[str, str]) -> RtlOptions:
    """Options from `--set` strings; UsageError for a key or value that is not known, naming the nearest."""
    refuse_unknown(settings, SETTINGS, kind="setting", where="--set")
    language = _choice("language", settings, Language.VERILOG)
    interface = _choice("interface", settings, Interface.PLAIN)
    if interface is Interface.AXIS and language is Language.VHDL:
        raise UsageError("the AXI4-Stream ports are written in Verilog only", where="--set interface=axis",
                         hint="leave out language=vhdl")  # fmt: skip
    io = _choice("io", settings, Io.PARALLEL)
    if io is Io.STREAM and language is Language.VHDL:
        raise UsageError("streamed circuits are written in Verilog only", where="--set io=stream",
                         hint="leave out language=vhdl")  # fmt: skip
    return RtlOptions(
        clock_ns=_number("clock_ns", settings, 0.5, 1000, "ns"),
        latency_cutoff=_number("latency_cutoff", settings, 1, 1000, "levels"),
        effort=_choice("effort", settings, Effort.FULL),
        language=language,
        interface=interface,
        io=io,
    )


def _choice(key: str, settings: Mapping[str, str], default: Choice) -> Choice:
    known = type(default)
    value = settings.get(key, default)
    if value not in list(known):
        raise UsageError(f"{key} cannot be {value}", where=f"--set {key}", hint=nearest(value, list(known)))
    return known(value)


def _number(key: str, settings: Mapping[str, str], least: float, most: float, unit: str) -> float | None:
    if key not in settings:
        return None
    try:
        value = float(settings[key])
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise UsageError(f"{key} cannot be {settings[key]}", where=f"--set {key}",
                         hint=f"give {unit} between {least:g} and {most:g}")  # fmt: skip
    return value
