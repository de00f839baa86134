"""Small multi-layer perceptrons in integers, trained with fake quantisation, many restarts side by side.

Inputs are codes 0..2^b - 1, standing for code / 2^b. A layer's weights lie in -1..1: zero or +-2^e with
-exponents < e <= 0, or fixed point of as many bits. A hidden value is floored to its grid and clipped to
0..2^bits - 1, a power of two being its full scale. Every scale is a power of two, so that training computes, in
float32, the very integers of the circuit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]


class Weights(StrEnum):
    """The form of weights."""

    POWER_OF_TWO = "power_of_two"
    FIXED_POINT = "fixed_point"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A network's shape and widths. Power-of-two weights of b bits: a sign and 2^(b - 1) - 1 exponents, or zero."""

    features: int
    hidden: tuple[int, ...]
    classes: int
    input_bits: int = 4
    weights: Weights = Weights.POWER_OF_TWO
    weight_bits: int = 4
    hidden_bits: int = 6

    @property
    def fraction(self) -> int:
        """The weights' places behind the binary point."""
        return 2 ** (self.weight_bits - 1) - 2 if self.weights is Weights.POWER_OF_TWO else self.weight_bits - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Integers: accumulator = weight (O, I) @ code + bias; then, but for the last layer, codes
    clip(floor(accumulator / 2^shift), 0, 2^hidden_bits - 1); a negative shift multiplies."""

    weight: Ints
    bias: Ints
    shift: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """A trained network."""

    spec: Spec
    layers: tuple[Layer, ...]

    def logits(self, codes: Ints) -> Ints:
        """Integer logits (N, classes) of input codes (N, features)."""
        top = (1 << self.spec.hidden_bits) - 1
        for layer in self.layers[:-1]:
            total = codes @ layer.weight.T + layer.bias
            codes = np.clip(total >> layer.shift if layer.shift >= 0 else total << -layer.shift, 0, top)
        return codes @ self.layers[-1].weight.T + self.layers[-1].bias

    @property
    def exponent(self) -> int:
        """A logit's unit in the source is 2^exponent: the layers' grids, each the last one's behind its shift."""
        return -self.spec.input_bits - len(self.layers) * self.spec.fraction + sum(x.shift for x in self.layers)

    def accuracy(self, codes: Ints, y: Ints) -> float:
        return float((self.logits(codes).argmax(axis=1) == y).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`sparsity` weighs the weights' mean magnitude in the loss; `warm` is the share of epochs with free scales, and
    `soft` that in which weights are not quantised yet."""

    epochs: int = 1500
    restarts: int = 8
    rate: float = 0.02
    batch: int = 2048
    sparsity: float = 0.0
    warm: float = 0.4
    soft: float = 0.5


def power_of_two(w: torch.Tensor, fraction: int) -> torch.Tensor:
    """The nearest of zero and +-2^e, -fraction <= e <= 0; gradients pass straight through."""
    import torch

    size = w.detach().abs().clamp(min=2.0**-40)
    exponent = (torch.floor(torch.log2(size / 1.5)) + 1).clamp(-fraction, 0)
    hard = torch.sign(w.detach()) * torch.exp2(exponent) * (size >= 2.0 ** (-fraction - 1))
    return w + (hard - w).detach()


def fixed_point(w: torch.Tensor, fraction: int) -> torch.Tensor:
    """The nearest multiple of 2^-fraction; gradients pass straight through."""
    hard = (w.detach() * 2.0**fraction).round() / 2.0**fraction
    return w + (hard - w).detach()


def floored(v: torch.Tensor, bits: int) -> torch.Tensor:
    """clip(floor(v * 2^bits), 0, 2^bits - 1) / 2^bits; gradients pass, a tenth of them where it clips."""
    soft = 0.9 * v.clamp(0.0, 1 - 2.0**-bits) + 0.1 * v
    hard = (v.detach() * 2.0**bits).floor().clamp(0, 2**bits - 1) / 2.0**bits
    return soft + (hard - soft).detach()


@dataclass(slots=True, kw_only=True)
class Nets:
    """The restarts' float weights (R, O, I), biases (R, O) and full scales (R,) as exponents of two, by layer."""

    spec: Spec
    weights: list[torch.Tensor]
    biases: list[torch.Tensor]
    scales: list[torch.Tensor]
    gain: torch.Tensor

    def soft(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias before they are quantised."""
        return self.weights[layer].clamp(-1, 1), self.biases[layer]

    def hard(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantised weight and bias; the bias lies on the accumulator's grid."""
        act = power_of_two if self.spec.weights is Weights.POWER_OF_TWO else fixed_point
        inputs = self.spec.input_bits if layer == 0 else self.spec.hidden_bits
        weight = act(self.weights[layer].clamp(-1, 1), self.spec.fraction)
        return weight, fixed_point(self.biases[layer], self.spec.fraction + inputs)

    def run(self, x: torch.Tensor, *, rescale: bool = False, soft: bool = False) -> torch.Tensor:
        """Logits (R, N, classes) of inputs (N, features) in 0..1; `rescale` fits the full scales to these first."""
        import torch

        parts = self.soft if soft else self.hard
        v = x.expand(self.gain.shape[0], *x.shape)
        for layer in range(len(self.weights) - 1):
            weight, bias = parts(layer)
            total = torch.baddbmm(bias[:, None, :], v, weight.transpose(1, 2))
            if rescale:
                sample = total.detach().reshape(len(total), -1)[:, :: max(1, total[0].numel() // 20000)]
                high = torch.quantile(sample, 0.995, dim=1).clamp(min=2.0**-8)
                self.scales[layer] = high.log2().round()
            v = floored(total / torch.exp2(self.scales[layer])[:, None, None], self.spec.hidden_bits)
        weight, bias = parts(len(self.weights) - 1)
        return torch.baddbmm(bias[:, None, :], v, weight.transpose(1, 2))

    def take(self, restart: int) -> Mlp:
        """One restart in integers."""
        layers = []
        for layer in range(len(self.weights)):
            weight, bias = (part[restart].detach().double().numpy() for part in self.hard(layer))
            inputs = self.spec.input_bits if layer == 0 else self.spec.hidden_bits
            last = layer == len(self.weights) - 1
            grid = self.spec.fraction + inputs
            shift = 0 if last else grid - self.spec.hidden_bits + int(self.scales[layer][restart])
            layers.append(Layer(weight=np.rint(weight * 2.0**self.spec.fraction).astype(np.int64),
                                bias=np.rint(bias * 2.0**grid).astype(np.int64), shift=shift))  # fmt: skip
        return Mlp(spec=self.spec, layers=tuple(layers))


def start(spec: Spec, restarts: int, generator: torch.Generator) -> Nets:
    """Random networks."""
    import torch

    sizes = (spec.features, *spec.hidden, spec.classes)
    weights, biases = [], []
    for inputs, outputs in itertools.pairwise(sizes):
        bound = min(1.0, 1.5 / math.sqrt(inputs))
        drawn = torch.rand(restarts, outputs, inputs, generator=generator)
        weights.append(((2 * drawn - 1) * bound).requires_grad_())
        biases.append(torch.zeros(restarts, outputs).requires_grad_())
    scales = [torch.zeros(restarts) for _ in spec.hidden]
    gain = torch.full((restarts,), 3.0, requires_grad=True)
    return Nets(spec=spec, weights=weights, biases=biases, scales=scales, gain=gain)


def train(
    spec: Spec, codes: Ints, y: Ints, *, plan: Schedule, seed: int, progress: Callable[[int, float], None] | None = None
) -> list[tuple[float, Mlp]]:
    """(accuracy on the data given, network) of every restart, best first; deterministic in `seed`.

    `progress` is told the epoch and the best restart's mean loss. One thread: the matrices are small.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(spec, codes, y, plan, seed, progress)
    finally:
        torch.set_num_threads(threads)


def _train(
    spec: Spec, codes: Ints, y: Ints, plan: Schedule, seed: int, progress: Callable[[int, float], None] | None
) -> list[tuple[float, Mlp]]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    nets = start(spec, plan.restarts, generator)
    x = torch.from_numpy(codes.astype(np.float32)) / 2**spec.input_bits
    target = torch.from_numpy(y)
    groups: list[dict[str, Any]] = [{"params": [*nets.weights, *nets.biases]}, {"params": [nets.gain], "lr": 0.05}]
    optimiser = torch.optim.Adam(groups, lr=plan.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [plan.rate, 0.05], total_steps=plan.epochs, pct_start=0.1, final_div_factor=100
    )
    best: list[tuple[float, Mlp]] = [(-1.0, nets.take(0))] * plan.restarts
    for epoch in range(plan.epochs):
        free = epoch < plan.warm * plan.epochs and epoch % 20 == 0
        chosen = torch.randperm(len(x), generator=generator)[: plan.batch]
        losses = _losses(nets, x[chosen], target[chosen], rescale=free, soft=epoch < plan.soft * plan.epochs)
        optimiser.zero_grad()
        total = losses.sum() + plan.sparsity * sum(w.abs().mean(dim=(1, 2)).sum() for w in nets.weights)
        total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if epoch % 25 == 24 or epoch == plan.epochs - 1:
            _keep(nets, x, target, best)
            if progress is not None:
                progress(epoch + 1, float(losses.detach().min()))
    return sorted(best, key=lambda pair: -pair[0])


def _losses(nets: Nets, x: torch.Tensor, y: torch.Tensor, *, rescale: bool, soft: bool) -> torch.Tensor:
    """Cross entropy (R,)."""
    import torch

    logits = nets.run(x, rescale=rescale, soft=soft) * nets.gain[:, None, None]
    many = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)), reduction="none")
    return many.reshape(len(logits), -1).mean(dim=1)


def _keep(nets: Nets, x: torch.Tensor, y: torch.Tensor, best: list[tuple[float, Mlp]]) -> None:
    """Note each restart's network where it is the best so far on all the data."""
    import torch

    with torch.no_grad():
        scores = (nets.run(x).argmax(dim=2) == y).double().mean(dim=1)
    for restart, score in enumerate(scores.tolist()):
        if score > best[restart][0]:
            best[restart] = (score, nets.take(restart))
