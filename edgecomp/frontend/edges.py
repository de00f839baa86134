"""The operators on tabular values: where functions of single codes begin, and what becomes of them (see `tabular`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from edgecomp.errors import InexpressibleError, ModelError
from edgecomp.frontend import tabular
from edgecomp.frontend.context import Context, attribute, number, unbatched, where
from edgecomp.frontend.elementwise import clip_bounds
from edgecomp.frontend.evaluate import exact
from edgecomp.frontend.functions import Round, Sign, entry
from edgecomp.frontend.layout import (
    axes_of,
    lower_flatten,
    lower_gather,
    lower_identity,
    lower_reshape,
    lower_slice,
    lower_squeeze,
    lower_transpose,
    lower_unsqueeze,
)
from edgecomp.frontend.linear import transposed, weight, with_bias
from edgecomp.frontend.movement import move_array
from edgecomp.frontend.numbers import FLOATS, interval_of
from edgecomp.frontend.quantisers import (
    bit_width,
    centred,
    code_range,
    positive,
    rounding_mode,
    single,
)
from edgecomp.frontend.symbols import Const, Objects, Quantised, Real, Symbol, Tabular

ZERO, ONE = Fraction(0), Fraction(1)
MOVES: Mapping[str, Callable[[Context, onnx.NodeProto], Real]] = {
    "Reshape": lower_reshape,
    "Flatten": lower_flatten,
    "Squeeze": lower_squeeze,
    "Unsqueeze": lower_unsqueeze,
    "Transpose": lower_transpose,
    "Slice": lower_slice,
    "Gather": lower_gather,
    "Identity": lower_identity,
    "Dropout": lower_identity,
}


def equal(a: Any, b: Any) -> Any:
    """1 where two arrays of Fractions are equal, else 0."""
    chosen = np.array([ZERO, ONE], dtype=object)
    return chosen[np.asarray(a == b).astype(np.int64)]


PAIRS: Mapping[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Min": np.minimum,
    "Max": np.maximum,
    "Equal": equal,
}
WIDENING = ("Add", "Sub", "Mul", "Div", "Equal")


def lower(ctx: Context, node: onnx.NodeProto) -> Symbol | None:
    """What a node gives for functions of single codes; None where it has nothing to do with any.

    An operand that is tabular becomes a node of the network where the operator knows no tables.
    """
    symbols = [ctx.symbol(name) for name in node.input if name]
    if not any(isinstance(symbol, Tabular) for symbol in symbols):
        if not begins(node, symbols):
            return None
        symbols = [tabular.tabular(ctx.builder, s, where(node)) if isinstance(s, Real) else s for s in symbols]
    if node.op_type in MOVES:
        return rearranged(ctx, node, symbols[0])
    if node.op_type in PAIRS:
        return paired(ctx, node, symbols)
    if node.op_type == "GatherElements":
        return looked_up(node, symbols)
    if node.op_type in OPERATORS and isinstance(symbols[0], Tabular):
        return OPERATORS[node.op_type](ctx, node, symbols[0])
    for name, symbol in zip([name for name in node.input if name], symbols, strict=True):
        if isinstance(symbol, Tabular):
            ctx.env[name] = tabular.materialised(ctx.builder, symbol, name)
    return None


def begins(node: onnx.NodeProto, symbols: list[Symbol]) -> bool:
    """Whether a node is the first of functions that no chain describes: Abs, Equal, a look-up in a constant, or a
    constant that widens."""
    reals = [symbol for symbol in symbols if isinstance(symbol, Real)]
    if len(reals) != 1 or not reals[0].base:
        return False
    if node.op_type in ("Abs", "Equal"):
        return True
    if node.op_type == "GatherElements":
        return isinstance(symbols[0], Const | Quantised)
    if node.op_type not in WIDENING or len(symbols) != 2:
        return False
    other = next(symbol for symbol in symbols if not isinstance(symbol, Real))
    shape = (1, *reals[0].shape)
    try:
        return np.broadcast_shapes(shape_of(other), shape) != shape
    except ValueError:
        return False


def shape_of(symbol: Symbol) -> tuple[int, ...]:
    match symbol:
        case Const():
            return tuple(symbol.array.shape)
        case Quantised():
            return tuple(symbol.codes.shape)
        case _:
            return symbol.shape


def rearranged(ctx: Context, node: onnx.NodeProto, symbol: Symbol) -> Tabular:
    """A data movement, by the lowering of real values on a stand-in whose movements wait."""
    if not isinstance(symbol, Tabular):
        raise InexpressibleError("indices that depend on the input", where=where(node))
    stand = Real(base="", shape=symbol.shape)
    done = MOVES[node.op_type](replace(ctx, env={**ctx.env, node.input[0]: stand}), node)
    for post in done.posts:
        symbol = tabular.moved(symbol, lambda array, post=post: move_array(post, array))  # type: ignore[misc]
    return symbol


def paired(ctx: Context, node: onnx.NodeProto, symbols: list[Symbol]) -> Tabular:
    """An operator on two operands, or Min and Max of several, element by element."""
    act = PAIRS[node.op_type]
    if node.op_type in ("Min", "Max"):  # constants meet functions, not one another
        symbols = sorted(symbols, key=lambda symbol: not isinstance(symbol, Tabular))
    found = symbols[0]
    for symbol in symbols[1:]:
        found = _pair(ctx, node, found, symbol, act)
    assert isinstance(found, Tabular)
    return found


def _pair(ctx: Context, node: onnx.NodeProto, a: Symbol, b: Symbol, act: Callable[[Any, Any], Any]) -> Symbol:
    a, b = (tabular.tabular(ctx.builder, s, where(node)) if isinstance(s, Real) else s for s in (a, b))
    if node.op_type == "Div" and not np.all(_entries(b) != 0):
        raise ModelError("division by zero", where=where(node))
    try:
        if isinstance(a, Tabular) and isinstance(b, Tabular):
            return tabular.together(a, b, act, where(node))
        tab, other = (a, b) if isinstance(a, Tabular) else (b, a)
        assert isinstance(tab, Tabular)
        array = constant(node, other, tab)
        if node.op_type == "Equal":
            tabular.with_constant(tab, array, lambda x, y: _refuse_near(x, y, node), where(node))
        turned = act if tab is a else lambda x, y: act(y, x)
        return tabular.with_constant(tab, array, turned, where(node))
    except ValueError as error:
        raise ModelError(f"shapes {shape_of(a)} and {shape_of(b)} do not fit", where=where(node)) from error


def _refuse_near(a: Any, b: Any, node: onnx.NodeProto) -> Any:
    """InexpressibleError where float32 takes numbers for equal that are not: the graph means more than it says."""
    near = np.vectorize(lambda x, y: x != y and np.float32(float(x)) == np.float32(float(y)), otypes=[bool])
    if near(*np.broadcast_arrays(a, b)).any():
        raise InexpressibleError(
            "Equal compares codes with numbers that are theirs in float32 and not exactly", where=where(node),
            hint="give the quantiser a power-of-two scale, or take hats, Relu(1 - Abs(u / step - grid))",
        )  # fmt: skip
    return a


def _entries(symbol: Symbol) -> Objects:
    if isinstance(symbol, Tabular):
        return symbol.table
    assert isinstance(symbol, Const | Quantised)
    return symbol.exact()


def constant(node: onnx.NodeProto, symbol: Symbol, tab: Tabular) -> Objects:
    """A constant without the batch axis; InexpressibleError where its axes would push the batch from the front."""
    return unbatched(_entries(symbol), len(tab.shape), node)


def absolute(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular:
    return tabular.each(tab, abs)


def negated(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular:
    return tabular.each(tab, lambda v: -v)


def rectified(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular:
    return tabular.each(tab, lambda v: max(v, ZERO))


def leaky(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular:
    slope = number(node, "alpha", 0.01)
    return tabular.each(tab, lambda v: v if v >= 0 else slope * v)


def clipped(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular:
    lo, hi = clip_bounds(ctx, node)
    return tabular.each(tab, lambda v: _clip(v, lo, hi))


def _clip(v: Fraction, lo: Fraction | None, hi: Fraction | None) -> Fraction:
    v = v if lo is None else max(v, lo)
    return v if hi is None else min(v, hi)


def cast(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular:
    """Cast of truth values, codes and functions, where it changes no number."""
    if not _holds_all(ctx, node):
        _refuse_changed(node, set(tab.table.reshape(-1).tolist()), exact=_is_exact(ctx, node))
    return tab


def lower_cast(ctx: Context, node: onnx.NodeProto) -> Real:
    """Cast of any other value, where it changes no number."""
    real = ctx.real(node)
    if _holds_all(ctx, node):
        return real
    if not real.base and real.integer is not None and not real.chain:
        _refuse_changed(node, map(Fraction, real.integer), exact=True)
        return real
    grid = ctx.builder.grid(real, where(node))
    value = ctx.builder.values[grid.base]
    for c, (lo, hi) in enumerate(zip(value.lo, value.hi, strict=True)):
        ends = (lo, min(lo + 1, hi), hi)  # two neighbours that are whole have a whole step between them
        found = [entry(grid.scale, c) * end + entry(grid.offset, c) for end in ends]
        _refuse_changed(node, found, exact=_is_exact(ctx, node))
    return real


def _holds_all(ctx: Context, node: onnx.NodeProto) -> bool:
    """Whether the type of a cast holds every number of its operand's type."""
    to = attribute(node, "to", 0)
    own, wanted = ctx.numbers.types.get(node.input[0]), interval_of(to)
    return to in FLOATS or bool(own and wanted and wanted[0] <= own[0] and own[1] <= wanted[1])


def _is_exact(ctx: Context, node: onnx.NodeProto) -> bool:
    """Whether the operand of a cast is what exact arithmetic says."""
    return node.input[0] in ctx.numbers.types or node.input[0] in ctx.numbers.held


def _refuse_changed(node: onnx.NodeProto, numbers: Iterable[Fraction], *, exact: bool) -> None:
    """InexpressibleError where a cast would change one of the numbers, or float32 might have put it beside itself."""
    to = attribute(node, "to", 0)
    reach, kind = interval_of(to), onnx.TensorProto.DataType.Name(to).lower()
    if reach is None:
        raise InexpressibleError(f"a cast to {kind}, which rounds", where=where(node), hint="cast to float")
    changed = next((v for v in numbers if v.denominator != 1 or not reach[0] <= v <= reach[1]), None)
    if changed is not None:
        raise InexpressibleError(
            f"a cast to {kind} changes values, such as {float(changed):g}", where=where(node),
            hint="cast codes whose scale is a whole number, or cast to float",
        )  # fmt: skip
    if not exact:
        raise InexpressibleError(
            f"a cast to {kind} of numbers that float32 may have put below whole ones", where=where(node),
            hint="cast what comes from quantisers and weights whose scales are powers of two, with short constants",
        )  # fmt: skip


def looked_up(node: onnx.NodeProto, symbols: list[Symbol]) -> Tabular:
    """GatherElements along the first axis: element (n, ...) is data[index (n, ...), ...], as torch.gather has it."""
    data, index = symbols
    first = attribute(node, "axis", 0) in (0, -len(shape_of(data)))
    if not isinstance(index, Tabular) or not isinstance(data, Const | Quantised) or not first:
        raise InexpressibleError(
            "a look-up that is not by codes along the first axis of a constant", where=where(node),
            hint="torch.gather(table, 0, codes) with the table's entries along its first axis",
        )  # fmt: skip
    tabular.limit(shape_of(data), where(node))
    entries, shape = data.exact(), index.shape
    if entries.ndim != len(shape) + 1 or any(a < b for a, b in zip(entries.shape[1:], shape, strict=True)):
        raise ModelError(f"a table of {entries.shape} for codes of {shape}", where=where(node))
    wanted, rows = index.table, len(entries)
    if any(v.denominator != 1 or not -rows <= v < rows for v in set(wanted.reshape(-1).tolist())):
        raise InexpressibleError(
            f"indices that are no whole numbers from {-rows} to {rows - 1}", where=where(node),
            hint="give the table a row for every code, and cast the codes to int64",
        )  # fmt: skip
    flat = entries[(slice(None), *(slice(size) for size in shape))].reshape(rows, -1).T
    return replace(index, table=np.take_along_axis(flat, wanted.reshape(len(flat), -1).astype(np.int64), axis=1)
                   .reshape(wanted.shape))  # fmt: skip


def quantised(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular:
    """Quant, IntQuant and BipolarQuant of every entry, exactly."""
    scale = unbatched(positive(ctx.exact(node, 1), node), len(tab.shape), node)
    rounding: Round | Sign = Sign()
    zero_point = ZERO
    if node.op_type != "BipolarQuant":
        bits = bit_width(ctx, node, 3)
        zero_point = Fraction(single(ctx.exact(node, 2, ZERO), "zero point", node))
        signed, narrow = bool(attribute(node, "signed", 1)), bool(attribute(node, "narrow", 0))
        if not (bits == 1 and signed):
            lo, hi = code_range(signed, narrow, bits)
            rounding = Round(mode=rounding_mode(node, "ROUND"), lo=lo, hi=hi)
    steps = np.broadcast_to(scale, tab.shape)[..., None]
    known: dict[tuple[Fraction, Fraction], Fraction] = {}

    def code(v: Fraction, step: Fraction) -> Fraction:
        if (v, step) not in known:
            known[v, step] = step * exact(centred((step,), int(zero_point), rounding), v, 0)
        return known[v, step]

    pairs = zip(tab.table.reshape(-1), np.broadcast_to(steps, tab.table.shape).reshape(-1), strict=True)
    out = np.empty(tab.table.size, dtype=object)
    out[:] = [code(v, step) for v, step in pairs]
    return replace(tab, table=out.reshape(tab.table.shape))


def matrix_product(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular | Real:
    weights = weight(ctx, node, 1)
    if weights.codes.ndim != 2:
        raise InexpressibleError(f"a weight of {weights.codes.ndim} axes", where=where(node))
    return tabular.product(ctx.builder, tab, weights.exact(), where(node))


def general_product(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Tabular | Real:
    """Gemm: alpha * x @ B + beta * C."""
    if attribute(node, "transA", 0):
        raise InexpressibleError("transA turns the batch axis", where=where(node))
    weights = weight(ctx, node, 1)
    matrix = (transposed(weights) if attribute(node, "transB", 0) else weights).exact() * number(node, "alpha", 1.0)
    done = tabular.product(ctx.builder, tab, matrix, where(node))
    if len(node.input) < 3 or not node.input[2]:
        return done
    bias = np.asarray(ctx.exact(node, 2) * number(node, "beta", 1.0), dtype=object).reshape(-1)
    if isinstance(done, Tabular):
        return tabular.with_constant(done, bias, np.add, where(node))
    return with_bias(ctx, node, done, bias)


def reduced(ctx: Context, node: onnx.NodeProto, tab: Tabular) -> Symbol:
    """ReduceSum and ReduceMean over any axes but the batch."""
    axes = axes_of(ctx, node, len(tab.shape))
    if axes is None:
        raise InexpressibleError("a reduction over all axes, the batch among them", where=where(node))
    count = int(np.prod([tab.shape[axis] for axis in axes], dtype=np.int64))
    done = tabular.reduced(ctx.builder, tab, axes, count if node.op_type == "ReduceMean" else 1, where(node))
    shape = tuple(1 if i in axes else size for i, size in enumerate(tab.shape))
    shape = shape if attribute(node, "keepdims", 1) else tuple(s for i, s in enumerate(tab.shape) if i not in axes)
    shape = shape or (1,)
    return done if done.shape == shape else tabular.reshaped(ctx.builder, done, shape, where(node))


OPERATORS: Mapping[str, Callable[[Context, onnx.NodeProto, Tabular], Symbol]] = {
    "Abs": absolute,
    "Neg": negated,
    "Relu": rectified,
    "LeakyRelu": leaky,
    "Clip": clipped,
    "Cast": cast,
    "Quant": quantised,
    "IntQuant": quantised,
    "BipolarQuant": quantised,
    "MatMul": matrix_product,
    "Gemm": general_product,
    "ReduceSum": reduced,
    "ReduceMean": reduced,
}
