"""Data movement and pooling. Axes count without the batch throughout."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import onnx

from edgecomp.errors import InexpressibleError, ModelError
from edgecomp.frontend import sums
from edgecomp.frontend.context import Context, attribute, axis_of, where
from edgecomp.frontend.functions import Affine, compose, entry
from edgecomp.frontend.linear import sizes, spatial_pads
from edgecomp.frontend.symbols import BATCH, Const, Real
from edgecomp.ir import Concat, MaxPool, Pad, Reshape, Slice, SumPool, Transpose

ZERO = Fraction(0)


def moved(ctx: Context, node: onnx.NodeProto, real: Real, post: Reshape | Transpose | Slice | Pad | MaxPool) -> Real:
    same = isinstance(post, Reshape) and post.shape == real.shape
    same = same or (isinstance(post, Transpose) and post.perm == tuple(range(len(real.shape))))
    return real if same else ctx.builder.layout(real, post, where(node))


def reshaped(ctx: Context, node: onnx.NodeProto, real: Real, shape: tuple[int, ...]) -> Real:
    if not shape or math.prod(shape) != math.prod(real.shape):
        raise InexpressibleError(
            f"{real.shape} does not reshape to {shape} with the batch axis kept", where=where(node)
        )
    return moved(ctx, node, real, Reshape(name="", x="", shape=shape))


def lower_reshape(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    wanted = ctx.integers(node, 1) or []
    before = [BATCH, *real.shape]
    sizes_ = [before[i] if size == 0 and i < len(before) else size for i, size in enumerate(wanted)]
    if not sizes_ or (sizes_[0] not in (BATCH, -1, 1)):
        raise InexpressibleError(f"the shape {wanted} does not keep the batch axis first", where=where(node))
    rest = list(sizes_[1:])
    if -1 in rest:
        known = math.prod(size for size in rest if size != -1)
        if rest.count(-1) > 1 or known <= 0 or math.prod(real.shape) % known:
            raise ModelError(f"the shape {wanted} does not fit {real.shape}", where=where(node))
        rest[rest.index(-1)] = math.prod(real.shape) // known
    return reshaped(ctx, node, real, tuple(rest))


def lower_flatten(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    if attribute(node, "axis", 1) not in (1, -len(real.shape)):
        raise InexpressibleError("Flatten joins the batch axis with others", where=where(node))
    return reshaped(ctx, node, real, (math.prod(real.shape),))


def axes_of(ctx: Context, node: onnx.NodeProto, rank: int) -> list[int] | None:
    """The axes of a reduction or a squeeze, batch left out; None where none are stated."""
    axes = attribute(node, "axes", None)
    axes = ctx.integers(node, 1) if axes is None else axes
    return None if axes is None else sorted(axis_of(node, int(axis), rank) for axis in axes)


def lower_squeeze(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    axes = axes_of(ctx, node, len(real.shape))
    drop = [i for i, size in enumerate(real.shape) if size == 1] if axes is None else axes
    return reshaped(ctx, node, real, tuple(size for i, size in enumerate(real.shape) if i not in drop))


def lower_unsqueeze(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    axes = attribute(node, "axes", None)
    axes = (ctx.integers(node, 1) or []) if axes is None else axes
    rank = len(real.shape) + len(axes)
    shape = list(real.shape)
    for axis in sorted(axis_of(node, int(axis), rank) for axis in axes):
        shape.insert(axis, 1)
    return reshaped(ctx, node, real, tuple(shape))


def lower_transpose(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    perm = attribute(node, "perm", None)
    perm = list(range(len(real.shape) + 1))[::-1] if perm is None else list(perm)
    if perm[0] != 0:
        raise InexpressibleError("the batch axis is moved", where=where(node))
    return moved(ctx, node, real, Transpose(name="", x="", perm=tuple(axis - 1 for axis in perm[1:])))


def lower_identity(ctx: Context, node: onnx.NodeProto) -> Real:
    return ctx.real(node)


def _sliced(ctx: Context, node: onnx.NodeProto, real: Real, axis: int, start: int, stop: int, step: int) -> Real:
    start, stop, step = slice(start, stop, step).indices(real.shape[axis])
    if step < 1 or stop <= start:
        raise InexpressibleError(f"the slice {start}:{stop}:{step} is empty or runs backwards", where=where(node))
    if (start, stop, step) == (0, real.shape[axis], 1):
        return real
    return moved(ctx, node, real, Slice(name="", x="", axis=axis, start=start, stop=stop, step=step))


def lower_slice(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    starts, stops = ctx.integers(node, 1), ctx.integers(node, 2)
    axes, steps = ctx.integers(node, 3), ctx.integers(node, 4)
    starts = attribute(node, "starts", None) if starts is None else starts
    stops = attribute(node, "ends", None) if stops is None else stops
    axes = attribute(node, "axes", list(range(len(starts or [])))) if axes is None else axes
    steps = steps or [1] * len(starts or [])
    for start, stop, axis, step in zip(starts or [], stops or [], axes, steps, strict=True):
        full = axis + len(real.shape) + 1 if axis < 0 else axis
        if full == 0 and start == 0 and stop >= 1 << 31:
            continue
        real = _sliced(ctx, node, real, axis_of(node, int(axis), len(real.shape)), int(start), int(stop), int(step))
    return real


def lower_split(ctx: Context, node: onnx.NodeProto) -> list[Real]:
    real = ctx.real(node)
    axis = axis_of(node, int(attribute(node, "axis", 0)), len(real.shape))
    size, count = real.shape[axis], len(node.output)
    lengths = ctx.integers(node, 1) or attribute(node, "split", None)
    if lengths is None:
        each = -(-size // count)
        lengths = [min(each, size - i * each) for i in range(count)]
    parts, start = [], 0
    for length in lengths:
        parts.append(_sliced(ctx, node, real, axis, start, start + int(length), 1))
        start += int(length)
    if start != size or len(parts) != count:
        raise ModelError(f"split into {list(lengths)} does not fit {size} places", where=where(node))
    return parts


def lower_gather(ctx: Context, node: onnx.NodeProto) -> Real:
    """Gather with constant indices: one (the axis goes), or a run of them (a slice)."""
    real = ctx.real(node)
    axis = axis_of(node, int(attribute(node, "axis", 0)), len(real.shape))
    index = ctx.symbol(node.input[1])
    if not isinstance(index, Const):
        raise InexpressibleError("indices that depend on the input", where=where(node))
    wanted = [int(v) + real.shape[axis] * (int(v) < 0) for v in index.array.reshape(-1).tolist()]
    steps = {b - a for a, b in pairwise(wanted)} or {1}
    if len(steps) != 1 or min(steps) < 1 or min(wanted) < 0 or max(wanted) >= real.shape[axis]:
        raise InexpressibleError("indices that are no rising run", where=where(node))
    part = _sliced(ctx, node, real, axis, wanted[0], wanted[-1] + 1, steps.pop())
    if index.array.ndim:
        return part
    return reshaped(ctx, node, part, part.shape[:axis] + part.shape[axis + 1 :] or (1,))


def lower_pad(ctx: Context, node: onnx.NodeProto) -> Real:
    """Constant padding; the constant must be zero, which is a code of every centred value."""
    real = ctx.real(node)
    if attribute(node, "mode", "constant") != "constant":
        raise InexpressibleError(f"padding by {attribute(node, 'mode', '')}", where=where(node), hint="pad with zeros")
    pads = attribute(node, "pads", None)
    pads = ctx.integers(node, 1) if pads is None else list(pads)
    rank = len(real.shape) + 1
    axes = ctx.integers(node, 3)
    full = [(0, 0)] * rank
    for i, axis in enumerate(range(rank) if axes is None else axes):
        count = rank if axes is None else len(axes)
        full[axis] = ((pads or [])[i], (pads or [])[i + count])
    constant = (
        ctx.scalar(node, 2) if ctx.optional(node, 2) is not None else Fraction(float(attribute(node, "value", 0.0)))
    )
    if full[0] != (0, 0) or min(min(pad) for pad in full) < 0:
        raise InexpressibleError(f"pads {full}", where=where(node))
    if not any(map(any, full)):
        return real
    value = 0
    if constant:
        real, value = _coded(ctx, node, real, constant)
    return moved(ctx, node, real, Pad(name="", x="", pads=tuple(full[1:]), value=value))


def _coded(ctx: Context, node: onnx.NodeProto, real: Real, constant: Fraction) -> tuple[Real, int]:
    """The value on its integer grid and the code of a padding constant; InexpressibleError where it has none."""
    grid = ctx.builder.grid(real, where(node))
    codes = {(constant - offset) / scale for scale in grid.scale for offset in grid.offset}
    if len(codes) != 1 or next(iter(codes)).denominator != 1:
        raise InexpressibleError(
            f"padding with {float(constant)}, which is no code of the value", where=where(node), hint="pad with zeros"
        )
    chain = compose((Affine(a=grid.scale, b=grid.offset),))
    return Real(base=grid.base, shape=grid.shape, chain=chain), int(codes.pop())


def lower_concat(ctx: Context, node: onnx.NodeProto) -> Real:
    """Concat: along the channels each keeps its own scale; along another axis all come to one grid."""
    reals = [ctx.real(node, i) for i in range(len(node.input))]
    axis = axis_of(node, int(attribute(node, "axis", 0)), len(reals[0].shape))
    grids = [ctx.builder.grid(real, where(node)) for real in reals]
    builder = ctx.builder
    if axis:
        grids = sums.common(builder, grids, where(node))
    base = builder.emit(Concat(name=builder.name(where(node)), xs=tuple(g.base for g in grids), axis=axis))
    if axis:
        scale, offset = grids[0].scale, grids[0].offset
    else:
        scale = tuple(entry(g.scale, c) for g in grids for c in range(g.shape[0]))
        offset = tuple(entry(g.offset, c) for g in grids for c in range(g.shape[0]))
    scale = scale[:1] if len(set(scale)) == 1 else scale
    offset = offset[:1] if len(set(offset)) == 1 else offset
    return Real(base=base, shape=builder.values[base].shape, chain=compose((Affine(a=scale, b=offset),)))


# ---- pooling --------------------------------------------------------------------------------------------------------


def _window(
    node: onnx.NodeProto, real: Real
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """(kernel, stride, dilation, pads), the ceiling mode's extra places taken into the pads."""
    rank = len(real.shape) - 1
    kernel = sizes(node, "kernel_shape", rank)
    if rank not in (1, 2) or len(kernel) != rank:
        raise InexpressibleError(f"pooling over {len(kernel)} axes of a value of shape {real.shape}", where=where(node))
    stride, dilation = sizes(node, "strides", rank), sizes(node, "dilations", rank)
    pads = list(spatial_pads(node, real.shape[1:], kernel, stride, dilation))
    if attribute(node, "ceil_mode", 0):
        for i in range(rank):
            span = dilation[i] * (kernel[i] - 1) + 1
            free = real.shape[1 + i] + sum(pads[i]) - span
            places = -(-free // stride[i]) + 1
            if (places - 1) * stride[i] >= real.shape[1 + i] + pads[i][0]:
                places -= 1  # a window that would start in the padding behind the value is left out
            pads[i] = (pads[i][0], pads[i][1] + max(0, (places - 1) * stride[i] - free))
    return kernel, stride, dilation, tuple(pads)


def lower_max_pool(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    if len(node.output) > 1 and node.output[1]:
        raise InexpressibleError("the indices of a maximum", where=where(node))
    kernel, stride, dilation, pads = _window(node, real)
    return moved(ctx, node, real, MaxPool(name="", x="", kernel=kernel, stride=stride, pads=pads, dilation=dilation))


def summed(ctx: Context, node: onnx.NodeProto, real: Real, kernel: tuple[int, ...], stride: tuple[int, ...],
           pads: tuple[tuple[int, int], ...], divisor: int) -> Real:  # fmt: skip
    """The sum over windows divided by `divisor`, which stays in the scale."""
    grid = ctx.builder.grid(real, where(node))
    count = math.prod(kernel)
    if any(map(any, pads)) and set(grid.offset) != {ZERO}:
        raise InexpressibleError("zero padding of a value whose zero is no code", where=where(node))
    base = ctx.builder.emit(
        SumPool(name=ctx.builder.name(where(node)), x=grid.base, kernel=kernel, stride=stride, pads=pads)
    )
    chain = Affine(a=tuple(s / divisor for s in grid.scale), b=tuple(o * count / divisor for o in grid.offset))
    return Real(base=base, shape=ctx.builder.values[base].shape, chain=compose((chain,)))


def lower_average_pool(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    kernel, stride, dilation, pads = _window(node, real)
    if set(dilation) != {1}:
        raise InexpressibleError("a dilated average", where=where(node))
    stated = spatial_pads(node, real.shape[1:], kernel, stride, dilation)
    whole = attribute(node, "count_include_pad", 0) and tuple(stated) == pads
    if any(map(any, pads)) and not whole:
        raise InexpressibleError(
            "the divisor of this average depends on the position",
            where=where(node),
            hint="set count_include_pad, or do not pad",
        )
    return summed(ctx, node, real, kernel, stride, pads, math.prod(kernel))


def lower_global_average(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    return _spatial_sum(ctx, node, real, math.prod(real.shape[1:]))


def _spatial_sum(ctx: Context, node: onnx.NodeProto, real: Real, divisor: int) -> Real:
    kernel = real.shape[1:]
    if len(kernel) > 2:
        raise InexpressibleError(f"a reduction of a value of shape {real.shape}", where=where(node))
    if not kernel:
        raise InexpressibleError("a global pooling of a value without spatial axes", where=where(node))
    return summed(ctx, node, real, kernel, (1,) * len(kernel), ((0, 0),) * len(kernel), divisor)


def lower_global_max(ctx: Context, node: onnx.NodeProto) -> Real:
    return _spatial_max(ctx, node, ctx.real(node))


def _spatial_max(ctx: Context, node: onnx.NodeProto, real: Real) -> Real:
    kernel = real.shape[1:]
    if not 1 <= len(kernel) <= 2:
        raise InexpressibleError(f"a reduction of a value of shape {real.shape}", where=where(node))
    ones = (1,) * len(kernel)
    pool = MaxPool(name="", x="", kernel=kernel, stride=ones, pads=((0, 0),) * len(kernel), dilation=ones)
    return moved(ctx, node, real, pool)


def lower_reduce(ctx: Context, node: onnx.NodeProto) -> Real:
    """ReduceMean, ReduceSum and ReduceMax over any axes but the batch: reduced axes go last, then one pooling."""
    real = ctx.real(node)
    rank = len(real.shape)
    axes = axes_of(ctx, node, rank)
    if axes is None:
        raise InexpressibleError("a reduction over all axes, the batch among them", where=where(node))
    kept = [i for i in range(rank) if i not in axes]
    count = math.prod(real.shape[i] for i in axes)
    front = math.prod(real.shape[i] for i in kept)
    turned = moved(ctx, node, real, Transpose(name="", x="", perm=(*kept, *axes)))
    flat = reshaped(ctx, node, turned, (front, count))
    if node.op_type == "ReduceMax":
        pooled = _spatial_max(ctx, node, flat)
    else:
        pooled = _spatial_sum(ctx, node, flat, count if node.op_type == "ReduceMean" else 1)
    shape = tuple(1 if i in axes else size for i, size in enumerate(real.shape))
    shape = shape if attribute(node, "keepdims", 1) else tuple(real.shape[i] for i in kept) or (1,)
    return reshaped(ctx, node, pooled, shape)
