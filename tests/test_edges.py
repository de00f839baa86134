"""Kolmogorov-Arnold edges: the ONNX patterns that become TableDense, what they agree with, and near misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecomp import interp
from edgecomp.check import against_source
from edgecomp.contract import real_output
from edgecomp.errors import EdgecompError, InexpressibleError, ModelError
from edgecomp.frontend import read
from edgecomp.ir import Step, TableDense

INPUTS, OUTPUTS, COUNT = 5, 3, 8
Weights = dict[str, NDArray[Any]]
RNG = np.random.default_rng(0)
COMMON: Weights = {
    "half": np.array(0.5, np.float32), "zero": np.array(0, np.float32), "three": np.array(3, np.float32),
    "four": np.array(4, np.float32), "one": np.array(1, np.float32), "grid": np.arange(COUNT, dtype=np.float32),
    "w": RNG.integers(-7, 8, (INPUTS * COUNT, OUTPUTS)).astype(np.float32),
}  # fmt: skip
CODES = ("Quant", "x half zero three", "q", {"signed": 0})
HATS = (("Unsqueeze", "q two", "u"), ("Div", "u half", "d"), ("Sub", "d grid", "s"), ("Abs", "s", "a"),
        ("Sub", "one a", "m"), ("Relu", "m", "h"))  # fmt: skip
Row = tuple[str, str, str] | tuple[str, str, str, Mapping[str, Any]]


def graph(rows: Sequence[Row], more: Weights | None = None, *, inputs: int = INPUTS) -> onnx.ModelProto:
    """Rows (operator, operands, result, attributes) from x (batch, inputs) to y."""
    nodes = []
    for row in rows:
        options: Mapping[str, Any] = row[3] if len(row) == 4 else {}
        domain = "qonnx.custom_op.general" if row[0] in ("Quant", "BipolarQuant") else ""
        nodes.append(helper.make_node(row[0], row[1].split(), [row[2]], domain=domain, **options))
    weights = [numpy_helper.from_array(array, name) for name, array in (COMMON | (more or {})).items()]
    weights += [numpy_helper.from_array(np.array([n]), name) for name, n in (("axis1", 1), ("two", 2))]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(made, opset_imports=opsets)


def tables_of(model: onnx.ModelProto) -> TableDense:
    """The only TableDense, after all codes of the network were held against the source's."""
    lowered = read(model)
    data = np.random.default_rng(1).uniform(-1, 5, (60, INPUTS)).astype(np.float32)
    agreed = against_source(model, lowered, {"x": data})
    assert agreed.quantisers >= 1
    assert not agreed.float64_ties
    (found,) = (node for node in lowered.network.nodes if isinstance(node, TableDense))
    return found


def test_hats_times_a_matrix_are_its_entries() -> None:
    node = tables_of(graph((CODES, *HATS, ("Flatten", "h", "f"), ("MatMul", "f w", "y"))))
    want = COMMON["w"].reshape(INPUTS, COUNT, OUTPUTS).transpose(2, 0, 1)
    np.testing.assert_array_equal(node.tables.array, want)


def test_one_hot_by_equal_is_the_same_and_takes_a_bias() -> None:
    codes = np.arange(COUNT, dtype=np.float32) / 2
    rows = (CODES, ("Unsqueeze", "q two", "u"), ("Equal", "u codes", "e"), ("Cast", "e", "h", {"to": 1}),
            ("Reshape", "h flat", "f"), ("Gemm", "f w bias", "y"))  # fmt: skip
    more = {"codes": codes, "flat": np.array([-1, INPUTS * COUNT]), "bias": np.array([1, -2, 3], np.float32)}
    node = tables_of(graph(rows, more))
    want = COMMON["w"].reshape(INPUTS, COUNT, OUTPUTS).transpose(2, 0, 1)
    np.testing.assert_array_equal(node.tables.array, want)


def test_splines_quantised_on_each_edge_are_summed() -> None:
    """A basis of three ramps, mixed for every output by one matrix, rounded on each edge, summed over the inputs."""
    rows = (CODES, ("Unsqueeze", "q two", "u"), ("Sub", "u knots", "s"), ("Relu", "s", "r"), ("MatMul", "r mix", "m"),
            ("Quant", "m half zero four", "e"), ("ReduceSum", "e axis1", "y", {"keepdims": 0}))  # fmt: skip
    more = {"knots": np.array([0, 1.5, 2.25], np.float32),
            "mix": np.array([[1, -2, 0], [-3, 1, 1], [1, 1, -2]], np.float32)}  # fmt: skip
    node = tables_of(graph(rows, more))
    x = np.arange(COUNT) / 2
    ramps = np.maximum(x[:, None] - more["knots"], 0) @ more["mix"]
    want = np.clip(np.round(ramps / 0.5), -8, 7).T  # every input has the same function of one output
    assert np.array_equal(node.tables.array * 1.0, np.repeat(want[:, None], INPUTS, 1))


def test_elementwise_functions_are_steps_and_other_operators_take_tables_as_values() -> None:
    rows = (CODES, ("Sub", "q one", "s"), ("Abs", "s", "a"), ("Neg", "a", "n"), ("LeakyRelu", "n", "k", {"alpha": 0.5}),
            ("Clip", "k low zero", "c"), ("Max", "c a", "m"), ("Mul", "m m", "p"), ("Quant", "p half zero three", "y"),
            )  # fmt: skip
    model = graph(rows, {"low": np.array(-2, np.float32)})
    lowered = read(model)
    agreed = against_source(model, lowered, {"x": np.linspace(-1, 5, 60).reshape(-1, INPUTS).astype(np.float32)})
    assert agreed.codes
    (step,) = (node for node in lowered.network.nodes if isinstance(node, Step))
    distance = np.abs(np.arange(COUNT) / 2 - 1)
    np.testing.assert_array_equal(step.values.array[0], np.clip(np.round(distance**2 / 0.5), -4, 3))


def test_a_final_softmax_of_tables_is_their_logits() -> None:
    model = graph((CODES, ("Sub", "q one", "s"), ("Abs", "s", "a"), ("Softmax", "a", "y")))
    lowered = read(model)
    assert any("softmax" in note for note in lowered.notes)
    against_source(model, lowered, {"x": np.linspace(-1, 5, 60).reshape(-1, INPUTS).astype(np.float32)})


WHOLE = ("Quant", "x one zero three", "q", {"signed": 0})
INDEX = ("Cast", "q", "i", {"to": 7})


def test_look_ups_in_a_constant_are_its_entries() -> None:
    """torch.gather of each input's own column, summed over groups; some codes count from the table's end."""
    more = {"t": RNG.integers(-9, 10, (COUNT, INPUTS + 1)).astype(np.float32), "back": np.array(COUNT)}
    rows: tuple[Row, ...] = (
        WHOLE, INDEX, ("Sub", "i back", "j"), ("GatherElements", "t j", "g"),
        ("ReduceSum", "g axis1", "y", {"keepdims": 1}),
    )  # fmt: skip
    node = tables_of(graph(rows, more))
    np.testing.assert_array_equal(node.tables.array, more["t"][None, :, :INPUTS].transpose(0, 2, 1))


def test_look_ups_by_sums_of_bits_need_no_quantiser_before_them() -> None:
    """A look-up table of the bits of all inputs: their weighted sum is its address."""
    table = RNG.integers(0, 2, (1 << INPUTS, 2)).astype(np.float32)
    places = (2.0 ** np.stack([np.arange(INPUTS), np.arange(INPUTS)[::-1]], 1)).astype(np.float32)
    rows: tuple[Row, ...] = (
        ("Quant", "x one zero bit", "q", {"signed": 0}), ("MatMul", "q places", "m"), ("Cast", "m", "i", {"to": 7}),
        ("GatherElements", "t i", "y"),
    )  # fmt: skip
    model = graph(rows, {"t": table, "places": places, "bit": np.array(1, np.float32)})
    lowered = read(model)
    bits = (np.arange(1 << INPUTS)[:, None] >> np.arange(INPUTS)) & 1
    against_source(model, lowered, {"x": bits.astype(np.float32)})
    found = interp.outputs(lowered.network, {lowered.network.inputs[0].name: bits})["y"]
    np.testing.assert_array_equal(found, np.take_along_axis(table, bits @ places.astype(np.int64), 0))


def test_casts_that_change_nothing_are_taken() -> None:
    """A truth value's way to bits, whole numbers behind sums and products, wider integers."""
    rows: tuple[Row, ...] = (
        ("Quant", "x one zero bit", "q", {"signed": 0}), ("Cast", "q", "b", {"to": 9}), ("Cast", "b", "f", {"to": 1}),
        ("MatMul", "f places", "m"), ("Div", "m half", "h"), ("Add", "h eight", "s"), ("Cast", "s", "i", {"to": 6}),
        ("Cast", "i", "j", {"to": 7}), ("Mul", "j back", "k"), ("Cast", "k", "y", {"to": 1}),
    )  # fmt: skip
    more = {"bit": np.array(1, np.float32), "places": RNG.integers(-9, 9, (INPUTS, 3)).astype(np.float32),
            "eight": np.array(8, np.float32), "back": np.array(3)}  # fmt: skip
    model = graph(rows, more)
    lowered = read(model)
    against_source(model, lowered, {"x": RNG.uniform(-1, 2, (60, INPUTS)).astype(np.float32)})
    bits = (np.arange(1 << INPUTS)[:, None] >> np.arange(INPUTS)) & 1
    (end,) = lowered.network.outputs
    found = real_output(end, interp.outputs(lowered.network, {lowered.network.inputs[0].name: bits})["y"])
    np.testing.assert_array_equal(found, 3 * (bits @ more["places"] * 2 + 8))


@pytest.mark.parametrize(("kind", "zero"), [(3, np.int8(1)), (6, np.int32(1))])
def test_codes_may_be_cast_to_wider_integers_before_they_are_dequantised(kind: int, zero: np.generic) -> None:
    rows: tuple[Row, ...] = (
        ("QuantizeLinear", "x tenth own", "c"), ("Cast", "c", "d", {"to": kind}),
        ("DequantizeLinear", "d tenth zero_", "q"), ("Quant", "w_ tenth zero four", "v"), ("MatMul", "q v", "y"),
    )  # fmt: skip
    more: Weights = {"tenth": np.array(0.1, np.float32), "own": np.array(1, np.int8), "zero_": np.asarray(zero),
            "w_": RNG.normal(0, 0.3, (INPUTS, 3)).astype(np.float32)}  # fmt: skip
    model = graph(rows, more)
    agreed = against_source(model, read(model), {"x": RNG.uniform(-1, 1, (60, INPUTS)).astype(np.float32)})
    assert agreed.codes


def test_a_scalar_quantised_constant() -> None:
    model = graph((CODES, ("Quant", "one half zero three", "c"), ("Sub", "q c", "y")))
    against_source(model, read(model), {"x": np.linspace(-1, 5, 60).reshape(-1, INPUTS).astype(np.float32)})


def test_two_layers_and_a_mean() -> None:
    rows = (CODES, *HATS, ("Flatten", "h", "f"), ("MatMul", "f w", "t"), ("Relu", "t", "p"),
            ("Quant", "p four zero three", "q2", {"signed": 0}), ("Unsqueeze", "q2 two", "u2"),
            ("Sub", "u2 grid", "s2"), ("Mul", "s2 s2", "b"), ("Transpose", "b", "bt", {"perm": [0, 2, 1]}),
            ("ReduceMean", "bt", "y", {"axes": [2], "keepdims": 0}))  # fmt: skip
    model = graph(rows)
    lowered = read(model)
    against_source(model, lowered, {"x": np.linspace(-1, 5, 60).reshape(-1, INPUTS).astype(np.float32)})
    shapes = [node.tables.shape for node in lowered.network.nodes if isinstance(node, TableDense)]
    assert shapes == [(3, 5, 8), (8, 3, 8)]


WIDE = ("Quant", "x half zero nine", "q", {"signed": 0})
MISSES: list[tuple[str, Sequence[Row], Weights, type[EdgecompError], str]] = [
    ("no quantiser", (("Unsqueeze", "x two", "u"), ("Sub", "u grid", "s"), ("Quant", "s half zero three", "y")), {},
     InexpressibleError, "a constant of shape .* widens a value of shape"),
    ("abs of the input", (("Abs", "x", "a"), ("Quant", "a half zero three", "y")), {}, InexpressibleError,
     "Abs of what is no function of single codes"),
    ("nine bits", (WIDE, ("Abs", "q", "y")), {"nine": np.array(9, np.float32)}, InexpressibleError,
     "a function by tables of a value of 9 bits"),
    ("no flattening", (CODES, *HATS, ("Transpose", "h", "t", {"perm": [0, 2, 1]}), ("MatMul", "t v", "y")),
     {"v": np.ones((INPUTS, 2), np.float32)}, InexpressibleError,
     "a matrix product that sums functions of several codes in a value of shape"),
    ("wrong rows", (CODES, *HATS, ("MatMul", "h w", "y")), {}, InexpressibleError, r"a weight of \(40, 3\) on a value"),
    ("two codes", (CODES, *HATS, ("Flatten", "h", "f"), ("Slice", "f zero1 axis1 axis1", "l"),
                   ("Slice", "f far end axis1", "r"), ("Add", "l r", "y")),
     {"zero1": np.array([0]), "far": np.array([39]), "end": np.array([40])}, InexpressibleError,
     "functions of two different codes meet element by element"),
    ("more axes", (CODES, ("Abs", "q", "a"), ("Sub", "a cube", "y")), {"cube": np.ones((1, 1, INPUTS), np.float32)},
     InexpressibleError, r"a constant of shape \(1, 1, 5\) does not fit a value of 1 axes and a batch"),
    ("unlike axes", (CODES, ("Unsqueeze", "q two", "u"), ("Abs", "u", "a"), ("Abs", "q", "b"), ("Add", "a b", "y")), {},
     InexpressibleError, r"values of shapes \(5, 1\) and \(5,\) behind their batch do not broadcast"),
    ("no grid", (CODES, ("Unsqueeze", "q two", "u"), ("Sub", "u odd", "s"),
                 ("ReduceSum", "s axis1", "y", {"keepdims": 0})),
     {"odd": np.array([0.1, 1e-7], np.float32)}, InexpressibleError, "share no grid of 31 bits"),
    ("truth", (CODES, *HATS, ("Cast", "h", "i", {"to": 9}), ("Flatten", "i", "f"), ("MatMul", "f w", "y")), {},
     InexpressibleError, "MatMul of integers, which wrap around or cut off"),
    ("half type", (WHOLE, ("Cast", "q", "i", {"to": 10}), ("Cast", "i", "y", {"to": 1})), {}, InexpressibleError,
     "a cast to float16, which rounds"),
    ("beside whole", (("Quant", "x tenth zero three", "q", {"signed": 0}), ("Quant", "off tenth zero three", "o"),
                      ("Sub", "q o", "s"), ("Div", "s tenth", "d"), ("Cast", "d", "i", {"to": 7}),
                      ("GatherElements", "t i", "y")),
     {"tenth": np.array(0.1, np.float32), "off": np.array([0.3], np.float32), "t": np.ones((8, INPUTS), np.float32)},
     InexpressibleError, "i: a cast to int64 of numbers that float32 may have put below whole ones"),
    ("beside whole in tables", (("Quant", "x tenth zero three", "q", {"signed": 0}), ("Abs", "q", "a"),
                                ("Div", "a tenth", "d"), ("Cast", "d", "y", {"to": 7})),
     {"tenth": np.array(0.1, np.float32)}, InexpressibleError, "float32 may have put below whole ones"),
    ("integer mean", (WHOLE, INDEX, ("ReduceMean", "i", "m", {"axes": [1]}), ("Cast", "m", "y", {"to": 1})), {},
     InexpressibleError, "ReduceMean of integers, which wrap around or cut off"),
    ("integer quotient", (WHOLE, INDEX, ("Div", "i back", "m"), ("Cast", "m", "y", {"to": 1})), {"back": np.array(2)},
     InexpressibleError, "Div of integers"),
    ("mean of a table", (WHOLE, INDEX, ("GatherElements", "t i", "g"), ("ReduceMean", "g", "y", {"axes": [1]})),
     {"t": np.ones((COUNT, INPUTS), np.int64)}, InexpressibleError, "ReduceMean of integers"),
    ("narrow product", (WHOLE, ("Cast", "q", "i", {"to": 3}), ("Mul", "i back", "m"), ("Cast", "m", "y", {"to": 1})),
     {"back": np.array(100, np.int8)}, InexpressibleError, "Mul of integers, which wrap around or cut off"),
    ("long table", (WHOLE, INDEX, ("GatherElements", "t i", "y")), {"t": np.ones((1 << 18, INPUTS), np.float32)},
     InexpressibleError, "functions by tables of 1310720 entries exceed"),
    ("halves", (CODES, ("Cast", "q", "i", {"to": 7}), ("Cast", "i", "y", {"to": 1})), {}, InexpressibleError,
     r"i: a cast to int64 changes values, such as 0\.5"),
    ("halves of functions", (CODES, ("Abs", "q", "a"), ("Cast", "a", "y", {"to": 7})), {}, InexpressibleError,
     "a cast to int64 changes values"),
    ("narrow cast", (WHOLE, ("Mul", "q far", "m"), ("Cast", "m", "y", {"to": 3})), {"far": np.array(30, np.float32)},
     InexpressibleError, "a cast to int8 changes values, such as 210"),
    ("look-up's end", (WHOLE, INDEX, ("GatherElements", "t i", "y")), {"t": np.ones((COUNT - 1, INPUTS), np.float32)},
     InexpressibleError, "indices that are no whole numbers from -7 to 6"),
    ("look-up's columns", (WHOLE, INDEX, ("GatherElements", "t i", "y")), {"t": np.ones((COUNT, 4), np.float32)},
     ModelError, r"a table of \(8, 4\) for codes of \(5,\)"),
    ("look-up's axis", (WHOLE, INDEX, ("GatherElements", "t i", "y", {"axis": 1})),
     {"t": np.ones((COUNT, INPUTS), np.float32)}, InexpressibleError, "not by codes along the first axis of a"),
    ("look-up in values", (WHOLE, INDEX, ("GatherElements", "q i", "y")), {}, InexpressibleError,
     "GatherElements one to read from"),
    ("division", (CODES, *HATS, ("Div", "h zero", "y")), {}, ModelError, "division by zero"),
    ("own division", (CODES, *HATS, ("Div", "one h", "y")), {}, ModelError, "division by zero"),
    ("shapes", (CODES, *HATS, ("Add", "h odd", "y")), {"odd": np.zeros(3, np.float32)}, ModelError, "do not fit"),
    ("batch", (CODES, *HATS, ("ReduceSum", "h", "y")), {}, InexpressibleError, "a reduction over all axes"),
    ("indices", (CODES, ("Abs", "q", "a"), ("Gather", "w a", "y")), {}, InexpressibleError, "depend on the input"),
    ("three axes", (CODES, *HATS, ("MatMul", "h cube", "y")), {"cube": np.ones((5, 8, 2), np.float32)},
     InexpressibleError, "a weight of 3 axes"),
    ("turned", (CODES, *HATS, ("Flatten", "h", "f"), ("Gemm", "f w", "y", {"transA": 1})), {}, InexpressibleError,
     "transA turns the batch axis"),
    ("many", (CODES, ("Unsqueeze", "q two", "u"), ("Sub", "u huge", "y")), {"huge": np.zeros(1 << 15, np.float32)},
     InexpressibleError, "functions by tables of 1310720 entries exceed"),
    ("big sum", (("Quant", "x half zero eight", "q", {"signed": 0}), ("Unsqueeze", "q two", "u"),
                 ("Sub", "u pair", "s"), ("Relu", "s", "r"), ("Flatten", "r", "f"), ("MatMul", "f wide", "y")),
     {"eight": np.array(8, np.float32), "pair": np.array([0, 3], np.float32), "wide": np.ones((10, 3300), np.float32)},
     InexpressibleError, "tables of 3300 x 5 x 256 entries exceed 4194304"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "more", "kind", "text"), [case[1:] for case in MISSES], ids=[c[0] for c in MISSES])
def test_near_misses_are_named(rows: Sequence[Row], more: Weights, kind: type[EdgecompError], text: str) -> None:
    with pytest.raises(kind, match=text):
        read(graph(rows, more))


def test_codes_that_are_equal_in_float32_only_are_refused() -> None:
    tenth = np.array(0.1, np.float32)
    more = {"tenth": tenth, "codes": np.arange(COUNT, dtype=np.float32) * tenth}
    rows: tuple[Row, ...] = (
        ("Quant", "x tenth zero three", "q", {"signed": 0}), ("Unsqueeze", "q two", "u"), ("Equal", "u codes", "e"),
        ("Cast", "e", "h", {"to": 1}), ("Flatten", "h", "b"), ("MatMul", "b w", "y"),
    )  # fmt: skip
    with pytest.raises(InexpressibleError, match="theirs in float32 and not exactly"):
        read(graph(rows, more))


def test_constants_may_stand_first_in_a_maximum() -> None:
    more = {"v": RNG.integers(-7, 8, (INPUTS, OUTPUTS)).astype(np.float32)}
    rows: tuple[Row, ...] = (CODES, ("Abs", "q", "a"), ("Max", "zero half a", "m"), ("MatMul", "m v", "y"))
    found = tables_of(graph(rows, more)).tables.array
    assert found.shape == (OUTPUTS, INPUTS, COUNT)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])


def test_large_sums_are_refused_before_they_are_made() -> None:
    shape = np.array([0, 1 << 14, 8])
    rows: tuple[Row, ...] = (
        CODES, ("Reshape", "q shape", "r"), ("Abs", "r", "a"), ("ReduceSum", "a two", "y", {"keepdims": 0}),
    )  # fmt: skip
    with pytest.raises(InexpressibleError, match="entries exceed"):
        read(graph(rows, {"shape": shape}, inputs=8 << 14))
