"""What the printed back end refuses: circuits too large to be printed, all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edgecomp.backends.printed.sums import weight
from edgecomp.errors import Problem
from edgecomp.ir import Conv, Dense, Mul, Network, Node, Step, TableDense, Value

MAX_BITS = 1 << 18  # summed in one circuit: some 150,000 full adders, 3,000 cm2 of EGFET
MAX_TABLE_BITS = 12  # of one code that a table or a function of many thresholds reads
MANY = 256  # thresholds


def check(network: Network) -> tuple[Problem, ...]:
    """Everything that is too large for wired-in gates."""
    values = network.values()
    problems = [Problem(what=what, where=node.name, hint=hint) for node in network.nodes
                for what, hint in _faults(node, values)]  # fmt: skip
    total = sum(summed_bits(node, values) for node in network.nodes)
    if total > MAX_BITS:
        what = f"the layers sum {total} bits; wired-in gates for more than {MAX_BITS} are not made"
        problems.append(Problem(what=what, hint="use a smaller network, or fewer or narrower weights"))
    return tuple(problems)


def summed_bits(node: Node, values: Mapping[str, Value]) -> int:
    """How many bits a node's sums take in, over all its outputs."""
    if isinstance(node, Dense | Conv):
        x, places = values[node.x], math.prod(values[node.name].shape[1:])
        found, counts = np.unique(node.weight.array, return_counts=True)
        return places * x.bits * sum(weight(int(w)) * int(n) for w, n in zip(found, counts, strict=True))
    if isinstance(node, Mul):
        return values[node.name].size * values[node.a].bits * values[node.b].bits
    if isinstance(node, TableDense):
        return math.prod(node.tables.shape[:2]) * values[node.name].bits
    return 0


def _faults(node: Node, values: Mapping[str, Value]) -> list[tuple[str, str]]:
    if isinstance(node, TableDense) and values[node.x].bits > MAX_TABLE_BITS:
        return [(f"its tables read codes of {values[node.x].bits} bits; {MAX_TABLE_BITS} is the most", "quantise them")]
    if isinstance(node, Step) and node.thresholds.shape[1] > MANY and values[node.x].bits > MAX_TABLE_BITS:
        reason = (f"a function with {node.thresholds.shape[1]} thresholds on {values[node.x].bits} bits; "
                  f"{MANY} thresholds or {MAX_TABLE_BITS} bits are the most")  # fmt: skip
        return [(reason, "quantise its output to fewer bits")]
    return []
