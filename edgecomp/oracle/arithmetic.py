"""The two kinds of number that the oracle computes with: float64 arrays, and exact rationals in object arrays.

A real tensor is a float64 array in the first and an object array of `Fraction` in the second; integer and boolean
tensors are int64 and bool arrays in both. Every operator is written once against `Arithmetic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Working precision of roots and exponentials in exact mode: 400 bits are 120 decimal digits.
PRECISION_BITS = 400


class Arithmetic(Protocol):
    """What an operator may ask of the numbers beyond + - * / and comparison."""

    def real(self, values: Array) -> Array:
        """The real tensor holding exactly the numbers in `values` (any integer, boolean or float dtype)."""

    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product of two real tensors, with the broadcasting of numpy.matmul."""

    def exp(self, x: Array) -> Array:
        """e to the power x."""

    def log(self, x: Array) -> Array:
        """Natural logarithm of x > 0."""

    def sqrt(self, x: Array) -> Array:
        """Square root of x >= 0."""

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(-x))."""

    def tanh(self, x: Array) -> Array:
        """Hyperbolic tangent."""

    def power(self, x: Array, exponent: Array) -> Array:
        """x to the power of `exponent`, broadcast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Float64:
    """IEEE double arithmetic by numpy."""

    def real(self, values: Array) -> Array:
        return np.asarray(values, dtype=np.float64)

    def matmul(self, a: Array, b: Array) -> Array:
        return np.asarray(np.matmul(a, b))

    def exp(self, x: Array) -> Array:
        return np.asarray(np.exp(x))

    def log(self, x: Array) -> Array:
        return np.asarray(np.log(x))

    def sqrt(self, x: Array) -> Array:
        return np.asarray(np.sqrt(x))

    def sigmoid(self, x: Array) -> Array:
        small = np.exp(-np.abs(x))  # at most 1: neither branch overflows
        return np.where(x >= 0, 1.0, small) / (1.0 + small)

    def tanh(self, x: Array) -> Array:
        return np.asarray(np.tanh(x))

    def power(self, x: Array, exponent: Array) -> Array:
        return np.asarray(np.power(x, exponent))


def each(function: Callable[[Any], object], values: Array) -> Array:
    """An object array of `function` of every element, each given as a native Python number."""
    source = np.asarray(values)
    result = np.empty(source.size, dtype=object)
    for place, value in enumerate(source.ravel().tolist()):
        result[place] = function(value)
    return result.reshape(source.shape)


def _over_common_denominator(values: Array) -> tuple[Array, int]:
    """Integer numerators over one denominator: a product of integers is some 20 times faster than of fractions."""
    denominator = math.lcm(*{value.denominator for value in values.flat})
    return each(lambda value: value.numerator * (denominator // value.denominator), values), denominator


def _context() -> Any:
    import mpmath

    context = mpmath.MPContext()
    context.prec = PRECISION_BITS
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """Rational arithmetic without error.

    Square roots are exact where they are rational. Other roots, exponentials and logarithms are rationals within a
    relative 2^-PRECISION_BITS, and on the true side of the limits 0, 1 and -1, which exp, sigmoid and tanh approach
    but never reach. By Lindemann's theorem exp, sigmoid and tanh of a rational other than zero are transcendental, so
    their quotient by a rational scale is never a tie; at zero the value is exact. Only a cancellation between two
    irrational values of one graph, as in sigmoid(x) + sigmoid(-x), can be off by the working precision.
    """

    context: Any = field(default_factory=_context)

    def real(self, values: Array) -> Array:
        return each(Fraction, values)

    def matmul(self, a: Array, b: Array) -> Array:
        left, left_denominator = _over_common_denominator(a)
        right, right_denominator = _over_common_denominator(b)
        denominator = left_denominator * right_denominator
        return each(lambda value: Fraction(value, denominator), np.matmul(left, right))

    def exp(self, x: Array) -> Array:
        return each(self._exp, x)

    def log(self, x: Array) -> Array:
        return each(lambda value: self._rational(self.context.log(self._high(value))), x)

    def sqrt(self, x: Array) -> Array:
        return each(self._sqrt, x)

    def sigmoid(self, x: Array) -> Array:
        return each(self._sigmoid, x)

    def tanh(self, x: Array) -> Array:
        return each(lambda value: 2 * self._sigmoid(2 * value) - 1, x)

    def power(self, x: Array, exponent: Array) -> Array:
        base, power = np.broadcast_arrays(x, exponent)
        pairs = list(zip(base.flat, power.flat, strict=True))
        return each(lambda place: self._power(*pairs[place]), np.arange(len(pairs)).reshape(base.shape))

    def _high(self, value: Fraction) -> Any:
        return self.context.mpf(value.numerator) / value.denominator

    def _rational(self, value: Any) -> Fraction:
        from mpmath import libmp

        numerator, denominator = libmp.to_rational(value._mpf_)
        return Fraction(int(numerator), int(denominator))

    def _exp(self, value: Fraction) -> Fraction:
        if value < -PRECISION_BITS:  # exp(-b) < 2^-b: positive, and no larger than this
            return Fraction(1, 2**PRECISION_BITS)
        return self._rational(self.context.exp(self._high(value)))

    def _sigmoid(self, value: Fraction) -> Fraction:
        if value > 0:
            return 1 - self._sigmoid(-value)
        small = self._exp(value)
        return small / (1 + small)

    def _sqrt(self, value: Fraction) -> Fraction:
        if value < 0:
            raise ValueError("square root of a negative number")
        root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
        return root if root * root == value else self._rational(self.context.sqrt(self._high(value)))

    def _power(self, base: Fraction, exponent: Fraction) -> Fraction:
        if exponent.denominator == 1:
            return base ** int(exponent)
        if exponent == Fraction(1, 2):
            return self._sqrt(base)
        if base < 0:
            raise ValueError("broken power of a negative number")
        if base == 0:
            return Fraction(0)
        return self._rational(self.context.power(self._high(base), self._high(exponent)))
