"""The reference interpreter: what a Network means. Vectorised over samples, in int64.

Overflow cannot happen unseen: the verifier proves that every value and product fits 62 bits as long as the inputs lie
in their stated intervals, and that is checked here. Matrix products run in float64 where the ranges prove that every
partial sum stays below 2^53, which is exact and far faster; in int64 otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import DataError
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Encoding,
    Input,
    MaxPool,
    Mul,
    Network,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Rounding,
    Slice,
    Step,
    SumPool,
    TableDense,
    Transpose,
    Value,
    operands,
)

Codes = NDArray[np.int64]

EXACT_IN_FLOAT64 = 1 << 53
CHUNK_ELEMENTS = 1 << 22


def run(network: Network, inputs: Mapping[str, Codes], *, fed: Mapping[str, Codes] | None = None) -> dict[str, Codes]:
    """Every node's value for host codes `inputs[name]` of shape (N, *shape); DataError where codes do not fit.

    Where `fed` holds codes for a node, later nodes read those instead of the node's own value (which is still
    returned), so that each node can be judged by itself.
    """
    values = network.values()
    samples = _check_inputs(network, inputs)
    widest = max(value.size for value in values.values())
    chunk = max(1, CHUNK_ELEMENTS // widest)
    parts = [
        _run_chunk(network, values, {k: v[i : i + chunk] for k, v in inputs.items()}, _cut(fed, i, chunk))
        for i in range(0, max(samples, 1), chunk)
    ]
    return parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def outputs(network: Network, inputs: Mapping[str, Codes]) -> dict[str, Codes]:
    """The host codes of the network's outputs."""
    everything = run(network, inputs)
    return {node.name: everything[node.name] for node in network.outputs}


def _cut(fed: Mapping[str, Codes] | None, start: int, count: int) -> dict[str, Codes]:
    return {name: codes[start : start + count] for name, codes in (fed or {}).items()}


def _check_inputs(network: Network, inputs: Mapping[str, Codes]) -> int:
    counts = set()
    for node in network.inputs:
        if node.name not in inputs:
            raise DataError("no codes are given for this input", where=node.name)
        codes = inputs[node.name]
        if codes.dtype.kind not in "iu" or codes.shape[1:] != node.shape:
            raise DataError(
                f"codes are {codes.dtype} of shape {codes.shape}; integers of shape {('N', *node.shape)} are wanted",
                where=node.name,
            )
        if codes.size and (codes.min() < node.lo or codes.max() > node.hi):
            raise DataError(
                f"codes span {codes.min()}..{codes.max()}, allowed are {node.lo}..{node.hi}", where=node.name
            )
        counts.add(len(codes))
    if len(counts) != 1:
        raise DataError(f"the inputs hold {sorted(counts)} samples; one count is wanted")
    return counts.pop()


def _run_chunk(
    network: Network, values: Mapping[str, Value], inputs: Mapping[str, Codes], fed: Mapping[str, Codes]
) -> dict[str, Codes]:
    own: dict[str, Codes] = {}
    seen: dict[str, Codes] = {}
    for node in network.nodes:
        if isinstance(node, Input):
            own[node.name] = _input(node, inputs[node.name].astype(np.int64))
        else:
            own[node.name] = evaluate(node, [seen[name] for name in operands(node)], values)
        seen[node.name] = fed.get(node.name, own[node.name])
    return own


def _input(node: Input, codes: Codes) -> Codes:
    return 2 * codes - 1 if node.encoding is Encoding.BIPOLAR else codes - node.zero_point


def column(vector: NDArray[Any], rank: int) -> NDArray[Any]:
    """A per-channel vector shaped to broadcast over (N, channels, ...) of `rank` axes without N."""
    return vector.reshape(-1, *[1] * (rank - 1))


def matmul(x: Codes, weight: Codes, bound: int) -> Codes:
    """x (..., I) times weight (O, I) transposed, where no partial sum exceeds `bound` in magnitude."""
    if bound < EXACT_IN_FLOAT64:
        return (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)
    return x @ weight.T


def product_bound(x: Value, weight: Codes) -> int:
    """A bound on every partial sum of |weight| * |x| over one output."""
    rows = np.abs(weight.astype(object)).reshape(len(weight), -1).sum(axis=1)
    return int(max(rows)) * max(abs(x.least), abs(x.greatest), 1)


def windows(x: Codes, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Codes:
    """Views (N, C, *places, *kernel) of the sliding windows over an already padded x (N, C, *spatial)."""
    axes = tuple(range(2, x.ndim))
    span = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, span, axis=axes)
    steps = tuple(slice(None, None, s) for s in stride) + tuple(slice(None, None, d) for d in dilation)
    strided: Codes = view[(slice(None), slice(None), *steps)]
    return strided


def padded(x: Codes, pads: tuple[tuple[int, int], ...], constant: int) -> Codes:
    return np.pad(x, ((0, 0), (0, 0), *pads), constant_values=constant) if any(map(any, pads)) else x


def conv(node: Conv, x: Codes, value: Value) -> Codes:
    weight = node.weight.array
    view = windows(padded(x, node.pads, 0), weight.shape[2:], node.stride, node.dilation)
    rank = len(node.stride)
    samples, places = view.shape[0], view.shape[2 : 2 + rank]
    grouped = view.reshape(samples, node.groups, -1, *view.shape[2:])
    columns = np.moveaxis(grouped, 2, 2 + rank)  # (N, groups, *places, I / groups, *kernel)
    columns = columns.reshape(samples, node.groups, *places, -1)
    rows = weight.reshape(node.groups, weight.shape[0] // node.groups, -1)
    bound = product_bound(value, weight)
    parts = [matmul(columns[:, g], rows[g], bound) for g in range(node.groups)]
    y = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
    biased: Codes = y + column(node.bias.array, 1 + rank)
    return biased


def requant(node: Requant, x: Codes) -> Codes:
    rank = x.ndim - 1
    v: Codes = column(node.multiplier.array, rank) * x + column(node.addend.array, rank)
    y = v >> node.shift
    if node.rounding is Rounding.HALF_EVEN:
        y = y - (((v & ((1 << node.shift) - 1)) == 0) & ((y & 1) == 1))
    clipped: Codes = np.clip(y, column(node.lo.array, rank), column(node.hi.array, rank))
    return clipped


def step(node: Step, x: Codes) -> Codes:
    thresholds, values = node.thresholds.array, node.values.array
    if len(values) == 1:
        return np.asarray(values[0, np.searchsorted(thresholds[0], x, side="right")])
    rows = [values[c, np.searchsorted(thresholds[c], x[:, c], side="right")] for c in range(x.shape[1])]
    return np.stack(rows, axis=1)


def table_dense(node: TableDense, x: Codes) -> Codes:
    tables, lo = node.tables.array, np.broadcast_to(node.lo.array, x.shape[1:])
    y = np.zeros((len(x), len(tables)), dtype=np.int64)
    for i in range(x.shape[1]):
        y += tables[:, i, x[:, i] - lo[i]].T
    return y


def max_pool(node: MaxPool, x: Codes) -> Codes:
    least = np.iinfo(np.int64).min
    view = windows(padded(x, node.pads, least), node.kernel, node.stride, node.dilation)
    greatest: Codes = view.max(axis=tuple(range(-len(node.kernel), 0)))
    return greatest


def sum_pool(node: SumPool, x: Codes) -> Codes:
    view = windows(padded(x, node.pads, 0), node.kernel, node.stride, (1,) * len(node.kernel))
    total: Codes = view.sum(axis=tuple(range(-len(node.kernel), 0)))
    return total


def output(node: Output, x: Codes) -> Codes:
    return (x + 1) // 2 if node.encoding is Encoding.BIPOLAR else x + node.zero_point


def moved(node: Concat | Slice | Reshape | Transpose | Pad, xs: list[Codes]) -> Codes:
    """Data movement; the batch axis comes first."""
    x = xs[0]
    match node:
        case Concat():
            return np.concatenate(xs, axis=node.axis + 1)
        case Slice():
            return x[(slice(None),) * (node.axis + 1) + (slice(node.start, node.stop, node.step),)]
        case Reshape():
            return x.reshape(len(x), *node.shape)
        case Transpose():
            return x.transpose(0, *(axis + 1 for axis in node.perm))
        case Pad():
            return np.pad(x, ((0, 0), *node.pads), constant_values=node.value).astype(np.int64)
        case _:
            assert_never(node)


def evaluate(node: Node, xs: list[Codes], values: Mapping[str, Value]) -> Codes:
    """One node's value for the values it reads, each (N, *shape)."""
    match node:
        case Dense():
            weight = node.weight.array
            return matmul(xs[0], weight, product_bound(values[node.x], weight)) + node.bias.array
        case Conv():
            return conv(node, xs[0], values[node.x])
        case Add():
            rank = xs[0].ndim - 1
            return np.asarray(column(node.p.array, rank) * xs[0] + column(node.q.array, rank) * xs[1])
        case Mul():
            return xs[0] * xs[1]
        case Concat() | Slice() | Reshape() | Transpose() | Pad():
            return moved(node, xs)
        case Requant() | Step() | TableDense() | MaxPool() | SumPool() | ArgMax() | Output():
            return pointwise(node, xs[0])
        case Input():
            raise AssertionError("an input reads host codes, not values")
        case _:
            assert_never(node)


def pointwise(node: Requant | Step | TableDense | MaxPool | SumPool | ArgMax | Output, x: Codes) -> Codes:
    """Rescaling, tables, pooling and the ends of the network."""
    match node:
        case Requant():
            return requant(node, x)
        case Step():
            return step(node, x)
        case TableDense():
            return table_dense(node, x)
        case MaxPool():
            return max_pool(node, x)
        case SumPool():
            return sum_pool(node, x)
        case ArgMax():
            return np.asarray(
                np.argmax(x, axis=1, keepdims=True), dtype=np.int64
            )  # numpy gives the lowest index among ties
        case Output():
            return output(node, x)
        case _:
            assert_never(node)
