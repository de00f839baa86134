"""`edgecomp quantize`: a trained float model into a folder that `build` takes, with its accuracy at every stage."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.check import host_codes
from edgecomp.contract import real_output
from edgecomp.data import Data, check_targets, decide_task, load_data, sample_shape
from edgecomp.errors import DataError, DiskError, MismatchError, ToolError, UsageError
from edgecomp.flows import Progress
from edgecomp.frontend import read
from edgecomp.frontend.model import graph_inputs
from edgecomp.project import Task
from edgecomp.quantize.exported import against_pytorch, float32_is_exact
from edgecomp.quantize.options import Asked, Form, Recipe, Scales, check_layers, rate_of, recipe_of
from edgecomp.quantize.source import is_factory, read_source
from edgecomp.quantize.train import npz

if TYPE_CHECKING:
    from edgecomp.quantize.net import Net

Reals = NDArray[np.floating]
CHECKPOINT, SUMMARY = "checkpoint.pt", "quantize.json"
KNOWN = {"model.onnx", "data.npz", "train.npz", "edgecomp.toml", CHECKPOINT, f"{CHECKPOINT}.new", SUMMARY}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeRequest:
    """What is asked for. `model` is a float ONNX file or package.module:factory; `test` holds rows kept for the test,
    else a share of `data` is kept, drawn from the seed; `rate` is the preset's where None."""

    model: str
    data: Path
    state: Path | None = None
    test: Path | None = None
    out: Path | None = None
    target: str = "fpga"
    task: Task | None = None
    asked: Asked = field(default_factory=Asked)
    epochs: int = 20
    rate: float | None = None
    test_share: float = 0.3
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Accuracy on the test rows (root mean squared error of a regression), and rows whose class is not the float's."""

    name: str
    value: float
    flips: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """One layer: bits of its weights, how many there are, the share of them that is zero."""

    name: str
    bits: int
    weights: int
    zeros: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """The written folder, and how the network did at each stage."""

    folder: Path
    task: Task
    rows: int
    stages: tuple[Stage, ...]
    layers: tuple[LayerFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Rows to calibrate and tune on, and rows to test on; x by input."""

    x: tuple[Reals, ...]
    y: NDArray[Any]
    test_x: tuple[Reals, ...]
    test_y: NDArray[Any]


def quantize(request: QuantizeRequest, progress: Progress) -> Quantised:
    """Import, calibrate, tune, export; deterministic in the seed. The export's integers are held against PyTorch."""
    import torch

    recipe = _check(request)
    out = request.out or Path("build") / f"{Path(request.model.rpartition(':')[2]).stem}-{request.asked.preset}"
    _claim(out)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of one order on every machine; the matrices are small
    try:
        with torch.random.fork_rng():
            torch.manual_seed(request.seed)
            return _quantize(request, recipe, out, progress)
    finally:
        torch.set_num_threads(threads)


def _quantize(request: QuantizeRequest, recipe: Recipe, out: Path, progress: Progress) -> Quantised:
    from edgecomp.quantize.calibrate import calibrated
    from edgecomp.quantize.importer import read_float
    from edgecomp.quantize.tune import prune

    progress.stage("reading the model and its data")
    shape = sample_shape(request.data) if is_factory(request.model) else ()
    source = read_source(request.model, request.state, shape)
    shapes = {one.name: one.shape for one in graph_inputs(source.graph, [t.name for t in source.graph.initializer])}
    data = load_data(request.data, shapes)
    net = read_float(source, drop_head=decide_task(request.task, data, 2) is Task.CLASSES)
    task, parts = _parts(request, data, net, shapes)
    check_layers(recipe, [step.name for step in net.linear()])
    _verify_float(source, net, parts)
    floats = _run(net, parts.test_x)
    progress.stage("calibrating")
    pruned = copy.deepcopy(net)
    if recipe.sparsity and not request.epochs:
        prune(pruned, recipe.sparsity)
    made = calibrated(pruned, _tensors(parts.x), recipe)
    stages = [_stage("float", floats, floats, parts, task),
              _stage("calibrated", _run(made, parts.test_x), floats, parts, task)]  # fmt: skip
    if request.epochs:
        _tuned(request, recipe, (net, made), parts, source, out, progress)
        stages.append(_stage("tuned", _run(made, parts.test_x), floats, parts, task))
    progress.stage("exporting, and comparing the integers with PyTorch")
    content = export(made, parts)
    integers = _integers(content, made, parts, recipe)
    stages.append(_stage("integer", integers, floats, parts, task))
    result = Quantised(
        folder=out, task=task, rows=len(parts.test_y), stages=tuple(stages), layers=_layers(made, recipe)
    )
    _write(out, request, net.inputs, parts, content, result)
    return result


def _check(request: QuantizeRequest) -> Recipe:
    if any(importlib.util.find_spec(name) is None for name in ("torch", "brevitas", "sklearn")):
        raise ToolError("quantising needs PyTorch, Brevitas and scikit-learn", where="edgecomp quantize",
                        hint="pip install 'edgecomp[train]'")  # fmt: skip
    if request.rate is not None and not 0 < request.rate < 1:
        raise UsageError(f"rate cannot be {request.rate:g}", where="--rate", hint="give 0.002")
    if not 0 < request.test_share < 1:
        raise UsageError(f"test_share cannot be {request.test_share:g}", where="--test-share", hint="give 0.3")
    return recipe_of(request.asked)


def _claim(out: Path) -> None:
    try:
        if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - KNOWN):
            raise UsageError("the output folder holds something else", where=str(out), hint="give another with --out")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"cannot write there: {error.strerror}", where=str(out)) from error


def _parts(request: QuantizeRequest, data: Data, net: Net, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Task, Parts]:
    """The rows split, their targets checked against the network's outputs."""
    where, outputs = (
        str(request.data),
        int(np.prod(_run(net, tuple(data.x[name][:1] for name in net.inputs)).shape[1:])),
    )
    test = None if request.test is None else load_data(request.test, shapes)
    for found, place in ((data, where), (test, str(request.test))):
        if found is not None and found.y is None:
            raise DataError("holds no targets y", where=place,
                            hint="add y: classes (N,), or numbers of a regression")  # fmt: skip
    task = decide_task(request.task, data, outputs)
    check_targets(data, task, outputs, where=where)
    x, y = tuple(data.x[name] for name in net.inputs), data.y
    assert y is not None
    if test is not None:
        check_targets(test, task, outputs, where=str(request.test))
        assert test.y is not None
        return task, Parts(x=x, y=y, test_x=tuple(test.x[name] for name in net.inputs), test_y=test.y)
    first, second = _split(request, y if task is Task.CLASSES else None, len(y))
    return task, Parts(x=tuple(part[first] for part in x), y=y[first], test_x=tuple(part[second] for part in x),
                       test_y=y[second])  # fmt: skip


def _split(request: QuantizeRequest, classes: NDArray[Any] | None, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.model_selection import train_test_split

    try:
        first, second = train_test_split(np.arange(count), test_size=request.test_share, stratify=classes,
                                         random_state=request.seed)  # fmt: skip
    except ValueError as error:
        hint = "give more rows, another --test-share, or rows of their own with --test"
        raise DataError(f"the rows cannot be split: {error}", where=str(request.data), hint=hint) from error
    return first, second


def _tensors(x: tuple[Reals, ...]) -> Any:
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)) for part in x)


def _run(net: Net, x: tuple[Reals, ...]) -> Reals:
    """Outputs (N, outputs) of a network in eval mode."""
    import torch

    with torch.no_grad():
        result: Reals = net.eval()(*_tensors(x)).numpy()
    return result.reshape(len(result), -1)


def _verify_float(source: onnx.ModelProto, net: Net, parts: Parts) -> None:
    """ONNX Runtime gives the imported network's outputs on some rows."""
    import onnxruntime

    opened = onnx.ModelProto()
    opened.CopyFrom(source)
    del opened.graph.output[:]
    opened.graph.output.append(onnx.ValueInfoProto(name=net.output))
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = tuple(np.ascontiguousarray(x[:16], dtype=np.float32) for x in parts.test_x)
    fixed = isinstance(session.get_inputs()[0].shape[0], int)
    batches = [tuple(x[i : i + 1] for x in rows) for i in range(len(rows[0]))] if fixed else [rows]
    want = np.concatenate([session.run(None, dict(zip(net.inputs, batch, strict=True)))[0] for batch in batches])
    got = _run(net, rows)
    if np.abs(want.reshape(got.shape) - got).max() > 1e-3 * (np.abs(got).max() + 1e-6):
        raise MismatchError("the float network is not what ONNX Runtime computes", where=net.output,
                            hint="this is a fault of edgecomp: please report it with the model")  # fmt: skip


def _tuned(request: QuantizeRequest, recipe: Recipe, nets: tuple[Net, Net], parts: Parts, source: onnx.ModelProto,
           out: Path, progress: Progress) -> None:  # fmt: skip
    import torch

    from edgecomp.quantize.tune import Rows, Schedule, tune

    teacher, made = nets
    y = torch.from_numpy(parts.y if parts.y.dtype.kind == "i" else parts.y.reshape(len(parts.y), -1).astype(np.float32))
    rows = Rows(x=_tensors(parts.x), y=y, teacher=torch.from_numpy(_run(teacher, parts.x)))
    rate = rate_of(request.asked.preset) if request.rate is None else request.rate
    plan = Schedule(epochs=request.epochs, rate=rate, seed=request.seed, sparsity=recipe.sparsity)
    digest = hashlib.sha256(source.SerializeToString(deterministic=True) + repr((recipe, plan)).encode())
    for array in (*parts.x, parts.y):
        digest.update(np.ascontiguousarray(array).tobytes())
    progress.stage("tuning")
    tune(made, rows, plan, checkpoint=out / CHECKPOINT, digest=digest.hexdigest(),
         progress=lambda done, loss: progress.advance(done, plan.epochs, f"epochs: loss {loss:.4f}"))  # fmt: skip


def export(net: Net, parts: Parts) -> bytes:
    """The quantised network as QONNX, which keeps every rounding."""
    import warnings

    from brevitas.export import export_qonnx

    from edgecomp.quantize.brevitas import settle

    settle(net)
    names = [*net.inputs, "logits"]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_qonnx(net, args=_tensors(tuple(x[:1] for x in parts.test_x)), export_path=buffer, dynamo=False,
                     opset_version=17, input_names=names[:-1], output_names=["logits"],
                     dynamic_axes={name: {0: "batch"} for name in names})  # fmt: skip
    model = onnx.load_model_from_string(buffer.getvalue())
    for node in model.graph.node:
        node.doc_string = ""
    return bytes(model.SerializeToString(deterministic=True))


def _integers(content: bytes, net: Net, parts: Parts, recipe: Recipe) -> Reals:
    """Real outputs (N, outputs) of the exported model's integers; MismatchError where they are not PyTorch's."""
    model = onnx.load_model_from_string(content)
    lowered = read(model)
    exact = float32_is_exact(net, lowered, powers=recipe.scales is Scales.POWER_OF_TWO)
    against_pytorch(model, lowered, net, _tensors(parts.test_x), exact=exact)
    end = lowered.network.outputs[0]
    codes = interp.outputs(lowered.network, host_codes(lowered, dict(zip(net.inputs, parts.test_x, strict=True))))
    return real_output(end, codes[end.name]).reshape(len(parts.test_y), -1)


def _stage(name: str, outputs: Reals, floats: Reals, parts: Parts, task: Task) -> Stage:
    if task is Task.REGRESSION:
        error = outputs - parts.test_y.reshape(len(outputs), -1)
        return Stage(name=name, value=float(np.sqrt((error.astype(np.float64) ** 2).mean())), flips=None)
    classes, usual = (_classes(found) for found in (outputs, floats))
    return Stage(name=name, value=float((classes == parts.test_y).mean()), flips=int((classes != usual).sum()))


def _classes(outputs: Reals) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (outputs[:, 0] > 0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    return found


def _layers(net: Net, recipe: Recipe) -> tuple[LayerFacts, ...]:
    from edgecomp.quantize.net import quantised_weight, weight_of

    facts = []
    for step in net.linear():
        zeros = 0.0 if recipe.form is Form.BINARY else float((quantised_weight(step) == 0).float().mean())
        facts.append(LayerFacts(name=step.name, bits=recipe.weights_of(step.name), weights=weight_of(step).numel(),
                                zeros=zeros))  # fmt: skip
    return tuple(facts)


def summary(found: Quantised) -> dict[str, Any]:
    """The result as JSON holds it."""
    measure = "accuracy" if found.task is Task.CLASSES else "root_mean_squared_error"
    stages = [{"name": s.name, measure: s.value, "class_flips": s.flips} for s in found.stages]
    layers = [{"name": x.name, "weight_bits": x.bits, "weights": x.weights, "zero_share": x.zeros}
              for x in found.layers]  # fmt: skip
    return {"task": found.task.value, "test_rows": found.rows, "stages": stages, "layers": layers}


def _write(
    out: Path, request: QuantizeRequest, names: tuple[str, ...], parts: Parts, content: bytes, found: Quantised
) -> None:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in out.absolute().name)
    project = {"name": name.lstrip("._-") or "model", "model": "model.onnx", "data": "data.npz",
               "task": found.task.value, "target": request.target}  # fmt: skip
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in project.items())
    keys = ("x",) if len(names) == 1 else names
    files = {
        "model.onnx": content,
        "data.npz": npz({**dict(zip(keys, parts.test_x, strict=True)), "y": parts.test_y}),
        "train.npz": npz({**dict(zip(keys, parts.x, strict=True)), "y": parts.y}),
        "edgecomp.toml": f"[project]\n{lines}".encode(),
        SUMMARY: (json.dumps(summary(found), indent=1) + "\n").encode(),
    }
    try:
        for file, data in files.items():
            (out / file).write_bytes(data)
    except OSError as error:
        raise DiskError(f"cannot write the model: {error.strerror}", where=str(out)) from error
    with suppress(FileNotFoundError):
        (out / CHECKPOINT).unlink()
