"""Convolution and pooling over any number of spatial axes, in ONNX's layout (N, C, D1, ...)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgecomp.oracle.arithmetic import Array
from edgecomp.oracle.call import Call


def pad_with(x: Array, before: Sequence[int], after: Sequence[int], fill: Array) -> Array:
    """x with `fill` (a single number) around it; one count per axis."""
    if not any(before) and not any(after):
        return x
    shape = [low + size + high for low, size, high in zip(before, x.shape, after, strict=True)]
    result = np.empty(shape, dtype=x.dtype)
    result[...] = fill.reshape(())[()]
    result[tuple(slice(low, low + size) for low, size in zip(before, x.shape, strict=True))] = x
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Geometry of one sliding window; every field has one entry per spatial axis.

    `overhang` is what ceil_mode adds behind the padding so that the last window fits.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    overhang: tuple[int, ...]
    out: tuple[int, ...]

    def view(self, x: Array, fill: Array) -> Array:
        """Every window of x: shape (N, C, out..., kernel...)."""
        rest = [high + more for high, more in zip(self.after, self.overhang, strict=True)]
        padded = pad_with(x, [0, 0, *self.before], [0, 0, *rest], fill)
        spans = tuple(step * (size - 1) + 1 for size, step in zip(self.kernel, self.dilations, strict=True))
        view = sliding_window_view(padded, spans, axis=tuple(range(2, x.ndim)))
        starts = [slice(0, count * step, step) for count, step in zip(self.out, self.strides, strict=True)]
        return view[(slice(None), slice(None), *starts, *(slice(None, None, step) for step in self.dilations))]


def window(call: Call, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    """The geometry by the definition that Conv and the pooling operators share. ModelError where nothing fits."""
    rank = len(spatial)
    strides = call.node.integers("strides") or (1,) * rank
    dilations = call.node.integers("dilations") or (1,) * rank
    if not len(kernel) == len(strides) == len(dilations) == rank or min(*kernel, *strides, *dilations, 1) < 1:
        raise call.refuse(f"has a window that does not fit {rank} spatial axes")
    spans = [step * (size - 1) + 1 for size, step in zip(kernel, dilations, strict=True)]
    before, after = _pads(call, spatial, strides, spans)
    ceil = bool(call.node.integer("ceil_mode", 0))
    out, overhang = [], []
    for place in range(rank):
        room = spatial[place] + before[place] + after[place] - spans[place]
        count = (-(-room // strides[place]) if ceil else room // strides[place]) + 1
        if ceil and (count - 1) * strides[place] >= spatial[place] + before[place]:
            count -= 1  # a window that would start in the padding behind the data is dropped
        out.append(count)
        overhang.append(max(0, (count - 1) * strides[place] - room))
    if min(out) < 1:
        raise call.refuse(f"has a window larger than its input of {list(spatial)}")
    return Window(
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        before=before,
        after=after,
        overhang=tuple(overhang),
        out=tuple(out),
    )


def _pads(
    call: Call, spatial: tuple[int, ...], strides: tuple[int, ...], spans: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank, mode = len(spatial), call.node.text("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0,) * rank, (0,) * rank
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max(0, (-(-size // step) - 1) * step + span - size)
            for size, step, span in zip(spatial, strides, spans, strict=True)
        ]
        small, large = tuple(size // 2 for size in totals), tuple(size - size // 2 for size in totals)
        return (small, large) if mode == "SAME_UPPER" else (large, small)
    pads = call.node.integers("pads") or (0,) * (2 * rank)
    if mode != "NOTSET" or len(pads) != 2 * rank or min(pads) < 0:
        raise call.refuse(f"pads {list(pads)} with auto_pad '{mode}' are not defined for {rank} spatial axes")
    return pads[:rank], pads[rank:]


def conv(call: Call) -> Array:
    """Cross-correlation: windows gathered into a matrix (im2col), one matrix product per group."""
    x, weight, bias = call.input(0), call.input(1), call.given(2)
    groups = call.node.integer("group", 1)
    kernel = weight.shape[2:]
    if call.node.integers("kernel_shape") not in (None, kernel):
        raise call.refuse("has a kernel_shape other than its weight's")
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise call.refuse(f"has {x.shape[1]} input channels, but weights {list(weight.shape)} in {groups} groups")
    view = window(call, x.shape[2:], kernel)
    samples, rank = x.shape[0], len(kernel)
    columns = view.view(x, call.like(x, 0))  # (N, C, out..., kernel...)
    order = (1, *range(2 + rank, 2 + 2 * rank), 0, *range(2, 2 + rank))
    taps = weight.shape[1] * int(np.prod(kernel))
    columns = columns.transpose(order).reshape(groups, taps, -1)  # rows: channel and tap; columns: sample and position
    product = call.arithmetic.matmul(weight.reshape(groups, -1, taps), columns)
    product = product.reshape(weight.shape[0], samples, *view.out)
    if bias is not None:
        product = product + bias.reshape((-1,) + (1,) * (1 + rank))
    return np.ascontiguousarray(np.moveaxis(product, 0, 1))


def max_pool(call: Call) -> Array:
    """Maximum over the elements of each window that are not padding."""
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        raise call.refuse("gives the indices of its maxima, which are not supported")
    x = call.input(0)
    view = _pool_window(call)
    # Padding with the smallest element of all never changes a maximum over at least one element.
    columns = view.view(x, np.asarray(x.min()))
    return np.asarray(columns.max(axis=tuple(range(x.ndim, columns.ndim))))


def average_pool(call: Call) -> Array:
    """Mean over each window; padding counts only with count_include_pad, what ceil_mode adds never counts."""
    x = call.input(0)
    view = _pool_window(call)
    columns = view.view(x, call.like(x, 0))
    inner = tuple(range(x.ndim, columns.ndim))
    present = np.ones((1, 1, *x.shape[2:]), dtype=np.int64)
    if call.node.integer("count_include_pad", 0):
        present = pad_with(present, (0, 0, *view.before), (0, 0, *view.after), np.asarray(1))
        counts = _counted(view, present)
    else:
        counts = np.asarray(view.view(present, np.asarray(0)).sum(axis=inner))
    return np.asarray(columns.sum(axis=inner) / call.arithmetic.real(counts))


def _counted(view: Window, present: Array) -> Array:
    """Elements per window of an input that is padded already."""
    none = (0,) * len(view.kernel)
    bare = Window(
        kernel=view.kernel,
        strides=view.strides,
        dilations=view.dilations,
        before=none,
        after=none,
        overhang=view.overhang,
        out=view.out,
    )
    windows = bare.view(present, np.asarray(0))
    return np.asarray(windows.sum(axis=tuple(range(present.ndim, windows.ndim))))


def _pool_window(call: Call) -> Window:
    kernel = call.node.integers("kernel_shape")
    if kernel is None:
        raise call.refuse("has no kernel_shape")
    return window(call, call.input(0).shape[2:], kernel)


def global_average_pool(call: Call) -> Array:
    x = call.input(0)
    axes = tuple(range(2, x.ndim))
    return np.asarray(x.sum(axis=axes, keepdims=True) / call.like(x, int(np.prod(x.shape[2:]))))


def global_max_pool(call: Call) -> Array:
    x = call.input(0)
    return np.asarray(x.max(axis=tuple(range(2, x.ndim)), keepdims=True))


WINDOWS: dict[str, Callable[[Call], Array]] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
}
