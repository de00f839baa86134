"""Masks over summand bits trained by gradients: starts for the search that exact genes would take long to reach."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.approx.genes import Exact, Genes, Space

if TYPE_CHECKING:
    import torch

PRICES = (0.03, 0.1, 0.3, 1.0)  # of keeping all bits, beside the cross entropy
EPOCHS = 300
BATCH = 1024
RATE = 0.05


def trained_masks(exact: Exact, codes: NDArray[np.int64], y: NDArray[np.int64], *, seed: int) -> Genes:
    """Genes (len(PRICES), G) with masks trained at each price; none where PyTorch is not there.

    A bit of a summand is kept where its logit is positive; gradients pass straight through the step, and through
    rounding and clipping of hidden codes. Weights stay, constants move along.
    """
    if importlib.util.find_spec("torch") is None:
        return np.zeros((0, exact.space.size), dtype=np.int32)
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return np.stack([_train(exact, codes, y, price, seed) for price in PRICES])
    finally:
        torch.set_num_threads(threads)


@dataclass(slots=True, kw_only=True)
class Soft:
    """The classifier with a gate (O, I, D, bits) before each summand bit, which is worth weight (O, I, D, bits)."""

    space: Space
    weights: list[torch.Tensor]
    consts: list[torch.Tensor]
    gates: list[torch.Tensor]

    def logits(self, v: torch.Tensor) -> torch.Tensor:
        """(N, classes) of codes (N, features)."""
        import torch

        for layer, weight, const, gate in zip(self.space.layers, self.weights, self.consts, self.gates, strict=True):
            keep = torch.sigmoid(gate)
            keep = keep + ((gate > 0).float() - keep).detach()
            bits = (v.detach().long()[..., None] >> torch.arange(layer.bits) & 1).float()
            total = bits.flatten(1) @ (weight * keep).sum(dim=2).flatten(1).T + const
            slope = (weight.sum(dim=2)[..., 0] * keep.mean(dim=(2, 3))).detach()
            v = total + (v - v.detach()) @ slope.T  # gradients go past the bits
            if layer.top:
                most = (1 << layer.top) - 1
                scaled = v / 2.0**layer.shift
                soft = scaled.clamp(0, most) * 0.9 + scaled * 0.1
                v = soft + (scaled.floor().clamp(0, most) - soft).detach()
        return v

    def kept(self) -> torch.Tensor:
        """The share of summand bits that the gates keep, softly."""
        import torch

        pairs = list(zip(self.gates, self.weights, strict=True))
        whole = sum(int((w != 0).sum()) for _, w in pairs)
        return torch.stack([(torch.sigmoid(g) * (w != 0)).sum() for g, w in pairs]).sum() / max(whole, 1)

    def genes(self, start: Genes) -> Genes:
        found = start.copy()
        rows = zip(self.space.layers, self.space.parts(), self.consts, self.gates, strict=True)
        for layer, parts, const, gate in rows:
            places = 1 << np.arange(layer.bits)
            parts["mask"].of(found)[...] = ((gate.detach().numpy() > 0) * places).sum(axis=-1)
            parts["const"].of(found)[...] = np.rint(const.detach().numpy())
        return found


def _soft(space: Space, start: Genes) -> Soft:
    import torch

    soft = Soft(space=space, weights=[], consts=[], gates=[])
    for layer, parts in zip(space.layers, space.parts(), strict=True):
        digit = parts["digit"].of(start).astype(np.float64)
        factor = np.sign(digit) * 2.0 ** np.maximum(np.abs(digit) - 1, 0)
        bits = (factor[..., None] * 2.0 ** np.arange(layer.bits)).astype(np.float32)
        soft.weights.append(torch.from_numpy(bits))
        soft.consts.append(torch.from_numpy(parts["const"].of(start).astype(np.float32)).clone().requires_grad_())
        soft.gates.append(torch.full(bits.shape, 1.0).requires_grad_())
    return soft


def _train(exact: Exact, codes: NDArray[np.int64], y: NDArray[np.int64], price: float, seed: int) -> Genes:
    import torch

    start = exact.starts[-1]
    soft = _soft(exact.space, start)
    generator = torch.Generator().manual_seed(seed)
    x, target = torch.from_numpy(codes.astype(np.float32)), torch.from_numpy(y.astype(np.int64))
    groups: list[dict[str, Any]] = [{"params": soft.gates}]
    for const, weight in zip(soft.consts, soft.weights, strict=True):  # a step in proportion to the sums
        groups.append({"params": [const], "lr": RATE / 50 * float(weight.abs().sum(dim=(1, 2, 3)).mean())})
    optimiser = torch.optim.Adam(groups, lr=RATE)
    with torch.no_grad():
        spread = soft.logits(x[:BATCH]).std() + 1e-6
    for _ in range(EPOCHS):
        chosen = torch.randint(len(x), (min(BATCH, len(x)),), generator=generator)
        fit = torch.nn.functional.cross_entropy(4 * soft.logits(x[chosen]) / spread, target[chosen])
        loss = fit + price * soft.kept()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return soft.genes(start)
