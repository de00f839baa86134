"""The two networks of arXiv 2202.04976 in Brevitas, each in a float and a quantised form with the same weight names.

Weights and activations have power-of-two scales, so every rescale in the circuit is a shift; biases lie on the
accumulator's grid, and the input is one unsigned bit per channel. Both networks predict the deflection in units of
`UNIT_MRAD` while they are trained; `fold_unit` turns the last layer to mrad for the export.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from brevitas import nn as qnn
from brevitas.core.scaling import ScalingImplType
from brevitas.quant import (
    Int8WeightPerTensorFixedPoint,
    Int16Bias,
    Uint8ActPerTensorFixedPoint,
)
from torch import Tensor, nn

CHANNELS: Final = 50
STATIONS: Final = (slice(0, 3), slice(3, 5), slice(5, 7))
UNIT_MRAD: Final = 16.0
"""A power of two near the spread of the deflection: multiplying the last layer by it is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Bits of the weights and of the activations; `quantised` false leaves everything in float."""

    quantised: bool = True
    weight_bits: int = 6
    activation_bits: int = 6


def _weight_options(widths: Widths) -> dict[str, Any]:
    return {
        "weight_quant": Int8WeightPerTensorFixedPoint,
        "weight_bit_width": widths.weight_bits,
        "bias_quant": Int16Bias,
        "return_quant_tensor": False,
    }


def linear(widths: Widths, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    if not widths.quantised:
        return nn.Linear(inputs, outputs, bias=bias)
    options = _weight_options(widths) if bias else {**_weight_options(widths), "bias_quant": None}
    layer: nn.Module = qnn.QuantLinear(inputs, outputs, bias=bias, **options)
    return layer


def convolution(widths: Widths, inputs: int, filters: int, kernel: int, stride: int = 1) -> nn.Module:
    if not widths.quantised:
        return nn.Conv1d(inputs, filters, kernel, stride=stride, padding=kernel // 2)
    layer: nn.Module = qnn.QuantConv1d(
        inputs, filters, kernel, stride=stride, padding=kernel // 2, **_weight_options(widths)
    )
    return layer


def relu(widths: Widths) -> nn.Module:
    if not widths.quantised:
        return nn.ReLU()
    layer: nn.Module = qnn.QuantReLU(
        act_quant=Uint8ActPerTensorFixedPoint, bit_width=widths.activation_bits, return_quant_tensor=True
    )
    return layer


def binary_input(widths: Widths) -> nn.Module:
    """Hits as one unsigned bit of scale 1."""
    if not widths.quantised:
        return nn.Identity()
    layer: nn.Module = qnn.QuantIdentity(
        act_quant=Uint8ActPerTensorFixedPoint,
        bit_width=1,
        scaling_impl_type=ScalingImplType.CONST,
        scaling_init=2.0,
        return_quant_tensor=True,
    )
    return layer


def reshaped(tensor: Any, value: Tensor) -> Any:
    """The reshaped or sliced value with the quantisation of the tensor it was cut from (Brevitas slices none)."""
    return value if isinstance(tensor, Tensor) and type(tensor) is Tensor else tensor.set(value=value)


def plain(tensor: Any) -> Tensor:
    """The real value of a tensor that may carry its quantisation."""
    value: Tensor = tensor if type(tensor) is Tensor else tensor.value
    return value


def dense_head(widths: Widths, sizes: tuple[int, ...]) -> nn.Sequential:
    """Dense layers with a ReLU after each, and one output without."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [linear(widths, inputs, outputs), relu(widths)]
    return nn.Sequential(*layers, linear(widths, sizes[-1], 1))


class DetectorNet(nn.Module):
    """One convolution (1 filter, kernel 3) per station, dense maps 1 to 2, 1 to 3 and 2 to 3, sums, dense head."""

    def __init__(self, widths: Widths, head: tuple[int, ...] = (28, 14, 8)) -> None:
        super().__init__()
        self.hits = binary_input(widths)
        self.stations = nn.ModuleList(convolution(widths, cut.stop - cut.start, 1, 3) for cut in STATIONS)
        self.station_act = nn.ModuleList(relu(widths) for _ in STATIONS)
        self.map12 = linear(widths, CHANNELS, CHANNELS)
        self.map13 = linear(widths, CHANNELS, CHANNELS)
        self.map23 = linear(widths, CHANNELS, CHANNELS, bias=False)
        self.act2 = relu(widths)
        self.act3 = relu(widths)
        self.head = dense_head(widths, (CHANNELS, *head))
        for station in self.stations:
            nn.init.constant_(station.weight, 0.2)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Deflections (n, 1) of hits (n, 7, 50)."""
        hits = self.hits(x)
        first, second, third = (
            act(conv(reshaped(hits, plain(hits)[:, cut])))
            for conv, act, cut in zip(self.stations, self.station_act, STATIONS, strict=True)
        )
        first, second, third = (reshaped(code, plain(code).flatten(1)) for code in (first, second, third))
        joined2 = self.act2(self.map12(first) + plain(second))
        joined3 = self.act3(self.map13(first) + self.map23(joined2) + plain(third))
        angle: Tensor = self.head(joined3)
        return angle


class PlainCnn(nn.Module):
    """Two convolutions over all gaps at once, dense head."""

    def __init__(self, widths: Widths, filters: tuple[int, int] = (8, 4), head: tuple[int, ...] = (24, 12)) -> None:
        super().__init__()
        self.hits = binary_input(widths)
        self.conv1 = convolution(widths, 7, filters[0], 3)
        self.act1 = relu(widths)
        self.conv2 = convolution(widths, filters[0], filters[1], 5, stride=2)
        self.act2 = relu(widths)
        self.head = dense_head(widths, (filters[1] * CHANNELS // 2, *head))

    def forward(self, x: Tensor) -> Tensor:
        """Deflections (n, 1) of hits (n, 7, 50)."""
        code = self.act2(self.conv2(self.act1(self.conv1(self.hits(x)))))
        angle: Tensor = self.head(reshaped(code, plain(code).flatten(1)))
        return angle


def fold_unit(network: nn.Module) -> None:
    """Turn the output from units of `UNIT_MRAD` to mrad, exactly: the last layer is linear."""
    last: Any = network.head[-1]  # type: ignore[index]
    with torch.no_grad():
        last.weight.mul_(UNIT_MRAD)
        last.bias.mul_(UNIT_MRAD)
