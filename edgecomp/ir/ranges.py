"""Shapes and exact intervals per channel: what each node gives for what it is given, or why it cannot stand there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from edgecomp.ir.nodes import (
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
    operands,
)

Bound = NDArray[
    Any
]  # object array of Python integers, one for each channel: no overflow before the verifier has looked

MAX_BITS = 62
MAX_ELEMENTS = 1 << 22  # of one value


class NodeError(ValueError):
    """Why a node cannot stand where it stands; the verifier turns it into a problem with the node's name."""


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise NodeError(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The shape of a value (no batch axis) and the interval of each channel along axis 0."""

    shape: tuple[int, ...]
    lo: tuple[int, ...]
    hi: tuple[int, ...]

    @property
    def least(self) -> int:
        return min(self.lo)

    @property
    def greatest(self) -> int:
        return max(self.hi)

    @property
    def signed(self) -> bool:
        return self.least < 0

    @property
    def bits(self) -> int:
        return bits_of(self.least, self.greatest)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def bits_of(lo: int, hi: int) -> int:
    """Bits of the smallest type that holds lo..hi: two's complement where lo is negative, else unsigned; 1 at least."""
    return max(hi.bit_length() + 1, (-lo - 1).bit_length() + 1) if lo < 0 else max(1, hi.bit_length())


def objects(values: Sequence[int] | Ints) -> Bound:
    """Python integers in an object array, so that products cannot overflow."""
    if isinstance(values, Ints):
        return values.array.astype(object)
    out = np.empty(len(values), dtype=object)
    out[:] = list(values)
    return out


def value(shape: tuple[int, ...], lo: Bound, hi: Bound) -> Value:
    """A Value whose bounds, given for one or every channel, are spread over axis 0 of `shape`."""
    low = np.broadcast_to(lo.reshape(-1), (shape[0],))
    high = np.broadcast_to(hi.reshape(-1), (shape[0],))
    return Value(shape=shape, lo=tuple(int(v) for v in low), hi=tuple(int(v) for v in high))


def per_channel(name: str, vector: Ints, channels: int) -> Bound:
    require(vector.array.ndim == 1 and len(vector.array) in (1, channels),
            f"{name} has shape {vector.shape}, not (1,) or ({channels},)")  # fmt: skip
    return objects(vector)


def spread(lo: Bound, hi: Bound, coefficient: Bound) -> tuple[Bound, Bound]:
    """The interval of coefficient * x for x in lo..hi."""
    one, two = coefficient * lo, coefficient * hi
    return np.minimum(one, two), np.maximum(one, two)


def bounds(x: Value) -> tuple[Bound, Bound]:
    return objects(x.lo), objects(x.hi)


def multiply_accumulate(weight: Bound, lo: Bound, hi: Bound) -> tuple[Bound, Bound]:
    """Interval of sum over taps of weight (O, taps) times x, x's bounds (taps,) or (O, taps)."""
    one, two = weight * lo, weight * hi
    return np.minimum(one, two).sum(axis=1), np.maximum(one, two).sum(axis=1)


def window_count(size: int, kernel: int, stride: int, pad: tuple[int, int], dilation: int) -> int:
    span = dilation * (kernel - 1) + 1
    require(kernel >= 1 and stride >= 1 and dilation >= 1, "kernel, stride and dilation must be at least 1")
    require(min(pad) >= 0, f"negative padding {pad}")
    count = (size + pad[0] + pad[1] - span) // stride + 1
    require(size + pad[0] + pad[1] >= span, f"a window of {span} does not fit {size} places with padding {pad}")
    return count


Windowed = Conv | MaxPool | SumPool


def window_shape(node: Windowed, x: Value, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """The spatial shape that a sliding window of `kernel` leaves of x."""
    rank = len(kernel)
    require(len(x.shape) == rank + 1, f"a {rank}-D window over a value of shape {x.shape}")
    dilation = (1,) * rank if isinstance(node, SumPool) else node.dilation
    require(
        len(node.stride) == len(node.pads) == len(dilation) == rank, "stride, pads and dilation want one entry an axis"
    )
    return tuple(
        window_count(*axis) for axis in zip(x.shape[1:], kernel, node.stride, node.pads, dilation, strict=True)
    )


def infer_input(node: Input) -> Value:
    require(len(node.shape) >= 1 and min(node.shape) >= 1, f"shape {node.shape} is empty")
    require(math.prod(node.shape) <= MAX_ELEMENTS, f"shape {node.shape} holds more than {MAX_ELEMENTS} elements")
    require(node.lo <= node.hi, f"interval {node.lo}..{node.hi} is empty")
    require(all(scale > 0 for scale in node.scale), "a scale is not positive")
    counts = (1, node.shape[0], math.prod(node.shape))
    require(len(node.scale) in counts and len(node.offset) in counts, f"scale or offset has none of {counts} entries")
    lo, hi = node.lo - node.zero_point, node.hi - node.zero_point
    if node.encoding is Encoding.BIPOLAR:
        require((node.lo, node.hi, node.zero_point) == (0, 1, 0), "a bipolar input has codes 0..1 and zero point 0")
        lo, hi = -1, 1
    return value(node.shape, objects([lo]), objects([hi]))


def infer_dense(node: Dense, x: Value) -> Value:
    weight = objects(node.weight)
    require(weight.ndim == 2, f"weight has shape {node.weight.shape}, not (outputs, inputs)")
    require(x.shape == weight.shape[1:], f"x has shape {x.shape}, the weight wants {weight.shape[1:]}")
    lo, hi = multiply_accumulate(weight, *bounds(x))
    bias = per_channel("bias", node.bias, weight.shape[0])
    return value((weight.shape[0],), lo + bias, hi + bias)


def infer_conv(node: Conv, x: Value) -> Value:
    weight = objects(node.weight)
    require(weight.ndim in (3, 4), f"weight has shape {node.weight.shape}, not (outputs, inputs / groups, 1 or 2 axes)")
    outputs, group_inputs = weight.shape[:2]
    fits = node.groups >= 1 and outputs % node.groups == 0 and x.shape[0] == group_inputs * node.groups
    require(fits, f"{x.shape[0]} channels in {node.groups} groups do not fit a weight of shape {node.weight.shape}")
    spatial = window_shape(node, x, weight.shape[2:])
    lo, hi = bounds(x)
    if any(pad != (0, 0) for pad in node.pads):
        lo, hi = np.minimum(lo, 0), np.maximum(hi, 0)
    taps = math.prod(weight.shape[2:])
    group = np.repeat(np.arange(node.groups), outputs // node.groups)
    lo, hi = (np.repeat(side.reshape(node.groups, group_inputs), taps, axis=1)[group] for side in (lo, hi))
    lo, hi = multiply_accumulate(weight.reshape(outputs, -1), lo, hi)
    bias = per_channel("bias", node.bias, outputs)
    return value((outputs, *spatial), lo + bias, hi + bias)


def broadcast(a: Value, b: Value) -> tuple[int, ...]:
    require(len(a.shape) == len(b.shape), f"shapes {a.shape} and {b.shape} differ in rank")
    require(
        all(m == n or 1 in (m, n) for m, n in zip(a.shape, b.shape, strict=True)),
        f"shapes {a.shape} and {b.shape} do not fit",
    )
    return tuple(max(m, n) for m, n in zip(a.shape, b.shape, strict=True))


def infer_add(node: Add, a: Value, b: Value) -> Value:
    shape = broadcast(a, b)
    alo, ahi = spread(*bounds(a), per_channel("p", node.p, shape[0]))
    blo, bhi = spread(*bounds(b), per_channel("q", node.q, shape[0]))
    return value(shape, alo + blo, ahi + bhi)


def infer_mul(a: Value, b: Value) -> Value:
    shape = broadcast(a, b)
    (alo, ahi), (blo, bhi) = bounds(a), bounds(b)
    corners = [alo * blo, alo * bhi, ahi * blo, ahi * bhi]
    lo, hi = corners[0], corners[0]
    for corner in corners[1:]:
        lo, hi = np.minimum(lo, corner), np.maximum(hi, corner)
    return value(shape, lo, hi)


def infer_concat(node: Concat, xs: Sequence[Value]) -> Value:
    first = xs[0].shape
    require(0 <= node.axis < len(first), f"axis {node.axis} of a value of shape {first}")
    rests = {shape[: node.axis] + shape[node.axis + 1 :] for shape in (x.shape for x in xs)}
    require(len(rests) == 1, f"shapes {[x.shape for x in xs]} do not join along axis {node.axis}")
    shape = (*first[: node.axis], sum(x.shape[node.axis] for x in xs), *first[node.axis + 1 :])
    if node.axis == 0:
        return value(shape, objects([v for x in xs for v in x.lo]), objects([v for x in xs for v in x.hi]))
    lo, hi = bounds(xs[0])
    for x in xs[1:]:
        lo, hi = np.minimum(lo, objects(x.lo)), np.maximum(hi, objects(x.hi))
    return value(shape, lo, hi)


def move(x: Value, act: Callable[[NDArray[Any]], NDArray[Any]]) -> Value:
    """The Value after a data movement, found by moving each element's channel number."""
    require(x.size <= MAX_ELEMENTS, f"shape {x.shape} holds more than {MAX_ELEMENTS} elements")
    channels = np.broadcast_to(np.arange(x.shape[0]).reshape(-1, *[1] * (len(x.shape) - 1)), x.shape)
    moved = act(channels)
    rows = [np.unique(row) for row in moved.reshape(moved.shape[0], -1)]
    lo = objects([min(x.lo[c] for c in row) for row in rows])
    return value(moved.shape, lo, objects([max(x.hi[c] for c in row) for row in rows]))


def infer_slice(node: Slice, x: Value) -> Value:
    require(0 <= node.axis < len(x.shape), f"axis {node.axis} of a value of shape {x.shape}")
    require(0 <= node.start < node.stop <= x.shape[node.axis] and node.step >= 1,
            f"{node.start}:{node.stop}:{node.step} of {x.shape[node.axis]} places")  # fmt: skip
    where = (slice(None),) * node.axis + (slice(node.start, node.stop, node.step),)
    return move(x, lambda channels: channels[where])


def infer_reshape(node: Reshape, x: Value) -> Value:
    require(
        len(node.shape) >= 1 and math.prod(node.shape) == x.size, f"shape {x.shape} does not reshape to {node.shape}"
    )
    return move(x, lambda channels: channels.reshape(node.shape))


def infer_transpose(node: Transpose, x: Value) -> Value:
    require(sorted(node.perm) == list(range(len(x.shape))), f"perm {node.perm} of a value of shape {x.shape}")
    return move(x, lambda channels: channels.transpose(node.perm))


def infer_pad(node: Pad, x: Value) -> Value:
    require(
        len(node.pads) == len(x.shape) and all(min(pad) >= 0 for pad in node.pads),
        f"pads {node.pads} of shape {x.shape}",
    )
    shape = tuple(size + sum(pad) for size, pad in zip(x.shape, node.pads, strict=True))
    require(math.prod(shape) <= MAX_ELEMENTS, f"shape {shape} holds more than {MAX_ELEMENTS} elements")
    constant = objects([node.value])
    (before, after), spatial = node.pads[0], any(pad != (0, 0) for pad in node.pads[1:])
    lo, hi = bounds(x)
    if spatial:
        lo, hi = np.minimum(lo, constant), np.maximum(hi, constant)
    ends = [np.repeat(constant, before), np.repeat(constant, after)]
    return value(shape, np.concatenate([ends[0], lo, ends[1]]), np.concatenate([ends[0], hi, ends[1]]))


def round_shift(v: Bound, shift: int, rounding: Rounding) -> Bound:
    """The integer that `Rounding` gives for each v at `shift`; monotone in v."""
    quotient = v >> shift
    if rounding is Rounding.HALF_EVEN:
        quotient = quotient - ((v & ((1 << shift) - 1)) == 0).astype(object) * (quotient & 1)
    return quotient


def infer_requant(node: Requant, x: Value) -> Value:
    channels = x.shape[0]
    require(0 <= node.shift <= MAX_BITS, f"shift {node.shift} is not in 0..{MAX_BITS}")
    require(node.rounding is Rounding.FLOOR or node.shift >= 1, "rounding half to even wants a shift of at least 1")
    lo_clip, hi_clip = per_channel("lo", node.lo, channels), per_channel("hi", node.hi, channels)
    require(bool(np.all(lo_clip <= hi_clip)), "lo exceeds hi")
    vlo, vhi = scaled(node, x)
    ends = [np.minimum(np.maximum(round_shift(v, node.shift, node.rounding), lo_clip), hi_clip) for v in (vlo, vhi)]
    return value(x.shape, ends[0], ends[1])


def scaled(node: Requant, x: Value) -> tuple[Bound, Bound]:
    """The interval of multiplier * x + addend, before shift and clip, per channel."""
    multiplier = per_channel("multiplier", node.multiplier, x.shape[0])
    addend = per_channel("addend", node.addend, x.shape[0])
    vlo, vhi = spread(*bounds(x), multiplier)
    return vlo + addend, vhi + addend


def infer_step(node: Step, x: Value) -> Value:
    thresholds, values = node.thresholds.array, node.values.array
    require(thresholds.ndim == values.ndim == 2 and len(thresholds) == len(values) and len(values) in (1, x.shape[0])
            and values.shape[1] == thresholds.shape[1] + 1,
            f"thresholds {thresholds.shape} and values {values.shape} do not fit {x.shape[0]} channels")  # fmt: skip
    require(bool(np.all(np.diff(thresholds, axis=1) >= 0)), "thresholds decrease")
    lo, hi = [], []
    for channel in range(x.shape[0]):
        row = 0 if len(values) == 1 else channel
        first, last = np.searchsorted(thresholds[row], [x.lo[channel], x.hi[channel]], side="right")
        reached = values[row, first : last + 1]
        lo.append(int(reached.min()))
        hi.append(int(reached.max()))
    return value(x.shape, objects(lo), objects(hi))


def infer_table_dense(node: TableDense, x: Value) -> Value:
    tables = node.tables.array
    require(
        tables.ndim == 3 and x.shape == (tables.shape[1],), f"tables {tables.shape} do not fit x of shape {x.shape}"
    )
    start = np.broadcast_to(per_channel("lo", node.lo, x.shape[0]), x.shape)
    require(all(x.lo[i] >= start[i] and x.hi[i] - start[i] < tables.shape[2] for i in range(x.shape[0])),
            "an input code lies outside its table")  # fmt: skip
    lo = np.zeros(tables.shape[0], dtype=object)
    hi = np.zeros(tables.shape[0], dtype=object)
    for i in range(x.shape[0]):
        reached = tables[:, i, x.lo[i] - start[i] : x.hi[i] - start[i] + 1].astype(object)
        lo, hi = lo + reached.min(axis=1), hi + reached.max(axis=1)
    return value((tables.shape[0],), lo, hi)


def infer_max_pool(node: MaxPool, x: Value) -> Value:
    spatial = window_shape(node, x, node.kernel)
    axes = zip(spatial, x.shape[1:], node.kernel, node.stride, node.pads, node.dilation, strict=True)
    require(all(never_empty(*axis) for axis in axes), "padding as wide as the window leaves a maximum of nothing")
    return Value(shape=(x.shape[0], *spatial), lo=x.lo, hi=x.hi)


def never_empty(count: int, size: int, kernel: int, stride: int, pad: tuple[int, int], dilation: int) -> bool:
    """Whether every one of `count` windows along an axis of `size` places meets a place that is not padding."""
    starts = (window * stride - pad[0] for window in range(count))
    return all(any(0 <= start + tap * dilation < size for tap in range(kernel)) for start in starts)


def infer_sum_pool(node: SumPool, x: Value) -> Value:
    spatial = window_shape(node, x, node.kernel)
    lo, hi = bounds(x)
    taps = math.prod(node.kernel)
    if any(pad != (0, 0) for pad in node.pads):
        return value((x.shape[0], *spatial), np.minimum(lo, 0) * taps, np.maximum(hi, 0) * taps)
    return value((x.shape[0], *spatial), lo * taps, hi * taps)


def infer_output(node: Output, x: Value) -> Value:
    if node.encoding is Encoding.BIPOLAR:
        require(set(x.lo) <= {-1, 1} and set(x.hi) <= {-1, 1}, "a bipolar output is -1 or +1")
        return value(x.shape, (objects(x.lo) + 1) // 2, (objects(x.hi) + 1) // 2)
    return value(x.shape, objects(x.lo) + node.zero_point, objects(x.hi) + node.zero_point)


def infer(node: Node, values: Mapping[str, Value]) -> Value:
    """The value that `node` gives for the values it reads; NodeError where they do not fit."""
    xs = [values[name] for name in operands(node)]
    match node:
        case Input():
            return infer_input(node)
        case Dense():
            return infer_dense(node, xs[0])
        case Conv():
            return infer_conv(node, xs[0])
        case Add():
            return infer_add(node, xs[0], xs[1])
        case Mul():
            return infer_mul(xs[0], xs[1])
        case Concat():
            return infer_concat(node, xs)
        case _:
            return infer_unary(node, xs[0])


def infer_unary(
    node: Slice | Reshape | Transpose | Pad | Requant | Step | TableDense | MaxPool | SumPool | ArgMax | Output,
    x: Value,
) -> Value:
    match node:
        case Slice():
            return infer_slice(node, x)
        case Reshape():
            return infer_reshape(node, x)
        case Transpose():
            return infer_transpose(node, x)
        case Pad():
            return infer_pad(node, x)
        case Requant():
            return infer_requant(node, x)
        case Step():
            return infer_step(node, x)
        case TableDense():
            return infer_table_dense(node, x)
        case MaxPool():
            return infer_max_pool(node, x)
        case _:
            return infer_last(node, x)


def check_tree(tree: NDArray[np.int64], classes: int) -> None:
    """Each comparison is between two slots still held, and one slot is left."""
    require(tree.ndim == 2 and tree.shape[1] == 3, f"comparisons of shape {tree.shape}; rows of a, b, mask are wanted")
    held = set(range(classes))
    for a, b, mask in tree.tolist():
        require(a != b and {a, b} <= held, f"the comparison of {a} and {b} is not between two slots that are held")
        require(-(1 << MAX_BITS) <= mask < 1 << MAX_BITS, f"the mask {mask} needs more than 62 bits")
        held.remove(b)
    require(len(tree) == 0 or len(held) == 1, f"the comparisons leave {len(held)} slots; one is wanted")


def infer_last(node: SumPool | ArgMax | Output, x: Value) -> Value:
    match node:
        case SumPool():
            return infer_sum_pool(node, x)
        case ArgMax():
            require(len(x.shape) == 1, f"argmax over a value of shape {x.shape}")
            check_tree(node.tree.array, x.shape[0])
            return value((1,), objects([0]), objects([x.shape[0] - 1]))
        case Output():
            return infer_output(node, x)
        case _:
            assert_never(node)
