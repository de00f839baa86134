"""Seeded random choices with readable names, and the list of feature tags they leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Floats = npt.NDArray[np.float32]


class Draw:
    """Random choices from one numpy Generator; features chosen on the way are collected as tags."""

    def __init__(self, *key: int) -> None:
        self.rng = np.random.default_rng(key)
        self.tags: set[str] = set()
        self.refusable = False

    def tag(self, *names: str) -> None:
        self.tags.update(names)

    def may_be_refused(self, name: str) -> None:
        """Tag a feature that the design allows a compiler to refuse."""
        self.tags.add(name)
        self.refusable = True

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def weighted(self, options: Mapping[T, float]) -> T:
        weights = np.array(list(options.values()), dtype=np.float64)
        return list(options)[int(self.rng.choice(len(weights), p=weights / weights.sum()))]

    def whole(self, low: int, high: int) -> int:
        """An integer in [low, high], both included."""
        return int(self.rng.integers(low, high + 1))

    def real(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def normal(self, shape: Sequence[int], scale: float = 1.0) -> Floats:
        return np.asarray(self.rng.normal(0.0, scale, tuple(shape)), dtype=np.float32)

    def spread(self, count: int, octaves: float = 1.0) -> Floats:
        """Positive factors, log-uniform over +- `octaves` powers of two: variety between channels."""
        return np.asarray(2.0 ** self.rng.uniform(-octaves, octaves, count), dtype=np.float32)

    def act_bits(self) -> int:
        return self.weighted({2: 1, 3: 2, 4: 4, 5: 2, 6: 3, 7: 1, 8: 5, 10: 0.6, 12: 0.5, 16: 0.3})

    def weight_bits(self) -> int:
        return self.weighted({2: 2, 3: 2, 4: 4, 5: 1, 6: 2, 7: 0.5, 8: 4, 10: 0.1})
