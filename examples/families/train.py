"""Train one of the families from a seed, export it, and note its accuracy on rows that training never saw.

    python -m examples.families.train NAME...

writes `NAME.onnx` and NAME's part of `trained.json` here, in about half a minute each. The one-dimensional network
reads the heartbeats of `examples/ecg` from --beats.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.digits.train import Images, accuracy, load_images, predict
from examples.digits.train import Recipe as DigitsRecipe
from examples.ecg.train import DATA, load_beats, split
from examples.ecg.train import Recipe as BeatsRecipe
from examples.families.layers import EdgeTables, export
from examples.families.networks import FAMILIES, Branches, branched
from examples.integer import integer_outputs

HERE: Final = Path(__file__).resolve().parent
SEED, BATCH, RATE = 1, 64, 6e-3
EPOCHS: Final = {"binary": 60, "depthwise_separable": 100}
USUAL_EPOCHS = 40
DENSITY, MOVED = 0.2, 0.2
"""Of sparse evolutionary training: the share of weights that stand, and of those the share that moves each epoch."""


def rows_of(name: str, beats: Path = DATA) -> tuple[Images, Images]:
    """Training and test rows of a family, stratified by class."""
    if name == "depthwise_separable":
        return split(load_beats(beats), BeatsRecipe())
    parts = load_images(DigitsRecipe())
    return (Images(x=parts[0].x.reshape(-1, 64), y=parts[0].y), Images(x=parts[1].x.reshape(-1, 64), y=parts[1].y))


class Masks:
    """Sparse evolutionary training (Mocanu et al., Nature Communications 9, 2018): the smallest weights go, as many
    come back as zeros elsewhere, drawn by chance."""

    def __init__(self, network: nn.Module) -> None:
        self.weights: list[Tensor] = [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)]
        self.masks = [(torch.rand_like(weight) < DENSITY).float() for weight in self.weights]
        self.masks[-1] = torch.ones_like(self.masks[-1])

    def apply(self) -> None:
        with torch.no_grad():
            for weight, mask in zip(self.weights, self.masks, strict=True):
                weight.mul_(mask)

    def evolve(self) -> None:
        for weight, mask in zip(self.weights[:-1], self.masks[:-1], strict=True):
            standing, free = mask.flatten().nonzero()[:, 0], (mask.flatten() == 0).nonzero()[:, 0]
            count = int(MOVED * len(standing))
            smallest = standing[weight.detach().flatten()[standing].abs().argsort()[:count]]
            mask.view(-1)[smallest] = 0
            mask.view(-1)[free[torch.randperm(len(free))[:count]]] = 1
        self.apply()


def fit(network: nn.Module, rows: Images, *, epochs: int, masks: Masks | None = None) -> None:
    """Adam with a one-cycle rate on the cross-entropy."""
    x, y = torch.from_numpy(rows.x), torch.from_numpy(rows.y)
    steps = len(y) // BATCH
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps)
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(y))
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch]) + smoothness(network)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if masks is not None:
                masks.apply()
        if masks is not None and epoch < epochs * 3 // 4:
            masks.evolve()


def smoothness(network: nn.Module) -> Tensor:
    """What the edge functions of a Kolmogorov-Arnold network pay for bending."""
    bends = [0.1 * layer.roughness() for layer in network.modules() if isinstance(layer, EdgeTables)]
    return torch.stack(bends).sum() if bends else torch.zeros(())


def merge(source: nn.Module, into: nn.Module) -> None:
    """Copy a trained network of branches into the plain one that is deployed."""
    layers = [layer for layer in source.modules() if isinstance(layer, Branches | nn.Linear)]
    targets: list[Any] = [layer for layer in into.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer, target in zip(layers, targets, strict=True):
            weight, bias = layer.merged() if isinstance(layer, Branches) else (layer.weight, layer.bias)
            target.weight.copy_(weight)
            if bias is not None:
                target.bias.copy_(bias)


def trained(name: str, rows: Images) -> nn.Module:
    torch.manual_seed(SEED)
    network = FAMILIES[name]()
    if name == "merged_branches":
        source = branched()
        fit(source, rows, epochs=30)
        merge(source.eval(), network)
    masks = Masks(network) if name == "sparse" else None
    if masks is not None:
        masks.apply()
    fit(network, rows, epochs=EPOCHS.get(name, USUAL_EPOCHS), masks=masks)
    return network.eval()


def weights_of(network: nn.Module) -> int:
    """How many weights of matrices, kernels and tables stand."""
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d
    return sum(int((layer.weight != 0).sum()) for layer in network.modules() if isinstance(layer, kinds))


def majority(y: NDArray[np.int64]) -> float:
    return round(float(np.bincount(y).max() / len(y)), 5)


def main() -> None:
    parser = argparse.ArgumentParser(description="train families of networks")
    parser.add_argument("names", nargs="+", choices=sorted(FAMILIES), metavar="NAME")
    parser.add_argument("--beats", type=Path, default=DATA)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    notes = HERE / "trained.json"
    for name in given.names:
        rows, test = rows_of(name, given.beats)
        network = trained(name, rows)
        export(network, HERE / f"{name}.onnx", test.x.shape[1:])
        found = {
            "weights": weights_of(network), "test_rows": len(test.y), "majority": majority(test.y),
            "quantised": accuracy(predict(network, test.x).numpy(), test.y),
            "integer": accuracy(integer_outputs(HERE / f"{name}.onnx", test.x), test.y),
        }  # fmt: skip
        known = json.loads(notes.read_text()) if notes.exists() else {}
        notes.write_text(json.dumps(known | {name: found}, indent=2, sort_keys=True) + "\n")
        print(name, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
