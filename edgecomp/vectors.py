"""Test vectors as host codes: the user's data first, then corners, random ones, and ones that tie or clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.golden import marks
from edgecomp.interp import run
from edgecomp.ir import Input, Network, Requant, Step

Codes = NDArray[np.int64]

LEAST_COUNT = 100
MAX_ONE_HOT = 64
CANDIDATES = 512
FOR_EACH_NODE = 4
MAX_PRESSING = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Host codes (N, *shape) per input; the first `n_user` rows are the user's data."""

    inputs: Mapping[str, Codes]
    n_user: int

    @property
    def samples(self) -> int:
        return len(next(iter(self.inputs.values())))


def make(network: Network, data: Mapping[str, Codes] | None, *, seed: int = 0, count: int = 256) -> Vectors:
    """`data` as it is, then corners, then `count` random ones (100 at least), then some that reach ties and clips.

    The same network, data, seed and count give the same vectors.
    """
    random = np.random.default_rng(seed)
    count = max(count, LEAST_COUNT)
    parts = [corners(node, random) for node in network.inputs]
    longest = max(len(part) for part in parts)
    made: dict[str, Codes] = {}
    for node, part in zip(network.inputs, parts, strict=True):
        middle = np.clip(np.zeros(1, dtype=np.int64) + node.zero_point, node.lo, node.hi)
        filler = np.broadcast_to(middle, (longest - len(part), *node.shape))
        made[node.name] = np.concatenate([part, filler, spread(node, random, count)])
    found = pressing(network, random)
    made = {name: np.concatenate([codes, found[name]]) for name, codes in made.items()}
    if data is None:
        return Vectors(inputs=made, n_user=0)
    joined = {name: np.concatenate([np.asarray(data[name], dtype=np.int64), made[name]]) for name in made}
    return Vectors(inputs=joined, n_user=len(next(iter(data.values()))))


def pressing(network: Network, random: np.random.Generator) -> dict[str, Codes]:
    """Of random candidates, per rescaling node a few that lie on a rounding boundary and a few that clip."""
    candidates = {node.name: spread(node, random, CANDIDATES) for node in network.inputs}
    values = run(network, candidates)
    chosen: set[int] = set()
    for node in network.nodes:
        if isinstance(node, Requant | Step):
            for mark in marks(node, values[node.x]):
                hits = np.flatnonzero(mark.reshape(CANDIDATES, -1).any(axis=1))
                chosen |= {int(sample) for sample in hits[:FOR_EACH_NODE]}
    rows = sorted(chosen)[:MAX_PRESSING]
    return {name: codes[rows] for name, codes in candidates.items()}


def corners(node: Input, random: np.random.Generator) -> Codes:
    """All least, all greatest, all zero, and single features at either end against the other."""
    size = int(np.prod(node.shape))
    zero = min(max(node.zero_point, node.lo), node.hi)
    rows = [np.full(size, v, dtype=np.int64) for v in (node.lo, node.hi, zero)]
    chosen = np.sort(random.permutation(size)[:MAX_ONE_HOT])
    for background, mark in ((zero, node.hi), (zero, node.lo)):
        for i in chosen:
            row = np.full(size, background, dtype=np.int64)
            row[i] = mark
            rows.append(row)
    return np.stack(rows).reshape(-1, *node.shape)


def spread(node: Input, random: np.random.Generator, count: int) -> Codes:
    """Random codes: uniform, near zero, and at the ends, in turn."""
    uniform = random.integers(node.lo, node.hi + 1, size=(count, *node.shape))
    width = max(1, (node.hi - node.lo) // 8)
    near = np.clip(node.zero_point + random.integers(-width, width + 1, size=uniform.shape), node.lo, node.hi)
    ends = np.where(random.random(uniform.shape) < 0.5, node.lo, node.hi)
    kind = np.arange(count).reshape(-1, *[1] * len(node.shape)) % 4
    return np.asarray(np.where(kind == 1, near, np.where(kind == 2, ends, uniform)), dtype=np.int64)
