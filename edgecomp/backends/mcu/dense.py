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
    shared = inputs >= FEW_INPUTS and not w.lane
    few = packed(node.weight.array, LOOP_CODE) if shared else None
    table = w.walked(f"{node.name}_weight", node.weight.array if few is None else few.table)
    bias = w.parameter(f"{node.name}_bias", node.bias, o)
    first, each, last = finished(w, job, w.cell(acc), o, returned)
    if shared:
        walk, products = f", {p} += {inputs if few is None else few.table.shape[1]}", []
        element, place = w.place(node.x)
        value = w.values[node.x]
        vector = Vector(element=element, least=value.least, greatest=value.greatest,
                        decoded=lambda code: w.decoded(node.x, code))  # fmt: skip
        bias = f"{dot(w, node, kind, few, table.read, vector)}({p}, {place}, {inputs}, {bias})"
    else:
        i, walk = w.names.of("i"), ""
        added = f"{w.cell(acc)} += ({kind})({factor(w, node)}{table.read}{p}) * {w.read(node.x, i)});"
        products = [f"for (int_fast16_t {i} = 0; {i} < {inputs}; {i}++, {p}++)", *indented(w.each([added]))]
    start = w.begun(kind, acc, bias) if products else [f"const {kind} {acc} = {bias};"]
    return [
        "{", *first, f"const {table.element} *{p} = {table.name};",
        f"for (int_fast16_t {o} = 0; {o} < {outputs}; {o}++{walk}) {{",
        *indented([*start, *products, *w.each(each)]), "}", *last, "}",
    ]  # fmt: skip


def finished(w: Writer, job: Job, acc: str, o: str, returned: str) -> tuple[Lines, Lines, Lines]:
    """What becomes of an element: lines before the loop over the outputs, in it, and behind it."""
    if job.best is None:
        return [], w.stored(job.node, acc, job.chain, o, o), []
    lines, variable, value = w.through(acc, w.values[job.node.name], job.chain, o)
    best, top = w.names.of("best"), w.names.of("top")
    first = [*w.begun("int_fast16_t", best, "0"),
             *w.begun(local(value.least, value.greatest), top, literal(value.least))]  # fmt: skip
    each = [*lines, f"if ({variable} > {w.cell(top)}) {{", f"    {w.cell(top)} = {variable};",
            f"    {w.cell(best)} = {o};", "}"]  # fmt: skip
    if returned:
        return first, each, [f"return ({returned}){best};"]
    return first, each, w.each(w.stored(job.best, w.cell(best), job.after, "0", "0"))
