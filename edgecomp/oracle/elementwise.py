"""Arithmetic, activations, normalisation, reductions and products by the ONNX operator definitions."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from edgecomp.oracle.arithmetic import Array
from edgecomp.oracle.call import Call, is_real
from edgecomp.oracle.rounding import Rounding, round_to_integer

Operator = Callable[[Call], Array]


def add(call: Call) -> Array:
    return np.asarray(call.input(0) + call.input(1))


def sub(call: Call) -> Array:
    return np.asarray(call.input(0) - call.input(1))


def mul(call: Call) -> Array:
    return np.asarray(call.input(0) * call.input(1))


def div(call: Call) -> Array:
    """Quotient; of integers (shapes) it is truncated toward zero."""
    a, b = call.input(0), call.input(1)
    if is_real(a):
        return np.asarray(a / b)
    if not np.all(b):
        raise call.refuse("divides an integer by zero")
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))


def negate(call: Call) -> Array:
    return np.asarray(-call.input(0))


def absolute(call: Call) -> Array:
    return np.asarray(np.abs(call.input(0)))


def reciprocal(call: Call) -> Array:
    x = call.input(0)
    return np.asarray(call.like(x, 1) / x)


def sqrt(call: Call) -> Array:
    return call.arithmetic.sqrt(call.input(0))


def exp(call: Call) -> Array:
    return call.arithmetic.exp(call.input(0))


def power(call: Call) -> Array:
    exponent = call.input(1)
    return call.arithmetic.power(call.input(0), exponent if is_real(exponent) else call.arithmetic.real(exponent))


def minimum(call: Call) -> Array:
    return np.asarray(reduce(np.minimum, (call.input(place) for place in range(len(call.inputs)))))


def maximum(call: Call) -> Array:
    return np.asarray(reduce(np.maximum, (call.input(place) for place in range(len(call.inputs)))))


def total(call: Call) -> Array:
    return np.asarray(reduce(np.add, (call.input(place) for place in range(len(call.inputs)))))


def equal(call: Call) -> Array:
    return np.asarray(call.input(0) == call.input(1), dtype=bool)


def where(call: Call) -> Array:
    return np.where(call.input(0), call.input(1), call.input(2))


def relu(call: Call) -> Array:
    x = call.input(0)
    return np.asarray(np.maximum(x, call.like(x, 0)))


def leaky_relu(call: Call) -> Array:
    x = call.input(0)
    return np.where(x < call.like(x, 0), x * call.like(x, call.node.real("alpha", 0.01)), x)


def prelu(call: Call) -> Array:
    x = call.input(0)
    return np.where(x < call.like(x, 0), x * call.input(1), x)


def clip(call: Call) -> Array:
    """Min(max, Max(input, min)); either bound may be absent."""
    x = call.input(0)
    low, high = call.given(1), call.given(2)
    if call.opset < 11:
        low = call.like(x, call.node.real("min", 0.0)) if "min" in call.node.attributes else None
        high = call.like(x, call.node.real("max", 0.0)) if "max" in call.node.attributes else None
    if low is not None:
        x = np.asarray(np.maximum(x, low))
    return x if high is None else np.asarray(np.minimum(x, high))


def sigmoid(call: Call) -> Array:
    return call.arithmetic.sigmoid(call.input(0))


def tanh(call: Call) -> Array:
    return call.arithmetic.tanh(call.input(0))


def hard_sigmoid(call: Call) -> Array:
    x = call.input(0)
    alpha, beta = call.like(x, call.node.real("alpha", 0.2)), call.like(x, call.node.real("beta", 0.5))
    return _unit(call, x * alpha + beta)


def hard_swish(call: Call) -> Array:
    """x * max(0, min(1, x / 6 + 1/2)), with the exact sixth of the operator's definition."""
    x = call.input(0)
    return np.asarray(x * _unit(call, (x + call.like(x, 3)) / call.like(x, 6)))


def _unit(call: Call, x: Array) -> Array:
    return np.asarray(np.minimum(np.maximum(x, call.like(x, 0)), call.like(x, 1)))


def softmax(call: Call) -> Array:
    powers = call.arithmetic.exp(_below_maximum(call))
    return np.asarray(powers / powers.sum(axis=_softmax_axes(call), keepdims=True))


def log_softmax(call: Call) -> Array:
    x = _below_maximum(call)
    powers = call.arithmetic.exp(x)
    return np.asarray(x - call.arithmetic.log(np.asarray(powers.sum(axis=_softmax_axes(call), keepdims=True))))


def _softmax_axes(call: Call) -> tuple[int, ...]:
    """One axis since operator version 13; before, all axes from `axis` on, taken together."""
    rank = call.input(0).ndim
    if call.opset >= 13:
        return (call.node.integer("axis", -1) % rank,)
    return tuple(range(call.node.integer("axis", 1) % rank, rank))


def _below_maximum(call: Call) -> Array:
    x = call.input(0)
    return np.asarray(x - x.max(axis=_softmax_axes(call), keepdims=True))


def batch_normalization(call: Call) -> Array:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, per channel of axis 1."""
    if call.node.integer("training_mode", 0) or sum(1 for name in call.node.outputs if name) > 1:
        raise call.refuse("is in training mode", hint="export the model in evaluation mode")
    if call.node.integer("spatial", 1) != 1:
        raise call.refuse("normalises per element (spatial=0)")
    x = call.input(0)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    scale, bias, mean, variance = (call.input(place).reshape(shape) for place in range(1, 5))
    deviation = call.arithmetic.sqrt(np.asarray(variance + call.like(x, call.node.real("epsilon", 1e-5))))
    return np.asarray((x - mean) / deviation * scale + bias)


def gemm(call: Call) -> Array:
    a, b, c = call.input(0), call.input(1), call.given(2)
    a = a.T if call.node.integer("transA", 0) else a
    b = b.T if call.node.integer("transB", 0) else b
    product = call.arithmetic.matmul(a, b)
    alpha, beta = call.node.real("alpha", 1.0), call.node.real("beta", 1.0)
    if alpha != 1:
        product = product * call.like(product, alpha)
    if c is None:
        return product
    return np.asarray(product + (c if beta == 1 else c * call.like(c, beta)))


def matmul(call: Call) -> Array:
    return call.arithmetic.matmul(call.input(0), call.input(1))


def _reduced_axes(call: Call) -> tuple[int, ...] | None:
    """Axes to reduce, all of them by default; None where nothing is to be reduced."""
    axes = call.axes(1)
    if axes:
        return axes
    return None if call.node.integer("noop_with_empty_axes", 0) else tuple(range(call.input(0).ndim))


def reduce_sum(call: Call) -> Array:
    axes, keep = _reduced_axes(call), bool(call.node.integer("keepdims", 1))
    x = call.input(0)
    return x if axes is None else np.asarray(x.sum(axis=axes, keepdims=keep))


def reduce_mean(call: Call) -> Array:
    axes, keep = _reduced_axes(call), bool(call.node.integer("keepdims", 1))
    x = call.input(0)
    if axes is None:
        return x
    count = int(np.prod([x.shape[axis] for axis in axes]))
    return np.asarray(x.sum(axis=axes, keepdims=keep) / call.like(x, count))


def reduce_max(call: Call) -> Array:
    axes, keep = _reduced_axes(call), bool(call.node.integer("keepdims", 1))
    x = call.input(0)
    return x if axes is None else np.asarray(x.max(axis=axes, keepdims=keep))


def arg_max(call: Call) -> Array:
    """Index of the largest element; the first of equals unless select_last_index says otherwise."""
    x, axis = call.input(0), call.node.integer("axis", 0)
    if call.node.integer("select_last_index", 0):
        index = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis)
    else:
        index = np.argmax(x, axis=axis)
    index = np.asarray(index, dtype=np.int64)
    return np.expand_dims(index, axis) if call.node.integer("keepdims", 1) else index


def cast(call: Call) -> Array:
    """To float32 and float64 (a real number stays what it is), to integers (toward zero) and to truth values."""
    x, target = call.input(0), call.node.integer("to", 0)
    if target in (1, 11):  # TensorProto.FLOAT, DOUBLE
        return x if is_real(x) else call.arithmetic.real(x)
    if target == 9:  # TensorProto.BOOL
        return np.asarray(x != call.like(x, 0), dtype=bool)
    if target not in (2, 3, 4, 5, 6, 7, 12, 13):
        raise call.refuse(f"casts to element type {target}, which rounds")
    return round_to_integer(x, Rounding.DOWN) if is_real(x) else x.astype(np.int64)


ELEMENTWISE: dict[str, Operator] = {
    "Abs": absolute,
    "Add": add,
    "ArgMax": arg_max,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Div": div,
    "Equal": equal,
    "Exp": exp,
    "Gemm": gemm,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": log_softmax,
    "MatMul": matmul,
    "Max": maximum,
    "Min": minimum,
    "Mul": mul,
    "Neg": negate,
    "PRelu": prelu,
    "Pow": power,
    "Reciprocal": reciprocal,
    "ReduceMax": reduce_max,
    "ReduceMean": reduce_mean,
    "ReduceSum": reduce_sum,
    "Relu": relu,
    "Sigmoid": sigmoid,
    "Softmax": softmax,
    "Sqrt": sqrt,
    "Sub": sub,
    "Sum": total,
    "Tanh": tanh,
    "Where": where,
}
