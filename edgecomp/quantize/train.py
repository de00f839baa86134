"""From a table to a model folder: split, scale, train many restarts, export, and compare the export's integers."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.contract import quantise_input, real_output
from edgecomp.errors import DataError, DiskError, MismatchError, ToolError, UsageError
from edgecomp.frontend import read
from edgecomp.quantize.mlp import Mlp, Schedule, Spec, Weights, train
from edgecomp.quantize.qonnx import Scaler, fit_scaler, to_qonnx
from edgecomp.tables import Missing, Table, read_table

LEAST_OF_A_CLASS = 2
STAMP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What `edgecomp train` is asked for. `out` is a new or empty folder, or one that training wrote before.

    The split is stratified; `split_seed` draws it, `seed` starts the training. Every choice is made on training rows.
    """

    data: tuple[Path, ...]
    label: str
    out: Path
    target: str = "printed"
    separator: str | None = None
    header: bool | None = None
    missing: Missing = Missing.REFUSE
    ignore: tuple[str, ...] = ()
    hidden: tuple[int, ...] = (3,)
    input_bits: int = 4
    weights: Weights = Weights.POWER_OF_TWO
    weight_bits: int = 4
    hidden_bits: int = 4
    test_share: float = 0.3
    split_seed: int = 42
    seed: int = 0
    schedule: Schedule = field(default_factory=Schedule)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """The written folder and what the integers reach; the test split is read once, for `test_accuracy`."""

    folder: Path
    mlp: Mlp
    scaler: Scaler
    classes: tuple[str, ...]
    train_accuracy: float
    test_accuracy: float
    majority: float
    train_rows: int
    test_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Raw rows, medians filled in, and classes of both sides."""

    train_x: NDArray[np.float64]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.float64]
    test_y: NDArray[np.int64]


def train_csv(request: TrainRequest, progress: Callable[[str], None] | None = None) -> TrainResult:
    """Train on a table and write model.onnx (QONNX), data.npz (test rows), train.npz and edgecomp.toml to `out`.

    DataError, UsageError for what does not fit; ToolError without the extra `train`; MismatchError where the exported
    model is not the trained integers.
    """
    _check(request)
    table = read_table(request.data, request.label, separator=request.separator, header=request.header,
                       missing=request.missing, ignore=request.ignore)  # fmt: skip
    split = split_table(table, request.test_share, request.split_seed)
    scaler = fit_scaler(split.train_x, request.input_bits)
    spec = Spec(features=table.x.shape[1], hidden=request.hidden, classes=len(table.classes),
                input_bits=request.input_bits, weights=request.weights, weight_bits=request.weight_bits,
                hidden_bits=request.hidden_bits)  # fmt: skip

    def told(epoch: int, loss: float) -> None:
        if progress is not None:
            progress(f"epoch {epoch} of {request.schedule.epochs}, loss {loss:.4f}")

    codes = scaler.codes(split.train_x)
    found = train(spec, codes, split.train_y, plan=request.schedule, seed=request.seed, progress=told)
    accuracy, mlp = found[0]
    test = scaler.codes(split.test_x)
    model = to_qonnx(mlp, scaler)
    content = model.SerializeToString(deterministic=True)
    verify_export(content, mlp, scaler, split.test_x)
    _write(request.out, content, split)
    counts = np.bincount(split.test_y, minlength=len(table.classes))
    return TrainResult(
        folder=request.out, mlp=mlp, scaler=scaler, classes=table.classes, train_accuracy=accuracy,
        test_accuracy=mlp.accuracy(test, split.test_y), majority=float(counts.max() / counts.sum()),
        train_rows=len(split.train_y), test_rows=len(split.test_y),
    )  # fmt: skip


def split_table(table: Table, test_share: float, seed: int) -> Split:
    """A stratified split; missing values take the median of the training rows."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(table.y, minlength=len(table.classes))
    rare = [name for name, count in zip(table.classes, counts, strict=True) if count < LEAST_OF_A_CLASS]
    if rare:
        hint = "join it with another class, or leave its row out"
        raise DataError(f"class {rare[0]} has a single row, which cannot be split", where="--label", hint=hint)
    try:
        first, second = train_test_split(np.arange(len(table.y)), test_size=test_share, stratify=table.y,
                                         random_state=seed)  # fmt: skip
    except ValueError as error:
        hint = "give more rows, or another share"
        raise DataError(f"the rows cannot be split: {error}", where="--test-share", hint=hint) from error
    x = table.x
    if np.isnan(x).any():
        known = np.where(np.isnan(x[first]).all(axis=0), 0.0, x[first])
        x = np.where(np.isnan(x), np.nanmedian(known, axis=0), x)
    return Split(train_x=x[first], train_y=table.y[first], test_x=x[second], test_y=table.y[second])


def verify_export(content: bytes, mlp: Mlp, scaler: Scaler, x: NDArray[np.float64]) -> None:
    """The front end's network of the exported bytes gives the trained integers' logits on raw rows x (N, F).

    Logits are compared as real numbers, exactly: the front end may count them on another grid.
    """
    import onnx

    network = read(onnx.load_model_from_string(content)).network
    node = network.inputs[0]
    codes = quantise_input(node, x.astype(np.float32))
    end = network.outputs[0]
    got = real_output(end, interp.outputs(network, {node.name: codes})[end.name])
    if not np.array_equal(codes, scaler.codes(x)) or not np.array_equal(got, mlp.logits(codes) * 2.0**mlp.exponent):
        raise MismatchError("the exported model does not compute the trained integers", where="model.onnx",
                            hint="this is a fault of edgecomp: please report it with the data")  # fmt: skip


def _check(request: TrainRequest) -> None:
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("sklearn") is None:
        raise ToolError("training needs PyTorch and scikit-learn", where="edgecomp train",
                        hint="pip install 'edgecomp[train]'")  # fmt: skip
    if request.target != "printed":
        raise UsageError(f"there is no training for {request.target} yet", where="--target", hint="give printed")
    least = 3 if request.weights is Weights.POWER_OF_TWO else 2
    most = 5 if request.weights is Weights.POWER_OF_TWO else 12
    limits = {"input_bits": (1, 12), "weight_bits": (least, most), "hidden_bits": (1, 12)}
    for name, (low, high) in limits.items():
        value = {"input_bits": request.input_bits, "weight_bits": request.weight_bits,
                 "hidden_bits": request.hidden_bits}[name]  # fmt: skip
        if not low <= value <= high:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{name} cannot be {value}", where=option, hint=f"give {low} to {high}")
    if any(not 1 <= size <= 4096 for size in request.hidden):
        raise UsageError(
            f"hidden layers cannot be {request.hidden}", where="--hidden", hint="give sizes such as 5 or 8,4"
        )
    if not 0 < request.test_share < 1:
        raise UsageError(f"test_share cannot be {request.test_share}", where="--test-share", hint="give 0.3")
    known = {"model.onnx", "data.npz", "train.npz", "edgecomp.toml"}
    if request.out.exists() and (not request.out.is_dir() or {p.name for p in request.out.iterdir()} - known):
        raise UsageError(
            "the output folder holds something else", where=str(request.out), hint="give another with --out"
        )


def _write(out: Path, model: bytes, split: Split) -> None:
    project = f'[project]\nname = "{_name(out)}"\nmodel = "model.onnx"\ndata = "data.npz"\ntask = "classes"\n'
    files = {
        "model.onnx": model,
        "data.npz": npz({"x": split.test_x.astype(np.float32), "y": split.test_y}),
        "train.npz": npz({"x": split.train_x.astype(np.float32), "y": split.train_y}),
        "edgecomp.toml": (project + 'target = "printed"\n\n[options]\nhead = "argmax"\n').encode(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise DiskError(f"cannot write the model: {error.strerror}", where=str(out)) from error


def _name(out: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in out.absolute().name)
    return kept.lstrip("._-") or "model"


def npz(arrays: dict[str, NDArray[np.generic]]) -> bytes:
    """The arrays as .npz, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", STAMP)
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, part.getvalue())
    return buffer.getvalue()
