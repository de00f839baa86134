"""A legalised Network as a circuit: one layer for each node that computes; data movement only changes places."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from edgecomp.backends.hls.circuit import (
    Circuit,
    DenseLayer,
    Entry,
    IntType,
    Kernel,
    KernelLayer,
    Parameter,
    extent,
    signed_type,
    type_of,
    type_of_ints,
)
from edgecomp.backends.hls.fanout import with_copies
from edgecomp.backends.hls.options import HlsOptions
from edgecomp.backends.hls.plan import Place, Planner, canonical, gather, memory_shape, value_type
from edgecomp.backends.hls.tables import lookup_values, prefers_lookup, reached_thresholds
from edgecomp.backends.hls.windows import conv, pool
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
)
from edgecomp.ir.ranges import objects, scaled


def plan(network: Network, options: HlsOptions) -> Circuit:
    """The circuit of a legalised network."""
    planner = Planner(network, options)
    for node in network.nodes:
        lower(planner, node)
    entries = tuple(layer.wire.name for layer in planner.layers if isinstance(layer, Entry))
    ports = {layer.port: layer.wire.name for layer in planner.layers if isinstance(layer, KernelLayer) and layer.port}
    outputs = tuple(ports[node.name] for node in network.outputs)
    circuit = Circuit(layers=tuple(planner.layers), inputs=entries, outputs=outputs)
    return with_copies(circuit) if planner.streamed else circuit


def lower(planner: Planner, node: Node) -> None:
    match node:
        case Input():
            lower_input(planner, node)
        case Slice() | Reshape() | Transpose() | Pad():
            planner.places[node.name] = moved(planner, node)
        case Concat():
            lower_concat(planner, node)
        case Dense():
            lower_dense(planner, node)
        case Conv():
            conv(planner, node)
        case MaxPool() | SumPool():
            pool(planner, node)
        case Output():
            lower_output(planner, node)
        case Requant() | Step() | Add() | Mul() | TableDense() | ArgMax():
            lower_kernel(planner, node)
        case _:
            assert_never(node)


def lower_input(planner: Planner, node: Input) -> None:
    """The port holds host codes: in the Network's order when parallel, in memory order when streamed."""
    shape = memory_shape(node.shape) if planner.streamed else node.shape
    wire = planner.port("in", node.name, shape, type_of(node.lo, node.hi))
    planner.layers.append(Entry(wire=wire, node=node.name))
    order = canonical(node.shape) if planner.streamed else np.arange(wire.size)
    index = np.empty_like(order)
    index[order] = np.arange(order.size)
    planner.places[node.name] = Place(wire=wire.name, index=index.reshape(node.shape))
    bipolar = node.encoding is Encoding.BIPOLAR
    if bipolar or node.zero_point:
        kind = value_type(planner.values[node.name])
        inner = planner.wire(node.name, shape, kind)
        factor, addend = (2, -1) if bipolar else (1, -node.zero_point)
        least, greatest = factor * node.lo + addend, factor * node.hi + addend
        planner.layers.append(affine(node.name, inner.name, planner, wire.name, factor, addend, 0, (least, greatest)))
        planner.places[node.name] = Place(wire=inner.name, index=index.reshape(node.shape))


def affine(
    node: str, target: str, planner: Planner, x: str, factor: int, addend: int, shift: int, interval: tuple[int, int],
    port: str = "",
) -> KernelLayer:  # fmt: skip
    """(factor * x + addend) >> shift on every element; `interval` is that of factor * x + addend."""
    wire, result = planner.wires[target], (interval[0] >> shift, interval[1] >> shift)
    ints = {"multiplier": factor, "addend": addend, "lo": result[0], "hi": result[1]}
    return KernelLayer(
        wire=wire, node=node, kernel=Kernel.REQUANT, xs=(x,), port=port,
        sizes=(("n", wire.size), ("channels", 1), ("shift", shift), ("half_even", 0)),
        types=(("scaled", type_of(*interval)), ("compare", signed_type(interval, result))),
        parameters=tuple(parameter(name, Ints([v])) for name, v in ints.items()),
    )  # fmt: skip


def parameter(name: str, values: Ints) -> Parameter:
    return Parameter(name=name, values=Ints(values.array.ravel()), type=type_of_ints(values))


def lower_output(planner: Planner, node: Output) -> None:
    """The port holds host codes; every output is a wire of its own."""
    value, place = planner.values[node.name], planner.places[node.x]
    order = canonical(value.shape) if planner.streamed else np.arange(value.size)
    shape = memory_shape(value.shape) if planner.streamed else value.shape
    index = place.index.ravel()[order]
    bipolar = node.encoding is Encoding.BIPOLAR
    if not bipolar and not node.zero_point:
        wire = planner.port("out", node.name, shape, value_type(value))
        planner.layers.append(gather(wire, node.name, planner.wires[place.wire], place, index, port=node.name))
        return
    x = planner.rearranged(node.x, place, index, shape)
    wire = planner.port("out", node.name, shape, value_type(value))
    inner = planner.values[node.x]
    addend, shift = (1, 1) if bipolar else (node.zero_point, 0)
    interval = (inner.least + addend, inner.greatest + addend)
    planner.layers.append(affine(node.name, wire.name, planner, x, 1, addend, shift, interval, port=node.name))


def moved(planner: Planner, node: Slice | Reshape | Transpose | Pad) -> Place:
    """Where the elements lie after a data movement."""
    place = planner.places[node.x]
    match node:
        case Slice():
            return place.moved(place.index[(slice(None),) * node.axis + (slice(node.start, node.stop, node.step),)])
        case Reshape():
            return place.moved(place.index.reshape(node.shape))
        case Transpose():
            return place.moved(place.index.transpose(node.perm))
        case Pad():
            if (place.index < 0).any() and place.fill != node.value:
                place = planner.in_order(planner.ready(node.x), place.index.shape)
            return Place(wire=place.wire, index=np.pad(place.index, node.pads, constant_values=-1), fill=node.value)
        case _:
            assert_never(node)


def lower_concat(planner: Planner, node: Concat) -> None:
    """Operands on one wire only change places; others are joined two by two."""
    joined = planner.places[node.xs[0]]
    for count, name in enumerate(node.xs[1:], start=2):
        place = planner.places[name]
        same_fill = joined.fill == place.fill or not (joined.index < 0).any() or not (place.index < 0).any()
        if joined.wire == place.wire and same_fill:
            fill = joined.fill if (joined.index < 0).any() else place.fill
            index = np.concatenate([joined.index, place.index], axis=node.axis)
            joined = Place(wire=place.wire, index=index, fill=fill)
        else:
            joined = join(planner, node, joined, name, last=count == len(node.xs))
    planner.places[node.name] = joined


def join(planner: Planner, node: Concat, a: Place, name: str, *, last: bool) -> Place:
    """A new wire that holds `a` and value `name` along the axis."""
    if (a.index < 0).any():
        order = canonical(a.index.shape)
        a = planner.in_order(
            planner.rearranged(node.name, a, a.index.ravel()[order], memory_shape(a.index.shape)), a.index.shape
        )
    b = planner.places[name]
    if (b.index < 0).any():
        b = planner.in_order(planner.ready(name), b.index.shape)
    first, second = planner.wires[a.wire], planner.wires[b.wire]
    index = np.concatenate([a.index, b.index + first.size], axis=node.axis)
    order = canonical(index.shape)
    wire = planner.wire(node.name, memory_shape(index.shape), value_type(planner.values[node.name]))
    planner.layers.append(KernelLayer(
        wire=wire, node=node.name, kernel=Kernel.JOIN, xs=(first.name, second.name),
        sizes=(("n_a", first.size), ("n_b", second.size), ("n_out", index.size)),
        parameters=(Parameter(name="source", values=Ints(index.ravel()[order]),
                              type=type_of(0, first.size + second.size - 1)),),
        probe=planner.probe(node.name) if last else None,
    ))  # fmt: skip
    return planner.in_order(wire.name, index.shape)


def lower_dense(planner: Planner, node: Dense) -> None:
    """hls4ml's Dense reads its wire as it lies: the weights are permuted instead of the values."""
    place, weight = planner.places[node.x], node.weight.array
    source = planner.wires[place.wire]
    if place.index.size == source.size and np.array_equal(np.sort(place.index), np.arange(source.size)):
        x, columns = source.name, np.argsort(place.index)
    else:
        x, columns = planner.ready(node.x), np.arange(place.index.size)
    if len(planner.wires[x].shape) > 1:
        x = planner.flat(planner.wires[x], (planner.wires[x].size,))
    outputs = weight.shape[0]
    layer = DenseLayer(
        wire=planner.node_wire(node.name), node=node.name, x=x, weight=Ints(weight[:, columns].T),
        bias=Ints(np.broadcast_to(node.bias.array, (outputs,))), accumulator=accumulator(planner, node),
        reuse=planner.options.reuse_of(node.name), probe=planner.probe(node.name),
    )  # fmt: skip
    planner.put(layer, node.name)


def accumulator(planner: Planner, node: Dense) -> IntType:
    """A type that holds every partial sum, in any order, bias included."""
    x, weight, bias = planner.values[node.x], objects(node.weight), objects(node.bias)
    one, two = weight * objects(x.lo), weight * objects(x.hi)
    lo = np.minimum(np.minimum(one, two), 0).sum(axis=1) + np.minimum(bias, 0)
    hi = np.maximum(np.maximum(one, two), 0).sum(axis=1) + np.maximum(bias, 0)
    return type_of(int(lo.min()), int(hi.max()))


def lower_kernel(planner: Planner, node: Requant | Step | Add | Mul | TableDense | ArgMax) -> None:
    match node:
        case Requant():
            layer = requant(planner, node)
        case Step():
            layer = step(planner, node)
        case Add() | Mul():
            layer = merge(planner, node)
        case TableDense():
            layer = table_dense(planner, node)
        case ArgMax():
            layer = argmax(planner, node)
        case _:
            assert_never(node)
    planner.put(layer, node.name)


def argmax(planner: Planner, node: ArgMax) -> KernelLayer:
    count = planner.values[node.x].size
    return KernelLayer(
        xs=(planner.ready(node.x),), wire=planner.node_wire(node.name), node=node.name, kernel=Kernel.ARGMAX,
        sizes=(("n", count), ("levels", (count - 1).bit_length())), probe=planner.probe(node.name),
    )  # fmt: skip


def requant(planner: Planner, node: Requant) -> KernelLayer:
    value = planner.values[node.x]
    least, greatest = scaled(node, value)
    interval = (int(least.min()), int(greatest.max()))
    vectors = {"multiplier": node.multiplier, "addend": node.addend, "lo": node.lo, "hi": node.hi}
    return KernelLayer(
        xs=(planner.ready(node.x),), wire=planner.node_wire(node.name), node=node.name, kernel=Kernel.REQUANT,
        sizes=(("n", value.size), ("channels", value.shape[0]), ("shift", node.shift),
               ("half_even", int(node.rounding is Rounding.HALF_EVEN))),
        types=(("scaled", type_of(*interval)), ("compare", signed_type(interval, extent(node.lo), extent(node.hi)))),
        parameters=tuple(parameter(name, vector) for name, vector in vectors.items()),
        probe=planner.probe(node.name),
    )  # fmt: skip


def step(planner: Planner, node: Step) -> KernelLayer:
    value = planner.values[node.x]
    x, wire, probe = planner.ready(node.x), planner.node_wire(node.name), planner.probe(node.name)
    sizes = (("n", value.size), ("channels", value.shape[0]), ("rows", node.values.shape[0]))
    if prefers_lookup(node, value):
        table = lookup_values(node, value)
        return KernelLayer(
            wire=wire, node=node.name, kernel=Kernel.LOOKUP, xs=(x,), probe=probe,
            sizes=(*sizes, ("entries", table.shape[1]), ("least", value.least)),
            types=(("position", type_of(0, table.shape[1] - 1)),), parameters=(parameter("values", table),),
        )  # fmt: skip
    thresholds, values = reached_thresholds(node, value)
    compare = signed_type((value.least, value.greatest), extent(thresholds))
    return KernelLayer(
        wire=wire, node=node.name, kernel=Kernel.STEP, xs=(x,), probe=probe,
        sizes=(*sizes, ("stages", (thresholds.shape[1]).bit_length()), ("count", thresholds.shape[1])),
        types=(("compare", compare),), parameters=(parameter("thresholds", thresholds), parameter("values", values)),
    )  # fmt: skip


def merge(planner: Planner, node: Add | Mul) -> KernelLayer:
    value = planner.values[node.name]
    xs = (planner.ready(node.a, value.shape), planner.ready(node.b, value.shape))
    vectors = {"p": node.p, "q": node.q} if isinstance(node, Add) else {}
    return KernelLayer(
        wire=planner.node_wire(node.name), node=node.name, xs=xs, probe=planner.probe(node.name),
        kernel=Kernel.ADD if isinstance(node, Add) else Kernel.MUL,
        sizes=(("n", value.size), ("channels", value.shape[0])),
        parameters=tuple(parameter(name, vector) for name, vector in vectors.items()),
    )  # fmt: skip


def table_dense(planner: Planner, node: TableDense) -> KernelLayer:
    outputs, inputs, entries = node.tables.shape
    tables = node.tables.array
    lo = np.minimum(tables.min(axis=2), 0).astype(object).sum(axis=1)
    hi = np.maximum(tables.max(axis=2), 0).astype(object).sum(axis=1)
    starts = Ints(np.broadcast_to(node.lo.array, (inputs,)))
    return KernelLayer(
        xs=(planner.ready(node.x),), wire=planner.node_wire(node.name), node=node.name, kernel=Kernel.TABLE_DENSE,
        sizes=(("n_in", inputs), ("n_out", outputs), ("entries", entries)),
        types=(("accum", type_of(int(lo.min()), int(hi.max()))), ("position", type_of(0, max(1, entries - 1)))),
        parameters=(parameter("tables", node.tables), parameter("lo", starts)), probe=planner.probe(node.name),
    )  # fmt: skip
