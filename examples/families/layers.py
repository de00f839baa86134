"""Brevitas building blocks that the families share: power-of-two scales throughout, so that every rescale is a shift.

`EdgeTables` is the layer of a Kolmogorov-Arnold network: a free-form function of its code on every edge, summed. Its
form in ONNX is what the front end lifts to TableDense: the basis of hats max(0, 1 - |x / scale - k|), one for every
code k, flattened, times a quantised matrix that holds each edge's function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from brevitas import nn as qnn
from brevitas.core.scaling import ScalingImplType
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Uint8ActPerTensorFixedPoint,
)
from torch import Tensor, nn


def plain(tensor: Any) -> Tensor:
    """The real value of a tensor that may carry its quantisation."""
    value: Tensor = tensor.value if hasattr(tensor, "value") else tensor
    return value


def codes(bits: int, step: float, *, signed: bool = False) -> nn.Module:
    """A quantiser to `bits` of a fixed power-of-two step."""
    reach = step * 2 ** (bits - signed)
    quantiser = Int8ActPerTensorFixedPoint if signed else Uint8ActPerTensorFixedPoint
    layer: nn.Module = qnn.QuantIdentity(
        act_quant=quantiser, bit_width=bits, scaling_impl_type=ScalingImplType.CONST, scaling_init=reach,
        return_quant_tensor=True,
    )  # fmt: skip
    return layer


def linear(inputs: int, outputs: int, bits: int, *, per_channel: bool = False) -> Any:
    """A matrix of `bits`-bit weights without bias: one power-of-two scale, or a float scale per output."""
    quantiser = Int8WeightPerChannelFloat if per_channel else Int8WeightPerTensorFixedPoint
    return qnn.QuantLinear(
        inputs, outputs, bias=False, weight_quant=quantiser, weight_bit_width=bits, return_quant_tensor=False
    )


class Hats(torch.autograd.Function):
    """Which code x is, one place a code; backward as if the functions were straight between neighbouring codes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.count = count
        return hats(x, count)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,), top = ctx.saved_tensors, ctx.count - 1
        rise = hats((x + 0.5).clamp(0, top), ctx.count) - hats((x - 0.5).clamp(0, top), ctx.count)
        return (grads[0] * rise).sum(-1), None


def hats(x: Tensor, count: int) -> Tensor:
    """max(0, 1 - |x - k|) for k = 0 .. count - 1, along a new last axis."""
    return torch.relu(1 - (x.unsqueeze(-1) - torch.arange(count, dtype=x.dtype)).abs())


def picked(x: Tensor, count: int) -> Tensor:
    """`hats` of codes, differentiable as `Hats` says."""
    basis: Tensor = Hats.apply(x, count)  # type: ignore[no-untyped-call]
    return basis


class EdgeTables(nn.Module):
    """y_j = sum over i of a function of x_i, given for each of the 2^bits codes x_i / step."""

    def __init__(self, inputs: int, outputs: int, *, bits: int, step: float, table_bits: int) -> None:
        super().__init__()
        self.count, self.step = 2**bits, step
        self.tables = linear(inputs * self.count, outputs, table_bits)
        slope = torch.randn(outputs, inputs, 1) * inputs**-0.5
        with torch.no_grad():
            self.tables.weight.copy_((slope * torch.linspace(-1, 1, self.count)).flatten(1))

    def forward(self, x: Any) -> Tensor:
        value = plain(x) / self.step
        basis = picked(value, self.count) if self.training else hats(value, self.count)
        total: Tensor = self.tables(basis.flatten(1))
        return total

    def functions(self) -> Tensor:
        """The edges' functions before they are quantised, (outputs, inputs, codes)."""
        weight: Tensor = self.tables.weight
        return weight.view(weight.shape[0], -1, self.count)

    def roughness(self) -> Tensor:
        """Mean square of the functions' second differences."""
        return self.functions().diff(n=2).square().mean()


def export(network: nn.Module, path: Path, inputs: int | tuple[int, ...], *, fill: float = 0.0) -> None:
    """Write a network in evaluation mode as QONNX: input x (batch, *inputs), output logits.

    It is traced on a sample full of `fill`, whose numbers pass unquantised: a look-up must find its entry all the same.
    """
    from brevitas.export import export_qonnx

    shape = (inputs,) if isinstance(inputs, int) else inputs
    export_qonnx(
        network.eval(), args=torch.full((1, *shape), fill), export_path=str(path), dynamo=False, opset_version=17,
        input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
