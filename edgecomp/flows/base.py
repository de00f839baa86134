"""What every flow takes and gives: one way from a Network to proven files for one kind of target."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgecomp import golden
from edgecomp.backends.estimate import LayerCost
from edgecomp.bundle import Bundle
from edgecomp.errors import MismatchError, Problem
from edgecomp.ir import Network
from edgecomp.report.figures import Figure
from edgecomp.report.model import Latency, Resource, TargetFacts
from edgecomp.vectors import Vectors

Codes = NDArray[np.int64]


class Progress(Protocol):
    def stage(self, name: str) -> None: ...

    def advance(self, done: int, total: int, said: str) -> None:
        """So much of a long stage is done."""


@dataclass(slots=True, kw_only=True)
class Clock:
    """Wall seconds of the stages so far; tells `progress` of each as it starts."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress.stage(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder; made before a stage is announced, so that whoever stops the stage finds it known."""
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as name:
        yield Path(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A network with the head asked for, its vectors and expected host codes; `logits` has the logits brought out too.

    `logits` is None where the circuit gives nothing else than the model's own outputs.
    """

    network: Network
    logits: Network | None
    vectors: Vectors
    expected: Mapping[str, Codes]
    synth: bool
    cosim: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a flow made, every execution compared on every output code; `reasons` say why it does not fit."""

    files: Bundle
    executions: tuple[str, ...]
    programs: tuple[str, ...]
    layers: tuple[LayerCost, ...]
    latency: Latency | None
    resources: tuple[Resource, ...]
    totals: Mapping[str, Figure]
    synthesis: Mapping[str, Figure]
    reasons: tuple[str, ...]


class Flow(Protocol):
    """One flow for one target with its options; `head` is what it gives where the user does not say."""

    @property
    def target(self) -> TargetFacts: ...

    @property
    def head(self) -> str: ...

    def check(self, network: Network) -> tuple[Problem, ...]: ...

    def doubts(self, network: Network) -> tuple[str, ...]:
        """Why what `check` lets pass is foretold not to fit the target; nothing where that takes a build to know."""

    def prepare(self, *, synth: bool, cosim: bool) -> None:
        """ToolError or UsageError for what the flow will lack, before the long stages run."""

    def realise(self, job: Job, clock: Clock) -> Built: ...


def same(execution: str, expected: Mapping[str, Codes], got: Mapping[str, Codes]) -> None:
    """MismatchError naming the first difference, unless every code is equal."""
    first, count = golden.compare(expected, got)
    if first is not None:
        raise MismatchError(f"{execution} differs in {count} codes, first {first}", where=first.node,
                            hint="this is a fault of edgecomp: please report it with the model")  # fmt: skip
