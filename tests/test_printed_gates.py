"""The printed back end's circuits: networks as gates, the heap, words, Verilog and the mapped netlist's simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgecomp import interp
from edgecomp.backends.printed.forms import Decision, Form
from edgecomp.backends.printed.gates import FALSE, TRUE, Circuit, Gates, Kind, Port
from edgecomp.backends.printed.lower import to_circuit
from edgecomp.backends.printed.sums import Sum, Word, adders, combine, compress, digits, of_word, to_word, weight
from edgecomp.backends.printed.verilog import circuit_verilog
from edgecomp.ir import ArgMax, Dense, Input, Ints, Network, Output, Requant
from edgecomp.ir.ranges import bits_of
from tests.growth import Codes
from tests.networks import random_inputs, random_network

FORMS = [Form(decision=decision, centred=centred) for decision in Decision for centred in (False, True)]


def execute(circuit: Circuit, inputs: dict[str, Codes]) -> dict[str, Codes]:
    """The circuit on host codes, node by node: independent of the bit-parallel simulator."""
    samples = len(next(iter(inputs.values())))
    value = np.zeros((len(circuit.kind), samples), dtype=bool)
    for port in circuit.inputs:
        codes = inputs[port.node].reshape(samples, -1)[:, port.index]
        for place, lit in enumerate(port.bits):
            value[lit >> 1] = codes >> place & 1

    def of(lit: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.asarray(value[lit >> 1] ^ bool(lit & 1))

    for node, kind in enumerate(circuit.kind):
        if kind >= Kind.AND:
            a, b = of(int(circuit.a[node])), of(int(circuit.b[node]))
            value[node] = a & b if kind == Kind.AND else a ^ b
    results: dict[str, list[Codes]] = {}
    for port in circuit.outputs:
        total = np.zeros(samples, dtype=np.int64)
        for place, lit in enumerate(port.bits):
            top = port.signed and place == len(port.bits) - 1
            total += of(lit).astype(np.int64) * (-(1 << place) if top else 1 << place)
        results.setdefault(port.node, []).append(total)
    return {node: np.stack(columns, axis=1) for node, columns in results.items()}


def classifier(seed: int, classes: int) -> Network:
    """A random two-layer classifier whose logits often tie."""
    rng = np.random.default_rng(seed)
    return Network(
        nodes=(
            Input(name="x", shape=(5,), lo=0, hi=7),
            Dense(name="first", x="x", weight=Ints(rng.integers(-4, 5, (4, 5))), bias=Ints(rng.integers(-9, 9, 4))),
            Requant(name="act", x="first", multiplier=Ints([1]), addend=Ints([0]), shift=2, lo=Ints([0]), hi=Ints([6])),
            Dense(name="last", x="act", weight=Ints(rng.integers(-2, 3, (classes, 4))), bias=Ints([0])),
            ArgMax(name="class", x="last"),
            Output(name="y", x="class"),
        )
    )


@pytest.mark.parametrize("seed", [2, 3, 4, 5, 6, 8, 12, 13, 14, 16, 19, 21, 24, 25, 27, 37, 40, 42, 44])
def test_random_networks_over_every_node_kind(seed: int) -> None:
    network = random_network(seed)
    inputs = random_inputs(network, seed, 200)
    expected = interp.outputs(network, inputs)
    got = execute(to_circuit(network, FORMS[seed % len(FORMS)]), inputs)
    for name, codes in expected.items():
        np.testing.assert_array_equal(got[name], codes.reshape(200, -1))


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_decision_keeps_the_tie_rule(form: Form, classes: int) -> None:
    network = classifier(classes, classes)
    inputs = random_inputs(network, 1, 4000)
    expected = interp.run(network, inputs)
    ties = (expected["last"] == expected["last"].max(axis=1, keepdims=True)).sum(axis=1)
    assert (ties > 1).sum() > 20
    got = execute(to_circuit(network, form), inputs)
    np.testing.assert_array_equal(got["y"], expected["y"])


def test_signed_digits() -> None:
    for value in range(-300, 301):
        found = digits(value)
        assert sum(sign << place for place, sign in found) == value
        assert len(found) == weight(value)
        assert all(after - before > 1 for (before, _), (after, _) in itertools.pairwise(found))


@pytest.mark.parametrize("seed", range(20))
def test_the_heap_on_every_input(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gates = Gates()
    bits = gates.add_input("x", 0, 6, signed=False).bits
    terms = tuple((lit >> 1, int(c)) for lit, c in zip(bits, rng.integers(-20, 21, 6), strict=True) if c)
    const = int(rng.integers(-50, 50))
    lo, hi = const + sum(min(c, 0) for _, c in terms), const + sum(max(c, 0) for _, c in terms)
    word = to_word(gates, Sum(const=const, terms=terms, lo=lo, hi=hi))
    assert len(word.bits) == bits_of(lo, hi)
    circuit = gates.finish([Port(node="y", index=0, bits=word.bits, signed=word.signed)])
    x = np.arange(64).reshape(-1, 1)
    coefficients = dict(terms)
    expected = const + sum(coefficients.get(lit >> 1, 0) * (x >> k & 1) for k, lit in enumerate(bits))
    np.testing.assert_array_equal(execute(circuit, {"x": x})["y"], expected)


def test_a_number_is_wires() -> None:
    """A sum that is a binary number already costs no gate, signed or not, and turning its sign twice neither."""
    gates = Gates()
    for signed in (False, True):
        bits = gates.add_input("x", 0, 5, signed=signed).bits
        lo, hi = (-16, 15) if signed else (0, 31)
        value = of_word(Word(bits=bits, signed=signed, lo=lo, hi=hi))
        assert to_word(gates, combine([(-1, combine([(-1, value)]))])).bits == bits
        assert compress(gates, combine([(8, value)]), 8)[3:] == list(bits)
    assert set(gates.kind) == {Kind.CONSTANT, Kind.INPUT}


def test_the_price_of_a_heap() -> None:
    assert adders([[2, 4, 6], [], []], 0) == 9
    assert adders([[2, 4], [], []], 0) == 5
    assert adders([[2], [], []], 1) == 0
    assert adders([[2, 4], [8], []], 0) == 10


def test_folding_and_hashing() -> None:
    gates = Gates()
    a, b, c = gates.add_input("x", 0, 3, signed=False).bits
    assert gates.both(a, FALSE) == gates.both(a, a ^ 1) == FALSE
    assert gates.both(a, TRUE) == gates.both(a, a) == gates.either(a, FALSE) == a
    assert gates.differ(a, a ^ 1) == TRUE
    assert gates.differ(a, TRUE) == a ^ 1
    assert gates.differ(a ^ 1, b) == gates.differ(b, a) ^ 1
    assert gates.both(b, a) == gates.both(a, b)
    assert gates.choose(c, a, a) == a
    assert gates.choose(c, a, FALSE) == gates.both(c ^ 1, a)
    assert gates.choose(c, TRUE, b) == gates.either(c ^ 1, b)
    assert gates.choose(c, a, a ^ 1) == gates.differ(c, a)
    assert gates.majority(a, b, FALSE) == gates.both(a, b)
    assert gates.majority(a, b, TRUE) == gates.either(a, b)
    assert gates.majority(a, a, c) == a


def test_verilog_of_a_small_circuit() -> None:
    gates = Gates()
    a, b = gates.add_input("x", 0, 2, signed=False).bits
    ends = [Port(node="y", index=0, bits=(gates.differ(a, b), gates.both(a, b ^ 1), TRUE), signed=False)]
    assert circuit_verilog(gates.finish(ends), "top").splitlines() == [
        "module top (",
        "    input  wire [1:0] x,",
        "    output wire [2:0] y",
        ");",
        "    wire n3 = x[0] ^ x[1];",
        "    wire n4 = x[0] & ~x[1];",
        "    assign y[0] = n3;",
        "    assign y[1] = n4;",
        "    assign y[2] = 1'b1;",
        "endmodule",
    ]
