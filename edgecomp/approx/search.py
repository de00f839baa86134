"""NSGA-II over the genes of a classifier: wrong rows of selection data against the area that its gates foretell.

Sorting and crowding are pymoo's. Each generation draws from a generator seeded with (seed, generation): a search that
goes on from its last checkpoint gives what one that was never stopped gives.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.approx.executor import Executor
from edgecomp.approx.genes import MAX_CONST, Genes, Layer, Part, Space
from edgecomp.errors import DataError, DiskError

CHECKPOINT_GENERATIONS = 50
HIGHEST = 20  # bits of comparisons that are turned lie below it

Parts = Mapping[str, Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`slack`: how much more wrong than the exact classifier a candidate may be before it counts as worse than all."""

    generations: int = 3000
    population: int = 200
    slack: float = 0.15
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Candidates none of which is beaten by another: genes (P, G), scores (P, 2) as (share wrong, foretold area)."""

    genes: Genes
    scores: NDArray[np.float64]


def search(
    space: Space, starts: Genes, executor: Executor, plan: Plan, *, checkpoint: Path | None = None,
    progress: Callable[[int, Front], None] | None = None,
) -> Front:  # fmt: skip
    """The Pareto front from exact and other starts (S, G); goes on from `checkpoint` where that is of this search."""
    variation = Variation(space=space, plan=plan)
    digest = executor.digest + _digest(space, starts, plan)
    resumed = _resume(checkpoint, digest)
    if resumed is None:
        rng = np.random.default_rng([plan.seed, 0])
        extra = [variation.mutate(starts[k % len(starts)][None], rng)[0] for k in range(plan.population - len(starts))]
        genes = np.concatenate([starts, np.array(extra, dtype=np.int32).reshape(-1, space.size)])
        at, scores = 0, executor.scores(genes)
    else:
        at, genes, scores = resumed
    limit = executor.scores(starts)[:, 0].min() + plan.slack
    for generation in range(at + 1, plan.generations + 1):
        rng = np.random.default_rng([plan.seed, generation])
        children = variation.children(genes, scores, rng)
        genes, scores = _distinct(np.concatenate([genes, children]),
                                  np.concatenate([scores, executor.scores(children)]))  # fmt: skip
        kept = survivors(scores, limit, plan.population)
        genes, scores = genes[kept], scores[kept]
        if checkpoint is not None and (generation % CHECKPOINT_GENERATIONS == 0 or generation == plan.generations):
            _save(checkpoint, digest, generation, genes, scores)
        if progress is not None:
            progress(generation, front_of(genes, scores))
    return front_of(genes, scores)


def front_of(genes: Genes, scores: NDArray[np.float64]) -> Front:
    """The best rows, cheapest last."""
    order = np.lexsort((scores[:, 1], scores[:, 0]))
    kept, least = [], np.inf
    for at in order:
        if scores[at, 1] < least:
            kept.append(at)
            least = scores[at, 1]
    return Front(genes=genes[kept], scores=scores[kept])


def survivors(scores: NDArray[np.float64], limit: float, count: int) -> NDArray[np.int64]:
    """The indices that NSGA-II keeps: by rank, then crowding distance; those beyond `limit` last."""
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    good = np.flatnonzero(scores[:, 0] <= limit)
    bad = np.flatnonzero(scores[:, 0] > limit)
    kept: list[int] = []
    for front in NonDominatedSorting().do(scores[good], n_stop_if_ranked=count) if len(good) else []:
        if len(kept) + len(front) > count:
            distance = calc_crowding_distance(scores[good[front]])
            front = front[np.argsort(-distance, kind="stable")[: count - len(kept)]]
        kept += good[front].tolist()
        if len(kept) >= count:
            break
    if len(kept) < count:
        kept += bad[np.argsort(scores[bad, 0], kind="stable")[: count - len(kept)]].tolist()
    return np.array(kept, dtype=np.int64)


def _distinct(genes: Genes, scores: NDArray[np.float64]) -> tuple[Genes, NDArray[np.float64]]:
    """Rows with unlike scores: those that compute alike at one price are one candidate."""
    _, first = np.unique(scores, axis=0, return_index=True)
    return genes[np.sort(first)], scores[np.sort(first)]


@dataclass(slots=True, kw_only=True)
class Variation:
    """What changes genes: crossover by whole neurons, and mutations of each kind of gene."""

    space: Space
    plan: Plan

    def children(self, genes: Genes, scores: NDArray[np.float64], rng: np.random.Generator) -> Genes:
        """As many as the population, of parents that won a tournament of two on one of the objectives."""
        count, size = self.plan.population, len(genes)
        picks = rng.integers(size, size=(2, count, 2))
        by = rng.integers(2, size=(2, count))
        first, second = scores[picks[..., 0]], scores[picks[..., 1]]
        dominates = (first <= second).all(-1) | ~(second <= first).all(-1) & (
            np.take_along_axis(first, by[..., None], 2) <= np.take_along_axis(second, by[..., None], 2)
        )[..., 0]
        mothers, fathers = np.where(dominates, picks[..., 0], picks[..., 1])
        blocks = self.blocks()
        chosen = rng.random((count, blocks.max() + 1)) < 0.5
        chosen[rng.random(count) < 0.6] = True  # no crossover
        made = np.where(chosen[:, blocks], genes[mothers], genes[fathers])
        return self.mutate(made, rng)

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


def _digest(space: Space, starts: Genes, plan: Plan) -> str:
    return hashlib.sha256(f"{space} {plan.population} {plan.slack} {plan.seed}".encode() + starts.tobytes()).hexdigest()


def _save(path: Path, digest: str, generation: int, genes: Genes, scores: NDArray[np.float64]) -> None:
    """Write aside, then rename: a stop in between leaves the checkpoint before."""
    buffer = io.BytesIO()
    head = json.dumps({"search": digest, "generation": generation})
    np.savez_compressed(buffer, head=np.array(head), genes=genes, scores=scores)
    aside = path.with_name(path.name + ".new")
    try:
        aside.write_bytes(buffer.getvalue())
        os.replace(aside, path)
    except OSError as error:
        raise DiskError(f"cannot write the checkpoint: {error.strerror}", where=str(path)) from error


def _resume(path: Path | None, digest: str) -> tuple[int, Genes, NDArray[np.float64]] | None:
    if path is None or not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            genes, scores = file["genes"], file["scores"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError("the checkpoint cannot be read", where=str(path), hint="delete it to start anew") from error
    return (int(head["generation"]), genes, scores) if head["search"] == digest else None
