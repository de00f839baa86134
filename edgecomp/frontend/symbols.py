"""What a tensor of the source graph is while it is being lowered: a constant, a quantised constant, a real value,
or functions of single codes.

Shapes of real values leave out the batch axis. A real value is a chain of functions of the integers of an IR node, or
of a graph input that no quantiser has reached yet; `posts` are data movements and poolings that wait behind the chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.frontend.functions import Chain, Vector
from edgecomp.ir import MaxPool, Pad, Reshape, Slice, Transpose

Objects = NDArray[Any]  # object array of Fractions
Post = Reshape | Transpose | Slice | Pad | MaxPool

BATCH = 0x6ED6E  # stands for the batch size where a graph computes with shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class Const:
    """A tensor known at compile time: native numbers as the file holds them, or Fractions once computed."""

    array: NDArray[Any]

    def exact(self) -> Objects:
        """The same numbers as Fractions."""
        return fractions(self.array)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """A quantised constant: real = scale * code; codes are centred, scale broadcasts over them."""

    codes: NDArray[np.int64]
    scale: Objects

    def exact(self) -> Objects:
        return fractions(np.asarray(self.codes.astype(object) * self.scale, dtype=object))


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """chain applied to node `base` (or to graph input `source`), then `posts`; `shape` is what comes out."""

    base: str
    shape: tuple[int, ...]
    chain: Chain = ()
    posts: tuple[Post, ...] = ()
    source: str = ""
    source_shape: tuple[int, ...] = ()
    integer: tuple[int, int] | None = field(default=None)  # interval of an integer graph input


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tabular:
    """Functions of single codes: element e is table[e, x - lo] for the integer x that `base`, flat, holds at place[e].

    `place` has the tensor's shape (no batch axis), `table` one axis more; `lo` is the least number of any place.
    """

    base: str
    place: NDArray[np.int64]
    table: Objects
    lo: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.place.shape)


Symbol = Const | Quantised | Real | Tabular


def fractions(array: NDArray[Any]) -> Objects:
    """Any numeric array as an object array of exact Fractions, its shape kept (a 0-d array stays one)."""
    out = np.empty(array.shape, dtype=object)
    out.reshape(-1)[:] = [_fraction(v) for v in array.reshape(-1).tolist()]
    return out


def _fraction(v: Any) -> Fraction:
    return v if isinstance(v, Fraction) else Fraction(v)


def vector(values: Objects) -> Vector:
    """A per-channel vector, as one entry where all are the same."""
    entries = tuple(values.reshape(-1).tolist())
    return entries[:1] if all(entry == entries[0] for entry in entries[1:]) else entries


def gcd(values: list[Fraction]) -> Fraction:
    """The greatest rational of which every non-zero value is an integer multiple; 1 where all are zero."""
    top, bottom = 0, 1
    for v in values:
        if v:
            top, bottom = math.gcd(top * v.denominator, v.numerator * bottom), bottom * v.denominator
            common = math.gcd(top, bottom)
            top, bottom = top // common, bottom // common
    return Fraction(top, bottom) if top else Fraction(1)
