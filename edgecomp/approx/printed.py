"""Printed circuits: perceptrons by their genes, foretold and mapped areas and power."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.approx.declare import declare
from edgecomp.approx.executor import Genes, Scores
from edgecomp.approx.genes import Exact, Space, read_classifier, to_network, tournament
from edgecomp.approx.ground import Selection
from edgecomp.approx.masks import trained_masks
from edgecomp.approx.mutations import GeneVariation
from edgecomp.approx.noise import jittered
from edgecomp.approx.search import Variation
from edgecomp.backends.printed import PrintedTarget, load_library
from edgecomp.backends.printed.design import make_design, simulate_design
from edgecomp.backends.printed.estimate import mw_per_cm2
from edgecomp.backends.printed.options import Effort, PrintedOptions
from edgecomp.errors import InexpressibleError
from edgecomp.ir import Network
from edgecomp.passes import with_argmax

QUICK = PrintedOptions(effort=Effort.QUICK)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTask:
    """What every worker needs: the sizes, the comparisons, and labelled codes x (features, N), y (N,).

    The kernel counts cells; `cell` is the area of one, in cm2.
    """

    table: NDArray[np.int64]
    pairs: NDArray[np.int64]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    cell: float = 1.0

    @property
    def digest(self) -> str:
        """Of the data."""
        return hashlib.sha256(self.x.tobytes() + self.y.tobytes()).hexdigest()

    def scores(self, genes: Genes) -> Scores:
        from edgecomp.approx import kernel

        counted: Scores = np.asarray(kernel.scores(genes, self.table, self.pairs, self.x, self.y))
        counted[:, 1] *= self.cell
        return counted


def task_of(space: Space, codes: NDArray[np.int64], y: NDArray[np.int64], *, cell: float = 1.0) -> KernelTask:
    """Codes (N, features) and classes (N,)."""
    x = np.ascontiguousarray(codes.reshape(len(codes), -1).T.astype(np.int32))
    pairs = np.array(tournament(space.classes))
    return KernelTask(table=space.table(), pairs=pairs, x=x, y=y.astype(np.int32), cell=cell)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedGround:
    """See `edgecomp.approx.ground.Ground`.

    The search counts area alone, in proportion to which power is foretold: what a cell draws hangs on its state, so
    power is measured by simulating the mapped gates on the selection data, at the library's highest voltage.
    """

    exact: Network
    classifier: Exact
    library: PrintedTarget
    selection: Selection
    costs: tuple[str, ...] = ("cm2", "mW")
    settings: Mapping[str, str] = field(default_factory=dict)
    flow: str | None = None
    synth: bool = False

    @property
    def exact_genes(self) -> Genes:
        return self.classifier.starts

    def variation(self) -> Variation:
        return GeneVariation(space=self.classifier.space)

    def more_starts(self, selection: Selection, seed: int) -> Genes:
        """Masks trained by gradients."""
        return trained_masks(self.classifier, _flat(selection), selection.y, seed=seed)

    def task(self, selection: Selection) -> KernelTask:
        cell = min(cell.area_um2 for cell in self.library.cells.values() if len(cell.pins) == 2) / 1e8
        return task_of(self.classifier.space, _flat(selection), selection.y, cell=cell)

    def foretold(self, scores: Scores) -> tuple[float, ...]:
        area = float(scores[1])
        return area, area * mw_per_cm2(self.library, max(self.library.voltages))

    def searched(self, selection: Selection, seed: int) -> Selection:
        """With noisy copies beside few rows."""
        codes, y = jittered(_flat(selection), selection.y, self.classifier.space.layers[0].bits, seed)
        (name,) = selection.inputs
        return Selection(inputs={name: codes.reshape(-1, *self.classifier.head.shape)}, y=y)

    def network(self, genes: Genes) -> Network:
        return to_network(self.classifier, genes)

    def measure(self, network: Network) -> tuple[float, ...]:
        """MismatchError unless the mapped gates give what the network does on every row of the selection data."""
        inputs = self.selection.inputs
        design = make_design(network, self.library, QUICK)
        cost = simulate_design(design, self.library, inputs, interp.outputs(network, inputs))
        return cost.area_cm2, cost.at(max(self.library.voltages)).power_mw

    def declare(self, genes: Genes) -> Mapping[str, object]:
        return declare(self.classifier.space, self.classifier.starts, genes)


def printed_ground(network: Network, part: str, selection: Selection) -> PrintedGround:
    """InexpressibleError for a network that is no perceptron."""
    if selection.regression:
        raise InexpressibleError("printed circuits are explored of classifiers", where="explore",
                                 hint="give data with integer classes, or explore for fpga or mcu")  # fmt: skip
    exact = with_argmax(network)
    return PrintedGround(exact=exact, classifier=read_classifier(exact), library=load_library(part),
                         selection=selection)  # fmt: skip


def _flat(selection: Selection) -> NDArray[np.int64]:
    (codes,) = selection.inputs.values()
    return codes.reshape(len(codes), -1)
