"""Rounding modes by their published definitions, and the distance of a value from the boundary of its code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edgecomp.oracle.arithmetic import Arithmetic, Array

Codes = NDArray[np.int64]


class Rounding(Enum):
    """Rounding modes of the QONNX specification (IntQuant, Trunc); the names are those of java.math.RoundingMode.

    HALF_UP takes ties away from zero (-2.5 to -3), unlike floor(x + 1/2); HALF_DOWN takes them towards zero.
    """

    HALF_EVEN = "HALF_EVEN"
    HALF_UP = "HALF_UP"
    HALF_DOWN = "HALF_DOWN"
    FLOOR = "FLOOR"
    CEIL = "CEIL"
    UP = "UP"
    DOWN = "DOWN"


NAMES = {mode.value: mode for mode in Rounding} | {"ROUND": Rounding.HALF_EVEN}


def round_to_integer(x: Array, mode: Rounding) -> Codes:
    """x rounded to integers. Exact for float64 too: |x| - floor(|x|) has no rounding error."""
    if mode is Rounding.FLOOR:
        return _integers(np.floor(x))
    if mode is Rounding.CEIL:
        return _integers(np.ceil(x))
    magnitude = np.abs(x)
    whole = _integers(np.floor(magnitude))
    doubled = 2 * np.asarray(magnitude - whole)
    match mode:
        case Rounding.HALF_EVEN:
            up = (doubled > 1) | ((doubled == 1) & (whole % 2 == 1))
        case Rounding.HALF_UP:
            up = doubled >= 1
        case Rounding.HALF_DOWN:
            up = doubled > 1
        case Rounding.UP:
            up = doubled > 0
        case Rounding.DOWN:
            up = np.zeros(whole.shape, dtype=bool)
    rounded = whole + np.asarray(up, dtype=np.int64)
    return np.where(np.asarray(x) < 0, -rounded, rounded)


def _integers(values: Array) -> Codes:
    return np.asarray(values).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How a position (the real value in code units, zero point included) becomes a code.

    code = clip(rounding(position), lo, hi). A truncation with `shift` s first rounds position * 2^s half to even,
    then divides by 2^s, then rounds again. `bipolar` is +1 for a position of at least zero, else -1.
    """

    rounding: Rounding = Rounding.HALF_EVEN
    lo: int | None
    hi: int | None
    shift: int | None = None
    bipolar: bool = False

    def distance(self, position: Array, arithmetic: Arithmetic) -> Array:
        """Signed distance, in code units, from the nearest boundary between two codes; infinite if there is none.

        Positive above the boundary. A boundary beyond the clipping limits does not count.
        """
        position = np.asarray(position)
        if self.bipolar:
            return position
        code = self.code(position, arithmetic)
        below = position - self._boundary(code - 1, arithmetic)
        above = position - self._boundary(code, arithmetic)
        result = np.where(np.abs(below) <= np.abs(above), below, above)
        if self.lo is not None:
            result = np.where(code == self.lo, above, result)
        if self.hi is not None:
            result = np.where(code == self.hi, below, result)
        if self.lo is not None and self.lo == self.hi:
            return np.full(position.shape, np.inf)
        return result

    def code(self, position: Array, arithmetic: Arithmetic) -> Codes:
        """The code at `position`, zero point included, of a grid that is not bipolar."""
        if self.lo is not None and self.hi is not None:  # also keeps the rounded value within int64
            limits = arithmetic.real(np.array([self.lo - 1, self.hi + 1]))
            position = np.minimum(np.maximum(position, limits[0]), limits[1])
        if self.shift is None:
            code = round_to_integer(position, self.rounding)
        else:
            step = self._step(arithmetic)
            whole = round_to_integer(np.asarray(position * step), Rounding.HALF_EVEN)
            code = round_to_integer(np.asarray(arithmetic.real(whole) / step), self.rounding)
        return code if self.lo is None or self.hi is None else np.clip(code, self.lo, self.hi)

    def _step(self, arithmetic: Arithmetic) -> Array:
        return arithmetic.real(np.asarray(2.0 ** (self.shift or 0)))

    def _boundary(self, code: Codes, arithmetic: Arithmetic) -> Array:
        """The position that separates `code` from `code + 1`."""
        doubled, closed = doubled_threshold(code, self.rounding)
        threshold = np.asarray(arithmetic.real(doubled) / 2)
        if self.shift is None:
            return threshold
        # The smallest integer n with rounding(n / 2^shift) > code; half to even goes over to it at n - 1/2.
        step = self._step(arithmetic)
        scaled = np.asarray(threshold * step)
        least = np.where(closed, _integers(np.ceil(scaled)), _integers(np.floor(scaled)) + 1)
        return np.asarray(arithmetic.real(2 * least - 1) / 2 / step)


def doubled_threshold(code: Codes, mode: Rounding) -> tuple[Codes, NDArray[np.bool_]]:
    """Twice the value at which rounding passes from `code` to `code + 1`, and whether the value itself is above."""
    positive = np.asarray(code) >= 0
    match mode:
        case Rounding.HALF_EVEN:
            return 2 * code + 1, np.asarray(code % 2 == 1)
        case Rounding.HALF_UP:
            return 2 * code + 1, positive
        case Rounding.HALF_DOWN:
            return 2 * code + 1, ~positive
        case Rounding.FLOOR:
            return 2 * code + 2, np.ones(np.shape(code), dtype=bool)
        case Rounding.CEIL:
            return 2 * code, np.zeros(np.shape(code), dtype=bool)
        case Rounding.DOWN:
            return np.where(positive, 2 * code + 2, 2 * code), positive
        case Rounding.UP:
            return np.where(positive, 2 * code, 2 * code + 2), ~positive
