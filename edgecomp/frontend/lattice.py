"""Which integer points lie near a line: the proof that shortened multipliers keep every comparison of two logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from edgecomp.frontend.symbols import gcd

MAX_CLASSES = 128  # pairs of classes are proven one by one
MAX_SHIFT = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Logit:
    """scale * x + offset for integers x in lo..hi; scale positive."""

    scale: Fraction
    offset: Fraction
    lo: int
    hi: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """multiplier * x + addend for integers x in lo..hi."""

    multiplier: int
    addend: int
    lo: int
    hi: int

    @property
    def reach(self) -> int:
        return max(abs(self.lo), abs(self.hi))


def floor_sum(count: int, a: int, b: int, m: int) -> int:
    """The sum over i in 0..count - 1 of floor((a * i + b) / m), by Euclid's algorithm; m positive."""
    total = 0
    while count > 0:
        total += (a // m) * (count * (count - 1) // 2) + (b // m) * count
        a, b = a % m, b % m
        top = a * count + b
        if top < m:
            break
        count, b, a, m = top // m, top % m, m, a  # the same triangle of points, counted along the other axis
    return total


def _at_most(x: Line, y: Line, slack: int) -> int:
    """How many (x, y) have y's line at most `slack` above x's."""
    p, q, r = x.multiplier, y.multiplier, x.addend - y.addend + slack
    first = min(max(-((r - q * y.lo) // p), x.lo), x.hi + 1)  # from here on one y at least
    full = min(max(-((r - q * y.hi) // p), first), x.hi + 1)  # from here on every y
    some = floor_sum(full - first, p, p * first + r - q * (y.lo - 1), q)
    return some + (x.hi + 1 - full) * (y.hi + 1 - y.lo)


def near(x: Line, y: Line, slack: int) -> int:
    """How many (x, y) have lines that differ by at most `slack`."""
    return _at_most(x, y, slack) - _at_most(x, y, -slack - 1)


def _tie_ends(x: Line, y: Line, count: int) -> tuple[int, ...]:
    """The least and the greatest x that takes part in one of the `count` exact ties; ties are evenly spaced."""
    step = y.multiplier // math.gcd(x.multiplier, y.multiplier)
    lo, hi = x.lo, x.hi
    while lo < hi:  # the least x up to which there is a tie at all
        middle = (lo + hi) // 2
        part = Line(multiplier=x.multiplier, addend=x.addend, lo=x.lo, hi=middle)
        lo, hi = (lo, middle) if near(part, y, 0) else (middle + 1, hi)
    return (lo, lo + step * (count - 1))


def same_order(x: Line, y: Line, short_x: Line, short_y: Line, shift: int, top: int) -> bool:
    """Whether the short lines (units of top / 2^shift) compare like the exact ones at every (x, y), ties included."""
    off = abs(short_x.multiplier * top - (x.multiplier << shift)) * x.reach
    off += abs(short_y.multiplier * top - (y.multiplier << shift)) * y.reach
    off += abs((short_x.addend - short_y.addend) * top - ((x.addend - y.addend) << shift))
    if off == 0:
        return True
    uncertain = near(x, y, -(-off >> shift))
    ties = near(x, y, 0)
    if uncertain != ties:
        return False
    for at in _tie_ends(x, y, ties) if ties else ():
        other = (x.multiplier * at + x.addend - y.addend) // y.multiplier
        short = short_x.multiplier * at + short_x.addend - short_y.multiplier * other - short_y.addend
        if short != 0:
            return False
    return True


def exact_lines(logits: Sequence[Logit]) -> list[Line]:
    """The logits in units of their greatest common measure."""
    unit = gcd([v for one in logits for v in (one.scale, one.offset)])
    return [
        Line(multiplier=int(one.scale / unit), addend=int(one.offset / unit), lo=one.lo, hi=one.hi) for one in logits
    ]


def shortest_lines(logits: Sequence[Logit]) -> list[Line]:
    """Integer lines that compare as the logits do at every pair of integers, ties included; the shortest found.

    Where none is proven shorter, the exact mantissas.
    """
    exact = exact_lines(logits)
    if len(exact) > MAX_CLASSES:
        return exact
    top = max(line.multiplier for line in exact)
    for shift in range(min(MAX_SHIFT, top.bit_length())):
        short = [
            Line(multiplier=_divided(line.multiplier << shift, top), addend=_divided(line.addend << shift, top),
                 lo=line.lo, hi=line.hi)
            for line in exact
        ]  # fmt: skip
        if min(line.multiplier for line in short) > 0 and all(
            same_order(exact[i], exact[j], short[i], short[j], shift, top)
            for i, j in combinations(range(len(exact)), 2)
        ):
            return short
    return exact


def _divided(a: int, b: int) -> int:
    """a / b to the nearest integer."""
    return (2 * a + b) // (2 * b)
