"""The function that adds the products of one output of a layer: by loads and multiplications, packed or in pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgecomp.backends.mcu.ctypes import local
from edgecomp.backends.mcu.packing import PAIR_CODE, Packed
from edgecomp.backends.mcu.writer import Lines, Writer, indented
from edgecomp.ir import Conv, Dense, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """What the weights are multiplied with: the C type of an element, its interval, and the expression of its value."""

    element: str
    least: int
    greatest: int
    decoded: Callable[[str], str]


def dot(w: Writer, node: Dense | Conv, kind: str, few: Packed | None, read: str, x: Vector) -> str:
    """The name of the function that adds the products of one output; layers of the same types share it.

    A loop that is a function of its own has all registers of a small core.
    """
    weight = "uint8_t" if few is not None else read[1:].partition(")")[0]
    product = f"acc += ({kind})({factor(w, node)}{{}} * {{}});"
    if few is None:
        body = _sum(product.format(f"{read}w + n)", x.decoded("x[n]")), product.format(f"{read}w)", x.decoded("*x")),
                    x.element, paired(weight, int(node.weight.array.max()), x, kind))  # fmt: skip
    else:
        pairs = few.each == 2 and node.weight.array[0].size % 2 == 0 and few.saved > PAIR_CODE
        body = _packed_sum(few, read, product.format("{}", x.decoded("*x")), x.element, pairs=pairs)
    head = f"(const {weight} *w, const {x.element} *x, int_fast16_t n, {kind} acc) {{"
    return w.helper("dot", f"static ALONE {kind} ", [head, *body, "    return acc;", "}"])


def paired(weight: str, most: int, x: Vector, kind: str) -> Lines:
    """The loop in which a Cortex-M4's SMLAD adds two products at once; none where types and ranges do not allow it.

    `most` is the greatest weight: SMLAD takes signed numbers.

    12 instructions for four products of 8 bits, 5 for two of 16, where the plain loop takes 5 for one.
    """
    widths = {weight.strip("uint_"), x.element.strip("uint_")}
    fits = x.decoded("*x").endswith(")*x") and x.least >= -(1 << 15) and max(x.greatest, most) < 1 << 15
    if not fits or kind == "int64_t" or widths not in ({"8"}, {"16"}):
        return []
    each = 4 if widths == {"8"} else 2
    sums = ["acc = __smlad((int16x2_t)a, (int16x2_t)b, acc);"]
    if each == 4:
        a, b = (f"__{'u' if kind.startswith('u') else 's'}xtb16(({'u' if kind.startswith('u') else ''}int8x4_t)"
                for kind in (weight, x.element))  # fmt: skip
        sums = [f"acc = __smlad((int16x2_t){a}({x})), (int16x2_t){b}({y})), acc);"
                for x, y in (("a", "b"), ("a >> 8", "b >> 8"))]  # fmt: skip
    return [f"    const {x.element} *const most = x + n / {each} * {each};",
            f"    for (; x != most; w += {each}, x += {each}) {{",
            "        uint32_t a, b;", "        __builtin_memcpy(&a, w, 4);", "        __builtin_memcpy(&b, x, 4);",
            *indented(indented(sums)), "    }"]  # fmt: skip


def _sum(indexed: str, walked: str, element: str, paired: Lines) -> Lines:
    """The loop over products of whole weights."""
    step = [f"        {walked}", "        w++;", "        x++;"]
    pairs = [f"    const {element} *const end = x + n;", *paired, "    while (x != end) {", *step, "    }"]
    return [
        "#if defined(__ARM_ARCH_6M__) /* which has no load that moves its pointer: one index, two products a turn */",
        "    if (n % 2)", "        goto odd;",
        "    do {", "        n--;", f"        {indexed}", "    odd:", "        n--;", f"        {indexed}",
        "    } while (n > 0);",
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
