"""The loops of each node that computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from edgecomp.backends.mcu.conv import conv, spans, tap_range
from edgecomp.backends.mcu.ctypes import literal, local, product, stored
from edgecomp.backends.mcu.dense import dense
from edgecomp.backends.mcu.plan import Elementwise, Job
from edgecomp.backends.mcu.writer import Lines, Writer, flat, indented, opened
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Input,
    MaxPool,
    Mul,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Slice,
    Step,
    SumPool,
    TableDense,
    Transpose,
)


def compute(w: Writer, job: Job) -> Lines:
    """The loops of one job."""
    node, chain = job.node, job.chain
    match node:
        case Dense():
            return dense(w, node, job)
        case Conv() | TableDense() | MaxPool() | SumPool():
            return sums(w, node, chain)
        case ArgMax():
            return arg_max(w, node, chain)
        case Add() | Mul():
            return pair(w, node, chain)
        case Concat():
            return concat(w, node, chain)
        case Slice() | Transpose() | Pad():
            return moved(w, node, chain)
        case Requant() | Step() | Output():
            return alone(w, node, chain)
        case Input() | Reshape():
            raise AssertionError("inputs and reshapes compute nothing")
        case _:
            assert_never(node)


def sums(w: Writer, node: Conv | TableDense | MaxPool | SumPool, chain: Sequence[Elementwise]) -> Lines:
    match node:
        case Conv():
            return conv(w, node, chain)
        case TableDense():
            return table_dense(w, node, chain)
        case MaxPool() | SumPool():
            return pool(w, node, chain)
        case _:
            assert_never(node)


def pool(w: Writer, node: MaxPool | SumPool, chain: Sequence[Elementwise]) -> Lines:
    """A window's first element is found once; the taps that lie in the padding are left out."""
    x, y, axes = w.values[node.x], w.values[node.name], spans(node, w.values[node.x])
    c, acc, at = w.names.of("c"), w.names.of("acc"), w.names.of("at")
    places = [w.names.of("p") for _ in node.kernel]
    steps = [product(x.shape[axis + 1 :]) for axis in range(len(x.shape))]
    lo, hi, reach = min(0, x.least), max(0, x.greatest), 2 * x.size
    reach += sum((a.taps * a.dilation + a.before + a.after + a.size + a.stride) * step
                 for a, step in zip(axes, steps[1:], strict=True))  # fmt: skip
    index, kind = local(-reach, reach), local(lo * product(node.kernel), hi * product(node.kernel))
    lines, taps = opened(c, y.shape[0]), []
    for place, count, axis in zip(places, y.shape[1:], axes, strict=True):
        limits, tap = tap_range(w, axis, place)
        lines += [*opened(place, count), *limits]
        taps.append(tap)
    start = [f"({index}){c} * {steps[0]}"]
    start += [f"{place} * {axis.stride * step}" for place, axis, step in zip(places, axes, steps[1:], strict=True)]
    before = sum(axis.before * step for axis, step in zip(axes, steps[1:], strict=True))
    lines += [*w.begun(kind, acc, "0" if isinstance(node, SumPool) else literal(x.least)),
              f"const {index} {at} = {' + '.join(start)}{f' - {before}' if before else ''};"]  # fmt: skip
    for (k, first, end), axis, step in zip(taps, axes, steps[1:], strict=True):
        lines.append(f"for (int_fast16_t {k} = {first}; {k} < {end}; {k}++) {{")
        at += f" + {k} * {axis.dilation * step}"
    element = w.read(node.x, at)
    most = w.cell(acc)
    added = f"{most} += {element};" if isinstance(node, SumPool) else f"if ({element} > {most}) {most} = {element};"
    lines += [
        *w.each([added]),
        *["}"] * len(taps),
        *w.each(w.stored(node, most, chain, flat([c, *places], y.shape), c)),
    ]
    return [*lines, *["}"] * (1 + len(places))]


def table_dense(w: Writer, node: TableDense, chain: Sequence[Elementwise]) -> Lines:
    outputs, inputs, states = node.tables.shape
    o, i, acc = w.names.of("o"), w.names.of("i"), w.names.of("acc")
    sums = abs(node.tables.array).astype(object).max(axis=2).sum(axis=1)
    kind = local(-int(sums.max()), int(sums.max()))
    x = w.values[node.x]
    lo = w.parameter(f"{node.name}_lo", node.lo, i)
    reach = local(min(x.least, int(node.lo.array.min())) - states, x.greatest + states + int(abs(node.lo.array).max()))
    table = w.table(f"{node.name}_tables", node.tables.array)
    index = f"((int_fast32_t){o} * {inputs} + {i}) * {states} + (({reach}){w.read(node.x, i)} - {lo})"
    return [*opened(o, outputs), *indented(w.begun(kind, acc, "0")),
            f"    for (int_fast16_t {i} = 0; {i} < {inputs}; {i}++)",
            *indented(indented(w.each([f"{w.cell(acc)} += {table}{index}]);"]))),
            *indented(w.each(w.stored(node, w.cell(acc), chain, o, o))), "}"]  # fmt: skip


def arg_max(w: Writer, node: ArgMax, chain: Sequence[Elementwise]) -> Lines:
    x = w.values[node.x]
    best, i = w.names.of("best"), w.names.of("i")
    if node.tree.array.size:
        return tree(w, node, chain)
    return ["{", *w.each([f"int_fast16_t {best} = 0;", f"for (int_fast16_t {i} = 1; {i} < {x.size}; {i}++)",
            f"    if ({w.read(node.x, i)} > {w.read(node.x, best)}) {best} = {i};",
            *w.stored(node, best, chain, "0", "0")]), "}"]  # fmt: skip


def tree(w: Writer, node: ArgMax, chain: Sequence[Elementwise]) -> Lines:
    """Slots of indices; a value is read through its index."""
    x, rows = w.values[node.x], node.tree.array
    slots, k, a, b, mask = (w.names.of(hint) for hint in ("slots", "k", "a", "b", "mask"))
    kind = local(min(x.least, int(rows[:, 2].min())), max(x.greatest, int(rows[:, 2].max())))
    pairs, masks = w.table(f"{node.name}_pairs", rows[:, :2]), w.table(f"{node.name}_masks", rows[:, 2])
    left, right = (f"(({kind}){w.read(node.x, f'{slots}[{slot}]')} & {mask})" for slot in (a, b))
    return ["{", *w.each([f"{stored(0, x.size)} {slots}[{x.size}];",
            f"for (int_fast16_t {k} = 0; {k} < {x.size}; {k}++) {slots}[{k}] = ({stored(0, x.size)}){k};",
            *opened(k, len(rows)), f"    const int_fast16_t {a} = {pairs}2 * {k}]), {b} = {pairs}2 * {k} + 1]);",
            f"    const {kind} {mask} = {masks}{k}]);",
            f"    if ({right} > {left}) {slots}[{a}] = {slots}[{b}];", "}",
            *w.stored(node, f"{slots}[{int(rows[-1, 0])}]", chain, "0", "0")]), "}"]  # fmt: skip


def pair(w: Writer, node: Add | Mul, chain: Sequence[Elementwise]) -> Lines:
    y = w.values[node.name]
    axes = [w.names.of("j") for _ in y.shape]
    a, b = (w.read(name, broadcast(axes, w.values[name].shape)) for name in (node.a, node.b))
    ends = [v for name in (node.a, node.b) for v in (w.values[name].least, w.values[name].greatest)]
    if isinstance(node, Add):
        reach = max(map(abs, ends)) * max(int(abs(p.array).max()) for p in (node.p, node.q)) * 2
        kind = local(-reach - 1, reach + 1)
        p, q = (w.parameter(f"{node.name}_{hint}", v, axes[0]) for hint, v in (("p", node.p), ("q", node.q)))
        result = f"({kind}){p} * {a} + ({kind}){q} * {b}"
    else:
        reach = max(map(abs, ends)) ** 2
        kind = local(-reach - 1, reach + 1)
        result = f"({kind}){a} * {b}"
    return loop(w, node, chain, axes, kind, result)


def loop(w: Writer, node: Node, chain: Sequence[Elementwise], axes: Sequence[str], kind: str, result: str) -> Lines:
    """A loop over all elements of a node's value."""
    y, acc = w.values[node.name], w.names.of("acc")
    lines = [line for axis, size in zip(axes, y.shape, strict=True) for line in opened(axis, size)]
    lines += w.each([f"const {kind} {acc} = {result};", *w.stored(node, acc, chain, flat(axes, y.shape), axes[0])])
    return [*lines, *["}"] * len(axes)]


def alone(w: Writer, node: Elementwise, chain: Sequence[Elementwise]) -> Lines:
    """An elementwise node whose value is read by several, or that follows a view."""
    x = w.values[node.x]
    c, i, acc = w.names.of("c"), w.names.of("i"), w.names.of("acc")
    rest = product(x.shape[1:])
    index = f"{c} * {rest} + {i}"
    return [*opened(c, x.shape[0]), *opened(i, rest),
            *w.each([f"const {local(x.least, x.greatest)} {acc} = {w.read(node.x, index)};",
                     *w.passed(acc, x, (node, *chain), index, c)]), "}", "}"]  # fmt: skip


def moved(w: Writer, node: Slice | Transpose | Pad, chain: Sequence[Elementwise]) -> Lines:
    x, y = w.values[node.x], w.values[node.name]
    axes = [w.names.of("j") for _ in y.shape]
    kind = local(y.least, y.greatest)
    match node:
        case Slice():
            where = [f"({node.start} + {j} * {node.step})" if axis == node.axis else j for axis, j in enumerate(axes)]
        case Transpose():
            where = [axes[node.perm.index(axis)] for axis in range(len(axes))]
        case Pad():
            where = [f"({j} - {before})" for j, (before, _) in zip(axes, node.pads, strict=True)]
            outside = [f"{j} < {before} || {j} >= {before + size}"
                       for j, (before, _), size in zip(axes, node.pads, x.shape, strict=True)]  # fmt: skip
            inner = w.read(node.x, flat(where, x.shape))
            return loop(w, node, chain, axes, kind, f"{' || '.join(outside)} ? {literal(node.value)} : {inner}")
        case _:
            assert_never(node)
    return loop(w, node, chain, axes, kind, w.read(node.x, flat(where, x.shape)))


def concat(w: Writer, node: Concat, chain: Sequence[Elementwise]) -> Lines:
    y, start, lines = w.values[node.name], 0, []
    for name in node.xs:
        x = w.values[name]
        axes, acc = [w.names.of("j") for _ in x.shape], w.names.of("acc")
        shifted = [f"({j} + {start})" if axis == node.axis else j for axis, j in enumerate(axes)]
        for axis, size in zip(axes, x.shape, strict=True):
            lines += opened(axis, size)
        element = f"const {local(x.least, x.greatest)} {acc} = {w.read(name, flat(axes, x.shape))};"
        lines += w.each([element, *w.stored(node, acc, chain, flat(shifted, y.shape), shifted[0])])
        lines += ["}"] * len(axes)
        start += x.shape[node.axis]
    return lines


def broadcast(axes: Sequence[str], shape: Sequence[int]) -> str:
    """The place in an operand whose axes of size 1 are repeated."""
    return flat(["0" if size == 1 else axis for axis, size in zip(axes, shape, strict=True)], shape)
