"""Layers, activations, pools and data movement of hand-made graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.generator.builder import Builder
from tests.generator.draw import Draw
from tests.generator.quantisers import Style, bias, quantise, weight

Floats = npt.NDArray[np.float32]


def gemm(b: Builder, draw: Draw, style: Style, x: str, units: int) -> str:
    """A dense layer as Gemm (transB, alpha, beta, per-channel axis variants) or MatMul and Add."""
    fan_in = b.shape(x)[-1]
    value = _channel_variety(draw, draw.normal((units, fan_in), 1.5 / np.sqrt(fan_in) / _size(b, x)))
    if b.values[x].ndim != 2 or draw.chance(0.35):
        draw.tag("matmul")
        y = b.op("MatMul", x, weight(b, draw, style, np.ascontiguousarray(value.T), axis=1))
        if draw.chance(0.3):
            return y
        terms = [y, bias(b, draw, style, units, 0.5)]
        return b.op("Add", *(terms if draw.chance(0.7) else terms[::-1]))
    draw.tag("gemm")
    attributes: dict[str, Any] = {}
    if draw.chance(0.5):
        attributes["transB"] = 1
        draw.tag("transB")
    for name in ("alpha", "beta"):
        if draw.chance(0.25):
            attributes[name] = draw.pick([0.5, 2.0, 0.75, 1.5, 0.3])
            draw.tag(name)
    if attributes.get("transB"):
        kernel = weight(b, draw, style, value, axis=0)
    else:
        kernel = weight(b, draw, style, np.ascontiguousarray(value.T), axis=1)
    operands = [x, kernel]
    if draw.chance(0.75):
        operands.append(bias(b, draw, style, units, 0.5))
    return b.op("Gemm", *operands, **attributes)


def conv(b: Builder, draw: Draw, style: Style, x: str, channels: int, *, same: bool = False, groups: int = 1) -> str:
    """Conv1d or Conv2d with random kernel, stride, dilation, padding (explicit or auto_pad) and bias.

    With `same` the spatial shape is kept."""
    shape = b.shape(x)
    rank = len(shape) - 2
    kernel = [min(draw.pick([1, 2, 3, 3]), size) for size in shape[2:]]
    if same:
        kernel = [k if k % 2 else 1 for k in kernel]
    dilation = [1] * rank
    if draw.chance(0.2) and all(2 * (k - 1) + 1 <= s for k, s in zip(kernel, shape[2:], strict=True)):
        dilation = [draw.pick([1, 2]) for _ in range(rank)]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if max(dilation) > 1:
        draw.tag("dilation")
        attributes["dilations"] = dilation
    if not same and draw.chance(0.3):
        draw.tag("stride")
        attributes["strides"] = [draw.pick([1, 2]) for _ in range(rank)]
    attributes.update(_padding(draw, kernel, dilation, same))
    _group_tags(draw, groups, shape[1], channels)
    attributes["group"] = groups
    draw.tag(f"conv{rank}d")
    fan_in = shape[1] // groups * int(np.prod(kernel))
    value = draw.normal((channels, shape[1] // groups, *kernel), 1.5 / np.sqrt(fan_in) / _size(b, x))
    operands = [x, weight(b, draw, style, _channel_variety(draw, value), axis=0)]
    form = draw.weighted({"none": 2, "bias": 5, "add": 2})
    if form == "bias":
        operands.append(bias(b, draw, style, channels, 0.5))
    y = b.op("Conv", *operands, **attributes)
    if form == "add":
        draw.tag("bias_as_add")
        y = b.op("Add", y, b.constant(draw.normal((1, channels, *[1] * rank), 0.5)))
    return y


def _padding(draw: Draw, kernel: list[int], dilation: list[int], same: bool) -> dict[str, Any]:
    form = draw.weighted({"auto": 2, "pads": 3} if same else {"auto": 2, "pads": 3, "valid": 3, "none": 2})
    if form == "auto" and max(dilation) > 1:  # ONNX Runtime has no dilation with auto_pad SAME
        form = "pads"
    if form == "auto":
        mode = draw.pick(["SAME_UPPER", "SAME_LOWER"])
        draw.tag(f"auto_pad:{mode}")
        return {"auto_pad": mode}
    if form == "valid":
        draw.tag("auto_pad:VALID")
        return {"auto_pad": "VALID"}
    if form == "none":
        return {}
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    draw.tag("padding")
    if same:
        return {"pads": [r // 2 for r in reach] * 2}
    before = [draw.whole(0, r) for r in reach]
    after = [draw.whole(0, r) for r in reach]
    if before != after:
        draw.tag("asymmetric_padding")
    return {"pads": before + after}


def _group_tags(draw: Draw, groups: int, channels_in: int, channels: int) -> None:
    if groups > 1:
        draw.tag("depthwise" if groups == channels_in else "groups")
        if groups == channels_in and channels != channels_in:
            draw.tag("depth_multiplier")


def batch_norm(b: Builder, draw: Draw, x: str) -> str:
    """BatchNormalization with statistics near the data's and gammas of both signs."""
    value = b.values[x]
    channels = value.shape[1]
    axes = tuple(i for i in range(value.ndim) if i != 1)
    draw.tag("batch_norm")
    gamma = draw.spread(channels)
    negative = np.asarray(draw.rng.random(channels) < 0.25)
    if negative.any():
        draw.tag("negative_gamma")
    gamma = np.where(negative, -gamma, gamma).astype(np.float32)
    mean = (value.mean(axis=axes) + draw.normal((channels,), 0.2)).astype(np.float32)
    variance = (value.var(axis=axes) * draw.spread(channels) + 1e-3).astype(np.float32)
    names = [b.constant(v) for v in (gamma, draw.normal((channels,), 0.5), mean, variance)]
    return b.op("BatchNormalization", x, *names, epsilon=draw.pick([1e-5, 1e-3]))


def activation(b: Builder, draw: Draw, x: str) -> tuple[str, bool]:
    """One unary activation; also whether it is transcendental (its quantiser then stays at 12 bits or less)."""
    name = draw.weighted({
        "none": 3, "relu": 5, "relu6": 2, "leaky_relu": 2, "prelu": 2, "sigmoid": 2, "tanh": 2, "silu": 2,
        "hard_sigmoid": 2, "hard_swish": 2, "hard_tanh": 1,
    })  # fmt: skip
    draw.tag(f"act:{name}")
    makers: dict[str, Callable[[], str]] = {
        "none": lambda: x,
        "relu": lambda: b.op("Relu", x),
        "relu6": lambda: b.op("Clip", x, b.constant(np.float32(0)), b.constant(np.float32(6))),
        "leaky_relu": lambda: b.op("LeakyRelu", x, alpha=draw.pick([0.01, 0.125, 0.3])),
        "prelu": lambda: b.op("PRelu", x, b.constant(_slopes(draw, b.shape(x)))),
        "sigmoid": lambda: b.op("Sigmoid", x),
        "tanh": lambda: b.op("Tanh", x),
        "silu": lambda: b.op("Mul", *([x, b.op("Sigmoid", x)][:: draw.pick([1, -1])])),
        "hard_sigmoid": lambda: b.op("HardSigmoid", x, alpha=draw.pick([0.2, 1 / 6]), beta=draw.pick([0.5, 0.4])),
        "hard_swish": lambda: _hard_swish(b, draw, x),
        "hard_tanh": lambda: b.op("Clip", x, b.constant(np.float32(-1)), b.constant(np.float32(1))),
    }
    return makers[name](), name in ("sigmoid", "tanh", "silu")


def _hard_swish(b: Builder, draw: Draw, x: str) -> str:
    if b.opset >= 14 and draw.chance(0.5):
        return b.op("HardSwish", x)
    draw.tag("hard_swish_by_mul")
    return b.op("Mul", x, b.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def _slopes(draw: Draw, shape: tuple[int, ...]) -> Floats:
    if draw.chance(0.4):
        return draw.normal((1,), 0.3)
    draw.tag("prelu_per_channel")
    return draw.normal((shape[1], *[1] * (len(shape) - 2)), 0.3)


def max_pool(b: Builder, draw: Draw, x: str) -> str:
    """MaxPool with stride, padding, dilation and ceil_mode variants."""
    rank = b.values[x].ndim - 2
    size = min(b.shape(x)[2:])
    kernel = min(draw.pick([2, 2, 3]), size)
    attributes: dict[str, Any] = {"kernel_shape": [kernel] * rank, "strides": [draw.pick([1, 2])] * rank}
    draw.tag("max_pool")
    if draw.chance(0.25) and 2 * (kernel - 1) + 1 <= size:
        draw.tag("max_pool_dilation")
        attributes["dilations"] = [2] * rank
    elif draw.chance(0.3):
        draw.tag("max_pool_padding")
        attributes["pads"] = [kernel // 2] * rank + [draw.whole(0, kernel // 2)] * rank
    elif draw.chance(0.4) and kernel > 1:  # without padding: no window may start beyond the data
        draw.tag("max_pool_ceil")
        attributes["ceil_mode"] = 1
    return b.op("MaxPool", x, **attributes)


def average_pool(b: Builder, draw: Draw, x: str) -> str:
    """AveragePool; a divisor that depends on the position is tagged as refusable."""
    shape = b.shape(x)[2:]
    kernel = min(draw.pick([2, 2, 3]), *shape)
    attributes: dict[str, Any] = {
        "kernel_shape": [kernel] * len(shape),
        "strides": [draw.pick([kernel, 1])] * len(shape),
    }
    stride = attributes["strides"][0]
    draw.tag("average_pool")
    padded = draw.chance(0.35) and kernel > 1
    if padded:
        attributes["pads"] = [1] * (2 * len(shape))
        attributes["count_include_pad"] = 1
        draw.tag("count_include_pad")
        if draw.chance(0.1):
            del attributes["count_include_pad"]
            draw.may_be_refused("position_dependent_divisor")
    exact = all((s + 2 * padded - kernel) % stride == 0 for s in shape)
    if draw.chance(0.3) and (exact or (not padded and draw.chance(0.15))):
        attributes["ceil_mode"] = 1
        draw.tag("average_pool_ceil")
        if not exact:
            draw.may_be_refused("position_dependent_divisor")
    return b.op("AveragePool", x, **attributes)


def global_average(b: Builder, draw: Draw, x: str) -> str:
    """Global average pooling to (N, C): GlobalAveragePool or ReduceMean, then a way to drop the ones."""
    rank = b.values[x].ndim - 2
    axes = draw.pick([list(range(2, rank + 2)), list(range(-rank, 0))])
    draw.tag("global_average")
    form = draw.pick(["node", "mean", "mean_keep"])
    if form == "node":
        pooled = b.op("GlobalAveragePool", x)
    else:
        draw.tag("reduce_mean")
        keep = int(form == "mean_keep")
        if b.opset >= 18:
            pooled = b.op("ReduceMean", x, b.constant(np.array(axes)), keepdims=keep)
        else:
            pooled = b.op("ReduceMean", x, axes=axes, keepdims=keep)
        if not keep:
            return pooled
    return drop_ones(b, draw, pooled)


def drop_ones(b: Builder, draw: Draw, x: str) -> str:
    """(N, C, 1, ...) to (N, C) by Squeeze, Flatten or Reshape."""
    form = draw.pick(["squeeze", "flatten", "reshape"])
    draw.tag(form)
    if form == "squeeze":
        return b.op("Squeeze", x, b.constant(np.arange(2, b.values[x].ndim)))
    return flatten(b, draw, x, form)


def flatten(b: Builder, draw: Draw, x: str, form: str | None = None) -> str:
    form = form or draw.pick(["flatten", "reshape"])
    draw.tag(form)
    if form == "flatten":
        return b.op("Flatten", x, axis=1)
    size = int(np.prod(b.shape(x)[1:]))
    return b.op("Reshape", x, b.constant(np.array(draw.pick([[0, -1], [-1, size], [0, size]]))))


def requantised(b: Builder, draw: Draw, style: Style, x: str, *, pool: bool = False, channel: bool = False) -> str:
    """Accumulator to code: batch norm before or after an activation, perhaps a max pool first or last, a quantiser."""
    order = draw.weighted({"none": 6, "before": 3, "after": 1.5})
    first = pool and draw.chance(0.4)
    if first:
        draw.tag("pool_first")
        x = max_pool(b, draw, x)
    if order == "before":
        x = batch_norm(b, draw, x)
    x, transcendental = activation(b, draw, x)
    if order == "after":
        draw.tag("bn_after_act")
        x = batch_norm(b, draw, x)
    if pool and not first:
        draw.tag("pool_before_quantiser")
        x = max_pool(b, draw, x)
    return quantise(b, draw, style, x, max_bits=12 if transcendental else 16, channel=channel)


def _channel_variety(draw: Draw, value: Floats) -> Floats:
    factors = draw.spread(value.shape[0], 1.5).reshape(-1, *[1] * (value.ndim - 1))
    return np.asarray(value * factors, dtype=np.float32)


def _size(b: Builder, x: str) -> float:
    return float(np.sqrt((b.values[x].astype(np.float64) ** 2).mean()) + 1e-3)
