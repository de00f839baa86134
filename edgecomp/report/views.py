"""What the HTML page shows beyond single figures: the verdict on speed, places in time, columns and shares of bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from edgecomp.report.figures import Figure
from edgecomp.report.model import Latency, Layer, NetworkNode, Report
from edgecomp.report.text import number

Path = tuple[str | int, ...]
IN_FLIGHT = 5  # samples drawn one after another


class State(Enum):
    """A verdict: yes, no, or nothing was found out that would tell."""

    YES = "yes"
    NO = "no"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Whether the clock is met: what was held against it (None where nothing was), and where that stands."""

    state: State
    said: str
    path: Path = ()
    delay: Figure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A bar on a time line, in per cent of the line; `path` leads to the figure of its length."""

    name: str
    path: Path
    figure: Figure
    at: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A figure of the layers: its unit, and the greatest of them (0 where none is a number)."""

    name: str
    unit: str
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A tensor's proven interval inside its type's, in per cent of the type's codes."""

    low: int
    high: int
    at: float
    width: float


def numeric(figure: Figure) -> float | None:
    """The value where it is a number."""
    return None if isinstance(figure.value, (str, bool)) else float(figure.value)


def ratio(used: Figure, available: Figure) -> float | None:
    """Used over available in per cent; None where either is no number or nothing is available."""
    part, whole = numeric(used), numeric(available)
    return 100 * part / whole if part is not None and whole else None


def speed(report: Report) -> Speed:
    """The slowest delay that was found against the clock aimed at; a synthesis's word goes before an estimate's."""
    clock = numeric(report.target.clock)
    if clock is None:
        return Speed(state=State.OPEN, said="nothing is timed on this target")
    found = _slowest(report)
    if found is None:
        return Speed(state=State.OPEN, said="cycles are planned for this clock; no delay was measured")
    path, figure, delay = found
    met = delay <= clock
    return Speed(
        state=State.YES if met else State.NO, said="meets the clock" if met else "is slower than the clock",
        path=path, delay=figure,
    )  # fmt: skip


def _slowest(report: Report) -> tuple[Path, Figure, float] | None:
    """(its place, the figure, the delay in the clock's unit)."""
    synthesis, totals = report.synthesis, report.totals
    if (period := synthesis.get("clock_estimate_ns")) and (value := numeric(period)):
        return ("synthesis", "clock_estimate_ns"), period, value
    if (fastest := synthesis.get("fmax_mhz")) and (value := numeric(fastest)):
        return ("synthesis", "fmax_mhz"), fastest, 1000 / value
    unit = report.target.clock.unit
    delays = {name: value for name, figure in totals.items()
              if (name == "stage_delay" or name.startswith("delay_")) and figure.unit == unit
              and (value := numeric(figure)) is not None}  # fmt: skip
    if not delays:
        return None
    name = max(delays, key=lambda key: delays[key])
    return ("totals", name), totals[name], delays[name]


def rate(report: Report) -> str:
    """Samples a second at the clock aimed at, for reading; empty where there is no clocked circuit."""
    period = numeric(report.target.clock)
    interval = None if report.latency is None else numeric(report.latency.initiation_interval)
    if not period or not interval or report.target.clock.unit != "ns":
        return ""
    return f"{number(round(1000 / (period * interval), 3))} million samples/s at the clock aimed at"


def timeline(report: Report) -> tuple[Span, ...]:
    """Each layer's cycles from when all that it reads is there.

    Empty without cycles per layer, and where they add up to more than the latency: then layers overlap, and where each
    starts is not known.
    """
    total = None if report.latency is None else numeric(report.latency.cycles)
    layers = {layer.name: (i, layer.figures["cycles"]) for i, layer in enumerate(report.layers)
              if "cycles" in layer.figures and numeric(layer.figures["cycles"]) is not None}  # fmt: skip
    if not total or not layers:
        return ()
    ends: dict[str, float] = {}
    spans: list[tuple[str, int, Figure, float]] = []
    for node in report.network:
        start = max((ends.get(name, 0.0) for name in node.reads), default=0.0)
        ends[node.name] = start
        if node.name in layers:
            i, figure = layers[node.name]
            spans.append((node.name, i, figure, start))
            ends[node.name] = start + (numeric(figure) or 0.0)
    if max(ends.values(), default=0.0) > total:
        return ()
    return tuple(
        Span(name=name, path=("layers", i, "figures", "cycles"), figure=figure, at=100 * start / total,
             width=100 * (numeric(figure) or 0.0) / total)
        for name, i, figure, start in spans
    )  # fmt: skip


def in_flight(latency: Latency) -> tuple[tuple[float, float], ...]:
    """(start, length) in per cent of the line for the first samples, one initiation interval apart."""
    cycles, interval = numeric(latency.cycles), numeric(latency.initiation_interval)
    if not cycles or not interval or cycles < 0 or interval < 0:
        return ()
    whole = cycles + interval * (IN_FLIGHT - 1)
    return tuple((100 * i * interval / whole, 100 * cycles / whole) for i in range(IN_FLIGHT))


def columns(layers: tuple[Layer, ...]) -> tuple[Column, ...]:
    """Every figure that some layer has, in the order of their first layer."""
    found: dict[str, tuple[str, float]] = {}
    for layer in layers:
        for name, figure in layer.figures.items():
            most = found[name][1] if name in found else 0.0
            found[name] = figure.unit, max(most, numeric(figure) or 0.0)
    return tuple(Column(name=name, unit=unit, most=most) for name, (unit, most) in found.items())


def range_of(node: NetworkNode) -> Range | None:
    """The interval of a node's value inside the codes of its type; None where a foreign report makes no sense."""
    least, greatest, bits = node.least.value, node.greatest.value, node.bits.value
    if not (type(least) is int and type(greatest) is int and type(bits) is int and 0 < bits <= 64):
        return None
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if least < 0 else (0, (1 << bits) - 1)
    if not low <= least <= greatest <= high:
        return None
    codes = high - low + 1
    return Range(low=low, high=high, at=100 * (least - low) / codes, width=100 * (greatest - least + 1) / codes)


def best_used(report: Report) -> tuple[int, float] | None:
    """The place of the resource that is used most, and how much of it in per cent."""
    shares = [(i, share) for i, r in enumerate(report.resources) if (share := ratio(r.used, r.available)) is not None]
    return max(shares, key=lambda pair: pair[1]) if shares else None


def compared(report: Report) -> Mapping[str, int]:
    """Codes compared and differences found, over all executions."""
    sums = {"codes": 0.0, "differences": 0.0}
    for one in report.golden:
        sums["codes"] += numeric(one.codes) or 0.0
        sums["differences"] += numeric(one.differences) or 0.0
    return {name: int(value) for name, value in sums.items()}
