"""Coarser networks: exponents change no code, idle channels go exactly, and each kind of change does what it says."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.approx.coarse import Change, coarse_weights, coarsen, digits_of, few_digits
from edgecomp.idle import without_idle
from edgecomp.ir import (
    Conv,
    Dense,
    Input,
    Ints,
    MaxPool,
    Network,
    Node,
    Output,
    Requant,
    Reshape,
    Rounding,
    Step,
    Value,
)
from edgecomp.ir.ranges import NodeError, infer
from tests.networks import random_inputs, random_network


def changes_of(network: Network, seed: int) -> dict[str, Change]:
    rng = np.random.default_rng(seed)
    found = {}
    for node in network.nodes:
        if isinstance(node, Dense | Conv):
            idle = tuple(np.flatnonzero(rng.random(len(node.weight.array)) < 0.3).tolist())
            found[node.name] = Change(dropped=int(rng.integers(4)), pruned=int(rng.integers(8)),
                                      digits=int(rng.integers(4)), idle=idle)  # fmt: skip
        elif isinstance(node, Requant | Step):
            found[node.name] = Change(dropped=int(rng.integers(3)), floored=bool(rng.integers(2)))
    return found


def means_of(network: Network, seed: int) -> dict[str, NDArray[np.float64]]:
    rng, values = np.random.default_rng(seed), network.values()
    return {node.name: rng.normal(0, 9, values[node.x].shape[0])
            for node in network.nodes if isinstance(node, Dense | Conv)}  # fmt: skip


def plainly(network: Network, changes: Mapping[str, Change], means: Mapping[str, NDArray[np.float64]]) -> Network:
    """The coarse network with every value on the grid that it had."""
    nodes: list[Node] = []
    values: dict[str, Value] = {}
    for node in network.nodes:
        change, more = changes.get(node.name, Change()), None
        if isinstance(node, Dense | Conv):
            alone = Network(nodes=(node,))
            layer = coarsen_alone(alone, change, means)
            node = replace(node, weight=Ints(coarse_weights(node.weight.array, change) << change.dropped), bias=layer)
        elif isinstance(node, Requant | Step) and (change.dropped or change.floored):
            factor = 1 << change.dropped
            inner = coarse_rescaling(node, change)
            more = Requant(name=node.name, x=f"{node.name}_low", multiplier=Ints([factor]), addend=Ints([0]), shift=0,
                           lo=Ints([-(1 << 60)]), hi=Ints([1 << 60]))  # fmt: skip
            node = replace(inner, name=f"{node.name}_low")
        for made in (node, *([more] if more else [])):
            nodes.append(made)
            values[made.name] = infer(made, values)
    return Network(nodes=tuple(nodes))


def coarsen_alone(layer: Network, change: Change, means: Mapping[str, NDArray[np.float64]]) -> Ints:
    """The bias with what the mean input loses, by its definition: the loss of one sample, the mean everywhere."""
    (node,) = layer.nodes
    assert isinstance(node, Dense | Conv)
    lost = node.weight.array - (coarse_weights(node.weight.array, change) << change.dropped)
    bias = []
    for o, row in enumerate(lost):
        group = o * node.groups // len(lost) if isinstance(node, Conv) else 0
        mean = means[node.name][group * len(row) : (group + 1) * len(row)]
        bias.append(round(sum(float(row[i].sum()) * mean[i] for i in range(len(row)))))
    return Ints(np.broadcast_to(node.bias.array, len(lost)) + np.array(bias))


def coarse_rescaling(node: Requant | Step, change: Change) -> Requant | Step:
    """floor((code + half) / 2^dropped), by the code before; ties half up where nothing is dropped."""
    d = change.dropped
    if isinstance(node, Step):
        values, ends = (node.values.array + ((1 << d) >> 1)) >> d, (node.values.array.min(), node.values.array.max())
        values = np.clip(values, math.ceil(ends[0] / (1 << d)), math.floor(ends[1] / (1 << d)))
        return replace(node, values=Ints(values))
    if d == 0:
        return replace(node, rounding=Rounding.FLOOR)
    half = 1 << (node.shift + d - 1)
    return replace(node, addend=Ints(node.addend.array + half), shift=node.shift + d, rounding=Rounding.FLOOR,
                   lo=Ints([-(-int(v) // (1 << d)) if v >= 0 else -(int(-v) // (1 << d)) for v in node.lo.array]),
                   hi=Ints(node.hi.array >> d))  # fmt: skip


@given(st.integers(0, 10**6))
@settings(max_examples=60, derandomize=True)
def test_exponents_change_no_code(seed: int) -> None:
    network = random_network(seed)
    changes, means = changes_of(network, seed), means_of(network, seed)
    try:
        coarse, plain = coarsen(network, changes, means), plainly(network, changes, means)
    except NodeError:  # rounded up, a code may leave its table, or be no bipolar one: such a candidate is refused
        reject()
    assume(not coarse.problems() and not plain.problems())  # an interval of more than 62 bits
    inputs = random_inputs(network, seed, 64)
    expected = interp.outputs(plain, inputs)
    for name, codes in interp.outputs(coarse, inputs).items():
        np.testing.assert_array_equal(codes, expected[name])


@given(st.integers(0, 10**6))
@settings(max_examples=30, derandomize=True)
def test_no_change_is_the_same_network_and_idle_channels_go_exactly(seed: int) -> None:
    network = random_network(seed)
    inputs = random_inputs(network, seed, 64)
    expected = interp.outputs(network, inputs)
    assert coarsen(network, {}, {}) == network
    smaller = without_idle(network)
    assert smaller.problems() == ()
    for name, codes in interp.outputs(smaller, inputs).items():
        np.testing.assert_array_equal(codes, expected[name])


def classifier(seed: int) -> Network:
    """Convolutions, pooling, a flattening and dense layers, of which some channels are constant or unread."""
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> Ints:
        made = rng.integers(-7, 8, shape)
        made[rng.random(shape[0]) < 0.4] = 0
        made[:, rng.random(shape[1]) < 0.3] = 0
        return Ints(made)

    def requant(name: str, x: str, size: int) -> Requant:
        factor, addend = Ints(rng.integers(1, 5, size)), Ints(rng.integers(-9, 9, size))
        return Requant(name=name, x=x, multiplier=factor, addend=addend, shift=4, lo=Ints([-2]), hi=Ints([15]))

    window = {"stride": (1, 1), "dilation": (1, 1)}
    pads = ((1, 1), (1, 1)) if seed % 2 else ((0, 0), (0, 0))
    nodes: list[Node] = [
        Input(name="x", shape=(2, 8, 8), lo=-8, hi=7),
        Conv(name="c1", x="x", weight=weight(5, 2, 3, 3), bias=Ints(rng.integers(-9, 9, 5)), pads=pads, **window),  # type: ignore[arg-type]
        requant("r1", "c1", 5),
        Conv(name="c2", x="r1", weight=weight(4, 5, 3, 3), bias=Ints([1]), pads=pads, **window),  # type: ignore[arg-type]
        requant("r2", "c2", 4),
        MaxPool(name="p", x="r2", kernel=(2, 2), stride=(2, 2), pads=((0, 0), (0, 0)), dilation=(1, 1)),
    ]
    places = infer_places(nodes)
    nodes += [Reshape(name="f", x="p", shape=(4 * places,)),
              Dense(name="d1", x="f", weight=weight(6, 4 * places), bias=Ints(rng.integers(-9, 9, 6))),
              requant("r3", "d1", 6), Dense(name="d2", x="r3", weight=weight(3, 6), bias=Ints([0])),
              Output(name="y", x="d2")]  # fmt: skip
    return Network(nodes=tuple(nodes))


def infer_places(nodes: list[Node]) -> int:
    values = Network(nodes=(*nodes, Output(name="y", x="p"))).values()
    return values["p"].shape[1] * values["p"].shape[2]


@pytest.mark.parametrize("seed", range(12))
def test_constant_and_unread_channels_go(seed: int) -> None:
    network = classifier(seed)
    smaller = without_idle(network)
    inputs = random_inputs(network, seed, 64)
    np.testing.assert_array_equal(interp.outputs(smaller, inputs)["y"], interp.outputs(network, inputs)["y"])
    before, after = (sum(n.weight.array.size for n in net.nodes if isinstance(n, Dense | Conv))
                     for net in (network, smaller))  # fmt: skip
    assert after < before
    assert without_idle(smaller) == smaller


def test_signed_digits() -> None:
    values = np.arange(-300, 301)
    assert digits_of(np.array([0, 1, 3, 7, 11, -5, 255])).tolist() == [0, 1, 2, 2, 3, 2, 2]
    np.testing.assert_array_equal(few_digits(values, 9), values)
    for count in (1, 2, 3):
        kept = few_digits(values, count)
        assert digits_of(kept).max() == count
        exact = digits_of(values) <= count
        np.testing.assert_array_equal(kept[exact], values[exact])
        assert (np.abs(kept - values) <= np.abs(values) / (1 << count)).all()


def test_weights_lose_what_is_said() -> None:
    weight = np.array([[-7, 6, 1, 0], [2, -3, 5, 4]])
    assert coarse_weights(weight, Change(dropped=1)).tolist() == [[-3, 3, 1, 0], [1, -1, 3, 2]]
    assert coarse_weights(weight, Change(pruned=8)).tolist() == [[-7, 6, 0, 0], [0, 0, 5, 4]]
    assert coarse_weights(weight, Change(idle=(1,))).tolist() == [[-7, 6, 1, 0], [0, 0, 0, 0]]
    assert coarse_weights(weight, Change(digits=1)).tolist() == [[-8, 8, 1, 0], [2, -4, 4, 4]]


def test_networks_are_copied_whole() -> None:
    network = random_network(3)
    assert pickle.loads(pickle.dumps(network)) == network
