"""Runs an ONNX graph node by node on a batch, to calibrate, to compare exports and to count clips and ties.

Quantisers are numpy, after their published definitions (the QONNX operator documents; ONNX QuantizeLinear);
every other node runs alone in ONNX Runtime with its optimiser off. Integer tensors are held as int32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.generator.model import QuantiserCount

Array = npt.NDArray[Any]
Position = tuple[Array, int, int, str]
QONNX_DOMAIN = "qonnx.custom_op.general"
_INTEGER_RANGES: dict[int, tuple[int, int]] = {
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-(2**15), 2**15 - 1),
    TensorProto.UINT16: (0, 2**16 - 1),
    TensorProto.INT32: (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Every tensor's value, and one count per quantiser fed by an activation."""

    tensors: dict[str, Array]
    counts: tuple[QuantiserCount, ...]


def evaluate(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Evaluated:
    """Execute `model`; nodes must be sorted. Counts cover activation quantisers, not weights."""
    tensors: dict[str, Array] = dict(inputs)
    types: dict[str, int] = {}
    for initializer in model.graph.initializer:
        tensors[initializer.name] = initializer_value(initializer)
        types[initializer.name] = initializer.data_type
    activations = set(inputs)
    positions: dict[str, Position] = {}
    opsets = {item.domain: item.version for item in model.opset_import}
    for node in model.graph.node:
        arguments = [tensors[name] if name else None for name in node.input]
        kinds = [types.get(name, 0) for name in node.input]
        results = evaluate_node(node, arguments, kinds, opsets)
        tensors.update(zip(node.output, results, strict=False))
        if activations.intersection(node.input):
            activations.update(node.output)
            position = rounding_position(node, arguments, kinds)
            if position is not None:
                positions[node.output[0]] = position
            if node.op_type == "Clip" and node.input[0] in positions:  # QCDQ: the Clip narrows the range of codes
                value, low, high, mode = positions.pop(node.input[0])
                bounds = (max(low, int(tensors[node.input[1]])), min(high, int(tensors[node.input[2]])))
                positions[node.output[0]] = (value, *bounds, mode)
    return Evaluated(tensors=tensors, counts=tuple(_count(name, *at) for name, at in positions.items()))


def initializer_value(tensor: onnx.TensorProto) -> Array:
    """An initializer as numpy, with narrow integers widened to int32."""
    value = np.asarray(numpy_helper.to_array(tensor))
    return value.astype(np.int32) if tensor.data_type in _INTEGER_RANGES else value


def evaluate_node(
    node: onnx.NodeProto, arguments: Sequence[Array | None], kinds: Sequence[int], opsets: Mapping[str, int]
) -> list[Array]:
    """The outputs of one node. `kinds` holds the ONNX element types of integer initializers."""
    x = arguments[0] if arguments else None
    if node.op_type == "Constant":
        return [
            np.asarray(
                helper.get_attribute_value(node.attribute[0])
                if not node.attribute[0].HasField("t")
                else initializer_value(node.attribute[0].t)
            )
        ]
    assert x is not None
    if node.op_type in ("Quant", "IntQuant", "QuantizeLinear"):
        codes, _, _, _ = _codes(node, arguments, kinds)
        if node.op_type == "QuantizeLinear":
            return [codes.astype(np.int32)]
        return [((codes - np.asarray(arguments[2])) * np.asarray(arguments[1])).astype(np.float32)]
    if node.op_type == "DequantizeLinear":
        zero = np.asarray(0 if len(arguments) < 3 else arguments[2])
        scale, zero = (_along_axis(np.asarray(v), x, _attribute(node, "axis", 1)) for v in (arguments[1], zero))
        return [((x - zero).astype(np.float32) * scale).astype(np.float32)]
    if node.op_type == "BipolarQuant":
        return [(np.where(x >= 0, 1.0, -1.0) * np.asarray(arguments[1])).astype(np.float32)]
    if node.op_type == "Trunc":
        return [_truncate(node, [np.asarray(a) for a in arguments])]
    if node.op_type == "Clip" and x.dtype == np.int32:
        return [np.clip(x, arguments[1], arguments[2])]
    return _run_in_onnxruntime(node, arguments, opsets)


def rounding_position(node: onnx.NodeProto, arguments: Sequence[Array | None], kinds: Sequence[int]) -> Position | None:
    """Of a quantiser: the real position before rounding, lowest and highest code, rounding mode; else None."""
    if node.op_type in ("Quant", "IntQuant", "QuantizeLinear"):
        _, position, (low, high), mode = _codes(node, arguments, kinds)
        return position, low, high, mode
    if node.op_type == "BipolarQuant":
        x = np.asarray(arguments[0], dtype=np.float64)
        return x / np.asarray(arguments[1], dtype=np.float64) / 2 + 0.5, 0, 1, "FLOOR"
    return None


def _codes(
    node: onnx.NodeProto, arguments: Sequence[Array | None], kinds: Sequence[int]
) -> tuple[Array, Array, tuple[int, int], str]:
    x = np.asarray(arguments[0], dtype=np.float64)
    scale = np.asarray(arguments[1], dtype=np.float64)
    if node.op_type == "QuantizeLinear":
        has_zero = len(arguments) > 2 and arguments[2] is not None
        zero = np.asarray(arguments[2] if has_zero else 0, dtype=np.float64)
        scale, zero = (_along_axis(v, x, _attribute(node, "axis", 1)) for v in (scale, zero))
        low, high = _INTEGER_RANGES[kinds[2] if has_zero else TensorProto.UINT8]
        mode = "ROUND"
    else:
        zero = np.asarray(arguments[2], dtype=np.float64)
        bits = int(np.asarray(arguments[3]).reshape(-1)[0])
        low, high = code_range(bits, bool(_attribute(node, "signed", 1)), bool(_attribute(node, "narrow", 0)))
        mode = str(_attribute(node, "rounding_mode", "ROUND")).upper()
    quotient = (x.astype(np.float32) / scale.astype(np.float32)).astype(np.float64)
    codes = np.clip(round_by(np.clip(quotient + zero, low, high), mode), low, high)
    if node.op_type == "QuantizeLinear":
        codes = np.clip(np.round(quotient) + zero, low, high)
    return codes, x / scale + zero, (low, high), mode


def code_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Lowest and highest code of a QONNX Quant."""
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


def round_by(value: Array, mode: str) -> Array:
    """Round by a QONNX mode; HALF_UP sends ties away from zero, as its definition says."""
    match mode:
        case "ROUND" | "HALF_EVEN":
            return np.asarray(np.round(value))
        case "FLOOR":
            return np.asarray(np.floor(value))
        case "CEIL":
            return np.asarray(np.ceil(value))
        case "HALF_UP":
            return np.asarray(np.sign(value) * np.floor(np.abs(value) + 0.5))
        case _:
            raise ValueError(f"rounding mode {mode}")


def _truncate(node: onnx.NodeProto, arguments: Sequence[Array]) -> Array:
    x, scale, zero = arguments[0].astype(np.float32), arguments[1], arguments[2]
    mode = str(_attribute(node, "rounding_mode", "FLOOR")).upper()
    grid = np.round(x / scale + zero)
    if len(arguments) == 5:
        shifted = round_by(grid / 2.0 ** (arguments[3] - arguments[4]), mode)
        return np.asarray((shifted - zero) * scale, dtype=np.float32)
    step = 2.0 ** np.round(np.log2(arguments[4] / scale))
    signed, narrow = bool(_attribute(node, "signed", 1)), bool(_attribute(node, "narrow", 0))
    low, high = code_range(int(arguments[5].reshape(-1)[0]), signed, narrow)
    codes = round_by(np.clip(grid / step, low, high), mode)
    return np.asarray((codes - zero / step) * arguments[4], dtype=np.float32)


def _count(tensor: str, position: Array, low: int, high: int, mode: str) -> QuantiserCount:
    width = 0.5 if mode in ("ROUND", "HALF_EVEN", "HALF_UP") else 0.0
    clipped = (position < low - width) | (position > high + width)
    boundary = np.abs((position + width) - np.round(position + width)) < 1e-6
    codes = round_by(np.clip(position, low, high), mode)
    tied = int(np.count_nonzero(boundary & ~clipped))
    distinct = len(np.unique(codes))
    return QuantiserCount(tensor=tensor, codes=position.size, clipped=int(clipped.sum()), tied=tied, distinct=distinct)


def _along_axis(value: Array, x: Array, axis: int) -> Array:
    if value.size == 1:
        return value.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return value.reshape(shape)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def _run_in_onnxruntime(
    node: onnx.NodeProto, arguments: Sequence[Array | None], opsets: Mapping[str, int]
) -> list[Array]:
    import onnxruntime

    feeds = {name: np.asarray(a) for name, a in zip(node.input, arguments, strict=True) if a is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = helper.make_graph([node], "one", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opsets[""])], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, feeds)]
