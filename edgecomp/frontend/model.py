"""Reading a model file as what it is: untrusted input. Bounded, nothing executed, every fault named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from edgecomp.errors import DataError, ModelError, Problem, raise_all
from edgecomp.ir.ranges import MAX_ELEMENTS

MAX_BYTES = 256 << 20
MAX_NODES = 20_000


def load(path: Path) -> onnx.ModelProto:
    """The model in `path`, external data inside its folder included; ModelError where it cannot be read."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"the file holds {size} bytes; {MAX_BYTES} is the most", where=str(path))
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the model: {error.strerror}", where=str(path)) from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, RuntimeError) as error:
        raise ModelError(
            "this is no ONNX model, or it is cut short", where=str(path), hint="export it again"
        ) from error
    if not model.graph.node:
        raise ModelError("the ONNX graph is empty, or the file is cut short", where=str(path), hint="export it again")
    _load_external(model, path)
    return model


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    """Read tensors that lie beside the model; never from outside its folder."""
    folder = path.parent.resolve()
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        target = (folder / entries.get("location", "")).resolve()
        if not target.is_relative_to(folder) or not target.is_file():
            raise ModelError(
                f"external data {entries.get('location', '')!r} does not lie in the model's folder", where=tensor.name,
                hint="save the model with its weights inside",
            )  # fmt: skip
        if target.stat().st_size > MAX_BYTES:
            raise ModelError(f"external data exceeds {MAX_BYTES} bytes", where=tensor.name)
        try:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except (ValueError, OSError, onnx.checker.ValidationError) as error:
            raise ModelError(f"its external data cannot be read: {error}", where=tensor.name) from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphInput:
    """A graph input without its batch axis; `integer` is the interval of an integer input's type."""

    name: str
    shape: tuple[int, ...]
    integer: tuple[int, int] | None


def initialisers(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    """Every initialiser as an array; ModelError listing those that are malformed, NaN or infinite."""
    arrays: dict[str, NDArray[np.generic]] = {}
    problems: list[Problem] = []
    for tensor in graph.initializer:
        try:
            array = tensor_array(tensor)
        except ModelError as error:
            problems += error.problems
            continue
        arrays[tensor.name] = array
    raise_all(ModelError, problems)
    return arrays


def tensor_array(tensor: onnx.TensorProto) -> NDArray[np.generic]:
    """A tensor's numbers; int4 types as int8. ModelError where they are malformed, NaN or infinite."""
    where = tensor.name or "a constant"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ModelError("a constant's data lies outside the model", where=where)
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise ModelError(f"the tensor is malformed: {error}", where=where, hint="export the model again") from error
    if array.dtype.kind not in "biuf":
        array = array.astype(np.int8 if "int" in str(array.dtype) else np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ModelError(
            f"{bad} of {array.size} values are NaN or infinite", where=where, hint="train or export it again"
        )
    return array


def graph_inputs(graph: onnx.GraphProto, known: Sequence[str]) -> list[GraphInput]:
    """The inputs that are no initialisers; ModelError for shapes that are dynamic beyond the batch axis."""
    problems, inputs = [], []
    for info in graph.input:
        if info.name in known:
            continue
        dims = list(info.type.tensor_type.shape.dim)
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims[1:]]
        if not sizes or any(size is None or size < 1 for size in sizes):
            shown = [dim.dim_param or dim.dim_value or "?" for dim in dims]
            problems.append(
                Problem(what=f"shape {shown} is dynamic beyond the batch axis, or has none", where=info.name,
                        hint="export with a fixed shape behind the batch axis")
            )  # fmt: skip
            continue
        shape = tuple(size for size in sizes if size is not None)
        if math.prod(shape) > MAX_ELEMENTS:
            problems.append(Problem(what=f"shape {shape} holds more than {MAX_ELEMENTS} elements", where=info.name))
        inputs.append(GraphInput(name=info.name, shape=shape, integer=_integer(info.type.tensor_type.elem_type)))
    raise_all(ModelError, problems)
    if not inputs:
        raise ModelError("the graph has no input")
    return inputs


def _integer(kind: int) -> tuple[int, int] | None:
    name = onnx.TensorProto.DataType.Name(kind)
    if not name.startswith(("INT", "UINT")):
        return None
    bits = int("".join(ch for ch in name if ch.isdigit()))
    return (0, (1 << bits) - 1) if name.startswith("U") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def check_nodes(graph: onnx.GraphProto) -> None:
    """Bounds that hold before any work starts."""
    if len(graph.node) > MAX_NODES:
        raise ModelError(f"the graph has {len(graph.node)} nodes; {MAX_NODES} is the most")
    if not graph.output:
        raise ModelError("the graph has no output")
