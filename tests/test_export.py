"""The exported graph in stock ONNX Runtime against the interpreter, code for code, and the way back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from edgecomp import interp
from edgecomp.errors import ModelError
from edgecomp.export import TEXT_KEY, from_onnx, to_onnx
from edgecomp.golden import compare, run_onnxruntime
from edgecomp.ir import ArgMax, Dense, Input, Ints, Network, Node, Output, Requant, Rounding, Step
from tests.networks import ENDS, KINDS, random_inputs, random_network

SEEDS = range(48)
NAMED = {kind.__name__: kind for kind in sorted(KINDS - ENDS, key=lambda kind: kind.__name__)}


def agree(network: Network, inputs: dict[str, NDArray[np.int64]]) -> None:
    model = to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    first, count = compare(interp.outputs(network, inputs), run_onnxruntime(model, inputs))
    assert count == 0, str(first)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_agree(seed: int) -> None:
    network = random_network(seed)
    agree(network, random_inputs(network, seed, 120))


@pytest.mark.parametrize("name", NAMED)
def test_each_kind_by_itself_agrees(name: str) -> None:
    for seed in range(2):
        network = random_network(seed, kinds={NAMED[name]})
        agree(network, random_inputs(network, seed, 60))


def test_the_random_networks_reach_every_kind_and_past_2_to_the_40() -> None:
    networks = [random_network(seed) for seed in SEEDS]
    assert {type(node) for network in networks for node in network.nodes} == KINDS
    greatest = 0
    for seed, network in zip(SEEDS, networks, strict=True):
        values = interp.run(network, random_inputs(network, seed, 120))
        greatest = max(greatest, *(int(np.abs(v).max()) for v in values.values()))
    assert greatest > 1 << 40


def chain(shape: tuple[int, ...], lo: int, hi: int, *nodes: Node) -> Network:
    last = nodes[-1].name
    network = Network(nodes=(Input(name="x", shape=shape, lo=lo, hi=hi), *nodes, Output(name="y", x=last)))
    assert network.problems() == ()
    return network


def every(lo: int, hi: int) -> dict[str, NDArray[np.int64]]:
    return {"x": np.arange(lo, hi + 1).reshape(-1, 1)}


@pytest.mark.parametrize("rounding", list(Rounding))
def test_shifts_of_every_small_integer_round_as_stated(rounding: Rounding) -> None:
    for shift in (1, 3):
        node = Requant(name="r", x="x", multiplier=Ints([-3]), addend=Ints([(1 << shift) >> 1]), shift=shift,
                       lo=Ints([-40]), hi=Ints([40]), rounding=rounding)  # fmt: skip
        agree(chain((1,), -200, 200, node), every(-200, 200))


def test_values_of_62_bits_are_exact() -> None:
    edge = (1 << 60) - 9
    wide = Dense(name="d", x="x", weight=Ints([[1 << 57], [-(1 << 57)], [1]]), bias=Ints([3, -5, edge]))
    shift = Requant(name="r", x="d", multiplier=Ints([1]), addend=Ints([1 << 29]), shift=30,
                    rounding=Rounding.HALF_EVEN, lo=Ints([-(1 << 40)]), hi=Ints([1 << 40]))  # fmt: skip
    network = chain((1,), -8, 7, wide, shift)
    values = interp.run(network, every(-8, 7))
    assert int(np.abs(values["d"]).max()) > 1 << 59
    agree(network, every(-8, 7))
    agree(chain((1,), -8, 7, wide), every(-8, 7))


def test_a_step_of_4095_thresholds_fits_in_memory_and_agrees() -> None:
    random = np.random.default_rng(0)
    thresholds = np.sort(random.integers(-(1 << 61), 1 << 61, size=(2, 4095)))
    scale = Dense(name="d", x="x", weight=Ints([[1 << 46], [-(1 << 46)]]), bias=Ints([1, -1]))
    node = Step(name="s", x="d", thresholds=Ints(thresholds), values=Ints(random.integers(-2048, 2048, (2, 4096))))
    network = chain((1,), -(1 << 15), (1 << 15) - 1, scale, node)
    agree(network, every(-(1 << 15), (1 << 15) - 1))
    assert to_onnx(network).ByteSize() < 1_000_000


def test_steps_without_and_with_one_threshold() -> None:
    for count in (0, 1):
        values = np.arange(count + 1).reshape(1, -1)
        table = Ints(np.zeros((1, count), dtype=np.int64))
        agree(chain((1,), -3, 3, Step(name="s", x="x", thresholds=table, values=Ints(values))), every(-3, 3))


def test_argmax_takes_the_lowest_index_among_ties() -> None:
    network = chain((3,), 0, 2, ArgMax(name="a", x="x"))
    codes = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1).T
    agree(network, {"x": codes})


def test_the_graph_has_standard_operators_and_a_free_batch() -> None:
    model = to_onnx(random_network(1))
    assert {node.domain for node in model.graph.node} == {""}
    assert [entry.domain for entry in model.opset_import] == [""]
    ends = [*model.graph.input, *model.graph.output]
    assert {end.type.tensor_type.shape.dim[0].dim_param for end in ends} == {"N"}
    assert {end.type.tensor_type.elem_type for end in ends} == {onnx.TensorProto.INT64}


@pytest.mark.parametrize("seed", range(12))
def test_reading_back_gives_the_same_network_and_bytes(seed: int) -> None:
    network = random_network(seed)
    data = to_onnx(network).SerializeToString(deterministic=True)
    assert from_onnx(onnx.ModelProto.FromString(data)) == network
    assert to_onnx(network).SerializeToString(deterministic=True) == data


def test_a_model_without_text_is_no_network_of_ours() -> None:
    model = to_onnx(random_network(0))
    del model.metadata_props[:]
    assert from_onnx(model) is None


def change_a_weight(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if numpy_helper.to_array(t).size)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] += 1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_the_text(model: onnx.ModelProto) -> None:
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace("    1 2", "    2 1").replace("zero_point=0", "zero_point=1")


def drop_a_node(model: onnx.ModelProto) -> None:
    del model.graph.node[-1]


def change_the_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version += 1


def add_a_function(model: onnx.ModelProto) -> None:
    model.functions.add(name="Add", domain="")


PLAIN = chain((2,), -8, 7, Dense(name="d", x="x", weight=Ints([[1, 2]]), bias=Ints([0])))


@pytest.mark.parametrize(
    "tamper",
    [change_a_weight, change_the_text, drop_a_node, change_the_opset, add_a_function],
    ids=lambda f: f.__name__,
)
def test_a_changed_model_is_not_believed(tamper: Callable[[onnx.ModelProto], None]) -> None:
    model = to_onnx(PLAIN)
    tamper(model)
    with pytest.raises(
        ModelError, match=r"^the graph is not the one that its network text exports to: one of them was"
    ):
        from_onnx(model)


def test_two_texts_are_refused() -> None:
    model = to_onnx(PLAIN)
    model.metadata_props.add(key=TEXT_KEY, value="")
    with pytest.raises(ModelError, match=r"^the model carries more than one network text$"):
        from_onnx(model)


def test_an_unsound_text_is_refused() -> None:
    model = to_onnx(PLAIN)
    model.metadata_props[0].value = model.metadata_props[0].value.replace("lo=-8", "lo=8")
    with pytest.raises(ModelError, match=r"^x: interval 8\.\.7 is empty"):
        from_onnx(model)
