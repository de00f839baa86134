"""Weights of 1, 2 or 4 bits, several in a byte, where the flash that this saves is more than the code that it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.mcu.ctypes import stored

Rows = NDArray[np.int64]

BYTE = 8
# Bytes of code beside an unpacked loop's. Measured with gcc 12 and avr-gcc 5.4 at -Os on a Cortex-M0, a Cortex-M4, an
# RV32IMC and an ATmega328P: a loop that fetches a byte when its codes are used up takes 4 to 28 more (32 with 1 bit), a
# loop over pairs of 4 bits 10 to 50.
LOOP_CODE, PAIR_CODE = 32, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Rows of weights least + step * code, codes of `bits`, the first in a byte's lowest bits; each row starts a byte.

    `table` (rows, bytes a row); the codes that fill up a row's last byte are 0 and not to be read. `saved` is the flash
    that the table takes less than one of whole bytes.
    """

    bits: int
    least: int
    step: int
    table: Rows
    saved: int

    @property
    def each(self) -> int:
        """Codes in a byte."""
        return BYTE // self.bits

    def decoded(self, code: str) -> str:
        """The C expression of a weight, from that of its code."""
        scaled = code if self.step == 1 else f"{code} * {self.step}"
        return scaled if not self.least else f"({scaled} {'-' if self.least < 0 else '+'} {abs(self.least)})"


def packed(rows: Rows, code: int) -> Packed | None:
    """The weights (rows, columns) in the fewest bits that hold them; None where that saves no more than `code` bytes.

    Weights on a grid are numbered along it, so that -1 and +1 take one bit.
    """
    least, most = int(rows.min()), int(rows.max())
    step = int(np.gcd.reduce((rows - least).reshape(-1))) or 1
    bits = next((bits for bits in (1, 2, 4) if (most - least) // step < 1 << bits), None)
    if bits is None or max(abs(most), abs(least), most - least) >= 1 << 15:
        return None
    each = BYTE // bits
    codes = (rows - least) // step
    codes = np.pad(codes, [(0, 0), (0, -codes.shape[1] % each)]).reshape(len(rows), -1, each)
    table = (codes << (bits * np.arange(each))).sum(axis=2)
    saved = rows.size * int(stored(least, most).strip("uint_")) // BYTE - table.size
    return Packed(bits=bits, least=least, step=step, table=table, saved=saved) if saved > code else None
