"""A torch module recorded step by step while it runs on calibration data, so that every scale fits what flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Value = Any  # a Tensor or a Brevitas QuantTensor


def plain(value: Value) -> Tensor:
    """The real tensor of a value that may carry a quantisation."""
    tensor: Tensor = value if isinstance(value, Tensor) else value.value
    return tensor


class Apply(nn.Module):
    """A function of real tensors as a module; quantisation metadata is dropped unless `keep` is set."""

    def __init__(self, function: Callable[..., Any], *, keep: bool = False) -> None:
        super().__init__()
        self.function = function
        self.keep = keep

    def forward(self, *values: Value) -> Value:
        return self.function(*(value if self.keep else plain(value) for value in values))


class Program(nn.Module):
    """Steps in order: each module reads earlier values by index, inputs come first; the last value is the output."""

    def __init__(self, steps: Sequence[tuple[nn.Module, tuple[int, ...]]]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(module for module, _ in steps)
        self.wiring = [arguments for _, arguments in steps]

    def forward(self, *inputs: Tensor) -> Tensor:
        values: list[Value] = list(inputs)
        for module, arguments in zip(self.steps, self.wiring, strict=True):
            values.append(module(*(values[index] for index in arguments)))
        return plain(values[-1])


class Tape:
    """Records steps; `values` holds each step's result on the calibration batch."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.values: list[Value] = list(inputs)
        self._steps: list[tuple[nn.Module, tuple[int, ...]]] = []

    def add(self, module: nn.Module, *arguments: int) -> int:
        """Append a step in eval mode; returns the index of its value."""
        module.eval()
        with torch.no_grad():
            self.values.append(module(*(self.values[index] for index in arguments)))
        self._steps.append((module, arguments))
        return len(self.values) - 1

    def calibrated(self, module: nn.Module, *arguments: int) -> int:
        """Append a quantiser whose scale comes from statistics of the calibration batch, then frozen."""
        module.train()
        with torch.no_grad():
            for _ in range(4):
                module(*(self.values[index] for index in arguments))
        return self.add(module, *arguments)

    def apply(self, function: Callable[..., Any], *arguments: int, keep: bool = False) -> int:
        return self.add(Apply(function, keep=keep), *arguments)

    def tensor(self, index: int) -> Tensor:
        return plain(self.values[index])

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(self.tensor(index).shape)

    def is_quantised(self, index: int) -> bool:
        return not isinstance(self.values[index], Tensor)

    def program(self) -> Program:
        return Program(self._steps).eval()
