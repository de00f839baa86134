"""Float networks made ready: affine maps folded into weights, and the tensors found that need a quantiser."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import assert_never

import torch
from torch import Tensor, nn

from edgecomp.quantize.net import Affine, Net, Op, Step

SUMMING = (Op.LINEAR, Op.AFFINE, Op.MEAN_POOL, Op.ADD, Op.MUL)
"""Steps behind which one activation may stand before the next quantiser."""


def fold_affine(net: Net) -> Net:
    """Batch norms and other affine maps per channel folded into the layer before, where nothing else reads that."""
    readers = Counter(name for step in net.steps for name in step.inputs)
    readers[net.output] += 1
    steps: list[Step] = []
    for step in net.steps:
        at = next((i for i, one in enumerate(steps) if one.output == step.inputs[0]), None)
        if step.op is Op.AFFINE and at is not None and steps[at].op is Op.LINEAR and readers[step.inputs[0]] == 1:
            layer = steps[at]
            if _folded(layer, step.module):
                steps[at] = replace(layer, output=step.output)
                continue
        steps.append(step)
    return net.with_steps(steps)


def _folded(layer: Step, affine: nn.Module) -> bool:
    assert isinstance(affine, Affine)
    module = layer.module
    assert isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    axis = len(layer.shape) if isinstance(module, nn.Linear) else 1
    scale, shift = (_per_channel(t, axis, layer.shape) for t in (affine.scale, affine.shift))
    if scale is None or shift is None:
        return False
    with torch.no_grad():
        module.weight.mul_(scale.reshape(-1, *[1] * (module.weight.ndim - 1)))
        assert module.bias is not None
        module.bias.copy_(module.bias * scale + shift)
    return True


def _per_channel(values: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor | None:
    """One value per channel (C,), or None where values differ within a channel."""
    count = shape[axis - 1]
    if values.numel() == 1:
        return values.reshape(1).expand(count)
    if values.ndim != len(shape) + 1 or values.numel() != count or values.shape[axis] != count:
        return None
    return values.reshape(-1)


def quantised_tensors(net: Net) -> dict[str, int]:
    """The tensors that need a quantiser, each with its group's number; one group shares one quantiser.

    Layers, sums, products, poolings by mean and concatenations read codes; the operands of a sum or a concatenation
    share one scale. A chain of maximum poolings and data movements is quantised where it begins.
    """
    groups: dict[str, int] = {}

    def need(name: str) -> str:
        name = origin(net, name)
        groups.setdefault(name, len(groups))
        return name

    def join(names: list[str]) -> None:
        numbers = {groups[name] for name in names}
        for name, number in groups.items():
            if number in numbers:
                groups[name] = min(numbers)

    for step in net.steps:
        coded = [need(name) for name in step.inputs if _reads_codes(net, step, name)]
        if step.op in (Op.ADD, Op.CONCAT):
            join(coded)
    last = net.producers().get(origin(net, net.output))
    if last is not None and last.op is not Op.LINEAR:
        need(net.output)
    return groups


def _reads_codes(net: Net, step: Step, name: str) -> bool:
    match step.op:
        case Op.LINEAR | Op.MEAN_POOL | Op.MUL | Op.ADD | Op.CONCAT:
            return True
        case Op.ACTIVATION:
            return _must_be_code(net, name, SUMMING)
        case Op.AFFINE:
            return _must_be_code(net, name, (Op.LINEAR, None))
        case Op.MOVE | Op.MAX_POOL | Op.QUANT:
            return False
        case _:
            assert_never(step.op)


def origin(net: Net, name: str) -> str:
    """The tensor whose values `name` holds in another order, or the largest of."""
    producers = net.producers()
    while (step := producers.get(name)) is not None and step.op in (Op.MOVE, Op.MAX_POOL):
        name = step.inputs[0]
    return name


def _must_be_code(net: Net, name: str, allowed: tuple[Op | None, ...]) -> bool:
    """Whether a tensor's producer is none of `allowed`; None stands for the network's input."""
    producers = net.producers()
    step = producers.get(origin(net, name))
    if step is not None and step.op is Op.AFFINE and producers.get(origin(net, step.inputs[0])) is None:
        return True
    return (None if step is None else step.op) not in allowed


def owner(net: Net, name: str) -> str:
    """The layer whose result a tensor holds, or '' for what comes from the network's input."""
    producers = net.producers()
    while (step := producers.get(name)) is not None:
        if step.op is Op.LINEAR:
            return step.name
        name = step.inputs[0]
    return ""
