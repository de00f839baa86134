"""The perceptrons of the microcontroller benchmark: float by scikit-learn, then integers by Brevitas from there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
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
BITS = 8  # of inputs, weights and hidden values


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


def train(split: Split, seed: int, epochs: int = 15) -> Trained:
    """One hidden layer of ten with ReLU; the integer network is the best epoch's on the training rows."""
    from sklearn.neural_network import MLPClassifier

    floating = MLPClassifier((HIDDEN,), random_state=seed, max_iter=600, learning_rate_init=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 600 epochs were not enough to converge
        floating.fit(split.train_x, split.train_y)
    return Trained(weights=tuple(floating.coefs_), biases=tuple(floating.intercepts_),
                   float_accuracy=float(floating.score(split.test_x, split.test_y)),
                   network=quantise(floating.coefs_, floating.intercepts_, split, seed, epochs))  # fmt: skip


def quantise(weights: list[Reals], biases: list[Reals], split: Split, seed: int, epochs: int) -> Network:
    """Fine-tuned from the float weights with power-of-two scales."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = _model([len(weights[0]), *(len(b) for b in biases)])
    dense = [layer for layer in model if hasattr(layer, "quant_weight")]
    with torch.no_grad():
        for layer, w, b in zip(dense, weights, biases, strict=True):
            layer.weight.copy_(torch.from_numpy(w.T.astype(np.float32)))
            layer.bias.copy_(torch.from_numpy(b.astype(np.float32)))
    x, y = torch.from_numpy(split.train_x.astype(np.float32)), torch.from_numpy(split.train_y)
    model.train()
    model(x)  # the ranges of hidden values
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    best, kept = -1.0, model.state_dict()
    for _ in range(epochs):
        model.eval()
        with torch.no_grad():
            score = float((model(x).argmax(1) == y).double().mean())
        if score > best:
            best, kept = score, {key: value.clone() for key, value in model.state_dict().items()}
        model.train()
        for batch in torch.split(torch.randperm(len(y)), 64):
            loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    model.load_state_dict(kept)
    return _integers(model, x[:1])


def _model(sizes: list[int]) -> Any:
    from brevitas import nn as qnn
    from brevitas.quant import Int8WeightPerTensorFixedPoint, Int16Bias, Uint8ActPerTensorFixedPoint
    from torch import nn

    act: dict[str, Any] = {"act_quant": Uint8ActPerTensorFixedPoint, "bit_width": BITS, "return_quant_tensor": True}
    layers: list[nn.Module] = [qnn.QuantIdentity(**act, scaling_impl_type="const", scaling_init=255 / 256,
                                                 min_val=0.0, max_val=255 / 256)]  # fmt: skip
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers += [qnn.QuantReLU(**act)] if number else []
        layers.append(qnn.QuantLinear(inputs, outputs, bias=True, weight_quant=Int8WeightPerTensorFixedPoint,
                                      weight_bit_width=BITS, bias_quant=Int16Bias))  # fmt: skip
    return nn.Sequential(*layers)


def _integers(model: Any, x: Any) -> Network:
    from brevitas.export import export_qonnx

    model.eval()
    with TemporaryDirectory(prefix="edgecomp-") as folder:
        path = Path(folder) / "model.onnx"
        export_qonnx(model, args=x, export_path=str(path), dynamo=False, opset_version=17, input_names=["x"],
                     output_names=["logits"], dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}})  # fmt: skip
        return read_file(path).network
