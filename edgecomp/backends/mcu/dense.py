"""Dense layers: weights walked through in their order, whole or packed, and the best of the outputs while they come."""

from __future__ import annotations

import numpy as np

from edgecomp.backends.mcu.ctypes import literal, local
from edgecomp.backends.mcu.packing import LOOP_CODE, PAIR_CODE, Packed, packed
from edgecomp.backends.mcu.plan import Job
from edgecomp.backends.mcu.writer import Lines, Writer, indented
from edgecomp.ir import Conv, Dense, Ints

FEW_INPUTS = 6  # so few products are not worth a call, some 12 instructions: its loop saves 2 or 3 for each


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
        bias = f"{dot(w, node, kind, few, table.read)}({p}, {w.place(node.x)[1]}, {inputs}, {bias})"
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


def dot(w: Writer, node: Dense, kind: str, few: Packed | None, read: str) -> str:
    """The name of the function that adds the products of one output; layers of the same types share it.

    A loop that is a function of its own has all registers of a small core.
    """
    element, _ = w.place(node.x)
    weight = "uint8_t" if few is not None else read[1:].partition(")")[0]
    product = f"acc += ({kind})({factor(w, node)}{{}} * {{}});"
    if few is None:
        body = _sum(product.format(f"{read}w + n)", w.decoded(node.x, "x[n]")),
                    product.format(f"{read}w)", w.decoded(node.x, "*x")), element,
                    paired(weight, element, kind, plain=plain(w, node.x)))  # fmt: skip
    else:
        pairs = few.each == 2 and node.weight.shape[1] % 2 == 0 and few.saved > PAIR_CODE
        body = _packed_sum(few, read, product.format("{}", w.decoded(node.x, "*x")), element, pairs=pairs)
    head = f"(const {weight} *w, const {element} *x, int_fast16_t n, {kind} acc) {{"
    return w.helper("dot", f"static ALONE {kind} ", [head, *body, "    return acc;", "}"])


def plain(w: Writer, name: str) -> bool:
    """Whether a value's elements lie in memory as they are, and fit 16 bits with a sign."""
    value = w.values[name]
    return w.decoded(name, "*x").endswith(")*x") and value.least >= -(1 << 15) and value.greatest < 1 << 15


def paired(weight: str, element: str, kind: str, *, plain: bool) -> Lines:
    """The loop in which a Cortex-M4's SMLAD adds two products at once; none where the types do not allow it.

    12 instructions for four products of 8 bits, 5 for two of 16, where the plain loop takes 5 for one.
    """
    widths = {weight.strip("uint_"), element.strip("uint_")}
    if not plain or kind == "int64_t" or widths not in ({"8"}, {"16"}):
        return []
    each = 4 if widths == {"8"} else 2
    sums = ["acc = __smlad((int16x2_t)a, (int16x2_t)b, acc);"]
    if each == 4:
        a, b = (f"__{'u' if kind.startswith('u') else 's'}xtb16(({'u' if kind.startswith('u') else ''}int8x4_t)"
                for kind in (weight, element))  # fmt: skip
        sums = [f"acc = __smlad((int16x2_t){a}({x})), (int16x2_t){b}({y})), acc);"
                for x, y in (("a", "b"), ("a >> 8", "b >> 8"))]  # fmt: skip
    return [f"    for (const {element} *const most = x + n / {each} * {each}; x != most; w += {each}, x += {each}) {{",
            "        uint32_t a, b;", "        __builtin_memcpy(&a, w, 4);", "        __builtin_memcpy(&b, x, 4);",
            *indented(indented(sums)), "    }"]  # fmt: skip


def _sum(indexed: str, walked: str, element: str, paired: Lines) -> Lines:
    """The loop over products of whole weights."""
    step = [f"        {walked}", "        w++;", "        x++;"]
    pairs = [f"    const {element} *const end = x + n;", *paired, "    while (x != end) {", *step, "    }"]
    return [
        "#if defined(__ARM_ARCH_6M__) /* which has no load that moves its pointer */",
        "    do {", "        n--;", f"        {indexed}", "    } while (n);",
        *(["#elif defined(__ARM_FEATURE_DSP)", *pairs] if paired else []),
        "#else",
        f"    const {element} *const end = x + n;", "    do {", *step, "    } while (x != end);",
        "#endif",
    ]  # fmt: skip


def _packed_sum(few: Packed, read: str, product: str, element: str, *, pairs: bool) -> Lines:
    """A byte is read when all codes of the last one are used up: then only the bit above them is left."""
    end = f"    const {element} *const end = x + n;"

    def added(code: str) -> Lines:
        return ["        " + product.format(f"({few.decoded(f'(int_fast16_t)({code})')})"), "        x++;"]

    low, high = (added(f"codes {what}") for what in (f"& {(1 << few.bits) - 1}", f">> {few.bits}"))
    if pairs:
        return [end, "    do {", f"        const uint_fast8_t codes = {read}w);", "        w++;", *low, *high,
                "    } while (x != end);"]  # fmt: skip
    return [end, "    uint_fast16_t codes = 1;", "    do {", "        if (codes == 1) {",
            f"            codes = 0x100 | {read}w);", "            w++;", "        }", *low,
            f"        codes >>= {few.bits};", "    } while (x != end);"]  # fmt: skip


def factor(w: Writer, node: Dense | Conv) -> str:
    """The cast that makes a product as narrow as it may be: a machine of 8 bits multiplies 16 bits far faster."""
    x = w.values[node.x]
    size = max(abs(x.least), abs(x.greatest), 1)
    weight = max(int(abs(node.weight.array.astype(object)).max(initial=0)), 1)
    return f"({local(-weight * size, weight * size)})"


def accumulator(
    w: Writer, node: Dense | Conv, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]], bias: Ints
) -> str:
    """A type that holds every partial sum, every weight and every product."""
    x = w.values[node.x]
    size = max(abs(x.least), abs(x.greatest))
    bound = max(int(abs(row.astype(object)).sum()) for row in rows) * size + int(abs(bias.array).max())
    bound = max(bound, int(abs(rows).max(initial=0)), size)
    return local(-bound, bound)
