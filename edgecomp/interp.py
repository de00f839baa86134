"""The reference interpreter: what a Network means. Vectorised over samples, in int64.

Overflow cannot happen unseen: the verifier proves that every value and product fits 62 bits as long as the inputs lie
in their stated intervals, and that is checked here; codes fed in from outside are proven afresh. Matrix products run
in float32 or float64 where the ranges prove that every partial sum stays below 2^24 or 2^53, which is exact and far
faster; in int64 otherwise. Samples go through in chunks that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
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
    Ints,
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
from edgecomp.ir.network import faults_of_width
from edgecomp.ir.ranges import NodeError, infer

Codes = NDArray[np.int64]

EXACT_IN_FLOAT32 = 1 << 24
EXACT_IN_FLOAT64 = 1 << 53
CHUNK_ELEMENTS = 1 << 15  # of the widest value; 256 KiB

SINGLE_THREADED = 1 << 18


def run(network: Network, inputs: Mapping[str, Codes], *, fed: Mapping[str, Codes] | None = None) -> dict[str, Codes]:
    """Every node's value for host codes `inputs[name]` of shape (N, *shape); DataError where codes do not fit.

    Where `fed` holds codes for a node, later nodes read those instead of the node's own value (which is still
    returned), so that each node can be judged by itself. They may lie outside the node's interval as long as every
    later node can still be computed exactly; DataError otherwise.
    """
    return _run(network, inputs, fed or {}, [node.name for node in network.nodes])


def outputs(network: Network, inputs: Mapping[str, Codes]) -> dict[str, Codes]:
    """The host codes of the network's outputs."""
    return _run(network, inputs, {}, [node.name for node in network.outputs])


def _run(
    network: Network, inputs: Mapping[str, Codes], fed: Mapping[str, Codes], kept: Sequence[str]
) -> dict[str, Codes]:
    samples = _check_inputs(network, inputs)
    values = _reached(network, fed, samples)
    chunk = max(1, CHUNK_ELEMENTS // max(value.size for value in values.values()))
    results = {name: np.empty((samples, *values[name].shape), dtype=np.int64) for name in kept}
    for start in range(0, samples, chunk):
        part = slice(start, start + chunk)
        given, forced = ({name: codes[part] for name, codes in side.items()} for side in (inputs, fed))
        own = _run_chunk(network, values, given, forced)
        for name, result in results.items():
            result[part] = own[name]
    return results


def _reached(network: Network, fed: Mapping[str, Codes], samples: int) -> Mapping[str, Value]:
    """The network's values, or wider ones proven afresh where fed codes leave their node's interval."""
    values = network.values()
    for name, codes in fed.items():
        if name not in values or codes.dtype.kind not in "iu" or codes.shape != (samples, *values[name].shape):
            raise DataError(f"{codes.dtype} codes of shape {codes.shape} cannot be fed here", where=name)
    if all(_within(values[name], codes) for name, codes in fed.items()):
        return values
    spans = {name: (int(codes.min()), int(codes.max())) for name, codes in fed.items()}
    wider: dict[str, Value] = {}
    for node in network.nodes:
        try:
            value = infer(node, wider)
            wider[node.name] = value
            faults = faults_of_width(node, wider)
        except NodeError as error:
            faults = [str(error)]
        if faults:
            raise DataError(f"the codes fed to earlier nodes cannot be taken here: {faults[0]}", where=node.name)
        if node.name in spans:
            lo, hi = spans[node.name]
            wider[node.name] = replace(
                value, lo=tuple(min(v, lo) for v in value.lo), hi=tuple(max(v, hi) for v in value.hi)
            )
    return wider


def _within(value: Value, codes: Codes) -> bool:
    """Whether every channel's codes (N, *shape) lie in that channel's interval."""
    rank = len(value.shape)
    return bool(np.all(codes >= column(np.array(value.lo), rank)) and np.all(codes <= column(np.array(value.hi), rank)))


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


@lru_cache(maxsize=256)
def factor(weight: Ints, groups: int, greatest: int) -> NDArray[Any]:
    """weight (O, ...) as (groups, taps, O / groups), in the fastest type exact for |x| up to `greatest`."""
    rows = weight.array.reshape(groups, weight.shape[0] // groups, -1)
    bound = int(abs(rows.astype(object)).sum(axis=2).max()) * greatest  # of every partial sum
    exact: type[Any] = np.int64
    if bound < EXACT_IN_FLOAT64:
        exact = np.float32 if bound < EXACT_IN_FLOAT32 else np.float64
    return np.ascontiguousarray(rows.transpose(0, 2, 1), dtype=exact)


def magnitude(x: Value) -> int:
    return max(abs(x.least), abs(x.greatest), 1)


def matmul(x: Codes, weight: NDArray[Any]) -> Codes:
    """x (..., taps) times weight (taps, O), computed in weight's type.

    Products this small are slower on several threads, by far when another process has the other core: blocks of rows
    stay below what OpenBLAS spreads (rows * taps * O of 2^18).
    """
    block = SINGLE_THREADED // max(weight.size, 1)
    rows = x.reshape(-1, x.shape[-1]).astype(weight.dtype, copy=False)
    if weight.dtype == np.int64 or block < 16 or len(rows) <= block:
        y = rows @ weight
    else:
        y = np.empty((len(rows), weight.shape[1]), dtype=weight.dtype)
        for start in range(0, len(rows), block):
            np.matmul(rows[start : start + block], weight, out=y[start : start + block])
    return np.asarray(y.astype(np.int64, copy=False).reshape(*x.shape[:-1], weight.shape[1]))


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
    view = windows(padded(x, node.pads, 0), node.weight.shape[2:], node.stride, node.dilation)
    rank = len(node.stride)
    samples, places = view.shape[0], view.shape[2 : 2 + rank]
    grouped = view.reshape(samples, node.groups, -1, *view.shape[2:])
    columns = np.moveaxis(grouped, 2, 2 + rank)  # (N, groups, *places, I / groups, *kernel)
    columns = columns.reshape(samples, node.groups, *places, -1)
    factors = factor(node.weight, node.groups, magnitude(value))
    parts = [matmul(columns[:, g], factors[g]) for g in range(node.groups)]
    y = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
    return np.asarray(y + column(node.bias.array, 1 + rank))


def requant(node: Requant, x: Codes) -> Codes:
    rank = x.ndim - 1
    v = column(node.multiplier.array, rank) * x
    v += column(node.addend.array, rank)
    y: Codes = v >> node.shift
    if node.rounding is Rounding.HALF_EVEN:
        v &= (1 << node.shift) - 1
        y -= y & (v == 0)  # one less where v was a multiple of 2^shift and y is odd
    np.maximum(y, column(node.lo.array, rank), out=y)
    np.minimum(y, column(node.hi.array, rank), out=y)
    return y


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
            y = matmul(xs[0], factor(node.weight, 1, magnitude(values[node.x]))[0])
            return np.asarray(y + node.bias.array)
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


def arg_max(node: ArgMax, x: Codes) -> Codes:
    """x (N, C) to (N, 1)."""
    tree = node.tree.array.tolist()
    if not tree:
        return np.asarray(np.argmax(x, axis=1, keepdims=True), dtype=np.int64)  # the lowest index among ties
    slots, index = x.T.copy(), np.repeat(np.arange(x.shape[1])[:, None], len(x), axis=1)
    for a, b, mask in tree:
        later = (slots[b] & mask) > (slots[a] & mask)
        slots[a], index[a] = np.where(later, slots[b], slots[a]), np.where(later, index[b], index[a])
    found: Codes = index[tree[-1][0]][:, None]
    return found


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
            return arg_max(node, x)
        case Output():
            return output(node, x)
        case _:
            assert_never(node)
