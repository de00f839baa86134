"""Sums of functions of narrow words: packed into look-up tables, exact for signed, stepped and constant words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp import interp
from edgecomp.backends.rtl.circuit import make_circuit
from edgecomp.backends.rtl.figures import FORMS, PACKED, circuits_for
from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.options import RtlOptions
from edgecomp.backends.rtl.packs import INPUTS, Term, packed
from edgecomp.backends.rtl.words import variable
from edgecomp.ir import Dense, Input, Ints, Network, Node, Output, Requant, TableDense
from edgecomp.project import load_target

SAMPLES = 100


def chained(*nodes: Node) -> Network:
    return Network(nodes=(*nodes, Output(name="y", x=nodes[-1].name)))


def assert_exact(network: Network, form: Form) -> int:
    """LUTs of the circuit in alkaid's model, whose interpreter gives what the network gives."""
    (entry,) = network.inputs
    codes = np.random.default_rng(0).integers(entry.lo, entry.hi + 1, (SAMPLES, *entry.shape))
    circuit = make_circuit(network, form, cutoff=6)
    np.testing.assert_array_equal(circuit.predict(codes), interp.outputs(network, {entry.name: codes})["y"])
    return circuit.lut


@settings(max_examples=10, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_sums_of_tables_are_exact(seed: int) -> None:
    """Words of one to seven bits, some of either sign, some constant, some that step by more than one."""
    rng = np.random.default_rng(seed)
    inputs, outputs = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    lo, hi = int(rng.integers(-6, 2)), int(rng.integers(2, 9))
    x = Input(name="x", shape=(inputs,), lo=lo, hi=hi, zero_point=int(rng.integers(-1, 2)))
    top = rng.integers(0, hi + 2, inputs)
    clip = Requant(name="r", x="x", multiplier=Ints(rng.choice([-2, 1, 2, 4], inputs)), addend=Ints([0]), shift=0,
                   lo=Ints(rng.integers(-9, 1, inputs)), hi=Ints(top))  # fmt: skip
    value = chained(x, clip).values()["r"]
    tables = rng.integers(-9, 10, (outputs, inputs, value.greatest - value.least + 1))
    tables[rng.random((outputs, inputs)) < 0.2] = 3
    assert_exact(chained(x, clip, TableDense(name="t", x="r", tables=Ints(tables), lo=Ints([value.least]))), Form())


@settings(max_examples=6, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_products_of_narrow_words_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lo, hi = rng.choice([(0, 1), (-1, 0), (-2, 1), (0, 3), (0, 7), (-1, 1)]).tolist()
    x = Input(name="x", shape=(11,), lo=lo, hi=hi)
    weight = rng.integers(-7, 8, (4, 11)) * (rng.random((4, 11)) < 0.7)
    dense = Dense(name="d", x="x", weight=Ints(weight), bias=Ints(rng.integers(-40, 40, 4)))
    for form in PACKED:
        assert_exact(chained(x, dense), form)


def test_words_share_tables_of_six_inputs_by_reach() -> None:
    terms = [Term(word=variable(0, 3), values=(0, n, n, n)) for n in range(1, 8)]
    terms.append(Term(word=variable(0, 127), values=tuple(range(128))))
    reaches = [[term.reach for term in pack] for pack in packed(terms)]
    assert reaches == [[127], [7, 6, 5], [4, 3, 2], [1]]
    assert all(sum(term.bits for term in pack) <= INPUTS for pack in packed(terms)[1:])


@pytest.mark.parametrize(("hi", "offered"), [(1, True), (7, True), (15, False)])
def test_packing_is_tried_where_words_are_narrow(hi: int, offered: bool) -> None:
    rng = np.random.default_rng(0)
    dense = Dense(name="d", x="x", weight=Ints(rng.integers(-7, 8, (2, 12))), bias=Ints([0]))
    tried = circuits_for(chained(Input(name="x", shape=(12,), lo=0, hi=hi), dense), load_target("fpga"), RtlOptions())
    assert len(tried) == len(FORMS) + len(PACKED) * offered
    assert tried[0].lut == min(circuit.lut for circuit in tried if circuit.cycles <= tried[0].cycles)


def test_packing_saves_tables() -> None:
    """Six bits with unlike weights: one table in place of five additions."""
    dense = Dense(name="d", x="x", weight=Ints([[3, 5, -7, 6, 2, -4]]), bias=Ints([9]))
    x = Input(name="x", shape=(6,), lo=0, hi=1)
    assert assert_exact(chained(x, dense), Form(packed=True)) <= 6


@settings(max_examples=8, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_look_ups_by_bits_side_by_side_are_counted_exactly(seed: int) -> None:
    """Addresses of a few bits or small codes, zero and negative weights among them; tables of few values, summed."""
    rng = np.random.default_rng(seed)
    x = Input(name="x", shape=(12,), lo=0, hi=int(rng.choice([1, 1, 2, 3])))
    bits, nodes = x.hi.bit_length(), int(rng.integers(6, 16))
    weight = np.zeros((nodes, 12), dtype=np.int64)
    for row in weight:
        chosen = rng.permutation(12)[: 6 // bits]
        row[chosen] = 1 << bits * np.arange(len(chosen))
    weight[rng.integers(nodes), rng.integers(12)] += rng.integers(-2, 2)
    address = Dense(name="a", x="x", weight=Ints(weight), bias=Ints(rng.integers(-2, 3, nodes)))
    value = chained(x, address).values()["a"]
    tables = rng.integers(0, rng.integers(2, 4), (2, nodes, value.greatest - value.least + 1))
    sums = TableDense(name="t", x="a", tables=Ints(tables + rng.integers(-1, 2)), lo=Ints([value.least]))
    for form in (Form(), *PACKED):
        assert_exact(chained(x, address, sums), form)


def test_rows_whose_bits_lie_apart_are_wires() -> None:
    x = Input(name="x", shape=(9,), lo=0, hi=1)
    weight = np.zeros((20, 9), dtype=np.int64)
    for seed, row in enumerate(weight):
        row[np.random.default_rng(seed).permutation(9)[:6]] = 1 << np.arange(6)
    dense = Dense(name="d", x="x", weight=Ints(weight), bias=Ints([0]))
    assert [assert_exact(chained(x, dense), form) for form in (Form(), *PACKED)] == [0, 0]


def test_single_bits_are_counted_by_tables() -> None:
    """Thirty bits: five tables of three outputs each, then additions; by additions alone it takes 90."""
    tables = np.random.default_rng(0).integers(0, 2, (1, 30, 64))
    x = Input(name="x", shape=(30,), lo=0, hi=63)
    lut = assert_exact(chained(x, TableDense(name="t", x="x", tables=Ints(tables), lo=Ints([0]))), Form())
    assert lut < 80
