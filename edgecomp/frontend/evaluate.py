"""Values of chains: in float64 beside a running error bound, and exactly where a value lies too near a boundary.

Exactly means with rationals, or, past an irrational operation, with intervals of rising precision. That ends, because
past sigmoid or tanh of a non-zero algebraic number the value is transcendental (Lindemann-Weierstrass) and so never on
a boundary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, assert_never

import numpy as np
from mpmath import iv
from numpy.typing import NDArray

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.functions import (
    Activation,
    Affine,
    Chain,
    Clip,
    HardSwish,
    Kind,
    Leaky,
    Mode,
    Normalise,
    Operation,
    Round,
    Sign,
    Vector,
    entry,
    perfect_root,
)

Floats = NDArray[np.float64]
Exact = Any  # Fraction, or an mpmath interval that holds an irrational number

ULP = 2.0**-52
MAX_PRECISION = 4096


def round_exact(mode: Mode, v: Fraction) -> int:
    """The integer that `mode` gives for a rational."""
    match mode:
        case Mode.HALF_EVEN:
            return round(v)
        case Mode.HALF_AWAY:
            return math.floor(v + Fraction(1, 2)) if v >= 0 else math.ceil(v - Fraction(1, 2))
        case Mode.HALF_ZERO:
            return math.ceil(v - Fraction(1, 2)) if v >= 0 else math.floor(v + Fraction(1, 2))
        case Mode.FLOOR:
            return math.floor(v)
        case Mode.CEIL:
            return math.ceil(v)
        case Mode.TOWARD_ZERO:
            return math.trunc(v)
        case Mode.AWAY_FROM_ZERO:
            return math.ceil(v) if v >= 0 else math.floor(v)
        case _:
            assert_never(mode)


class UndecidedError(Exception):
    """An interval still straddles a boundary; more precision is needed."""


def _interval(v: Fraction) -> Any:
    return iv.mpf(v.numerator) / iv.mpf(v.denominator)


def _lower(v: Exact) -> Fraction:
    return Fraction(*_ratio(v.a)) if not isinstance(v, Fraction) else v


def _upper(v: Exact) -> Fraction:
    return Fraction(*_ratio(v.b)) if not isinstance(v, Fraction) else v


def _ratio(end: Any) -> tuple[int, int]:
    sign, mantissa, exponent, _ = end._mpi_[0]
    value = -int(mantissa) if sign else int(mantissa)
    return (value << exponent, 1) if exponent >= 0 else (value, 1 << -exponent)


def _below(v: Exact, bound: Fraction) -> bool:
    """Whether v < bound; UndecidedError where an interval straddles it."""
    if _upper(v) < bound:
        return True
    if _lower(v) >= bound:
        return False
    raise UndecidedError


def _sigmoid(v: Any) -> Any:
    return 1 / (1 + iv.exp(-v))


def _exact_activation(kind: Kind, v: Exact) -> Exact:
    if isinstance(v, Fraction):
        if v == 0:
            return Fraction(1, 2) if kind is Kind.SIGMOID else Fraction(0)
        v = _interval(v)
    match kind:
        case Kind.SIGMOID:
            return _sigmoid(v)
        case Kind.TANH:
            return 2 * _sigmoid(2 * v) - 1
        case Kind.SILU:
            return v * _sigmoid(v)
        case _:
            assert_never(kind)


def _exact_clip(op: Clip, v: Exact) -> Exact:
    if op.lo is not None and _below(v, op.lo):
        return op.lo
    return v if op.hi is None or _below(v, op.hi) else op.hi


def _exact_affine(a: Fraction, b: Fraction, v: Exact) -> Exact:
    if a == 0:
        return b
    return a * v + b if isinstance(v, Fraction) else _interval(a) * v + _interval(b)


def _exact_normalise(op: Normalise, v: Exact, channel: int) -> Exact:
    gamma, mean, beta = (entry(part, channel) for part in (op.gamma, op.mean, op.beta))
    variance = entry(op.variance, channel)
    root = perfect_root(variance)
    if root is not None:
        return _exact_affine(gamma / root, beta - gamma * mean / root, v)
    if gamma == 0 or (isinstance(v, Fraction) and v == mean):
        return beta
    return (
        _exact_affine(Fraction(1), -mean, v) * _interval(gamma)
        if not isinstance(v, Fraction)
        else _interval((v - mean) * gamma)
    ) / iv.sqrt(_interval(variance)) + _interval(beta)


def _exact_hard_swish(op: HardSwish, v: Exact) -> Exact:
    gate = _exact_clip(Clip(lo=Fraction(0), hi=Fraction(1)), _exact_affine(op.alpha, op.beta, v))
    if isinstance(gate, Fraction) and gate.denominator == 1:
        return v if gate else Fraction(0)
    return v * gate


def _exact_leaky(slope: Fraction, v: Exact) -> Exact:
    return _exact_affine(slope, Fraction(0), v) if _below(v, Fraction(0)) else v


def _exact_step(op: Operation, v: Exact, channel: int) -> Exact:
    match op:
        case Affine():
            return _exact_affine(entry(op.a, channel), entry(op.b, channel), v)
        case Normalise():
            return _exact_normalise(op, v, channel)
        case Clip():
            return _exact_clip(op, v)
        case Leaky():
            return _exact_leaky(entry(op.slope, channel), v)
        case Activation():
            return _exact_activation(op.kind, v)
        case HardSwish():
            return _exact_hard_swish(op, v)
        case Round():
            low, high = (round_exact(op.mode, side) for side in (_lower(v), _upper(v)))
            low, high = (min(max(side, op.lo), op.hi) for side in (low, high))
            if low != high:
                raise UndecidedError
            return Fraction(low)
        case Sign():
            return Fraction(-1 if _below(v, Fraction(0)) else 1)
        case _:
            assert_never(op)


def exact(chain: Chain, x: Fraction, channel: int) -> Fraction:
    """The chain's value at x, which a Round or Sign at its end makes rational; InexpressibleError where undecidable."""
    before = iv.prec
    try:
        iv.prec = 128
        while iv.prec <= MAX_PRECISION:
            try:
                v: Exact = x
                for op in chain:
                    v = _exact_step(op, v, channel)
            except UndecidedError:
                iv.prec *= 4
                continue
            assert isinstance(v, Fraction), "an exact chain ends in a quantiser"
            return v
    finally:
        iv.prec = before
    raise InexpressibleError(f"the value at {x} stays on a rounding boundary beyond {MAX_PRECISION} bits of precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Float64 values beside a bound on each one's distance from the exact value, and where a decision is uncertain."""

    v: Floats
    error: Floats
    unsure: NDArray[np.bool_]


def _column(vector: Vector, channel: NDArray[np.int64]) -> Floats:
    column = np.array([float(f) for f in vector])
    return column[channel] if len(vector) > 1 else np.broadcast_to(column, channel.shape)


def _affine_estimate(e: Estimate, a: Floats, b: Floats, slack: float = 4.0) -> Estimate:
    product = a * e.v
    v = product + b
    error = np.abs(a) * e.error + slack * ULP * (np.abs(product) + np.abs(b))
    return Estimate(v=v, error=error, unsure=e.unsure)


def _are_floats(*vectors: Vector) -> bool:
    """Whether every entry is a float64, far enough from its limits for exact products."""
    return all(Fraction(float(v)) == v and (v == 0 or 2.0**-300 < abs(v) < 2.0**300) for part in vectors for v in part)


def _halves(v: Floats) -> tuple[Floats, Floats]:
    """v as a sum of two floats of 26 bits each (Veltkamp's splitting)."""
    wide = 134217729.0 * v
    high = wide - (wide - v)
    return high, v - high


def _product_estimate(e: Estimate, a: Floats) -> Estimate:
    """a * v for floats a: the error of the product itself is computed, not bounded (Dekker)."""
    v = a * e.v
    (a_high, a_low), (v_high, v_low) = _halves(a), _halves(e.v)
    lost = ((a_high * v_high - v) + a_high * v_low + a_low * v_high) + a_low * v_low
    return Estimate(v=v, error=np.abs(a) * e.error + np.abs(lost), unsure=e.unsure)


def _sum_estimate(e: Estimate, b: Floats) -> Estimate:
    """v + b for floats b: the error of the sum itself is computed, not bounded (Knuth)."""
    v = e.v + b
    kept = v - e.v
    lost = (e.v - (v - kept)) + (b - kept)
    return Estimate(v=v, error=e.error + np.abs(lost), unsure=e.unsure)


def _activation_estimate(kind: Kind, e: Estimate) -> Estimate:
    with np.errstate(over="ignore"):
        gate = 1 / (1 + np.exp(-e.v))
    match kind:
        case Kind.SIGMOID:
            v = gate
        case Kind.TANH:
            v = np.tanh(e.v)
        case Kind.SILU:
            v = e.v * gate
        case _:
            assert_never(kind)
    return Estimate(v=v, error=2 * e.error + 32 * ULP * (1 + np.abs(v)), unsure=e.unsure)


def _round_float(mode: Mode, v: Floats) -> Floats:
    match mode:
        case Mode.HALF_EVEN:
            return np.rint(v)
        case Mode.HALF_AWAY:
            return np.sign(v) * np.floor(np.abs(v) + 0.5)
        case Mode.HALF_ZERO:
            return np.sign(v) * np.ceil(np.abs(v) - 0.5)
        case Mode.FLOOR:
            return np.floor(v)
        case Mode.CEIL:
            return np.ceil(v)
        case Mode.TOWARD_ZERO:
            return np.trunc(v)
        case Mode.AWAY_FROM_ZERO:
            return np.sign(v) * np.ceil(np.abs(v))
        case _:
            assert_never(mode)


def _round_estimate(op: Round, e: Estimate) -> Estimate:
    low, high = _round_float(op.mode, e.v - e.error), _round_float(op.mode, e.v + e.error)
    low, high = np.clip(low, op.lo, op.hi), np.clip(high, op.lo, op.hi)
    edge = np.abs(2 * e.v - np.rint(2 * e.v)) <= 2 * e.error  # on a boundary, where both sides may round alike
    inside = (e.v > op.lo - 1) & (e.v < op.hi + 1)
    unsure = e.unsure | (low != high) | (edge & inside & (e.error > 0))
    return Estimate(v=np.clip(_round_float(op.mode, e.v), op.lo, op.hi), error=np.zeros_like(e.v), unsure=unsure)


def _clip_estimate(op: Clip, e: Estimate) -> Estimate:
    """What surely lies beyond a bound is the bound itself, which is exact where it is a float."""
    v, error = e.v, e.error
    for bound, sign in ((op.lo, -1), (op.hi, 1)):
        if bound is not None:
            end = float(bound)
            inexact = 0.0 if Fraction(end) == bound else ULP * abs(end)
            surely = sign * (e.v - end) > e.error + inexact
            v = np.maximum(v, end) if sign < 0 else np.minimum(v, end)
            error = np.where(surely, inexact, np.maximum(error, inexact))
    return Estimate(v=v, error=error, unsure=e.unsure)


def _estimate_step(op: Operation, e: Estimate, channel: NDArray[np.int64]) -> Estimate:
    match op:
        case Affine():
            a, b = _column(op.a, channel), _column(op.b, channel)
            return _sum_estimate(_product_estimate(e, a), b) if _are_floats(op.a, op.b) else _affine_estimate(e, a, b)
        case Normalise():
            root = np.sqrt(_column(op.variance, channel))
            a = _column(op.gamma, channel) / root
            mean = a * _column(op.mean, channel)
            moved = _affine_estimate(e, a, -mean, 16.0)
            return _affine_estimate(moved, np.ones_like(a), _column(op.beta, channel))
        case Clip():
            return _clip_estimate(op, e)
        case Leaky():
            slope = _column(op.slope, channel)
            below = _product_estimate(e, slope) if _are_floats(op.slope) else _affine_estimate(e, slope, 0 * slope)
            error = np.where(e.v < -e.error, below.error, np.maximum(below.error, e.error))
            return Estimate(v=np.where(e.v < 0, below.v, e.v), error=error, unsure=e.unsure)
        case Activation():
            return _activation_estimate(op.kind, e)
        case HardSwish():
            gate = np.clip(float(op.alpha) * e.v + float(op.beta), 0, 1)
            steep = 1 + np.abs(float(op.alpha) * e.v)
            return Estimate(v=e.v * gate, error=steep * e.error + 32 * ULP * np.abs(e.v) * steep, unsure=e.unsure)
        case Round():
            return _round_estimate(op, e)
        case Sign():
            unsure = e.unsure | (np.abs(e.v) <= e.error)
            return Estimate(v=np.where(e.v >= 0, 1.0, -1.0), error=np.zeros_like(e.v), unsure=unsure)
        case _:
            assert_never(op)


def codes(chain: Chain, x: NDArray[np.int64], channel: NDArray[np.int64]) -> NDArray[np.int64]:
    """The exact integer value of a chain that ends in a quantiser, at integers x (K,) of channels (K,)."""
    v = x.astype(np.float64)
    e = Estimate(v=v, error=ULP * np.abs(v) * (np.abs(v) >= 2.0**53), unsure=np.zeros(len(x), dtype=bool))
    for op in chain:
        e = _estimate_step(op, e, channel)
    y = np.rint(e.v)
    unsure = e.unsure | (np.abs(e.v - y) > 0) | (np.abs(e.v) > 2.0**52)
    out = y.astype(np.int64)
    for i in np.flatnonzero(unsure):
        value = exact(chain, Fraction(int(x[i])), int(channel[i]))
        assert value.denominator == 1, "a quantiser's code is an integer"
        out[i] = int(value)
    return out
