"""What exploration needs of a family of targets: its candidates, what they are foretold to cost, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

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
    """Labelled selection data: host codes (N, ...) by input, and classes (N,) or a regression's targets (N, outputs).

    A regression's differences count as `outlier` at most; `spread` (outputs,) is what their root mean square would be
    if every row were given its target's median.
    """

    inputs: Mapping[str, Codes]
    y: NDArray[Any]
    outlier: float = math.inf
    spread: NDArray[np.float64] | None = None

    @property
    def regression(self) -> bool:
        return self.spread is not None

    def rows(self, kept: NDArray[np.int64]) -> Selection:
        """Those rows of it."""
        return replace(self, inputs={name: codes[kept] for name, codes in self.inputs.items()}, y=self.y[kept])

    def error(self, network: Network) -> float:
        """The share of rows whose class is wrong; of a regression, the root mean squared difference as a share of its
        spread, over all outputs."""
        if self.spread is None:
            return float((classes_of(network, self.inputs) != self.y).mean())
        end = network.outputs[0]
        found = real_output(end, interp.outputs(network, self.inputs)[end.name]).reshape(self.y.shape)
        return float(np.sqrt(((_capped(found - self.y, self.outlier) / self.spread) ** 2).mean()))

    def changed(self, one: Network, other: Network) -> float:
        """The share of rows for which two networks give unlike classes, or a regression's unlike values."""
        if not self.regression:
            return float((classes_of(one, self.inputs) != classes_of(other, self.inputs)).mean())
        ends = [interp.outputs(n, self.inputs)[n.outputs[0].name].reshape(len(self.y), -1) for n in (one, other)]
        return float((ends[0] != ends[1]).any(axis=1).mean())


def of_regression(inputs: Mapping[str, Codes], y: NDArray[np.float64], outlier: float) -> Selection:
    """With its spread, which is 0 for an output whose targets are one number."""
    off = _capped(y - np.median(y, axis=0), outlier)
    return Selection(inputs=inputs, y=y, outlier=outlier, spread=np.sqrt((off**2).mean(axis=0)))


def _capped(difference: NDArray[np.float64], outlier: float) -> NDArray[np.float64]:
    return np.minimum(np.abs(difference), outlier)


class Ground(Protocol):
    """One family's way to explore. Scores are the error and the foretold costs, all minimised."""

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
