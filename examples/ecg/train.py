"""Train the heartbeat network from a seed, export it, and put float, quantised and integer accuracy side by side.

Run `python -m examples.ecg.train`: it reads ECG5000_TRAIN.txt.gz from --data, writes `model.onnx` and `results.json`
here and the held-out beats to --vectors, in about a minute. Every scale is a power of two, so that each rescale is a
shift.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from brevitas import nn as qnn
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerTensorFixedPoint,
    Int16Bias,
    Uint8ActPerTensorFixedPoint,
)
from numpy.typing import NDArray
from torch import nn

from examples.digits.train import Images, accuracy, export_checked, predict
from examples.integer import integer_outputs

HERE: Final = Path(__file__).resolve().parent
DATA: Final = Path("../shared/data/ecg5000_train/ECG5000_TRAIN.txt.gz")
VECTORS: Final = Path("build/ecg.npz")
LENGTH: Final = 140
CLASSES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides the result besides the beats."""

    seed: int = 5
    test_share: float = 0.3
    batch: int = 32
    float_epochs: int = 60
    quantised_epochs: int = 40
    float_rate: float = 5e-3
    quantised_rate: float = 2e-3


def load_beats(path: Path) -> Images:
    """Beats (n, 1, 140), each of mean 0 and variance 1 as the data set has them, and classes 0 to 4."""
    rows = np.loadtxt(path)
    return Images(x=rows[:, 1:].reshape(-1, 1, LENGTH).astype(np.float32), y=rows[:, 0].astype(np.int64) - 1)


def split(beats: Images, recipe: Recipe) -> tuple[Images, Images]:
    """Training and test beats, stratified by class."""
    from sklearn.model_selection import train_test_split

    parts = train_test_split(beats.x, beats.y, test_size=recipe.test_share, random_state=recipe.seed, stratify=beats.y)
    return Images(x=parts[0], y=parts[2]), Images(x=parts[1], y=parts[3])


def make_network(quantised: bool) -> nn.Sequential:
    """Two strided convolutions with ReLU, max pooling, one dense layer: 976 weights."""

    def conv(inputs: int, filters: int, kernel: int) -> nn.Module:
        if not quantised:
            return nn.Conv1d(inputs, filters, kernel, stride=2)
        layer: nn.Module = qnn.QuantConv1d(
            inputs, filters, kernel, stride=2, bias=True, weight_quant=Int8WeightPerTensorFixedPoint,
            weight_bit_width=6, bias_quant=Int16Bias)  # fmt: skip
        return layer

    def relu() -> nn.Module:
        if not quantised:
            return nn.ReLU()
        layer: nn.Module = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint, bit_width=6, return_quant_tensor=True)
        return layer

    def dense() -> nn.Module:
        if not quantised:
            return nn.Linear(120, CLASSES)
        layer: nn.Module = qnn.QuantLinear(
            120, CLASSES, bias=True, weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=6,
            bias_quant=Int16Bias)  # fmt: skip
        return layer

    first: nn.Module = nn.Identity()
    if quantised:
        first = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, bit_width=8, return_quant_tensor=True)
    return nn.Sequential(
        first, conv(1, 8, 7), relu(), nn.MaxPool1d(2), conv(8, 8, 5), relu(), nn.Flatten(), dense()
    )  # fmt: skip


def run_epochs(network: nn.Module, beats: Images, recipe: Recipe, *, epochs: int, rate: float) -> None:
    """Adam with a one-cycle rate on the cross-entropy."""
    x, y = torch.from_numpy(beats.x), torch.from_numpy(beats.y)
    steps = len(y) // recipe.batch
    optimiser = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * steps)
    drawn = torch.Generator().manual_seed(recipe.seed)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(y), generator=drawn)
        for step in range(steps):
            batch = order[step * recipe.batch : (step + 1) * recipe.batch]
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()


def train(beats: Images, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """The float network and the quantised one that went on from its weights."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    floating, quantised = make_network(False), make_network(True)
    run_epochs(floating, beats, recipe, epochs=recipe.float_epochs, rate=recipe.float_rate)
    quantised.load_state_dict(floating.state_dict(), strict=False)
    run_epochs(quantised, beats, recipe, epochs=recipe.quantised_epochs, rate=recipe.quantised_rate)
    return floating, quantised


def figures(model: Path, floating: nn.Module, quantised: nn.Module, test: Images) -> dict[str, float]:
    """What goes into results.json."""
    integer = integer_outputs(model, test.x)
    recalls = [accuracy(integer[test.y == c], test.y[test.y == c]) for c in np.unique(test.y)]
    counts = np.bincount(test.y)
    return {
        "test_beats": len(test.y),
        "majority": round(float(counts.max() / counts.sum()), 5),
        "float": accuracy(predict(floating, test.x).numpy(), test.y),
        "quantised": accuracy(predict(quantised, test.x).numpy(), test.y),
        "integer": accuracy(integer, test.y),
        "integer_mean_recall": round(float(np.mean(recalls)), 5),
    }


def write_vectors(path: Path, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, x=x, y=y)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--vectors", type=Path, default=VECTORS)
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = Recipe()
    beats, test = split(load_beats(given.data), recipe)
    write_vectors(given.vectors, test.x, test.y)
    floating, quantised = train(beats, recipe)
    export_checked(quantised, given.out / "model.onnx", test.x)
    results = figures(given.out / "model.onnx", floating, quantised, test)
    (given.out / "results.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    print(json.dumps(results, sort_keys=True))


if __name__ == "__main__":
    main()
