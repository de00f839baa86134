"""Brevitas building blocks that the families share: power-of-two scales throughout, so that every rescale is a shift.

`EdgeTables` is the layer of a Kolmogorov-Arnold network: a free-form function of its code on every edge, summed. Its
form in ONNX is what the front end lifts to TableDense: the basis of hats max(0, 1 - |x / scale - k|), one for every
code k, flattened, times a quantised matrix that holds each edge's function.

`LookUps` is the layer of a weightless network: a table of single bits for every node, by a few bits of the input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from brevitas import nn as qnn
from brevitas.core.scaling import ScalingImplType
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
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


def linear(inputs: int, outputs: int, bits: int, **more: Any) -> Any:
    """A matrix of `bits`-bit weights without bias, of one power-of-two scale."""
    return qnn.QuantLinear(
        inputs, outputs, bias=False, weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=bits,
        return_quant_tensor=False, **more,
    )  # fmt: skip


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


class LookUp(torch.autograd.Function):
    """Bits (n, inputs), scores (inputs, nodes, fan in) and entries (nodes, 2^fan in) to bits (n, nodes)."""

    @staticmethod
    def forward(ctx: Any, bits: Tensor, scores: Tensor, entries: Tensor) -> Tensor:
        address = (bits[:, scores.argmax(0)] @ powers(scores.shape[2])).long()
        ctx.save_for_backward(bits, scores, entries, address)
        return torch.gather((entries >= 0).to(bits.dtype).t(), 0, address)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        bits, scores, entries, address = ctx.saved_tensors
        own = torch.zeros_like(entries.t()).scatter_add_(0, address, grads[0]).t() * (entries.abs() <= 1)
        rises = torch.einsum("nb,abi->nai", entries.clamp(-1, 1), _rises(scores.shape[2]))
        slopes = grads[0].unsqueeze(-1) * rises[torch.arange(len(entries)), address]
        pulls = (bits.t() @ slopes.flatten(1)).view_as(scores)
        share = scores.softmax(0)
        return None, share * (pulls - (share * pulls).sum(0)), own


def powers(fan_in: int) -> Tensor:
    return 2.0 ** torch.arange(fan_in)


def _rises(fan_in: int) -> Tensor:
    """(address, entry, bit): what an entry counts in the rise along a bit: half the difference of the two that have it
    set and not, and a quarter of that where one other bit differs as well."""
    codes = torch.arange(2**fan_in)
    unlike = (codes[:, None, None] ^ codes[:, None]) >> torch.arange(fan_in) & 1
    others = unlike.sum(-1, keepdim=True) - unlike
    return ((codes[:, None] >> torch.arange(fan_in) & 1) - 0.5) * (others <= 1) / (others + 1) ** 2


class LookUps(nn.Module):
    """`nodes` tables of single bits, each looked up by `fan_in` bits of the input; tables and choices are learned.

    After differentiable weightless networks (arXiv:2410.11112): an entry is 1 where its parameter is not negative, a
    node's input is the one with the greatest score, and scores have the gradient of a softmax. The input has none: it
    is the data, and not another layer.
    """

    def __init__(self, inputs: int, nodes: int, fan_in: int = 6) -> None:
        super().__init__()
        self.scores = nn.Parameter(0.5 * torch.randn(inputs, nodes, fan_in))
        self.entries = nn.Parameter(2 * torch.rand(nodes, 2**fan_in) - 1)

    def forward(self, bits: Tensor) -> Tensor:
        found: Tensor = LookUp.apply(bits, self.scores, self.entries)  # type: ignore[no-untyped-call]
        return found


class FixedLookUps(nn.Module):
    """What LookUps have learned, in the form that is exported: a product with powers of two, a cast, a gather."""

    def __init__(self, learned: LookUps) -> None:
        super().__init__()
        inputs, nodes, fan_in = learned.scores.shape
        self.address = linear(inputs, nodes, fan_in + 1, weight_scaling_impl_type=ScalingImplType.CONST,
                              weight_scaling_init=2.0**fan_in)  # fmt: skip
        self.table = nn.Buffer((learned.entries >= 0).float().t().contiguous())
        weight = torch.zeros(nodes, inputs)
        for place, chosen in enumerate(learned.scores.argmax(0).unbind(1)):
            weight[torch.arange(nodes), chosen] += 2.0**place
        with torch.no_grad():
            self.address.weight.copy_(weight)

    def forward(self, bits: Any) -> Tensor:
        return torch.gather(self.table, 0, self.address(plain(bits)).to(torch.int64))


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
