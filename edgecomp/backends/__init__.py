"""Back ends: what turns a Network into files for one kind of target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from edgecomp.backends.estimate import Estimate
from edgecomp.bundle import Bundle
from edgecomp.errors import Problem
from edgecomp.ir import Network

__all__ = ["Backend", "Estimate"]

T = TypeVar("T", contravariant=True)
O = TypeVar("O")  # noqa: E741


class Backend(Protocol[T, O]):
    """A back end for targets T with options O; nothing in it reads a clock, the environment or the working directory.

    `settings` names the `--set` keys that it takes; `parse` makes its options from them (UsageError). `check` lists
    what it would refuse, at once; `legalize` rewrites the network exactly into what it takes (InexpressibleError);
    `emit` gives the files of the legalised network, below the back end's own folder; `estimate` their cost.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> tuple[str, ...]: ...

    def parse(self, settings: Mapping[str, str]) -> O: ...

    def check(self, network: Network, target: T, options: O) -> tuple[Problem, ...]: ...

    def legalize(self, network: Network, target: T, options: O) -> Network: ...

    def emit(self, network: Network, target: T, options: O) -> Bundle: ...

    def estimate(self, network: Network, target: T, options: O) -> Estimate: ...
