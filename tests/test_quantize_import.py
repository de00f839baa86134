"""ONNX files quantised and built, every import that is refused, and the export check, which must go red."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from edgecomp.errors import EdgecompError, InexpressibleError, MismatchError, ModelError
from edgecomp.frontend import read
from edgecomp.pipeline import BuildRequest, build
from edgecomp.project import Task
from edgecomp.quantize import exported
from edgecomp.quantize.calibrate import calibrated
from edgecomp.quantize.importer import read_float
from edgecomp.quantize.net import Net, weight_of
from edgecomp.quantize.options import Asked, Preset, Scales, recipe_of
from edgecomp.quantize.run import Parts, Quantised, QuantizeRequest, export, quantize
from edgecomp.quantize.tune import Rows, Schedule, tune

pytestmark = pytest.mark.filterwarnings("ignore")


class Quiet:
    """No progress."""

    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int, said: str) -> None:
        pass


class Branches(nn.Module):
    """One-dimensional convolutions side by side, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv1d(2, 3, 1), nn.Conv1d(2, 3, 3, padding=1)
        self.fc = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat((torch.relu(self.narrow(x)), torch.relu(self.wide(x))), 1)
        y: Tensor = self.fc(nn.functional.max_pool1d(both, 2).flatten(1))
        return y


def fitted(module: nn.Module, x: NDArray[np.float32], loss_of: Callable[[Tensor], Tensor], path: Path) -> None:
    """Train a module and leave it as a float ONNX file."""
    optimiser = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss_of(module(torch.from_numpy(x))).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    torch.onnx.export(module.eval(), (torch.from_numpy(x[:1]),), path, dynamo=False, opset_version=17,
                      input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})  # fmt: skip


def quantised_and_built(folder: Path, asked: Asked) -> Quantised:
    """Quantise m.onnx with d.npz and build the result for the host, which must be exact."""
    done = quantize(QuantizeRequest(model=str(folder / "m.onnx"), data=folder / "d.npz", out=folder / "out",
                                    asked=asked, epochs=3), Quiet())  # fmt: skip
    built = build(BuildRequest(model=done.folder, target="host", flow=None, out=folder / "b", data=None, settings={}),
                  Quiet())  # fmt: skip
    assert built.report.verdict.exact
    return done


def test_branches_of_one_dimensional_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    x = (rng.normal(0, 0.5, (150, 2, 8)) + (np.arange(8) // 3 == y[:, None])[:, None]).astype(np.float32)
    fitted(Branches(), x, lambda out: nn.functional.cross_entropy(out, torch.from_numpy(y)), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=x, y=y)
    done = quantised_and_built(tmp_path, Asked(preset=Preset.INT6))
    assert done.task is Task.CLASSES
    assert done.stages[0].value > 0.9
    assert done.stages[-1].value > 0.85
    assert [layer.name for layer in done.layers] == ["narrow", "wide", "fc"]


def test_a_regression(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype(np.float32)
    y = np.stack((x[:, 0] * x[:, 1], x[:, 2] - x[:, 0]), 1)
    module = nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 2))
    fitted(module, x, lambda out: nn.functional.mse_loss(out, torch.from_numpy(y)), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=x, y=y)
    done = quantised_and_built(tmp_path, Asked(preset=Preset.INT8))
    assert done.task is Task.REGRESSION
    assert [stage.flips for stage in done.stages] == [None] * 4
    assert done.stages[-1].value < min(1.2 * done.stages[0].value, 0.5 * float(y.std()))


def test_a_single_logit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(0, 1, (200, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int64)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1), nn.Sigmoid())
    target = torch.from_numpy(y[:, None].astype(np.float32))
    fitted(module, x, lambda out: nn.functional.binary_cross_entropy(out, target), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=x, y=y)
    done = quantised_and_built(tmp_path, Asked(preset=Preset.POW2))
    assert done.stages[0].value > 0.9
    assert done.stages[-1].value > 0.85


class Modern(nn.Module):
    """Activations and movements that recent small networks have: all of them in one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.slope, self.gate, self.last = nn.PReLU(4), nn.Linear(4, 2), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.hardswish(self.first(nn.functional.pad(x, (1, 0, 0, 2))))
        a, b = self.slope(self.second(y)).split((3, 1), dim=1)
        low = torch.cat((a[:, :, 1:5, ::2], b[:, :, 1:5, ::2]), 1)
        pooled = low.mean((2, 3))
        gate = nn.functional.hardsigmoid(self.gate(pooled))
        largest = nn.functional.adaptive_max_pool2d(y, 1).flatten(1)
        found: Tensor = self.last(torch.cat((gate, largest[:, 0:2], pooled[:, 2:]), 1))
        return found


def test_modern_activations_and_movements(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    x = rng.normal(0, 0.3, (150, 1, 5, 6)).astype(np.float32)
    x[np.arange(150), 0, y, 2 * y] += 2
    fitted(Modern(), x, lambda out: nn.functional.cross_entropy(out, torch.from_numpy(y)), tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert kinds >= {"HardSwish", "HardSigmoid", "PRelu", "Split", "Slice", "Pad", "ReduceMean", "GlobalMaxPool"}
    (theirs,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    with torch.no_grad():
        ours = read_float(model, drop_head=False)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    done = quantised_and_built(tmp_path, Asked(preset=Preset.INT8))
    assert done.stages[0].value > 0.9
    assert done.stages[-1].value > 0.85


def parsed(nodes: str, *, x: str = "N,4", constants: str = "", outputs: str = "float[N,2] y") -> onnx.ModelProto:
    """A small model in ONNX's text form."""
    model: onnx.ModelProto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]>\ng (float[{x}] x) => ({outputs}) <{constants}> {{ {nodes} }}'
    )
    return model


W = "float[4,2] w = {1,2,3,4,5,6,7,8}"
NORM = "float[4] a = {1,1,1,1}, float[4] v = {1,1,-1,1}"
MOVED = InexpressibleError


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (parsed("a = Transpose<perm = [0, 1]>(x) y = MatMul(x, a)"), MOVED, "MatMul of two computed values"),
        (parsed("y = MatMul(x, w)", x="N,5", constants=W), ModelError, "MatMul does not fit its operand of shape (5,)"),
        (parsed("y = Transpose(x)"), MOVED, "the batch axis is moved"),
        (parsed("y = QuantizeLinear(x, s)", constants="float s = {1}"), ModelError, "the model is quantised already"),
        (parsed("y = Relu(x) z = Relu(x)", outputs="float[N,4] y, float[N,4] z"), MOVED, "the model has 2 outputs"),
        (parsed("y = Relu(x)"), ModelError, "y: the model has no layer with weights"),
        (parsed("a = Softmax(x) y = MatMul(a, w)", constants=W), MOVED, "Softmax inside the network"),
        (parsed("y = Gemm<transA = 1>(x, w)", constants=W), MOVED, "transA turns the batch axis"),
        (parsed("y = MatMul(x, w)", constants="float[1,4,1] w = {1,2,3,4}"), MOVED, "a weight of 3 axes"),
        (parsed("y = Conv(x, w)", x="N,1,2,2,2", constants="float[1,1,1,1,1] w = {1}"), MOVED,
         "a convolution of 3 axes"),
        (parsed("y = BatchNormalization(x, a, a, a, x)", constants=NORM), ModelError, "whose numbers are no constants"),
        (parsed("y = BatchNormalization(x, a, a, a, v)", constants=NORM), ModelError, "a negative variance"),
        (parsed("y = Sub(x, x)"), MOVED, "Sub of two computed values"),
        (parsed("y = Div(x, z)", constants="float z = {0}"), MOVED, "a division by zero or by a computed value"),
        (parsed("y = Div(z, x)", constants="float z = {1}"), MOVED, "a division by zero or by a computed value"),
        (parsed("y = Clip(x, z)", constants="float z = {0}"), MOVED, "a clip without both bounds"),
        (parsed("y = MaxPool<kernel_shape = [2], pads = [0, 1]>(x)", x="N,1,4"), MOVED, "a pooling with one-sided"),
        (parsed("y = AveragePool<kernel_shape = [2], pads = [1, 1]>(x)", x="N,1,4"), MOVED, "uncounted padding"),
        (parsed("y = ReduceMean<axes = [2]>(x)", x="N,1,2,2"), MOVED, "a mean that is not over all places"),
        (parsed("y = ReduceMean(x)", x="N,1,2,2"), MOVED, "a mean that is not over all places"),
        (parsed("y = GlobalMaxPool(x)", x="N,1,2,2,2"), MOVED, "a pooling of 3 axes"),
        (parsed("y = PRelu(x, a)", constants="float[4] a = {1,2,3,4}", x="N,2,4"), MOVED, "neither one number nor one"),
        (parsed("y = Pad(x, p, z)", constants="int64[4] p = {0,1,0,1}, float z = {1}"), MOVED, "other than zero"),
        (parsed("y = Gather<axis = 1>(x, p)", constants="int64[2] p = {3,1}"), MOVED, "no rising run"),
        (parsed("y = Add(x)"), ModelError, "the node does not fit its operator Add"),
        (parsed("y = Conv<pads = [20000, 20000, 20000, 20000]>(x, w)", x="N,1,1,1",
                constants="float[1,1,1,1] w = {1}"), ModelError, "Conv gives shape (1, 40001, 40001): too large"),
    ],
)  # fmt: skip
def test_imports_that_are_refused(model: onnx.ModelProto, kind: type[EdgecompError], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        read_float(model, drop_head=False)


def made(scales: Scales) -> tuple[Net, onnx.ModelProto, tuple[Tensor, ...]]:
    """A calibrated network, its export, and rows."""
    rng = np.random.default_rng(1)
    first, second = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((6, 4), (4, 3)))
    source = parsed("a = MatMul(x, v) b = Relu(a) y = MatMul(b, w)", x="N,6", outputs="float[N,3] y")
    source.graph.initializer.extend([numpy_helper.from_array(first, "v"), numpy_helper.from_array(second, "w")])
    rows = rng.normal(0, 1, (300, 6)).astype(np.float32)
    recipe = recipe_of(Asked(preset=Preset.INT8, scales=scales))
    net = calibrated(read_float(source, drop_head=False), (torch.from_numpy(rows),), recipe)
    content = export(net, Parts(x=(rows,), y=rows, test_x=(rows,), test_y=rows))
    return net, onnx.load_model_from_string(content), (torch.from_numpy(rows),)


def held(net: Net, model: onnx.ModelProto, rows: tuple[Tensor, ...], scales: Scales) -> exported.Compared:
    lowered = read(model)
    exact = exported.float32_is_exact(net, lowered, powers=scales is Scales.POWER_OF_TWO)
    assert exact == (scales is Scales.POWER_OF_TWO)
    return exported.against_pytorch(model, lowered, net, rows, exact=exact)


@pytest.mark.parametrize("scales", list(Scales))
def test_an_export_that_is_not_the_network_is_found(scales: Scales) -> None:
    net, model, rows = made(scales)
    compared = held(net, model, rows, scales)
    assert compared.codes == 300 * (6 + 4)
    assert compared.near_ties <= 1
    code = r"layers\.3/act_quant.*: sample \d+, index \[\d\]: the export gives \d+"
    output = r"logits: sample 0, index \[0\]: the export gives"
    for change, where in ((one_weight, code), (rounding, code), (one_bias, output)):
        wrong = onnx.ModelProto()
        wrong.CopyFrom(model)
        change(wrong)
        with pytest.raises(MismatchError, match=where):
            held(net, wrong, rows, scales)


def one_weight(model: onnx.ModelProto) -> None:
    """One weight of the first layer, one code larger or smaller."""
    weight, scale = constants_of(quantisers(model, weights=True)[0], model)
    array = numpy_helper.to_array(weight).copy()
    at = int(np.abs(array[0]).argmin())
    array[0, at] += np.broadcast_to(numpy_helper.to_array(scale), array.shape)[0, at]
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))


def rounding(model: onnx.ModelProto) -> None:
    """The codes of the first layer's result are rounded up."""
    node = quantisers(model, weights=False)[-1]
    next(a for a in node.attribute if a.name == "rounding_mode").s = b"CEIL"


def one_bias(model: onnx.ModelProto) -> None:
    """The last layer's first bias, one unit of its accumulator larger."""
    bias, scale = constants_of([n for n in quantisers(model, weights=True) if rank_of(n, model) == 1][-1], model)
    array = numpy_helper.to_array(bias).copy()
    array[0] += numpy_helper.to_array(scale).reshape(-1)[0]
    bias.CopyFrom(numpy_helper.from_array(array, bias.name))


def tensors(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    inline = {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}
    return {t.name: t for t in model.graph.initializer} | inline


def rank_of(node: onnx.NodeProto, model: onnx.ModelProto) -> int:
    return len(tensors(model)[node.input[0]].dims)


def quantisers(model: onnx.ModelProto, *, weights: bool) -> list[onnx.NodeProto]:
    known = tensors(model)
    return [n for n in model.graph.node if n.op_type == "Quant" and (n.input[0] in known) == weights]


def constants_of(node: onnx.NodeProto, model: onnx.ModelProto) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    """What is quantised, and its scale."""
    known = tensors(model)
    return known[node.input[0]], known[node.input[1]]


def test_too_many_codes_beside_boundaries(monkeypatch: pytest.MonkeyPatch) -> None:
    net, model, rows = made(Scales.FLOAT)
    monkeypatch.setattr(exported, "_chunk", lambda *_: {"q": (1000, 20, 1e-3)})
    with pytest.raises(MismatchError, match=r"q: 40 of 2000 codes differ between the export and PyTorch"):
        held(net, model, rows, Scales.FLOAT)


def test_exactness_allows_no_difference_even_on_a_tie() -> None:
    one, tie = np.ones((1, 1), dtype=np.int64), np.zeros((1, 1))
    assert exported._judge("q", one, one + 1, tie, 1e-4) == 1
    with pytest.raises(MismatchError, match=r"q: sample 0, index \[0\]: the export gives 1, PyTorch 2"):
        exported._judge("q", one, one + 1, tie, 0.0)


def test_pruned_weights_stay_zero_in_tuning(tmp_path: Path) -> None:
    net, _, rows = made(Scales.FLOAT)
    data = Rows(x=rows, y=torch.arange(300) % 3, teacher=torch.zeros(300, 3))
    tune(net, data, Schedule(epochs=2, rate=0.01, sparsity=0.5), checkpoint=tmp_path / "c.pt", digest="d")
    assert [float((weight_of(step) == 0).float().mean()) for step in net.linear()] == [0.5, 0.5]
