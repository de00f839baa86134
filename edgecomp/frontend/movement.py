"""What data movements do to shapes and to per-channel parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from edgecomp.frontend.functions import Affine, Clip, Leaky, Normalise, Operation, Vector, mapped
from edgecomp.frontend.symbols import Objects, Post, fractions, vector
from edgecomp.ir import Reshape, Slice, Transpose, Value
from edgecomp.ir.ranges import infer

ZERO = Fraction(0)


def per_channel(entries: Sequence[Fraction], shape: tuple[int, ...]) -> Vector:
    """One entry for all elements of `shape`, or one a channel, where that says the same as `entries`."""
    if len(entries) in (1, shape[0]):
        return vector(np.array(entries, dtype=object))
    array = np.array(entries, dtype=object).reshape(shape)
    return vector(channel_column(array)) if constant_per_channel(array) else tuple(entries)


def constant_per_channel(array: Objects) -> bool:
    rows = array.reshape(array.shape[0], -1)
    return all(all(v == row[0] for v in row[1:]) for row in rows)


def channel_column(array: Objects) -> Objects:
    column: Objects = array.reshape(array.shape[0], -1)[:, 0]
    return column


def move_array(
    post: Post, array: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """A batchless array after a pure data movement."""
    match post:
        case Transpose():
            return array.transpose(post.perm)
        case Reshape():
            return array.reshape(post.shape)
        case Slice():
            return array[(slice(None),) * post.axis + (slice(post.start, post.stop, post.step),)]
        case _:
            raise AssertionError(f"{type(post).__name__} does not only move data")


def moved_shape(post: Post, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape behind a movement or pooling of a value of `shape`."""
    value = Value(shape=shape, lo=(0,) * shape[0], hi=(0,) * shape[0])
    return infer(replace(post, name="moved", x="x"), {"x": value}).shape


def repeated(op: Operation, times: int) -> Operation:
    def spread(v: Vector) -> Vector:
        return v if len(v) == 1 else tuple(f for f in v for _ in range(times))

    return mapped(op, spread)


def reordered(op: Operation, order: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Operation:
    def pick(v: Vector) -> Vector:
        return v if len(v) == 1 else vector(fractions(np.array([v[i] for i in order], dtype=object)))

    return mapped(op, pick)


def keeps_zero(op: Operation) -> bool:
    """Whether the operation maps zero to zero, so that zero padding may move before it."""
    match op:
        case Affine():
            return set(op.b) == {ZERO}
        case Normalise():
            return False
        case Clip():
            return (op.lo is None or op.lo <= 0) and (op.hi is None or op.hi >= 0)
        case Leaky():
            return True
        case _:
            return False
