"""A float ONNX graph to a Net: a closed set of operators, every other one named at once.

Constants, attributes and shapes are read with the front end's own functions; each step's shape comes from running it
without memory, so that a hostile file costs no more than its weights.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgecomp import ir
from edgecomp.errors import EdgecompError, InexpressibleError, ModelError, Problem, raise_all
from edgecomp.frontend import constants, layout
from edgecomp.frontend.builder import Builder
from edgecomp.frontend.context import Context, attribute, unbatched, where
from edgecomp.frontend.linear import sizes, spatial_pads
from edgecomp.frontend.model import check_nodes, graph_inputs, initialisers
from edgecomp.frontend.numbers import FLOATS
from edgecomp.frontend.symbols import Const, Post, Real
from edgecomp.ir.ranges import MAX_ELEMENTS
from edgecomp.quantize.net import Add, Affine, Concat, Cut, HardSigmoid, Mul, Net, Op, Pad, Permute, Reshape, Step

HEADS = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax")
QUANTISERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "QuantizeLinear", "DequantizeLinear")


@dataclass(slots=True, kw_only=True)
class Reader:
    """The steps read so far; `alias` maps a tensor to the one that holds its values."""

    ctx: Context
    steps: list[Step] = field(default_factory=list)
    alias: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)

    def data(self, node: onnx.NodeProto, index: int = 0) -> str:
        """An operand that depends on the input."""
        self.ctx.real(node, index)
        name = str(node.input[index])
        return self.alias.get(name, name)

    def constant(self, node: onnx.NodeProto, index: int) -> Tensor | None:
        """A constant operand as float32; None where it is left out or is no constant."""
        symbol = self.ctx.optional(node, index)
        return torch.tensor(symbol.array.astype(np.float32)) if isinstance(symbol, Const) else None

    def weight(self, node: onnx.NodeProto) -> Tensor:
        """The second operand of a product."""
        found = self.constant(node, 1)
        if found is None:
            raise InexpressibleError(f"{node.op_type} of two computed values", where=where(node),
                                     hint="only products with constant weights can be quantised")  # fmt: skip
        return found

    def add(self, node: onnx.NodeProto, op: Op, module: nn.Module, inputs: tuple[str, ...], output: str = "") -> str:
        """Append a step; ModelError where it does not fit its operands or is too large."""
        output = output or node.output[0]
        blank = [torch.empty((2, *self.shapes[name]), device="meta") for name in inputs]
        try:
            shape = tuple(copy.deepcopy(module).to("meta")(*blank).shape)
        except (RuntimeError, ValueError, TypeError) as error:
            what = f"{node.op_type} does not fit its operand of shape {self.shapes[inputs[0]]}"
            raise ModelError(what, where=where(node), hint=str(error).partition("\n")[0]) from error
        if shape[:1] != (2,) or len(shape) < 2 or np.prod(shape[1:]) > MAX_ELEMENTS:
            raise ModelError(
                f"{node.op_type} gives shape {shape[1:]}: too large, or without a batch", where=where(node)
            )
        self.shapes[output] = shape[1:]
        self.steps.append(Step(name=self._name(node), op=op, inputs=inputs, output=output, shape=shape[1:],
                               module=module.eval()))  # fmt: skip
        self.ctx.env[output] = Real(base="", shape=shape[1:], source=output, source_shape=shape[1:])
        return output

    def rename(self, node: onnx.NodeProto, tensor: str, output: str = "") -> None:
        """The node's output, or the one named, is `tensor`."""
        output = output or node.output[0]
        self.alias[output] = tensor
        self.ctx.env[output] = self.ctx.env[tensor]

    def _name(self, node: onnx.NodeProto) -> str:
        """As users know a layer: by its weight's name, else its module's, else the node's."""
        stem = node.name.strip("/").rpartition("/")[0].replace("/", ".")
        weight = node.input[1] if len(node.input) > 1 else ""
        name = weight.removesuffix(".weight") if weight.endswith(".weight") else stem or node.name or node.output[0]
        self.names[name] += 1
        return name if self.names[name] == 1 else f"{name}_{self.names[name]}"


def read_float(model: onnx.ModelProto, *, drop_head: bool) -> Net:
    """The float network of a model, its layers' names unique; a final softmax, sigmoid or arg max is dropped.

    ModelError for a file that is malformed or quantised already, InexpressibleError listing every node that cannot be
    quantised.
    """
    graph = model.graph
    check_nodes(graph)
    if any(node.op_type in QUANTISERS for node in graph.node):
        raise ModelError("the model is quantised already", hint="build it: edgecomp build MODEL --target NAME")
    arrays = initialisers(graph)
    inputs = graph_inputs(graph, list(arrays))
    if len(graph.output) != 1:
        raise InexpressibleError(f"the model has {len(graph.output)} outputs", where="outputs",
                                 hint="quantise a model with one output")  # fmt: skip
    ctx = Context(builder=Builder(), env={name: Const(array=array) for name, array in arrays.items()},
                  readers=Counter(), outputs=frozenset({graph.output[0].name}))  # fmt: skip
    reader = Reader(ctx=ctx)
    for one in inputs:
        ctx.env[one.name] = Real(base="", shape=one.shape, source=one.name, source_shape=one.shape)
        reader.shapes[one.name] = one.shape
    _walk(reader, graph, drop_head)
    output = reader.alias.get(graph.output[0].name, graph.output[0].name)
    if not any(step.op is Op.LINEAR for step in reader.steps) or output not in reader.shapes:
        raise ModelError("the model has no layer with weights that leads to its output", where=output)
    return Net(shapes={one.name: one.shape for one in inputs}, steps=reader.steps, output=output)


def _walk(reader: Reader, graph: onnx.GraphProto, drop_head: bool) -> None:
    problems: list[Problem] = []
    kinds: list[type[EdgecompError]] = []
    failed: set[str] = set()
    for node in graph.node:
        try:
            if node.op_type not in CONVERTERS and node.op_type not in ("Constant", "ConstantOfShape", "Shape"):
                hint = f"write it with one of: {', '.join(sorted(CONVERTERS))}"
                raise InexpressibleError(f"operator {node.op_type} cannot be quantised", where=where(node), hint=hint)
            if not any(name in failed for name in node.input):
                _convert(reader, node, drop_head)
                continue
        except EdgecompError as error:
            problems += [p if p.where else Problem(what=p.what, where=where(node), hint=p.hint) for p in error.problems]
            kinds.append(type(error))
        except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            problems.append(Problem(what=f"the node does not fit its operator {node.op_type}: {error}",
                                    where=where(node), hint="export the model again"))  # fmt: skip
            kinds.append(ModelError)
        failed.update(node.output)
    raise_all(ModelError if ModelError in kinds else InexpressibleError, problems)


def _convert(reader: Reader, node: onnx.NodeProto, drop_head: bool) -> None:
    ctx = reader.ctx
    folded = constants.fold(ctx, node)
    if folded is None and node.op_type == "Concat":
        folded = constants.joined(ctx, node)
    if folded is not None:
        ctx.env[node.output[0]] = folded
    elif drop_head and node.op_type in HEADS and node.output[0] in ctx.outputs:
        reader.rename(node, reader.data(node))
    elif node.op_type in HEADS and node.op_type != "Sigmoid":
        raise InexpressibleError(f"{node.op_type} inside the network cannot be quantised", where=where(node),
                                 hint="leave it out, or move it to the end")  # fmt: skip
    else:
        CONVERTERS[node.op_type](reader, node)


def _gemm(reader: Reader, node: onnx.NodeProto) -> None:
    if attribute(node, "transA", 0):
        raise InexpressibleError("transA turns the batch axis", where=where(node), hint="transpose the weight instead")
    weight = reader.weight(node) * attribute(node, "alpha", 1.0)
    weight = weight if attribute(node, "transB", 0) else weight.T
    bias = reader.constant(node, 2)
    _linear(reader, node, weight, None if bias is None else bias * attribute(node, "beta", 1.0))


def _matmul(reader: Reader, node: onnx.NodeProto) -> None:
    _linear(reader, node, reader.weight(node).T, None)


def _linear(reader: Reader, node: onnx.NodeProto, weight: Tensor, bias: Tensor | None) -> None:
    if weight.ndim != 2:
        raise InexpressibleError(f"a weight of {weight.ndim} axes", where=where(node), hint="use a matrix")
    module = nn.Linear(weight.shape[1], weight.shape[0])
    _put(module, weight, bias)
    reader.add(node, Op.LINEAR, module, (reader.data(node),))


def _put(module: nn.Linear | nn.Conv1d | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
    with torch.no_grad():
        assert module.bias is not None
        module.weight.copy_(weight)
        module.bias.copy_(torch.zeros(weight.shape[0]) if bias is None else bias.reshape(-1))


def _conv(reader: Reader, node: onnx.NodeProto) -> None:
    weight, source = reader.weight(node), reader.data(node)
    rank = weight.ndim - 2
    if rank not in (1, 2):
        raise InexpressibleError(f"a convolution of {rank} axes", where=where(node), hint="use one or two axes")
    stride, dilation, groups = sizes(node, "strides", rank), sizes(node, "dilations", rank), attribute(node, "group", 1)
    kernel = tuple(weight.shape[2:])
    pads = spatial_pads(node, reader.shapes[source][1:], kernel, stride, dilation)
    if any(before != after for before, after in pads):
        amounts = [amount for pair in reversed(pads) for amount in pair]
        source = reader.add(node, Op.MOVE, Pad(amounts), (source,), f"{node.output[0]}_padded")
        pads = ((0, 0),) * rank
    kind: Callable[..., nn.Conv1d | nn.Conv2d] = nn.Conv1d if rank == 1 else nn.Conv2d
    module = kind(weight.shape[1] * groups, weight.shape[0], kernel, stride=stride,
                  padding=tuple(before for before, _ in pads), dilation=dilation, groups=groups)  # fmt: skip
    _put(module, weight, reader.constant(node, 2))
    reader.add(node, Op.LINEAR, module, (source,))


def _batch_norm(reader: Reader, node: onnx.NodeProto) -> None:
    gamma, beta, mean, variance = (reader.constant(node, i) for i in range(1, 5))
    if gamma is None or beta is None or mean is None or variance is None:
        raise ModelError("a batch norm whose numbers are no constants", where=where(node))
    if bool((variance < 0).any()):
        raise ModelError("a batch norm with a negative variance", where=where(node), hint="train it again")
    scale = gamma / torch.sqrt(variance + attribute(node, "epsilon", 1e-5))
    source = reader.data(node)
    shape = (1, -1, *[1] * (len(reader.shapes[source]) - 1))
    reader.add(node, Op.AFFINE, Affine(scale.reshape(shape), (beta - mean * scale).reshape(shape)), (source,))


def _arithmetic(reader: Reader, node: onnx.NodeProto) -> None:
    """Sums and products of two values, or of one and a constant."""
    constant = next((i for i in (0, 1) if isinstance(reader.ctx.symbol(node.input[i]), Const)), None)
    if constant is not None:
        _with_constant(reader, node, constant)
        return
    if node.op_type not in ("Add", "Mul"):
        raise InexpressibleError(f"{node.op_type} of two computed values", where=where(node),
                                 hint="use Add or Mul, the sign in the weights before")  # fmt: skip
    op, module = (Op.ADD, Add()) if node.op_type == "Add" else (Op.MUL, Mul())
    reader.add(node, op, module, (reader.data(node, 0), reader.data(node, 1)))


def _with_constant(reader: Reader, node: onnx.NodeProto, at: int) -> None:
    value, source = reader.constant(node, at), reader.data(node, 1 - at)
    assert value is not None
    value = torch.tensor(unbatched(value.numpy(), len(reader.shapes[source]), node))[None]
    value = value.reshape(1, *[1] * (len(reader.shapes[source]) + 1 - value.ndim), *value.shape[1:])
    one, zero = torch.ones(1), torch.zeros(1)
    match node.op_type, at:
        case "Add", _:
            affine = Affine(one, value)
        case "Sub", 1:
            affine = Affine(one, -value)
        case "Sub", 0:
            affine = Affine(-one, value)
        case "Mul", _:
            affine = Affine(value, zero)
        case "Div", 1 if bool((value != 0).all()):
            affine = Affine(1 / value, zero)
        case _:
            raise InexpressibleError("a division by zero or by a computed value", where=where(node))
    reader.add(node, Op.AFFINE, affine, (source,))


def _activation(make: Callable[[onnx.NodeProto], nn.Module]) -> Callable[[Reader, onnx.NodeProto], None]:
    return lambda reader, node: void(reader.add(node, Op.ACTIVATION, make(node), (reader.data(node),)))


def void(_: object) -> None:
    """Drop a result."""


def _clip(reader: Reader, node: onnx.NodeProto) -> None:
    low, high = reader.constant(node, 1), reader.constant(node, 2)
    if low is None or high is None:
        raise InexpressibleError("a clip without both bounds", where=where(node), hint="use Relu, or give both")
    reader.add(node, Op.ACTIVATION, nn.Hardtanh(float(low), float(high)), (reader.data(node),))


def _pool(reader: Reader, node: onnx.NodeProto) -> None:
    source = reader.data(node)
    rank = len(reader.shapes[source]) - 1
    kernel, stride = sizes(node, "kernel_shape", rank), sizes(node, "strides", rank)
    pads = spatial_pads(node, reader.shapes[source][1:], kernel, stride, sizes(node, "dilations", rank))
    counted = node.op_type == "MaxPool" or attribute(node, "count_include_pad", 0) or not any(map(any, pads))
    if attribute(node, "ceil_mode", 0) or any(a != b for a, b in pads) or rank not in (1, 2) or not counted:
        raise InexpressibleError("a pooling with one-sided or uncounted padding, or rounded up", where=where(node),
                                 hint="pad evenly and count the padding")  # fmt: skip
    padding = tuple(before for before, _ in pads)
    if node.op_type == "MaxPool":
        largest: Callable[..., nn.Module] = nn.MaxPool1d if rank == 1 else nn.MaxPool2d
        reader.add(node, Op.MAX_POOL, largest(kernel, stride, padding, sizes(node, "dilations", rank)), (source,))
        return
    mean: Callable[..., nn.Module] = nn.AvgPool1d if rank == 1 else nn.AvgPool2d
    reader.add(node, Op.MEAN_POOL, mean(kernel, stride, padding), (source,))


def _pooled(reader: Reader, node: onnx.NodeProto) -> str:
    """The mean or the greatest of all places of each channel; its axes are kept."""
    source, last = reader.data(node), node.op_type == "ReduceMean" and not attribute(node, "keepdims", 1)
    kernel = reader.shapes[source][1:]
    if len(kernel) not in (1, 2):
        raise InexpressibleError(f"a pooling of {len(kernel)} axes", where=where(node), hint="use one or two axes")
    op = Op.MAX_POOL if node.op_type == "GlobalMaxPool" else Op.MEAN_POOL
    kinds: dict[Op, tuple[Callable[..., nn.Module], ...]] = {
        Op.MAX_POOL: (nn.MaxPool1d, nn.MaxPool2d), Op.MEAN_POOL: (nn.AvgPool1d, nn.AvgPool2d),
    }  # fmt: skip
    name = f"{node.output[0]}_kept" if last else node.output[0]
    return reader.add(node, op, kinds[op][len(kernel) - 1](kernel), (source,), name)


def _mean(reader: Reader, node: onnx.NodeProto) -> None:
    """ReduceMean over all axes behind the channels."""
    shape = reader.shapes[reader.data(node)]
    if layout.axes_of(reader.ctx, node, len(shape)) != list(range(1, len(shape))):
        raise InexpressibleError("a mean that is not over all places of each channel", where=where(node),
                                 hint="take the mean of all axes behind the channels")  # fmt: skip
    pooled = _pooled(reader, node)
    if pooled != node.output[0]:
        reader.add(node, Op.MOVE, Reshape(shape[:1]), (pooled,))


def _prelu(reader: Reader, node: onnx.NodeProto) -> None:
    slope, source = reader.constant(node, 1), reader.data(node)
    shape = reader.shapes[source]
    if slope is None or (slope.numel() != 1 and tuple(slope.shape) != (shape[0], *[1] * (len(shape) - 1))):
        raise InexpressibleError("a slope that is neither one number nor one for each channel", where=where(node),
                                 hint="use nn.PReLU(1), or one slope for each channel")  # fmt: skip
    module = nn.PReLU(slope.numel())
    module.weight = nn.Parameter(slope.reshape(-1))
    reader.add(node, Op.ACTIVATION, module, (source,))


def _moved(reader: Reader, node: onnx.NodeProto) -> None:
    """Data movements: the front end says what they are."""
    if node.op_type == "Pad" and reader.ctx.optional(node, 2) is not None and reader.ctx.scalar(node, 2):
        raise InexpressibleError("padding with a number other than zero", where=where(node), hint="pad with zeros")
    done = MOVEMENTS[node.op_type](reader.ctx, node)
    source = reader.data(node)
    for output, real in zip(node.output, done if isinstance(done, list) else [done], strict=True):
        found = source
        for number, post in enumerate(real.posts, 1):
            name = output if number == len(real.posts) else f"{output}_{number}"
            found = reader.add(node, Op.MOVE, _movement(post), (found,), name)
        if not real.posts:
            reader.rename(node, source, output)


def _movement(post: Post) -> nn.Module:
    match post:
        case ir.Reshape():
            return Reshape(post.shape)
        case ir.Transpose():
            return Permute((0, *(axis + 1 for axis in post.perm)))
        case ir.Slice():
            return Cut(post.axis + 1, post.start, post.stop, post.step)
        case ir.Pad():
            return Pad([amount for pair in reversed(post.pads) for amount in pair])
        case _:
            raise AssertionError(f"{type(post).__name__} is no movement")


MOVEMENTS: dict[str, Callable[[Context, onnx.NodeProto], Real | list[Real]]] = {
    "Flatten": layout.lower_flatten,
    "Reshape": layout.lower_reshape,
    "Squeeze": layout.lower_squeeze,
    "Unsqueeze": layout.lower_unsqueeze,
    "Transpose": layout.lower_transpose,
    "Slice": layout.lower_slice,
    "Split": layout.lower_split,
    "Gather": layout.lower_gather,
    "Pad": layout.lower_pad,
}


def _concat(reader: Reader, node: onnx.NodeProto) -> None:
    parts = tuple(reader.data(node, i) for i in range(len(node.input)))
    reader.add(node, Op.CONCAT, Concat(int(attribute(node, "axis", 1))), parts)


def _identity(reader: Reader, node: onnx.NodeProto) -> None:
    if node.op_type == "Cast" and attribute(node, "to", 0) not in FLOATS:
        raise InexpressibleError("a cast to what is no float", where=where(node), hint="leave it out")
    reader.rename(node, reader.data(node))


CONVERTERS: dict[str, Callable[[Reader, onnx.NodeProto], None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "Relu": _activation(lambda node: nn.ReLU()),
    "LeakyRelu": _activation(lambda node: nn.LeakyReLU(attribute(node, "alpha", 0.01))),
    "Sigmoid": _activation(lambda node: nn.Sigmoid()),
    "Tanh": _activation(lambda node: nn.Tanh()),
    "HardSigmoid": _activation(lambda node: HardSigmoid(attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5))),
    "HardSwish": _activation(lambda node: nn.Hardswish()),
    "PRelu": _prelu,
    "Clip": _clip,
    "MaxPool": _pool,
    "AveragePool": _pool,
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), lambda reader, node: void(_pooled(reader, node))),
    "ReduceMean": _mean,
    **dict.fromkeys(MOVEMENTS, _moved),
    "Concat": _concat,
    **dict.fromkeys(("Identity", "Dropout", "Cast"), _identity),
    **dict.fromkeys(("Softmax", "LogSoftmax", "ArgMax"), _identity),
}
