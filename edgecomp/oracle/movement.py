"""Operators that move, cut or describe tensors without computing: their outputs hold elements of their inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgecomp.oracle.arithmetic import Array
from edgecomp.oracle.call import Call, is_real
from edgecomp.oracle.windows import pad_with


def identity(call: Call) -> Array:
    return call.input(0)


def dropout(call: Call) -> Array:
    training = call.given(2)
    if training is not None and training.any():
        raise call.refuse("is in training mode", hint="export the model in evaluation mode")
    return call.input(0)


def flatten(call: Call) -> Array:
    x, axis = call.input(0), call.node.integer("axis", 1)
    axis = axis if axis >= 0 else axis + x.ndim
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def reshape(call: Call) -> Array:
    """0 copies the size of the input's axis (unless allowzero), -1 takes what is left."""
    x = call.input(0)
    shape = list(call.axes(1, "shape") or ())
    if not call.node.integer("allowzero", 0):
        shape = [x.shape[place] if size == 0 else size for place, size in enumerate(shape)]
    if call.batch is not None and shape and x.ndim and (shape[0], x.shape[0]) == call.batch:
        shape[0] = x.shape[0]
    return x.reshape(shape)


def transpose(call: Call) -> Array:
    return np.transpose(call.input(0), call.node.integers("perm"))


def squeeze(call: Call) -> Array:
    return np.squeeze(call.input(0), axis=call.axes(1))


def unsqueeze(call: Call) -> Array:
    axes = call.axes(1)
    return call.input(0) if axes is None else np.expand_dims(call.input(0), axes)


def concat(call: Call) -> Array:
    return np.concatenate([call.input(place) for place in range(len(call.inputs))], axis=call.node.integer("axis", 1))


def slice_tensor(call: Call) -> Array:
    """start:end:step along each of `axes`; numpy clamps starts and ends beyond the tensor as ONNX does."""
    x = call.input(0)
    if call.opset < 10:
        starts, ends = call.node.integers("starts") or (), call.node.integers("ends") or ()
        axes, steps = call.node.integers("axes"), None
    else:
        starts, ends, axes = call.integers(1), call.integers(2), call.axes(3)
        steps = call.axes(4, "steps")
    cut = [slice(None)] * x.ndim
    axes = tuple(range(len(starts))) if axes is None else axes
    for axis, start, end, step in zip(axes, starts, ends, steps or (1,) * len(axes), strict=True):
        # Going down, an end below the first element means "up to and including it", which numpy spells None.
        last = None if step < 0 and end < -x.shape[axis] else end
        cut[axis] = slice(start, last, step)
    return x[tuple(cut)]


def split(call: Call) -> tuple[Array, ...]:
    """By the sizes given, else into equal parts, of which the last is smaller where they do not divide."""
    x, axis = call.input(0), call.node.integer("axis", 0)
    sizes = call.axes(1, "split")
    if sizes is None:
        count = len(call.node.outputs)
        size = -(-x.shape[axis] // count)
        sizes = (size,) * (count - 1) + (x.shape[axis] - size * (count - 1),)
    if sum(sizes) != x.shape[axis] or len(sizes) != len(call.node.outputs):
        raise call.refuse(f"splits {x.shape[axis]} elements into {list(sizes)}")
    return tuple(np.split(x, np.cumsum(sizes)[:-1].tolist(), axis=axis))


def pad(call: Call) -> Array:
    """Constant padding; a negative pad cuts elements off."""
    x = call.input(0)
    mode = call.node.text("mode", "constant")
    if mode != "constant":
        raise call.refuse(f"pads with mode '{mode}'", hint="only constant padding is supported")
    pads = call.axes(1, "pads") or ()
    fill = call.like(x, call.node.real("value", 0.0)) if call.opset < 11 else call.given(2)
    fill = call.like(x, 0) if fill is None else fill
    axes = call.axes(3)
    axes = tuple(range(x.ndim)) if axes is None else axes
    if len(pads) != 2 * len(axes) or fill.size != 1:
        raise call.refuse(f"has {len(pads)} pads for {len(axes)} axes")
    before, after = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    cut = tuple(
        slice(max(0, -low), size - max(0, -high)) for low, high, size in zip(before, after, x.shape, strict=True)
    )
    return pad_with(x[cut], [max(0, low) for low in before], [max(0, high) for high in after], fill)


def gather(call: Call) -> Array:
    x, index, axis = call.input(0), call.input(1), call.node.integer("axis", 0)
    if index.dtype != np.int64:
        raise call.refuse("gathers by indices that are not integers")
    return np.take(x, index, axis=axis)


def gather_elements(call: Call) -> Array:
    """Element (n, ...) of the result is x[index (n, ...), ...] along the first axis, and so along any other."""
    x, index, axis = call.input(0), call.input(1), call.node.integer("axis", 0)
    if index.dtype != np.int64:
        raise call.refuse("gathers by indices that are not integers")
    shape = [size if place == axis % x.ndim else index.shape[place] for place, size in enumerate(x.shape)]
    return np.take_along_axis(x[tuple(map(slice, shape))], index, axis=axis)


def expand(call: Call) -> Array:
    x, shape = call.input(0), call.integers(1)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, shape))


def shape_of(call: Call) -> Array:
    shape = call.input(0).shape
    start, end = call.node.integer("start", 0), call.node.integer("end", len(shape))
    return np.asarray(shape[start:end], dtype=np.int64)


def constant_of_shape(call: Call) -> Array:
    value = call.node.attributes.get("value")
    filler = np.zeros(1) if not isinstance(value, np.ndarray) else value
    filler = call.arithmetic.real(filler) if is_real(filler) else filler
    return np.broadcast_to(filler.reshape(()), call.integers(0))


# Operators whose output elements are input elements one for one, so that what is known of each element moves along.
MOVEMENT: dict[str, Callable[[Call], Array]] = {
    "Dropout": dropout,
    "Flatten": flatten,
    "Identity": identity,
    "Reshape": reshape,
    "Slice": slice_tensor,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}

COMPOSITION: dict[str, Callable[[Call], Array]] = {
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "Expand": expand,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Pad": pad,
    "Shape": shape_of,
}
