"""Constant matrix-vector products by alkaid's solver of shared additions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.rtl.packs import WIDEST, Term, packed_total
from edgecomp.backends.rtl.words import (
    ODD_BITS,
    SPLIT,
    Word,
    constant_of,
    fixed,
    floored,
    free,
    grid,
    lower,
    plus,
    times,
    total,
)

Matrix = NDArray[np.int64]


@dataclass(slots=True, kw_only=True)
class Products:
    """Solves products; equal problems, such as the places of a convolution, are solved once.

    `packed` takes products of narrow words row by row, as sums of tables.
    """

    depth: int
    packed: bool = False
    solved: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def multiply(self, weight: Matrix, bias: Sequence[int], x: Sequence[Word]) -> list[Word]:
        """weight (O, I) @ x + bias, for words x (I,)."""
        known = [constant_of(word) for word in x]
        offsets = [int(b) + sum(int(w) * k for w, k in zip(row, known, strict=True) if k is not None)
                   for row, b in zip(weight, bias, strict=True)]  # fmt: skip
        places = [i for i, k in enumerate(known) if k is None]
        weight, x = weight[:, places], [x[i] for i in places]
        wired = [side_by_side(row.tolist(), x) for row in weight]
        rows = [row for row, word in enumerate(wired) if word is None]
        sums = iter(self._sums(weight[rows], [offsets[row] for row in rows], x))
        return [next(sums) if word is None else plus(word, offset) for word, offset in zip(wired, offsets, strict=True)]

    def _sums(self, weight: Matrix, offsets: Sequence[int], x: list[Word]) -> list[Word]:
        """weight @ x + offsets where that takes logic."""
        if self.packed and all(int(sum(word.kif)) <= WIDEST for word in x):
            return [packed_row(row.tolist(), offset, x) for row, offset in zip(weight, offsets, strict=True)]
        used = np.flatnonzero(weight.any(axis=0))
        sums = self._split(weight[:, used], [x[i] for i in used]) if len(weight) else []
        return [plus(word, offset) for word, offset in zip(sums, offsets, strict=True)]

    def _split(self, weight: Matrix, x: list[Word]) -> list[Word]:
        """The products; weights that the solver would round are taken in two parts."""
        if int(np.abs(weight).max()).bit_length() <= ODD_BITS:
            return [free(word) for word in self._solve(weight, x)]
        top, bottom = weight >> SPLIT, weight & ((1 << SPLIT) - 1)
        parts = [self.multiply(part, [0] * len(part), x) for part in (top, bottom)]
        return [free(total([times(high, 1 << SPLIT), low])) for high, low in zip(*parts, strict=True)]

    def _solve(self, weight: Matrix, x: list[Word]) -> list[Word]:
        from alkaid.trace import FVArray
        from alkaid.trace.fixed_variable_array import cmvm

        raw = np.empty(len(x), dtype=object)
        raw[:] = x
        matrix = np.ascontiguousarray(weight.T, dtype=np.float32)
        if any(sum(word.kif) == 1 for word in x):
            signs = [_is_sign(word) for word in x]
            raw[:] = [_as_bit(word) if sign else word for word, sign in zip(x, signs, strict=True)]
            matrix *= np.array([[-float(word.step) if sign else 1.0] for word, sign in zip(x, signs, strict=True)],
                               dtype=np.float32)  # fmt: skip
            array = FVArray(raw, {"hard_dc": self.depth}, hwconf=x[0].hwconf)
            return list(np.asarray(cmvm(matrix.astype(np.float64), array, {"hard_dc": self.depth})))
        first, second = self._solution(matrix, x)
        return list(np.asarray(second(first(raw, quantize=False), quantize=False)))

    def _solution(self, matrix: NDArray[np.float32], x: list[Word]) -> Any:
        from alkaid.cmvm import cmvm_solve
        from alkaid.types import QInterval

        intervals = [QInterval(float(w.low), float(w.high), float(w.step)) for w in x]
        latencies = [float(word.latency) for word in x]
        key = (matrix.tobytes(), matrix.shape, tuple(intervals), tuple(latencies))
        if key not in self.solved:
            self.solved[key] = cmvm_solve(matrix, qintervals=intervals, latencies=latencies, hard_dc=self.depth)
        return self.solved[key]


def packed_row(row: Sequence[int], offset: int, x: Sequence[Word]) -> Word:
    """row @ x + offset by tables of as many narrow words as a look-up table takes."""
    terms = [Term(word=word, values=tuple((w * grid(word)).tolist())) for w, word in zip(row, x, strict=True) if w]
    return packed_total(terms, offset)


def side_by_side(row: Sequence[int], x: Sequence[Word]) -> Word | None:
    """row @ x where the products' bits lie apart, so that the sum is wires; None where they do not."""
    taken, found = 0, fixed(0)
    for weight, word in sorted(((w, word) for w, word in zip(row, x, strict=True) if w), key=lambda pair: pair[0]):
        bits = (1 << int(word.high).bit_length()) - int(word.step)  # every bit that the word can have
        if weight < 0 or weight.bit_count() > 1 or word.low < 0 or taken & bits * weight:
            return None
        taken |= bits * weight
        found = total([found, times(word, weight)])
    return found


def _is_sign(word: Word) -> bool:
    """Whether the word is one bit that counts negative, which alkaid's tables of bits do not take."""
    return bool(sum(word.kif) == 1 and word.low < 0)


def _as_bit(word: Word) -> Word:
    """0 or 1 for 0 or -step."""
    return lower(floored(word, int(word.step).bit_length() - 1), 1)
