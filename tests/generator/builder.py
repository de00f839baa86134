"""Builds an ONNX graph node by node while evaluating it on calibration data, so that scales fit what flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.generator.evaluate import QONNX_DOMAIN, evaluate_node, initializer_value

Array = npt.NDArray[Any]


class Builder:
    """A growing graph; every tensor's value on the calibration batch is in `values`."""

    def __init__(self, *, opset: int, qonnx_version: int = 1) -> None:
        self.opsets = {"": opset, QONNX_DOMAIN: qonnx_version}
        self.values: dict[str, Array] = {}
        self._kinds: dict[str, int] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self.inputs: list[str] = []
        self._count = 0

    @property
    def opset(self) -> int:
        return self.opsets[""]

    def input(self, name: str, value: Array) -> str:
        self.values[name] = value
        self.inputs.append(name)
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.values[name].shape)

    def constant(self, value: Any, kind: int | None = None) -> str:
        """An initializer; `kind` is an ONNX element type, float32 for floats and int64 for integers if left out."""
        array = np.asarray(value)
        if kind is None:
            kind = TensorProto.FLOAT if array.dtype.kind == "f" else TensorProto.INT64
        name = self._fresh("c")
        if kind in (TensorProto.FLOAT, TensorProto.INT64):
            tensor = numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(kind)), name)
        else:
            tensor = helper.make_tensor(name, kind, array.shape, array.reshape(-1).tolist())
        self._initializers.append(tensor)
        self.values[name] = initializer_value(tensor)
        self._kinds[name] = kind
        return name

    def op(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.ops(op_type, inputs, 1, domain=domain, **attributes)[0]

    def ops(
        self, op_type: str, inputs: Sequence[str], n_outputs: int, *, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Append a node and evaluate it; returns the names of its outputs."""
        outputs = [self._fresh(op_type.lower()) for _ in range(n_outputs)]
        node = helper.make_node(op_type, list(inputs), outputs, name=f"n_{outputs[0]}", domain=domain, **attributes)
        arguments = [self.values[name] if name else None for name in inputs]
        kinds = [self._kinds.get(name, 0) for name in inputs]
        results = evaluate_node(node, arguments, kinds, self.opsets)
        self.values.update(zip(outputs, results, strict=True))
        self._nodes.append(node)
        return outputs

    def model(self, output: str) -> onnx.ModelProto:
        """The finished model: batch is the free dimension `N`, the rest of every shape is stated."""
        inputs = [_value_info(name, self.values[name]) for name in self.inputs]
        graph = helper.make_graph(
            self._nodes, "generated", inputs, [_value_info(output, self.values[output])], self._initializers
        )
        used = {node.domain for node in self._nodes}
        opsets = [helper.make_opsetid(d, v) for d, v in self.opsets.items() if d in used or not d]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="generator")

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


def _value_info(name: str, value: Array) -> onnx.ValueInfoProto:
    shape: list[int | str] = ["N", *value.shape[1:]]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)
