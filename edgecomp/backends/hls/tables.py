"""A Step as hardware: a table over every code where that is small, else a binary search over the thresholds."""

from __future__ import annotations

import numpy as np

from edgecomp.ir import Ints, Step, Value
from edgecomp.ir.ranges import bits_of

MOST_ENTRIES = 4096


def prefers_lookup(node: Step, x: Value) -> bool:
    """Whether a table over x's whole interval takes fewer constant and comparator bits than a search."""
    entries, count = x.greatest - x.least + 1, node.thresholds.shape[1]
    out_bits = bits_of(int(node.values.array.min()), int(node.values.array.max()))
    search = count * x.bits + (count + 1) * out_bits + 32 * count.bit_length() * x.bits
    return entries <= MOST_ENTRIES and entries * out_bits <= search


def reached_thresholds(node: Step, x: Value) -> tuple[Ints, Ints]:
    """Thresholds clamped to x's interval, which changes no result, and padded to 2^k - 1 that are never reached."""
    never = x.greatest + 1
    thresholds = np.clip(node.thresholds.array, x.least, never)
    count = (1 << max(1, thresholds.shape[1].bit_length())) - 1
    more = count - thresholds.shape[1]
    return (
        Ints(np.pad(thresholds, ((0, 0), (0, more)), constant_values=never)),
        Ints(np.pad(node.values.array, ((0, 0), (0, more)), mode="edge")),
    )


def lookup_values(node: Step, x: Value) -> Ints:
    """The value for every code of x's interval, (rows, entries)."""
    codes = np.arange(x.least, x.greatest + 1)
    rows = zip(node.thresholds.array, node.values.array, strict=True)
    return Ints(np.stack([values[np.searchsorted(thresholds, codes, side="right")] for thresholds, values in rows]))
