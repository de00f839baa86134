"""A trained network as QONNX: raw values in, logits out; every scale behind the input's is a power of two."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecomp.quantize.mlp import Mlp

DOMAIN = "qonnx.custom_op.general"
INPUT, OUTPUT = "x", "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """Min-max scaling fitted on training rows: code = clip(round((raw - offset) / step), 0, 2^bits - 1), per feature.

    Both are float32 numbers.
    """

    offset: NDArray[np.float32]
    step: NDArray[np.float32]
    bits: int

    def codes(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """Codes (N, F) of raw values: exactly those of the exported model's input quantiser in float64."""
        real = (x.astype(np.float32).astype(np.float64) - self.offset) / self.step
        return np.clip(np.rint(real), 0, (1 << self.bits) - 1).astype(np.int64)


def fit_scaler(x: NDArray[np.float64], bits: int) -> Scaler:
    """The scaler of training rows (N, F): least value to code 0, greatest to the last one."""
    lo, hi = x.min(axis=0).astype(np.float32), x.max(axis=0).astype(np.float32)
    span = np.where(hi > lo, hi.astype(np.float64) - lo, 1.0)
    return Scaler(offset=lo, step=(span / ((1 << bits) - 1)).astype(np.float32), bits=bits)


@dataclass(slots=True, kw_only=True)
class Graph:
    """Nodes and constants so far."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[np.float32]) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def apply(self, kind: str, inputs: list[str], output: str) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output))
        return output

    def quant(self, x: str, output: str, *, exponent: int, bits: int, signed: bool, rounding: str = "ROUND") -> str:
        """Quant with scale 2^exponent and no zero point."""
        numbers = {"scale": 2.0**exponent, "zero": 0.0, "bits": float(bits)}
        parts = [self.constant(f"{output}_{key}", np.array(v, dtype=np.float32)) for key, v in numbers.items()]
        self.nodes.append(helper.make_node("Quant", [x, *parts], [output], name=output, domain=DOMAIN,
                                           signed=int(signed), narrow=0, rounding_mode=rounding))  # fmt: skip
        return output


def to_qonnx(mlp: Mlp, scaler: Scaler) -> onnx.ModelProto:
    """The model: subtract and divide per feature, then quantised layers with power-of-two scales."""
    graph = Graph()
    graph.apply("Sub", [INPUT, graph.constant("feature_offset", scaler.offset)], "shifted")
    step = (scaler.step * np.float32(1 << scaler.bits)).astype(np.float32)
    graph.apply("Div", ["shifted", graph.constant("feature_range", step)], "scaled")
    value = graph.quant("scaled", "code", exponent=-scaler.bits, bits=scaler.bits, signed=False)
    grid = -scaler.bits
    for number, layer in enumerate(mlp.layers):
        fraction, last = mlp.spec.fraction, number == len(mlp.layers) - 1
        weight = _constant(graph, f"weight{number}", layer.weight.T, -fraction)
        product = graph.apply("MatMul", [value, weight], f"product{number}")
        bias = _constant(graph, f"bias{number}", layer.bias, grid - fraction)
        total = graph.apply("Add", [product, bias], OUTPUT if last else f"total{number}")
        if not last:
            grid = grid - fraction + layer.shift
            positive = graph.apply("Relu", [total], f"relu{number}")
            value = graph.quant(positive, f"hidden{number}", exponent=grid, bits=mlp.spec.hidden_bits, signed=False,
                                rounding="FLOOR")  # fmt: skip
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in ((INPUT, mlp.spec.features), (OUTPUT, mlp.spec.classes))]  # fmt: skip
    body = helper.make_graph(graph.nodes, "classifier", ends[:1], ends[1:], graph.constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=8, producer_name="edgecomp")


def _constant(graph: Graph, name: str, codes: NDArray[np.int64], exponent: int) -> str:
    """Integer codes times 2^exponent behind a Quant that is just wide enough."""
    values = graph.constant(f"{name}_values", (codes * 2.0**exponent).astype(np.float32))
    least, most = int(codes.min()), int(codes.max())
    widest = max(1, most.bit_length(), (-least - 1).bit_length() if least < 0 else 0)  # one signed bit is bipolar
    return graph.quant(values, name, exponent=exponent, bits=widest + 1, signed=True)
