"""Noisy copies of selection rows: a search learns few rows by heart else, and test rows pay for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]

ROWS = 4000  # a smaller table is joined by copies of itself up to so many rows,
SHARE = 0.3  # in which this share of the codes is one more or one less,
LEAST_BITS = 3  # where inputs have so many bits; fewer stand for categories as often as for measures


def jittered(codes: Codes, y: Codes, bits: int, seed: int) -> tuple[Codes, Codes]:
    """Codes (N, features) of `bits` bits and classes (N,), and behind them as many noisy copies as make ROWS rows."""
    copies = max(0, -(-ROWS // len(y)) - 1) if bits >= LEAST_BITS else 0
    rng = np.random.default_rng(seed)
    moves = rng.integers(0, 2, size=(copies, *codes.shape)) * 2 - 1
    moves *= rng.random(moves.shape) < SHARE
    noisy = np.clip(codes + moves, 0, (1 << bits) - 1).reshape(-1, codes.shape[1])
    return np.concatenate([codes, noisy]), np.tile(y, copies + 1)
