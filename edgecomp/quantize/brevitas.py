"""A Brevitas quantiser of our own: weights that are zero or plus or minus a power of two.

For models trained with Brevitas layers: QuantLinear(..., weight_quant=power_of_two_weight(fraction=6)). Call `settle`
before the export, for Brevitas exports the shadow weights behind a fixed-point quantiser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecomp.quantize.mlp import power_of_two

if TYPE_CHECKING:
    import torch


def power_of_two_weight(fraction: int, full: torch.Tensor | None = None) -> type[Any]:
    """An injector for `weight_quant`: sign and exponent, 2^-fraction to 1, or zero; larger weights become 1.

    Exported, a weight is a signed fixed-point number of fraction + 2 bits with the scale 2^-fraction. `full`, powers of
    two that broadcast over the weight, stands in the place of 1.
    """
    import torch
    from brevitas.inject import ExtendedInjector
    from brevitas.proxy import WeightQuantProxyFromInjector
    from torch import nn

    one = torch.tensor(1.0) if full is None else full

    class PowerOfTwoQuant(nn.Module):
        """x -> (quantised x, scale, zero point, bit width), as Brevitas wants it."""

        scale: torch.Tensor
        zero: torch.Tensor
        bits: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", one * 2.0**-fraction, persistent=False)
            self.register_buffer("zero", torch.tensor(0.0), persistent=False)
            self.register_buffer("bits", torch.tensor(float(fraction + 2)), persistent=False)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
            top = self.scale * 2.0**fraction
            return power_of_two((x / top).clamp(-1, 1), fraction) * top, self.scale, self.zero, self.bits

    class PowerOfTwoWeight(ExtendedInjector):  # type: ignore[misc]
        proxy_class = WeightQuantProxyFromInjector
        tensor_quant = PowerOfTwoQuant
        signed = True
        narrow_range = False
        rounding_mode = "ROUND"

    return PowerOfTwoWeight


def settle(model: torch.nn.Module) -> None:
    """Put every Brevitas layer's quantised weight in the place of its shadow weight, which makes the export exact."""
    import torch
    from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, QuantWeightBiasInputOutputLayer):
                module.weight.copy_(module.quant_weight().value)
