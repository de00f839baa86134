"""What tensors of the source graph are to the computer that runs it: their element types, and where float32 is exact.

The integers of a network are exact; the graph that they come from computes in float32 and in ONNX's integer types. A
cast to integers cuts off, so that one unit in float32's last place changes its result by one; ONNX's integers wrap
around, and divide towards zero. Both are taken only where they give what exact arithmetic gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import onnx

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.symbols import Const, Objects, Quantised, Real, Symbol
from edgecomp.ir.ranges import MAX_ELEMENTS

if TYPE_CHECKING:
    from edgecomp.frontend.context import Context

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
MANTISSA = 24  # bits of float32's numbers
LONG = (-(1 << 63), (1 << 63) - 1)  # int64, in which no number here overflows
QUANTISERS = ("Quant", "IntQuant", "BipolarQuant")
MOVING = frozenset({
    "Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather",
})  # fmt: skip
CHOOSING = MOVING | {
    "Pad", "Concat", "MaxPool", "GlobalMaxPool", "ReduceMax", "Clip", "Min", "Max", "Relu", "Abs", "Neg",
}  # fmt: skip
"""Operators whose results are among their operands' numbers, zero, and what differs from them by its sign."""
WHOLE = frozenset({"Add", "Sub", "Mul", "MatMul", "ReduceSum", "Abs", "Neg"})
"""Operators that give on integers what they give on whole numbers, where nothing overflows."""
READERS = frozenset({"Cast", "GatherElements", "DequantizeLinear", "ArgMax", "Equal"})

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Whole multiples of `unit`, a power of two, of at most `reach` in size: few enough for float32 to be exact."""

    unit: Fraction
    reach: Fraction


@dataclass(slots=True)
class Numbers:
    """By tensor: the interval of its integer type, where it has one, and what float32 holds of it exactly."""

    wanted: bool = False  # whether anything asks where float32 is exact
    types: dict[str, Interval] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)


def interval_of(kind: int) -> Interval | None:
    """The numbers of an ONNX element type; None for one that is no integer."""
    if kind == onnx.TensorProto.BOOL:
        return 0, 1
    try:
        reach = np.iinfo(onnx.helper.tensor_dtype_to_np_dtype(kind))
    except (KeyError, ValueError):
        return None
    return int(reach.min), int(reach.max)


def check(ctx: Context, node: onnx.NodeProto, where: str) -> None:
    """InexpressibleError where an operator works on integers of the graph, and other than exactly."""
    typed = [ctx.numbers.types[name] for name in node.input if name in ctx.numbers.types]
    if not typed or node.op_type in READERS or node.op_type in CHOOSING - WHOLE:
        return
    if node.op_type in WHOLE and all(one == LONG for one in typed):
        return
    hint = f"cast to {'int64 or float' if node.op_type in WHOLE else 'float'} before it"
    raise InexpressibleError(f"{node.op_type} of integers, which wrap around or cut off", where=where, hint=hint)


def note(ctx: Context, node: onnx.NodeProto) -> None:
    """What is known of a node's results."""
    if all(isinstance(ctx.env.get(name), Const | Quantised | None) for name in node.output):
        return
    interval = _type(ctx, node)
    if interval is not None:
        ctx.numbers.types.update(dict.fromkeys(node.output, interval))
    held = _held(ctx, node) if ctx.numbers.wanted else None
    for name in node.output:
        if held is not None and held.reach < held.unit * (1 << MANTISSA):
            ctx.numbers.held[name] = held


def _type(ctx: Context, node: onnx.NodeProto) -> Interval | None:
    match node.op_type:
        case "Cast":
            return interval_of(next((a.i for a in node.attribute if a.name == "to"), 0))
        case "QuantizeLinear":
            zero = ctx.optional(node, 2)
            return _stored(zero) if zero is not None else (0, 255)
        case "ArgMax":
            return LONG
        case "Equal":
            return 0, 1
        case "GatherElements":
            return _typed(ctx, node.input[0])
        case kind if kind in CHOOSING or kind in WHOLE:
            return next((found for name in node.input if (found := ctx.numbers.types.get(name))), None)
        case _:
            return None


def _typed(ctx: Context, name: str) -> Interval | None:
    return ctx.numbers.types.get(name) or _stored(ctx.env.get(name))


def _stored(symbol: Symbol | None) -> Interval | None:
    """The interval of a constant's type."""
    if not isinstance(symbol, Const) or symbol.array.dtype.kind not in "iub":
        return None
    return (0, 1) if symbol.array.dtype.kind == "b" else interval_of(
        onnx.helper.np_dtype_to_tensor_dtype(symbol.array.dtype)
    )  # fmt: skip


def _held(ctx: Context, node: onnx.NodeProto) -> Held | None:
    if node.op_type in QUANTISERS:
        bits = 1 if node.op_type == "BipolarQuant" else int(ctx.exact(node, 3).reshape(-1)[0])
        return _scaled(ctx, node, Fraction(1 << bits))
    if node.op_type == "DequantizeLinear":
        codes = _operand(ctx, node.input[0])
        return codes and _scaled(ctx, node, codes.reach)
    if node.op_type == "QuantizeLinear":
        interval = ctx.numbers.types.get(node.output[0])
        return interval and Held(unit=Fraction(1), reach=Fraction(max(map(abs, interval))))
    if node.op_type in ("Equal", "ArgMax"):
        return Held(unit=Fraction(1), reach=Fraction(MAX_ELEMENTS))
    alone = node.op_type in MOVING or node.op_type in ("Cast", "GatherElements", "ReduceSum")
    names = node.input[:1] if alone else node.input
    parts = [_operand(ctx, name) for name in names if name]
    known = [part for part in parts if part is not None]
    if not parts or len(known) < len(parts):
        return None
    return _combined(ctx, node, known)


def _scaled(ctx: Context, node: onnx.NodeProto, reach: Fraction) -> Held | None:
    """Codes of that reach less the node's zero point, times its scale."""
    scale = held_constant(ctx.exact(node, 1))
    bipolar = node.op_type == "BipolarQuant"
    zero = max(abs(v) for v in ctx.exact(node, 2, Fraction(0)).reshape(-1)) if not bipolar else Fraction(0)
    return scale and Held(unit=scale.unit, reach=scale.reach * (reach + zero))


def _operand(ctx: Context, name: str) -> Held | None:
    symbol = ctx.env.get(name)
    if isinstance(symbol, Const | Quantised):
        return held_constant(symbol.exact())
    if isinstance(symbol, Real) and symbol.source == name and symbol.integer is not None:
        return Held(unit=Fraction(1), reach=Fraction(max(map(abs, symbol.integer))))
    return ctx.numbers.held.get(name)


def held_constant(values: Objects) -> Held | None:
    """What float32 holds of a constant; None where its numbers are no short binary fractions."""
    numbers = set(values.reshape(-1).tolist())
    if any(v.denominator & (v.denominator - 1) for v in numbers):
        return None
    return Held(unit=Fraction(1, max((v.denominator for v in numbers), default=1)),
                reach=max((abs(v) for v in numbers), default=Fraction(0)))  # fmt: skip


def _combined(ctx: Context, node: onnx.NodeProto, parts: Sequence[Held]) -> Held | None:
    """Sums are bounded whatever their order."""
    first, unit = parts[0], min(part.unit for part in parts)
    match node.op_type:
        case kind if kind in CHOOSING or kind in ("Cast", "GatherElements"):
            return Held(unit=unit, reach=max(part.reach for part in parts))
        case "Add" | "Sub":
            return Held(unit=unit, reach=sum((part.reach for part in parts), Fraction(0)))
        case "Mul":
            return Held(unit=first.unit * parts[1].unit, reach=first.reach * parts[1].reach)
        case "Div" if parts[1].reach == parts[1].unit:  # by a power of two
            return Held(unit=first.unit / parts[1].unit, reach=first.reach / parts[1].unit)
        case "ReduceSum":
            return Held(unit=unit, reach=first.reach * math.prod(_shape(ctx, node.input[0])))
        case "MatMul" | "Gemm" | "Conv" if not any(one.name in ("alpha", "beta") for one in node.attribute):
            shape = _shape(ctx, node.input[1])
            terms = {"MatMul": shape[-2], "Gemm": max(shape), "Conv": math.prod(shape)}[node.op_type]
            unit, reach = first.unit * parts[1].unit, first.reach * parts[1].reach * terms
            more = parts[2] if len(parts) > 2 else Held(unit=unit, reach=Fraction(0))
            return Held(unit=min(unit, more.unit), reach=reach + more.reach)
        case _:
            return None


def _shape(ctx: Context, name: str) -> tuple[int, ...]:
    """A tensor's shape, without the batch where it has one."""
    symbol = ctx.env[name]
    match symbol:
        case Const():
            return tuple(symbol.array.shape)
        case Quantised():
            return tuple(symbol.codes.shape)
        case _:
            return symbol.shape
