"""Sums of functions of narrow words: as many words as a look-up table has inputs are one table of their joint sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.rtl.words import Word, constant_of, fixed, floored, grid, lower, plus, table, times, total

Codes = NDArray[np.int64]
INPUTS = 6  # of a look-up table; parts of four take such a table in four of theirs and three multiplexers
WIDEST = INPUTS // 2  # a wider word finds no room beside another of its kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """`values` of a word's grid, in order."""

    word: Word
    values: tuple[int, ...]

    @property
    def bits(self) -> int:
        return int(sum(self.word.kif))

    @property
    def fixed(self) -> bool:
        return self.reach == 0 or constant_of(self.word) is not None

    @property
    def reach(self) -> int:
        return max(self.values) - min(self.values)


def packed_total(terms: Sequence[Term], constant: int = 0) -> Word:
    """The sum of the terms and a constant, which the tables take in: no table but the first has a least value but 0."""
    packs = packed([term for term in terms if not term.fixed])
    rest = constant + sum(term.values[0] for term in terms if term.fixed)
    tables = [joint(pack) for pack in packs]
    rest += sum(int(values.min()) for _, values in tables[1:])
    if not tables:
        return fixed(rest)
    words = [tabled(address, values - values.min()) for address, values in tables[1:]]
    first, values = tables[0]
    return total(counted([tabled(first, values + rest), *words]))


def counted(words: Sequence[Word]) -> list[Word]:
    """Words of the same sum: single bits are added up by tables, six to three; two that are left stay as they are."""
    bits = [word for word in words if constant_of(word) is None and int(sum(word.kif)) == 1]
    wide = [word for word in words if not any(word is one for one in bits)]
    packs = packed([Term(word=word, values=tuple(grid(word).tolist())) for word in bits])
    sums = [[tabled(*joint(pack))] if len(pack) > 2 else [term.word for term in pack] for pack in packs]
    return [*wide, *(word for part in sums for word in part)]


def packed(terms: Sequence[Term]) -> list[list[Term]]:
    """Terms that share a table, those of like reach together: first fit, the furthest reach first."""
    packs: list[list[Term]] = []
    for term in sorted(terms, key=lambda one: -one.reach):
        room = (pack for pack in packs if sum(one.bits for one in pack) + term.bits <= INPUTS)
        found = next(room, None)
        if found is None:
            packs.append([term])
        else:
            found.append(term)
    return packs


def joint(pack: Sequence[Term]) -> tuple[Word, Codes]:
    """A word that holds every word of the pack, and the sum of their terms on its grid."""
    if len(pack) == 1:
        return pack[0].word, np.array(pack[0].values, dtype=np.int64)
    fields, place = [], 0
    for term in pack:
        fields.append(times(field_of(term.word), 1 << place))
        place += term.bits
    address = total(fields)
    codes, place = grid(address), 0
    values = np.zeros(len(codes), dtype=np.int64)
    for term in pack:
        values += np.array(term.values)[places(term.word, codes >> place)]
        place += term.bits
    return address, values


def field_of(word: Word) -> Word:
    """The bits of a word's numbers above its step: wires."""
    step = int(word.step).bit_length() - 1
    return lower(floored(word, step), int(sum(word.kif)))


def places(word: Word, fields: Codes) -> Codes:
    """Which of its grid's numbers a word's bits stand for; the nearest where they stand for none."""
    signed, bits, step = bool(word.kif[0]), int(sum(word.kif)), int(word.step)
    numbers = fields & ((1 << bits) - 1)
    numbers = np.where(numbers >> (bits - 1) != 0, numbers - (1 << bits), numbers) if signed else numbers
    found: Codes = np.clip(numbers - int(word.low) // step, 0, (int(word.high) - int(word.low)) // step)
    return found


def tabled(word: Word, values: Codes) -> Word:
    """values by the word's grid: arithmetic where the table is a straight line."""
    slopes = set(np.diff(values).tolist())
    gap = int(word.step)
    if len(slopes) == 1 and next(iter(slopes)) % gap == 0:
        slope = next(iter(slopes)) // gap
        return plus(times(word, slope), int(values[0]) - slope * int(word.low))
    return table(word, values.tolist())
