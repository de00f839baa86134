"""A network as a list of steps over named tensors, which runs in PyTorch: first in float, then with quantisers in it.

Imported only inside functions: it brings in torch and Brevitas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from brevitas.quant_tensor import QuantTensor
from torch import Tensor, nn

Value = Any  # a Tensor or a QuantTensor


class Op(Enum):
    """What a step does to the numbers, as far as quantisers care."""

    LINEAR = "linear"
    AFFINE = "affine"
    ACTIVATION = "activation"
    MAX_POOL = "max_pool"
    MEAN_POOL = "mean_pool"
    MOVE = "move"
    ADD = "add"
    CONCAT = "concat"
    MUL = "mul"
    QUANT = "quant"


KEEPING = (Op.MOVE, Op.MAX_POOL)
"""Steps whose results are among their operand's values, so that a quantised operand stays quantised."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One step: `name` as users see it, tensors in and out, and the output's shape without the batch."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    module: nn.Module


class Net(nn.Module):
    """Runs steps in order on inputs (N, ...), given in the order of `inputs`; returns the tensor `output`."""

    def __init__(self, *, shapes: Mapping[str, tuple[int, ...]], steps: Sequence[Step], output: str) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        self.inputs = tuple(shapes)
        self.steps = tuple(steps)
        self.output = output
        self.layers = nn.ModuleList(step.module for step in steps)

    def forward(self, *inputs: Tensor) -> Tensor:
        return plain(self.tensors(*inputs)[self.output])

    def tensors(self, *inputs: Tensor) -> dict[str, Value]:
        """Every tensor by name."""
        values: dict[str, Value] = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            values[step.output] = _run(step, [values[name] for name in step.inputs])
        return values

    def producers(self) -> dict[str, Step]:
        """The step that gives each tensor; inputs have none."""
        return {step.output: step for step in self.steps}

    def linear(self) -> list[Step]:
        """The steps that have weights."""
        return [step for step in self.steps if step.op is Op.LINEAR]

    def with_steps(self, steps: Sequence[Step]) -> Net:
        """The same inputs and output behind other steps."""
        return Net(shapes=self.shapes, steps=steps, output=self.output)


def weight_of(step: Step) -> nn.Parameter:
    """The weights of a layer, as they are trained."""
    weight = step.module.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def quantised_weight(step: Step) -> Tensor:
    """The weights of a quantised layer, as they compute."""
    module: Any = step.module
    weight: Tensor = module.quant_weight().value.detach()
    return weight


def plain(value: Value) -> Tensor:
    """The real tensor of a value that may be quantised."""
    tensor: Tensor = value.value if isinstance(value, QuantTensor) else value
    return tensor


def _run(step: Step, values: list[Value]) -> Value:
    if step.op is Op.LINEAR:
        return step.module(values[0])
    result = step.module(*(plain(value) for value in values))
    if step.op in KEEPING and isinstance(values[0], QuantTensor):
        return values[0].set(value=result)
    return result


class Affine(nn.Module):
    """x * scale + shift; both broadcast over (N, ...)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.scaled, self.shifted = bool((scale != 1).any()), bool((shift != 0).any())

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * self.scale if self.scaled else x
        return scaled + self.shift if self.shifted else scaled


class Reshape(nn.Module):
    """(N, ...) to (N, *shape)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if len(self.shape) == 1 else x.reshape(-1, *self.shape)


class Permute(nn.Module):
    """The axes in another order, the batch first."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Pad(nn.Module):
    """Zeros around the last axes; `amounts` as torch.nn.functional.pad wants them, last axis first."""

    def __init__(self, amounts: Sequence[int]) -> None:
        super().__init__()
        self.amounts = tuple(amounts)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, self.amounts)


class Cut(nn.Module):
    """x[start:stop:step] along one axis."""

    def __init__(self, axis: int, start: int, stop: int, step: int) -> None:
        super().__init__()
        self.where = (*[slice(None)] * axis, slice(start, stop, step))

    def forward(self, x: Tensor) -> Tensor:
        return x[self.where]


class HardSigmoid(nn.Module):
    """clip(alpha * x + beta, 0, 1)."""

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(self.alpha * x + self.beta, 0.0, 1.0)


class Add(nn.Module):
    """The sum of two tensors."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Mul(nn.Module):
    """The product of two tensors."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b


class Concat(nn.Module):
    """Tensors behind one another along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, self.axis)
