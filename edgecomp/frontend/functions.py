"""Exact functions of one variable: what stands between an integer accumulator and the next integer code.

A chain is a tuple of operations applied in order to an integer x of a channel. Its value is defined in real numbers;
`evaluate` computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import assert_never

Vector = tuple[Fraction, ...]  # one entry for all channels or one for each


class Mode(Enum):
    """How a quantiser rounds; the spellings are those of the QONNX specification."""

    HALF_EVEN = "ROUND"
    HALF_AWAY = "HALF_UP"  # what the specification calls HALF_UP rounds halves away from zero
    HALF_ZERO = "HALF_DOWN"
    FLOOR = "FLOOR"
    CEIL = "CEIL"
    TOWARD_ZERO = "DOWN"
    AWAY_FROM_ZERO = "UP"


class Kind(Enum):
    """Activations without parameters; silu is x * sigmoid(x)."""

    SIGMOID = "sigmoid"
    TANH = "tanh"
    SILU = "silu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """y = a * x + b."""

    a: Vector
    b: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalise:
    """Batch norm at inference: y = gamma * (x - mean) / sqrt(variance) + beta, variance with epsilon in it."""

    gamma: Vector
    mean: Vector
    variance: Vector
    beta: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """y = min(max(x, lo), hi); None is no bound."""

    lo: Fraction | None
    hi: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaky:
    """y = x where x >= 0, slope * x below."""

    slope: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSwish:
    """y = x * clip(alpha * x + beta, 0, 1), alpha and beta positive."""

    alpha: Fraction
    beta: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """y = clip(round(x), lo, hi), an integer."""

    mode: Mode
    lo: int
    hi: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """y = +1 where x >= 0, else -1."""


Operation = Affine | Normalise | Clip | Leaky | Activation | HardSwish | Round | Sign
Chain = tuple[Operation, ...]


def entry(vector: Vector, channel: int) -> Fraction:
    return vector[0] if len(vector) == 1 else vector[channel]


def mapped(op: Operation, act: Callable[[Vector], Vector]) -> Operation:
    """The operation with each of its per-channel vectors replaced."""
    match op:
        case Affine():
            return Affine(a=act(op.a), b=act(op.b))
        case Normalise():
            return Normalise(gamma=act(op.gamma), mean=act(op.mean), variance=act(op.variance), beta=act(op.beta))
        case Leaky():
            return Leaky(slope=act(op.slope))
        case _:
            return op


def picked(op: Operation, channel: int) -> Operation:
    """The operation of one channel alone."""
    return mapped(op, lambda v: (entry(v, channel),))


def channels_of(chain: Chain) -> int:
    """How many channels the chain tells apart (1 where all parameters are shared)."""
    sizes = [1]
    for op in chain:
        match op:
            case Affine():
                sizes += [len(op.a), len(op.b)]
            case Normalise():
                sizes += [len(op.gamma), len(op.mean), len(op.variance), len(op.beta)]
            case Leaky():
                sizes.append(len(op.slope))
            case Clip() | Activation() | HardSwish() | Round() | Sign():
                pass
            case _:
                assert_never(op)
    return max(sizes)


def direction(op: Operation, channel: int) -> int | None:
    """+1 where the operation never falls, -1 where it never rises, None where it does both."""
    match op:
        case Affine():
            return 1 if entry(op.a, channel) >= 0 else -1
        case Normalise():
            return 1 if entry(op.gamma, channel) >= 0 else -1
        case Leaky():
            return 1 if entry(op.slope, channel) >= 0 else None
        case Activation():
            return 1 if op.kind in (Kind.SIGMOID, Kind.TANH) else None
        case HardSwish():
            return None
        case Clip() | Round() | Sign():
            return 1
        case _:
            assert_never(op)


def monotone(chain: Chain, channel: int) -> int | None:
    """The chain's direction on a channel: +1, -1, or None where some part both rises and falls."""
    total = 1
    for op in chain:
        part = direction(op, channel)
        if part is None:
            return None
        total *= part
    return total


def turning_point(op: Operation) -> Fraction | None:
    """The argument at which an operation that is not monotone turns (to 60 digits for silu)."""
    match op:
        case Leaky():
            return Fraction(0)
        case HardSwish():
            return -op.beta / (2 * op.alpha)
        case Activation(kind=Kind.SILU):
            # where its derivative sigmoid(x) * (1 + x * (1 - sigmoid(x))) is zero: 1 + x + exp(x) = 0
            return Fraction("-1.27846454276107379510935873902298015543947748")
        case _:
            return None


def perfect_root(v: Fraction) -> Fraction | None:
    """The rational square root, where there is one."""
    top, bottom = math.isqrt(v.numerator), math.isqrt(v.denominator)
    return Fraction(top, bottom) if top * top == v.numerator and bottom * bottom == v.denominator else None


def compose(chain: Sequence[Operation]) -> Chain:
    """The same function with neighbouring affine maps joined and identities dropped."""
    out: list[Operation] = []
    for op in chain:
        if isinstance(op, Normalise):
            op = _rational(op)
        if isinstance(op, Affine) and out and isinstance(out[-1], Affine):
            op = _join(out.pop(), op)  # type: ignore[arg-type]
        if isinstance(op, Affine) and set(op.a) == {1} and set(op.b) == {0}:
            continue
        out.append(op)
    return tuple(out)


def _join(first: Affine, then: Affine) -> Affine:
    size = max(len(first.a), len(first.b), len(then.a), len(then.b))
    parts = [(entry(first.a, c), entry(first.b, c), entry(then.a, c), entry(then.b, c)) for c in range(size)]
    return Affine(a=tuple(c * a for a, _, c, _ in parts), b=tuple(c * b + d for _, b, c, d in parts))


def _rational(op: Normalise) -> Affine | Normalise:
    """Batch norm as an affine map where every variance has a rational square root."""
    roots = [perfect_root(v) for v in op.variance]
    if any(root is None for root in roots):
        return op
    size = max(len(op.gamma), len(op.mean), len(op.variance), len(op.beta))
    a = [entry(op.gamma, c) / (roots[c if len(roots) > 1 else 0] or 1) for c in range(size)]
    return Affine(a=tuple(a), b=tuple(entry(op.beta, c) - a[c] * entry(op.mean, c) for c in range(size)))
