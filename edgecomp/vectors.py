"""Test vectors as host codes: the user's data first, then corners, then seeded random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.ir import Input, Network

Codes = NDArray[np.int64]

MAX_ONE_HOT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Host codes (N, *shape) per input; the first `n_user` rows are the user's data."""

    inputs: Mapping[str, Codes]
    n_user: int

    @property
    def samples(self) -> int:
        return len(next(iter(self.inputs.values())))


def make(network: Network, data: Mapping[str, Codes] | None, *, seed: int = 0, count: int = 256) -> Vectors:
    """Vectors for a network: `data` as it is, then corners, then `count` random ones; the same for the same seed."""
    random = np.random.default_rng(seed)
    parts = [corners(node, random) for node in network.inputs]
    longest = max(len(part) for part in parts)
    made: dict[str, Codes] = {}
    for node, part in zip(network.inputs, parts, strict=True):
        middle = np.clip(np.zeros(1, dtype=np.int64) + node.zero_point, node.lo, node.hi)
        filler = np.broadcast_to(middle, (longest - len(part), *node.shape))
        made[node.name] = np.concatenate([part, filler, spread(node, random, count)])
    if data is None:
        return Vectors(inputs=made, n_user=0)
    joined = {name: np.concatenate([np.asarray(data[name], dtype=np.int64), made[name]]) for name in made}
    return Vectors(inputs=joined, n_user=len(next(iter(data.values()))))


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
