"""Train both networks from a seed, export them, and put float, quantised and fit side by side in `results.json`.

Run `python -m examples.muon.train` (or with `detector` or `cnn` for one network). The order of each training: float,
float with a growing share of the smallest weights held at zero, then quantised with those zeros kept.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from examples.muon.export import export_checked
from examples.muon.fit import FitOptions, fit_deflection, predict_from_position, tune
from examples.muon.networks import UNIT_MRAD, DetectorNet, PlainCnn, Widths, fold_unit
from examples.muon.simulate import (
    HERE,
    TEST_SEED,
    TRAIN_SEED,
    VALIDATION_SEED,
    Chamber,
    Floats,
    Hits,
    Tracks,
    rms_below,
    simulate,
)

Masks = dict[str, Tensor]

TUNING_TRACKS: Final = 50_000
"""Training tracks on which the fit is tuned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one network is trained; everything that decides its result besides the chamber."""

    seed: int = 7
    tracks: int = 1_000_000
    batch: int = 1024
    float_epochs: int = 10
    prune_epochs: int = 10
    quantised_epochs: int = 10
    float_rate: float = 4e-3
    quantised_rate: float = 2e-3
    density: float = 0.4
    """Share of the weights of the pruned layers that stays."""
    pruned: tuple[str, ...] = ()
    """Names of the weight tensors that are pruned."""
    knee_mrad: float = 8.0
    """Below it the loss is quadratic, above it linear, so that stray tracks do not rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One network of the example: what it is called, where it goes, how it is trained."""

    name: str
    file: str
    network: type[DetectorNet] | type[PlainCnn]
    recipe: Recipe


PLANS: Final = (
    Plan(
        name="detector",
        file="model.onnx",
        network=DetectorNet,
        recipe=Recipe(pruned=("map12.weight", "map13.weight", "map23.weight", "head.0.weight")),
    ),
    Plan(name="cnn", file="cnn.onnx", network=PlainCnn, recipe=Recipe(pruned=("head.0.weight",))),
)


def smallest_masked(network: nn.Module, names: tuple[str, ...], density: float) -> Masks:
    """Masks that keep the largest share `density` of the named weights, each tensor measured by its own RMS."""
    weights = {name: tensor.detach().abs() for name, tensor in network.named_parameters() if name in names}
    if not weights:
        return {}
    scaled = {name: tensor / tensor.square().mean().sqrt() for name, tensor in weights.items()}
    together = torch.cat([tensor.flatten() for tensor in scaled.values()])
    threshold = together.sort(descending=True).values[round(density * len(together)) - 1]
    return {name: (tensor >= threshold).float() for name, tensor in scaled.items()}


def apply_masks(network: nn.Module, masks: Masks) -> None:
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name in masks:
                tensor.mul_(masks[name])


def run_epochs(network: nn.Module, data: Tracks, recipe: Recipe, *, epochs: int, rate: float, prune: bool) -> Masks:
    """Adam with a one-cycle rate; pruning tightens cubically over the first two thirds of the epochs."""
    hits = torch.from_numpy(data.hits)
    target = torch.from_numpy(data.deflection_mrad).float()[:, None] / UNIT_MRAD
    loss_of = nn.SmoothL1Loss(beta=recipe.knee_mrad / UNIT_MRAD)
    steps = len(data) // recipe.batch
    optimiser = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * steps, pct_start=0.2)
    masks = {name: (tensor != 0).float() for name, tensor in network.named_parameters() if name in recipe.pruned}
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(data))
        for step in range(steps):
            if prune and step % 100 == 0:
                done = min(1.0, (epoch + step / steps) / (epochs * 2 / 3))
                density = recipe.density + (1 - recipe.density) * (1 - done) ** 3
                masks = smallest_masked(network, recipe.pruned, density)
            batch = order[step * recipe.batch : (step + 1) * recipe.batch]
            loss = loss_of(network(hits[batch].float()), target[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            apply_masks(network, masks)
    return masks


def predict(network: nn.Module, hits: Hits) -> Floats:
    """Output of the network for hits (n, gaps, channels), shape (n,)."""
    network.eval()
    with torch.no_grad():
        parts = [network(torch.from_numpy(part).float()) for part in np.array_split(hits, max(1, len(hits) // 10_000))]
    return torch.cat(parts)[:, 0].double().numpy()


def train(plan: Plan, data: Tracks) -> tuple[nn.Module, nn.Module]:
    """The float network (pruned) and the quantised one; both give units of `UNIT_MRAD`."""
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    floating = plan.network(Widths(quantised=False))
    run_epochs(floating, data, recipe, epochs=recipe.float_epochs, rate=recipe.float_rate, prune=False)
    run_epochs(floating, data, recipe, epochs=recipe.prune_epochs, rate=recipe.float_rate / 2, prune=True)
    quantised = plan.network(Widths())
    quantised.load_state_dict(floating.state_dict(), strict=False)
    run_epochs(quantised, data, recipe, epochs=recipe.quantised_epochs, rate=recipe.quantised_rate, prune=False)
    return floating, quantised


def weight_counts(network: nn.Module) -> dict[str, int]:
    """Parameters, and weights whose quantised value is not zero."""
    layers = [layer for layer in network.modules() if hasattr(layer, "quant_weight")]
    sizes = [layer.weight.numel() + (0 if layer.bias is None else layer.bias.numel()) for layer in layers]
    nonzero = sum(int((layer.quant_weight().value != 0).sum()) for layer in layers)
    return {"parameters": sum(sizes), "nonzero_weights": nonzero}


def figure(difference_mrad: Floats) -> dict[str, float]:
    rms, kept = rms_below(difference_mrad)
    return {"rms_mrad": round(rms, 4), "kept": round(kept, 5)}


def measure_fit(data: Tracks, test: Tracks) -> dict[str, dict[str, float]]:
    """The bound on realistic and clean tracks, the stronger rival, and what the position alone gives away."""
    chamber = Chamber()
    sample = Tracks(hits=data.hits[:TUNING_TRACKS], deflection_mrad=data.deflection_mrad[:TUNING_TRACKS])
    options = tune(sample, chamber)
    merged = tune(sample, chamber, FitOptions(merge_neighbours=True))
    clean = simulate(len(test), TEST_SEED, chamber.clean())
    y = test.deflection_mrad
    return {
        "fit_clean": figure(fit_deflection(clean.hits, chamber, options) - clean.deflection_mrad),
        "fit": figure(fit_deflection(test.hits, chamber, options) - y),
        "fit_merged_neighbours": figure(fit_deflection(test.hits, chamber, merged) - y),
        "position_only": figure(predict_from_position(data, test.hits, chamber) - y),
    }


def main(names: list[str]) -> None:
    torch.set_num_threads(2)
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    test, validation = simulate(100_000, TEST_SEED), simulate(50_000, VALIDATION_SEED)
    data = simulate(max(plan.recipe.tracks for plan in PLANS), TRAIN_SEED)
    results["fit"] = measure_fit(data, test)
    print(results["fit"], flush=True)
    for plan in PLANS:
        if names and plan.name not in names:
            continue
        start = time.perf_counter()
        sample = Tracks(
            hits=data.hits[: plan.recipe.tracks], deflection_mrad=data.deflection_mrad[: plan.recipe.tracks]
        )
        floating, quantised = train(plan, sample)
        results[plan.name] = {
            "float": figure(predict(floating, test.hits) * UNIT_MRAD - test.deflection_mrad),
            "quantised": figure(predict(quantised, test.hits) * UNIT_MRAD - test.deflection_mrad),
            "quantised_validation": figure(
                predict(quantised, validation.hits) * UNIT_MRAD - validation.deflection_mrad
            ),
            **weight_counts(quantised),
        }
        fold_unit(quantised)
        export_checked(quantised, HERE / plan.file, test.hits[:2000])
        print(plan.name, results[plan.name], f"{time.perf_counter() - start:.0f} s", flush=True)
        path.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
