"""Where candidates are scored: in local processes, or on a Dask cluster that is there already."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import ToolError

Genes = NDArray[np.int32]
Scores = NDArray[np.float64]

CONNECT_SECONDS = 10


class Task(Protocol):
    """What scores candidates; it goes to every worker once. `digest` tells the data they are scored on."""

    @property
    def digest(self) -> str: ...

    def scores(self, genes: Genes) -> Scores: ...


class Executor(Protocol):
    """Scores candidates (P, G) as (P, 1 + costs), in order; `digest` is the task's."""

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


def _scored(task: Task, genes: Genes) -> Scores:
    return task.scores(genes)


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
        parts = [self.client.submit(_scored, self.held, part, pure=False, retries=5)
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
