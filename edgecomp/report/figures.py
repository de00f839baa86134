"""A figure: a value that never stands without its unit, where it comes from, and how it was found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Source(Enum):
    """Where a figure comes from: counted or timed here, read from an outside tool's report, or a model's estimate."""

    MEASURED = "measured"
    TOOL = "tool"
    ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a report; `method` says how the value was found, in a few words."""

    value: int | float | str | bool
    unit: str
    source: Source
    method: str

    def __post_init__(self) -> None:
        assert self.unit, f"a figure needs a unit: {self}"
        assert self.method, f"a figure needs a method: {self}"
        assert not isinstance(self.value, float) or math.isfinite(self.value), f"a figure must be finite: {self}"
