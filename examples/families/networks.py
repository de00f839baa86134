"""Twelve small networks in Brevitas, one a family; every scale is a power of two, so that rescaling is a shift.

All but the one-dimensional network take scikit-learn's digits, 64 pixels from 0 to 16; that one takes heartbeats of 140
samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from brevitas import nn as qnn
from brevitas.core.scaling import ScalingImplType
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8BiasPerTensorFixedPointInternalScaling,
    Int8WeightPerTensorFixedPoint,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFixedPoint,
)
from torch import Tensor, nn

from examples.families.layers import EdgeTables, codes, plain

WEIGHT_BITS, CODE_BITS = 5, 5
WEIGHTS: Final[dict[str, Any]] = {
    "weight_quant": Int8WeightPerTensorFixedPoint,
    "weight_bit_width": WEIGHT_BITS,
    "bias_quant": Int8BiasPerTensorFixedPointInternalScaling,
    "return_quant_tensor": False,
}


def dense(inputs: int, outputs: int) -> Any:
    return qnn.QuantLinear(inputs, outputs, bias=True, **WEIGHTS)


def head(inputs: int, outputs: int = 10) -> Any:
    """The layer of the logits, which needs no bias."""
    return qnn.QuantLinear(inputs, outputs, bias=False, **WEIGHTS | {"bias_quant": None})


def conv2d(inputs: int, outputs: int, kernel: int, *, padding: int = 0, stride: int = 1) -> Any:
    return qnn.QuantConv2d(inputs, outputs, kernel, padding=padding, stride=stride, bias=True, **WEIGHTS)


def conv1d(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> Any:
    return qnn.QuantConv1d(inputs, outputs, kernel, stride=stride, groups=groups, bias=True, **WEIGHTS)


def relu() -> nn.Module:
    layer: nn.Module = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint, bit_width=CODE_BITS,
                                     return_quant_tensor=True)  # fmt: skip
    return layer


def signed() -> nn.Module:
    """A quantiser of values of either sign, such as a residual stream."""
    layer: nn.Module = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, bit_width=CODE_BITS + 1,
                                         return_quant_tensor=True)  # fmt: skip
    return layer


def share() -> nn.Module:
    """A quantiser of a gate between 0 and 1."""
    layer: nn.Module = qnn.QuantIdentity(
        act_quant=Uint8ActPerTensorFixedPoint, bit_width=4, scaling_impl_type=ScalingImplType.CONST, scaling_init=1.0,
        return_quant_tensor=True,
    )  # fmt: skip
    return layer


def pixels() -> nn.Module:
    """Digits' pixels 0 to 16 as codes 0 to 15."""
    return codes(4, 1.0)


class Image(nn.Module):
    """64 pixels as a picture of one channel."""

    def forward(self, x: Any) -> Tensor:
        return plain(x).view(-1, 1, 8, 8)


def mlp() -> nn.Module:
    return nn.Sequential(pixels(), dense(64, 20), relu(), head(20))


def cnn() -> nn.Module:
    """Two convolutions with pooling behind each."""
    return nn.Sequential(
        pixels(), Image(), conv2d(1, 6, 3, padding=1), relu(), nn.MaxPool2d(2), conv2d(6, 12, 3), relu(),
        nn.MaxPool2d(2), nn.Flatten(), dense(12, 40), relu(), head(40),
    )  # fmt: skip


def network_in_network() -> nn.Module:
    """Convolutions with perceptrons of 1x1 behind them, averaged over all places."""
    return nn.Sequential(
        pixels(), Image(), conv2d(1, 8, 3, stride=2, padding=1), relu(), conv2d(8, 8, 1), relu(),
        conv2d(8, 12, 3, padding=1), relu(), conv2d(12, 12, 1), relu(), conv2d(12, 10, 1), nn.AvgPool2d(4),
        nn.Flatten(),
    )  # fmt: skip


def depthwise_separable() -> nn.Module:
    """Heartbeats: a strided convolution, two of one channel each with mixtures of channels behind them."""
    return nn.Sequential(
        codes(8, 2.0**-4, signed=True), conv1d(1, 16, 9, stride=4), relu(),
        conv1d(16, 16, 5, stride=2, groups=16), signed(), conv1d(16, 16, 1), relu(),
        conv1d(16, 16, 5, stride=2, groups=16), signed(), conv1d(16, 24, 1), relu(),
        nn.AvgPool1d(5), nn.Flatten(), head(24, 5),
    )  # fmt: skip


class SqueezeExcitation(nn.Module):
    """A convolution whose channels are weighted by a perceptron of their averages."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(pixels(), Image(), conv2d(1, 8, 3, stride=2, padding=1), relu())
        self.squeeze = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
        self.excite = nn.Sequential(signed(), dense(8, 4), relu(), dense(4, 8), nn.Hardsigmoid(), share())
        self.head = nn.Sequential(signed(), conv2d(8, 16, 3), relu(), nn.Flatten(), head(64))

    def forward(self, x: Tensor) -> Tensor:
        features = plain(self.stem(x))
        weights = plain(self.excite(self.squeeze(features))).view(-1, 8, 1, 1)
        logits: Tensor = self.head(features * weights)
        return logits


class Mixer(nn.Module):
    """16 patches of 2x2 pixels: one perceptron over patches, one over channels, each beside a skip connection."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.pixels, self.embed, self.stream = pixels(), dense(4, width), signed()
        self.tokens = nn.Sequential(dense(16, 16), relu(), dense(16, 16), signed())
        self.mixed = signed()
        self.channels = nn.Sequential(dense(width, 16), relu(), dense(16, width), signed())
        self.last, self.head = signed(), head(width)

    def forward(self, x: Tensor) -> Tensor:
        patches = plain(self.pixels(x)).view(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(-1, 16, 4)
        stream = plain(self.stream(self.embed(patches)))
        turned = plain(self.tokens(stream.transpose(1, 2))).transpose(1, 2)
        stream = plain(self.mixed(stream + turned))
        stream = self.last(stream + plain(self.channels(stream)))
        logits: Tensor = self.head(plain(stream).mean(1))
        return logits


class ResidualMlp(nn.Module):
    """Two dense layers beside a skip connection."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(pixels(), dense(64, width), signed())
        self.block = nn.Sequential(dense(width, width), relu(), dense(width, width))
        self.joined, self.head = signed(), head(width)

    def forward(self, x: Tensor) -> Tensor:
        stream = plain(self.stem(x))
        logits: Tensor = self.head(self.joined(stream + self.block(stream)))
        return logits


class GatedLinearUnit(nn.Module):
    """A dense layer times the sigmoid of another."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.pixels = pixels()
        self.values, self.gates = nn.Sequential(dense(64, width), signed()), nn.Sequential(dense(64, width), signed())
        self.open, self.product, self.head = share(), signed(), head(width)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.pixels(x)
        gate = plain(self.open(torch.sigmoid(plain(self.gates(seen)))))
        logits: Tensor = self.head(self.product(plain(self.values(seen)) * gate))
        return logits


def sparse() -> nn.Module:
    """A wide perceptron that keeps a fifth of its connections; `train` moves them while it learns."""
    return nn.Sequential(pixels(), dense(64, 80), relu(), head(80))


class Branches(nn.Module):
    """Convolutions of 3x3 and 1x1 and the value itself, each behind batch norm, summed: in the end one convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.narrow = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.same = nn.BatchNorm2d(inputs) if inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.wide(x) + self.narrow(x)
        return total if self.same is None else total + self.same(x)

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight (outputs, inputs, 3, 3) and bias (outputs,) of the one convolution that gives the same sums."""
        (wide, wide_norm), (narrow, narrow_norm) = self.wide, self.narrow
        kernels: list[Any] = [wide.weight, narrow.weight]
        size = len(kernels[0])
        point = torch.zeros_like(kernels[0])
        point[:, :, 1, 1] = kernels[1][:, :, 0, 0]
        parts: list[tuple[Tensor, Any]] = [(kernels[0], wide_norm), (point, narrow_norm)]
        if self.same is not None:
            own = torch.zeros_like(point)
            own[range(size), range(size), 1, 1] = 1.0
            parts.append((own, self.same))
        weight, bias = torch.zeros_like(point), torch.zeros(size)
        for kernel, norm in parts:
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight = weight + kernel * factor.view(-1, 1, 1, 1)
            bias = bias + norm.bias - norm.running_mean * factor
        return weight, bias


def branched() -> nn.Module:
    """The float network that `merged` deploys: three blocks of branches."""
    return nn.Sequential(
        Image(), Branches(1, 8), nn.ReLU(), nn.MaxPool2d(2), Branches(8, 8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10, bias=False),
    )  # fmt: skip


def merged() -> nn.Module:
    """Plain convolutions that take the branches' merged weights."""
    return nn.Sequential(
        pixels(), Image(), conv2d(1, 8, 3, padding=1), relu(), nn.MaxPool2d(2), conv2d(8, 8, 3, padding=1), relu(),
        nn.MaxPool2d(2), nn.Flatten(), dense(32, 16), relu(), head(16),
    )  # fmt: skip


class KolmogorovArnold(nn.Module):
    """A free function of two-bit pixels on every edge to eight sums, and of three-bit codes on those to the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = codes(2, 4.0)
        self.first = EdgeTables(64, 8, bits=2, step=4.0, table_bits=5)
        self.norm, self.hidden = nn.BatchNorm1d(8), codes(3, 1.0)
        self.second = EdgeTables(8, 10, bits=3, step=1.0, table_bits=5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(self.hidden(self.norm(self.first(self.pixels(x))) * 1.75 + 3.5))
        return logits


class Signs(nn.Module):
    """-1 below the middle of the pixels' range, else +1."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = sign()

    def forward(self, x: Tensor) -> Any:
        return self.sign(x - 7.5)


def sign() -> nn.Module:
    layer: nn.Module = qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst, scaling_init=1.0,
                                         return_quant_tensor=True)  # fmt: skip
    return layer


def signs_times(inputs: int, outputs: int) -> Any:
    """A matrix of weights -1/8 and +1/8."""
    return qnn.QuantLinear(inputs, outputs, bias=False, weight_quant=SignedBinaryWeightPerTensorConst,
                           weight_scaling_init=0.125, return_quant_tensor=False)  # fmt: skip


def binary() -> nn.Module:
    """Pixels, weights and hidden codes of one bit."""
    return nn.Sequential(Signs(), signs_times(64, 64), nn.BatchNorm1d(64), sign(), signs_times(64, 10))


FAMILIES: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "mlp": mlp,
    "cnn": cnn,
    "network_in_network": network_in_network,
    "depthwise_separable": depthwise_separable,
    "squeeze_excitation": SqueezeExcitation,
    "mixer": Mixer,
    "residual_mlp": ResidualMlp,
    "gated_linear_unit": GatedLinearUnit,
    "sparse": sparse,
    "merged_branches": merged,
    "kolmogorov_arnold": KolmogorovArnold,
    "binary": binary,
}
