"""Sums of bits with integer coefficients, and the bit heap that makes one a binary number.

Positive and negative terms stand in one heap: a negative term -2^k * b is 2^k * (not b) - 2^k, and all constants fold
into one. Columns are compressed from the lowest up with full adders, earliest bits first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from edgecomp.backends.printed.gates import FALSE, Gates
from edgecomp.ir.ranges import bits_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """const + the sum of coefficient * bit over `terms` (node, coefficient), within lo..hi."""

    const: int
    terms: tuple[tuple[int, int], ...]
    lo: int
    hi: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A binary number on wires: literals from the lowest bit up, two's complement where signed, within lo..hi."""

    bits: tuple[int, ...]
    signed: bool
    lo: int
    hi: int


def constant(value: int) -> Sum:
    return Sum(const=value, terms=(), lo=value, hi=value)


def of_word(word: Word) -> Sum:
    """The word as a sum of its bits; the top bit of a signed one counts negative."""
    top = len(word.bits) - 1
    weighted = [(lit, -(1 << k) if word.signed and k == top else 1 << k) for k, lit in enumerate(word.bits)]
    const = sum(weight for lit, weight in weighted if lit & 1)
    coefficients: dict[int, int] = {}
    for lit, weight in weighted:
        if lit >> 1:
            coefficients[lit >> 1] = coefficients.get(lit >> 1, 0) + (-weight if lit & 1 else weight)
    return Sum(const=const, terms=_terms(coefficients), lo=word.lo, hi=word.hi)


def _terms(coefficients: dict[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((node, c) for node, c in coefficients.items() if c))


def combine(parts: Iterable[tuple[int, Sum]], const: int = 0) -> Sum:
    """The sum of coefficient * part, and a constant."""
    lo = hi = total = const
    coefficients: dict[int, int] = {}
    for factor, part in parts:
        ends = (factor * part.lo, factor * part.hi)
        lo, hi, total = lo + min(ends), hi + max(ends), total + factor * part.const
        for node, c in part.terms:
            coefficients[node] = coefficients.get(node, 0) + factor * c
    return Sum(const=total, terms=_terms(coefficients), lo=lo, hi=hi)


def digits(value: int) -> list[tuple[int, int]]:
    """The canonical signed digits (place, +1 or -1) of an integer, from the lowest up."""
    found = []
    place = 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)
            found.append((place, digit))
            value -= digit
        value >>= 1
        place += 1
    return found


def weight(value: int) -> int:
    """How many signed digits an integer has."""
    return ((3 * abs(value)) ^ abs(value)).bit_count()


def to_word(gates: Gates, value: Sum) -> Word:
    """The sum as a binary number, as wide as its interval needs."""
    width = bits_of(value.lo, value.hi)
    return Word(bits=tuple(compress(gates, value, width)), signed=value.lo < 0, lo=value.lo, hi=value.hi)


def compress(gates: Gates, value: Sum, width: int) -> list[int]:
    """The lowest `width` bits of the sum; the cheaper of the sum itself and the inverse of -sum - 1."""
    plain, const = _columns(value, width)
    turned, other = _columns(combine([(-1, value)], -1), width)
    if adders(turned, other) < adders(plain, const):
        return [lit ^ 1 for lit in _reduce(gates, turned, other)]
    return _reduce(gates, plain, const)


def _columns(value: Sum, width: int) -> tuple[list[list[int]], int]:
    """The heap's literals per column, and the constant modulo 2^width."""
    columns: list[list[int]] = [[] for _ in range(width)]
    const = value.const
    for node, coefficient in value.terms:
        for place, digit in digits(coefficient):
            if place < width:
                columns[place].append(2 * node + (digit < 0))
                const -= (digit < 0) << place
    return columns, const % (1 << width)


FULL_ADDER, HALF_ADDER = 9, 5  # in two-input NANDs


def adders(columns: list[list[int]], const: int) -> int:
    """What compressing the heap costs, in NANDs; the top column has no carry."""
    cost, carries = 0, 0
    for place, column in enumerate(columns):
        bits, one = len(column) + carries, const >> place & 1
        full = max(0, bits - 1) // 2
        half = int(bits > 0 and bits % 2 == 0)
        cost += FULL_ADDER * full + HALF_ADDER * half
        carries = full + half + (one if bits % 2 else 0)
    return cost


def _reduce(gates: Gates, columns: list[list[int]], const: int) -> list[int]:
    result: list[int] = []
    carries: list[int] = []
    for place, column in enumerate(columns):
        queue = [(gates.depth[lit >> 1], lit) for lit in [*column, *carries] if lit != FALSE]
        bit, carries = _column(gates, queue, const >> place & 1)
        result.append(bit)
    return result


def _column(gates: Gates, queue: list[tuple[int, int]], one: int) -> tuple[int, list[int]]:
    """The sum bit of a column whose constant is `one`, and its carries; the constant goes in last, where it is free."""
    carries = []
    heapq.heapify(queue)
    while len(queue) > 2:
        a, b, c = (heapq.heappop(queue)[1] for _ in range(3))
        bit, carry = gates.add3(a, b, c)
        heapq.heappush(queue, (gates.depth[bit >> 1], bit))
        carries.append(carry)
    bits = [lit for _, lit in queue] + [FALSE] * (2 - len(queue))
    bit, carry = gates.add3(bits[0], bits[1], one)
    return bit, [lit for lit in [*carries, carry] if lit != FALSE]
