"""Weights of few bits in C: how they are packed, that the loops unpack them exactly, and the best while they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from edgecomp import interp
from edgecomp.backends.mcu import McuBackend, load_machine
from edgecomp.backends.mcu.emit import emit
from edgecomp.backends.mcu.packing import packed
from edgecomp.ir import Add, ArgMax, Conv, Dense, Encoding, Input, Ints, Network, Node, Output, Requant, Reshape
from edgecomp.simulate.mcu import measure
from tests.networks import random_inputs
from tests.test_mcu import SAMPLES, differing

LEVELS = {
    "bipolar": (-1, 1), "ternary": (-1, 0, 1), "bits": (0, 1), "two": (0, 1, 2, 3), "signed": tuple(range(-8, 8)),
    "unsigned": tuple(range(16)), "grid": (-300, 0, 300), "apart": (5, 9, 13, 17, 21),
}  # fmt: skip


@seed(0)
@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(-200, 200), st.integers(1, 300), st.integers(1, 15),
       st.integers(0, 1 << 30))  # fmt: skip
def test_packed_rows_are_their_weights(rows: int, columns: int, least: int, step: int, top: int, key: int) -> None:
    weights = least + step * np.random.default_rng(key).integers(0, top + 1, (rows, columns))
    few = packed(weights, -1 << 20)
    assert few is not None
    assert few.bits <= (1 if top < 2 else 2 if top < 4 else 4)
    codes = few.table[:, :, None] >> (few.bits * np.arange(few.each)) & ((1 << few.bits) - 1)
    assert np.array_equal(few.least + few.step * codes.reshape(rows, -1)[:, :columns], weights)
    assert few.table.shape == (rows, -(-columns * few.bits // 8))
    bytes_each = 1 if weights.min() >= -128 and weights.max() <= (255 if weights.min() >= 0 else 127) else 2
    assert few.saved == weights.size * bytes_each - few.table.size


def test_what_is_not_packed() -> None:
    rows = np.tile(np.arange(-8, 8), (4, 4))
    assert packed(rows, 128) is None  # 256 bytes become 128: no more is saved than that
    assert packed(rows, 127) is not None
    assert packed(np.append(rows, rows + 1, axis=1), 0) is None  # 17 levels
    assert packed(np.array([[0, 1 << 15]] * 99), 0) is None


def layer(levels: tuple[int, ...], node: Input, outputs: int, tail: tuple[Node, ...]) -> Network:
    rng = np.random.default_rng(len(levels))
    weight = rng.choice(levels, (outputs, node.shape[0]))
    weight[:, 0] = rng.permutation(np.resize([levels[0], levels[-1]], outputs))
    dense = Dense(name="d", x="x", weight=Ints(weight), bias=Ints(rng.integers(-50, 50, outputs)))
    return Network(nodes=(node, dense, *tail))


def test_packed_dense_layers_are_exact(tmp_path: Path) -> None:
    """Signed and unsigned, on a grid, odd counts, inputs with a zero point or of one bit; two layers of one loop."""
    networks = {}
    for name, levels in LEVELS.items():
        for inputs in (64, 37):
            node = Input(name="x", shape=(inputs,), lo=-5, hi=9, zero_point=3 if inputs == 37 else 0)
            network = layer(levels, node, 12, (Output(name="y", x="d"),))
            assert "_weight[" in (text := emit(network, "n").source)
            assert "codes" in text
            networks[f"{name}{inputs}"] = network, random_inputs(network, inputs, SAMPLES)
    one_bit = Input(name="x", shape=(50,), lo=0, hi=1, encoding=Encoding.BIPOLAR)
    network = layer((-1, 1), one_bit, 9, (ArgMax(name="a", x="d"), Output(name="y", x="a")))
    networks["xnor"] = network, random_inputs(network, 1, SAMPLES)
    assert differing(tmp_path, networks) == dict.fromkeys(networks, 0)


def convolution(levels: tuple[int, ...], groups: int, pad: int) -> Network:
    rng = np.random.default_rng(groups)
    weight = rng.choice(levels, (8, 6 // groups, 3, 3))
    weight.flat[:2] = levels[0], levels[-1]
    return Network(nodes=(
        Input(name="x", shape=(6, 5, 4), lo=-7, hi=7),
        Conv(name="c", x="x", weight=Ints(weight), bias=Ints(rng.integers(-9, 9, 8)), stride=(1, 1),
             pads=((pad, pad), (pad, 0)), dilation=(1, 1), groups=groups),
        Requant(name="q", x="c", multiplier=Ints([1]), addend=Ints([2]), shift=2, lo=Ints([-9]), hi=Ints([9])),
        Output(name="y", x="q"),
    ))  # fmt: skip


def test_packed_convolutions_are_exact(tmp_path: Path) -> None:
    """A filter is unpacked into memory that nothing else uses then."""
    networks = {}
    for number, (name, levels) in enumerate(LEVELS.items()):
        network = convolution(levels, 1 + number % 2, number // 2 % 2)
        assert "codes" in emit(network, "n").source
        networks[f"{name}_net"] = network, random_inputs(network, number, SAMPLES)
    assert differing(tmp_path, networks) == dict.fromkeys(networks, 0)


@pytest.mark.parametrize("core", ["cortex_m0", "cortex_m4", "rv32imc", "avr"])
def test_packed_layers_are_exact_on_the_core(core: str) -> None:
    """A convolution of 2 bits, a layer of 4 and one of 1."""
    rng = np.random.default_rng(1)
    nodes: tuple[Node, ...] = convolution(LEVELS["ternary"], 2, 1).nodes[:-1]
    nodes += (Reshape(name="r", x="q", shape=(8 * 5 * 3,)),
              Dense(name="d", x="r", weight=Ints(rng.integers(-8, 8, (15, 120))), bias=Ints([7])),
              Requant(name="s", x="d", multiplier=Ints([3]), addend=Ints([0]), shift=4, lo=Ints([0]), hi=Ints([99])),
              Dense(name="e", x="s", weight=Ints(rng.choice((-1, 1), (17, 15))), bias=Ints([0])),
              Output(name="y", x="e"))  # fmt: skip
    network = Network(nodes=nodes)
    assert emit(network, "n").constant_bytes < 8 * 7 + 15 * 60 + 17 * 2 + 30
    inputs = random_inputs(network, 1, 20)
    measure(McuBackend().program(network), load_machine(core), inputs, interp.outputs(network, inputs))


def test_half_a_byte_a_weight() -> None:
    """4 bits: 64 x 32 weights in 1,024 bytes; a convolution's 8 x 54 in 216, and 54 bytes of RAM for one filter."""
    node = Input(name="x", shape=(64,), lo=0, hi=255)
    dense = emit(layer(LEVELS["signed"], node, 32, (Output(name="y", x="d"),)), "n")
    assert dense.constant_bytes == 64 * 32 // 2 + 32
    conv = emit(convolution(LEVELS["signed"], 1, 0), "n")
    assert conv.constant_bytes == 8 * 54 // 2 + 8
    assert conv.ram_bytes == 54
    small = emit(layer(LEVELS["signed"], Input(name="x", shape=(8,), lo=0, hi=255), 8, (Output(name="y", x="d"),)), "n")
    assert small.constant_bytes == 8 * 8 + 8  # 32 bytes saved are not worth the code


def test_the_best_needs_no_logits(tmp_path: Path) -> None:
    """Ties go to the lowest index, wherever they stand; the last layer's values have no memory."""
    networks = {}
    for first in range(4):
        weight = np.random.default_rng(first).integers(-3, 4, (5, 7))
        weight[4] = weight[first]
        tail: tuple[Node, ...] = (ArgMax(name="a", x="d"), Output(name="y", x="a"))
        for name, more in (("logits", (Output(name="y", x="d", zero_point=9),)), ("class", tail)):
            nodes = (Input(name="x", shape=(7,), lo=-2, hi=1),
                     Dense(name="d", x="x", weight=Ints(weight), bias=Ints([3])), *more)  # fmt: skip
            network = Network(nodes=nodes)
            assert emit(network, "n").ram_bytes == 0
            assert "codes[5]" not in emit(network, "n").source
            networks[f"{name}{first}"] = network, random_inputs(network, first, SAMPLES)
    assert differing(tmp_path, networks) == dict.fromkeys(networks, 0)


def test_inputs_may_have_the_names_of_what_the_functions_use(tmp_path: Path) -> None:
    """One at a time, and many at a time in the build's own strict compile."""
    ends = ("codes", "k", "best", "lane", "raw", "count", "dot", "w")
    nodes = [Input(name=name, shape=(3,), lo=-3, hi=3) for name in ends]
    sums = [Add(name=f"s{n}", a=ends[0] if n == 1 else f"s{n - 1}", b=name, p=Ints([1]), q=Ints([n]))
            for n, name in enumerate(ends) if n]  # fmt: skip
    network = Network(nodes=(*nodes, *sums, Output(name="acc", x=sums[-1].name)))
    inputs = random_inputs(network, 1, SAMPLES)
    assert differing(tmp_path, {"n": (network, inputs)}) == {"n": 0}
    program = McuBackend().program(network, many=True)
    measure(program, load_machine("host"), inputs, interp.outputs(network, inputs))
