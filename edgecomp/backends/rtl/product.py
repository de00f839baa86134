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
        if self.packed and all(int(sum(word.kif)) <= WIDEST for word in x):
            return [packed_row(row.tolist(), b, x) for row, b in zip(weight, bias, strict=True)]
        known = [constant_of(word) for word in x]
        offsets = [int(b) + sum(int(w) * k for w, k in zip(row, known, strict=True) if k is not None)
                   for row, b in zip(weight, bias, strict=True)]  # fmt: skip
        open_places = [i for i, k in enumerate(known) if k is None and weight[:, i].any()]
        if not open_places:
            return [fixed(offset) for offset in offsets]
        rows = np.flatnonzero(weight[:, open_places].any(axis=1))
        sums = self._split(weight[np.ix_(rows, np.array(open_places))], [x[i] for i in open_places])
        found = [fixed(0) for _ in offsets]
        for row, word in zip(rows, sums, strict=True):
            found[row] = word
        return [plus(word, offset) for word, offset in zip(found, offsets, strict=True)]

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


def packed_row(row: Sequence[int], bias: int, x: Sequence[Word]) -> Word:
    """row @ x + bias by tables of as many narrow words as a look-up table takes."""
    terms = [Term(word=word, values=tuple((w * grid(word)).tolist())) for w, word in zip(row, x, strict=True) if w]
    return packed_total(terms, bias)


def _is_sign(word: Word) -> bool:
    """Whether the word is one bit that counts negative, which alkaid's tables of bits do not take."""
    return bool(sum(word.kif) == 1 and word.low < 0)


def _as_bit(word: Word) -> Word:
    """0 or 1 for 0 or -step."""
    return lower(floored(word, int(word.step).bit_length() - 1), 1)
