"""Random Brevitas layers and quantisers, appended to a tape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.core.function_wrapper import RoundSte
from brevitas.quant import binary, fixed_point, scaled_int, shifted_scaled_int
from torch import nn

from tests.generator.draw import Draw
from tests.generator.tape import Tape


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Choices shared by a whole network: the export's dialect, and whether scales are powers of two."""

    qcdq: bool
    po2: bool


def quantiser_options(draw: Draw, style: Style, *, max_bits: int = 16) -> dict[str, Any]:
    """Width, rounding and statistics of an activation quantiser; scales cut off 1.5 to 15 % of the values."""
    bits = min(draw.act_bits(), max_bits, 8 if style.qcdq else 16)
    rounding = "ROUND" if style.qcdq else draw.weighted({"ROUND": 6, "FLOOR": 2, "CEIL": 1})
    draw.tag(f"act_bits:{bits}", f"round:{rounding}")
    options: dict[str, Any] = {
        "bit_width": bits,
        "float_to_int_impl_type": rounding,
        "high_percentile_q": draw.real(85, 98.5),
        "collect_stats_steps": 2,
        "return_quant_tensor": True,
    }
    if style.po2 and draw.chance(0.5):
        options["restrict_value_float_to_int_impl"] = RoundSte
    return options


def identity(tape: Tape, draw: Draw, style: Style, x: int, *, max_bits: int = 16, channel: bool = False) -> int:
    """A QuantIdentity that suits the values: signed, unsigned, shifted, bipolar or per channel."""
    value = tape.tensor(x)
    options = quantiser_options(draw, style, max_bits=max_bits)
    kinds = {"plain": 8.0, "shifted": 0.0 if channel else 2.0, "bipolar": 0.0 if channel or style.qcdq else 0.4}
    kind = draw.weighted(kinds)
    if kind == "bipolar":
        draw.tag("bipolar_act", "BipolarQuant")
        size = float(value.abs().mean()) + 1e-3
        size = 2.0 ** round(float(np.log2(size))) if style.po2 else size
        quantiser = binary.SignedBinaryActPerTensorConst
        return tape.add(qnn.QuantIdentity(act_quant=quantiser, scaling_init=size, return_quant_tensor=True), x)
    if kind == "shifted":
        draw.tag("asymmetric_act")
        options["low_percentile_q"] = draw.real(1.5, 15)
        quantiser = _by_grid(style, "ShiftedUint8ActPerTensor", shifted_scaled_int)
        return tape.calibrated(qnn.QuantIdentity(act_quant=quantiser, **options), x)
    signed = bool((value < 0).float().mean() > 0.02)
    draw.tag("signed" if signed else "unsigned")
    if draw.chance(0.25):
        draw.tag("narrow")
        options["narrow_range"] = True
    if channel:
        draw.tag("per_channel_act")
        rank = value.ndim
        options["scaling_per_output_channel"] = True
        options["per_channel_broadcastable_shape"] = (1, value.shape[1], *[1] * (rank - 2))
        options["scaling_stats_permute_dims"] = (1, 0, *range(2, rank))
    if options["bit_width"] == 1 and signed:
        options["bit_width"] = 2
    quantiser = _by_grid(style, "Int8ActPerTensor" if signed else "Uint8ActPerTensor", scaled_int)
    return tape.calibrated(qnn.QuantIdentity(act_quant=quantiser, **options), x)


def _by_grid(style: Style, stem: str, floats: Any) -> Any:
    return getattr(fixed_point if style.po2 and "Shifted" not in stem else floats,
                   f"{stem}{'FixedPoint' if style.po2 else 'Float'}")  # fmt: skip


def activation(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    """An activation and its quantiser: Brevitas' own pair, or a torch module and a QuantIdentity. Returns a code."""
    name = draw.weighted({
        "QuantIdentity": 4, "QuantReLU": 6, "QuantSigmoid": 1, "QuantTanh": 1, "QuantHardTanh": 1.5, "relu6": 1,
        "leaky_relu": 1.5, "prelu": 1.5, "silu": 1, "hard_swish": 1, "hard_sigmoid": 1, "hard_tanh": 0.7,
    })  # fmt: skip
    draw.tag(f"act:{name}")
    channels = tape.shape(x)[1]
    match name:
        case "QuantIdentity":
            return identity(tape, draw, style, x)
        case "QuantReLU" | "QuantSigmoid":
            options = quantiser_options(draw, style, max_bits=16 if name == "QuantReLU" else 12)
            module = getattr(qnn, name)(act_quant=_by_grid(style, "Uint8ActPerTensor", scaled_int), **options)
            return tape.calibrated(module, x)
        case "QuantTanh":
            options = quantiser_options(draw, style, max_bits=12)
            return tape.calibrated(
                qnn.QuantTanh(act_quant=_by_grid(style, "Int8ActPerTensor", scaled_int), **options), x
            )
        case "QuantHardTanh":
            return _hard_tanh(tape, draw, style, x)
    modules: dict[str, nn.Module] = {
        "relu6": nn.ReLU6(),
        "leaky_relu": nn.LeakyReLU(draw.pick([0.01, 0.125, 0.3])),
        "prelu": _prelu(draw, draw.pick([1, channels])),
        "silu": nn.SiLU(),
        "hard_swish": nn.Hardswish(),
        "hard_sigmoid": nn.Hardsigmoid(),
        "hard_tanh": nn.Hardtanh(),
    }
    return identity(tape, draw, style, tape.apply(modules[name], x), max_bits=12 if name == "silu" else 16)


def _prelu(draw: Draw, slopes: int) -> nn.Module:
    module = nn.PReLU(slopes)
    module.weight.data = torch.from_numpy(draw.normal((slopes,), 0.3))
    draw.tag("prelu_per_channel" if slopes > 1 else "prelu_shared")
    return module


def _hard_tanh(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    options = quantiser_options(draw, style)
    for name in ("high_percentile_q", "collect_stats_steps"):
        del options[name]
    bound = draw.pick([0.5, 1.0, 0.8])
    quantiser = _by_grid(style, "Int8ActPerTensor", scaled_int)
    stem = "Int8ActPerTensorFixedPointMinMaxInit" if style.po2 else "Int8ActPerTensorFloatMinMaxInit"
    quantiser = getattr(fixed_point if style.po2 else scaled_int, stem)
    return tape.add(qnn.QuantHardTanh(act_quant=quantiser, min_val=-bound, max_val=bound, **options), x)


def batch_norm(tape: Tape, draw: Draw, x: int) -> int:
    """Batch norm with statistics near the data's and gammas of both signs."""
    value = tape.tensor(x).numpy()
    channels = value.shape[1]
    axes = tuple(i for i in range(value.ndim) if i != 1)
    module = (nn.BatchNorm2d if value.ndim == 4 else nn.BatchNorm1d)(channels, eps=draw.pick([1e-5, 1e-3]))
    negative = np.asarray(draw.rng.random(channels) < 0.25)
    draw.tag("batch_norm", *(["negative_gamma"] if negative.any() else []))
    gamma = np.where(negative, -1, 1) * draw.spread(channels)
    mean = value.mean(axis=axes) + draw.normal((channels,), 0.2)
    variance = value.var(axis=axes) * draw.spread(channels) + 1e-3
    assert module.running_mean is not None
    assert module.running_var is not None
    module.weight.data = torch.from_numpy(gamma.astype(np.float32))
    module.bias.data = torch.from_numpy(draw.normal((channels,), 0.5))
    module.running_mean.data = torch.from_numpy(mean.astype(np.float32))
    module.running_var.data = torch.from_numpy(variance.astype(np.float32))
    return tape.add(module, x)


def weight_options(draw: Draw, style: Style) -> dict[str, Any]:
    """Keyword arguments of a Brevitas layer for its weight quantiser."""
    kind = draw.weighted({"tensor": 4, "channel": 4, "shifted": 1, "bipolar": 0.0 if style.qcdq else 0.7})
    if kind == "bipolar":
        draw.tag("bipolar_weight", "BipolarQuant")
        scale = 2.0 ** draw.whole(-4, 0) if style.po2 else draw.real(0.1, 0.7)
        return {"weight_quant": binary.SignedBinaryWeightPerTensorConst, "weight_scaling_init": scale}
    bits = min(draw.weight_bits(), 8 if style.qcdq else 10)
    draw.tag(f"weight_bits:{bits}")
    options: dict[str, Any] = {"weight_bit_width": bits}
    if kind == "shifted":
        draw.tag("asymmetric_weight", "per_channel_float")
        stem = draw.pick(["ShiftedUint8WeightPerTensorFloat", "ShiftedUint8WeightPerChannelFloat"])
        return {**options, "weight_quant": getattr(shifted_scaled_int, stem)}
    if kind == "channel":
        draw.tag("per_channel_po2" if style.po2 else "per_channel_float")
    stem = f"Int8WeightPer{kind.capitalize()}{'FixedPoint' if style.po2 else 'Float'}"
    options["weight_quant"] = getattr(fixed_point if style.po2 else scaled_int, stem)
    if draw.chance(0.4) or bits == 2:
        options["weight_narrow_range"] = draw.chance(0.5)
    if not style.qcdq and draw.chance(0.05):
        options["weight_float_to_int_impl_type"] = draw.pick(["FLOOR", "CEIL"])
        draw.tag("weight_rounding")
    return options


def bias_options(tape: Tape, draw: Draw, style: Style, x: int) -> dict[str, Any]:
    """Keyword arguments for the bias: none, float, on the accumulator's grid, or on a grid of its own."""
    form = draw.weighted({"none": 2, "float": 2, "grid": 6, "own": 1})
    if form == "grid" and not tape.is_quantised(x):
        form = "own"
    draw.tag(f"bias:{form}")
    match form:
        case "none":
            return {"bias": False}
        case "float":
            return {"bias": True}
        case "own":
            quantiser = _own_grid_bias(style)
        case _:
            name = draw.pick(["Int8Bias", "Int16Bias", "Int16Bias", "Int24Bias", "Int32Bias"])
            draw.tag(name)
            quantiser = getattr(scaled_int, name)
    return {"bias": True, "bias_quant": quantiser}


def _own_grid_bias(style: Style) -> Any:
    if style.po2:
        return fixed_point.Int8BiasPerTensorFixedPointInternalScaling
    return scaled_int.Int8BiasPerTensorFloatInternalScaling


def linear(tape: Tape, draw: Draw, style: Style, x: int, units: int) -> int:
    """A QuantLinear; returns its accumulator."""
    fan_in = tape.shape(x)[-1]
    options = {**weight_options(draw, style), **bias_options(tape, draw, style, x)}
    draw.tag("linear")
    return _placed(tape, draw, x, qnn.QuantLinear(fan_in, units, **options), fan_in)


def conv(tape: Tape, draw: Draw, style: Style, x: int, channels: int, *, groups: int = 1, same: bool = False) -> int:
    """A QuantConv1d or QuantConv2d; with `same` the spatial shape is kept. Returns its accumulator."""
    shape = tape.shape(x)
    rank = len(shape) - 2
    smallest = min(shape[2:])
    kernel = 3 if smallest >= 3 and draw.chance(0.6) else 1 if same else min(2, smallest)
    dilation = 2 if kernel == 3 and smallest >= 5 and draw.chance(0.15) else 1
    padding = dilation * (kernel // 2) if same else draw.whole(0, kernel // 2)
    stride = 1 if same else draw.weighted({1: 3, 2: 1})
    names = {"dilation": dilation > 1, "padding": padding > 0, "stride": stride > 1, f"conv{rank}d": True}
    draw.tag(*(name for name, present in names.items() if present))
    if groups > 1:
        draw.tag("depthwise" if groups == shape[1] else "groups")
    options: dict[str, Any] = {**weight_options(draw, style), **bias_options(tape, draw, style, x)}
    options.update(stride=stride, padding=padding, dilation=dilation, groups=groups)
    layer = (qnn.QuantConv2d if rank == 2 else qnn.QuantConv1d)(shape[1], channels, kernel, **options)
    return _placed(tape, draw, x, layer, shape[1] // groups * kernel**rank)


def _placed(tape: Tape, draw: Draw, x: int, layer: Any, fan_in: int) -> int:
    """Give the layer weights whose output is of unit size, with variety between channels, and append it."""
    value = tape.tensor(x)
    size = float(value.pow(2).mean().sqrt()) + 1e-3
    shape = tuple(layer.weight.shape)
    weights = draw.normal(shape, 1.5 / np.sqrt(fan_in) / size)
    weights *= draw.spread(shape[0], 1.0).reshape(-1, *[1] * (len(shape) - 1))
    layer.weight.data = torch.from_numpy(weights)
    if layer.bias is not None:
        layer.bias.data = torch.from_numpy(draw.normal((shape[0],), 0.5))
    return tape.add(layer, x)
