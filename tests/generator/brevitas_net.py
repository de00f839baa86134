"""Random Brevitas networks: blocks, joins and heads."""

from __future__ import annotations

from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.quant import fixed_point, scaled_int
from torch import nn

from tests.generator.brevitas_parts import (
    Style,
    activation,
    batch_norm,
    conv,
    identity,
    linear,
)
from tests.generator.draw import Draw
from tests.generator.tape import Tape


def requantised(tape: Tape, draw: Draw, style: Style, x: int, *, pool: bool = False) -> int:
    """Accumulator to code: perhaps batch norm before or after the activation, perhaps a max pool, a quantiser."""
    order = draw.weighted({"none": 5, "before": 4, "after": 1.5})
    pool = pool and min(tape.shape(x)[2:]) >= 3 and draw.chance(0.35)
    if pool and draw.chance(0.4):
        draw.tag("pool_first")
        pool, x = False, max_pool(tape, draw, x)
    if order == "before":
        x = batch_norm(tape, draw, x)
    if order == "after":
        draw.tag("bn_after_act")
        x = batch_norm(tape, draw, tape.apply(draw.pick([nn.ReLU(), nn.LeakyReLU(0.125), nn.Tanh()]), x))
        return identity(tape, draw, style, x, max_bits=12)
    if pool:
        draw.tag("pool_before_quantiser")
        x = max_pool(tape, draw, x)
    return activation(tape, draw, style, x)


def max_pool(tape: Tape, draw: Draw, x: int) -> int:
    rank = len(tape.shape(x)) - 2
    draw.tag("max_pool")
    kind = nn.MaxPool2d if rank == 2 else nn.MaxPool1d
    options: dict[str, Any] = draw.pick(
        [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2, "stride": 1}]
    )
    return tape.apply(kind(**options), x, keep=True)


def average_pool(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    """AvgPool and a quantiser, or TruncAvgPool2d on a code."""
    rank = len(tape.shape(x)) - 2
    zero_point = tape.values[x].zero_point if tape.is_quantised(x) else None
    usable = zero_point is not None and bool((zero_point == 0).all()) and float(tape.values[x].bit_width) > 1
    if rank == 2 and usable and not style.qcdq and draw.chance(0.8):
        rounding = draw.pick(["FLOOR", "ROUND", "CEIL"])
        draw.tag("trunc_pool", f"trunc:{rounding}")
        bits = int(tape.values[x].bit_width)
        module = qnn.TruncAvgPool2d(2, bit_width=draw.whole(max(2, bits - 2), bits), float_to_int_impl_type=rounding)
        return tape.add(module, x)
    draw.tag("average_pool")
    options: dict[str, Any] = draw.pick([{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}])
    pooled = tape.apply((nn.AvgPool2d if rank == 2 else nn.AvgPool1d)(**options), x)
    return identity(tape, draw, style, pooled)


def spatial_block(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    channels = tape.shape(x)[1]
    form = draw.weighted({
        "conv": 5, "depthwise": 2, "groups": 3, "residual": 3, "eltwise": 1, "gate": 1, "excite": 1, "chunk": 3,
    })  # fmt: skip
    if form in ("groups", "chunk") and channels % 2:
        form = "conv"
    match form:
        case "residual":
            x = residual(tape, draw, style, x)
        case "eltwise":
            x = eltwise(tape, draw, style, x)
        case "gate":
            x = gate(tape, draw, style, x)
        case "excite":
            x = squeeze_excite(tape, draw, style, x)
        case "chunk":
            x = chunk_and_join(tape, draw, style, x)
        case _:
            if form == "depthwise" and draw.chance(0.3):
                x = identity(tape, draw, style, x, channel=True)
            groups = {"depthwise": channels, "groups": 2}.get(form, 1)
            width = channels if form == "depthwise" else 2 * draw.whole(1, 2)
            x = requantised(tape, draw, style, conv(tape, draw, style, x, width, groups=groups), pool=True)
    if min(tape.shape(x)[2:]) >= 3 and draw.chance(0.4):
        x = max_pool(tape, draw, x) if draw.chance(0.4) else average_pool(tape, draw, style, x)
    return x


def residual(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    """Skip connection around a convolution: code to code, or code to accumulator."""
    y = conv(tape, draw, style, x, tape.shape(x)[1], same=True)
    if draw.chance(0.6):
        draw.tag("residual_code")
        y = requantised(tape, draw, style, y)
    else:
        draw.tag("residual_accumulator")
        if not style.po2 or "asymmetric_weight" in draw.tags:
            draw.may_be_refused("residual_accumulator_float")
    return activation(tape, draw, style, tape.apply(torch.add, x, y))


def eltwise(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    """QuantEltwiseAdd or QuantCat: one quantiser shared by both operands, then one for the result."""
    y = requantised(tape, draw, style, conv(tape, draw, style, x, tape.shape(x)[1], same=True))
    quantiser = fixed_point.Int8ActPerTensorFixedPoint if style.po2 else scaled_int.Int8ActPerTensorFloat
    options = {
        f"{side}_{name}": value
        for side in ("input", "output")
        for name, value in (
            ("bit_width", draw.whole(3, 8)),
            ("high_percentile_q", draw.real(88, 98.5)),
            ("collect_stats_steps", 2),
        )
    }
    if draw.chance(0.5):
        draw.tag("QuantEltwiseAdd")
        module = qnn.QuantEltwiseAdd(quantiser, quantiser, return_quant_tensor=True, **options)
        return tape.calibrated(module, x, y)
    draw.tag("QuantCat", "concat")
    shared = qnn.QuantIdentity(
        act_quant=quantiser, bit_width=draw.whole(3, 8), high_percentile_q=95.0, collect_stats_steps=2,
        return_quant_tensor=True,
    )  # fmt: skip
    left = tape.calibrated(shared, x)
    return tape.apply(lambda a, b: torch.cat([a, b], 1), left, tape.add(shared, y))


def gate(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    """Code times a quantised sigmoid of another layer."""
    draw.tag("gate")
    y = conv(tape, draw, style, x, tape.shape(x)[1], same=True)
    return identity(tape, draw, style, tape.apply(torch.mul, x, sigmoid(tape, draw, style, y)))


def sigmoid(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    quantiser = fixed_point.Uint8ActPerTensorFixedPoint if style.po2 else scaled_int.Uint8ActPerTensorFloat
    options = {"bit_width": draw.whole(3, 8), "high_percentile_q": 97.0, "collect_stats_steps": 2}
    return tape.calibrated(qnn.QuantSigmoid(act_quant=quantiser, return_quant_tensor=True, **options), x)


def squeeze_excite(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    draw.tag("squeeze_excite")
    channels, rank = tape.shape(x)[1], len(tape.shape(x)) - 2
    pooled = identity(tape, draw, style, global_average(tape, draw, x))
    hidden = requantised(tape, draw, style, linear(tape, draw, style, pooled, draw.whole(2, 4)))
    scale = sigmoid(tape, draw, style, linear(tape, draw, style, hidden, channels))
    shaped = tape.apply(lambda v: v.reshape(-1, channels, *[1] * rank), scale)
    return identity(tape, draw, style, tape.apply(torch.mul, x, shaped))


def chunk_and_join(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    """Halves of the channels through layers of their own, then concatenated and quantised."""
    draw.tag("concat", "concat_scales")
    half = tape.shape(x)[1] // 2
    if draw.chance(0.5):
        draw.tag("chunk")
        both = tape.apply(lambda v: torch.chunk(v, 2, dim=1), x)
        parts = [tape.add(Element(i), both) for i in range(2)]
    else:
        draw.tag("slice")
        parts = [tape.apply(lambda v: v[:, :half], x), tape.apply(lambda v: v[:, half:], x)]
    branches = [requantised(tape, draw, style, conv(tape, draw, style, part, 2, same=True)) for part in parts]
    return identity(tape, draw, style, tape.apply(lambda a, b: torch.cat([a, b], 1), *branches))


class Element(nn.Module):
    """One element of a tuple."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, values: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return values[self.index]


def global_average(tape: Tape, draw: Draw, x: int) -> int:
    """Global average pooling to (N, C)."""
    axes = tuple(range(2, len(tape.shape(x))))
    draw.tag("global_average")
    if len(axes) == 2 and draw.chance(0.5):
        return tape.apply(lambda v: torch.flatten(nn.functional.adaptive_avg_pool2d(v, 1), 1), x)
    return tape.apply(lambda v: v.mean(dim=axes), x)


def to_vector(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    size = tape.tensor(x)[0].numel()
    form = draw.weighted({"flatten": 4, "global": 2, "global_quantised": 2})
    if form == "flatten" and size <= 200:
        draw.tag("flatten")
        return tape.apply(lambda v: torch.flatten(v, 1), x, keep=True)
    pooled = global_average(tape, draw, x)
    return identity(tape, draw, style, pooled) if form == "global_quantised" else pooled


def join(tape: Tape, draw: Draw, style: Style, x: int, other: int) -> int:
    """Bring in a second input (a vector) by concatenation or addition."""
    z = identity(tape, draw, style, other)
    draw.tag("multi_input")
    if draw.chance(0.5):
        draw.tag("concat", "concat_scales")
        return identity(tape, draw, style, tape.apply(lambda a, b: torch.cat([a, b], 1), x, z))
    draw.tag("residual_code")
    terms = [requantised(tape, draw, style, linear(tape, draw, style, part, 6)) for part in (x, z)]
    return identity(tape, draw, style, tape.apply(torch.add, *terms))


def vector_block(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    code = requantised(tape, draw, style, linear(tape, draw, style, x, draw.whole(4, 10)))
    form = draw.weighted({"plain": 6, "residual": 2, "gate": 1})
    if form == "plain":
        return code
    units = tape.shape(code)[1]
    y = linear(tape, draw, style, code, units)
    if form == "gate":
        draw.tag("gate")
        return identity(tape, draw, style, tape.apply(torch.mul, code, sigmoid(tape, draw, style, y)))
    draw.tag("residual_code")
    return activation(tape, draw, style, tape.apply(torch.add, code, requantised(tape, draw, style, y)))


def head(tape: Tape, draw: Draw, style: Style, x: int) -> int:
    """The last layer, with or without an output quantiser, perhaps with softmax or sigmoid."""
    y = linear(tape, draw, style, x, draw.whole(2, 5))
    form = draw.weighted({"raw": 5, "quantised": 4, "channel": 0.7, "softmax": 1, "sigmoid": 0.7})
    draw.tag(f"head:{form}")
    if form == "raw":
        draw.tag("no_output_quant")
        return y
    if form in ("quantised", "channel") or draw.chance(0.5):
        y = identity(tape, draw, style, y, channel=form == "channel")
    match form:
        case "softmax":
            return tape.apply(lambda v: torch.softmax(v, 1), y)
        case "sigmoid":
            return tape.apply(torch.sigmoid, y)
    return y


def network(tape: Tape, draw: Draw, style: Style) -> None:
    """Append a whole network to a tape that holds its inputs (the second one, if any, is a vector)."""
    second = 1 if len(tape.values) > 1 else None
    x = 0
    if "nhwc" in draw.tags and draw.chance(0.5):
        x = identity(tape, draw, style, tape.apply(lambda v: v.permute(0, 3, 1, 2), x))
    else:
        x = identity(tape, draw, style, x)
        if "nhwc" in draw.tags:
            x = tape.apply(lambda v: v.permute(0, 3, 1, 2), x)
    if len(tape.shape(x)) > 2:
        for _ in range(draw.whole(1, 2)):
            x = spatial_block(tape, draw, style, x)
        x = to_vector(tape, draw, style, x)
    if second is not None:
        x = join(tape, draw, style, x, second)
    for _ in range(draw.whole(0, 2)):
        x = vector_block(tape, draw, style, x)
    head(tape, draw, style, x)
