"""Dense layers: weights walked through in their order, whole or packed, and the best of the outputs while they come."""

from __future__ import annotations

from edgecomp.backends.mcu.ctypes import literal, local
from edgecomp.backends.mcu.dot import Vector, accumulator, dot, factor
from edgecomp.backends.mcu.packing import LOOP_CODE, packed
from edgecomp.backends.mcu.plan import FEW_INPUTS, Job
from edgecomp.backends.mcu.writer import Lines, Writer, indented
from edgecomp.ir import Dense


def dense(w: Writer, node: Dense, job: Job, returned: str = "") -> Lines:
    """The loops of one layer; with `returned`, a C type, they end the function with the index of the greatest."""
    outputs, inputs = node.weight.shape
    o, acc, p = w.names.of("o"), w.names.of("acc"), w.names.of("p")
    kind = accumulator(w, node, node.weight.array, node.bias)
    few = packed(node.weight.array, LOOP_CODE) if inputs >= FEW_INPUTS else None
    table = w.walked(f"{node.name}_weight", node.weight.array if few is None else few.table)
    bias = w.parameter(f"{node.name}_bias", node.bias, o)
    first, each, last = finished(w, job, acc, o, returned)
    if inputs >= FEW_INPUTS:
        walk, products = f", {p} += {inputs if few is None else few.table.shape[1]}", []
        element, place = w.place(node.x)
        value = w.values[node.x]
        vector = Vector(element=element, least=value.least, greatest=value.greatest,
                        decoded=lambda code: w.decoded(node.x, code))  # fmt: skip
        bias = f"{dot(w, node, kind, few, table.read, vector)}({p}, {place}, {inputs}, {bias})"
    else:
        i, walk = w.names.of("i"), ""
        products = [f"for (int_fast16_t {i} = 0; {i} < {inputs}; {i}++, {p}++)",
                    f"    {acc} += ({kind})({factor(w, node)}{table.read}{p}) * {w.read(node.x, i)});"]  # fmt: skip
    return [
        "{", *first, f"const {table.element} *{p} = {table.name};",
        f"for (int_fast16_t {o} = 0; {o} < {outputs}; {o}++{walk}) {{",
        f"    {'' if products else 'const '}{kind} {acc} = {bias};", *indented([*products, *each]), "}", *last, "}",
    ]  # fmt: skip


def finished(w: Writer, job: Job, acc: str, o: str, returned: str) -> tuple[Lines, Lines, Lines]:
    """What becomes of an element: lines before the loop over the outputs, in it, and behind it."""
    if job.best is None:
        return [], w.stored(job.node, acc, job.chain, o, o), []
    lines, variable, value = w.through(acc, w.values[job.node.name], job.chain, o)
    best, top = w.names.of("best"), w.names.of("top")
    first = [f"int_fast16_t {best} = 0;", f"{local(value.least, value.greatest)} {top} = {literal(value.least)};"]
    each = [*lines, f"if ({variable} > {top}) {{", f"    {top} = {variable};", f"    {best} = {o};", "}"]
    if returned:
        return first, each, [f"return ({returned}){best};"]
    return first, each, w.stored(job.best, best, job.after, "0", "0")
