"""Functions of one number in logic: rescaling, thresholds, tables; and the choice of the greatest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.words import (
    Word,
    at_least,
    by_bit,
    by_sign,
    clipped,
    constant_of,
    fixed,
    floored,
    grid,
    half_even,
    lower,
    minus,
    negative,
    plus,
    saturable,
    saturated,
    settled,
    table,
    times,
    total,
)
from edgecomp.ir import Ints, Requant, Rounding

Codes = NDArray[np.int64]
COMPARATORS = 6  # up to so many segments, each threshold has a comparator of its own


def entry(vector: Ints, channel: int) -> int:
    """A parameter's entry for a channel."""
    return int(vector.array[channel if len(vector.array) > 1 else 0])


def is_small(word: Word, form: Form) -> bool:
    return int(sum(word.kif)) <= form.table_bits


def one_channel(node: Requant, channel: int, x: Codes) -> Codes:
    """The node on plain integers x of one channel, by the interpreter."""
    own = Requant(name=node.name, x=node.x, shift=node.shift, rounding=node.rounding,
                  multiplier=Ints([entry(node.multiplier, channel)]), addend=Ints([entry(node.addend, channel)]),
                  lo=Ints([entry(node.lo, channel)]), hi=Ints([entry(node.hi, channel)]))  # fmt: skip
    return np.asarray(interp.requant(own, x.reshape(1, -1))[0], dtype=np.int64)


def requant(node: Requant, channel: int, word: Word, form: Form) -> Word:
    """One element of a Requant."""
    only = constant_of(word)
    if only is not None or is_small(word, form):
        return table(word, one_channel(node, channel, grid(word)).tolist())
    if form.clamp:
        word = clamped(node, channel, word)
    even = node.rounding is Rounding.HALF_EVEN
    lo, hi = entry(node.lo, channel), entry(node.hi, channel)
    product, addend = times(word, entry(node.multiplier, channel)), entry(node.addend, channel)
    base = lo if form.saturate and (hi - lo + 1).bit_count() == 1 and not (even and lo % 2) else 0
    scaled = plus(product, addend - (base << node.shift))
    if form.saturate and saturable(floored(scaled, node.shift), lo - base, hi - base):
        return plus(saturated(scaled, node.shift, hi - base, even=even), base)
    rounded = half_even(scaled, node.shift) if even else floored(scaled, node.shift)
    return plus(clipped(rounded, lo - base, hi - base), base)


def clamped(node: Requant, channel: int, word: Word) -> Word:
    """The word limited to where its code still moves, where that saves bits of a real product."""
    if abs(entry(node.multiplier, channel)).bit_count() < 2:
        return word
    lo, hi = int(word.low), int(word.high)
    ends = one_channel(node, channel, np.array([lo, hi]))
    first = _last(node, channel, lo, hi, int(ends[0]))
    last = -_last(node, channel, -hi, -lo, int(ends[1]), sign=-1)
    if first >= last or (last - first).bit_length() >= (hi - lo).bit_length():
        return word
    return clipped(word, first, last)


def _last(node: Requant, channel: int, lo: int, hi: int, code: int, sign: int = 1) -> int:
    """The last x of lo..hi whose code is still `code`, the map being monotone; `sign` turns the axis."""
    while lo < hi:
        middle = -(-(lo + hi) // 2)
        if int(one_channel(node, channel, np.array([sign * middle]))[0]) == code:
            lo = middle
        else:
            hi = middle - 1
    return lo


def step(thresholds: Sequence[int], values: Sequence[int], word: Word, form: Form) -> Word:
    """values[number of thresholds <= word]."""
    reach = grid(word) if constant_of(word) is not None or is_small(word, form) else None
    if reach is not None:
        places = np.searchsorted(np.array(thresholds), reach, side="right")
        return table(word, np.array(values)[places].tolist())
    segments = reached(thresholds, values, word)
    outcomes = [value for _, value in segments]
    if len(segments) <= COMPARATORS:
        jumps = [times(at_least(word, start), value - before)
                 for (start, value), before in zip(segments[1:], outcomes, strict=False)]  # fmt: skip
        return settled(plus(total(jumps), outcomes[0]), min(outcomes), max(outcomes))
    return searched(segments, word)


def reached(thresholds: Sequence[int], values: Sequence[int], word: Word) -> list[tuple[int, int]]:
    """(least word, value) of each segment that can be reached, neighbours of one value joined."""
    starts, ends = [int(word.low), *thresholds], [*thresholds, int(word.high) + 1]
    found: list[tuple[int, int]] = []
    for start, end, value in zip(starts, ends, values, strict=True):
        start, end = max(start, int(word.low)), min(end, int(word.high) + 1)
        if start < end and not (found and found[-1][1] == value):
            found.append((start, value))
    return found


def searched(segments: Sequence[tuple[int, int]], word: Word) -> Word:
    """The segment's number bit by bit from the top, each by one comparison with a threshold that the bits above pick;
    then a table of the values."""
    levels = (len(segments) - 1).bit_length()
    beyond = int(word.high) + 1
    starts = [start for start, _ in segments] + [beyond] * ((1 << levels) - len(segments))
    number = fixed(0)
    for level in range(levels):
        width = 1 << (levels - level)
        middles = starts[width // 2 :: width]
        pick = fixed(middles[0]) if level == 0 else table(number, [middles[i] for i in grid(number)])
        bit = plus(times(negative(minus(word, pick)), -1), 1)
        number = settled(total([times(number, 2), bit]), 0, min((1 << (level + 1)), -(-len(starts) * 2 // width)) - 1)
    last = len(segments) - 1
    return table(number, [segments[min(int(i), last)][1] for i in grid(number)])


def winner(words: Sequence[Word]) -> Word:
    """The index of the greatest, the lowest among equals: a tree of comparisons."""
    rounds = [(word, fixed(index)) for index, word in enumerate(words)]
    while len(rounds) > 1:
        paired = []
        for (a, first), (b, second) in zip(rounds[::2], rounds[1::2], strict=False):
            later = negative(minus(a, b))
            most = settled(by_bit(later, b, a), int(max(a.low, b.low)), int(max(a.high, b.high)))
            paired.append((most, by_bit(later, second, first)))
        rounds = paired + ([rounds[-1]] if len(rounds) % 2 else [])
    return rounds[0][1]


def decided(words: Sequence[Word], tree: Sequence[Sequence[int]]) -> Word:
    """The index that stated comparisons (a, b, mask) leave; see `ArgMax.tree`."""
    slots = {index: (word, fixed(index)) for index, word in enumerate(words)}
    for a, b, mask in tree:
        (left, first), (right, second) = slots[a], slots.pop(b)
        difference = minus(masked(left, mask), masked(right, mask))
        slots[a] = (by_sign(difference, right, left), by_sign(difference, second, first))
    return slots[tree[-1][0]][1]


def masked(word: Word, mask: int) -> Word:
    """The word's bits that the mask picks, as a sum of its runs of bits."""
    only = constant_of(word)
    if only is not None:
        return fixed(only & mask)
    width = max(int(sum(word.kif)), 1)
    parts, place = [], 0
    while place < width:
        if mask >> place & 1:
            run = place
            while run < width and mask >> run & 1:
                run += 1
            piece = floored(word, place)
            parts.append(times(piece if run == width and mask < 0 else lower(piece, run - place), 1 << place))
            place = run
        place += 1
    if mask >= 0 and word.low < 0 and mask >> width:
        parts.append(by_sign(word, fixed(mask >> width << width), fixed(0)))
    return total(parts) if parts else fixed(0)
