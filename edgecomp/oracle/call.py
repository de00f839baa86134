"""One execution of one operator: the node, the values of its inputs, and the arithmetic to use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecomp.errors import ModelError
from edgecomp.oracle.arithmetic import Arithmetic, Array
from edgecomp.oracle.graph import Node


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """What an operator sees. `inputs` has None for an absent optional input.

    `batch` is (size in the file, size now) while a graph that fixes its batch is executed on more samples at once,
    else None: only a Reshape that spells the batch out needs it.
    """

    node: Node
    inputs: tuple[Array | None, ...]
    arithmetic: Arithmetic
    opset: int
    batch: tuple[int, int] | None = None

    def given(self, place: int) -> Array | None:
        """Input number `place`, or None where the node does not have it."""
        return self.inputs[place] if place < len(self.inputs) else None

    def input(self, place: int) -> Array:
        """Input number `place`; ModelError where the node does not have it."""
        value = self.given(place)
        if value is None:
            raise ModelError(f"input {place} is missing", where=self.node.where)
        return value

    def like(self, tensor: Array, value: float) -> Array:
        """`value` as a number of the same kind as the elements of `tensor`."""
        if is_real(tensor):
            return self.arithmetic.real(np.asarray(value))
        return np.asarray(int(value), dtype=np.int64)

    def axes(self, place: int, attribute: str = "axes") -> tuple[int, ...] | None:
        """A list of integers that older operator versions have as an attribute, newer ones as input `place`."""
        value = self.given(place)
        if value is not None:
            return self.integers(place)
        return self.node.integers(attribute)

    def integers(self, place: int) -> tuple[int, ...]:
        """The integers in input number `place`."""
        value = self.input(place)
        if value.dtype != np.int64:
            raise ModelError(f"input {place} does not hold integers", where=self.node.where)
        return tuple(int(entry) for entry in value.ravel())

    def refuse(self, what: str, hint: str = "") -> ModelError:
        """The error that says why this node cannot be executed."""
        return ModelError(what, where=self.node.where, hint=hint)


def is_real(tensor: Array) -> bool:
    """Whether a value of the executor stands for real numbers (not integers, not truth values)."""
    return tensor.dtype.kind in "fO"
