"""What the search changes in a printed classifier: whole neurons cross over, each kind of gene has its mutation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.approx.genes import MAX_CONST, Genes, Layer, Part, Space
from edgecomp.approx.search import Variation

HIGHEST = 20  # bits of comparisons that are turned lie below it

Parts = Mapping[str, Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneVariation(Variation):
    """Blocks are a neuron with its weights, an input's bits, a comparison."""

    space: Space

    @property
    def digest(self) -> str:
        return str(self.space)

    @property
    def size(self) -> int:
        return self.space.size

    def blocks(self) -> NDArray[np.int64]:
        """The number of each gene's block: a neuron with its weights, an input's bits, a comparison."""
        found = np.zeros(self.space.size, dtype=np.int64)
        number = 0
        for layer, parts in zip(self.space.layers, self.space.parts(), strict=True):
            for name in ("digit", "mask", "const", "top"):
                part = parts[name]
                of = np.arange(layer.outputs).reshape(-1, *[1] * (len(part.shape) - 1)) + number
                found[part.start : part.stop] = np.broadcast_to(of, part.shape).reshape(-1)
            number += layer.outputs
            found[parts["used"].start : parts["used"].stop] = np.arange(layer.inputs) + number
            number += layer.inputs
        found[self.space.compared.start :] = np.arange(self.space.classes - 1) + number
        return found

    def mutate(self, genes: Genes, rng: np.random.Generator) -> Genes:
        """Each row with one to some changes, most of them in summands."""
        genes = genes.copy()
        parts = self.space.parts()
        for row in genes:
            for _ in range(min(int(rng.geometric(0.4)), 8)):
                at = int(rng.integers(len(parts)))
                self._change(row, at, parts[at], rng)
        return genes

    def _change(self, row: Genes, at: int, parts: Parts, rng: np.random.Generator) -> None:
        layer, kind = self.space.layers[at], rng.random()
        if kind < 0.45:  # one bit of one summand
            row[_any(parts["mask"], rng)] ^= 1 << int(rng.integers(layer.bits))
        elif kind < 0.65:
            self._weight(row, layer, parts, rng)
        elif kind < 0.83:  # a constant, by a step of any size
            place = _any(parts["const"], rng)
            moved = int(row[place]) + (int(rng.integers(-1, 2)) << int(rng.integers(0, layer.bits + 5)))
            row[place] = min(max(moved, -MAX_CONST), MAX_CONST)
        elif kind < 0.91:
            row[_any(parts["used"], rng)] ^= 1 << int(rng.integers(layer.bits))
        elif layer.top and kind < 0.96:
            place = _any(parts["top"], rng)
            row[place] = np.clip(row[place] + rng.choice([-1, 1]), 1, layer.top)
        else:
            place = _any(self.space.compared, rng)
            row[place] = _comparison(int(row[place]), rng)

    def _weight(self, row: Genes, layer: Layer, parts: Parts, rng: np.random.Generator) -> None:
        """A digit moved by one place, dropped, turned, or made anew with a mask of its own."""
        place = _any(parts["digit"], rng)
        mask = place - parts["digit"].start + parts["mask"].start
        digit = int(row[place])
        if digit == 0:
            most = int(np.abs(parts["digit"].of(row)).max()) or 4
            row[place] = int(rng.integers(1, most + 1)) * int(rng.choice([-1, 1]))
            row[mask] = int(rng.integers(1, 1 << layer.bits))
        elif rng.random() < 0.4:
            row[place] = 0
        elif rng.random() < 0.15:
            row[place] = -digit
        else:
            moved = min(max(abs(digit) + int(rng.choice([-1, 1])), 1), layer.places)
            row[place] = moved if digit > 0 else -moved


def _comparison(mask: int, rng: np.random.Generator) -> int:
    """A mask with its lowest bit out or the one below it in, any bit turned, all in, or none."""
    kind = rng.random()
    if kind < 0.1 or (kind < 0.2 and not mask):
        return 0 if mask else -1
    lowest = mask & -mask
    if kind < 0.45:
        return mask | lowest >> 1
    if kind < 0.8 and mask & (mask - 1) and lowest < 1 << HIGHEST:
        return mask ^ lowest
    return mask ^ 1 << int(rng.integers(HIGHEST))


def _any(part: Part, rng: np.random.Generator) -> int:
    """A place of the part."""
    return int(rng.integers(part.start, part.stop))
