"""The source graph to a Network: one pass over its nodes, every problem collected before any is raised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from edgecomp.errors import EdgecompError, InexpressibleError, ModelError, Problem, raise_all
from edgecomp.frontend import constants, edges, elementwise, layout, linear, numbers, quantisers
from edgecomp.frontend.builder import Builder, Grid
from edgecomp.frontend.context import Context, where
from edgecomp.frontend.functions import Activation, Kind
from edgecomp.frontend.model import check_nodes, graph_inputs, initialisers
from edgecomp.frontend.requantise import Record
from edgecomp.frontend.symbols import Const, Quantised, Real, Symbol, Tabular
from edgecomp.frontend.tabular import materialised
from edgecomp.ir import Input, Network, Node, Output, operands
from edgecomp.ir.ranges import NodeError

Lowering = Callable[[Context, onnx.NodeProto], Symbol | list[Real]]

OPERATORS: dict[str, Lowering] = {
    "Quant": quantisers.lower_quant,
    "IntQuant": quantisers.lower_quant,
    "BipolarQuant": quantisers.lower_bipolar,
    "Trunc": quantisers.lower_trunc,
    "QuantizeLinear": quantisers.lower_quantize_linear,
    "DequantizeLinear": quantisers.lower_dequantize_linear,
    "Gemm": linear.lower_gemm,
    "MatMul": linear.lower_matmul,
    "Conv": linear.lower_conv,
    "Add": elementwise.lower_add,
    "Sub": elementwise.lower_sub,
    "Mul": elementwise.lower_mul,
    "Div": elementwise.lower_div,
    "Neg": elementwise.lower_neg,
    "Abs": elementwise.lower_tabular,
    "Equal": elementwise.lower_tabular,
    "GatherElements": elementwise.lower_tabular,
    "BatchNormalization": elementwise.lower_batch_norm,
    "Relu": elementwise.lower_relu,
    "Clip": elementwise.lower_clip,
    "LeakyRelu": elementwise.lower_leaky,
    "PRelu": elementwise.lower_prelu,
    "Sigmoid": elementwise.lower_sigmoid,
    "Tanh": elementwise.lower_tanh,
    "HardSigmoid": elementwise.lower_hard_sigmoid,
    "HardSwish": elementwise.lower_hard_swish,
    "Softmax": elementwise.lower_softmax,
    "LogSoftmax": elementwise.lower_softmax,
    "Min": elementwise.lower_bound,
    "Max": elementwise.lower_bound,
    "ArgMax": elementwise.lower_arg_max,
    "Identity": layout.lower_identity,
    "Dropout": layout.lower_identity,
    "Cast": edges.lower_cast,
    "Reshape": layout.lower_reshape,
    "Flatten": layout.lower_flatten,
    "Squeeze": layout.lower_squeeze,
    "Unsqueeze": layout.lower_unsqueeze,
    "Transpose": layout.lower_transpose,
    "Slice": layout.lower_slice,
    "Split": layout.lower_split,
    "Gather": layout.lower_gather,
    "Pad": layout.lower_pad,
    "Concat": layout.lower_concat,
    "MaxPool": layout.lower_max_pool,
    "AveragePool": layout.lower_average_pool,
    "GlobalAveragePool": layout.lower_global_average,
    "GlobalMaxPool": layout.lower_global_max,
    "ReduceMean": layout.lower_reduce,
    "ReduceSum": layout.lower_reduce,
    "ReduceMax": layout.lower_reduce,
}

DOMAINS = ("", "ai.onnx", "qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
QUANTISERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "QuantizeLinear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A source graph made integer, and how; `origins` maps its quantised tensors to the IR nodes with their codes."""

    network: Network
    dialect: str
    origins: Mapping[str, str]
    sources: Mapping[str, str]  # Input node -> graph input
    finals: Mapping[str, str]  # Output node -> source tensor that it stands for (a final softmax's argument)
    records: tuple[Record, ...]
    notes: tuple[str, ...]


def dialect_of(graph: onnx.GraphProto) -> str:
    """'qonnx' or 'qdq' by the quantisers in the graph; ModelError for a float model."""
    kinds = {node.op_type for node in graph.node}
    if kinds & {"Quant", "IntQuant", "BipolarQuant", "Trunc"}:
        return "qonnx"
    if kinds & {"QuantizeLinear", "DequantizeLinear"}:
        return "qdq"
    raise ModelError(
        "the model has no quantisers: it is a float model",
        hint="quantise it first with Brevitas, or see `edgecomp quantize`",
    )


def lower(model: onnx.ModelProto) -> Lowered:
    """Lower a quantised ONNX graph exactly. Raises ModelError or InexpressibleError listing every problem found."""
    graph = model.graph
    check_nodes(graph)
    dialect = dialect_of(graph)
    arrays = initialisers(graph)
    unknown = [
        Problem(what=f"operator {node.domain + '.' if node.domain else ''}{node.op_type} is unknown", where=where(node),
                hint="see the README for the operators that are supported")
        for node in graph.node
        if node.domain not in DOMAINS
        or (node.op_type not in OPERATORS and node.op_type not in ("Constant", "ConstantOfShape", "Shape"))
    ]  # fmt: skip
    raise_all(InexpressibleError, unknown)
    inputs = graph_inputs(graph, list(arrays))
    builder = Builder()
    outputs = [info.name for info in graph.output]
    names = {name: builder.name(name) for name in outputs}
    env: dict[str, Symbol] = {name: Const(array=array) for name, array in arrays.items()}
    for one in inputs:
        env[one.name] = Real(base="", shape=one.shape, source=one.name, source_shape=one.shape, integer=one.integer)
    readers = Counter(name for node in graph.node for name in node.input)
    casts = numbers.Numbers(wanted=any(node.op_type == "Cast" for node in graph.node))
    ctx = Context(builder=builder, env=env, readers=readers, outputs=frozenset(outputs), numbers=casts,
                  stored=_stored(graph))  # fmt: skip
    _walk(ctx, graph)
    _finish(ctx, names)
    network = Network(nodes=_alive(builder))
    raise_all(InexpressibleError, network.problems())
    alive = {node.name for node in network.nodes}
    return Lowered(
        network=network,
        dialect=dialect,
        origins={tensor: node for tensor, node in builder.origins.items() if node in alive},
        sources={node.name: node.source for node in network.inputs},
        finals={node: ctx.softened.get(tensor, tensor) for tensor, node in names.items()},
        records=tuple(record for record in builder.records if record.node in alive),
        notes=tuple(builder.notes),
    )


def _stored(graph: onnx.GraphProto) -> dict[str, tuple[int, int]]:
    """Code ranges of zero points narrower than a byte, which arrays cannot carry."""
    names = {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for found in node.attribute:
                if found.name == "value":
                    names[node.output[0]] = onnx.TensorProto.DataType.Name(found.t.data_type)
    narrow = {"INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1), "UINT2": (0, 3)}
    return {name: narrow[kind] for name, kind in names.items() if kind in narrow}


def _walk(ctx: Context, graph: onnx.GraphProto) -> None:
    """Lower node by node; what depends on a failed node is left out, so that each problem is told once."""
    problems: list[Problem] = []
    kinds: list[type[EdgecompError]] = []
    failed: set[str] = set()
    for node in graph.node:
        if any(name in failed for name in node.input):
            failed.update(node.output)
            continue
        try:
            _lower_checked(ctx, node)
        except EdgecompError as error:
            problems += [p if p.where else Problem(what=p.what, where=where(node), hint=p.hint) for p in error.problems]
            kinds.append(type(error))
            failed.update(node.output)
    if problems:
        raise_all(ModelError if ModelError in kinds else InexpressibleError, problems)


def _lower_checked(ctx: Context, node: onnx.NodeProto) -> None:
    """Lower a node of an untrusted file: operands or attributes that its operator cannot have are the model's fault."""
    try:
        numbers.check(ctx, node, where(node))
        _lower_node(ctx, node)
        numbers.note(ctx, node)
    except NodeError as error:
        raise InexpressibleError(str(error)) from error
    except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        what = f"the node does not fit its operator {node.op_type}: {error}"
        raise ModelError(what, hint="export the model again; report it if other tools run it") from error


def _lower_node(ctx: Context, node: onnx.NodeProto) -> None:
    folded = constants.fold(ctx, node)
    if folded is None and node.op_type == "Concat":
        folded = constants.joined(ctx, node)
    if folded is not None:
        ctx.env[node.output[0]] = folded
        return
    if node.op_type in ("Softmax", "LogSoftmax", "Sigmoid") and node.output[0] in ctx.outputs:
        ctx.env[node.output[0]] = _softened(ctx, node)
        return
    tabular_result = edges.lower(ctx, node)
    if tabular_result is not None:
        ctx.env[node.output[0]] = tabular_result
        return
    result = OPERATORS[node.op_type](ctx, node)
    for name, symbol in zip(node.output, result if isinstance(result, list) else [result], strict=False):
        ctx.env[name] = symbol


def _softened(ctx: Context, node: onnx.NodeProto) -> Real:
    """A softmax or sigmoid that ends the graph, as its argument."""
    if ctx.readers[node.output[0]]:
        raise InexpressibleError(f"the {node.op_type.lower()} is an output and is read again", where=where(node))
    ctx.builder.notes.append(f"{where(node)}: the final {node.op_type.lower()} is replaced by its integer logits")
    ctx.softened[node.output[0]] = node.input[0]
    return ctx.real(node)


def _finish(ctx: Context, names: dict[str, str]) -> None:
    """An Output node for every output of the graph that is no constant: exporters add a code's scale and bit width."""
    problems: list[Problem] = []
    constant = [tensor for tensor in names if isinstance(ctx.env.get(tensor), Const | Quantised)]
    if len(constant) == len(names):
        raise ModelError("no output depends on the input", where=", ".join(constant))
    for tensor in constant:
        ctx.builder.notes.append(f"{tensor}: a constant output is left out")
        del names[tensor]
    for tensor, name in names.items():
        symbol = ctx.env.get(tensor)
        try:
            if isinstance(symbol, Tabular):
                symbol = materialised(ctx.builder, symbol, tensor)
            if not isinstance(symbol, Real):
                raise ModelError("no node gives this output", where=tensor)
            ctx.builder.emit(output_node(ctx.builder, symbol, name, tensor))
        except EdgecompError as error:
            problems += error.problems
    raise_all(InexpressibleError, problems)


def output_node(builder: Builder, real: Real, name: str, tensor: str) -> Output:
    """The Output of a real value on an integer grid: a code, or an accumulator with its scale and offset."""
    grid = _final_grid(builder, real, tensor)
    return Output(name=name, x=grid.base, scale=grid.scale, offset=grid.offset)


def _final_grid(builder: Builder, real: Real, tensor: str) -> Grid:
    last = real.chain[-1] if real.chain else None
    if isinstance(last, Activation) and last.kind in (Kind.SIGMOID, Kind.TANH):
        raise InexpressibleError(
            f"the output is an unquantised {last.kind.value}",
            where=tensor,
            hint="quantise it, or end the graph before it",
        )
    return builder.grid(real, tensor)


def _alive(builder: Builder) -> tuple[Node, ...]:
    """The nodes that an output depends on, and every input."""
    needed: set[str] = set()
    for node in reversed(builder.nodes):
        if isinstance(node, Output | Input) or node.name in needed:
            needed.add(node.name)
            needed.update(operands(node))
    return tuple(node for node in builder.nodes if node.name in needed)
