"""Operators on constants only: shapes that the exporter computed, and quantised weights and biases."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp.errors import InexpressibleError, ModelError
from edgecomp.frontend.context import Context, attribute, where
from edgecomp.frontend.symbols import BATCH, Const, Quantised, Real, Symbol, Tabular, fractions
from edgecomp.ir.ranges import MAX_ELEMENTS

Array = NDArray[Any]


def fold(ctx: Context, node: onnx.NodeProto) -> Symbol | None:
    """The constant that a node gives, or None where it depends on the graph's input or is no folding operator.

    ModelError where the operator does not fit its operands.
    """
    try:
        return _folded(ctx, node)
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        what = f"{node.op_type} of constants does not fit its operands: {error}"
        raise ModelError(what, where=where(node), hint="export the model again") from error


def _folded(ctx: Context, node: onnx.NodeProto) -> Symbol | None:
    if node.op_type in ("Constant", "ConstantOfShape", "Shape"):
        return _source(ctx, node)
    symbols = [ctx.symbol(name) for name in node.input if name]
    if not symbols or any(isinstance(symbol, Real | Tabular) for symbol in symbols):
        return None
    first = symbols[0]
    if node.op_type == "Cast":
        return _cast(node, first)
    if node.op_type in MOVES:
        return _moved(ctx, node, first)
    if node.op_type in ARITHMETIC:
        return _arithmetic(node, symbols)
    return _clipped(ctx, node, first) if node.op_type == "Clip" and isinstance(first, Const) else None


def _clipped(ctx: Context, node: onnx.NodeProto, symbol: Const) -> Const:
    """Clip of stored codes, as narrow weights between QuantizeLinear and DequantizeLinear have it."""
    array = symbol.array
    for index, act in ((1, np.maximum), (2, np.minimum)):
        bound = ctx.optional(node, index)
        if isinstance(bound, Const):
            array = act(array, bound.array.reshape(()))
    return Const(array=array)


def _source(ctx: Context, node: onnx.NodeProto) -> Symbol:
    if node.op_type == "Shape":
        symbol = ctx.symbol(node.input[0])
        shape = (BATCH, *symbol.shape) if isinstance(symbol, Real | Tabular) else _array(symbol).shape
        return Const(array=np.array(shape, dtype=np.int64))
    if node.op_type == "ConstantOfShape":
        value = attribute(node, "value", np.zeros(1, dtype=np.float32))
        return Const(array=np.full(bounded(ctx.integers(node, 0) or [], node), value.reshape(-1)[0]))
    for name, kind in (
        ("value_float", np.float32),
        ("value_int", np.int64),
        ("value_floats", np.float32),
        ("value_ints", np.int64),
    ):
        if (value := attribute(node, name, None)) is not None:
            return Const(array=np.asarray(value, dtype=kind))
    value = attribute(node, "value", None)
    if value is None:
        raise InexpressibleError("a constant of an unsupported kind", where=where(node))
    return Const(array=value)


def bounded(shape: Sequence[int], node: onnx.NodeProto) -> Sequence[int]:
    """The shape; ModelError where it holds more elements than any value may."""
    if math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(
            f"a constant of shape {tuple(shape)} holds more than {MAX_ELEMENTS} elements", where=where(node)
        )
    return shape


def _array(symbol: Symbol) -> Array:
    assert not isinstance(symbol, Real | Tabular)
    return symbol.array if isinstance(symbol, Const) else symbol.codes


def _cast(node: onnx.NodeProto, symbol: Symbol) -> Symbol:
    """Numbers computed here stay exact in a float type; toward zero in an integer one."""
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(attribute(node, "to", onnx.TensorProto.FLOAT)))
    if kind.kind == "f" and (isinstance(symbol, Quantised) or _array(symbol).dtype == object):
        return symbol
    if kind.kind not in "biuf" or isinstance(symbol, Quantised):
        raise InexpressibleError(f"a cast of a constant to {kind}", where=where(node))
    return Const(array=_array(symbol).astype(kind))


def _moved(ctx: Context, node: onnx.NodeProto, symbol: Symbol) -> Symbol:
    """A data movement, applied to codes and scales alike."""
    act = MOVES[node.op_type](ctx, node)
    if isinstance(symbol, Quantised):
        scale = np.broadcast_to(symbol.scale, symbol.codes.shape)
        return Quantised(codes=act(symbol.codes), scale=act(scale))
    return Const(array=act(_array(symbol)))


def _reshape(ctx: Context, node: onnx.NodeProto) -> Callable[[Array], Array]:
    shape = ctx.integers(node, 1) or []
    return lambda array: array.reshape([array.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _transpose(ctx: Context, node: onnx.NodeProto) -> Callable[[Array], Array]:
    perm = attribute(node, "perm", None)
    return lambda array: array.transpose(perm)


def _axes(ctx: Context, node: onnx.NodeProto) -> list[int] | None:
    axes = attribute(node, "axes", None)
    return list(axes) if axes is not None else ctx.integers(node, 1)


def _squeeze(ctx: Context, node: onnx.NodeProto) -> Callable[[Array], Array]:
    axes = _axes(ctx, node)
    return lambda array: np.squeeze(array, axis=None if axes is None else tuple(axes))


def _unsqueeze(ctx: Context, node: onnx.NodeProto) -> Callable[[Array], Array]:
    axes = _axes(ctx, node) or []
    return lambda array: np.expand_dims(array, tuple(axes))


def _flatten(ctx: Context, node: onnx.NodeProto) -> Callable[[Array], Array]:
    axis = attribute(node, "axis", 1)
    return lambda array: array.reshape(int(np.prod(array.shape[:axis])), -1)


def _identity(ctx: Context, node: onnx.NodeProto) -> Callable[[Array], Array]:
    return lambda array: array


def _gather(ctx: Context, node: onnx.NodeProto) -> Callable[[Array], Array]:
    index = _array(ctx.symbol(node.input[1]))
    bounded((index.size, _array(ctx.symbol(node.input[0])).size), node)
    return lambda array: np.take(array, index.astype(np.int64), axis=attribute(node, "axis", 0))


def _slice(ctx: Context, node: onnx.NodeProto) -> Callable[[Array], Array]:
    starts, stops = ctx.integers(node, 1) or [], ctx.integers(node, 2) or []
    axes = ctx.integers(node, 3) or list(range(len(starts)))
    steps = ctx.integers(node, 4) or [1] * len(starts)

    def act(array: Array) -> Array:
        index: list[slice] = [slice(None)] * array.ndim
        for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
            index[axis] = slice(start, stop, step)
        return array[tuple(index)]

    return act


MOVES: dict[str, Callable[[Context, onnx.NodeProto], Callable[[Array], Array]]] = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Identity": _identity,
    "Gather": _gather,
    "Slice": _slice,
}

ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}


def _arithmetic(node: onnx.NodeProto, symbols: list[Symbol]) -> Symbol:
    """Exact arithmetic; a quantised constant times a number keeps its codes."""
    first, second = symbols
    act = ARITHMETIC[node.op_type]
    if isinstance(first, Quantised) and isinstance(second, Const) and node.op_type in ("Mul", "Div"):
        return Quantised(codes=first.codes, scale=act(first.scale, second.exact()))
    assert not isinstance(first, Real | Tabular)
    assert not isinstance(second, Real | Tabular)
    bounded(np.broadcast_shapes(_array(first).shape, _array(second).shape), node)
    whole = all(isinstance(s, Const) and s.array.dtype.kind in "iu" for s in symbols)
    if node.op_type == "Div":
        divisor = second.exact()
        if any(v == 0 for v in divisor.reshape(-1)):
            raise InexpressibleError("a constant is divided by zero", where=where(node))
        quotient = np.asarray(first.exact() / divisor, dtype=object)
        return (
            Const(array=np.array([int(v) for v in quotient.flat], dtype=np.int64).reshape(quotient.shape))
            if whole
            else Const(array=fractions(quotient))
        )
    if whole:
        return Const(array=act(_array(first), _array(second)))
    return Const(array=fractions(np.asarray(act(first.exact(), second.exact()), dtype=object)))


def joined(ctx: Context, node: onnx.NodeProto) -> Symbol | None:
    """Concat of constants (a shape put together from parts)."""
    symbols = [ctx.symbol(name) for name in node.input]
    if not all(isinstance(symbol, Const) for symbol in symbols):
        return None
    return Const(array=np.concatenate([np.atleast_1d(_array(s)) for s in symbols], axis=attribute(node, "axis", 0)))
