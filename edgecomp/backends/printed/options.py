"""Options of the printed back end, from `--set key=value` strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edgecomp.errors import UsageError
from edgecomp.project import nearest, refuse_unknown

SETTINGS = ("effort", "form", "jobs")


class Effort(StrEnum):
    """How much of the portfolio runs: its fastest scripts, or after these all others on the best form."""

    QUICK = "quick"
    FULL = "full"


class Timing(StrEnum):
    """All neurons at once, or one after the other in a clocked machine."""

    COMBINATIONAL = "combinational"
    SEQUENTIAL = "sequential"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedOptions:
    """`jobs` scripts run at a time; 0 is the machine's processors."""

    effort: Effort = Effort.FULL
    form: Timing = Timing.COMBINATIONAL
    jobs: int = 0


def parse_options(settings: Mapping[str, str]) -> PrintedOptions:
    """Options from `--set` strings; UsageError for a key or value that is not known, naming the nearest."""
    refuse_unknown(settings, SETTINGS, kind="setting", where="--set")
    effort, jobs = settings.get("effort", Effort.FULL), settings.get("jobs", "0")
    form = settings.get("form", Timing.COMBINATIONAL)
    if effort not in list(Effort):
        raise UsageError(f"effort cannot be {effort}", where="--set effort", hint=nearest(effort, list(Effort)))
    if form not in list(Timing):
        raise UsageError(f"form cannot be {form}", where="--set form", hint=nearest(form, list(Timing)))
    if not (jobs.isascii() and jobs.isdecimal() and int(jobs) <= 256):
        raise UsageError(f"jobs cannot be {jobs}", where="--set jobs", hint="give an integer from 0 to 256")
    return PrintedOptions(effort=Effort(effort), form=Timing(form), jobs=int(jobs))
