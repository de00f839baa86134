"""An ONNX file as the oracle sees it: inputs, constants, and nodes with typed access to their attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import onnx
from onnx import numpy_helper

from edgecomp.errors import ModelError
from edgecomp.oracle.arithmetic import Array

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | Array

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
QONNX_DOMAINS = frozenset({"qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"})
CONTRIB_DOMAIN = "com.microsoft"  # ONNX Runtime's QuantizeLinear and DequantizeLinear for more types, same meaning
QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
QONNX = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One operator of the graph; absent optional inputs are empty names."""

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    @property
    def where(self) -> str:
        return f"node '{self.name}' ({self.op})"

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        return int(value) if isinstance(value, int) else self._refuse(name, "an integer")

    def real(self, name: str, default: float) -> float:
        """A float attribute. Attributes are float32 in the file, so a default is the float32 next to it too."""
        value = self.attributes.get(name, float(np.float32(default)))
        return value if isinstance(value, float) else self._refuse(name, "a float")

    def text(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default)
        return value if isinstance(value, str) else self._refuse(name, "a string")

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, or None where the attribute is absent."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple):
            self._refuse(name, "a list of integers")
        return tuple(int(entry) for entry in value)

    def _refuse(self, name: str, kind: str) -> NoReturn:
        raise ModelError(f"attribute '{name}' is not {kind}", where=self.where)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """A graph input: its ONNX element type as a numpy dtype, and its dimensions (None where the size is free)."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """The model in file order, which ONNX requires to be topological.

    Constants are float64, int64 or bool arrays of exactly the numbers in the file; `types` has the element type that
    the file stores each of them in, under its numpy name.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    types: Mapping[str, str]
    opset: int

    @property
    def batch(self) -> int | None:
        """The number of samples that the file fixes for one execution, or None."""
        sizes = {entry.shape[0] for entry in self.inputs}
        return sizes.pop() if len(sizes) == 1 else None

    def dependent(self) -> frozenset[str]:
        """Names of the tensors that depend on a graph input."""
        names = {entry.name for entry in self.inputs}
        for node in self.nodes:
            if not names.isdisjoint(node.inputs):
                names.update(node.outputs)
        return frozenset(names)


def read_graph(model: onnx.ModelProto) -> Graph:
    """The graph of `model`.

    Raises ModelError for sparse or external constants, constants of another kind than numbers, and inputs without a
    known element type or a batch axis. Functions and subgraphs are unknown operators to the executor.
    """
    proto = model.graph
    if proto.sparse_initializer:
        raise ModelError("sparse constants are not supported", where=f"graph '{proto.name}'")
    constants = {tensor.name: _constant(tensor, f"constant '{tensor.name}'") for tensor in proto.initializer}
    types = {tensor.name: type_name(tensor.data_type) for tensor in proto.initializer}
    nodes = []
    for place, entry in enumerate(proto.node):
        node = _node(entry, place)
        if node.op == "Constant" and node.domain in STANDARD_DOMAINS:
            constants[node.outputs[0]] = _constant_value(node)
            types.update(
                (node.outputs[0], type_name(held.t.data_type)) for held in entry.attribute if held.name == "value"
            )
        else:
            nodes.append(node)
            _pass_type(node, types)
    inputs = tuple(_input(entry) for entry in proto.input if entry.name not in constants)
    _check_order(nodes, {entry.name for entry in inputs} | constants.keys(), [entry.name for entry in proto.output])
    return Graph(
        inputs=inputs,
        outputs=tuple(entry.name for entry in proto.output),
        nodes=tuple(nodes),
        constants=constants,
        types=types,
        opset=_opset(model),
    )


def type_name(element_type: int) -> str:
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element_type)).name
    except KeyError:
        return f"element type {element_type}"


def _pass_type(node: Node, types: dict[str, str]) -> None:
    """Constants often reach a quantiser through an Identity or a Cast."""
    if node.op == "Identity" and node.inputs[0] in types:
        types[node.outputs[0]] = types[node.inputs[0]]
    elif node.op == "Cast":
        types[node.outputs[0]] = type_name(node.integer("to", 0))


def _opset(model: onnx.ModelProto) -> int:
    versions = [int(entry.version) for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    if not versions:
        raise ModelError("the file does not say which version of the ONNX operators it uses", where="opset_import")
    return max(versions)


def _check_order(nodes: Iterable[Node], known: set[str], outputs: Iterable[str]) -> None:
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise ModelError(f"input '{name}' is not produced before this node", where=node.where)
        known.update(node.outputs)
    for name in outputs:
        if name not in known:
            raise ModelError("no node produces this graph output", where=f"output '{name}'")


def _constant(tensor: onnx.TensorProto, where: str) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ModelError("its data lie in another file", where=where, hint="save the model as one file")
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"cannot be read: {error}", where=where) from error
    return _plain(array, where)


def _plain(array: Array, where: str) -> Array:
    """Any numeric dtype (float16, bfloat16, int4 and the like included) as float64, int64 or bool, value for value."""
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind in "iu" or array.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return array.astype(np.int64)
    if array.dtype.kind in "fV":
        return _finite(array.astype(np.float64), where)
    raise ModelError(f"holds {array.dtype} instead of numbers", where=where)


def _finite(array: Array, where: str) -> Array:
    if not np.isfinite(array).all():
        raise ModelError("holds a number that is not finite", where=where, hint="retrain or repair the weights")
    return array


def _node(proto: onnx.NodeProto, place: int) -> Node:
    name = proto.name or (proto.output[0] if proto.output else f"#{place}")
    where = f"node '{name}' ({proto.op_type})"
    return Node(
        name=name,
        op=proto.op_type,
        domain=proto.domain,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={entry.name: _attribute(entry, where) for entry in proto.attribute},
    )


def _attribute(proto: onnx.AttributeProto, where: str) -> Attribute:
    kinds = onnx.AttributeProto
    match proto.type:
        case kinds.INT:
            return int(proto.i)
        case kinds.FLOAT:
            return float(proto.f)
        case kinds.STRING:
            return proto.s.decode("utf-8", errors="replace")
        case kinds.INTS:
            return tuple(int(value) for value in proto.ints)
        case kinds.FLOATS:
            return tuple(float(value) for value in proto.floats)
        case kinds.TENSOR:
            return _constant(proto.t, f"{where}, attribute '{proto.name}'")
        case _:
            raise ModelError(f"attribute '{proto.name}' is of a kind that is not supported", where=where)


def _constant_value(node: Node) -> Array:
    for name, value in node.attributes.items():
        if name in ("value", "value_int", "value_ints", "value_float", "value_floats") and not isinstance(value, str):
            return _plain(np.asarray(value), node.where)
    raise ModelError("its value is not a tensor of numbers", where=node.where)


def _input(proto: onnx.ValueInfoProto) -> Input:
    where = f"input '{proto.name}'"
    tensor = proto.type.tensor_type
    if not proto.type.HasField("tensor_type") or tensor.elem_type == onnx.TensorProto.UNDEFINED:
        raise ModelError("is not a tensor of a stated element type", where=where)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ModelError(f"holds {dtype} instead of numbers", where=where)
    if not tensor.HasField("shape") or not tensor.shape.dim:
        raise ModelError("has no batch axis", where=where, hint="export the model with inputs of shape (N, ...)")
    shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return Input(name=proto.name, dtype=dtype, shape=shape)
