"""The nodes of the integer IR.

A value is a tensor of integers without its batch axis; axis 0 is its channel axis. Interior values are centred: real
zero is integer zero. A per-channel parameter is an `Ints` vector with one entry for all channels or one for each.
No node computes with a float; scales are exact rationals and annotate the boundary (`Input`, `Output`) only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray


class Ints:
    """An immutable int64 tensor that compares and hashes by content."""

    __slots__ = ("_hash", "array")
    array: NDArray[np.int64]
    _hash: int

    def __init__(self, values: Sequence[Any] | NDArray[Any] | int) -> None:
        given = np.asarray(values)
        if given.size == 0:
            given = given.astype(np.int64)
        assert given.dtype.kind in "iu" or given.dtype == object, f"integers wanted, got {given.dtype}"
        array = np.array(given, dtype=np.int64, ndmin=1)
        assert given.dtype.kind == "i" or all(int(a) == int(b) for a, b in zip(array.flat, given.flat, strict=True))
        array.setflags(write=False)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "_hash", hash((array.shape, array.tobytes())))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Ints is immutable; cannot set {name}")

    def __reduce__(self) -> tuple[type[Ints], tuple[NDArray[np.int64]]]:
        """Copied by content: processes and clusters score networks."""
        return Ints, (self.array,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ints) and np.array_equal(self.array, other.array)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Ints({self.array.tolist()})"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)


class Encoding(Enum):
    """How a host code stands for an integer: itself, or one bit for -1 and +1 (value = 2 * code - 1)."""

    INTEGER = "integer"
    BIPOLAR = "bipolar"


class Rounding(Enum):
    """What Requant does with v = multiplier * x + addend, S = shift.

    FLOOR: floor(v / 2^S); rounding half up is FLOOR with half of 2^S in the addend.
    HALF_EVEN: q = floor(v / 2^S), less one where v is a multiple of 2^S and q is odd; with half of 2^S in the addend
    this rounds to nearest, ties to even.
    """

    FLOOR = "floor"
    HALF_EVEN = "half_even"


class Ties(Enum):
    """Which index ArgMax gives where several values are the greatest."""

    LOWEST = "lowest"


Scale = tuple[Fraction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Host codes lo..hi of `shape`; the value inside is code - zero_point (or 2 * code - 1 when bipolar).

    `source` names the array of real data that the host quantises: code = clip(round((real - offset) / scale) +
    zero_point, lo, hi), so that real = scale * (code - zero_point) + offset. `rounding` is the host's: ROUND (half to
    even), HALF_UP (half away from zero), HALF_DOWN (half to zero), FLOOR, CEIL, UP (away from zero), DOWN (to zero), or
    SIGN for a bipolar code (real - offset >= 0); where `rounded_with_zero_point`, the zero point is added before it.
    Scale and offset have one entry for all, for each channel, or for each element (row-major).
    """

    name: str
    shape: tuple[int, ...]
    lo: int
    hi: int
    zero_point: int = 0
    encoding: Encoding = Encoding.INTEGER
    scale: Scale = (Fraction(1),)
    offset: Scale = (Fraction(0),)
    source: str = ""
    rounding: str = "ROUND"
    rounded_with_zero_point: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """y = weight @ x + bias. x (I,), weight (O, I), bias (1,) or (O,)."""

    name: str
    x: str
    weight: Ints
    bias: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """Cross-correlation over 1 or 2 spatial axes, zero padding. x (I, *spatial), weight (O, I / groups, *kernel).

    `pads` holds (before, after) for each spatial axis.
    """

    name: str
    x: str
    weight: Ints
    bias: Ints
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """y = p_c * a + q_c * b, coefficients per channel; an axis of size 1 is broadcast."""

    name: str
    a: str
    b: str
    p: Ints
    q: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul:
    """y = a * b elementwise; an axis of size 1 is broadcast."""

    name: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat:
    """The inputs joined along `axis`."""

    name: str
    xs: tuple[str, ...]
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """x[start:stop:step] along `axis`; start and stop are resolved (0 <= start < stop <= size, step >= 1)."""

    name: str
    x: str
    axis: int
    start: int
    stop: int
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape:
    """The same elements in row-major order under another shape."""

    name: str
    x: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose:
    """y.shape[i] = x.shape[perm[i]]."""

    name: str
    x: str
    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Constant padding with the integer `value`; (before, after) for every axis."""

    name: str
    x: str
    pads: tuple[tuple[int, int], ...]
    value: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Requant:
    """y = clip(round(multiplier_c * x + addend_c, shift), lo_c, hi_c), rounded as `Rounding` says."""

    name: str
    x: str
    multiplier: Ints
    addend: Ints
    shift: int
    lo: Ints
    hi: Ints
    rounding: Rounding = Rounding.FLOOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """y = values[c, number of thresholds[c] <= x]; thresholds (1 or C, K) do not decrease, values (1 or C, K + 1)."""

    name: str
    x: str
    thresholds: Ints
    values: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDense:
    """y_j = sum over i of tables[j, i, x_i - lo_i]. x (I,), tables (O, I, T), lo (1,) or (I,)."""

    name: str
    x: str
    tables: Ints
    lo: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """Maximum over windows of the spatial axes; padded places never win."""

    name: str
    x: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumPool:
    """Sum over windows of the spatial axes; padded places count as zero. Averages divide in the next Requant."""

    name: str
    x: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]


NO_TREE = Ints(np.zeros((0, 3), dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgMax:
    """The index of the greatest element of x (C,), as shape (1,).

    An approximation may state its comparisons: `tree` (C - 1, 3) has rows (a, b, mask). Slots 0..C-1 hold the elements
    of x and their indices; a row puts slot b into slot a where (b & mask) > (a & mask) in two's complement, and gives
    up slot b. The slot that is left holds the class. A mask of -1 compares all bits, a mask of 0 keeps slot a.
    """

    name: str
    x: str
    ties: Ties = Ties.LOWEST
    tree: Ints = NO_TREE


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Host codes value + zero_point (or (value + 1) / 2 when bipolar); real = scale * (code - zero_point) + offset."""

    name: str
    x: str
    zero_point: int = 0
    encoding: Encoding = Encoding.INTEGER
    scale: Scale = (Fraction(1),)
    offset: Scale = (Fraction(0),)


Node = (
    Input | Dense | Conv | Add | Mul | Concat | Slice | Reshape | Transpose | Pad
    | Requant | Step | TableDense | MaxPool | SumPool | ArgMax | Output
)  # fmt: skip


def operands(node: Node) -> tuple[str, ...]:
    """The names of the values that a node reads, in order."""
    match node:
        case Input():
            return ()
        case Add() | Mul():
            return (node.a, node.b)
        case Concat():
            return node.xs
        case (
            Dense() | Conv() | Slice() | Reshape() | Transpose() | Pad() | Requant() | Step()
            | TableDense() | MaxPool() | SumPool() | ArgMax() | Output()
        ):  # fmt: skip
            return (node.x,)
        case _:
            assert_never(node)
