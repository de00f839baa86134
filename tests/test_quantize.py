"""`edgecomp quantize`: folders that build exactly, resumption, and everything that is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgecomp import cli
from edgecomp.errors import (
    DataError,
    DiskError,
    EdgecompError,
    Exit,
    InexpressibleError,
    MismatchError,
    ModelError,
    ToolError,
    UsageError,
)
from edgecomp.pipeline import BuildRequest, build
from edgecomp.quantize.options import Asked, Bits, Equalisation, Granularity, Preset, Rounding, parse_bits
from edgecomp.quantize.run import QuantizeRequest, quantize

pytestmark = pytest.mark.filterwarnings("ignore")


class Residual(nn.Module):
    """A small convolutional network with what importing must cope with."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(x + self.second(x))
        y: Tensor = self.fc(nn.functional.avg_pool2d(x, 3).flatten(1))
        return y.softmax(1)


def residual() -> nn.Module:
    return Residual()


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))


def not_a_module() -> int:
    return 3


def broken() -> nn.Module:
    raise ValueError("no luck")


class Untraceable(Residual):
    """Runs, but holds an operator that ONNX lacks."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x) + torch.special.i0e(x).mean()
        return y


def untraceable() -> nn.Module:
    return Untraceable()


class Talk:
    """Progress that interrupts after some epochs."""

    def __init__(self, stop: int = 0) -> None:
        self.stop = stop
        self.first = 0

    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int, said: str) -> None:
        self.first = self.first or done
        if done == self.stop:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> QuantizeRequest:
    """A residual network, trained once, and its data."""
    folder = tmp_path_factory.mktemp("residual")
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = rng.normal(0, 1, (240, 6, 6)) + 1.5 * (np.arange(6)[None, :, None] // 2 == y[:, None, None])
    x = x.reshape(240, 1, 6, 6).astype(np.float32)
    torch.manual_seed(0)
    module = residual()
    optimiser = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(40):
        out = module(torch.from_numpy(x))
        loss = nn.functional.nll_loss((out + 1e-6).log(), torch.from_numpy(y))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    np.savez(folder / "d.npz", x=x, y=y)
    torch.save(module.state_dict(), folder / "s.pt")
    return QuantizeRequest(model=f"{__name__}:residual", state=folder / "s.pt", data=folder / "d.npz", epochs=2)


@pytest.fixture
def request_(trained: QuantizeRequest, tmp_path: Path) -> QuantizeRequest:
    """The trained network, to be quantised into a folder of the test's own."""
    return replace(trained, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("asked", "epochs"),
    [
        (Asked(preset=Preset.INT6, layers={"fc": Bits(weights=4, codes=5)}), 2),
        (Asked(preset=Preset.INT8, granularity=Granularity.TENSOR, equalisation=Equalisation.ACTIVATION), 0),
        (Asked(preset=Preset.INT4, rounding=Rounding.FLOOR, sparsity=0.5), 2),
        (Asked(preset=Preset.BINARY), 20),
        (Asked(preset=Preset.POW2, equalisation=Equalisation.NONE), 1),
    ],
)
def test_every_preset_builds_exactly(request_: QuantizeRequest, asked: Asked, epochs: int) -> None:
    done = quantize(replace(request_, asked=asked, epochs=epochs), Talk())
    stages = {stage.name: stage for stage in done.stages}
    assert stages["float"].value > 0.9
    assert stages["float"].flips == 0
    assert stages["integer"].value >= (0.8 if asked.preset is Preset.BINARY else 0.85)
    assert ("tuned" in stages) == bool(epochs)
    facts = {layer.name: layer for layer in done.layers}
    assert set(facts) == {"first", "second", "fc"}
    if asked.sparsity:
        assert all(layer.zeros >= 0.49 for layer in done.layers)
    if asked.layers:
        assert (facts["fc"].bits, facts["first"].bits) == (4, 6)
    built = build(BuildRequest(model=done.folder, target="host", flow=None, out=done.folder.parent / "b", data=None,
                               settings={}), Talk())  # fmt: skip
    assert built.report.verdict.fits
    assert built.report.verdict.exact


def test_interrupted_tuning_goes_on_and_ends_alike(request_: QuantizeRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecomp.quantize.tune.SAVE_SECONDS", 0.0)
    request = replace(request_, epochs=4)
    quantize(request, Talk())
    assert request.out is not None
    whole = {path.name: path.read_bytes() for path in request.out.iterdir()}
    assert set(whole) == {"model.onnx", "data.npz", "train.npz", "edgecomp.toml", "quantize.json"}
    with pytest.raises(KeyboardInterrupt):
        quantize(request, Talk(stop=2))
    talk = Talk()
    quantize(request, talk)
    assert talk.first == 3
    assert {path.name: path.read_bytes() for path in request.out.iterdir()} == whole
    (request.out / "checkpoint.pt").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(DataError, match=r"checkpoint\.pt: the checkpoint cannot be read"):
        quantize(request, Talk())
    torch.save([1, 2], request.out / "checkpoint.pt")
    with pytest.raises(DataError, match=r"checkpoint\.pt: the checkpoint does not fit"):
        quantize(request, Talk())
    (request.out / "checkpoint.pt").unlink()
    (request.out / "checkpoint.pt.new").mkdir()
    with pytest.raises(DiskError, match=r"checkpoint\.pt: cannot write the checkpoint"):
        quantize(replace(request, epochs=1), Talk())


def test_what_cannot_be_written(request_: QuantizeRequest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="cannot write there: Not a directory"):
        quantize(replace(request_, out=tmp_path / "file" / "out"), Talk())
    (tmp_path / "out" / "model.onnx").mkdir(parents=True)
    with pytest.raises(DiskError, match="cannot write the model: Is a directory"):
        quantize(replace(request_, epochs=0), Talk())


def test_what_is_missing_or_wrong_inside(request_: QuantizeRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("edgecomp.quantize.run.importlib.util.find_spec", lambda name: None)
        with pytest.raises(ToolError, match="quantising needs PyTorch, Brevitas"):
            quantize(request_, Talk())
    with monkeypatch.context() as patch:
        patch.setattr("edgecomp.quantize.net.Add.forward", lambda self, a, b: a - b)
        with pytest.raises(MismatchError, match="is not what ONNX Runtime computes"):
            quantize(request_, Talk())


def test_command_line(request_: QuantizeRequest, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["quantize", request_.model, "--state", str(request_.state), "--data", str(request_.data), "--out",
                 str(request_.out), "--epochs", "0", "--preset", "int6"]  # fmt: skip
    assert cli.main(arguments) == Exit.DONE
    printed = capsys.readouterr().out
    assert "not asked for (--epochs 0)" in printed
    assert printed.rstrip().endswith(str(request_.out))
    assert cli.main([*arguments, "--json"]) == Exit.DONE
    found = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in found["stages"]] == ["float", "calibrated", "integer"]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model": "os:sep"}, UsageError, "os:sep: the factory cannot be run: TypeError"),
        ({"model": "no.such:thing"}, UsageError, "the factory cannot be run: ModuleNotFoundError"),
        ({"model": "a b:c()"}, UsageError, "is not of the form package.module:factory"),
        ({"model": f"{__name__}:broken"}, UsageError, "the factory cannot be run: ValueError: no luck"),
        ({"model": f"{__name__}:not_a_module"}, UsageError, "the factory gives a int, no torch.nn.Module"),
        ({"model": f"{__name__}:perceptron"}, DataError, "the state dict does not fit the module: Missing key"),
        ({"model": "gone.onnx", "state": None}, UsageError, "gone.onnx: there is no such model"),
        ({"model": "gone.onnx"}, UsageError, "--state: a state dict goes with a module"),
        ({"state": None}, UsageError, "--state: a module needs its trained weights"),
        ({"state": Path("gone.pt")}, DataError, "gone.pt: there is no such state dict"),
        ({"model": f"{__name__}:untraceable"}, ModelError, "MODEL: the module cannot be traced"),
        ({"rate": 0.0}, UsageError, "--rate: rate cannot be 0"),
        ({"test_share": 1.0}, UsageError, "--test-share: test_share cannot be 1"),
        ({"test_share": 0.001}, DataError, "the rows cannot be split"),
        ({"asked": Asked(sparsity=1.0)}, UsageError, "--sparsity: sparsity cannot be 1"),
        ({"asked": Asked(preset=Preset.BINARY, sparsity=0.5)}, UsageError, "binary weights cannot be zero"),
        ({"asked": Asked(weight_bits=1)}, UsageError, "--weight-bits: integer weights"),
        ({"asked": Asked(layers={"fcc": Bits(weights=4)})}, UsageError, "there is no layer named fcc"),
    ],
)  # fmt: skip
def test_refusals(request_: QuantizeRequest, change: dict[str, Any], kind: type[EdgecompError], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        quantize(replace(request_, **change), Talk())


def test_bad_files(request_: QuantizeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "bare.npz", x=np.zeros((30, 1, 6, 6)))
    with pytest.raises(DataError, match="holds no targets y"):
        quantize(replace(request_, data=tmp_path / "bare.npz"), Talk())
    np.savez(tmp_path / "odd.npz", x=np.zeros((30, 5)), y=np.zeros(30, dtype=int))
    with pytest.raises(DataError, match=r"the module does not take samples of shape \(5,\)"):
        quantize(replace(request_, data=tmp_path / "odd.npz"), Talk())
    state = torch.load(str(request_.state), weights_only=True)
    state["fc.weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(ModelError, match=r"nan\.pt: fc\.weight: the weights are NaN"):
        quantize(replace(request_, state=tmp_path / "nan.pt"), Talk())
    with monkeypatch.context() as patch:
        patch.setattr("edgecomp.quantize.tune.MOST_BYTES", 100)
        with pytest.raises(DataError, match="the state dict is larger than 0 MiB"):
            quantize(request_, Talk())
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DataError, match="the file holds no state dict"):
        quantize(replace(request_, state=tmp_path / "list.pt"), Talk())
    torch.save(Residual(), tmp_path / "pickle.pt")
    with pytest.raises(DataError, match="the state dict cannot be read"):
        quantize(replace(request_, state=tmp_path / "pickle.pt"), Talk())
    np.savez(tmp_path / "other.npz", z=np.zeros((30, 5)))
    with pytest.raises(DataError, match=r"other\.npz: lacks the array x"):
        quantize(replace(request_, data=tmp_path / "other.npz"), Talk())
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(DataError, match=r"text\.npz: is no sound \.npz file"):
        quantize(replace(request_, data=tmp_path / "text.npz"), Talk())
    with pytest.raises(DataError, match=r"gone\.npz: there is no such data file"):
        quantize(replace(request_, data=tmp_path / "gone.npz"), Talk())
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        quantize(replace(request_, data=tmp_path), Talk())
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(UsageError, match="the output folder holds something else"):
        quantize(request_, Talk())


def test_every_operator_that_cannot_be_quantised_is_named(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    nodes = [helper.make_node("Erf", ["x"], ["a"]), helper.make_node("Elu", ["x"], ["b"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "b")]
    save(helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:])), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.zeros((9, 4)), y=np.zeros(9, dtype=int))
    request = QuantizeRequest(model=str(tmp_path / "m.onnx"), data=tmp_path / "d.npz", out=tmp_path / "o")
    with pytest.raises(InexpressibleError, match=r"(?s)a: operator Erf cannot.*b: operator Elu cannot"):
        quantize(request, Talk())


def test_bits_of_layers() -> None:
    assert parse_bits(["fc1=4", "a=b=3:6"]) == {"fc1": Bits(weights=4), "a=b": Bits(weights=3, codes=6)}
    with pytest.raises(UsageError, match="'fc1' is not of the form LAYER=WEIGHTS"):
        parse_bits(["fc1"])
