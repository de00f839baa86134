"""Matrix products and convolutions: quantised weights become integer rows, whatever their scales."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.builder import Grid
from edgecomp.frontend.context import Context, attribute, number, ones, where
from edgecomp.frontend.functions import Affine, Vector, entry
from edgecomp.frontend.symbols import Const, Objects, Quantised, Real, gcd
from edgecomp.ir import Conv, Dense, Ints, Transpose
from edgecomp.ir.ranges import MAX_BITS

Codes = NDArray[np.int64]


def weight(ctx: Context, node: onnx.NodeProto, index: int) -> Quantised:
    """A quantised weight; float weights are taken only where each is an integer."""
    symbol = ctx.symbol(node.input[index])
    if isinstance(symbol, Quantised):
        return symbol
    if isinstance(symbol, Real):
        raise InexpressibleError(
            f"{node.op_type} of two values that both depend on the input",
            where=where(node),
            hint="only constant weights are supported",
        )
    values = symbol.exact() if isinstance(symbol, Const) else None
    if values is not None and all(v.denominator == 1 and abs(v) < 1 << 31 for v in values.reshape(-1)):
        return Quantised(codes=values.astype(np.int64), scale=ones())
    raise InexpressibleError(
        "the weight has no quantiser (unquantised path)",
        where=where(node),
        hint="quantise the model, see `edgecomp quantize`",
    )


def integer_rows(weights: Quantised, grid: Grid, groups: int, node: onnx.NodeProto) -> tuple[Codes, Vector]:
    """(rows, scales) of weights (O, I / groups, ...): weight times input scale is exactly scales[o] * rows[o]."""
    codes = weights.codes
    scale = np.broadcast_to(weights.scale, codes.shape)
    if len(grid.scale) == 1 and weights.scale.size == 1:
        return codes, (Fraction(scale.flat[0]) * grid.scale[0],)
    outputs = codes.shape[0]
    group = np.repeat(np.arange(groups), outputs // groups)
    rows, scales = [], []
    for o in range(outputs):
        own = [entry(grid.scale, group[o] * codes.shape[1] + i) for i in range(codes.shape[1])]
        column = np.array(own, dtype=object).reshape(-1, *[1] * (codes.ndim - 2))
        steps = scale[o] * column
        distinct = set(steps.reshape(-1).tolist())
        unit = gcd(list(distinct))
        scales.append(unit)
        if distinct == {unit}:
            rows.append(codes[o])
            continue
        row = codes[o].astype(object) * (steps / unit)
        if max((abs(v) for v in row.reshape(-1)), default=0) >= 1 << MAX_BITS:
            raise InexpressibleError(
                "input channels of unlike scales meet in one sum",
                where=where(node),
                hint="use one scale, or powers of two, for the input",
            )
        rows.append(np.array([int(v) for v in row.reshape(-1)], dtype=np.int64).reshape(row.shape))
    return np.stack(rows), tuple(scales)


def with_bias(ctx: Context, node: onnx.NodeProto, real: Real, bias: Objects | None) -> Real:
    """A bias (O,) behind a product whose channels are axis 0."""
    if bias is None:
        return real
    column = bias.reshape(-1, *[1] * (len(real.shape) - 1)) if bias.size > 1 else bias.reshape(-1)[0:1].reshape(())
    return ctx.builder.affine(real, ones(), column, where(node))


def product(ctx: Context, node: onnx.NodeProto, real: Real, weights: Quantised, name: str) -> Real:
    """weights (O, I) times a vector, or a matrix whose last axis is mixed (each place alike)."""
    if len(real.shape) == 2:
        return _places(ctx, node, real, weights, name)
    grid = ctx.builder.grid(real, where(node))
    if grid.shape != weights.codes.shape[1:]:
        raise InexpressibleError(
            f"a weight of {weights.codes.shape} on a value of shape {grid.shape}", where=where(node)
        )
    rows, scales = integer_rows(weights, grid, 1, node)
    base = ctx.builder.emit(Dense(name=ctx.builder.name(name), x=grid.base, weight=Ints(rows), bias=Ints([0])))
    offset = _offset(weights, grid)
    result = Real(base=base, shape=(rows.shape[0],), chain=(Affine(a=scales, b=(Fraction(0),)),))
    return with_bias(ctx, node, result, offset)


def _offset(weights: Quantised, grid: Grid) -> Objects | None:
    """What the input's offsets add to each output."""
    if set(grid.offset) == {Fraction(0)}:
        return None
    real = weights.exact().reshape(weights.codes.shape[0], -1)
    column = np.array([entry(grid.offset, i) for i in range(real.shape[1])], dtype=object)
    total: Objects = real @ column
    return total


def _places(ctx: Context, node: onnx.NodeProto, real: Real, weights: Quantised, name: str) -> Real:
    """(T, I) times (I, O): a 1-wide convolution over T, between two transposes."""
    turn = Transpose(name="", x="", perm=(1, 0))
    turned = ctx.builder.layout(real, turn, f"{name}_t")
    wide = Quantised(
        codes=weights.codes[:, :, None], scale=np.broadcast_to(weights.scale, weights.codes.shape)[:, :, None]
    )
    result = convolve(ctx, node, turned, wide, name, stride=(1,), pads=((0, 0),), dilation=(1,), groups=1)
    return ctx.builder.layout(result, turn, f"{name}_tt")


def lower_matmul(ctx: Context, node: onnx.NodeProto) -> Real:
    """MatMul: x (I,) or (T, I) times a constant (I, O)."""
    weights = weight(ctx, node, 1)
    if weights.codes.ndim != 2:
        raise InexpressibleError(f"a weight of {weights.codes.ndim} axes", where=where(node))
    return product(ctx, node, ctx.real(node), transposed(weights), where(node))


def transposed(weights: Quantised) -> Quantised:
    return Quantised(
        codes=weights.codes.T,
        scale=np.broadcast_to(weights.scale, weights.codes.shape).T if weights.scale.size > 1 else weights.scale,
    )


def lower_gemm(ctx: Context, node: onnx.NodeProto) -> Real:
    """Gemm: alpha * x @ B + beta * C."""
    if attribute(node, "transA", 0):
        raise InexpressibleError("transA turns the batch axis", where=where(node))
    weights = weight(ctx, node, 1)
    weights = weights if attribute(node, "transB", 0) else transposed(weights)
    alpha = number(node, "alpha", 1.0)
    if alpha <= 0:
        raise InexpressibleError(f"alpha of {alpha}", where=where(node))
    weights = Quantised(codes=weights.codes, scale=np.asarray(weights.scale * alpha, dtype=object))
    result = product(ctx, node, ctx.real(node), weights, where(node))
    if len(node.input) < 3 or not node.input[2]:
        return result
    bias = np.asarray(ctx.exact(node, 2) * number(node, "beta", 1.0), dtype=object)
    return with_bias(ctx, node, result, bias.reshape(-1))


def convolve(
    ctx: Context, node: onnx.NodeProto, real: Real, weights: Quantised, name: str, *, stride: tuple[int, ...],
    pads: tuple[tuple[int, int], ...], dilation: tuple[int, ...], groups: int,
) -> Real:  # fmt: skip
    grid = ctx.builder.grid(real, where(node))
    padded = any(pad != (0, 0) for pad in pads)
    if padded and set(grid.offset) != {Fraction(0)}:
        raise InexpressibleError(
            "zero padding of a value whose zero is no code", where=where(node), hint="quantise symmetrically"
        )
    if set(grid.offset) != {Fraction(0)} and groups > 1:
        raise InexpressibleError(
            "a grouped convolution of a value with an offset", where=where(node), hint="quantise it first"
        )
    rows, scales = integer_rows(weights, grid, groups, node)
    base = ctx.builder.emit(
        Conv(name=ctx.builder.name(name), x=grid.base, weight=Ints(rows), bias=Ints([0]), stride=stride, pads=pads,
             dilation=dilation, groups=groups)
    )  # fmt: skip
    result = Real(base=base, shape=ctx.builder.values[base].shape, chain=(Affine(a=scales, b=(Fraction(0),)),))
    offset = None if set(grid.offset) == {Fraction(0)} else _conv_offset(weights, grid)
    return with_bias(ctx, node, result, offset)


def _conv_offset(weights: Quantised, grid: Grid) -> Objects:
    column = np.array([entry(grid.offset, i) for i in range(weights.codes.shape[1])], dtype=object)
    total: Objects = (weights.exact() * column.reshape(1, -1, *[1] * (weights.codes.ndim - 2))).sum(
        axis=tuple(range(1, weights.codes.ndim))
    )
    return total


def spatial_pads(node: onnx.NodeProto, spatial: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...],
                 dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:  # fmt: skip
    """(before, after) per spatial axis from pads or auto_pad, by the operator's definition."""
    rank = len(spatial)
    mode = attribute(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = list(attribute(node, "pads", [0] * (2 * rank)))
        return tuple((int(pads[i]), int(pads[i + rank])) for i in range(rank))
    if mode == "VALID":
        return ((0, 0),) * rank
    out = []
    for size, k, s, d in zip(spatial, kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        out.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return tuple(out)


def sizes(node: onnx.NodeProto, name: str, rank: int) -> tuple[int, ...]:
    return tuple(int(v) for v in attribute(node, name, [1] * rank))


def lower_conv(ctx: Context, node: onnx.NodeProto) -> Real:
    """Conv over one or two spatial axes."""
    real, weights = ctx.real(node), weight(ctx, node, 1)
    rank = weights.codes.ndim - 2
    if rank not in (1, 2) or len(real.shape) != rank + 1:
        raise InexpressibleError(
            f"a convolution of {rank} spatial axes on a value of shape {real.shape}", where=where(node)
        )
    stride, dilation = sizes(node, "strides", rank), sizes(node, "dilations", rank)
    pads = spatial_pads(node, real.shape[1:], weights.codes.shape[2:], stride, dilation)
    groups = int(attribute(node, "group", 1))
    result = convolve(ctx, node, real, weights, where(node), stride=stride, pads=pads, dilation=dilation, groups=groups)
    bias = ctx.exact(node, 2).reshape(-1) if len(node.input) > 2 and node.input[2] else None
    return with_bias(ctx, node, result, bias)
