"""Convolutions: each window is copied into a row for all its output channels, or read in place for one or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecomp.backends.mcu.ctypes import local, product, stored
from edgecomp.backends.mcu.dot import Vector, accumulator, dot, factor
from edgecomp.backends.mcu.packing import LOOP_CODE, packed
from edgecomp.backends.mcu.plan import Elementwise
from edgecomp.backends.mcu.writer import Lines, Writer, flat, indented, opened
from edgecomp.ir import Conv, MaxPool, SumPool, Value


def conv(w: Writer, node: Conv, chain: Sequence[Elementwise]) -> Lines:
    return gathered(w, node, chain) if node.name in w.plan.windows else direct(w, node, chain)


def gathered(w: Writer, node: Conv, chain: Sequence[Elementwise]) -> Lines:
    """Every window's elements side by side, 0 in the padding; then each output is one call, as a dense layer's."""
    weight, y = node.weight.array, w.values[node.name]
    outputs, taps = len(weight), weight[0].size
    few = packed(weight.reshape(outputs, taps), LOOP_CODE)
    table = w.walked(f"{node.name}_weight", weight if few is None else few.table)
    kind = accumulator(w, node, weight.reshape(outputs, taps), node.bias)
    o, p, acc, g = (w.names.of(hint) for hint in ("o", "p", "acc", "g"))
    places = [w.names.of("p") for _ in node.stride]
    slot, member, vector = window_row(w, node)
    call = dot(w, node, kind, few, table.read, vector)
    bias = w.parameter(f"{node.name}_bias", node.bias, o)
    each, row = outputs // node.groups, taps if few is None else few.table.shape[1]
    first, last = ("0", str(outputs)) if node.groups == 1 else (f"{g} * {each}", f"({g} + 1) * {each}")
    lines = [line for place, count in zip(places, y.shape[1:], strict=True) for line in opened(place, count)]
    lines += [f"const {table.element} *{p} = {table.name};", *(opened(g, node.groups) if node.groups > 1 else [])]
    return [
        *lines, *copied(w, node, places, g, f"s{slot}.{member}", vector.element),
        f"for (int_fast16_t {o} = {first}; {o} < {last}; {o}++, {p} += {row}) {{",
        f"    const {kind} {acc} = {call}({p}, s{slot}.{member}, {taps}, {bias});",
        *indented(w.stored(node, acc, chain, flat([o, *places], y.shape), o)),
        *["}"] * (1 + len(places) + (node.groups > 1)),
    ]  # fmt: skip


def window_row(w: Writer, node: Conv) -> tuple[int, str, Vector]:
    """(slot, field, what lies there) of the row into which windows are copied."""
    x = w.values[node.x]
    least, greatest = min(0, x.least), max(0, x.greatest)
    vector = Vector(element=stored(least, greatest), least=least, greatest=greatest,
                    decoded=lambda code: f"({local(least, greatest)}){code}")  # fmt: skip
    return *w.plan.windows[node.name], vector


def copied(w: Writer, node: Conv, places: Sequence[str], g: str, row: str, kind: str) -> Lines:
    """The loops that copy the window at `places` (of group `g`) into `row`."""
    x, taps = w.values[node.x], node.weight.array.shape[1:]
    t, c = w.names.of("t"), w.names.of("c")
    channel = c if node.groups == 1 else f"({g} * {taps[0]} + {c})"
    lines, marks, inside = [f"{kind} *{t} = {row};", *opened(c, taps[0])], [], []
    for place, axis in zip(places, spans(node, x), strict=True):
        k, m = w.names.of("k"), w.names.of("m")
        reach = local(-axis.before - axis.dilation, axis.size + axis.before + axis.after + axis.taps * axis.dilation)
        start = f"({reach}){place} * {axis.stride} + {k} * {axis.dilation}"
        lines += [*opened(k, axis.taps), f"const {reach} {m} = {start}{f' - {axis.before}' if axis.before else ''};"]
        inside += [f"{m} >= 0"] if axis.before else []
        inside += [f"{m} < {axis.size}"] if axis.after else []
        marks.append(m)
    element = w.read(node.x, flat([channel, *marks], x.shape))
    value = f"({' && '.join(inside)} ? {element} : 0)" if inside else element
    return [*lines, f"*{t} = ({kind}){value};", f"{t}++;", *["}"] * (1 + len(marks))]


def direct(w: Writer, node: Conv, chain: Sequence[Elementwise]) -> Lines:
    """Weights and elements of a channel start where the last one's end; taps that lie in the padding are left out."""
    weight, x, y = node.weight.array, w.values[node.x], w.values[node.name]
    outputs, taps = weight.shape[0], weight.shape[1:]
    kind = accumulator(w, node, weight.reshape(outputs, -1), node.bias)
    o, acc, row, p, at = (w.names.of(hint) for hint in ("o", "acc", "row", "p", "at"))
    places = [w.names.of("p") for _ in node.stride]
    table = w.walked(f"{node.name}_weight", weight)
    element = f"const {table.element} *"
    steps = [product(x.shape[axis + 1 :]) for axis in range(len(x.shape))]
    most = 2 * x.size + sum((k * d + n * s) * step for k, d, n, s, step in
                            zip(taps[1:], node.dilation, y.shape[1:], node.stride, steps[1:], strict=True))  # fmt: skip
    index = local(-most, most)
    starts = [f"({index}){place} * {s * step}" for place, s, step in zip(places, node.stride, steps[1:], strict=True)]
    starts += [f"({index})({o} / {outputs // node.groups}) * {taps[0] * steps[0]}"] if node.groups > 1 else []
    before = sum(first * step for (first, _), step in zip(node.pads, steps[1:], strict=True))
    limits, ks = zip(
        *(tap_range(w, axis, place) for axis, place in zip(spans(node, x), places, strict=True)), strict=True
    )
    lines = ["{", f"{element}{row} = {table.name};",
             f"for (int_fast16_t {o} = 0; {o} < {outputs}; {o}++, {row} += {product(taps)}) {{"]  # fmt: skip
    for place, count, limit in zip(places, y.shape[1:], limits, strict=True):
        lines += [*opened(place, count), *limit]
    c = w.names.of("c")
    lines += [
        *w.begun(kind, acc, w.parameter(f"{node.name}_bias", node.bias, o)),
        f"{element}{p} = {row};",
        f"{index} {at} = {' + '.join(starts)}{f' - {before}' if before else ''};",
        f"for (int_fast16_t {c} = 0; {c} < {taps[0]}; {c}++, {p} += {product(taps[1:])}, {at} += {steps[0]}) {{",
    ]
    inside, p, at = rows(w, node, ks, (element, p), (index, at))
    lines += [
        *inside,
        *w.each([f"{w.cell(acc)} += ({kind})({factor(w, node)}{table.read}{p}) * {w.read(node.x, at)});"]),
        *["}"] * len(ks),
    ]
    lines += ["}", *w.each(w.stored(node, w.cell(acc), chain, flat([o, *places], y.shape), o))]
    return [*lines, *["}"] * (2 + len(places))]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One spatial axis of a window and of what it moves over."""

    taps: int
    stride: int
    dilation: int
    before: int
    after: int
    size: int


def spans(node: Conv | MaxPool | SumPool, x: Value) -> list[Span]:
    taps = node.weight.shape[2:] if isinstance(node, Conv) else node.kernel
    dilation = (1,) * len(taps) if isinstance(node, SumPool) else node.dilation
    axes = zip(taps, node.stride, dilation, node.pads, x.shape[1:], strict=True)
    return [Span(taps=count, stride=s, dilation=d, before=before, after=after, size=size)
            for count, s, d, (before, after), size in axes]  # fmt: skip


def tap_range(w: Writer, axis: Span, place: str) -> tuple[Lines, tuple[str, str, str]]:
    """(what finds the taps of an axis that do not lie in the padding, (their index, the first, the one after))."""
    k, d, size = w.names.of("k"), axis.dilation, axis.size
    if not axis.before and not axis.after:
        return [], (k, "0", str(axis.taps))
    m, first, end = (w.names.of(hint) for hint in ("m", "first", "end"))
    reach = local(-axis.before - size - d, size + axis.before + axis.after + d)
    lines = [
        f"const {reach} {m} = ({reach}){place} * {axis.stride} - {axis.before};",
        f"const {reach} {first} = {m} < 0 ? ({d - 1} - {m}) / {d} : 0;",
        f"const {reach} {end} = {m} + {(axis.taps - 1) * d} < {size} ? {axis.taps} : ({size + d - 1} - {m}) / {d};",
    ]
    return lines, (k, first, end)
