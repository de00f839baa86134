"""Facts about the integer network itself: its nodes with proven ranges and work, and the confusion matrix."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from edgecomp.ir import Network
from edgecomp.ir.nodes import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Input,
    MaxPool,
    Mul,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Slice,
    Step,
    SumPool,
    TableDense,
    Transpose,
    operands,
)
from edgecomp.ir.ranges import Value
from edgecomp.report.figures import Source
from edgecomp.report.model import Confusion, NetworkNode, measured

MAX_CLASSES = 100  # a matrix of more is no reading matter: 10,000 counts

EACH = {Add: "additions", Mul: "multiplications", Requant: "rescalings", Step: "rescalings", MaxPool: "comparisons",
        SumPool: "additions"}  # fmt: skip


def network_facts(network: Network) -> tuple[NetworkNode, ...]:
    """Every node in order; the network must be sound."""
    values = network.values()
    return tuple(_facts(node, values[node.name]) for node in network.nodes)


def _facts(node: Node, value: Value) -> NetworkNode:
    count, unit = operations(node, value)
    proven = "interval arithmetic over the whole network"
    return NetworkNode(
        name=node.name, kind=type(node).__name__, reads=operands(node), shape="x".join(map(str, value.shape)),
        bits=measured(value.bits, "bits", "the smallest type that holds the interval"),
        least=measured(value.least, "codes", proven), greatest=measured(value.greatest, "codes", proven),
        weights=measured(weights(node), "weights", "entries of the tables, zeros included, biases apart"),
        operations=measured(count, unit, "a sample's, zero weights and padded places included"),
    )  # fmt: skip


def weights(node: Node) -> int:
    """How many weights (entries of a TableDense's tables) a node holds; parameters of rescalings are none."""
    if isinstance(node, Dense | Conv):
        return node.weight.array.size
    return node.tables.array.size if isinstance(node, TableDense) else 0


def operations(node: Node, value: Value) -> tuple[int, str]:
    """What a node does for one sample, and what is counted; moving data and the ends do nothing."""
    match node:
        case Dense():
            return node.weight.array.size, "multiply-accumulates"
        case Conv():
            return node.weight.array.size * math.prod(value.shape[1:]), "multiply-accumulates"
        case TableDense():
            return math.prod(node.tables.shape[:2]), "table look-ups"
        case Add() | Mul() | Requant() | Step():
            return value.size, EACH[type(node)]
        case MaxPool() | SumPool():
            return value.size * (math.prod(node.kernel) - 1), EACH[type(node)]
        case ArgMax():
            return value.greatest, "comparisons"
        case Input() | Output() | Concat() | Slice() | Reshape() | Transpose() | Pad():
            return 0, "operations"
        case _:
            assert_never(node)


def confusion(labels: NDArray[np.int64], decided: NDArray[np.int64], *, stage: str) -> Confusion | None:
    """The matrix of labels (N,) against decided classes (N,); None where there are more than MAX_CLASSES."""
    size = int(max(labels.max(), decided.max())) + 1
    if size > MAX_CLASSES:
        return None
    counts = np.bincount(labels * size + decided, minlength=size * size).reshape(size, size)
    return Confusion(stage=stage, unit="samples", source=Source.MEASURED,
                     method=f"{len(labels)} labelled samples; rows are labels, columns are classes given",
                     counts=tuple(tuple(row) for row in counts.tolist()))  # fmt: skip
