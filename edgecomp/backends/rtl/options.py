"""Options of the RTL back end, from `--set key=value` strings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edgecomp.errors import UsageError
from edgecomp.project import nearest, refuse_unknown

SETTINGS = ("clock_ns", "effort", "language", "latency_cutoff")


class Effort(StrEnum):
    """How many exact forms of the circuit are tried: the usual one, or every one of `figures.FORMS`."""

    QUICK = "quick"
    FULL = "full"


class Language(StrEnum):
    """The language of the sources and of their second testbench."""

    VERILOG = "verilog"
    VHDL = "vhdl"


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlOptions:
    """`clock_ns` replaces the target's clock; `latency_cutoff` is the delay of a stage in levels of logic."""

    clock_ns: float | None = None
    latency_cutoff: float | None = None
    effort: Effort = Effort.FULL
    language: Language = Language.VERILOG


def parse_options(settings: Mapping[str, str]) -> RtlOptions:
    """Options from `--set` strings; UsageError for a key or value that is not known, naming the nearest."""
    refuse_unknown(settings, SETTINGS, kind="setting", where="--set")
    effort, language = settings.get("effort", Effort.FULL), settings.get("language", Language.VERILOG)
    if effort not in list(Effort):
        raise UsageError(f"effort cannot be {effort}", where="--set effort", hint=nearest(effort, list(Effort)))
    if language not in list(Language):
        raise UsageError(f"language cannot be {language}", where="--set language",
                         hint=nearest(language, list(Language)))  # fmt: skip
    return RtlOptions(
        clock_ns=_number("clock_ns", settings, 0.5, 1000, "ns"),
        latency_cutoff=_number("latency_cutoff", settings, 1, 1000, "levels"),
        effort=Effort(effort),
        language=Language(language),
    )


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
