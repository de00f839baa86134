"""What the generator hands out: a model, its vectors, and a record of what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantiserCount:
    """One activation quantiser over the model's vectors: how many codes, clipped, on a rounding boundary, distinct."""

    tensor: str
    codes: int
    clipped: int
    tied: int
    distinct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedModel:
    """A random quantised model.

    `inputs` holds real vectors (N, ...) per graph input. `refusable` says that the design's list of what may be
    refused covers a feature of this graph. `module` is the torch module in eval mode (Brevitas models only).
    """

    seed: int
    source: str
    dialect: str
    onnx_bytes: bytes
    tags: tuple[str, ...]
    refusable: bool
    input_shapes: Mapping[str, tuple[int, ...]]
    inputs: Mapping[str, npt.NDArray[np.float32]]
    counts: tuple[QuantiserCount, ...]
    module: torch.nn.Module | None = None

    @property
    def proto(self) -> onnx.ModelProto:
        return onnx.load_from_string(self.onnx_bytes)

    @property
    def clipped(self) -> float:
        """Share of activation codes at the ends of their range because the value lies outside."""
        return sum(c.clipped for c in self.counts) / max(1, sum(c.codes for c in self.counts))

    @property
    def tied(self) -> float:
        """Share of activation codes whose value lies on a rounding boundary (to 1e-6 of a step)."""
        return sum(c.tied for c in self.counts) / max(1, sum(c.codes for c in self.counts))
