"""Random graphs written node by node: what a Brevitas export does not contain."""

from __future__ import annotations

import numpy as np

from tests.generator.builder import Builder
from tests.generator.draw import Draw
from tests.generator.evaluate import QONNX_DOMAIN, evaluate
from tests.generator.model import GeneratedModel
from tests.generator.pieces import (
    average_pool,
    conv,
    flatten,
    gemm,
    global_average,
    max_pool,
    requantised,
)
from tests.generator.quantisers import Style, quantise

CALIBRATION = 64


def make_handmade(seed: int, vectors: int = 64) -> GeneratedModel:
    """A hand-made model; draws that come out constant are drawn again (the attempt is part of the key)."""
    for attempt in range(20):
        draw = Draw(seed, attempt)
        b, output = _graph(draw)
        proto = b.model(output)
        inputs = {name: _vectors(draw, b.values[name], vectors) for name in b.inputs}
        evaluated = evaluate(proto, inputs)
        result = evaluated.tensors[output]
        alive = len(np.unique(result)) > 1 and all(c.distinct > 1 for c in evaluated.counts)
        if alive and np.isfinite(result).all():
            return GeneratedModel(
                seed=seed,
                source="handmade",
                dialect="qonnx" if QONNX_DOMAIN in {item.domain for item in proto.opset_import} else "qcdq",
                onnx_bytes=proto.SerializeToString(deterministic=True),
                tags=tuple(sorted(draw.tags)),
                refusable=draw.refusable,
                input_shapes={name: value.shape[1:] for name, value in inputs.items()},
                inputs=inputs,
                counts=evaluated.counts,
            )
    raise RuntimeError(f"seed {seed}: twenty draws in a row gave constant codes")


def _vectors(draw: Draw, like: np.ndarray, count: int) -> np.ndarray:
    """Vectors distributed as the calibration data, some far outside (saturation), some on a coarse grid (ties)."""
    picked = like[draw.rng.integers(len(like), size=count)]
    value = picked + draw.normal(picked.shape, 0.3) * float(like.std())
    value[::8] *= 4
    value[1::8] = np.round(value[1::8] * 8) / 8
    return np.asarray(value, dtype=np.float32)


def _graph(draw: Draw) -> tuple[Builder, str]:
    dialect = draw.weighted({"qonnx": 3, "qdq": 2})
    truncating = dialect == "qonnx" and draw.chance(0.3)
    opset = draw.pick([13, 17]) if dialect == "qonnx" else draw.weighted({13: 1, 17: 2, 19: 1, 21: 4})
    b = Builder(opset=opset, qonnx_version=draw.pick([1, 2]) if truncating else 1)
    style = Style(dialect=dialect, po2=draw.chance(0.5))
    draw.tag(f"opset:{opset}", dialect)
    shape = draw.weighted({"vector": 3, "line": 3, "image": 5})
    x = _input(b, draw, style, "x", shape)
    if shape != "vector":
        for _ in range(draw.whole(1, 2)):
            x = _spatial_block(b, draw, style, x)
        if truncating:
            x = _truncated(b, draw, style, x)
        x = _to_vector(b, draw, style, x)
    if draw.chance(0.25):
        x = _join_second_input(b, draw, style, x)
    for _ in range(draw.whole(0, 2)):
        x = _vector_block(b, draw, style, x)
    return b, _head(b, draw, style, x)


def _input(b: Builder, draw: Draw, style: Style, name: str, shape: str) -> str:
    """A graph input, perhaps normalised, quantised, and brought to channels first."""
    sizes = {
        "vector": (draw.whole(4, 16),),
        "line": (draw.whole(1, 3), draw.whole(8, 14)),
        "image": (draw.whole(1, 3), draw.whole(5, 8), draw.whole(5, 8)),
    }[shape]
    channels_last = shape == "image" and draw.chance(0.3)
    if channels_last:
        sizes = (*sizes[1:], sizes[0])
        draw.tag("nhwc")
    data = draw.normal((CALIBRATION, *sizes), draw.pick([0.5, 1.0, 3.0])) + draw.pick([0.0, 0.0, 0.7])
    x = b.input(name, data.astype(np.float32))
    draw.tag(f"input:{shape}")
    transpose_first = channels_last and draw.chance(0.5)
    if transpose_first:
        x = b.op("Transpose", x, perm=[0, 3, 1, 2])
    if draw.chance(0.3):
        x = _normalised(b, draw, x, channel_axis=1 if not channels_last or transpose_first else 3)
    x = quantise(b, draw, style, x)
    return b.op("Transpose", x, perm=[0, 3, 1, 2]) if channels_last and not transpose_first else x


def _normalised(b: Builder, draw: Draw, x: str, channel_axis: int) -> str:
    """(x - mean) / deviation by Sub and Div or Mul, per tensor or per channel."""
    draw.tag("normalised_input")
    shape = [1] * b.values[x].ndim
    if draw.chance(0.5):
        shape[channel_axis] = b.shape(x)[channel_axis]
    x = b.op("Sub", x, b.constant(draw.normal(shape, 0.4)))
    deviation = (draw.spread(int(np.prod(shape))) * 1.3).reshape(shape).astype(np.float32)
    return b.op(draw.pick(["Div", "Mul"]), x, b.constant(deviation))


def _spatial_block(b: Builder, draw: Draw, style: Style, x: str) -> str:
    form = draw.weighted({"conv": 4, "depthwise": 2, "groups": 3, "residual": 2, "split": 2, "pad": 1, "slice": 1})
    channels = b.shape(x)[1]
    if (form in ("split", "groups") and channels % 2) or (form == "slice" and b.shape(x)[-1] < 4):
        form = "conv"
    if form == "residual":
        return _residual(b, draw, style, x)
    if form == "split":
        return _split(b, draw, style, x)
    y = _layer(b, draw, style, x, form)
    x = requantised(b, draw, style, y, pool=min(b.shape(y)[2:]) >= 3 and draw.chance(0.2))
    if min(b.shape(x)[2:]) >= 3 and draw.chance(0.3):
        x = max_pool(b, draw, x)
    if min(b.shape(x)[2:]) >= 3 and draw.chance(0.2):
        x = quantise(b, draw, style, average_pool(b, draw, x))
    return x


def _layer(b: Builder, draw: Draw, style: Style, x: str, form: str) -> str:
    channels = b.shape(x)[1]
    small = min(b.shape(x)[2:]) < 3
    match form:
        case "depthwise":
            if draw.chance(0.3):
                x = quantise(b, draw, style, x, channel=True)
            return conv(b, draw, style, x, channels * draw.pick([1, 2]), groups=channels, same=small)
        case "groups":
            return conv(b, draw, style, x, 2 * draw.whole(1, 2), groups=2, same=small)
        case "pad":
            return conv(b, draw, style, _padded(b, draw, style, x), draw.whole(2, 4))
        case "slice":
            return conv(b, draw, style, _sliced(b, draw, x), draw.whole(2, 4), same=True)
        case _:
            if style.po2 and draw.chance(0.15):
                draw.tag("per_channel_act_dense")
                x = quantise(b, draw, style, x, channel=True)
            return conv(b, draw, style, x, draw.whole(2, 5), same=small)


def _residual(b: Builder, draw: Draw, style: Style, x: str) -> str:
    channels = b.shape(x)[1]
    y = conv(b, draw, style, x, channels, same=True)
    accumulator = draw.chance(0.4)
    draw.tag("residual_accumulator" if accumulator else "residual_code")
    if not accumulator:
        y = requantised(b, draw, style, y)
    elif not style.po2:
        draw.may_be_refused("residual_accumulator_float")
    terms = [x, y][:: draw.pick([1, -1])]
    return requantised(b, draw, style, b.op("Add", *terms))


def _split(b: Builder, draw: Draw, style: Style, x: str) -> str:
    """Halves of the channels through their own layers, then Concat."""
    channels = b.shape(x)[1]
    draw.tag("split", "concat")
    if draw.chance(0.5):
        sizes = [channels // 2] * 2
        halves = b.ops("Split", [x, b.constant(np.array(sizes))], 2, axis=draw.pick([1, 1 - b.values[x].ndim]))
    else:
        draw.tag("slice")
        halves = [_slice(b, x, 0, channels // 2, 1, 1), _slice(b, x, channels // 2, 2**31, 1, 1)]
    branches = [requantised(b, draw, style, conv(b, draw, style, half, 2, same=True)) for half in halves]
    if draw.chance(0.3):
        draw.tag("concat_skip")
        branches.append(x)
    draw.tag("concat_scales")
    return quantise(b, draw, style, b.op("Concat", *branches, axis=1))


def _slice(b: Builder, x: str, start: int, stop: int, axis: int, step: int) -> str:
    return b.op("Slice", x, *(b.constant(np.array([v])) for v in (start, stop, axis, step)))


def _sliced(b: Builder, draw: Draw, x: str) -> str:
    """Crop or subsample along the last axis, negative indices included."""
    draw.tag("slice")
    size = b.shape(x)[-1]
    start, stop, step = draw.pick([(1, -1, 1), (0, size, 2), (-size + 1, 2**31, 1), (1, size - 1, 1)])
    return _slice(b, x, start, stop, draw.pick([-1, b.values[x].ndim - 1]), step)


def _padded(b: Builder, draw: Draw, style: Style, x: str) -> str:
    """Pad with zero, or with another value of the tensor where that is exact in float32 (powers of two)."""
    draw.tag("pad")
    rank = b.values[x].ndim - 2
    pads = np.array([0, 0, *[draw.whole(0, 2)] * rank, 0, 0, *[draw.whole(0, 1)] * rank])
    value = np.float32(0)
    if style.po2 and draw.chance(0.6):
        draw.tag("pad_code")
        value = draw.pick(list(np.unique(b.values[x])))
    return b.op("Pad", x, b.constant(pads), b.constant(value))


def _truncated(b: Builder, draw: Draw, style: Style, x: str) -> str:
    """A per-tensor quantiser, perhaps an average pool, then Trunc in the graph's version of the operator set."""
    version = b.opsets[QONNX_DOMAIN]
    bits = draw.whole(5, 8)
    value = b.values[x]
    signed = bool((value < 0).any())
    scale = np.float32(2.0 ** np.ceil(np.log2(max(float(np.abs(value).max()), 1e-3) / 2 ** (bits - signed))))
    if not style.po2:
        scale = np.float32(scale * draw.real(0.8, 1.0))
    constants = (b.constant(scale), b.constant(np.float32(0)), b.constant(np.float32(bits)))
    x = b.op("Quant", x, *constants, domain=QONNX_DOMAIN, signed=int(signed), narrow=0, rounding_mode="ROUND")
    rank = b.values[x].ndim - 2
    if min(b.shape(x)[2:]) >= 2 and draw.chance(0.6):
        draw.tag("trunc_pool")
        x = b.op("AveragePool", x, kernel_shape=[2] * rank, strides=[2] * rank)
    dropped = draw.whole(1, 3)
    mode = draw.pick(["FLOOR", "floor", "ROUND", "CEIL", "HALF_UP"])
    draw.tag(f"trunc_v{version}", f"trunc:{mode.upper()}")
    kept = b.constant(np.float32(bits - dropped))
    if version == 1:
        return b.op("Trunc", x, *constants, kept, domain=QONNX_DOMAIN, rounding_mode=mode)
    output_scale = b.constant(np.float32(scale * 2**dropped))
    attributes = {"rounding_mode": mode, "signed": int(signed), "narrow": 0}
    return b.op("Trunc", x, *constants, output_scale, kept, domain=QONNX_DOMAIN, **attributes)


def _to_vector(b: Builder, draw: Draw, style: Style, x: str) -> str:
    form = draw.weighted({"flatten": 3, "global": 3, "global_quantised": 2})
    size = int(np.prod(b.shape(x)[1:]))
    if form == "flatten" and size <= 200:
        return flatten(b, draw, x)
    pooled = global_average(b, draw, x)
    return quantise(b, draw, style, pooled) if form == "global_quantised" else pooled


def _join_second_input(b: Builder, draw: Draw, style: Style, x: str) -> str:
    """A second input vector, concatenated with or added to the first after a layer of its own."""
    draw.tag("multi_input")
    other = _input(b, draw, style, "z", "vector")
    if draw.chance(0.5):
        draw.tag("concat", "concat_scales")
        return quantise(b, draw, style, b.op("Concat", x, other, axis=draw.pick([1, -1])))
    left = requantised(b, draw, style, gemm(b, draw, style, x, 6))
    right = requantised(b, draw, style, gemm(b, draw, style, other, 6))
    draw.tag("residual_code")
    return quantise(b, draw, style, b.op("Add", left, right))


def _vector_block(b: Builder, draw: Draw, style: Style, x: str) -> str:
    units = draw.whole(4, 10)
    if draw.chance(0.15):
        draw.tag("unsqueeze", "squeeze")
        lifted = b.op("Unsqueeze", x, b.constant(np.array([1])))
        y = requantised(b, draw, style, conv(b, draw, style, lifted, 2))
        return flatten(b, draw, y)
    code = requantised(b, draw, style, gemm(b, draw, style, x, units))
    if draw.chance(0.2):
        draw.tag("gate")
        gate = quantise(b, draw, style, b.op("Sigmoid", gemm(b, draw, style, x, units)), max_bits=8)
        return quantise(b, draw, style, b.op("Mul", *[code, gate][:: draw.pick([1, -1])]))
    return code


def _head(b: Builder, draw: Draw, style: Style, x: str) -> str:
    """The last layer: raw, quantised (per tensor or channel), softmax, sigmoid or argmax."""
    y = gemm(b, draw, style, x, draw.whole(2, 5))
    form = draw.weighted({"raw": 5, "quantised": 4, "channel": 1, "softmax": 1, "sigmoid": 1, "argmax": 1})
    draw.tag(f"head:{form}")
    if form == "raw":
        draw.tag("no_output_quant")
    if form in ("quantised", "channel") or (form in ("softmax", "argmax", "sigmoid") and draw.chance(0.5)):
        y = quantise(b, draw, style, y, channel=form == "channel")
    match form:
        case "softmax":
            return b.op("Softmax", y, axis=draw.pick([1, -1]))
        case "sigmoid":
            return b.op("Sigmoid", y)
        case "argmax":
            return b.op("ArgMax", y, axis=draw.pick([1, -1]), keepdims=draw.pick([0, 1]))
    return y
