"""FPGAs and microcontrollers: any network by its knobs, foretold and real costs."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgecomp import interp
from edgecomp.approx.coarse import Means, coarsen
from edgecomp.approx.executor import Genes, Scores
from edgecomp.approx.foretell import luts_and_cycles, work
from edgecomp.approx.ground import UNMEASURED, Codes, Selection
from edgecomp.approx.knobs import Kind, Knob, KnobVariation, changes_of, counts, knobs_of
from edgecomp.approx.search import Variation
from edgecomp.errors import InexpressibleError, MismatchError, UsageError, raise_all
from edgecomp.idle import without_idle
from edgecomp.ir import Conv, Dense, Network
from edgecomp.ir.ranges import NodeError
from edgecomp.project import FpgaTarget, load_target

ROWS = 1000  # of the selection data, that the search counts
SAMPLES = 16  # that a measurement on a core runs
OF_FPGA = frozenset(Kind)
OF_MCU = frozenset({Kind.WEIGHT_BITS, Kind.CHANNEL, Kind.FLOORED})

Foretell = Callable[[Network], tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """From genes to networks: the exact network, its knobs, and the mean input of each layer."""

    exact: Network
    knobs: tuple[Knob, ...]
    means: Means

    def network(self, genes: Genes) -> Network:
        """The coarse network of genes (G,), without its idle channels; InexpressibleError beyond the integer width."""
        try:
            made = coarsen(self.exact, changes_of(self.knobs, genes), self.means)
            raise_all(InexpressibleError, made.problems())
            return without_idle(made)
        except NodeError as error:
            raise InexpressibleError(str(error), where="explore") from error


def maker_of(network: Network, kinds: frozenset[Kind], selection: Selection) -> Maker:
    """InexpressibleError where the network has nothing to lose."""
    knobs = knobs_of(network, kinds)
    if not knobs:
        raise InexpressibleError("nothing can be made coarser: no layer has bits or channels to spare",
                                 where="explore", hint="explore another model")  # fmt: skip
    values = interp.run(network, {name: codes[:ROWS] for name, codes in selection.inputs.items()})
    means = {}
    for node in network.nodes:
        if isinstance(node, Dense | Conv):
            x = values[node.x]
            means[node.name] = x.mean(axis=(0, *range(2, x.ndim)))
    return Maker(exact=network, knobs=knobs, means=means)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarseTask:
    """What every worker needs: how networks are made and what they are foretold to cost, and the selection data."""

    maker: Maker
    foretell: Foretell
    selection: Selection
    costs: int = 2

    @property
    def digest(self) -> str:
        """Of the network, the target and the data."""
        seen = self.selection
        parts = [np.ascontiguousarray(codes).tobytes() for codes in (*seen.inputs.values(), seen.y)]
        head = f"{self.maker.exact} {self.foretell} {seen.outlier}"
        return hashlib.sha256(head.encode() + b"".join(parts)).hexdigest()

    def scores(self, genes: Genes) -> Scores:
        return np.array([self._score(row) for row in genes]).reshape(len(genes), 1 + self.costs)

    def _score(self, genes: Genes) -> tuple[float, ...]:
        try:
            network = self.maker.network(genes)
        except InexpressibleError:
            return (math.inf, *[math.inf] * self.costs)
        return (self.selection.error(network), *self.foretell(network))


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarseGround:
    """See `edgecomp.approx.ground.Ground`; `cost` measures a network."""

    maker: Maker
    foretell: Foretell
    cost: Callable[[Network], tuple[float, ...]]
    costs: tuple[str, ...]
    flow: str | None = None
    synth: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def exact(self) -> Network:
        return self.maker.exact

    @property
    def exact_genes(self) -> Genes:
        return np.zeros((1, len(self.maker.knobs)), dtype=np.int32)

    def variation(self) -> Variation:
        return KnobVariation(knobs=self.maker.knobs)

    def more_starts(self, selection: Selection, seed: int) -> Genes:
        """All layers coarser alike: each kind of knob turned by itself, and all kinds together."""
        knobs, found = self.maker.knobs, []
        kinds = [kind for kind in dict.fromkeys(knob.kind for knob in knobs) if kind is not Kind.CHANNEL]
        for turned in (*([kind] for kind in kinds), kinds):
            for amount in (1, 2, 3):
                found.append([min(amount, knob.most) if knob.kind in turned else 0 for knob in knobs])
        return np.unique(np.array(found, dtype=np.int32), axis=0)

    def task(self, selection: Selection) -> CoarseTask:
        return CoarseTask(maker=self.maker, foretell=self.foretell, selection=selection, costs=len(self.costs))

    def foretold(self, scores: Scores) -> tuple[float, ...]:
        return tuple(scores[1:].tolist())

    def searched(self, selection: Selection, seed: int) -> Selection:
        """As many rows as the time of a search allows."""
        kept = np.sort(np.random.default_rng(seed).permutation(len(selection.y))[:ROWS])
        return selection.rows(kept)

    def network(self, genes: Genes) -> Network:
        return self.maker.network(genes)

    def measure(self, network: Network) -> tuple[float, ...]:
        return self.cost(network)

    def declare(self, genes: Genes) -> Mapping[str, object]:
        return dict(counts(self.maker.knobs, genes))


@dataclass(frozen=True, slots=True, kw_only=True)
class OfRtl:
    """LUTs and stages of the unrolled circuit."""

    target: FpgaTarget
    cutoff: float

    def __call__(self, network: Network) -> tuple[float, ...]:
        return luts_and_cycles(network, self.cutoff)

    def measured(self, network: Network) -> tuple[float, ...]:
        """After Yosys; the pipeline's stages. The usual forms, as with effort=quick."""
        from edgecomp.backends.rtl.emit import project_files
        from edgecomp.backends.rtl.figures import circuit_for
        from edgecomp.backends.rtl.options import Effort, Language, RtlOptions
        from edgecomp.backends.rtl.synthesis import synthesize

        circuit = circuit_for(network, self.target, RtlOptions(effort=Effort.QUICK))
        with tempfile.TemporaryDirectory(prefix="edgecomp-") as scratch:
            project_files(circuit, Language.VERILOG).spill(Path(scratch))
            value = synthesize(Path(scratch), self.target)["lut"].value
        assert isinstance(value, int)
        return float(value), float(circuit.cycles)


def fpga_ground(network: Network, part: str, selection: Selection) -> CoarseGround:
    """The RTL flow, whose costs open tools can measure; InexpressibleError for what it refuses."""
    from edgecomp.backends.rtl import RtlBackend
    from edgecomp.backends.rtl.figures import cutoff_levels
    from edgecomp.backends.rtl.options import RtlOptions

    target = load_target(part)
    raise_all(InexpressibleError, RtlBackend().check(network, target, RtlOptions()))
    costs = OfRtl(target=target, cutoff=cutoff_levels(target, RtlOptions()))
    return CoarseGround(maker=maker_of(network, OF_FPGA, selection), foretell=costs, cost=costs.measured,
                        costs=("LUT", "cycles"), flow="rtl", synth=True)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OfCore:
    """Bytes of flash and instructions (or cycles) on a core, foretold from the exact network's.

    `beside` are the bytes of the exact program that are no tables; `each` instructions a step of its work take.
    """

    beside: float
    each: float

    def __call__(self, network: Network) -> tuple[float, ...]:
        from edgecomp.backends.mcu.emit import NETWORK, emit

        return self.beside + emit(network, NETWORK).constant_bytes, self.each * work(network)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCore:
    """Measured on a core: flash, and instructions or cycles; on the host, bytes of tables and nanoseconds."""

    part: str
    inputs: Mapping[str, Codes]

    def __call__(self, network: Network) -> tuple[float, ...]:
        from edgecomp.backends.mcu import McuBackend, load_machine
        from edgecomp.simulate.mcu import measure

        try:
            found = measure(McuBackend().program(network), load_machine(self.part), self.inputs,
                            interp.outputs(network, self.inputs))  # fmt: skip
        except MismatchError as error:
            if "does not fit" not in str(error):
                raise
            return UNMEASURED
        return float(found.flash_bytes), found.mean


def mcu_ground(network: Network, part: str, selection: Selection) -> CoarseGround:
    """UsageError for the host, on which neither flash nor instructions are counted."""
    from edgecomp.backends.mcu import load_machine
    from edgecomp.backends.mcu.emit import NETWORK, emit
    from edgecomp.backends.mcu.target import Counts

    machine = load_machine(part)
    if machine.counts is Counts.TIME:
        raise UsageError("the host has neither flash nor instructions to spare", where="--target host",
                         hint="give a core, such as cortex_m0")  # fmt: skip
    inputs = {name: codes[:SAMPLES] for name, codes in selection.inputs.items()}
    on = OnCore(part=part, inputs=inputs)
    flash, effort = on(network)
    known = flash < np.inf
    beside = flash - emit(network, NETWORK).constant_bytes if known else 0.0
    foretell = OfCore(beside=beside, each=effort / work(network) if known else 1.0)
    return CoarseGround(maker=maker_of(network, OF_MCU, selection), foretell=foretell, cost=on,
                        costs=("flash bytes", machine.counts.value))  # fmt: skip
