"""Quantisers of both dialects, QONNX and QDQ: constants become integer codes, activations exact requantisers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx

from edgecomp.errors import InexpressibleError, ModelError
from edgecomp.frontend.context import Context, attribute, ones, unbatched, where
from edgecomp.frontend.evaluate import exact
from edgecomp.frontend.functions import Affine, Mode, Operation, Round, Sign
from edgecomp.frontend.symbols import Const, Objects, Quantised, Real, Symbol, Tabular, fractions

MAX_CODE_BITS = 16
HUGE = 1 << 40  # bounds of a rounding that does not clip
ONE = Fraction(1)

MODES = {
    "ROUND": Mode.HALF_EVEN, "HALF_EVEN": Mode.HALF_EVEN, "CEIL": Mode.CEIL, "FLOOR": Mode.FLOOR,
    "HALF_UP": Mode.HALF_AWAY, "HALF_DOWN": Mode.HALF_ZERO, "UP": Mode.AWAY_FROM_ZERO, "DOWN": Mode.TOWARD_ZERO,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiser:
    """code = clip(round(x / scale + zero_point), lo, hi), or the sign of it; both broadcast over the tensor."""

    scale: Objects
    zero_point: Objects
    rounding: Round | Sign


def centred(scale: tuple[Fraction, ...], zero_point: int, rounding: Round | Sign) -> tuple[Operation, ...]:
    """The chain from a real value to its centred code, for a scale per channel."""
    before = Affine(a=tuple(1 / s for s in scale), b=(Fraction(zero_point),))
    return (before, rounding, Affine(a=(ONE,), b=(Fraction(-zero_point),)))


def rounding_mode(node: onnx.NodeProto, default: str) -> Mode:
    text = str(attribute(node, "rounding_mode", default)).upper()
    if text not in MODES:
        raise InexpressibleError(
            f"unknown rounding mode {text}", where=where(node), hint=f"known are {', '.join(MODES)}"
        )
    return MODES[text]


def code_range(signed: bool, narrow: bool, bits: int) -> tuple[int, int]:
    """Least and greatest code; a narrow range gives up the least signed or the greatest unsigned code."""
    if signed:
        return -(1 << (bits - 1)) + int(narrow), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - int(narrow)


def positive(scale: Objects, node: onnx.NodeProto) -> Objects:
    if any(v <= 0 for v in scale.reshape(-1)):
        raise ModelError(
            "the quantiser's scale is zero or negative", where=where(node), hint="calibrate or train it again"
        )
    return scale


def one_integer(ctx: Context, node: onnx.NodeProto, index: int, what: str, default: Fraction | None = None) -> int:
    """A constant operand that holds one integer (all entries the same)."""
    return single(ctx.exact(node, index, default), what, node)


def single(array: Objects, what: str, node: onnx.NodeProto) -> int:
    values = {Fraction(v) for v in array.reshape(-1).tolist()}
    if len(values) != 1 or next(iter(values)).denominator != 1:
        raise InexpressibleError(f"the {what} is not one integer for the whole tensor", where=where(node))
    return int(next(iter(values)))


def bit_width(ctx: Context, node: onnx.NodeProto, index: int) -> int:
    bits = one_integer(ctx, node, index, "bit width")
    if not 1 <= bits <= 32:
        raise InexpressibleError(f"a bit width of {bits}", where=where(node), hint="1 to 16 bits are supported")
    return bits


def lower_quant(ctx: Context, node: onnx.NodeProto) -> Symbol:
    """Quant and IntQuant: x, scale, zero point, bit width."""
    bits = bit_width(ctx, node, 3)
    signed, narrow = bool(attribute(node, "signed", 1)), bool(attribute(node, "narrow", 0))
    rounding: Round | Sign = Sign()
    if not (bits == 1 and signed):  # a signed 1-bit quantiser is bipolar by its published definition
        lo, hi = code_range(signed, narrow, bits)
        rounding = Round(mode=rounding_mode(node, "ROUND"), lo=lo, hi=hi)
    zero_point = ctx.exact(node, 2, Fraction(0))
    return apply(
        ctx, node, Quantiser(scale=positive(ctx.exact(node, 1), node), zero_point=zero_point, rounding=rounding), bits
    )


def lower_bipolar(ctx: Context, node: onnx.NodeProto) -> Symbol:
    """BipolarQuant: x, scale. +scale where x >= 0, else -scale: the sign is of x itself, whatever the scale."""
    scale = ctx.exact(node, 1)
    return apply(ctx, node, Quantiser(scale=positive(scale, node), zero_point=ones(0), rounding=Sign()), 1)


def apply(ctx: Context, node: onnx.NodeProto, quantiser: Quantiser, bits: int) -> Symbol:
    symbol = ctx.symbol(node.input[0])
    assert not isinstance(symbol, Tabular)
    if not isinstance(symbol, Real):
        return constant_codes(symbol.exact(), quantiser, node)
    if bits > MAX_CODE_BITS:
        raise InexpressibleError(f"a code of {bits} bits", where=where(node), hint=f"{MAX_CODE_BITS} bits is the most")
    zero_point = single(quantiser.zero_point, "zero point", node)

    def ops(scale: tuple[Fraction, ...]) -> tuple[Operation, ...]:
        return centred(scale, zero_point, quantiser.rounding)

    return ctx.builder.quantise_by(symbol, ops, unbatched(quantiser.scale, len(symbol.shape), node), where(node))


def constant_codes(values: Objects, quantiser: Quantiser, node: onnx.NodeProto) -> Quantised:
    """A quantised constant: the same chain as for activations, on exact numbers."""
    values, scale, zero_point = np.broadcast_arrays(values, quantiser.scale, quantiser.zero_point)
    if any(z.denominator != 1 for z in quantiser.zero_point.reshape(-1)):
        raise InexpressibleError("a zero point is no integer", where=where(node), hint="use a symmetric quantiser")
    flat = list(zip(values.reshape(-1), scale.reshape(-1), zero_point.reshape(-1), strict=True))
    code = {(v, s, z): int(exact(centred((s,), int(z), quantiser.rounding), v, 0)) for v, s, z in set(flat)}
    out = [code[one] for one in flat]
    return Quantised(codes=np.array(out, dtype=np.int64).reshape(scale.shape), scale=quantiser.scale)


def lower_trunc(ctx: Context, node: onnx.NodeProto) -> Symbol:
    """Trunc. Version 1: x, scale, zero point, bits in, bits out; version 2: ..., bits in, scale out, bits out.

    x is rounded to its own grid, divided by a power of two, rounded again (version 2 clips to the bits out).
    """
    second = len(node.input) == 6
    scale, zero_point = positive(ctx.exact(node, 1), node), one_integer(ctx, node, 2, "zero point", Fraction(0))
    if scale.size != 1:
        raise InexpressibleError("a truncation with scales per channel", where=where(node))
    step = Fraction(scale.reshape(-1)[0])
    mode = rounding_mode(node, "FLOOR")
    if second:
        out_scale = Fraction(positive(ctx.exact(node, 4), node).reshape(-1)[0])
        power = Fraction(2) ** round(float(np.log2(float(out_scale / step))))
        bits = bit_width(ctx, node, 5)
        lo, hi = code_range(bool(attribute(node, "signed", 1)), bool(attribute(node, "narrow", 0)), bits)
        zero_out = Fraction(zero_point) / power
    else:
        bits_in, bits = bit_width(ctx, node, 3), bit_width(ctx, node, 4)
        power, out_scale, zero_out = Fraction(2) ** (bits_in - bits), step, Fraction(zero_point)
        lo, hi = -HUGE, HUGE
    real = ctx.real(node)
    if zero_out.denominator != 1:
        raise InexpressibleError(
            "the truncated zero point is no integer", where=where(node), hint="use a symmetric quantiser"
        )
    ops = (
        Affine(a=(1 / step,), b=(Fraction(zero_point),)), Round(mode=Mode.HALF_EVEN, lo=-HUGE, hi=HUGE),
        Affine(a=(1 / power,), b=(Fraction(0),)), Round(mode=mode, lo=lo, hi=hi), Affine(a=(ONE,), b=(-zero_out,)),
    )  # fmt: skip
    return ctx.builder.quantise_by(real, lambda _: ops, fractions(np.array(out_scale, dtype=object)), where(node))


# ---- QDQ ------------------------------------------------------------------------------------------------------------


def per_axis(array: Objects, node: onnx.NodeProto, rank: int) -> Objects:
    """A scale vector along the node's axis, shaped to broadcast over `rank` axes (the batch counted)."""
    if array.size == 1:
        return array.reshape(())
    axis = attribute(node, "axis", 1)
    shape = [1] * rank
    if array.ndim != 1 or not -rank <= axis < rank:
        raise InexpressibleError("blocked quantisation, or an axis that is not there", where=where(node))
    shape[axis] = array.size
    return array.reshape(shape)


def stored_range(ctx: Context, node: onnx.NodeProto) -> tuple[int, int]:
    """The interval of a QuantizeLinear's output type: its zero point's, its output_dtype's, else uint8."""
    zero_point = ctx.optional(node, 2)
    kind = attribute(node, "output_dtype", 0)
    if kind:
        name = onnx.TensorProto.DataType.Name(kind)
        bits = int("".join(ch for ch in name if ch.isdigit()) or 0)
        return code_range(not name.startswith("U"), False, bits)
    if isinstance(zero_point, Const):
        return ctx.stored.get(node.input[2]) or code_range(
            zero_point.array.dtype.kind == "i", False, 8 * zero_point.array.dtype.itemsize
        )
    return 0, 255


def lower_quantize_linear(ctx: Context, node: onnx.NodeProto) -> Symbol:
    """QuantizeLinear as a real value that holds stored codes; its DequantizeLinear makes it integers."""
    symbol = ctx.symbol(node.input[0])
    lo, hi = stored_range(ctx, node)
    assert not isinstance(symbol, Tabular)
    if not isinstance(symbol, Real):
        values = symbol.exact()
        scale = per_axis(positive(ctx.exact(node, 1), node), node, values.ndim)
        points = per_axis(ctx.exact(node, 2, Fraction(0)), node, values.ndim).astype(np.int64)
        wide = Quantiser(scale=scale, zero_point=ones(0), rounding=Round(mode=Mode.HALF_EVEN, lo=-HUGE, hi=HUGE))
        return Const(array=np.clip(constant_codes(values, wide, node).codes + points, lo, hi))
    zero_point = one_integer(ctx, node, 2, "zero point", Fraction(0))
    scale = per_axis(positive(ctx.exact(node, 1), node), node, len(symbol.shape) + 1)
    inverse = unbatched(fractions(np.asarray(1 / scale, dtype=object)), len(symbol.shape), node)
    steps = ctx.builder.affine(symbol, inverse, ones(0), where(node))
    rounding = Round(mode=Mode.HALF_EVEN, lo=lo - zero_point, hi=hi - zero_point)  # rounds before the zero point
    codes = ctx.builder.pointwise(steps, rounding, where(node))
    return ctx.builder.pointwise(codes, Affine(a=(ONE,), b=(Fraction(zero_point),)), where(node))


def lower_dequantize_linear(ctx: Context, node: onnx.NodeProto) -> Symbol:
    symbol = ctx.symbol(node.input[0])
    if not isinstance(symbol, Real):
        if not isinstance(symbol, Const) or symbol.array.dtype.kind not in "iu":
            raise ModelError("DequantizeLinear wants integers", where=where(node))
        scale = per_axis(positive(ctx.exact(node, 1), node), node, symbol.array.ndim)
        zero = ctx.optional(node, 2)
        points = per_axis(ctx.exact(node, 2, Fraction(0)), node, symbol.array.ndim) if zero else np.int64(0)
        centred = symbol.array.astype(np.int64) - np.asarray(points).astype(np.int64)
        return Quantised(codes=np.asarray(centred, dtype=np.int64), scale=scale)
    zero_point = one_integer(ctx, node, 2, "zero point", Fraction(0))
    scale = unbatched(
        per_axis(positive(ctx.exact(node, 1), node), node, len(symbol.shape) + 1), len(symbol.shape), node
    )
    ops: tuple[Operation, ...] = (Affine(a=(ONE,), b=(Fraction(-zero_point),)),)
    rounded = any(isinstance(op, Round) for op in symbol.chain)
    if symbol.integer is not None and not rounded:
        ops = (Round(mode=Mode.HALF_EVEN, lo=symbol.integer[0], hi=symbol.integer[1]), *ops)
    elif not rounded:
        raise ModelError("DequantizeLinear follows no QuantizeLinear", where=where(node))
    return ctx.builder.quantise_by(symbol, lambda _: ops, scale, where(node))
