"""Stated comparisons of ArgMax: interpreter, ONNX Runtime, text and gates against the definition written out."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp import interp
from edgecomp.backends.hls import HlsBackend
from edgecomp.backends.printed.forms import Form
from edgecomp.backends.printed.lower import to_circuit
from edgecomp.errors import ModelError
from edgecomp.export import from_onnx, to_onnx
from edgecomp.ir import ArgMax, Input, Ints, Network, Output
from edgecomp.ir.text import dump, parse
from edgecomp.project import load_target
from tests.test_printed_gates import execute

Rows = list[tuple[int, int, int]]


def network_of(classes: int, rows: Rows, lo: int = -40, hi: int = 87) -> Network:
    tree = Ints(np.array(rows, dtype=np.int64).reshape(-1, 3))
    return Network(nodes=(Input(name="x", shape=(classes,), lo=lo, hi=hi), ArgMax(name="a", x="x", tree=tree),
                          Output(name="y", x="a")))  # fmt: skip


def by_hand(x: list[int], rows: Rows) -> int:
    held = {j: (v, j) for j, v in enumerate(x)}
    for a, b, mask in rows:
        left, right = held[a], held.pop(b)
        held[a] = right if (right[0] & mask) > (left[0] & mask) else left
    return next(iter(held.values()))[1]


@st.composite
def trees(draw: st.DrawFn) -> tuple[int, Rows]:
    classes = draw(st.integers(2, 6))
    held, rows = list(range(classes)), []
    while len(held) > 1:
        a, b = draw(st.permutations(held))[:2]
        held.remove(b)
        mask = draw(st.sampled_from([-1, 0, -8, 6, 1 << 6, 1 << 20]) | st.integers(-150, 150))
        rows.append((a, b, mask))
    return classes, rows


@given(trees(), st.integers(0, 1 << 30), st.sampled_from([(-40, 87), (0, 15), (-9, -2)]))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_every_execution_follows_the_stated_comparisons(
    stated: tuple[int, Rows], seed: int, interval: tuple[int, int]
) -> None:
    classes, rows = stated
    network = network_of(classes, rows, *interval)
    assert parse(dump(network)) == network
    x = np.random.default_rng(seed).integers(interval[0], interval[1], size=(64, classes), endpoint=True)
    expected = np.array([[by_hand(row, rows)] for row in x.tolist()])
    assert np.array_equal(interp.outputs(network, {"x": x})["y"], expected)
    model = to_onnx(network)
    assert from_onnx(model) == network
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(["y"], {"x": x})[0], expected)
    assert np.array_equal(execute(to_circuit(network, Form()), {"x": x})["y"], expected)


@pytest.mark.parametrize(
    ("rows", "what"),
    [([(0, 1, -1)], "leave 2 slots"), ([(0, 1, -1), (1, 2, -1)], "not between two slots that are held"),
     ([(0, 0, -1), (1, 2, -1)], "not between two slots"), ([(0, 3, -1), (1, 2, -1)], "not between two slots"),
     ([(0, 1, 1 << 62), (0, 2, -1)], "more than 62 bits")],
)  # fmt: skip
def test_malformed_comparisons_are_refused(rows: Rows, what: str) -> None:
    problems = network_of(3, rows).problems()
    assert len(problems) == 1
    assert what in problems[0].what


def test_comparisons_of_another_shape_are_refused() -> None:
    nodes = (Input(name="x", shape=(2,), lo=0, hi=3), ArgMax(name="a", x="x", tree=Ints([0, 1, -1])),
             Output(name="y", x="a"))  # fmt: skip
    assert "rows of a, b, mask are wanted" in Network(nodes=nodes).problems()[0].what
    with pytest.raises(ModelError, match="integers are wanted"):
        parse(dump(network_of(2, [(0, 1, -1)])).replace("    0 1 -1", "    0 1"))


def test_hls_refuses_approximate_comparisons() -> None:
    backend = HlsBackend()
    problems = backend.check(network_of(2, [(0, 1, -1)]), load_target("fpga"), backend.parse({}))
    assert [p.what for p in problems] == ["approximate comparisons have no HLS kernel"]
