"""Every error that a user can cause, with the exit code it ends the program with (design: 'The command line')."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line."""

    DONE = 0
    MISMATCH = 1
    USAGE = 2
    INEXPRESSIBLE = 3
    TOOL = 4
    DISK = 5
    BUG = 70
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: what, where (node, file, option) and what the user can do about it."""

    what: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


class EdgecompError(Exception):
    """A user-facing failure; carries one or more problems, all listed at once."""

    exit_code = Exit.USAGE

    def __init__(self, what: str, *, where: str = "", hint: str = "", problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems) or (Problem(what=what, where=where, hint=hint),)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(EdgecompError):
    """Bad arguments, options, targets, project file or output folder."""


class ModelError(EdgecompError):
    """A model file that cannot be read, or is not a quantised classifier."""


class DataError(EdgecompError):
    """A data file whose names, shapes, types or values do not fit."""


class MismatchError(EdgecompError):
    """Two executions that must agree differ, or a budget (part, clock, accuracy) is exceeded."""

    exit_code = Exit.MISMATCH


class InexpressibleError(EdgecompError):
    """The model is sound, but this target or edgecomp's exact arithmetic cannot express it."""

    exit_code = Exit.INEXPRESSIBLE


class ToolError(EdgecompError):
    """An outside tool is missing, crashed or ran out of time."""

    exit_code = Exit.TOOL


class DiskError(EdgecompError):
    """The disk refused: full, read-only, or a name in the way."""

    exit_code = Exit.DISK


def raise_all(kind: type[EdgecompError], problems: Sequence[Problem]) -> None:
    """Raise `kind` carrying every problem, or return when there is none."""
    if problems:
        raise kind("", problems=problems)


def printable(text: str) -> str:
    """`text` with control characters, which names in a model file may hold, shown as escapes."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
