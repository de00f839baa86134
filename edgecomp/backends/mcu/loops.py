"""The loops of each node that computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from edgecomp.backends.mcu.ctypes import literal, local, product, stored
from edgecomp.backends.mcu.dense import accumulator, dense, factor
from edgecomp.backends.mcu.plan import Elementwise, Job, filter_packing
from edgecomp.backends.mcu.writer import Lines, Table, Writer, indented, opened
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


def conv(w: Writer, node: Conv, chain: Sequence[Elementwise]) -> Lines:
    """Weights and elements of a channel start where the last one's end; taps that lie in the padding are left out."""
    weight, x, y = node.weight.array, w.values[node.x], w.values[node.name]
    outputs, taps = weight.shape[0], weight.shape[1:]
    kind = accumulator(w, node, weight.reshape(outputs, -1), node.bias)
    o, acc, row, p, at = (w.names.of(hint) for hint in ("o", "acc", "row", "p", "at"))
    places = [w.names.of("p") for _ in node.stride]
    table, above, unpack = filters(w, node)
    element = f"const {table.element} *"
    steps = [product(x.shape[axis + 1 :]) for axis in range(len(x.shape))]
    most = 2 * x.size + sum((k * d + n * s) * step for k, d, n, s, step in
                            zip(taps[1:], node.dilation, y.shape[1:], node.stride, steps[1:], strict=True))  # fmt: skip
    index = local(-most, most)
    starts = [f"({index}){place} * {s * step}" for place, s, step in zip(places, node.stride, steps[1:], strict=True)]
    starts += [f"({index})({o} / {outputs // node.groups}) * {taps[0] * steps[0]}"] if node.groups > 1 else []
    before = sum(first * step for (first, _), step in zip(node.pads, steps[1:], strict=True))
    limits, ks = zip(*(tap_range(w, node, axis, place) for axis, place in enumerate(places)), strict=True)
    walk = "" if unpack else f", {row} += {product(taps)}"
    lines = ["{", *above, f"{element}{row} = {table.name};",
             f"for (int_fast16_t {o} = 0; {o} < {outputs}; {o}++{walk}) {{", *unpack]  # fmt: skip
    for place, count, limit in zip(places, y.shape[1:], limits, strict=True):
        lines += [*opened(place, count), *limit]
    c = w.names.of("c")
    lines += [
        f"{kind} {acc} = {w.parameter(f'{node.name}_bias', node.bias, o)};",
        f"{element}{p} = {row};",
        f"{index} {at} = {' + '.join(starts)}{f' - {before}' if before else ''};",
        f"for (int_fast16_t {c} = 0; {c} < {taps[0]}; {c}++, {p} += {product(taps[1:])}, {at} += {steps[0]}) {{",
    ]
    inside, p, at = rows(w, node, ks, (element, p), (index, at))
    lines += [
        *inside,
        f"{acc} += ({kind})({factor(w, node)}{table.read}{p}) * {w.read(node.x, at)});",
        *["}"] * len(ks),
    ]
    lines += ["}", *w.stored(node, acc, chain, flat([o, *places], y.shape), o)]
    return [*lines, *["}"] * (2 + len(places))]


def filters(w: Writer, node: Conv) -> tuple[Table, Lines, Lines]:
    """Where an output channel's weights start, what comes before all channels, and what unpacks those of one."""
    weight, few = node.weight.array, filter_packing(node)
    if few is None:
        return w.walked(f"{node.name}_weight", weight), [], []
    kind = stored(int(weight.min()), int(weight.max()))
    slot, member = w.plan.filters[node.name]
    p, k, codes = (w.names.of(hint) for hint in ("p", "k", "codes"))
    table, buffer = w.walked(f"{node.name}_weight", few.table), f"s{slot}.{member}"
    code = few.decoded(f"(int_fast16_t)({codes} & {(1 << few.bits) - 1})")
    unpacked = [f"uint_fast8_t {codes} = 0;", *opened(k, product(weight.shape[1:])),
                f"    if ({k} % {few.each} == 0) {{", f"        {codes} = {table.read}{p});", f"        {p}++;",
                "    }",
                f"    {buffer}[{k}] = ({kind})({code});", f"    {codes} >>= {few.bits};", "}"]  # fmt: skip
    return Table(element=kind, read="*(", name=buffer), [f"const {table.element} *{p} = {table.name};"], unpacked


def rows(
    w: Writer, node: Conv, taps: Sequence[tuple[str, str, str]], weight: tuple[str, str], element: tuple[str, str]
) -> tuple[Lines, str, str]:
    """(the loops over a channel's taps, a weight's address, an element's index), from (type, start) of both."""
    (pointer, p), (index, at), lines = weight, element, []
    kernel, sizes = node.weight.shape[2:], w.values[node.x].shape[1:]
    for axis, (k, first, end) in enumerate(taps):
        lines.append(f"for (int_fast16_t {k} = {first}; {k} < {end}; {k}++) {{")
        p = f"{p} + {k} * {product(kernel[axis + 1 :])}"
        at = f"{at} + {k} * {node.dilation[axis] * product(sizes[axis + 1 :])}"
        if axis < len(taps) - 1:
            row, start = w.names.of("row"), w.names.of("at")
            lines += [f"{pointer}{row} = {p};", f"const {index} {start} = {at};"]
            p, at = row, start
    return lines, p, at


def tap_range(w: Writer, node: Conv, axis: int, place: str) -> tuple[Lines, tuple[str, str, str]]:
    """(what finds the taps of an axis that do not lie in the padding, (their index, the first, the one after))."""
    (before, after), s, d = node.pads[axis], node.stride[axis], node.dilation[axis]
    count, size = node.weight.shape[axis + 2], w.values[node.x].shape[axis + 1]
    k, m, first, end = (w.names.of(hint) for hint in ("k", "m", "first", "end"))
    if not before and not after:
        return [], (k, "0", str(count))
    reach = local(-before - size - d, size + before + after + d)
    lines = [
        f"const {reach} {m} = ({reach}){place} * {s} - {before};",
        f"const {reach} {first} = {m} < 0 ? ({d - 1} - {m}) / {d} : 0;",
        f"const {reach} {end} = {m} + {(count - 1) * d} < {size} ? {count} : ({size + d - 1} - {m}) / {d};",
    ]
    return lines, (k, first, end)


def window(
    w: Writer, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[tuple[int, int]], dilation: Sequence[int],
    places: Sequence[str], sizes: Sequence[int],
) -> tuple[list[tuple[str, str]], Lines]:  # fmt: skip
    """(tap, place in x) of each axis, and the loops over taps that skip what lies in the padding."""
    marks, lines = [], []
    axes = zip(kernel, stride, pads, dilation, places, sizes, strict=True)
    for taps, s, (before, after), d, place, size in axes:
        k, mark = w.names.of("k"), w.names.of("m")
        reach = local(-before - d, size + before + after + taps * d)
        at = f"({reach}){place} * {s} + {k} * {d} - {before}"
        lines += [*opened(k, taps), f"const {reach} {mark} = {at};"]
        if before or after:
            lines.append(f"if ({mark} < 0 || {mark} >= {size}) continue;")
        marks.append((k, mark))
    return marks, lines


def pool(w: Writer, node: MaxPool | SumPool, chain: Sequence[Elementwise]) -> Lines:
    x, y = w.values[node.x], w.values[node.name]
    dilation = node.dilation if isinstance(node, MaxPool) else (1,) * len(node.kernel)
    c, acc = w.names.of("c"), w.names.of("acc")
    places = [w.names.of("p") for _ in node.kernel]
    marks, inside = window(w, node.kernel, node.stride, node.pads, dilation, places, x.shape[1:])
    count = product(node.kernel)
    lo, hi = min(0, x.least), max(0, x.greatest)
    kind = local(lo * count, hi * count)
    element = w.read(node.x, flat([c, *(mark for _, mark in marks)], x.shape))
    lines = opened(c, y.shape[0])
    for place, size in zip(places, y.shape[1:], strict=True):
        lines += opened(place, size)
    if isinstance(node, SumPool):
        lines += [f"{kind} {acc} = 0;", *inside, f"{acc} += {element};"]
    else:
        lines += [f"{kind} {acc} = {literal(x.least)};", *inside, f"if ({element} > {acc}) {acc} = {element};"]
    lines += ["}"] * len(marks)
    lines += w.stored(node, acc, chain, flat([c, *places], y.shape), c)
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
    return [*opened(o, outputs), f"    {kind} {acc} = 0;", f"    for (int_fast16_t {i} = 0; {i} < {inputs}; {i}++)",
            f"        {acc} += {table}{index}]);", *indented(w.stored(node, acc, chain, o, o)), "}"]  # fmt: skip


def arg_max(w: Writer, node: ArgMax, chain: Sequence[Elementwise]) -> Lines:
    x = w.values[node.x]
    best, i = w.names.of("best"), w.names.of("i")
    if node.tree.array.size:
        return tree(w, node, chain)
    return ["{", f"int_fast16_t {best} = 0;", f"for (int_fast16_t {i} = 1; {i} < {x.size}; {i}++)",
            f"    if ({w.read(node.x, i)} > {w.read(node.x, best)}) {best} = {i};",
            *w.stored(node, best, chain, "0", "0"), "}"]  # fmt: skip


def tree(w: Writer, node: ArgMax, chain: Sequence[Elementwise]) -> Lines:
    """Slots of indices; a value is read through its index."""
    x, rows = w.values[node.x], node.tree.array
    slots, k, a, b, mask = (w.names.of(hint) for hint in ("slots", "k", "a", "b", "mask"))
    kind = local(min(x.least, int(rows[:, 2].min())), max(x.greatest, int(rows[:, 2].max())))
    pairs, masks = w.table(f"{node.name}_pairs", rows[:, :2]), w.table(f"{node.name}_masks", rows[:, 2])
    left, right = (f"(({kind}){w.read(node.x, f'{slots}[{slot}]')} & {mask})" for slot in (a, b))
    return ["{", f"{stored(0, x.size)} {slots}[{x.size}];",
            f"for (int_fast16_t {k} = 0; {k} < {x.size}; {k}++) {slots}[{k}] = ({stored(0, x.size)}){k};",
            *opened(k, len(rows)), f"    const int_fast16_t {a} = {pairs}2 * {k}]), {b} = {pairs}2 * {k} + 1]);",
            f"    const {kind} {mask} = {masks}{k}]);",
            f"    if ({right} > {left}) {slots}[{a}] = {slots}[{b}];", "}",
            *w.stored(node, f"{slots}[{int(rows[-1, 0])}]", chain, "0", "0"), "}"]  # fmt: skip


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
    lines += [f"const {kind} {acc} = {result};", *w.stored(node, acc, chain, flat(axes, y.shape), axes[0])]
    return [*lines, *["}"] * len(axes)]


def alone(w: Writer, node: Elementwise, chain: Sequence[Elementwise]) -> Lines:
    """An elementwise node whose value is read by several, or that follows a view."""
    x = w.values[node.x]
    c, i, acc = w.names.of("c"), w.names.of("i"), w.names.of("acc")
    rest = product(x.shape[1:])
    index = f"{c} * {rest} + {i}"
    return [*opened(c, x.shape[0]), *opened(i, rest),
            f"const {local(x.least, x.greatest)} {acc} = {w.read(node.x, index)};",
            *w.passed(acc, x, (node, *chain), index, c), "}", "}"]  # fmt: skip


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
        lines.append(f"const {local(x.least, x.greatest)} {acc} = {w.read(name, flat(axes, x.shape))};")
        lines += w.stored(node, acc, chain, flat(shifted, y.shape), shifted[0])
        lines += ["}"] * len(axes)
        start += x.shape[node.axis]
    return lines


def flat(indices: Sequence[str], shape: Sequence[int]) -> str:
    """The row-major place of an element."""
    place = indices[0]
    for index, size in zip(indices[1:], shape[1:], strict=True):
        place = f"({place}) * {size} + {index}"
    return place


def broadcast(axes: Sequence[str], shape: Sequence[int]) -> str:
    """The place in an operand whose axes of size 1 are repeated."""
    return flat(["0" if size == 1 else axis for axis, size in zip(axes, shape, strict=True)], shape)
