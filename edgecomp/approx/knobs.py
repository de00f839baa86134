"""A network's knobs: what of each layer can be coarser, as a vector of integers, its genes; all zero is exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edgecomp.approx.coarse import PARTS, Change, digits_of
from edgecomp.approx.executor import Genes
from edgecomp.approx.search import Variation
from edgecomp.ir import Conv, Dense, Network, Requant, Rounding, Step


class Kind(Enum):
    """What a gene says of its node, as `Change` has it."""

    WEIGHT_BITS = "weight bits dropped"
    PRUNED = "sixteenths of weights left out"
    DIGITS = "weights of few digits"
    CHANNEL = "channels left out"
    CODE_BITS = "code bits dropped"
    FLOORED = "roundings simplified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One gene: 0 to `most`. `place` is the channel of a CHANNEL; `digits` the most that a weight has."""

    node: str
    kind: Kind
    most: int
    place: int = 0
    digits: int = 0


def knobs_of(network: Network, kinds: frozenset[Kind]) -> tuple[Knob, ...]:
    """The knobs of these kinds, in the order of the nodes; the last layer keeps its channels, the classes."""
    found: list[Knob] = []
    layers = [node.name for node in network.nodes if isinstance(node, Dense | Conv)]
    values = network.values()
    for node in network.nodes:
        if isinstance(node, Dense | Conv):
            found += _of_layer(node, last=node.name == layers[-1])
        elif isinstance(node, Requant | Step):
            bits = values[node.name].bits
            found.append(Knob(node=node.name, kind=Kind.CODE_BITS, most=bits - 1))
            if isinstance(node, Requant) and node.rounding is Rounding.HALF_EVEN:
                found.append(Knob(node=node.name, kind=Kind.FLOORED, most=1))
    return tuple(knob for knob in found if knob.kind in kinds and knob.most > 0)


def _of_layer(node: Dense | Conv, *, last: bool) -> list[Knob]:
    weight = node.weight.array
    bits, digits = int(np.abs(weight).max()).bit_length(), int(digits_of(weight).max())
    found = [Knob(node=node.name, kind=Kind.WEIGHT_BITS, most=bits - 1),
             Knob(node=node.name, kind=Kind.PRUNED, most=PARTS - 1),
             Knob(node=node.name, kind=Kind.DIGITS, most=digits - 1, digits=digits)]  # fmt: skip
    if not last:
        found += [Knob(node=node.name, kind=Kind.CHANNEL, most=1, place=c) for c in range(len(weight))]
    return found


def changes_of(knobs: tuple[Knob, ...], genes: Genes) -> Mapping[str, Change]:
    """What the genes (G,) change, by node."""
    said: dict[str, dict[Kind, int]] = {}
    idle: dict[str, list[int]] = {}
    for knob, gene in zip(knobs, genes.tolist(), strict=True):
        if gene and knob.kind is Kind.CHANNEL:
            idle.setdefault(knob.node, []).append(knob.place)
        elif gene:
            said.setdefault(knob.node, {})[knob.kind] = knob.digits - gene if knob.kind is Kind.DIGITS else gene
    return {
        name: Change(
            dropped=(of := said.get(name, {})).get(Kind.WEIGHT_BITS, 0) or of.get(Kind.CODE_BITS, 0),
            pruned=of.get(Kind.PRUNED, 0), digits=of.get(Kind.DIGITS, 0), idle=tuple(idle.get(name, ())),
            floored=bool(of.get(Kind.FLOORED, 0)),
        )
        for name in {**said, **idle}
    }  # fmt: skip


def counts(knobs: tuple[Knob, ...], genes: Genes) -> dict[str, int]:
    """How much of each kind the genes (G,) change: bits and channels in all; of DIGITS and FLOORED, the nodes."""
    found = dict.fromkeys((kind.value for kind in dict.fromkeys(knob.kind for knob in knobs)), 0)
    for knob, gene in zip(knobs, genes.tolist(), strict=True):
        found[knob.kind.value] += min(gene, 1) if knob.kind is Kind.DIGITS else gene
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobVariation(Variation):
    """Mutations turn one to some knobs; crossover takes a node's knobs together, a channel's alone."""

    knobs: tuple[Knob, ...]

    @property
    def digest(self) -> str:
        return str(self.knobs)

    @property
    def size(self) -> int:
        return len(self.knobs)

    def blocks(self) -> NDArray[np.int64]:
        numbers: dict[object, int] = {}
        keys = [(k.node, k.place) if k.kind is Kind.CHANNEL else k.node for k in self.knobs]
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)

    def mutate(self, genes: Genes, rng: np.random.Generator) -> Genes:
        genes = genes.copy()
        kinds = list(dict.fromkeys(knob.kind for knob in self.knobs))
        places = {kind: [i for i, knob in enumerate(self.knobs) if knob.kind is kind] for kind in kinds}
        for row in genes:
            for _ in range(min(int(rng.geometric(0.4)), 8)):
                at = int(rng.choice(places[kinds[int(rng.integers(len(kinds)))]]))
                step = int(rng.choice([-1, 1])) if self.knobs[at].most > 1 else 1 - 2 * int(row[at])
                row[at] = min(max(int(row[at]) + step, 0), self.knobs[at].most)
        return genes
