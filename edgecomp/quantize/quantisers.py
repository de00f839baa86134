"""Brevitas layers and quantisers of a recipe, each scale found by the least squared error and learned from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from brevitas import nn as qnn
from brevitas.core.function_wrapper import RoundSte
from brevitas.inject.enum import QuantType, RestrictValueType, ScalingImplType, ScalingPerOutputType
from brevitas.quant import Int32Bias
from brevitas.quant.base import IntQuant, NarrowIntQuant, UintQuant
from brevitas.quant.solver.act import ActQuantSolver
from brevitas.quant.solver.weight import WeightQuantSolver
from torch import Tensor, nn

from edgecomp.quantize.brevitas import power_of_two_weight
from edgecomp.quantize.net import Step
from edgecomp.quantize.options import Form, Granularity, Recipe, Rounding, Scales

TRIED = 80  # scales between a tenth of the range and all of it


def quantiser(values: Sequence[Tensor], bits: int, recipe: Recipe) -> nn.Module:
    """A quantiser of activations for these values: unsigned where none is negative; a signed one has 2 bits or more."""
    every = torch.cat([value.reshape(-1) for value in values])
    every = every[:: max(1, every.numel() // 100_000)]
    signed = bool(every.min() < 0)
    bits = max(bits, 2) if signed else bits
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    scale = best_scale(every[None], low, high, recipe)[0]
    powers = recipe.scales is Scales.POWER_OF_TWO
    threshold = float(scale) * (-low if signed else high + powers)
    base = IntQuant if signed else UintQuant
    kind = type("Codes", (base, ActQuantSolver), {**_scaling(recipe), "scaling_init": threshold, "bit_width": bits,
                "scaling_per_output_type": ScalingPerOutputType.TENSOR,
                "float_to_int_impl_type": recipe.rounding.name})  # fmt: skip
    module: nn.Module = qnn.QuantIdentity(act_quant=kind, return_quant_tensor=True)
    return module


def best_scale(rows: Tensor, low: int, high: int, recipe: Recipe, *, floor: bool | None = None) -> Tensor:
    """For each row (R, N) the scale whose codes low..high leave the least squared error; rows of zeros get 1.

    Flooring moves the mean, which biases take in: the error's spread counts alone.
    """
    floor = recipe.rounding is Rounding.FLOOR if floor is None else floor
    top = torch.maximum(rows.amax(1) / max(high, 1), -rows.amin(1) / max(-low, 1)).clamp(min=2.0**-30)
    best, least = torch.ones(len(rows)), torch.full((len(rows),), torch.inf)
    if recipe.scales is Scales.POWER_OF_TWO:
        tried = [torch.exp2(top.log2().ceil() - k) for k in range(4)]
    else:
        tried = [top * (1 - 0.9 * k / TRIED) for k in range(TRIED)]
    for scale in tried:
        column = scale[:, None]
        codes = (rows / column).floor() if floor else (rows / column).round()
        error = codes.clamp(low, high) * column - rows
        loss = error.var(1, unbiased=False) if floor else error.square().mean(1)
        best, least = torch.where(loss < least, scale, best), torch.minimum(loss, least)
    return torch.where(rows.abs().amax(1) > 0, best, torch.ones(len(rows)))


def _scaling(recipe: Recipe) -> dict[str, Any]:
    """A learned scale, moved in its logarithm."""
    powers = recipe.scales is Scales.POWER_OF_TWO
    kind = RestrictValueType.POWER_OF_TWO if powers else RestrictValueType.LOG_FP
    settled = {"restrict_value_float_to_int_impl": RoundSte} if powers else {}
    return {"scaling_impl_type": ScalingImplType.PARAMETER, "restrict_scaling_type": kind, **settled}


def layer(step: Step, recipe: Recipe) -> nn.Module:
    """The Brevitas layer of a float one, with its weights and a bias on the accumulator's grid."""
    module = step.module
    assert isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    options = {"bias": True, "weight_quant": _weight(module.weight.detach(), recipe, recipe.weights_of(step.name)),
               "bias_quant": Int32Bias}  # fmt: skip
    made: nn.Module
    if isinstance(module, nn.Linear):
        made = qnn.QuantLinear(module.in_features, module.out_features, **options)
    else:
        kind = qnn.QuantConv1d if isinstance(module, nn.Conv1d) else qnn.QuantConv2d
        made = kind(module.in_channels, module.out_channels, module.kernel_size, stride=module.stride,
                    padding=module.padding, dilation=module.dilation, groups=module.groups, **options)  # fmt: skip
    made.load_state_dict(module.state_dict(), strict=False)
    return made


def _weight(weight: Tensor, recipe: Recipe, bits: int) -> Any:
    """An injector for weights (O, ...)."""
    channel = recipe.granularity is Granularity.CHANNEL
    rows = weight.reshape(weight.shape[0] if channel else 1, -1)
    shape = (-1, *[1] * (weight.ndim - 1)) if channel else ()
    if recipe.form is Form.POWER_OF_TWO:
        full = torch.exp2((rows.abs().amax(1).clamp(min=2.0**-30) / 1.5).log2().ceil())
        return power_of_two_weight(2 ** (bits - 1) - 2, full.reshape(shape))
    per = ScalingPerOutputType.CHANNEL if channel else ScalingPerOutputType.TENSOR
    if recipe.form is Form.BINARY:
        mean = rows.abs().mean(1).clamp(min=2.0**-30)
        mean = torch.exp2(mean.log2().round()) if recipe.scales is Scales.POWER_OF_TWO else mean
        return type("BinaryWeights", (WeightQuantSolver,), {**_scaling(recipe), "quant_type": QuantType.BINARY,
                    "scaling_init": mean.reshape(shape), "signed": True, "narrow_range": True, "bit_width": 1,
                    "scaling_per_output_type": per})  # fmt: skip
    top = 2 ** (bits - 1) - 1
    scale = best_scale(rows, -top, top, recipe, floor=False).reshape(shape)
    threshold = scale * (top + (recipe.scales is Scales.POWER_OF_TWO))
    return type("Weights", (NarrowIntQuant, WeightQuantSolver), {**_scaling(recipe), "scaling_init": threshold,
                "bit_width": bits, "scaling_per_output_type": per})  # fmt: skip
