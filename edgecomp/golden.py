"""Golden vectors: compare every code, name the first difference, and say how hard the vectors press on the rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.ir import Network, Requant, Rounding, Step

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many of a rescaling node's `codes` were clipped, and how many lay exactly on a rounding boundary."""

    codes: int
    clipped: int
    tied: int


def coverage(network: Network, values: Mapping[str, Codes]) -> dict[str, Coverage]:
    """Coverage of every Requant and Step by `values`, every node's value (N, *shape) as the interpreter gives them.

    Requant: clipped where the rounded value lies outside lo..hi; tied where multiplier * x + addend is a multiple of
    2^shift (half to even: an exact tie). Step: clipped in the first or last segment; tied on a threshold.
    """
    found = {}
    for node in network.nodes:
        if isinstance(node, Requant):
            found[node.name] = _of_requant(node, values[node.x])
        elif isinstance(node, Step):
            found[node.name] = _of_step(node, values[node.x])
    return found


def _of_requant(node: Requant, x: Codes) -> Coverage:
    column = (-1, *[1] * (x.ndim - 2))
    v = node.multiplier.array.reshape(column) * x + node.addend.array.reshape(column)
    tied = (v & ((1 << node.shift) - 1)) == 0
    y = v >> node.shift
    if node.rounding is Rounding.HALF_EVEN:
        y = y - (tied & (y & 1 == 1))
    clipped = (y < node.lo.array.reshape(column)) | (y > node.hi.array.reshape(column))
    return Coverage(codes=x.size, clipped=int(clipped.sum()), tied=int(tied.sum()) if node.shift else 0)


def _of_step(node: Step, x: Codes) -> Coverage:
    clipped = tied = 0
    thresholds = np.broadcast_to(node.thresholds.array, (x.shape[1], node.thresholds.shape[1]))
    for channel, row in enumerate(thresholds):
        at_or_below = np.searchsorted(row, x[:, channel], side="right")
        below = np.searchsorted(row, x[:, channel], side="left")
        clipped += int(((at_or_below == 0) | (at_or_below == len(row))).sum())
        tied += int((at_or_below != below).sum())
    return Coverage(codes=x.size, clipped=clipped, tied=tied)
