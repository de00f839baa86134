"""Quantisation-aware fine-tuning with pruning; each epoch draws from (seed, epoch) and leaves a checkpoint."""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgecomp.errors import DataError, DiskError
from edgecomp.quantize.net import Net, weight_of

MOST_BYTES = 512 << 20
SAVE_SECONDS = 2.0
WARMTH = 2.0  # of the distillation's softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Epochs of Adam whose rate falls by a cosine to zero; the sparsity is reached half-way."""

    epochs: int = 20
    rate: float = 2e-3
    batch: int = 64
    seed: int = 0
    sparsity: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Training rows: inputs (N, ...), targets y (N,) classes or (N, outputs), the float network's outputs."""

    x: tuple[Tensor, ...]
    y: Tensor
    teacher: Tensor


def prune(net: Net, sparsity: float) -> dict[str, Tensor]:
    """Zero the smallest weights of every layer; the masks by layer."""
    masks = {}
    for step in net.linear():
        weight = weight_of(step)
        drop = int(sparsity * weight.numel())
        mask = torch.ones(weight.numel())
        mask[weight.detach().abs().reshape(-1).argsort(stable=True)[:drop]] = 0
        masks[step.name] = mask.reshape(weight.shape)
        with torch.no_grad():
            weight.mul_(masks[step.name])
    return masks


def tune(
    net: Net, rows: Rows, plan: Schedule, *, checkpoint: Path, digest: str,
    progress: Callable[[int, float], None] | None = None,
) -> None:  # fmt: skip
    """Train `net` in place; goes on from `checkpoint` where that is of this very run (`digest`)."""
    optimiser = torch.optim.Adam(net.parameters(), plan.rate)
    start = _resume(checkpoint, digest, net, optimiser)
    saved = time.monotonic()
    net.train()
    for epoch in range(start, plan.epochs):
        loss = _epoch(net, rows, plan, epoch, optimiser)
        if time.monotonic() - saved > SAVE_SECONDS or epoch + 1 == plan.epochs:
            _save(checkpoint, digest, epoch + 1, net, optimiser)
            saved = time.monotonic()
        if progress is not None:
            progress(epoch + 1, loss)
    net.eval()


def _epoch(net: Net, rows: Rows, plan: Schedule, epoch: int, optimiser: torch.optim.Optimizer) -> float:
    drawn = torch.Generator().manual_seed((plan.seed << 20) + epoch)
    order = torch.randperm(len(rows.y), generator=drawn)
    ramp = min(1.0, 2 * (epoch + 1) / plan.epochs)
    masks = prune(net, plan.sparsity * (1 - (1 - ramp) ** 3)) if plan.sparsity else {}
    steps = range(0, len(order), plan.batch)
    total = 0.0
    for number, at in enumerate(steps):
        done = (epoch + number / len(steps)) / plan.epochs
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * (1 + math.cos(math.pi * done)) / 2
        batch = order[at : at + plan.batch]
        loss = loss_of(net(*(x[batch] for x in rows.x)), rows.y[batch], rows.teacher[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        for step in net.linear() if masks else ():
            weight_of(step).data.mul_(masks[step.name])
        total += loss.item() * len(batch)
    return total / len(order)


def loss_of(outputs: Tensor, y: Tensor, teacher: Tensor) -> Tensor:
    """Half the targets', half the float network's: cross-entropy and distillation, or squares for a regression."""
    functional = nn.functional
    if y.dtype.is_floating_point:
        return functional.mse_loss(outputs, y) + functional.mse_loss(outputs, teacher)
    if outputs.shape[1] == 1:
        hard = functional.binary_cross_entropy_with_logits(outputs[:, 0], y.float())
        return hard + functional.binary_cross_entropy_with_logits(outputs, teacher.sigmoid())
    soft = functional.cross_entropy(outputs / WARMTH, (teacher / WARMTH).softmax(1)) * WARMTH**2
    return functional.cross_entropy(outputs, y) + soft


def _save(path: Path, digest: str, epoch: int, net: Net, optimiser: torch.optim.Optimizer) -> None:
    """Write aside, then rename: a stop in between leaves the checkpoint before."""
    aside = path.with_name(path.name + ".new")
    content = {"digest": digest, "epoch": epoch, "net": net.state_dict(), "optimiser": optimiser.state_dict()}
    try:
        torch.save(content, aside)
        os.replace(aside, path)
    except (OSError, RuntimeError) as error:
        raise DiskError(f"cannot write the checkpoint: {error}", where=str(path)) from error


def load_tensors(path: Path, what: str) -> Any:
    """A file of torch.save with nothing but tensors and plain values in it; DataError for any other."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"the {what} is larger than {MOST_BYTES >> 20} MiB", where=str(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"there is no such {what}", where=str(path), hint="check the path") from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        hint = "it must hold tensors only, as torch.save(module.state_dict(), FILE) writes"
        raise DataError(f"the {what} cannot be read", where=str(path), hint=hint) from error


def _resume(path: Path, digest: str, net: Net, optimiser: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    found = load_tensors(path, "checkpoint")
    try:
        if found["digest"] != digest:
            return 0
        own = net.state_dict()  # Brevitas makes its parameters anew in load_state_dict, and the optimiser keeps the old
        for name, value in own.items():
            value.copy_(found["net"][name])
        optimiser.load_state_dict(found["optimiser"])
        return int(found["epoch"])
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise DataError("the checkpoint does not fit", where=str(path), hint="delete it to start anew") from error
