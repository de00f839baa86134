"""Operations on binary numbers that are not sums: comparisons, choices, clipping, thresholds, maxima."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.backends.printed.gates import FALSE, TRUE, Gates
from edgecomp.backends.printed.sums import Word
from edgecomp.ir.ranges import bits_of


def fixed(value: int) -> Word:
    """A constant."""
    width = bits_of(value, value)
    return Word(bits=tuple(value >> k & 1 for k in range(width)), signed=value < 0, lo=value, hi=value)


def extended(word: Word, width: int) -> tuple[int, ...]:
    """The word's bits in two's complement of `width` bits."""
    fill = word.bits[-1] if word.signed else FALSE
    return (*word.bits, *[fill] * (width - len(word.bits)))[:width]


def less(gates: Gates, a: Word, b: Word) -> int:
    """Whether a < b: a borrow chain from the lowest bit up, the sign bit turned."""
    if a.hi < b.lo or a.lo >= b.hi:
        return int(a.hi < b.lo)
    signed = a.signed or b.signed
    width = bits_of(min(a.lo, b.lo), max(a.hi, b.hi))
    left, right = extended(a, width), extended(b, width)
    borrow = FALSE
    for place, (p, q) in enumerate(zip(left, right, strict=True)):
        if signed and place == width - 1:
            p, q = q, p
        borrow = _borrow(gates, p, q, borrow)
    return borrow


def _borrow(gates: Gates, p: int, q: int, borrow: int) -> int:
    """The borrow out of p - q - borrow; cheap where one is constant."""
    if q in (FALSE, TRUE):
        return gates.either(p ^ 1, borrow) if q == TRUE else gates.both(p ^ 1, borrow)
    if p in (FALSE, TRUE):
        return gates.both(q, borrow) if p == TRUE else gates.either(q, borrow)
    return gates.majority(p ^ 1, q, borrow)


def at_least(gates: Gates, word: Word, threshold: int) -> int:
    """Whether the word is threshold or more."""
    if threshold <= word.lo:
        return TRUE
    if threshold > word.hi:
        return FALSE
    return less(gates, word, fixed(threshold)) ^ 1


def choose(gates: Gates, select: int, a: Word, b: Word) -> Word:
    """a where select is false, b where it is true."""
    if select in (FALSE, TRUE):
        return b if select == TRUE else a
    lo, hi = min(a.lo, b.lo), max(a.hi, b.hi)
    width = bits_of(lo, hi)
    pairs = zip(extended(a, width), extended(b, width), strict=True)
    return Word(bits=tuple(gates.choose(select, p, q) for p, q in pairs), signed=lo < 0, lo=lo, hi=hi)


def clip(gates: Gates, word: Word, lo: int, hi: int) -> Word:
    """min(max(word, lo), hi)."""
    if hi <= word.lo or lo >= word.hi:
        return fixed(min(max(word.lo, lo), hi))
    least, most = max(lo, word.lo), min(hi, word.hi)
    width = bits_of(least, most)
    below = at_least(gates, word, least) ^ 1
    above = at_least(gates, word, most + 1)
    bits = []
    for place, lit in enumerate(extended(word, width)):
        lit = gates.choose(above, lit, most >> place & 1)
        bits.append(gates.choose(below, lit, least >> place & 1))
    return Word(bits=tuple(bits), signed=least < 0, lo=least, hi=most)


def shifted(word: Word, shift: int) -> Word:
    """floor(word / 2^shift): wires."""
    lo, hi = word.lo >> shift, word.hi >> shift
    bits = extended(word, max(len(word.bits), shift + 1))[shift:]
    return Word(bits=bits[: bits_of(lo, hi)], signed=lo < 0, lo=lo, hi=hi)


def half_even(gates: Gates, word: Word, shift: int) -> Word:
    """As `shifted`, less one where the word is a multiple of 2^shift and the result odd: its lowest bit is cleared."""
    odd = shifted(word, shift)
    rest = FALSE
    for lit in extended(word, max(len(word.bits), shift))[:shift]:
        rest = gates.either(rest, lit)
    lo, hi = (q - (end == q << shift and q & 1) for end, q in ((word.lo, odd.lo), (word.hi, odd.hi)))
    bits = (gates.both(odd.bits[0], rest), *odd.bits[1:])
    grown = Word(bits=bits, signed=odd.signed, lo=odd.lo, hi=odd.hi)
    return Word(bits=extended(grown, bits_of(lo, hi)), signed=lo < 0, lo=lo, hi=hi)


def step(gates: Gates, word: Word, thresholds: Sequence[int], values: Sequence[int]) -> Word:
    """values[number of thresholds <= word]: each bit is the runs of segments in which it is set."""
    segments = _segments(word, thresholds, values)
    reached = [value for _, value in segments]
    lo, hi = min(reached), max(reached)
    passed = [at_least(gates, word, start) for start, _ in segments] + [FALSE]
    bits = []
    for place in range(bits_of(lo, hi)):
        out, start = FALSE, None
        for number, value in enumerate([*reached, 0]):
            inside = number < len(reached) and bool(value >> place & 1)
            if inside and start is None:
                start = number
            elif not inside and start is not None:
                out = gates.either(out, gates.both(passed[start], passed[number] ^ 1))
                start = None
        bits.append(out)
    return Word(bits=tuple(bits), signed=lo < 0, lo=lo, hi=hi)


def _segments(word: Word, thresholds: Sequence[int], values: Sequence[int]) -> list[tuple[int, int]]:
    """(least word, value) of each segment that can be reached, neighbours of one value joined."""
    starts = [word.lo, *thresholds]
    ends = [*thresholds, word.hi + 1]
    found: list[tuple[int, int]] = []
    for start, end, value in zip(starts, ends, values, strict=True):
        start, end = max(start, word.lo), min(end, word.hi + 1)
        if start < end and not (found and found[-1][1] == value):
            found.append((start, value))
    return found


def greatest(gates: Gates, words: Sequence[Word]) -> Word:
    """The greatest of several."""
    while len(words) > 1:
        pairs = [words[i : i + 2] for i in range(0, len(words), 2)]
        words = [choose(gates, less(gates, *p), *p) if len(p) == 2 else p[0] for p in pairs]
    return words[0]


def winner(gates: Gates, words: Sequence[Word]) -> Word:
    """The index of the greatest word, the lowest among equals: a tree of comparisons."""
    rounds = [(word, fixed(number)) for number, word in enumerate(words)]
    while len(rounds) > 1:
        last = len(rounds) <= 2
        paired = []
        for i in range(0, len(rounds) - 1, 2):
            (a, index), (b, other) = rounds[i], rounds[i + 1]
            later = less(gates, a, b)
            paired.append((a if last else choose(gates, later, a, b), choose(gates, later, index, other)))
        rounds = paired + ([rounds[-1]] if len(rounds) % 2 else [])
    return rounds[0][1]


def lookup(gates: Gates, word: Word, values: Sequence[int]) -> Word:
    """values[word - word.lo] by multiplexers over the word's bits; impossible patterns repeat the nearest."""
    last = len(values) - 1
    patterns = [min(max(_read(word, pattern) - word.lo, 0), last) for pattern in range(1 << len(word.bits))]
    table = tuple(values[place] for place in patterns)
    lo, hi = min(values), max(values)
    bits = [_tree(gates, word.bits, tuple(value >> k & 1 for value in table)) for k in range(bits_of(lo, hi))]
    return Word(bits=tuple(bits), signed=lo < 0, lo=lo, hi=hi)


def _read(word: Word, pattern: int) -> int:
    """The number that a pattern of the word's wires stands for."""
    top = 1 << len(word.bits)
    return pattern - top if word.signed and 2 * pattern >= top else pattern


def _tree(gates: Gates, bits: Sequence[int], table: tuple[int, ...]) -> int:
    if len(set(table)) == 1:
        return table[0]
    half = len(table) // 2
    low, high = (_tree(gates, bits[:-1], part) for part in (table[:half], table[half:]))
    return gates.choose(bits[-1], low, high)
