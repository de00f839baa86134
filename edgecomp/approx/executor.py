"""Where candidates are scored: in local processes, or on a Dask cluster that is there already."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecomp.approx.genes import Genes, Space, tournament
from edgecomp.errors import ToolError

Scores = NDArray[np.float64]

CONNECT_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What every worker needs: the sizes, the comparisons, and labelled codes x (features, N), y (N,)."""

    table: NDArray[np.int64]
    pairs: NDArray[np.int64]
    x: NDArray[np.int32]
    y: NDArray[np.int32]

    @property
    def digest(self) -> str:
        """Of the data."""
        return hashlib.sha256(self.x.tobytes() + self.y.tobytes()).hexdigest()

    def scores(self, genes: Genes) -> Scores:
        from edgecomp.approx import kernel

        return np.asarray(kernel.scores(genes, self.table, self.pairs, self.x, self.y))


def task_of(space: Space, codes: NDArray[np.int64], y: NDArray[np.int64]) -> Task:
    """Codes (N, features) and classes (N,)."""
    x = np.ascontiguousarray(codes.reshape(len(codes), -1).T.astype(np.int32))
    return Task(table=space.table(), pairs=np.array(tournament(space.classes)), x=x, y=y.astype(np.int32))


class Executor(Protocol):
    """Scores candidates (P, G) as (P, 2), in order; `digest` tells the data they are scored on."""

    @property
    def digest(self) -> str: ...

    def scores(self, genes: Genes) -> Scores: ...


_TASK: list[Task] = []  # of a worker process


def _begin(task: Task) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    _TASK[:] = [task]


def _work(genes: Genes) -> Scores:
    return _TASK[0].scores(genes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Processes of this machine, each with the data."""

    task: Task
    pool: ProcessPoolExecutor
    workers: int

    @property
    def digest(self) -> str:
        return self.task.digest

    def scores(self, genes: Genes) -> Scores:
        return np.concatenate(list(self.pool.map(_work, np.array_split(genes, self.workers))))


@contextmanager
def local(task: Task, workers: int) -> Iterator[Executor]:
    """An executor of `workers` processes."""
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(task,)) as pool:
        yield Local(task=task, pool=pool, workers=workers)


def _kept(task: Task) -> Task:
    return task


@dataclass(slots=True, kw_only=True)
class Dask:
    """A cluster's workers; a worker that is lost has its candidates scored by the others."""

    task: Task
    client: Any
    held: Any = field(default=None)

    @property
    def digest(self) -> str:
        return self.task.digest

    def scores(self, genes: Genes) -> Scores:
        if self.held is None:
            self.held = self.client.submit(_kept, self.task, pure=False)  # the scheduler makes it anew where it is lost
        count = max(1, len(self.client.scheduler_info()["workers"]))
        parts = [self.client.submit(Task.scores, self.held, part, pure=False, retries=5)
                 for part in np.array_split(genes, count) if len(part)]  # fmt: skip
        return np.concatenate(self.client.gather(parts))


@contextmanager
def dask(task: Task, address: str) -> Iterator[Executor]:
    """An executor on the cluster whose scheduler is at `address`; ToolError where it does not answer."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ToolError("a Dask cluster needs the package distributed", where="--scheduler",
                        hint="pip install 'edgecomp[explore]'") from error  # fmt: skip
    try:
        client = Client(address, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ToolError(f"no Dask scheduler answers: {error}", where=f"--scheduler {address}",
                        hint="give its address, such as tcp://host:8786, or none") from error  # fmt: skip
    with client:
        yield Dask(task=task, client=client)
