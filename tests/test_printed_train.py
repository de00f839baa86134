"""Training from tables, the exported models, and the example of the printed back end."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgecomp import frontend, interp
from edgecomp.backends.printed import PrintedOptions, load_library
from edgecomp.backends.printed.design import make_design, simulate_design
from edgecomp.backends.printed.options import Effort
from edgecomp.check import against_source
from edgecomp.contract import quantise_input, real_output
from edgecomp.errors import DataError, EdgecompError, MismatchError, UsageError
from edgecomp.ir import Dense
from edgecomp.passes import with_argmax
from edgecomp.project import load_project
from edgecomp.quantize.mlp import Layer, Mlp, Schedule, Spec, Weights, fixed_point, floored, power_of_two
from edgecomp.quantize.qonnx import Scaler, fit_scaler, to_qonnx
from edgecomp.quantize.train import TrainRequest, split_table, train_csv, verify_export
from edgecomp.tables import Missing, read_table

EXAMPLE = Path(__file__).parents[1] / "examples" / "printed"
BRIEF = Schedule(epochs=120, restarts=4)


def blobs(path: Path, *, rows: int = 150, missing: bool = False) -> Path:
    """Three classes of points in four features, the last feature noise of another scale."""
    rng = np.random.default_rng(3)
    lines = ["p;q;r;noise;kind"]
    for row in range(rows):
        kind = row % 3
        point = rng.normal([3.0 * kind, -2.0 * (kind == 1), 0.1 * kind, 0.0], [0.6, 0.6, 0.02, 500.0])
        cells = ["" if missing and row % 7 == 0 and k == 1 else f"{v:.4f}" for k, v in enumerate(point)]
        lines.append(";".join([*cells, "abc"[kind]]))
    path.write_text("\n".join(lines) + "\n")
    return path


def random_mlp(spec: Spec, seed: int) -> Mlp:
    rng = np.random.default_rng(seed)
    sizes = (spec.features, *spec.hidden, spec.classes)
    layers = []
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        exponents = rng.integers(0, spec.fraction + 1, (outputs, inputs))
        weight = np.where(rng.random((outputs, inputs)) < 0.3, 0, rng.choice([-1, 1], (outputs, inputs)) << exponents)
        shift = 0 if k == len(sizes) - 2 else int(rng.integers(-2, 6))
        layers.append(Layer(weight=weight, bias=rng.integers(-40, 41, outputs), shift=shift))
    return Mlp(spec=spec, layers=tuple(layers))


@pytest.mark.parametrize(("hidden", "weights"), [((3,), Weights.POWER_OF_TWO), ((4, 3), Weights.FIXED_POINT)])
def test_from_a_table_to_a_folder(tmp_path: Path, hidden: tuple[int, ...], weights: Weights) -> None:
    told: list[str] = []
    request = TrainRequest(data=(blobs(tmp_path / "t.csv"),), label="kind", out=tmp_path / "out", hidden=hidden,
                           weights=weights, schedule=BRIEF)  # fmt: skip
    result = train_csv(request, told.append)
    assert result.classes == ("a", "b", "c")
    assert (result.train_rows, result.test_rows) == (105, 45)
    assert result.test_accuracy > 0.85 > result.majority
    assert told[-1].startswith("epoch 120 of 120, loss ")
    magnitudes = {abs(int(w)) for layer in result.mlp.layers for w in layer.weight.reshape(-1)}
    if weights is Weights.POWER_OF_TWO:
        assert magnitudes <= {0, *(1 << k for k in range(7))}
    project = load_project(tmp_path / "out" / "edgecomp.toml")
    assert (project.name, project.target, dict(project.options)) == ("out", "printed", {"head": "argmax"})
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    train_csv(request)
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("seed", range(6))
def test_exported_models_are_the_integers(seed: int) -> None:
    """Raw values in, the front end's network and the source both equal the trained integers, any depth and widths."""
    rng = np.random.default_rng(seed)
    hidden = tuple(int(n) for n in rng.integers(1, 6, rng.integers(0, 3)))
    spec = Spec(features=5, hidden=hidden, classes=int(rng.integers(2, 5)), input_bits=int(rng.integers(1, 7)),
                weight_bits=3 + seed % 2, hidden_bits=int(rng.integers(2, 7)))  # fmt: skip
    mlp = random_mlp(spec, seed)
    x = rng.normal(0, 1, (200, 5)) * [1, 10, 0.01, 3, 0] + [0, 100, 0, -7, 2]
    scaler = fit_scaler(x[:100], spec.input_bits)
    model = to_qonnx(mlp, scaler)
    onnx.checker.check_model(model)
    verify_export(model.SerializeToString(), mlp, scaler, x)
    lowered = frontend.read(model)
    against_source(model, lowered, {"x": x[:50].astype(np.float32)})
    wrong = replace(mlp, layers=(*mlp.layers[:-1], replace(mlp.layers[-1], bias=mlp.layers[-1].bias + 1)))
    with pytest.raises(MismatchError, match=r"model\.onnx: the exported model does not compute the trained integers"):
        verify_export(model.SerializeToString(), wrong, scaler, x)


def test_the_scaler_clips_and_spans_the_codes() -> None:
    scaler = fit_scaler(np.array([[0.0, 5.0], [30.0, 5.0]]), 4)
    np.testing.assert_array_equal(scaler.codes(np.array([[-9.0, 5.0], [30.0, 5.0], [99.0, 7.0], [7.0, 5.0]]))[:, 0],
                                  [0, 15, 15, 4])  # fmt: skip
    assert isinstance(scaler, Scaler)
    assert scaler.offset.tolist() == [0.0, 5.0]


def test_quantisers_of_training() -> None:
    w = torch.tensor([0.0, 0.1, 0.126, 0.18, 0.19, 0.24, 0.37, 0.38, 0.74, 0.76, 1.0, -0.3, -0.05])
    expected = [0, 0.125, 0.125, 0.125, 0.25, 0.25, 0.25, 0.5, 0.5, 1, 1, -0.25, 0]
    assert power_of_two(w, 3).tolist() == expected
    assert fixed_point(torch.tensor([0.3, -0.3]), 2).tolist() == [0.25, -0.25]
    assert floored(torch.tensor([-1.0, 0.24, 0.26, 5.0]), 2).tolist() == [0, 0, 0.25, 0.75]
    v = torch.tensor([-1.0, 0.3, 5.0], requires_grad=True)
    torch.autograd.backward(floored(v, 2).sum())
    assert v.grad is not None
    np.testing.assert_allclose(v.grad.numpy(), [0.1, 1.0, 0.1], rtol=1e-6)


def test_medians_come_from_the_training_rows(tmp_path: Path) -> None:
    table = read_table((blobs(tmp_path / "t.csv", missing=True),), "kind", missing=Missing.MEDIAN)
    split = split_table(table, 0.3, 42)
    assert not np.isnan(split.train_x).any()
    assert not np.isnan(split.test_x).any()
    from sklearn.model_selection import train_test_split

    first, second = train_test_split(np.arange(150), test_size=0.3, stratify=table.y, random_state=42)
    lacking = np.isnan(table.x[second, 1])
    assert lacking.sum() > 2
    assert set(split.test_x[lacking, 1].tolist()) == {np.nanmedian(table.x[first, 1])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "mcu"}, "--target: there is no training for mcu yet\n  hint: give printed"),
        ({"input_bits": 0}, "--input-bits: input_bits cannot be 0\n  hint: give 1 to 12"),
        ({"weight_bits": 9}, "--weight-bits: weight_bits cannot be 9\n  hint: give 3 to 5"),
        ({"weight_bits": 1, "weights": Weights.FIXED_POINT}, "weight_bits cannot be 1\n  hint: give 2 to 12"),
        ({"hidden_bits": 13}, "--hidden-bits: hidden_bits cannot be 13"),
        ({"hidden": (0,)}, "--hidden: hidden layers cannot be (0,)"),
        ({"test_share": 1.0}, "--test-share: test_share cannot be 1.0"),
        ({"test_share": 0.001}, "--test-share: the rows cannot be split: "),
    ],
)
def test_requests_that_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    request = TrainRequest(data=(blobs(tmp_path / "t.csv"),), label="kind", out=tmp_path / "out", schedule=BRIEF)
    with pytest.raises(EdgecompError, match=re.escape(message)):
        train_csv(replace(request, **change))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_other_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = blobs(tmp_path / "t.csv")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    request = TrainRequest(data=(table,), label="kind", out=tmp_path / "out", schedule=Schedule(epochs=2, restarts=1))
    with pytest.raises(UsageError, match="the output folder holds something else"):
        train_csv(request)
    with pytest.raises(EdgecompError, match="cannot write the model: "):
        train_csv(replace(request, out=table / "below"))
    table.write_text(table.read_text() + "1;2;3;4;rare\n")
    with pytest.raises(DataError, match="class rare has a single row, which cannot be split"):
        train_csv(replace(request, out=tmp_path / "new"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EdgecompError, match="training needs PyTorch and scikit-learn"):
        train_csv(request)


def test_the_example_becomes_gates_that_classify() -> None:
    """examples/printed as committed: exact through front end and mapping, its accuracy that of its training."""
    project = load_project(EXAMPLE / "edgecomp.toml")
    assert project.data is not None
    plain = frontend.read(onnx.load(project.model)).network
    network = with_argmax(plain)
    with np.load(project.data) as data:
        x, y = data["x"], data["y"]
    inputs = {node.name: quantise_input(node, x) for node in network.inputs}
    expected = interp.outputs(network, inputs)
    target = load_library()
    design = make_design(network, target, PrintedOptions(effort=Effort.QUICK))
    cost = simulate_design(design, target, inputs, expected)
    accuracy = float((expected[network.outputs[0].name][:, 0] == y).mean())
    assert accuracy > 0.93
    assert len(y) == 171
    assert cost.area_cm2 < 3
    assert cost.at(0.6).supply in ("harvester", "Blue Spark")
    assert sum(isinstance(node, Dense) for node in network.nodes) == 2


@pytest.mark.filterwarnings("ignore")
def test_the_quantiser_trains_in_brevitas_and_exports_exactly(tmp_path: Path) -> None:
    """A Brevitas model with our weight quantiser: gradients flow, and PyTorch equals the front end's network."""
    from brevitas.export import export_qonnx
    from brevitas.nn import QuantIdentity, QuantLinear, QuantReLU
    from brevitas.quant import Int16Bias, Uint8ActPerTensorFixedPoint

    from edgecomp.quantize.brevitas import power_of_two_weight, settle

    torch.manual_seed(0)
    weight_quant = power_of_two_weight(4)
    codes = {"act_quant": Uint8ActPerTensorFixedPoint, "bit_width": 4, "return_quant_tensor": True}
    layer = {"bias": True, "weight_quant": weight_quant, "bias_quant": Int16Bias}
    model = torch.nn.Sequential(QuantIdentity(**codes), QuantLinear(5, 4, **layer, return_quant_tensor=True),
                                QuantReLU(**codes), QuantLinear(4, 3, **layer))  # fmt: skip
    x = torch.rand(256, 5)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(x), (x.sum(1) > 2.5).long())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    model.eval()
    with torch.no_grad():
        expected = model(x)
        settle(model)
        assert torch.equal(model(x), expected)
    path = tmp_path / "model.onnx"
    export_qonnx(model, args=x[:1], export_path=str(path), dynamo=False, opset_version=17, input_names=["x"],
                 output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}})  # fmt: skip
    network = frontend.read(onnx.load(path)).network
    for node in network.nodes:
        if isinstance(node, Dense):
            assert set(np.abs(node.weight.array).reshape(-1).tolist()) <= {0, 1, 2, 4, 8, 16}
    source, end = network.inputs[0], network.outputs[0]
    got = interp.outputs(network, {source.name: quantise_input(source, x.numpy())})[end.name]
    np.testing.assert_array_equal(real_output(end, got), expected.double().numpy())
