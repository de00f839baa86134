"""Executes a QDQ graph with ONNX Runtime in float32, graph optimisation off, and brings out the quantisers' codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp.errors import ModelError
from edgecomp.oracle.arithmetic import Array
from edgecomp.oracle.execute import activation_quantisers
from edgecomp.oracle.graph import QONNX, Graph, Node, read_graph
from edgecomp.oracle.inputs import check_inputs
from edgecomp.oracle.rounding import Codes

# Samples of one call where the file leaves the batch free.
CHUNK_SAMPLES = 1024
CAST = "__int32"


def run_onnxruntime(model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, Codes]:
    """Centred codes (N, ...) at every activation quantiser of a QDQ model, under the keys of `Trace.codes`.

    The codes are the integers that enter each DequantizeLinear, behind its QuantizeLinear and Clip.
    Raises ModelError for a QONNX model or one that ONNX Runtime refuses, DataError for wrong inputs.
    """
    graph = read_graph(model)
    for node in graph.nodes:
        if node.op in QONNX:
            raise ModelError(
                "ONNX Runtime has no QONNX operators", where=node.where, hint="run the model with the float64 oracle"
            )
    data, count = check_inputs(graph, inputs)
    quantisers = activation_quantisers(graph)
    stored = sorted({node.inputs[0] for node in quantisers})
    results = _execute(_with_outputs(model, graph, stored), graph, data, count, stored)
    return {node.outputs[0]: _centre(graph, node, results[node.inputs[0]]) for node in quantisers}


def _with_outputs(model: onnx.ModelProto, graph: Graph, names: list[str]) -> bytes:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    known = {entry.name for entry in graph.inputs}
    for name in names:
        if name not in known:  # a cast, because 4-bit tensors have no numpy type to come out as
            opened.graph.node.append(onnx.helper.make_node("Cast", [name], [name + CAST], to=onnx.TensorProto.INT32))
            opened.graph.output.append(onnx.helper.make_tensor_value_info(name + CAST, onnx.TensorProto.INT32, None))
    return bytes(opened.SerializeToString())


def _execute(content: bytes, graph: Graph, data: Mapping[str, Array], count: int, names: list[str]) -> dict[str, Array]:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    refusals = (
        errors.Fail,
        errors.InvalidGraph,
        errors.InvalidArgument,
        errors.NotImplemented,
        errors.RuntimeException,
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    size = graph.batch or CHUNK_SAMPLES
    fetched = [name for name in names if name not in data]
    parts: list[list[Array]] = []
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for start in range(0, count, size):
            rows = size if graph.batch else min(size, count - start)
            index = np.minimum(np.arange(start, start + rows), count - 1)
            parts.append(
                session.run([name + CAST for name in fetched], {name: value[index] for name, value in data.items()})
            )
    except refusals as error:
        raise ModelError(f"ONNX Runtime refuses it: {str(error).splitlines()[0]}", where="model") from error
    joined = {name: np.concatenate([part[place] for part in parts])[:count] for place, name in enumerate(fetched)}
    return joined | {name: data[name] for name in names if name in data}


def _centre(graph: Graph, node: Node, codes: Array) -> Codes:
    codes = np.asarray(codes).astype(np.int64)
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if not name:
        return codes
    zero_point = graph.constants.get(name)
    if zero_point is None:
        raise ModelError("its zero point is not a constant of the file", where=node.where)
    if zero_point.size == 1:
        return np.asarray(codes - zero_point.reshape(()))
    axis = node.integer("axis", 1) % codes.ndim
    return np.asarray(codes - zero_point.reshape([-1 if place == axis else 1 for place in range(codes.ndim)]))
