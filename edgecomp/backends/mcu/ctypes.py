"""C types and literals: the smallest storage for an interval, and a local variable wide enough for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecomp.ir import Ints

WIDTHS = (8, 16, 32, 64)
MACROS = {8: "byte", 16: "word", 32: "dword", 64: "qword"}


def fits(lo: int, hi: int, width: int, *, signed: bool) -> bool:
    least, most = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    return least <= lo and hi <= most


def stored(lo: int, hi: int) -> str:
    """The smallest exact type that holds lo..hi: int8_t to int64_t, unsigned where nothing is negative."""
    signed = lo < 0
    width = next(w for w in WIDTHS if fits(lo, hi, w, signed=signed))
    return f"{'' if signed else 'u'}int{width}_t"


def local(lo: int, hi: int) -> str:
    """The type of a variable in an expression: signed, and fast on the machine."""
    width = next(w for w in WIDTHS[1:] if fits(lo, hi, w, signed=True))
    return "int64_t" if width == 64 else f"int_fast{width}_t"


def literal(value: int) -> str:
    """An integer constant that has its type on every machine; the least of a width has no literal of its own."""
    if -(1 << 15) < value < 1 << 15:
        return str(value)
    width = 32 if -(1 << 31) < value < 1 << 31 else 64
    if value == -(1 << 63):
        return "(-INT64_C(9223372036854775807) - 1)"
    return f"INT{width}_C({value})" if value > 0 else f"(-INT{width}_C({-value}))"


def constant(name: str, values: NDArray[np.int64]) -> tuple[str, str, int]:
    """(declaration of a constant array in flash, the macro that reads an element through its address, bytes)."""
    kind = stored(int(values.min()), int(values.max()))
    flat = [literal(int(v)) for v in values.reshape(-1)]
    lines = [", ".join(flat[start : start + 16]) for start in range(0, len(flat), 16)]
    body = ",\n    ".join(lines)
    width = int(kind.strip("uint_"))
    declaration = f"static const {kind} {name}[{len(flat)}] FLASH = {{\n    {body}}};"
    return declaration, f"({kind})READ_{MACROS[width]}", len(flat) * width // 8


def same(vector: Ints) -> bool:
    return len(set(vector.array.reshape(-1).tolist())) == 1


def product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64)) if sizes else 1
