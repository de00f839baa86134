"""Train the digits network from a seed, export it, and put float, quantised and integer accuracy side by side.

Run `python -m examples.digits.train`: it writes `data.npz`, `model.onnx` and `results.json` in about a minute. Every
weight has a float scale per channel, activations have learned float scales, and batch norm stands between each
convolution and its ReLU, so that nothing in the circuit is a mere shift.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from brevitas import nn as qnn
from brevitas.quant import Int8WeightPerChannelFloat, Int16Bias, Uint8ActPerTensorFloat
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.integer import integer_outputs

HERE: Final = Path(__file__).resolve().parent
CHECKED: Final = 50
"""Test images on which the written file is compared with PyTorch by the qonnx executor (some ms each)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides the result besides the images."""

    seed: int = 3
    test_share: float = 0.2
    batch: int = 64
    float_epochs: int = 40
    quantised_epochs: int = 30
    float_rate: float = 5e-3
    quantised_rate: float = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """Images (n, 1, 8, 8) of integers 0 to 16 as the data set has them, and their digits (n,)."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


def load_images(recipe: Recipe) -> tuple[Images, Images]:
    """Training and test images of scikit-learn's digits, stratified by digit."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    parts = train_test_split(
        x.reshape(-1, 1, 8, 8).astype(np.float32),
        y.astype(np.int64),
        test_size=recipe.test_share,
        random_state=recipe.seed,
        stratify=y,
    )
    return Images(x=parts[0], y=parts[2]), Images(x=parts[1], y=parts[3])


def convolution(quantised: bool, inputs: int, filters: int, padding: int) -> nn.Module:
    if not quantised:
        return nn.Conv2d(inputs, filters, 3, padding=padding, bias=False)
    layer: nn.Module = qnn.QuantConv2d(
        inputs, filters, 3, padding=padding, bias=False, weight_quant=Int8WeightPerChannelFloat, weight_bit_width=4
    )
    return layer


def activation(quantised: bool) -> nn.Module:
    if not quantised:
        return nn.ReLU()
    layer: nn.Module = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=4, return_quant_tensor=True)
    return layer


def classifier(quantised: bool, inputs: int) -> nn.Module:
    if not quantised:
        return nn.Linear(inputs, 10)
    layer: nn.Module = qnn.QuantLinear(
        inputs, 10, bias=True, weight_quant=Int8WeightPerChannelFloat, weight_bit_width=5, bias_quant=Int16Bias
    )
    return layer


def pixels(quantised: bool) -> nn.Module:
    if not quantised:
        return nn.Identity()
    layer: nn.Module = qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat, bit_width=4, return_quant_tensor=True)
    return layer


def make_network(quantised: bool) -> nn.Sequential:
    """Two convolutions with batch norm, ReLU and max pooling, then one dense layer: 1,864 weights."""
    return nn.Sequential(
        pixels(quantised),
        convolution(quantised, 1, 8, padding=1),
        nn.BatchNorm2d(8),
        activation(quantised),
        nn.MaxPool2d(2),
        convolution(quantised, 8, 16, padding=0),
        nn.BatchNorm2d(16),
        activation(quantised),
        nn.Flatten(),
        classifier(quantised, 64),
    )


def run_epochs(network: nn.Module, images: Images, recipe: Recipe, *, epochs: int, rate: float) -> None:
    """Adam with a one-cycle rate on the cross-entropy."""
    x, y = torch.from_numpy(images.x), torch.from_numpy(images.y)
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


def predict(network: nn.Module, x: NDArray[np.float32]) -> Tensor:
    """Logits (n, 10)."""
    network.eval()
    with torch.no_grad():
        logits: Tensor = network(torch.from_numpy(x))
    return logits


def accuracy(logits: NDArray[np.floating], y: NDArray[np.int64]) -> float:
    """Share of images whose largest logit (the first one of equals) is their digit."""
    return round(float((logits.argmax(axis=1) == y).mean()), 5)


def train(images: Images, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """The float network and the quantised one that went on from its weights."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    floating, quantised = make_network(False), make_network(True)
    run_epochs(floating, images, recipe, epochs=recipe.float_epochs, rate=recipe.float_rate)
    quantised.load_state_dict(floating.state_dict(), strict=False)
    run_epochs(quantised, images, recipe, epochs=recipe.quantised_epochs, rate=recipe.quantised_rate)
    return floating, quantised


def execute(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (n, 10) of a written file by the qonnx executor."""
    import onnx
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    source = onnx.load(path)
    for value in (source.graph.input[0], source.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    model = ModelWrapper(source).transform(InferShapes())
    return np.concatenate([execute_onnx(model, {"x": image[None]})["logits"] for image in x])


def export_checked(network: nn.Module, path: Path, x: NDArray[np.float32]) -> None:
    """Write the network as QONNX (input x (batch, 1, 8, 8), output logits (batch, 10)).

    Raises ValueError when the written file and PyTorch give other logits on any of the first `CHECKED` images.
    """
    from brevitas.export import export_qonnx

    expected = predict(network, x[:CHECKED]).numpy()
    export_qonnx(
        network,
        args=torch.from_numpy(x[:1]),
        export_path=str(path),
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
    )
    off = np.abs(execute(path, x[:CHECKED]) - expected).max()
    if off > 1e-4 * np.abs(expected).max():
        raise ValueError(f"{path.name}: logits differ from PyTorch by up to {off}")


def main() -> None:
    torch.set_num_threads(1)
    recipe = Recipe()
    train_images, test = load_images(recipe)
    np.savez_compressed(HERE / "data.npz", x=test.x.astype(np.uint8), y=test.y)
    floating, quantised = train(train_images, recipe)
    export_checked(quantised, HERE / "model.onnx", test.x)
    layers: list[Any] = [layer for layer in quantised.modules() if hasattr(layer, "quant_weight")]
    results = {
        "test_images": len(test.y),
        "weights": sum(layer.weight.numel() for layer in layers),
        "float": accuracy(predict(floating, test.x).numpy(), test.y),
        "quantised": accuracy(predict(quantised, test.x).numpy(), test.y),
        "integer": accuracy(integer_outputs(HERE / "model.onnx", test.x), test.y),
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    print(json.dumps(results, sort_keys=True))


if __name__ == "__main__":
    main()
