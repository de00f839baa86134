"""Convolutions and pooling as layers of a circuit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.hls.circuit import ConvLayer, IntType, Kernel, KernelLayer, Parameter, type_of, type_of_ints
from edgecomp.backends.hls.plan import Place, Planner, memory_shape, value_type
from edgecomp.ir import Conv, Ints, MaxPool, SumPool
from edgecomp.ir.ranges import objects

Array = NDArray[np.int64]

# hls4ml writes a parallel convolution's im2col as one C++ statement for each tap of each place; beyond this many, g++
# and the HLS compiler take minutes over them, and the kernel of hls/ computes the same in loops.
MOST_STATEMENTS = 12_000


def conv(planner: Planner, node: Conv) -> None:
    """hls4ml's Conv with groups and dilation as zero weights, or where that would be too large the kernel of hls/."""
    places = math.prod(planner.values[node.name].shape[1:])
    weight = stuffed(node)
    if planner.streamed or places * math.prod(weight.shape[1:]) <= MOST_STATEMENTS:
        planner.put(hls4ml_conv(planner, node, weight), node.name)
    else:
        planner.put(loop_conv(planner, node), node.name)


def stuffed(node: Conv) -> Array:
    """The weight (O, I, *kernel) that gives the same without groups and dilation."""
    weight = node.weight.array
    outputs, group_inputs = weight.shape[:2]
    span = tuple(d * (k - 1) + 1 for k, d in zip(weight.shape[2:], node.dilation, strict=True))
    full = np.zeros((outputs, group_inputs * node.groups, *span), dtype=np.int64)
    taps = tuple(slice(None, None, d) for d in node.dilation)
    for output in range(outputs):
        first = output // (outputs // node.groups) * group_inputs
        full[output, first : first + group_inputs][(slice(None), *taps)] = weight[output]
    return full


def accumulator(planner: Planner, node: Conv) -> IntType:
    """A type that holds every partial sum, in any order, bias included."""
    weight, x = node.weight.array, planner.values[node.x]
    outputs, group_inputs = weight.shape[:2]
    group = np.repeat(np.arange(node.groups), outputs // node.groups)
    shape = (outputs, group_inputs, 1)
    low, high = (objects(side).reshape(node.groups, group_inputs)[group].reshape(shape) for side in (x.lo, x.hi))
    taps = objects(node.weight).reshape(outputs, group_inputs, -1)
    one, two, bias = taps * low, taps * high, objects(node.bias)
    lo = np.minimum(np.minimum(one, two), 0).sum(axis=(1, 2)) + np.minimum(bias, 0)
    hi = np.maximum(np.maximum(one, two), 0).sum(axis=(1, 2)) + np.maximum(bias, 0)
    return type_of(int(lo.min()), int(hi.max()))


def hls4ml_conv(planner: Planner, node: Conv, weight: Array) -> ConvLayer:
    """In a stream padding and rows that are stepped over are a layer before; a parallel convolution does both itself.

    hls4ml's streamed Conv2D with a kernel one row high takes every row, whatever its stride_height.
    """
    pads, stride = node.pads, node.stride
    stepped = len(stride) == 2 and weight.shape[2] == 1 and stride[0] > 1
    if planner.streamed and (stepped or any(map(any, pads))):
        source = shaped(planner, node, stride[0] if stepped else 1)
        pads, stride = ((0, 0),) * len(pads), (1, stride[1]) if stepped else stride
    else:
        source = planner.ready(node.x)
    return ConvLayer(
        wire=planner.node_wire(node.name), node=node.name, x=source, in_shape=planner.wires[source].shape,
        weight=Ints(np.moveaxis(weight, (0, 1), (-1, -2))), bias=spread_bias(node), stride=stride, pads=pads,
        accumulator=accumulator(planner, node), reuse=planner.options.reuse_of(node.name),
        probe=planner.probe(node.name),
    )  # fmt: skip


def shaped(planner: Planner, node: Conv, row_step: int) -> str:
    """A wire that holds the convolution's operand padded, and of its rows every `row_step`th one."""
    place = planner.places[node.x]
    if (place.index < 0).any() and place.fill:
        place = planner.in_order(planner.ready(node.x), planner.values[node.x].shape)
    index = np.pad(place.index, ((0, 0), *node.pads), constant_values=-1)[:, ::row_step]
    order = np.moveaxis(index, 0, -1).ravel()
    padded = Place(wire=place.wire, index=index)
    return planner.rearranged(node.x, padded, order, memory_shape(index.shape))


def spread_bias(node: Conv) -> Ints:
    return Ints(np.broadcast_to(node.bias.array, (node.weight.shape[0],)))


def loop_conv(planner: Planner, node: Conv) -> KernelLayer:
    value, x = planner.values[node.name], planner.values[node.x]
    weight = Ints(np.moveaxis(node.weight.array, (0, 1), (-1, -2)).ravel())  # (*kernel, inputs of a group, outputs)
    bias = spread_bias(node)
    sizes = window_sizes(x.shape, value.shape, node.weight.shape[2:], node.stride, node.pads, node.dilation)
    return KernelLayer(
        xs=(planner.ready(node.x),), wire=planner.node_wire(node.name), node=node.name, kernel=Kernel.CONV,
        sizes=(*sizes, ("filters", value.shape[0]), ("groups", node.groups),
               ("reuse_factor", planner.options.reuse_of(node.name))),
        types=(("accum", accumulator(planner, node)),),
        parameters=(Parameter(name="weight", values=weight, type=type_of_ints(weight)),
                    Parameter(name="bias", values=bias, type=type_of_ints(bias))),
        probe=planner.probe(node.name),
    )  # fmt: skip


def pool(planner: Planner, node: MaxPool | SumPool) -> None:
    value, x = planner.values[node.name], planner.values[node.x]
    dilation = node.dilation if isinstance(node, MaxPool) else (1,) * len(node.kernel)
    sizes = window_sizes(x.shape, value.shape, node.kernel, node.stride, node.pads, dilation)
    layer = KernelLayer(
        xs=(planner.ready(node.x),), wire=planner.node_wire(node.name), node=node.name,
        kernel=Kernel.MAX_POOL if isinstance(node, MaxPool) else Kernel.SUM_POOL,
        sizes=(*sizes, ("levels", (math.prod(node.kernel) - 1).bit_length())),
        types=(("accum", value_type(value)),) if isinstance(node, SumPool) else (),
        probe=planner.probe(node.name),
    )  # fmt: skip
    planner.put(layer, node.name)


def window_sizes(
    x: tuple[int, ...], y: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...],
    pads: tuple[tuple[int, int], ...], dilation: tuple[int, ...],
) -> tuple[tuple[str, int], ...]:  # fmt: skip
    """Sizes of a sliding window over channels-last memory; one spatial axis is an image of height 1."""
    flat = 2 - len(kernel)
    (in_h, in_w), (out_h, out_w) = ((1,) * flat + shape[1:] for shape in (x, y))
    (kernel_h, kernel_w), (stride_h, stride_w) = (1,) * flat + kernel, (1,) * flat + stride
    (pad_h, _), (pad_w, _) = ((0, 0),) * flat + pads
    dilation_h, dilation_w = (1,) * flat + dilation
    return (
        ("channels", x[0]), ("in_h", in_h), ("in_w", in_w), ("out_h", out_h), ("out_w", out_w),
        ("kernel_h", kernel_h), ("kernel_w", kernel_w), ("stride_h", stride_h), ("stride_w", stride_w),
        ("pad_h", pad_h), ("pad_w", pad_w), ("dilation_h", dilation_h), ("dilation_w", dilation_w),
    )  # fmt: skip
