"""A Network as ONNX of standard operators in int64, which stock ONNX Runtime runs exactly, and the way back.

ONNX Runtime's CPU provider has no integer Conv, MaxPool or BitShift and its Div truncates: a window is a strided Slice
for each of its places, a convolution one int64 MatMul for each, and floor(x / 2^s) is (x - Mod(x, 2^s)) / 2^s, exact
over the 62 bits that the verifier allows. Tensors inside carry names with a slash, which no node of a Network can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import assert_never

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecomp.errors import ModelError, raise_all
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Encoding,
    Input,
    Ints,
    MaxPool,
    Mul,
    Network,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Rounding,
    Slice,
    Step,
    SumPool,
    TableDense,
    Transpose,
    operands,
)
from edgecomp.ir.text import dump, parse

OPSET = 17
IR_VERSION = 8
BATCH = "N"
TEXT_KEY = "edgecomp.network"
LEAST = int(np.iinfo(np.int64).min)
GREATEST = int(np.iinfo(np.int64).max)

Codes = NDArray[np.int64]


def to_onnx(network: Network) -> onnx.ModelProto:
    """The integer graph: int64 host codes (N, *shape) in and out under the names of the Inputs and Outputs.

    The network's text form goes along as metadata. The same network gives the same bytes.
    """
    values = network.values()
    graph = _Graph(shapes={name: value.shape for name, value in values.items()})
    for node in network.nodes:
        _emit(graph, node)
    inputs = [_end(node.name, node.shape) for node in network.inputs]
    outputs = [_end(node.name, values[node.name].shape) for node in network.outputs]
    proto = helper.make_graph(graph.nodes, "network", inputs, outputs, initializer=graph.constants)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(proto, producer_name="edgecomp", ir_version=IR_VERSION, opset_imports=opset)
    helper.set_model_props(model, {TEXT_KEY: dump(network)})
    return model


def from_onnx(model: onnx.ModelProto) -> Network | None:
    """The Network that `to_onnx` wrote into the model, or None where the model does not carry one.

    The text is believed only if exporting it again gives exactly the graph in the file; ModelError otherwise.
    """
    texts = [entry.value for entry in model.metadata_props if entry.key == TEXT_KEY]
    if not texts:
        return None
    if len(texts) > 1:
        raise ModelError("the model carries more than one network text")
    network = parse(texts[0])
    raise_all(ModelError, network.problems())
    again = to_onnx(network)
    same = _bytes(again.graph) == _bytes(model.graph) and list(again.opset_import) == list(model.opset_import)
    if not same or model.functions:
        raise ModelError(
            "the graph is not the one that its network text exports to: one of them was changed",
            hint="use the model as edgecomp wrote it, with the same edgecomp, or remove its metadata",
        )
    return network


def _bytes(graph: onnx.GraphProto) -> bytes:
    return bytes(graph.SerializeToString(deterministic=True))


def _end(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, [BATCH, *shape])


@dataclass
class _Graph:
    """The ONNX graph under construction. `shapes` are those of the Network's values, without the batch axis."""

    shapes: dict[str, tuple[int, ...]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    names: dict[tuple[tuple[int, ...], bytes], str] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)  # of each Network value

    def constant(self, array: Codes | Sequence[int] | int) -> str:
        """The name of an int64 initialiser, one for equal contents."""
        data = np.ascontiguousarray(np.array(array, dtype=np.int64))
        key = (data.shape, data.tobytes())
        if key not in self.names:
            self.names[key] = f"constant/{len(self.names)}"
            self.constants.append(numpy_helper.from_array(data, self.names[key]))
        return self.names[key]

    def op(self, kind: str, *inputs: str, into: str = "", **attributes: int | str | Sequence[int]) -> str:
        """Append a node; the name of its one output."""
        name = into or f"{kind.lower()}/{len(self.nodes)}"
        node = helper.make_node(kind, list(inputs), [name], name=f"node/{len(self.nodes)}")
        node.attribute.extend(helper.make_attribute(key, attributes[key]) for key in sorted(attributes))
        self.nodes.append(node)
        return name

    def column(self, vector: Ints, rank: int) -> str:
        """A per-channel vector as a constant that broadcasts over (N, C, ...), `rank` axes without N."""
        return self.constant(vector.array.reshape(-1, *[1] * (rank - 1)))


def _emit(graph: _Graph, node: Node) -> None:
    if isinstance(node, Input):
        graph.tensors[node.name] = _input(graph, node)
        return
    xs = [graph.tensors[name] for name in operands(node)]
    rank = len(graph.shapes[operands(node)[0]])
    graph.tensors[node.name] = _value(graph, node, xs, rank)


def _value(graph: _Graph, node: Node, xs: list[str], rank: int) -> str:
    """The tensor that holds one node's value; `rank` is its first operand's, without the batch axis."""
    match node:
        case Dense():
            product_ = graph.op("MatMul", xs[0], graph.constant(node.weight.array.T))
            return graph.op("Add", product_, graph.constant(node.bias.array))
        case Conv():
            return _conv(graph, node, xs[0])
        case Add():
            a, b = (graph.op("Mul", x, graph.column(c, rank)) for x, c in zip(xs, (node.p, node.q), strict=True))
            return graph.op("Add", a, b)
        case Mul():
            return graph.op("Mul", *xs)
        case Concat() | Slice() | Reshape() | Transpose() | Pad():
            return _moved(graph, node, xs)
        case Requant() | Step() | TableDense() | MaxPool() | SumPool() | ArgMax() | Output():
            return _unary(graph, node, xs[0], rank)
        case Input():
            raise AssertionError("an input reads host codes, not values")
        case _:
            assert_never(node)


def _unary(
    graph: _Graph, node: Requant | Step | TableDense | MaxPool | SumPool | ArgMax | Output, x: str, rank: int
) -> str:
    match node:
        case Requant():
            return _requant(graph, node, x, rank)
        case Step():
            return _step(graph, node, x, rank)
        case TableDense():
            return _table_dense(graph, node, x)
        case MaxPool() | SumPool():
            return _pool(graph, node, x)
        case ArgMax():
            return _arg_max(graph, node, x)
        case Output():
            return _output(graph, node, x)
        case _:
            assert_never(node)


def _arg_max(graph: _Graph, node: ArgMax, x: str) -> str:
    if not node.tree.array.size:
        return graph.op("ArgMax", x, axis=1, keepdims=1, select_last_index=0)
    classes = graph.shapes[node.x][0]
    slots = [_sliced(graph, x, {1: (j, j + 1, 1)}) for j in range(classes)]
    index = [graph.constant(np.array([[j]])) for j in range(classes)]
    for a, b, mask in node.tree.array.tolist():
        later = graph.op("Greater", *(_masked(graph, slots[slot], mask) for slot in (b, a)))
        slots[a] = graph.op("Where", later, slots[b], slots[a])
        index[a] = graph.op("Where", later, index[b], index[a])
    return index[int(node.tree.array[-1, 0])]


def _masked(graph: _Graph, x: str, mask: int) -> str:
    """x & mask: for each run of ones from place l to below place h, Mod(x, 2^h) - Mod(x, 2^l)."""
    total, place = graph.constant(0), 0
    while mask >> place not in (0, -1):
        ones = mask >> place & 1
        end = place
        while mask >> end & 1 == ones and mask >> end not in (0, -1):
            end += 1
        if ones:
            total = graph.op("Add", total, graph.op("Sub", _rest(graph, x, end), _rest(graph, x, place)))
        place = end
    if mask < 0:
        total = graph.op("Add", total, graph.op("Sub", x, _rest(graph, x, place)))
    return graph.op("Add", total, graph.op("Sub", x, x))  # the batch axis, where nothing of x is left


def _rest(graph: _Graph, x: str, place: int) -> str:
    """x modulo 2^place, not negative."""
    return graph.op("Mod", x, graph.constant(1 << place), fmod=0)


def _input(graph: _Graph, node: Input) -> str:
    if node.encoding is Encoding.BIPOLAR:
        return graph.op("Sub", graph.op("Mul", node.name, graph.constant(2)), graph.constant(1))
    return graph.op("Sub", node.name, graph.constant(node.zero_point))


def _output(graph: _Graph, node: Output, x: str) -> str:
    if node.encoding is Encoding.BIPOLAR:
        return graph.op("Div", graph.op("Add", x, graph.constant(1)), graph.constant(2), into=node.name)
    return graph.op("Add", x, graph.constant(node.zero_point), into=node.name)


def _moved(graph: _Graph, node: Concat | Slice | Reshape | Transpose | Pad, xs: list[str]) -> str:
    match node:
        case Concat():
            return graph.op("Concat", *xs, axis=node.axis + 1)
        case Slice():
            return _sliced(graph, xs[0], {node.axis + 1: (node.start, node.stop, node.step)})
        case Reshape():
            return _reshaped(graph, xs[0], node.shape)
        case Transpose():
            return graph.op("Transpose", xs[0], perm=[0, *(axis + 1 for axis in node.perm)])
        case Pad():
            return _padded(graph, xs[0], node.pads, node.value)
        case _:
            assert_never(node)


def _reshaped(graph: _Graph, x: str, shape: Sequence[int]) -> str:
    return graph.op("Reshape", x, graph.constant([0, *shape]))  # 0 keeps the batch axis


def _sliced(graph: _Graph, x: str, axes: dict[int, tuple[int, int, int]]) -> str:
    """x[start:stop:step] along some axes, the batch axis being 0."""
    starts, stops, steps = (graph.constant(list(part)) for part in zip(*axes.values(), strict=True))
    return graph.op("Slice", x, starts, stops, graph.constant(list(axes)), steps)


def _padded(graph: _Graph, x: str, pads: Sequence[tuple[int, int]], value: int) -> str:
    """Constant padding; `pads` for every axis but the batch axis."""
    if not any(map(any, pads)):
        return x
    sides = [0, *(pad[0] for pad in pads), 0, *(pad[1] for pad in pads)]
    return graph.op("Pad", x, graph.constant(sides), graph.constant(value), mode="constant")


def _place(index: int, count: int, stride: int, dilation: int) -> tuple[int, int, int]:
    """The slice that reads tap `index` of each of `count` windows along one axis."""
    start = index * dilation
    return start, start + (count - 1) * stride + 1, stride


def _conv(graph: _Graph, node: Conv, x: str) -> str:
    """The sum, over the places of the kernel, of weight at that place times the strided slice that it meets."""
    outputs, group_inputs, *kernel = node.weight.shape
    spatial = graph.shapes[node.name][1:]
    padded = _padded(graph, x, ((0, 0), *node.pads), 0)
    weight = node.weight.array.reshape(node.groups, outputs // node.groups, group_inputs, *kernel)
    total = ""
    for place in product(*map(range, kernel)):
        taps = zip(place, spatial, node.stride, node.dilation, strict=True)
        met = _sliced(graph, padded, {axis: _place(*tap) for axis, tap in enumerate(taps, 2)})
        columns = _reshaped(graph, met, (node.groups, group_inputs, int(np.prod(spatial))))
        part = graph.op("MatMul", graph.constant(weight[(slice(None),) * 3 + place]), columns)
        total = graph.op("Add", total, part) if total else part
    shaped = _reshaped(graph, total, (outputs, *spatial))
    return graph.op("Add", shaped, graph.column(node.bias, 1 + len(spatial)))


def _pool(graph: _Graph, node: MaxPool | SumPool, x: str) -> str:
    """Maximum and sum over a window are taken axis by axis."""
    greatest = isinstance(node, MaxPool)
    dilation = node.dilation if isinstance(node, MaxPool) else (1,) * len(node.kernel)
    pooled = _padded(graph, x, ((0, 0), *node.pads), LEAST if greatest else 0)
    counts = graph.shapes[node.name][1:]
    for axis, (kernel, count, stride, gap) in enumerate(
        zip(node.kernel, counts, node.stride, dilation, strict=True), 2
    ):
        parts = [_sliced(graph, pooled, {axis: _place(index, count, stride, gap)}) for index in range(kernel)]
        pooled = parts[0]
        for part in parts[1:]:
            pooled = graph.op("Max" if greatest else "Add", pooled, part)
    return pooled


def _requant(graph: _Graph, node: Requant, x: str, rank: int) -> str:
    v = graph.op("Add", graph.op("Mul", x, graph.column(node.multiplier, rank)), graph.column(node.addend, rank))
    y = v
    if node.shift:
        divisor = graph.constant(1 << node.shift)
        rest = graph.op("Mod", v, divisor, fmod=0)  # 0 <= rest < 2^shift, as Python's %
        y = graph.op("Div", graph.op("Sub", v, rest), divisor)
        if node.rounding is Rounding.HALF_EVEN:
            tie = graph.op("Cast", graph.op("Equal", rest, graph.constant(0)), to=TensorProto.INT64)
            odd = graph.op("Mod", y, graph.constant(2), fmod=0)
            y = graph.op("Sub", y, graph.op("Mul", tie, odd))
    return graph.op("Min", graph.op("Max", y, graph.column(node.lo, rank)), graph.column(node.hi, rank))


def _step(graph: _Graph, node: Step, x: str, rank: int) -> str:
    """Binary search, unrolled: `at` counts the thresholds <= x, in each channel's row of 2^b - 1 thresholds.

    The rows are filled up with 2^63 - 1, which no value of 62 bits reaches.
    """
    rows, count = node.thresholds.shape
    bits = count.bit_length()
    width = (1 << bits) - 1
    thresholds = np.full((rows, width), GREATEST, dtype=np.int64)
    thresholds[:, :count] = node.thresholds.array
    table = graph.constant(thresholds.reshape(-1))
    row = Ints(np.arange(rows))
    base = graph.column(Ints(row.array * width), rank)
    at = graph.op("Sub", x, x)
    for half in (1 << bit for bit in reversed(range(bits))):
        place = graph.op("Add", graph.op("Add", at, base), graph.constant(half - 1))
        above = graph.op("GreaterOrEqual", x, graph.op("Gather", table, place, axis=0))
        above = graph.op("Cast", above, to=TensorProto.INT64)
        at = graph.op("Add", at, graph.op("Mul", above, graph.constant(half)))
    place = graph.op("Add", at, graph.column(Ints(row.array * (count + 1)), rank))
    return graph.op("Gather", graph.constant(node.values.array.reshape(-1)), place, axis=0)


def _table_dense(graph: _Graph, node: TableDense, x: str) -> str:
    """Row i * T + x_i - lo_i of the tables, (I * T, O), summed over i."""
    outputs, inputs, entries = node.tables.shape
    table = graph.constant(node.tables.array.transpose(1, 2, 0).reshape(inputs * entries, outputs))
    place = graph.op("Add", x, graph.constant(np.arange(inputs) * entries - node.lo.array))
    found = graph.op("Gather", table, place, axis=0)
    return graph.op("ReduceSum", found, graph.constant([1]), keepdims=0)
