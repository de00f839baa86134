"""Random quantisers of hand-made graphs, in the QONNX and the QDQ dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from tests.generator.builder import Builder
from tests.generator.draw import Draw
from tests.generator.evaluate import QONNX_DOMAIN, code_range

Floats = npt.NDArray[np.float32]
_QDQ_TYPES = {
    (4, True): TensorProto.INT4,
    (4, False): TensorProto.UINT4,
    (8, True): TensorProto.INT8,
    (8, False): TensorProto.UINT8,
    (16, True): TensorProto.INT16,
    (16, False): TensorProto.UINT16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Choices shared by a whole graph: dialect, and whether scales are powers of two."""

    dialect: str
    po2: bool


def fit_scale(draw: Draw, style: Style, spread: npt.NDArray[Any], codes: int) -> Floats:
    """A scale so that `spread` (a real range, any shape) covers `codes` steps, on the style's grid."""
    scale = np.maximum(np.asarray(spread, dtype=np.float64), 1e-4) / codes
    if style.po2:
        draw.tag("po2")
        return np.asarray(2.0 ** np.round(np.log2(scale)), dtype=np.float32)
    draw.tag("float_scale")
    return np.asarray(scale * draw.real(0.9, 1.1), dtype=np.float32)


def quantise(
    b: Builder, draw: Draw, style: Style, x: str, *, bits: int | None = None, max_bits: int = 16, channel: bool = False
) -> str:
    """Append an activation quantiser that clips some 2 to 30 % of the calibration values; returns its real output."""
    widest = 16 if style.dialect == "qonnx" or b.opset >= 21 else 8
    bits = min(bits or draw.act_bits(), max_bits, widest)
    if style.dialect == "qdq" and bits > 8:
        bits = 16 if max_bits == 16 else 8
    value = b.values[x]
    signed = bool((value < 0).mean() > 0.02) or draw.chance(0.1)
    axes = tuple(i for i in range(value.ndim) if i != 1) if channel else None
    quantile = draw.real(0.85, 0.985)
    top = np.quantile(value, quantile, axis=axes, keepdims=channel)
    bottom = np.quantile(value, 1 - quantile, axis=axes, keepdims=channel)
    if channel:
        draw.tag("per_channel_act")
    zero = 0.0
    asymmetric = draw.chance(0.25) and not channel
    if style.dialect == "qonnx" and draw.chance(0.03) and not channel:
        return _bipolar(b, draw, style, x)
    if asymmetric:
        draw.tag("asymmetric_act")
        signed = draw.chance(0.4)
        bottom, top = np.minimum(bottom, 0), np.maximum(top, 0)
        scale = fit_scale(draw, style, top - bottom, 2**bits - 1)
        low, high = code_range(bits, signed, False)
        zero = float(np.clip(low + np.round(-bottom / scale), low, high))
    else:
        extent = np.maximum(top, -bottom) if signed else top
        scale = fit_scale(draw, style, extent, 2 ** (bits - 1) if signed else 2**bits - 1)
    if style.dialect == "qonnx":
        return _quant(b, draw, x, scale, zero, bits, signed)
    return _quantise_linear(b, draw, x, scale, int(zero), bits, signed)


def _quant(b: Builder, draw: Draw, x: str, scale: Floats, zero: float, bits: int, signed: bool) -> str:
    rounding = draw.weighted({"ROUND": 5, "HALF_UP": 2, "FLOOR": 2, "CEIL": 1})
    narrow = draw.chance(0.25) and bits > 1 and zero == 0
    op_type = "IntQuant" if draw.chance(0.3) else "Quant"
    draw.tag(f"round:{rounding}", op_type, f"act_bits:{bits}", "signed" if signed else "unsigned")
    if narrow:
        draw.tag("narrow")
    if scale.ndim == 0 and draw.chance(0.4):
        scale = scale.reshape((1,))
    spelled = rounding if draw.chance(0.9) else rounding.lower()
    constants = (b.constant(scale), b.constant(np.float32(zero)), b.constant(np.float32(bits)))
    return b.op(
        op_type, x, *constants, domain=QONNX_DOMAIN, signed=int(signed), narrow=int(narrow), rounding_mode=spelled
    )


def _bipolar(b: Builder, draw: Draw, style: Style, x: str) -> str:
    draw.tag("BipolarQuant", "bipolar_act")
    scale = fit_scale(draw, style, np.abs(b.values[x]).mean(), 1)
    return b.op("BipolarQuant", x, b.constant(scale), domain=QONNX_DOMAIN)


def _quantise_linear(b: Builder, draw: Draw, x: str, scale: Floats, zero: int, bits: int, signed: bool) -> str:
    """QuantizeLinear, a Clip where the width is none of ONNX's (QCDQ), DequantizeLinear."""
    modern = b.opset >= 21
    store = 16 if bits > 8 else 4 if bits == 4 and modern and draw.chance(0.6) else 8
    kind = _QDQ_TYPES[store, signed]
    draw.tag(
        "round:ROUND",
        f"act_bits:{bits}",
        "signed" if signed else "unsigned",
        f"store:{'' if signed else 'u'}int{store}",
    )
    axis: dict[str, Any] = {}
    if scale.ndim:
        scale, axis = scale.reshape(-1), {"axis": draw.pick([1, 1 - b.values[x].ndim])}
    zeros = b.constant(np.full(scale.shape, zero), kind)
    scale_name = b.constant(scale)
    codes = b.op("QuantizeLinear", x, scale_name, zeros, **axis)
    narrow = draw.chance(0.15) and zero == 0
    if bits < store or (narrow and store == 8):
        draw.tag("qcdq_clip")
        low, high = code_range(bits, signed, narrow)
        codes = b.op("Clip", codes, b.constant(np.array(low), kind), b.constant(np.array(high), kind))
    return b.op("DequantizeLinear", codes, scale_name, zeros, **axis)


def weight(b: Builder, draw: Draw, style: Style, value: Floats, *, axis: int) -> str:
    """A quantised weight whose output channels lie along `axis`; its real value as a tensor of the graph."""
    per_channel = draw.chance(0.5)
    if style.dialect == "qonnx" and draw.chance(0.1):
        draw.tag("BipolarQuant", "bipolar_weight")
        return b.op(
            "BipolarQuant",
            b.constant(value),
            b.constant(fit_scale(draw, style, np.abs(value).mean(), 1)),
            domain=QONNX_DOMAIN,
        )
    bits = draw.weight_bits() if style.dialect == "qonnx" else draw.pick([4, 8, 8] if b.opset >= 21 else [8])
    asymmetric = draw.chance(0.15)
    axes = tuple(i for i in range(value.ndim) if i != axis) if per_channel else None
    low_value = np.minimum(value.min(axis=axes, keepdims=per_channel), 0)
    high_value = np.maximum(value.max(axis=axes, keepdims=per_channel), 0)
    draw.tag(f"weight_bits:{bits}", "per_channel_weight" if per_channel else "per_tensor_weight")
    if per_channel:
        draw.tag("per_channel_po2" if style.po2 else "per_channel_float")
    if asymmetric:
        draw.tag("asymmetric_weight")
        scale = fit_scale(draw, style, high_value - low_value, 2**bits - 1)
        zero = np.clip(np.round(-low_value / scale), 0, 2**bits - 1)
    else:
        scale = fit_scale(draw, style, np.maximum(high_value, -low_value) * draw.real(0.7, 1.0), 2 ** (bits - 1) - 1)
        zero = np.zeros_like(scale)
    if style.dialect == "qonnx":
        return _quant_weight(b, draw, value, scale, zero, bits, signed=not asymmetric)
    return _qdq_weight(b, draw, value, scale, zero, bits, signed=not asymmetric, axis=axis)


def _quant_weight(b: Builder, draw: Draw, value: Floats, scale: Floats, zero: Floats, bits: int, signed: bool) -> str:
    narrow = signed and draw.chance(0.5)
    if narrow:
        draw.tag("narrow_weight")
    if zero.size == 1 or (zero == zero.reshape(-1)[0]).all():
        zero = np.asarray(zero.reshape(-1)[0])
    rounding = draw.weighted({"ROUND": 6, "HALF_UP": 1, "FLOOR": 1, "CEIL": 1})
    return b.op(
        draw.pick(["Quant", "Quant", "IntQuant"]),
        b.constant(value),
        b.constant(scale),
        b.constant(zero.astype(np.float32)),
        b.constant(np.float32(bits)),
        domain=QONNX_DOMAIN,
        signed=int(signed),
        narrow=int(narrow),
        rounding_mode=rounding,
    )


def _qdq_weight(
    b: Builder, draw: Draw, value: Floats, scale: Floats, zero: Floats, bits: int, signed: bool, axis: int
) -> str:
    kind = _QDQ_TYPES[bits, signed]
    low, high = code_range(bits, signed, False)
    codes = np.clip(np.round(value / scale) + zero, low, high)
    attributes: dict[str, Any] = {}
    if scale.size > 1:
        attributes = {"axis": draw.pick([axis, axis - value.ndim])}
        scale, zero = scale.reshape(-1), zero.reshape(-1)
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    scale_name, zero_name = b.constant(scale), b.constant(zero.astype(np.int64), kind)
    if draw.chance(0.4):
        draw.tag("weight_q_dq")
        stored = b.op("QuantizeLinear", b.constant(value), scale_name, zero_name, **attributes)
    else:
        stored = b.constant(codes.astype(np.int64), kind)
    if signed and draw.chance(0.3):
        draw.tag("no_zero_point")
        return b.op("DequantizeLinear", stored, scale_name, **attributes)
    return b.op("DequantizeLinear", stored, scale_name, zero_name, **attributes)


def bias(b: Builder, draw: Draw, style: Style, count: int, size: float) -> str:
    """A bias vector of about `size`: float, or quantised to a grid of its own."""
    value = draw.normal((count,), size)
    steps = draw.weighted({0: 4, 100: 2, 5000: 4})
    draw.tag("bias:quantised" if steps else "bias:float")
    if not steps:
        return b.constant(value)
    scale = fit_scale(draw, style, np.asarray(np.abs(value).max()), steps)
    if style.dialect == "qonnx":
        constants = (b.constant(scale), b.constant(np.float32(0)), b.constant(np.float32(8 if steps == 100 else 16)))
        return b.op(
            "Quant", b.constant(value), *constants, domain=QONNX_DOMAIN, signed=1, narrow=0, rounding_mode="ROUND"
        )
    codes = b.constant(np.round(value / scale).astype(np.int64), TensorProto.INT32)
    return b.op("DequantizeLinear", codes, b.constant(scale))
