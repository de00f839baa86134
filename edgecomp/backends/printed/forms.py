"""The forms that one network's circuit can take; every form computes the same, the smallest after mapping is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Decision(Enum):
    """How the greatest logit is found: a tree of comparisons, or the signs of all differences of two logits."""

    TREE = "tree"
    DIFFERENCES = "differences"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """`centred`: what most logits have in common is taken off all of them before they are compared."""

    decision: Decision = Decision.TREE
    centred: bool = True
