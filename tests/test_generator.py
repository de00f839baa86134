"""The generator of random models: reproducible, sound, varied, alive; its evaluator agrees with the qonnx executor."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import onnx
import pytest

from tests.generator import GeneratedModel, handmade, make, make_handmade
from tests.generator.evaluate import Evaluated, evaluate, round_by

SEEDS = range(60)


@pytest.fixture(scope="module")
def models() -> list[GeneratedModel]:
    return [make_handmade(seed) for seed in SEEDS]


def test_same_seed_gives_the_same_bytes_and_vectors(models: list[GeneratedModel]) -> None:
    for model in models[:5]:
        again = make_handmade(model.seed)
        assert again.onnx_bytes == model.onnx_bytes
        assert again.tags == model.tags
        for name, value in model.inputs.items():
            np.testing.assert_array_equal(again.inputs[name], value)


def test_graphs_are_valid_and_inputs_fit(models: list[GeneratedModel]) -> None:
    for model in models:
        onnx.checker.check_model(model.proto)
        shapes = {
            item.name: tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim[1:])
            for item in model.proto.graph.input
        }
        assert shapes == dict(model.input_shapes)
        assert all(model.inputs[name].shape[1:] == shape for name, shape in shapes.items())


def test_codes_clip_tie_and_vary(models: list[GeneratedModel]) -> None:
    assert all(count.distinct > 1 for model in models for count in model.counts)
    assert sum(model.clipped > 0.02 for model in models) > 0.7 * len(models)
    assert sum(model.tied > 0 for model in models) > 0.3 * len(models)


def test_recipes_cover_the_features(models: list[GeneratedModel]) -> None:
    seen = Counter(tag for model in models for tag in model.tags)
    wanted = {
        "qonnx", "qdq", "Quant", "IntQuant", "BipolarQuant", "po2", "float_scale", "round:ROUND", "round:HALF_UP",
        "round:FLOOR", "round:CEIL", "narrow", "asymmetric_act", "asymmetric_weight", "per_channel_float", "conv1d",
        "conv2d", "depthwise", "stride", "dilation", "gemm", "matmul", "transB", "batch_norm", "bn_after_act",
        "negative_gamma", "max_pool", "average_pool", "global_average", "residual_code", "residual_accumulator",
        "concat", "slice", "pad", "multi_input", "nhwc", "act:relu6", "act:leaky_relu", "act:prelu", "act:sigmoid",
        "act:tanh", "act:silu", "act:hard_sigmoid", "act:hard_swish", "no_output_quant", "head:softmax", "qcdq_clip",
    }  # fmt: skip
    assert wanted - set(seen) == set()
    assert sum(model.refusable for model in models) < 0.1 * len(models)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("ROUND", [-2, -2, 0, 0, 2, 2]),
        ("HALF_UP", [-3, -2, -1, 1, 2, 3]),
        ("FLOOR", [-3, -2, -1, 0, 1, 2]),
        ("CEIL", [-2, -1, 0, 1, 2, 3]),
    ],
)
def test_rounding_of_ties(mode: str, expected: list[int]) -> None:
    ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    np.testing.assert_array_equal(round_by(ties, mode), expected)


def test_unknown_rounding_is_an_error() -> None:
    with pytest.raises(ValueError, match="rounding mode SIDEWAYS"):
        round_by(np.zeros(1), "SIDEWAYS")


def test_evaluator_agrees_with_the_qonnx_executor(models: list[GeneratedModel]) -> None:
    chosen = [model for model in models if model.dialect == "qonnx" and len(model.inputs) == 1]
    chosen = [model for model in chosen if not any(tag.startswith("trunc_") for tag in model.tags)][:3]
    assert len(chosen) == 3
    for model in chosen:
        _agrees_with_qonnx(model)


def _agrees_with_qonnx(model: GeneratedModel) -> None:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    proto = model.proto
    for item in (*proto.graph.input, *proto.graph.output):
        item.type.tensor_type.shape.dim[0].dim_value = 1
    name, output = proto.graph.input[0].name, proto.graph.output[0].name
    sample = {name: model.inputs[name][:1]}
    got = execute_onnx(ModelWrapper(proto).transform(InferShapes()), sample)[output]
    expected = evaluate(model.proto, sample).tensors[output]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_brevitas_models_equal_pytorch_or_name_the_cause() -> None:
    for seed in (1, 3):
        model = make(seed)
        assert model.source == "brevitas"
        assert model.module is not None
        assert "export_differs:unknown" not in model.tags
        assert make(seed).onnx_bytes == model.onnx_bytes


def test_draws_that_stay_constant_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = Evaluated(tensors=defaultdict(lambda: np.zeros(3)), counts=())
    monkeypatch.setattr(handmade, "evaluate", lambda proto, inputs: flat)
    with pytest.raises(RuntimeError, match="seed 4: twenty draws in a row gave constant codes"):
        make_handmade(4)
