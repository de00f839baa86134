"""Additions, products, normalisation and activations: parts of a chain until the next quantiser."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx

from edgecomp.errors import InexpressibleError, ModelError
from edgecomp.frontend import sums
from edgecomp.frontend.context import Context, attribute, axis_of, number, ones, unbatched, where
from edgecomp.frontend.functions import Activation, Affine, Chain, Clip, HardSwish, Kind, Normalise, compose
from edgecomp.frontend.symbols import Const, Objects, Quantised, Real, fractions
from edgecomp.ir import Mul, Reshape

ZERO, ONE = Fraction(0), Fraction(1)


def lower_add(ctx: Context, node: onnx.NodeProto) -> Real:
    return _sum(ctx, node, 1)


def lower_sub(ctx: Context, node: onnx.NodeProto) -> Real:
    return _sum(ctx, node, -1)


def _sum(ctx: Context, node: onnx.NodeProto, sign: int) -> Real:
    """a + sign * b, either of which may be a constant."""
    a, b = ctx.symbol(node.input[0]), ctx.symbol(node.input[1])
    if isinstance(a, Real) and isinstance(b, Real):
        return sums.add(ctx.builder, a, b, sign, where(node))
    if isinstance(a, Real):
        assert isinstance(b, Const | Quantised)
        return ctx.builder.affine(a, ones(), constant(node, np.asarray(b.exact() * sign, dtype=object), a), where(node))
    assert isinstance(b, Real)
    assert isinstance(a, Const | Quantised)
    return ctx.builder.affine(b, ones(sign), constant(node, a.exact(), b), where(node))


def constant(node: onnx.NodeProto, array: Objects, real: Real) -> Objects:
    """A constant operand without the batch axis; the value must not grow by broadcasting."""
    array = unbatched(array, len(real.shape), node)
    try:
        grown = np.broadcast_shapes(array.shape, real.shape) != real.shape
    except ValueError as error:
        raise ModelError(f"shapes {array.shape} and {real.shape} do not fit", where=where(node)) from error
    if grown:
        raise InexpressibleError(
            f"a constant of shape {array.shape} widens a value of shape {real.shape}", where=where(node)
        )
    return array


def lower_mul(ctx: Context, node: onnx.NodeProto) -> Real:
    a, b = ctx.symbol(node.input[0]), ctx.symbol(node.input[1])
    if isinstance(a, Real) and isinstance(b, Real):
        return _gated(a, b) or _gated(b, a) or _product(ctx, node, a, b)
    real, other = (a, b) if isinstance(a, Real) else (b, a)
    assert isinstance(real, Real)
    assert isinstance(other, Const | Quantised)
    return ctx.builder.affine(real, constant(node, other.exact(), real), ones(0), where(node))


def _gated(x: Real, gate: Real) -> Real | None:
    """x * sigmoid(x) as silu and x * clip(x / 6 + 1 / 2, 0, 1) as hard swish, where the gate is of x itself."""
    if (x.base, x.source, x.posts, x.shape) != (gate.base, gate.source, gate.posts, gate.shape):
        return None
    if gate.chain == compose((*x.chain, Activation(kind=Kind.SIGMOID))):
        return replace(x, chain=(*x.chain, Activation(kind=Kind.SILU)))
    line = _gate_line(x.chain, gate.chain)
    return None if line is None else replace(x, chain=(*x.chain, line))


def _gate_line(chain: Chain, gate: Chain) -> HardSwish | None:
    """The hard swish for which `gate` is clip(alpha * chain + beta, 0, 1), possibly as clip(x + 3, 0, 6) / 6."""
    scale = ONE
    if gate and isinstance(gate[-1], Affine) and len(gate[-1].a) == 1 and gate[-1].b == (ZERO,):
        scale, gate = gate[-1].a[0], gate[:-1]
    if len(gate) < 2 or gate[-1] != Clip(lo=ZERO, hi=1 / scale if scale > 0 else None):
        return None
    line = gate[-2]
    last = chain[-1] if chain and isinstance(chain[-1], Affine) else Affine(a=(ONE,), b=(ZERO,))
    if not isinstance(line, Affine) or not isinstance(last, Affine) or last.a[0] == 0:
        return None
    alpha = line.a[0] / last.a[0]
    beta = line.b[0] - alpha * last.b[0]
    if alpha <= 0 or beta <= 0 or compose((*chain, Affine(a=(alpha,), b=(beta,)))) != gate[:-1]:
        return None
    return HardSwish(alpha=alpha * scale, beta=beta * scale)


def _product(ctx: Context, node: onnx.NodeProto, a: Real, b: Real) -> Real:
    """The product of two values on integer grids."""
    grids = [ctx.builder.grid(real, where(node)) for real in (a, b)]
    bases = []
    for grid in grids:
        if set(grid.offset) != {ZERO}:
            steps = [o / grid.scale[i if len(grid.scale) > 1 else 0] for i, o in enumerate(grid.offset)]
            if any(step.denominator != 1 for step in steps):
                raise InexpressibleError("a factor whose zero is no code", where=where(node), hint="quantise it first")
            bases.append(ctx.builder.rescaled(grid.base, [1], [int(s) for s in steps], f"{grid.base}_shifted"))
        else:
            bases.append(grid.base)
    if len(grids[0].shape) != len(grids[1].shape):
        raise InexpressibleError(f"a product of shapes {grids[0].shape} and {grids[1].shape}", where=where(node))
    size = max(len(grid.scale) for grid in grids)
    scale = tuple(
        grids[0].scale[c % len(grids[0].scale)] * grids[1].scale[c % len(grids[1].scale)] for c in range(size)
    )
    base = ctx.builder.emit(Mul(name=ctx.builder.name(where(node)), a=bases[0], b=bases[1]))
    return Real(base=base, shape=ctx.builder.values[base].shape, chain=compose((Affine(a=scale, b=(ZERO,)),)))


def lower_div(ctx: Context, node: onnx.NodeProto) -> Real:
    real, divisor = ctx.real(node), ctx.exact(node, 1)
    if any(v == 0 for v in divisor.reshape(-1)):
        raise ModelError("division by zero", where=where(node))
    inverse = fractions(np.asarray(1 / divisor, dtype=object))
    return ctx.builder.affine(real, constant(node, inverse, real), ones(0), where(node))


def lower_neg(ctx: Context, node: onnx.NodeProto) -> Real:
    return ctx.builder.affine(ctx.real(node), ones(-1), ones(0), where(node))


def lower_tabular(ctx: Context, node: onnx.NodeProto) -> Real:
    """Abs, Equal and GatherElements, which work on functions of codes only (see `edges`)."""
    raise InexpressibleError(
        f"{node.op_type} of what is no function of single codes", where=where(node),
        hint="quantise its operand first; Equal wants a constant to compare with, GatherElements one to read from",
    )  # fmt: skip


def lower_batch_norm(ctx: Context, node: onnx.NodeProto) -> Real:
    """BatchNormalization at inference; channels are the first axis behind the batch."""
    if attribute(node, "training_mode", 0):
        raise InexpressibleError("batch norm in training mode", where=where(node), hint="export the model in eval mode")
    real = ctx.real(node)
    epsilon = number(node, "epsilon", 1e-5)
    gamma, beta, mean, variance = (ctx.exact(node, i).reshape(-1, *[1] * (len(real.shape) - 1)) for i in range(1, 5))
    variance = fractions(np.asarray(variance + epsilon, dtype=object))
    if any(v <= 0 for v in variance.reshape(-1)):
        raise ModelError("a variance plus epsilon is not positive", where=where(node))
    real, parts = ctx.builder.vectors(real, [gamma, mean, variance, beta], where(node))
    op = Normalise(gamma=parts[0], mean=parts[1], variance=parts[2], beta=parts[3])
    return ctx.builder.normalise(real, op, where(node))


def lower_relu(ctx: Context, node: onnx.NodeProto) -> Real:
    return ctx.builder.pointwise(ctx.real(node), Clip(lo=ZERO, hi=None), where(node))


def clip_bounds(ctx: Context, node: onnx.NodeProto) -> tuple[Fraction | None, Fraction | None]:
    """Bounds of a Clip: operands or (before version 11) attributes; None is no bound."""
    bounds: list[Fraction | None] = []
    for index, name in ((1, "min"), (2, "max")):
        given = attribute(node, name, None)
        if given is not None:
            bounds.append(Fraction(float(np.float32(given))))
        else:
            bounds.append(ctx.scalar(node, index) if ctx.optional(node, index) is not None else None)
    return bounds[0], bounds[1]


def lower_clip(ctx: Context, node: onnx.NodeProto) -> Real:
    lo, hi = clip_bounds(ctx, node)
    return ctx.builder.pointwise(ctx.real(node), Clip(lo=lo, hi=hi), where(node))


def lower_leaky(ctx: Context, node: onnx.NodeProto) -> Real:
    slope = fractions(np.array(number(node, "alpha", 0.01), dtype=object))
    return ctx.builder.leaky(ctx.real(node), slope, where(node))


def lower_prelu(ctx: Context, node: onnx.NodeProto) -> Real:
    real = ctx.real(node)
    return ctx.builder.leaky(real, constant(node, ctx.exact(node, 1), real), where(node))


def lower_sigmoid(ctx: Context, node: onnx.NodeProto) -> Real:
    return ctx.builder.pointwise(ctx.real(node), Activation(kind=Kind.SIGMOID), where(node))


def lower_tanh(ctx: Context, node: onnx.NodeProto) -> Real:
    return ctx.builder.pointwise(ctx.real(node), Activation(kind=Kind.TANH), where(node))


def lower_hard_sigmoid(ctx: Context, node: onnx.NodeProto) -> Real:
    """HardSigmoid: clip(alpha * x + beta, 0, 1). An alpha within float32 of 1 / 6 is still the float32 that it is."""
    alpha, beta = number(node, "alpha", 0.2), number(node, "beta", 0.5)
    real = ctx.builder.pointwise(ctx.real(node), Affine(a=(alpha,), b=(beta,)), where(node))
    return ctx.builder.pointwise(real, Clip(lo=ZERO, hi=ONE), where(node))


def lower_hard_swish(ctx: Context, node: onnx.NodeProto) -> Real:
    return ctx.builder.pointwise(ctx.real(node), HardSwish(alpha=Fraction(1, 6), beta=Fraction(1, 2)), where(node))


def lower_softmax(ctx: Context, node: onnx.NodeProto) -> Real:
    """Softmax anywhere but at the graph's end, where the lowering takes its argument as the logits."""
    raise InexpressibleError("softmax inside the graph works on unquantised values", where=where(node))


def lower_bound(ctx: Context, node: onnx.NodeProto) -> Real:
    """Min and Max of a value and constants: a clip."""
    reals = [ctx.symbol(name) for name in node.input if isinstance(ctx.symbol(name), Real)]
    if len(reals) != 1:
        raise InexpressibleError(f"{node.op_type} of two values that depend on the input", where=where(node))
    real = reals[0]
    assert isinstance(real, Real)
    for index in range(len(node.input)):
        if not isinstance(ctx.symbol(node.input[index]), Real):
            bound = ctx.scalar(node, index)
            clip = Clip(lo=bound, hi=None) if node.op_type == "Max" else Clip(lo=None, hi=bound)
            real = ctx.builder.pointwise(real, clip, where(node))
    return real


def lower_arg_max(ctx: Context, node: onnx.NodeProto) -> Real:
    """ArgMax over the classes, the lowest index among ties."""
    real = ctx.real(node)
    axis = axis_of(node, int(attribute(node, "axis", 0)), len(real.shape))
    if attribute(node, "select_last_index", 0) or axis != 0 or any(size != 1 for size in real.shape[1:]):
        raise InexpressibleError("argmax over anything but the classes, lowest index first", where=where(node))
    base = sums.winner(ctx.builder, ctx.builder.grid(real, where(node)), where(node))
    shape = real.shape[1:] if not attribute(node, "keepdims", 1) else (1, *real.shape[1:])
    result = Real(base=base, shape=(1,))
    if shape in ((), (1,)):
        return result
    return ctx.builder.layout(result, Reshape(name="", x="", shape=shape), where(node))
