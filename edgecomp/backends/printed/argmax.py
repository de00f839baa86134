"""The class from logits that are still sums: by a tree of comparisons or by the signs of differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgecomp.backends.printed.forms import Decision, Form
from edgecomp.backends.printed.gates import FALSE, TRUE, Gates
from edgecomp.backends.printed.sums import Sum, Word, combine, to_word, weight
from edgecomp.backends.printed.words import at_least, choose, extended, fixed, less, winner
from edgecomp.ir.ranges import bits_of


def classify(gates: Gates, logits: Sequence[Sum], form: Form) -> Word:
    """The index of the greatest logit, the lowest among equals."""
    if form.decision is Decision.DIFFERENCES or len(logits) == 2:
        return _by_differences(gates, logits)
    return winner(gates, [to_word(gates, logit) for logit in (centre(logits) if form.centred else logits)])


def decide(gates: Gates, logits: Sequence[Word], tree: Sequence[Sequence[int]]) -> Word:
    """The index that stated comparisons (a, b, mask) leave; see `ArgMax.tree`."""
    slots = {j: (logit, fixed(j)) for j, logit in enumerate(logits)}
    for number, (a, b, mask) in enumerate(tree, 1):
        (left, index), (right, other) = slots[a], slots.pop(b)
        later = less(gates, *_masked(left, right, mask))
        kept = left if number == len(tree) else choose(gates, later, left, right)
        slots[a] = (kept, choose(gates, later, index, other))
    return slots[tree[-1][0]][1]


def _masked(a: Word, b: Word, mask: int) -> tuple[Word, Word]:
    """The wires of both words that the mask picks; every place from the sign bit's up is the sign."""
    width = bits_of(min(a.lo, b.lo, -1), max(a.hi, b.hi))
    places = [k for k in range(width - 1) if mask >> k & 1] + [width - 1] * bool(mask >> (width - 1))
    signed = mask < 0
    found = []
    for word in (a, b):
        wires = extended(word, width)
        bits = tuple(wires[k] for k in places) or (FALSE,)
        half = 1 << (len(bits) - 1)
        found.append(Word(bits=bits, signed=signed, lo=-half if signed else 0, hi=half - 1 if signed else 2 * half - 1))
    return found[0], found[1]


def centre(logits: Sequence[Sum]) -> list[Sum]:
    """The logits less a sum common to all, chosen bit by bit so that the fewest signed digits are left.

    The order of the logits stays as it is. Logits whose interval would grow much for few digits are not spared that:
    widths follow from the intervals.
    """
    rows = [dict(logit.terms) for logit in logits]
    common: dict[int, int] = {}
    for node in sorted({node for row in rows for node in row}):
        column = Counter(row.get(node, 0) for row in rows)
        candidates = sorted({0, *column}, key=lambda c: (abs(c), c))
        common[node] = min(candidates, key=lambda c: sum(n * weight(v - c) for v, n in column.items()))
    left = []
    for logit in logits:
        row = dict(logit.terms)
        terms = ((n, row.get(n, 0) - common.get(n, 0)) for n in sorted(row.keys() | common.keys()))
        kept = tuple((n, c) for n, c in terms if c)
        left.append(_bounded(logit.const, kept))
    return left


def _bounded(const: int, terms: tuple[tuple[int, int], ...]) -> Sum:
    """A sum with the interval of its bits taken as independent."""
    lo = const + sum(min(c, 0) for _, c in terms)
    return Sum(const=const, terms=terms, lo=lo, hi=const + sum(max(c, 0) for _, c in terms))


def _by_differences(gates: Gates, logits: Sequence[Sum]) -> Word:
    """Class j wins where it exceeds every earlier logit and no later one exceeds it."""
    count = len(logits)
    exceeds: dict[tuple[int, int], int] = {}  # (i, j), i < j: logit j exceeds logit i
    for j in range(count):
        for i in range(j):
            difference = to_word(gates, combine([(1, logits[i]), (-1, logits[j])]))
            exceeds[i, j] = at_least(gates, difference, 0) ^ 1
    wins = []
    for j in range(count):
        win = TRUE
        for i in range(j):
            win = gates.both(win, exceeds[i, j])
        for k in range(j + 1, count):
            win = gates.both(win, exceeds[j, k] ^ 1)
        wins.append(win)
    bits = []
    for place in range(bits_of(0, count - 1)):
        out = 0
        for j in range(count):
            if j >> place & 1:
                out = gates.either(out, wins[j])
        bits.append(out)
    return Word(bits=tuple(bits), signed=False, lo=0, hi=count - 1)
