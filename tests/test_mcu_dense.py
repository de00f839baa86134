"""The function that dense layers share: every pair of types on every core, and what it saves where."""

from __future__ import annotations

import numpy as np
import pytest

from edgecomp import interp
from edgecomp.backends.mcu import McuBackend, load_machine
from edgecomp.backends.mcu.emit import emit
from edgecomp.ir import Dense, Input, Ints, Network, Node, Output
from edgecomp.simulate.mcu import measure
from tests.networks import random_inputs
from tests.test_mcu_cores import measured

PAIRS = (  # (least and greatest weight, least and greatest input, inputs)
    ((-128, 127), (0, 255), 64), ((-128, 127), (-128, 127), 17), ((0, 255), (-128, 127), 10), ((0, 255), (0, 255), 7),
    ((-500, 500), (-2000, 2000), 9), ((-700, 700), (0, 3000), 6), ((-32768, 32767), (0, 65535), 8),
    ((-128, 127), (-32768, 32767), 21), ((-1 << 31, 1 << 30), (-128, 127), 9), ((-32768, 32767), (-32768, 32767), 40),
)  # fmt: skip


def layers() -> Network:
    """One layer for each pair, with the extreme weights in it."""
    rng, nodes, ends = np.random.default_rng(0), list[Node](), list[Node]()
    for k, ((low, high), (lo, hi), inputs) in enumerate(PAIRS):
        weight = rng.integers(low, high + 1, (3, inputs))
        weight[0], weight[1, :2] = low, (low, high)
        nodes.append(Input(name=f"x{k}", shape=(inputs,), lo=lo, hi=hi))
        ends.append(Dense(name=f"d{k}", x=f"x{k}", weight=Ints(weight), bias=Ints(rng.integers(-999, 999, 3))))
        ends.append(Output(name=f"y{k}", x=f"d{k}"))
    return Network(nodes=(*nodes, *ends))


@pytest.mark.parametrize("core", ["cortex_m0", "cortex_m3", "cortex_m4", "rv32imc", "avr"])
def test_layers_of_all_types_are_exact(core: str) -> None:
    network = layers()
    inputs = random_inputs(network, 2, 24)
    measure(McuBackend().program(network), load_machine(core), inputs, interp.outputs(network, inputs))


def test_two_products_at_once_where_the_types_allow_it() -> None:
    source = emit(layers(), "n").source
    functions = [text for text in source.split("static ALONE ")[1:] if text.startswith("int")]
    with_pairs = {text.partition("*w, const ")[2].partition(" ")[0] + text.partition("(const ")[2].partition(" ")[0]
                  for text in functions if "__smlad" in text}  # fmt: skip
    assert with_pairs == {
        "uint8_tint8_t",
        "int8_tint8_t",
        "int8_tuint8_t",
        "uint8_tuint8_t",
        "int16_tint16_t",
        "uint16_tint16_t",
    }
    assert "((uint64_t)" not in "".join(text for text in functions if "__smlad" in text)


def test_weights_beyond_signed_numbers_are_multiplied_one_by_one() -> None:
    weight = Ints(np.array([[40000, *[1] * 7], [3] * 8]))
    layer = Dense(name="d", x="x", weight=weight, bias=Ints([0]))
    network = Network(nodes=(Input(name="x", shape=(8,), lo=0, hi=300), layer, Output(name="y", x="d")))
    inputs = {"x": np.array([[300] * 8, [0] * 8, [1, *[300] * 7]])}
    measure(McuBackend().program(network), load_machine("cortex_m4"), inputs, interp.outputs(network, inputs))


def test_a_cortex_m4_takes_fewer_instructions_than_a_cortex_m3() -> None:
    m3, m4 = (measured((64, 10, 10), core) for core in ("cortex_m3", "cortex_m4"))
    assert m4.mean < 0.8 * m3.mean
    assert m4.flash_bytes < m3.flash_bytes + 80
