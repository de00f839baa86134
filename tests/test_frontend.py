"""The front end against the oracle: random hand-made graphs lowered, and every code at every quantiser compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgecomp import frontend
from edgecomp.check import against_source
from edgecomp.errors import InexpressibleError, ModelError
from tests.generator import make_handmade

SEEDS = (0, 2, 4, 6, 8, 10, 12, 14, 18, 22, 24, 26, 28, 30, 34, 36, 40, 42, 46, 48, 50, 54)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_graph_lowers_to_the_source_s_codes(seed: int) -> None:
    made = make_handmade(seed, 48)
    model = onnx.load_from_string(made.onnx_bytes)
    lowered = frontend.read(model)
    found = against_source(model, lowered, made.inputs)
    assert found.codes > 0
    assert lowered.network.problems() == ()


def _graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shape: list[int | str]) -> onnx.ModelProto:
    initialisers = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], initialisers), opset_imports=opsets)


def _quant(x: str, y: str) -> onnx.NodeProto:
    return helper.make_node(
        "Quant", [x, "s", "z", "b"], [y], domain="qonnx.custom_op.general", signed=1, narrow=0, rounding_mode="ROUND"
    )


ENDS = {"s": np.float32(0.25), "z": np.float32(0), "b": np.float32(4)}


def _as_arrays(values: Mapping[str, object]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in values.items()}


def test_a_float_model_is_refused_with_a_hint() -> None:
    model = _graph([helper.make_node("Relu", ["x"], ["y"])], {}, ["N", 4])
    with pytest.raises(ModelError, match="the model has no quantisers: it is a float model"):
        frontend.read(model)


def test_an_unknown_operator_is_named() -> None:
    model = _graph(
        [_quant("x", "q"), helper.make_node("Einsum", ["q"], ["y"], equation="ab->ab")], _as_arrays(ENDS), ["N", 4]
    )
    with pytest.raises(InexpressibleError, match=r"y: operator Einsum is unknown"):
        frontend.read(model)


def test_a_scale_of_zero_is_named() -> None:
    model = _graph([_quant("x", "y")], _as_arrays({**ENDS, "s": np.float32(0)}), ["N", 4])
    with pytest.raises(ModelError, match=r"y: the quantiser's scale is zero or negative"):
        frontend.read(model)


def test_a_nan_weight_is_named() -> None:
    model = _graph([_quant("x", "y")], _as_arrays({**ENDS, "w": np.array([1, np.nan], dtype=np.float32)}), ["N", 4])
    with pytest.raises(ModelError, match=r"w: 1 of 2 values are NaN or infinite"):
        frontend.read(model)


def test_a_dynamic_shape_is_named() -> None:
    model = _graph([_quant("x", "y")], _as_arrays(ENDS), ["N", "L"])
    with pytest.raises(ModelError, match=r"x: shape .* is dynamic beyond the batch axis"):
        frontend.read(model)


def test_an_unquantised_weight_is_named() -> None:
    weights = _as_arrays({**ENDS, "w": np.full((4, 3), 0.3, dtype=np.float32)})
    model = _graph([_quant("x", "q"), helper.make_node("MatMul", ["q", "w"], ["y"])], weights, ["N", 4])
    with pytest.raises(InexpressibleError, match=r"y: the weight has no quantiser \(unquantised path\)"):
        frontend.read(model)


def constant_outputs(model: onnx.ModelProto, names: list[str]) -> None:
    for name in names:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, dtype=np.float32), name))
        model.graph.output.append(onnx.ValueInfoProto(name=name))


def test_constant_outputs_are_left_out_with_a_note() -> None:
    """Brevitas exports a quantised result's scale and bit width as outputs too."""
    made = make_handmade(2, 8)
    model = onnx.ModelProto()
    model.CopyFrom(made.proto)
    constant_outputs(model, ["out_scale", "out_bits"])
    lowered = frontend.read(model)
    assert list(lowered.finals.values()) == [made.proto.graph.output[0].name]
    assert "out_scale: a constant output is left out" in lowered.notes
    assert against_source(model, lowered, made.inputs).quantisers > 0


def test_a_graph_of_constant_outputs_is_refused() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(make_handmade(2, 8).proto)
    del model.graph.output[:]
    constant_outputs(model, ["out_scale"])
    with pytest.raises(ModelError, match="no output depends on the input"):
        frontend.read(model)
