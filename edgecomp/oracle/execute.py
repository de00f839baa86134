"""Executes a graph node by node in either arithmetic, and records every activation quantiser on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edgecomp.errors import ModelError, Problem, raise_all
from edgecomp.oracle import graph as source
from edgecomp.oracle.arithmetic import Arithmetic, Array
from edgecomp.oracle.call import Call, is_real
from edgecomp.oracle.elementwise import ELEMENTWISE
from edgecomp.oracle.graph import Graph, Node
from edgecomp.oracle.movement import COMPOSITION, MOVEMENT, split
from edgecomp.oracle.quantisers import Quantised, centred, clip_codes, quantise, quantize_linear, scale_of
from edgecomp.oracle.rounding import Codes, Grid
from edgecomp.oracle.windows import WINDOWS

OPERATORS: dict[str, Callable[[Call], Array]] = ELEMENTWISE | MOVEMENT | COMPOSITION | WINDOWS

# A maximum picks elements, and rounding is monotone: the position of the maximum is the maximum of the positions.
PICKING = frozenset(MOVEMENT) | {"MaxPool", "GlobalMaxPool"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What to execute: the nodes that depend on an input, in order, and every constant they need.

    `quantisers` are the activation quantisers among them (their output names); those in `cut` take the codes they are
    fed and are not computed. A value is dropped after the node numbered `last_use`, unless it is in `wanted`.
    """

    graph: Graph
    arithmetic: Arithmetic
    constants: Mapping[str, Array]
    live: tuple[Node, ...]
    quantisers: frozenset[str]
    cut: frozenset[str]
    wanted: frozenset[str]
    last_use: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """Result of one execution; `elements` is the size of the largest array that it needed."""

    codes: dict[str, Codes] = field(default_factory=dict)
    positions: dict[str, Array] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    pending: dict[str, Quantised] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)

    @property
    def elements(self) -> int:
        return max(self.sizes, default=1)


def activation_quantisers(graph: Graph) -> tuple[Node, ...]:
    """Nodes that give the value of a quantised tensor which depends on a graph input."""
    dependent = graph.dependent()
    return tuple(
        node
        for node in graph.nodes
        if (node.op in source.QONNX or node.op == "DequantizeLinear") and node.inputs and node.inputs[0] in dependent
    )


def prepare(
    graph: Graph,
    arithmetic: Arithmetic,
    *,
    wanted: frozenset[str] | None = None,
    fed: frozenset[str] = frozenset(),
) -> Plan:
    """The plan for `wanted` tensors (default: the whole graph), constants folded.

    With `wanted` given, execution starts at the quantisers in `fed` instead of at the graph inputs where it can.
    Raises ModelError listing every operator that is not supported and every quantiser whose parameters depend on an
    input.
    """
    raise_all(ModelError, _problems(graph))
    cut = frozenset() if wanted is None else fed - wanted
    names = frozenset(graph.outputs) if wanted is None else wanted
    nodes = graph.nodes if wanted is None else _needed(graph, wanted, cut)
    dependent = graph.dependent()
    live = tuple(node for node in nodes if not dependent.isdisjoint(node.inputs))
    used = {name for node in nodes for name in node.inputs} | names
    constants = {name: _lift(arithmetic, graph.constants[name]) for name in sorted(used & graph.constants.keys())}
    plan = Plan(
        graph=graph,
        arithmetic=arithmetic,
        constants=constants,
        live=live,
        quantisers=frozenset(node.outputs[0] for node in activation_quantisers(graph)),
        cut=cut,
        wanted=names,
        last_use={name: place for place, node in enumerate(live) for name in node.inputs},
    )
    folded = Record(values=dict(constants))
    for node in nodes:
        if dependent.isdisjoint(node.inputs):
            _execute_node(plan, node, folded, {}, None)
    return replace(plan, constants=folded.values)


def _lift(arithmetic: Arithmetic, value: Array) -> Array:
    return arithmetic.real(value) if is_real(value) else value


def _needed(graph: Graph, wanted: frozenset[str], cut: frozenset[str]) -> tuple[Node, ...]:
    names, nodes = set(wanted), []
    for node in reversed(graph.nodes):
        if names.isdisjoint(node.outputs):
            continue
        nodes.append(node)
        names.update(node.inputs[1:] if node.outputs[0] in cut else node.inputs)
    return tuple(reversed(nodes))


def _problems(graph: Graph) -> list[Problem]:
    problems = []
    dependent = graph.dependent()
    quantisers = {id(node) for node in activation_quantisers(graph)}
    for node in graph.nodes:
        if not _supported(node):
            domain = f" of domain '{node.domain}'" if node.domain else ""
            problems.append(Problem(what=f"operator {node.op}{domain} is not supported", where=node.where))
        elif id(node) in quantisers | _linear(node) and not dependent.isdisjoint(node.inputs[1:]):
            problems.append(Problem(what="its scale, zero point or bit width depends on an input", where=node.where))
    return problems


def _linear(node: Node) -> set[int]:
    return {id(node)} if node.op in source.QDQ | source.QONNX else set()


def _supported(node: Node) -> bool:
    if node.domain in source.QONNX_DOMAINS:
        return node.op in source.QONNX
    if node.domain == source.CONTRIB_DOMAIN:
        return node.op in source.QDQ
    return node.domain in source.STANDARD_DOMAINS and (node.op in OPERATORS or node.op in source.QDQ | {"Split"})


def execute(
    plan: Plan, feeds: Mapping[str, Array], fed: Mapping[str, Codes], batch: tuple[int, int] | None = None
) -> Record:
    """Run the plan on one batch of inputs (float64 or int64 arrays); `fed` overrides codes downstream.

    `values` of the result holds the wanted tensors. Raises ModelError where a node cannot be executed.
    """
    record = Record(values=dict(plan.constants))
    record.values.update({name: _lift(plan.arithmetic, value) for name, value in feeds.items()})
    for place, node in enumerate(plan.live):
        _execute_node(plan, node, record, fed, batch)
        for name in {*node.inputs, *node.outputs}:
            if plan.last_use.get(name, -1) <= place and name not in plan.wanted and name not in plan.constants:
                record.values.pop(name, None)
                record.pending.pop(name, None)
    return record


def _execute_node(
    plan: Plan, node: Node, record: Record, fed: Mapping[str, Codes], batch: tuple[int, int] | None
) -> None:
    call = Call(
        node=node,
        inputs=tuple(record.values.get(name) if name else None for name in node.inputs),
        arithmetic=plan.arithmetic,
        opset=plan.graph.opset,
        batch=batch,
    )
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            results = _dispatch(plan, call, record, fed)
    except (ArithmeticError, ValueError, IndexError) as error:
        raise ModelError(f"cannot be executed: {error}", where=node.where) from error
    for name, result in zip(node.outputs, results, strict=False):
        record.values[name] = result
        record.sizes.append(_footprint(call, result))


def _dispatch(plan: Plan, call: Call, record: Record, fed: Mapping[str, Codes]) -> tuple[Array, ...]:
    node = call.node
    if node.op in source.QONNX or node.op == "DequantizeLinear":
        return (_dequantised(plan, call, record, fed),)
    if node.op == "QuantizeLinear":
        quantised = quantize_linear(call, _stored_type(plan.graph, call))
        record.pending[node.outputs[0]] = quantised
        return (quantised.codes,)
    if node.op == "Split":
        return split(call)
    result = np.asarray(OPERATORS[node.op](call))
    before = record.pending.get(node.inputs[0]) if node.inputs else None
    if before is not None and node.op == "Clip":
        record.pending[node.outputs[0]] = clip_codes(before, result, call.given(1), call.given(2))
    elif before is not None and node.op in PICKING:
        position = np.asarray(OPERATORS[node.op](replace(call, inputs=(before.position, *call.inputs[1:]))))
        record.pending[node.outputs[0]] = replace(before, codes=result, position=position)
    return (result,)


def _stored_type(graph: Graph, call: Call) -> str:
    """Element type of a QuantizeLinear's result: its zero point's, else output_dtype, else uint8."""
    if call.given(2) is not None:
        return graph.types.get(call.node.inputs[2], "an unknown type")
    given = call.node.integer("output_dtype", 0)
    return source.type_name(given) if given else "uint8"


def _dequantised(plan: Plan, call: Call, record: Record, fed: Mapping[str, Codes]) -> Array:
    """The real value of a quantised tensor; records its codes where it is an activation."""
    key = call.node.outputs[0]
    if key in plan.cut:
        codes = fed[key]
    else:
        quantised = _codes(call, record)
        codes = quantised.codes
        if key in plan.quantisers:
            record.codes[key] = codes
            record.positions[key] = quantised.position
            record.grids[key] = quantised.grid
            codes = fed.get(key, codes)
    return np.asarray(call.arithmetic.real(codes) * scale_of(call, codes.ndim))


def _codes(call: Call, record: Record) -> Quantised:
    """Centred codes of a quantiser, with the rounding that made them."""
    if call.node.op != "DequantizeLinear":
        return quantise(call)
    codes = centred(call)
    made = record.pending.get(call.node.inputs[0])
    if made is not None:
        return replace(made, codes=codes)
    # Integers that no rounding of this graph made: a graph input, or constants.
    return Quantised(codes=codes, position=call.arithmetic.real(call.input(0)), grid=Grid(lo=None, hi=None))


def _footprint(call: Call, result: Array) -> int:
    if call.node.op != "Conv":
        return int(result.size)
    weight = call.input(1)
    taps = int(np.prod(weight.shape[1:])) * call.node.integer("group", 1)
    return int(result.size // max(1, result.shape[1]) * taps)
