"""What the report says of the network itself: nodes, proven ranges, work, and the confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest

from edgecomp.ir import Network
from edgecomp.ir.nodes import (
    Add,
    ArgMax,
    Conv,
    Dense,
    Input,
    Ints,
    MaxPool,
    Mul,
    Output,
    Requant,
    Reshape,
    SumPool,
    TableDense,
)
from edgecomp.report.facts import MAX_CLASSES, confusion, network_facts

ONE, ZERO = Ints([1]), Ints([0])


def every_count() -> Network:
    pads = ((1, 1), (1, 1))
    return Network(
        nodes=(
            Input(name="x", shape=(1, 4, 4), lo=0, hi=3),
            Conv(name="conv", x="x", weight=Ints(np.full((2, 1, 3, 3), -1)), bias=ZERO, stride=(1, 1), pads=pads,
                 dilation=(1, 1)),
            MaxPool(name="most", x="conv", kernel=(2, 2), stride=(2, 2), pads=((0, 0), (0, 0)), dilation=(1, 1)),
            SumPool(name="sum", x="conv", kernel=(2, 2), stride=(2, 2), pads=((0, 0), (0, 0))),
            Mul(name="product", a="most", b="sum"),
            Add(name="joined", a="product", b="most", p=ONE, q=ONE),
            Requant(name="cut", x="joined", multiplier=ONE, addend=ZERO, shift=0, lo=ZERO, hi=Ints([1])),
            Reshape(name="flat", x="cut", shape=(8,)),
            TableDense(name="table", x="flat", tables=Ints(np.arange(48).reshape(3, 8, 2)), lo=ZERO),
            Dense(name="fc", x="table", weight=Ints(np.ones((5, 3))  .astype(int)), bias=ZERO),
            ArgMax(name="class", x="fc"),
            Output(name="y", x="class"),
        )
    )  # fmt: skip


def test_each_kind_of_node_counts_its_own_work() -> None:
    found = {n.name: n for n in network_facts(every_count())}
    work = {name: (n.operations.value, n.operations.unit) for name, n in found.items()}
    assert work == {
        "x": (0, "operations"), "conv": (18 * 16, "multiply-accumulates"), "most": (8 * 3, "comparisons"),
        "sum": (8 * 3, "additions"), "product": (8, "multiplications"), "joined": (8, "additions"),
        "cut": (8, "rescalings"), "flat": (0, "operations"), "table": (24, "table look-ups"),
        "fc": (15, "multiply-accumulates"), "class": (4, "comparisons"), "y": (0, "operations"),
    }  # fmt: skip
    assert {name: n.weights.value for name, n in found.items() if n.weights.value} == {
        "conv": 18,
        "table": 48,
        "fc": 15,
    }
    conv = found["conv"]
    assert (conv.kind, conv.reads, conv.shape) == ("Conv", ("x",), "2x4x4")
    assert (conv.least.value, conv.greatest.value, conv.bits.value) == (-27, 0, 6)
    assert found["joined"].reads == ("product", "most")


def test_the_confusion_matrix_has_labels_in_rows() -> None:
    found = confusion(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 0]), stage="integer")
    assert found is not None
    assert found.counts == ((1, 1, 0), (0, 1, 0), (2, 0, 0))


@pytest.mark.parametrize(("last", "there"), [(MAX_CLASSES - 1, True), (MAX_CLASSES, False)])
def test_more_classes_than_anybody_reads_give_no_matrix(last: int, there: bool) -> None:
    assert (confusion(np.array([0, last]), np.array([0, 0]), stage="integer") is not None) == there
