"""The exact forms that one network can take in logic; all give the same integers, at different cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One choice for the whole circuit.

    `depth` bounds the adder depth of a matrix product: the least possible plus so many levels, or -1 for no bound.
    Functions of one code of at most `table_bits` bits are tables; wider ones are arithmetic or comparators.
    `saturate` clips to a power of two by its upper bits instead of by comparisons. `clamp` limits an operand to where
    the rescaled code still moves before it is multiplied. `ternary` joins two additions into one of three operands.
    `packed` looks up sums of products of several narrow words in one table.
    """

    depth: int = 0
    table_bits: int = 6
    saturate: bool = True
    clamp: bool = False
    ternary: bool = True
    packed: bool = False

    def __str__(self) -> str:
        bound = "free" if self.depth < 0 else f"least+{self.depth}"
        words = [f"adder depth {bound}", f"tables to {self.table_bits} bits"]
        words += [name for name in ("saturate", "clamp", "ternary", "packed") if getattr(self, name)]
        return ", ".join(words)
