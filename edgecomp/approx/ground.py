"""What exploration needs of a family of targets: its candidates, what they are foretold to cost, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.approx.executor import Genes, Scores, Task
from edgecomp.approx.search import Variation
from edgecomp.contract import real_output
from edgecomp.ir import Network
from edgecomp.passes import decides

Codes = NDArray[np.int64]
UNMEASURED = (math.inf, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Labelled selection data: host codes (N, ...) by input, and classes (N,)."""

    inputs: Mapping[str, Codes]
    y: Codes


class Ground(Protocol):
    """One family's way to explore. Scores are the share wrong and the foretold costs that the search minimises."""

    @property
    def exact(self) -> Network:
        """The network that candidates approximate, as it is built."""

    @property
    def costs(self) -> tuple[str, ...]:
        """The names of the costs with their units, the one that counts most first."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Settings of the bundles' builds, beside `flow` and `synth`."""

    @property
    def flow(self) -> str | None: ...

    @property
    def synth(self) -> bool: ...

    @property
    def exact_genes(self) -> Genes:
        """Genes (S, G) of the exact network in each of its forms."""

    def variation(self) -> Variation: ...

    def more_starts(self, selection: Selection, seed: int) -> Genes:
        """Genes (S, G) that are worth starting from beside the exact ones."""

    def task(self, selection: Selection) -> Task: ...

    def foretold(self, scores: Scores) -> tuple[float, ...]:
        """What one candidate's scores (1 + costs,) foretell, by `costs`."""

    def searched(self, selection: Selection, seed: int) -> Selection:
        """The rows that the search sees."""

    def network(self, genes: Genes) -> Network:
        """What genes (G,) compute."""

    def measure(self, network: Network) -> tuple[float, ...]:
        """What a network really costs, by `costs`; infinite where it does not fit the part."""

    def declare(self, genes: Genes) -> Mapping[str, object]:
        """What genes (G,) change, counted by kind."""


def classes_of(network: Network, inputs: Mapping[str, Codes]) -> Codes:
    """The class (N,) that a network gives or decides: the greatest logit, the lowest index among ties; one's sign."""
    end = network.outputs[0]
    codes = interp.outputs(network, inputs)[end.name]
    if decides(network):
        return codes.reshape(-1)
    logits = real_output(end, codes).reshape(len(codes), -1)
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)
