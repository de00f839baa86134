"""NSGA-II over the genes of a network: its error on selection data against what it is foretold to cost.

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
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.approx.executor import Executor, Genes
from edgecomp.errors import DataError, DiskError

CHECKPOINT_GENERATIONS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`slack`: how much more wrong than the exact classifier a candidate may be before it counts as worse than all."""

    generations: int = 3000
    population: int = 200
    slack: float = 0.15
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Candidates none of which is beaten by another: genes (P, G), scores (P, 1 + costs).

    A score is the error, then each foretold cost.
    """

    genes: Genes
    scores: NDArray[np.float64]


class Variation(ABC):
    """What changes genes: crossover by blocks of genes, and mutations."""

    __slots__ = ()

    @property
    @abstractmethod
    def digest(self) -> str:
        """Of what the genes mean."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many genes a candidate has."""

    @abstractmethod
    def blocks(self) -> NDArray[np.int64]:
        """The number of each gene's block; a child has a block from one parent."""

    @abstractmethod
    def mutate(self, genes: Genes, rng: np.random.Generator) -> Genes:
        """Each row with one to some changes."""

    def children(self, genes: Genes, scores: NDArray[np.float64], count: int, rng: np.random.Generator) -> Genes:
        """`count` of them, of parents that won a tournament of two on one of the objectives."""
        size = len(genes)
        picks = rng.integers(size, size=(2, count, 2))
        by = rng.integers(scores.shape[1], size=(2, count))
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


def search(
    variation: Variation, starts: Genes, executor: Executor, plan: Plan, *, checkpoint: Path | None = None,
    progress: Callable[[int, Front], None] | None = None,
) -> Front:  # fmt: skip
    """The Pareto front from exact and other starts (S, G); goes on from `checkpoint` where that is of this search."""
    digest = executor.digest + _digest(variation, starts, plan)
    resumed = _resume(checkpoint, digest)
    if resumed is None:
        rng = np.random.default_rng([plan.seed, 0])
        extra = [variation.mutate(starts[k % len(starts)][None], rng)[0] for k in range(plan.population - len(starts))]
        genes = np.concatenate([starts, np.array(extra, dtype=np.int32).reshape(-1, variation.size)])
        at, scores = 0, executor.scores(genes)
    else:
        at, genes, scores = resumed
    limit = executor.scores(starts)[:, 0].min() + plan.slack
    for generation in range(at + 1, plan.generations + 1):
        rng = np.random.default_rng([plan.seed, generation])
        children = variation.children(genes, scores, plan.population, rng)
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
    """The rows that no other row beats or equals, the most accurate first."""
    kept: list[int] = []
    for at in np.lexsort(scores.T[::-1]).tolist():
        if not any((scores[other] <= scores[at]).all() for other in kept):
            kept.append(at)
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


def _digest(variation: Variation, starts: Genes, plan: Plan) -> str:
    return hashlib.sha256(
        f"{variation.digest} {plan.population} {plan.slack} {plan.seed}".encode() + starts.tobytes()
    ).hexdigest()


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
