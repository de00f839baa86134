"""Train both networks from a seed, export them, and put float, quantised, integer and fit side by side.

Run `python -m examples.muon.train` for everything, or with any of the names `fit`, `detector`, `cnn` for that part. The
order of each training: float, float with a growing share of the smallest weights held at zero, then quantised with
those zeros kept. A training writes a checkpoint after every epoch and goes on from it when it is started again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from examples.integer import integer_outputs
from examples.muon.export import export_checked
from examples.muon.measure import Figure, figure, measure_fit, predict, weight_counts
from examples.muon.networks import UNIT_MRAD, DetectorNet, PlainCnn, Widths, fold_unit
from examples.muon.simulate import HERE, TEST_SEED, TRAIN_SEED, VALIDATION_SEED, Tracks, simulate

Masks = dict[str, Tensor]

CHECKPOINTS: Final = HERE.parents[1] / "build" / "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One run of Adam with a one-cycle rate."""

    name: str
    epochs: int
    rate: float
    """The highest learning rate of the cycle."""
    batch: int
    quantised: bool = False
    prune: bool = False
    """Hold the smallest weights at zero: their share grows cubically over the first two thirds of the epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one network is trained; everything that decides its result besides the chamber."""

    stages: tuple[Stage, ...]
    pruned: tuple[str, ...]
    """Names of the weight tensors that are pruned."""
    density: float
    """Share of the weights of the pruned tensors that stays."""
    seed: int = 7
    tracks: int = 1_000_000
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
        recipe=Recipe(
            stages=(
                Stage(name="float", epochs=5, rate=3e-3, batch=256),
                Stage(name="pruned", epochs=3, rate=1.5e-3, batch=256, prune=True),
                Stage(name="quantised", epochs=4, rate=1e-3, batch=1024, quantised=True),
            ),
            pruned=("map12.weight", "map13.weight", "map23.weight", "head.0.weight"),
            density=0.4,
        ),
    ),
    Plan(
        name="cnn",
        file="cnn.onnx",
        network=PlainCnn,
        recipe=Recipe(
            stages=(
                Stage(name="float", epochs=4, rate=4e-3, batch=512),
                Stage(name="pruned", epochs=3, rate=2e-3, batch=512, prune=True),
                Stage(name="quantised", epochs=4, rate=1e-3, batch=1024, quantised=True),
            ),
            pruned=("head.0.weight",),
            density=0.5,
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training in hand: its plan, its tracks, and where its checkpoint lies."""

    plan: Plan
    data: Tracks
    validation: Tracks
    test: Tracks
    folder: Path

    def path(self) -> Path:
        return self.folder / f"muon-{self.plan.name}.pt"


def smallest_masked(network: nn.Module, names: tuple[str, ...], density: float) -> Masks:
    """Masks that keep the largest share `density` of the named weights, each tensor measured by its own RMS."""
    weights = {name: tensor.detach().abs() for name, tensor in network.named_parameters() if name in names}
    scaled = {name: tensor / tensor.square().mean().sqrt() for name, tensor in weights.items()}
    together = torch.cat([tensor.flatten() for tensor in scaled.values()])
    threshold = together.sort(descending=True).values[round(density * len(together)) - 1]
    return {name: (tensor >= threshold).float() for name, tensor in scaled.items()}


def apply_masks(network: nn.Module, masks: Masks) -> None:
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name in masks:
                tensor.mul_(masks[name])


def save_point(training: Training, point: dict[str, Any]) -> None:
    """Replace the checkpoint in one step."""
    training.folder.mkdir(parents=True, exist_ok=True)
    fresh = training.path().with_suffix(".new")
    torch.save({"recipe": repr(training.plan.recipe), **point}, fresh)
    fresh.replace(training.path())


def load_point(training: Training) -> dict[str, Any]:
    """The checkpoint of this very recipe, or the start of a training."""
    if training.path().exists():
        point: dict[str, Any] = torch.load(training.path(), weights_only=True)
        if point["recipe"] == repr(training.plan.recipe):
            return point
        print(f"{training.path().name} belongs to another recipe: starting afresh", flush=True)
    return {"stage": 0, "epoch": 0, "network": None, "optimiser": None, "schedule": None, "figures": {}}


def run_epoch(
    network: nn.Module, training: Training, stage: Stage, epoch: int, step_with: Callable[[Tensor], None]
) -> float:
    """One pass over the tracks in an order drawn from seed, stage and epoch; the mean loss."""
    recipe = training.plan.recipe
    hits = torch.from_numpy(training.data.hits)
    target = torch.from_numpy(training.data.deflection_mrad).float()[:, None] / UNIT_MRAD
    loss_of = nn.SmoothL1Loss(beta=recipe.knee_mrad / UNIT_MRAD)
    steps = len(training.data) // stage.batch
    drawn = torch.Generator().manual_seed(1000 * recipe.seed + 100 * recipe.stages.index(stage) + epoch)
    order = torch.randperm(len(training.data), generator=drawn)
    masks = {name: (tensor != 0).float() for name, tensor in network.named_parameters() if name in recipe.pruned}
    total = 0.0
    network.train()
    for step in range(steps):
        if stage.prune and step % 100 == 0:
            done = min(1.0, (epoch + step / steps) / (stage.epochs * 2 / 3))
            masks = smallest_masked(network, recipe.pruned, recipe.density + (1 - recipe.density) * (1 - done) ** 3)
        batch = order[step * stage.batch : (step + 1) * stage.batch]
        loss = loss_of(network(hits[batch].float()), target[batch])
        step_with(loss)
        apply_masks(network, masks)
        total += loss.item()
    return total / steps


def run_stage(network: nn.Module, training: Training, stage: Stage, point: dict[str, Any]) -> None:
    """Train through one stage from where the checkpoint stands; `point` and its file follow every epoch."""
    steps = len(training.data) // stage.batch
    optimiser = torch.optim.Adam(network.parameters(), stage.rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, stage.rate, total_steps=stage.epochs * steps, pct_start=0.2
    )
    if point["optimiser"] is not None:
        optimiser.load_state_dict(point["optimiser"])
        schedule.load_state_dict(point["schedule"])

    def step_with(loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()

    for epoch in range(point["epoch"], stage.epochs):
        start = time.perf_counter()
        loss = run_epoch(network, training, stage, epoch, step_with)
        found = predict(network, training.validation.hits) * UNIT_MRAD - training.validation.deflection_mrad
        where = f"{training.plan.name} {stage.name} {epoch + 1}/{stage.epochs}"
        seconds = time.perf_counter() - start
        print(f"{where}: loss {loss:.5f}, validation {figure(found)}, {seconds:.0f} s", flush=True)
        point |= {
            "epoch": epoch + 1,
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
        }
        save_point(training, point)


def rebuilt(training: Training, stage: Stage, point: dict[str, Any]) -> nn.Module:
    """The network of a stage with the weights of the checkpoint, or with the seed's where there are none yet."""
    torch.manual_seed(training.plan.recipe.seed)
    network = training.plan.network(Widths(quantised=stage.quantised))
    if point["network"] is not None:
        # A quantised network takes the float weights over and finds the scales of its activations by itself.
        network.load_state_dict(point["network"], strict=False)
    return network


def train(training: Training) -> tuple[nn.Module, dict[str, Figure]]:
    """The trained network, in units of `UNIT_MRAD`, and the figures on the test tracks after each stage."""
    stages = training.plan.recipe.stages
    torch.use_deterministic_algorithms(True)
    point = load_point(training)
    for index in range(point["stage"], len(stages)):
        network = rebuilt(training, stages[index], point)
        run_stage(network, training, stages[index], point)
        found = predict(network, training.test.hits) * UNIT_MRAD - training.test.deflection_mrad
        point["figures"][stages[index].name] = figure(found)
        point |= {"stage": index + 1, "epoch": 0, "optimiser": None, "schedule": None}
        save_point(training, point)
    return rebuilt(training, stages[-1], point), point["figures"]


def finish(training: Training) -> dict[str, Any]:
    """Train, export, and run the exported file's integer network on the test tracks."""
    network, figures = train(training)
    counts = weight_counts(network)
    fold_unit(network)
    file = HERE / training.plan.file
    export_checked(network, file, training.test.hits)
    found = integer_outputs(file, training.test.hits)[:, 0] - training.test.deflection_mrad
    return {**figures, "integer": figure(found), **counts}


def write_results(name: str, found: dict[str, Any]) -> None:
    """Put one part into `results.json`; another part may have been written in the meantime."""
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**results, name: found}, indent=2, sort_keys=True) + "\n")
    print(name, json.dumps(found, sort_keys=True), flush=True)


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    wanted = names or ["fit", *(plan.name for plan in PLANS)]
    test, validation = simulate(100_000, TEST_SEED), simulate(50_000, VALIDATION_SEED)
    data = simulate(max(plan.recipe.tracks for plan in PLANS), TRAIN_SEED)
    if "fit" in wanted:
        write_results("fit", measure_fit(data, test))
    for plan in PLANS:
        if plan.name in wanted:
            few = slice(plan.recipe.tracks)
            sample = Tracks(hits=data.hits[few], deflection_mrad=data.deflection_mrad[few])
            training = Training(plan=plan, data=sample, validation=validation, test=test, folder=CHECKPOINTS)
            write_results(plan.name, finish(training))


if __name__ == "__main__":
    main(sys.argv[1:])
