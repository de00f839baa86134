"""Integers as alkaid's traced variables: the operations whose use there is exact, and ways around those that are not.

alkaid 0.8.2 finds the lowest bit of constants in float32: a constant whose odd part has more than 24 bits is rounded
without a word. Constants are split below that. Its choice by the top bit (`msb_mux`) takes the top bit of an unsigned
number as a sign: every comparison here decides from the interval first. Intervals are held in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Word = Any  # alkaid's FVariable

MAX_BITS = 50  # of a number on wires: alkaid's intervals are float64, and half units appear in them
SPLIT = 20  # bits of the lower part of a constant that is split
ODD_BITS = 23
HARDWARE = (1, 2, -1)  # alkaid's adder and carry sizes: with them its delays rise with width as `figures.level_ns` says


class TooWideError(Exception):
    """A constant that alkaid would round."""

    def __init__(self, value: int) -> None:
        super().__init__(f"it needs the constant {value}, whose odd part has more than {ODD_BITS} bits")


def fits(value: int) -> bool:
    """Whether alkaid takes the constant as it is."""
    return value == 0 or (abs(value) // (abs(value) & -abs(value))).bit_length() <= ODD_BITS


def variable(lo: int, hi: int) -> Word:
    """A fresh input of lo..hi."""
    from alkaid.trace.fixed_variable import FVariable

    return FVariable(lo, hi, 1, hwconf=HARDWARE, latency=0.0) if lo < hi else fixed(lo)


def fixed(value: int) -> Word:
    from alkaid.trace.fixed_variable import FVariable

    if not fits(value):
        raise TooWideError(value)
    return FVariable.from_const(float(value), hwconf=FVariable(0, 1, 1, hwconf=HARDWARE).hwconf)


def constant_of(word: Word) -> int | None:
    """The only value that the word takes, or None."""
    return int(word.low) if word.low == word.high else None


def settled(word: Word, lo: int, hi: int) -> Word:
    """The word known to lie in lo..hi, no longer tied to what it was computed from."""
    from alkaid.trace.affine_interval import AffineInterval
    from alkaid.types import QInterval

    step = max(word.step, 1.0) if word.low != word.high else 1.0
    least = max(word.low, math.ceil(lo / step) * step)
    most = min(word.high, math.floor(hi / step) * step)
    assert least <= most, f"{word} cannot lie in {lo}..{hi}"
    if least == most:
        return fixed(int(least))
    return word._with(_affine=AffineInterval.new(QInterval(least, most, step)), renew_id=False)


def free(word: Word) -> Word:
    """The word no longer tied to what it was computed from."""
    return settled(word, int(word.low), int(word.high))


def plus(word: Word, value: int) -> Word:
    """word + value."""
    if value == 0:
        return word
    only = constant_of(word)
    if only is not None and fits(only + value):
        return fixed(only + value)
    if only is not None:
        raise TooWideError(only + value)
    if fits(value) and fits(_merged(word, value)):
        return free(word + float(value))
    low, rest = lower(word, SPLIT), floored(word, SPLIT)
    top, bottom = value >> SPLIT, value & ((1 << SPLIT) - 1)
    return free(plus(rest, top) * 2.0**SPLIT + free(plus(low, bottom)))


def _merged(word: Word, value: int) -> int:
    """The constant that alkaid would add in one step where the word is itself a sum with a constant."""
    if word.opr != "cadd":
        return value
    halves = [((word._data >> place & 0xFFFFFFFF) + (1 << 31)) % (1 << 32) - (1 << 31) for place in (0, 32)]
    return int(halves[0] * 2.0 ** -halves[1] * word._factor) + value


def lower(word: Word, bits: int) -> Word:
    """The word modulo 2^bits."""
    return free(word.quantize(0, bits, 0)) if constant_of(word) is None else fixed(int(word.low) % (1 << bits))


def floored(word: Word, shift: int) -> Word:
    """floor(word / 2^shift): wires."""
    only = constant_of(word)
    if only is not None:
        return fixed(only >> shift)
    lo, hi = int(word.low) >> shift, int(word.high) >> shift
    if lo == hi:
        return fixed(lo)
    scaled = word * 2.0**-shift
    signed, integers, _ = scaled.kif
    return settled(scaled.quantize(signed, max(integers, 0), 0), lo, hi)


def times(word: Word, factor: int) -> Word:
    """word * factor."""
    only = constant_of(word)
    if only is not None or factor == 0:
        return fixed((only or 0) * factor)
    if fits(factor):
        return free(word * float(factor))
    top, bottom = factor >> SPLIT, factor & ((1 << SPLIT) - 1)
    return free(times(word, top) * 2.0**SPLIT + times(word, bottom))


def minus(a: Word, b: Word) -> Word:
    return plus(a, -int(b.low)) if constant_of(b) is not None else a - b


def total(words: Sequence[Word]) -> Word:
    """The sum, as a balanced tree, constants last."""
    known = [constant_of(word) for word in words]
    const = sum(value for value in known if value is not None)
    found = [word for word, value in zip(words, known, strict=True) if value is None]
    if not found:
        return fixed(const)
    while len(found) > 1:
        found.sort(key=lambda word: (word.latency, word.high - word.low))
        pairs = [found[i : i + 2] for i in range(0, len(found), 2)]
        found = [free(pair[0] + pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return plus(found[0], const)


def negative(word: Word) -> Word:
    """One bit: whether the word is below zero."""
    if word.low >= 0 or word.high < 0:
        return fixed(int(word.high < 0))
    return word.is_negative()


def at_least(word: Word, value: int) -> Word:
    """One bit: whether word >= value."""
    if value <= word.low or value > word.high:
        return fixed(int(value <= word.low))
    return ~negative(plus(word, -value))


def by_sign(key: Word, below: Word, otherwise: Word) -> Word:
    """below where key < 0, else otherwise."""
    if key.low >= 0 or key.high < 0:
        return below if key.high < 0 else otherwise
    return chosen(key, below, otherwise)


def by_bit(bit: Word, one: Word, zero: Word) -> Word:
    """one where the bit is set, else zero."""
    only = constant_of(bit)
    return (one if only else zero) if only is not None else chosen(bit, one, zero)


def chosen(key: Word, one: Word, zero: Word) -> Word:
    values = constant_of(one), constant_of(zero)
    if values[0] is not None and values[0] == values[1]:
        return one
    lo, hi = int(min(one.low, zero.low)), int(max(one.high, zero.high))
    return settled(key.msb_mux(one, zero), lo, hi)


def greater(a: Word, b: Word) -> Word:
    """The greater of two."""
    if a.low >= b.high or b.low >= a.high:
        return a if a.low >= b.high else b
    return settled(by_sign(minus(a, b), b, a), int(max(a.low, b.low)), int(max(a.high, b.high)))


def clipped(word: Word, lo: int, hi: int) -> Word:
    """min(max(word, lo), hi) by comparisons."""
    if hi <= word.low or lo >= word.high:
        return fixed(min(max(int(word.low), lo), hi))
    least, most = max(lo, int(word.low)), min(hi, int(word.high))
    if word.high > most:
        word = settled(by_sign(plus(word, -most - 1), word, fixed(most)), int(word.low), most)
    if word.low < least:
        below = word if least == 0 else plus(word, -least)
        word = settled(by_sign(below, fixed(least), word), least, most)
    return word


def saturable(down: Word, lo: int, hi: int) -> bool:
    """Whether `saturated` clips to lo..hi: by its upper bits alone, and its sign."""
    return max(lo, down.low) >= 0 >= lo and down.high > 0 and (down.high <= hi or (hi + 1).bit_count() == 1)


def saturated(word: Word, shift: int, hi: int, *, even: bool) -> Word:
    """word / 2^shift, rounded down or half to even, clipped to 0..hi, where hi + 1 is a power of two or never passed.

    All ones where a bit above is set, zero where the word is negative. A tie makes an odd result even by its lowest
    bit alone, which then has a table of its own.
    """
    down = floored(word, shift)
    if down.low < 0:
        down = settled(down.relu(), 0, int(down.high))
    width = min(int(down.high), hi).bit_length()
    over = floored(down, width)
    over = over.unary_bit_op("any") if constant_of(over) is None else over
    if not even:
        return by_bit(over, fixed(hi), lower(down, width))
    rest = lower(word, shift)
    untied = rest.unary_bit_op("any") if constant_of(rest) is None else fixed(int(constant_of(rest) != 0))
    upper = by_bit(over, fixed(hi >> 1), lower(floored(down, 1), width - 1)) if width > 1 else fixed(0)
    lowest = total([times(over, 4), times(lower(down, 1), 2), untied])
    return total([times(upper, 2), table(lowest, [int(bits >= 3) for bits in grid(lowest).tolist()])])


def half_even(word: Word, shift: int) -> Word:
    """floor(word / 2^shift), less one where the word is a multiple of 2^shift and the result odd."""
    down, rest = floored(word, shift), lower(word, shift)
    untied = rest.unary_bit_op("any") if constant_of(rest) is None else fixed(int(constant_of(rest) != 0))
    base = constant_of(down)
    if base is not None:
        return plus(untied, base - 1) if base % 2 else down
    lowest = lower(down, 1)
    kept = lowest if constant_of(untied) == 1 else fixed(0)
    if constant_of(untied) is None and constant_of(lowest) is None:
        kept = lowest & untied
    elif constant_of(lowest) == 1:
        kept = untied
    return free(total([times(floored(down, 1), 2), kept]))


def grid(word: Word) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Every value that the word's interval and step allow."""
    return np.arange(int(word.low), int(word.high) + 1, max(int(word.step), 1), dtype=np.int64)


def table(word: Word, values: Sequence[int]) -> Word:
    """values[i] where the word is the i-th of its grid."""
    if len(set(values)) == 1:
        return fixed(values[0])
    for value in (min(values), max(values)):
        if abs(value) >> ODD_BITS:
            raise TooWideError(value)
    found = word.lookup(np.array(values, dtype=np.float64)) if word._factor > 0 else _turned(word, values)
    return settled(found, min(values), max(values))


def _turned(word: Word, values: Sequence[int]) -> Word:
    """A table of a word that is held negated."""
    positive = settled((-word), int(-word.high), int(-word.low))
    return positive.lookup(np.array(values[::-1], dtype=np.float64))
