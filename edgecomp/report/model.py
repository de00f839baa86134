"""The Report: everything that a build found out, each number a Figure. `build` fills it; text and JSON print it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.report.figures import Figure, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model as read: its form ("QONNX", "QDQ", "integer ONNX"), its ends such as "x: 16 codes of 8 bits"."""

    name: str
    form: str
    sha256: str
    task: str
    head: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What was built for: the target's name, its part, the flow, the clock period aimed at."""

    name: str
    part: str
    flow: str
    clock: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether every execution agreed on every code, and whether the circuit fits its part; reasons where not."""

    exact: bool
    fits: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """From the inputs to the outputs: clock cycles, time, and the cycles between two samples."""

    cycles: Figure
    time: Figure
    initiation_interval: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of the part's resources: how much is used, and how much there is."""

    name: str
    used: Figure
    available: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How good the model is at one stage ("quantised", "integer", "approximated").

    `flips` counts classes unlike those of the stage before.
    """

    stage: str
    metrics: Mapping[str, Figure]
    flips: Figure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One execution ("ONNX Runtime", "g++ C simulation") held against the interpreter."""

    execution: str
    samples: Figure
    codes: Figure
    differences: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class NearTie:
    """A code that the source's float32 gets otherwise than exact arithmetic: where, and how far from the boundary."""

    quantiser: str
    sample: int
    index: tuple[int, ...]
    distance: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The figures of one layer, by name, as the back end gives them."""

    name: str
    kind: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantiser:
    """One rescaling: its cheapest exact form ("shift", "multiply", "step") and the record of the proof."""

    name: str
    form: str
    multiplier_bits: Figure
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Wall time of one stage of the build."""

    name: str
    time: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolVersion:
    """A program or package that the build used."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkNode:
    """One node of the integer network: what it reads, its value's shape ("8x4x4") and proven interval least..greatest.

    `bits` are those of the smallest type that holds the interval; `weights` and `operations` count zeros as well.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    shape: str
    bits: Figure
    least: Figure
    greatest: Figure
    weights: Figure
    operations: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """At one stage: counts[a][b] samples of class a were given class b. All counts share unit, source and method."""

    stage: str
    unit: str
    source: Source
    method: str
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One build. `latency` is of clocked circuits; `totals` are the figures that are neither it nor a part's resource.

    `synthesis` holds the vendor's tool's own figures, where it ran. `network` and `confusion` are empty in reports
    written before they were counted; `confusion` is of classifiers with labelled data only.
    """

    model: ModelFacts
    target: TargetFacts
    verdict: Verdict
    latency: Latency | None
    resources: tuple[Resource, ...]
    totals: Mapping[str, Figure]
    synthesis: Mapping[str, Figure]
    accuracy: tuple[Accuracy, ...]
    golden: tuple[Agreement, ...]
    near_tie_count: Figure
    near_ties: tuple[NearTie, ...]
    layers: tuple[Layer, ...]
    requantisers: tuple[Requantiser, ...]
    stages: tuple[Stage, ...]
    tools: tuple[ToolVersion, ...]
    notes: tuple[str, ...] = ()
    network: tuple[NetworkNode, ...] = ()
    confusion: Confusion | None = None

    def _repr_html_(self) -> str:
        """The page that notebooks show."""
        from edgecomp.report.html import Entry, framed, render_html

        return framed(render_html([Entry(name=self.model.name, report=self)]), title=f"report of {self.model.name}")


def measured(value: int | float | str | bool, unit: str, method: str) -> Figure:
    """A figure that this run counted or timed."""
    return Figure(value=value, unit=unit, source=Source.MEASURED, method=method)
