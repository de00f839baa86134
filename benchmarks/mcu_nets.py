"""The perceptrons of the microcontroller benchmark: float by scikit-learn, then integers by Brevitas from there.

    python -m benchmarks.mcu_nets [--data-root DIR]

shows by how much the accuracy of each pair of widths is off the float network's, by cross-validation within the
training rows of three seeds: what `BITS` was chosen by.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.frontend import read_file
from edgecomp.ir import Network

Reals = NDArray[np.float64]
Ints = NDArray[np.int64]
HIDDEN = 10
SETS = ("iris", "digits", "pendigits")
TRIED = ((8, 8), (8, 10), (8, 12), (10, 10), (10, 12))
BITS = (10, 12)  # of weights and of hidden values: of those tried the most accurate within training rows
STEPS, BATCH, RATE = 2500, 128, 5e-3  # chosen on a quarter of the training rows of digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Features in 0..1 on the grid of 1/256 that both sides get, and classes."""

    train_x: Reals
    train_y: Ints
    test_x: Reals
    test_y: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The float network (weights (inputs, outputs)) and the integer one made from it."""

    weights: tuple[Reals, ...]
    biases: tuple[Reals, ...]
    float_accuracy: float
    network: Network


def load(name: str, seed: int, root: Path) -> Split:
    """iris and digits: 70 % to train, stratified; pendigits by its two files. Scaled by the training rows' range."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    if name == "pendigits":
        sides = [np.loadtxt(root / "pendigits" / f"pendigits.{end}", delimiter=",") for end in ("tra", "tes")]
        parts: list[Any] = [sides[0][:, :-1], sides[1][:, :-1], sides[0][:, -1], sides[1][:, -1]]
    else:
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        parts = train_test_split(x, y, test_size=0.3, random_state=seed, stratify=y)
    low, high = parts[0].min(axis=0), parts[0].max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    scaled = [np.clip(np.rint((x - low) / span * 255), 0, 255) / 256 for x in parts[:2]]
    return Split(train_x=scaled[0], test_x=scaled[1], train_y=parts[2].astype(np.int64),
                 test_y=parts[3].astype(np.int64))  # fmt: skip


def train(split: Split, seed: int, steps: int = STEPS) -> Trained:
    """One hidden layer of ten with ReLU, and the integer network made from it."""
    floating = _floating(split, seed)
    parts, scale = tuned(floating.coefs_, floating.intercepts_, split, seed, steps)
    return Trained(weights=tuple(floating.coefs_), biases=tuple(floating.intercepts_),
                   float_accuracy=float(floating.score(split.test_x, split.test_y)),
                   network=_integers(_model(parts, scale), split.train_x[:1]))  # fmt: skip


def _floating(split: Split, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    floating = MLPClassifier((HIDDEN,), random_state=seed, max_iter=600, learning_rate_init=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 600 epochs were not enough to converge
        return floating.fit(split.train_x, split.train_y)


def compared(split: Split, seed: int, folds: int = 4) -> dict[tuple[int, int], float]:
    """By widths, the mean accuracy beyond the float network's on rows held out of the training rows, in points."""
    from sklearn.model_selection import StratifiedKFold

    found = dict.fromkeys(TRIED, 0.0)
    for kept, out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(split.train_x, split.train_y):
        x, y = split.train_x, split.train_y
        part = Split(train_x=x[kept], train_y=y[kept], test_x=x[out], test_y=y[out])
        floating = _floating(part, seed)
        for bits in TRIED:
            parts, scale = tuned(floating.coefs_, floating.intercepts_, part, seed, STEPS, bits)
            share = _accuracy(parts, part, (scale, *bits))
            found[bits] += 100 * (share - floating.score(part.test_x, part.test_y)) / folds
    return found


def _accuracy(parts: list[Any], split: Split, grid: tuple[float, int, int]) -> float:
    import torch

    logits = _logits(parts, torch.from_numpy(split.test_x.astype(np.float32)), grid)
    return float((logits.argmax(dim=1).numpy() == split.test_y).mean())


def tuned(
    weights: list[Reals], biases: list[Reals], split: Split, seed: int, steps: int, bits: tuple[int, int] = BITS
) -> tuple[list[Any], float]:
    """(weights and biases of both layers as the integers will round them, scale of hidden values).

    Trained on the labels of the training rows, and on what the float network says of rows between two of them; what is
    kept is the mean over the last steps. Nothing is selected, and the test rows are not seen. `bits` of weights and
    hidden values.
    """
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    x, y = torch.from_numpy(split.train_x.astype(np.float32)), torch.from_numpy(split.train_y)
    pairs = zip(weights, biases, strict=True)
    start = [torch.from_numpy(v.astype(np.float32)) for w, b in pairs for v in (w.T, b)]
    now, mean = [v.clone().requires_grad_() for v in start], [v.clone() for v in start]
    optimiser = torch.optim.Adam(now, RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        if step % 100 == 0:
            scale = _hidden_scale(now, x, bits[1])
        one, other = torch.randint(len(y), (2, BATCH))
        between = x[one] + torch.rand(BATCH, 1) / 2 * (x[other] - x[one])
        with torch.no_grad():
            said = functional.softmax(_logits(start, between) / 2, dim=1)
        ours = functional.log_softmax(_logits(now, between, (scale, *bits)) / 2, dim=1)
        loss = functional.cross_entropy(_logits(now, x[one], (scale, *bits)), y[one])
        loss = loss + 4 * functional.kl_div(ours, said, reduction="batchmean")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for kept, v in zip(mean, now, strict=True):
                kept.lerp_(v, max(0.005, 9 / (step + 10)))
    return mean, _hidden_scale(mean, x, bits[1])


def _power_of_two(most: Any, top: int) -> Any:
    """The least power of two of which `top` reach `most`."""
    import torch

    return 2.0 ** torch.ceil(torch.log2(most.detach() / top))


def _hidden_scale(parts: list[Any], x: Any, bits: int) -> float:
    import torch

    return float(_power_of_two(torch.relu(x @ parts[0].T + parts[1]).max(), (1 << bits) - 1))


def _rounded(v: Any, scale: Any, least: int, most: int) -> Any:
    """On the grid, with the gradient of what is not."""
    import torch

    clipped = torch.clamp(v, least * scale, most * scale)
    return clipped + (torch.round(clipped / scale) * scale - clipped).detach()


def _logits(parts: list[Any], x: Any, grid: tuple[float, int, int] | None = None) -> Any:
    """The float network's, or the rounded one's with a scale of hidden values, bits of weights and bits of these."""
    import torch

    first, bias, last, end = parts
    if grid is None:
        return torch.relu(x @ first.T + bias) @ last.T + end
    top = (1 << (grid[1] - 1)) - 1
    first, last = (_rounded(w, _power_of_two(w.abs().max(), top), -top, top) for w in (first, last))
    hidden = _rounded(torch.relu(x @ first.T + bias), grid[0], 0, (1 << grid[2]) - 1)
    return hidden @ last.T + end


def _model(parts: list[Any], scale: float) -> Any:
    """The Brevitas form with these weights."""
    import torch
    from brevitas import nn as qnn
    from brevitas.quant import Int8WeightPerTensorFixedPoint, Int32Bias, Uint8ActPerTensorFixedPoint

    def act(step: float, width: int) -> dict[str, Any]:
        top = ((1 << width) - 1) * step
        return {"act_quant": Uint8ActPerTensorFixedPoint, "bit_width": width, "return_quant_tensor": True,
                "scaling_impl_type": "const", "scaling_init": top, "min_val": 0.0, "max_val": top}  # fmt: skip

    layers: list[Any] = [qnn.QuantIdentity(**act(1 / 256, 8))]
    for number, (weight, bias) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        layers += [qnn.QuantReLU(**act(scale, BITS[1]))] if number else []
        layer = qnn.QuantLinear(weight.shape[1], weight.shape[0], bias=True, bias_quant=Int32Bias,
                                weight_quant=Int8WeightPerTensorFixedPoint, weight_bit_width=BITS[0])  # fmt: skip
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        layers.append(layer)
    return torch.nn.Sequential(*layers)


def _integers(model: Any, x: Reals) -> Network:
    import torch
    from brevitas.export import export_qonnx

    model.eval()
    with TemporaryDirectory(prefix="edgecomp-") as folder:
        path = Path(folder) / "model.onnx"
        sample = torch.from_numpy(x.astype(np.float32))
        export_qonnx(model, args=sample, export_path=str(path), dynamo=False, opset_version=17, input_names=["x"],
                     output_names=["logits"], dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}})  # fmt: skip
        return read_file(path).network


def main() -> None:
    parser = argparse.ArgumentParser(description="compare widths within the training rows")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    root = parser.parse_args().data_root
    for name in SETS:
        found = [compared(load(name, seed, root), seed) for seed in range(3)]
        means = {bits: statistics.mean(one[bits] for one in found) for bits in TRIED}
        print(name, ", ".join(f"{bits[0]} and {bits[1]} bits {mean:+.3f}" for bits, mean in means.items()), flush=True)


if __name__ == "__main__":
    main()
