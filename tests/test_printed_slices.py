"""Large circuits in slices: cut anywhere, each proven, joined to what the whole computes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgecomp import interp
from edgecomp.backends.printed import load_library, mapping, slices
from edgecomp.backends.printed.cost import area_cm2
from edgecomp.backends.printed.forms import Form
from edgecomp.backends.printed.gates import Circuit, Gates, Kind, Port
from edgecomp.backends.printed.library import cell_models
from edgecomp.backends.printed.lower import to_circuit
from edgecomp.backends.printed.mapping import map_circuit
from edgecomp.backends.printed.verilog import netlist_verilog
from edgecomp.errors import ToolError
from edgecomp.simulate.gates import simulate
from tests.networks import random_inputs
from tests.test_printed_gates import classifier

MAP = "strash; amap"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "LARGE", 150)
    monkeypatch.setattr(slices, "SLICE", 150)
    monkeypatch.setattr(slices, "SLACK", 40)


def test_slices_hold_every_gate_once_and_read_what_was_given() -> None:
    circuit = to_circuit(classifier(3, 3), Form())
    parts = slices.cut(circuit)
    assert len(parts) >= 3
    assert sum(part.circuit.gates for part in parts) == circuit.gates
    assert all(part.circuit.gates <= 190 for part in parts)
    known = set(np.flatnonzero(circuit.kind == Kind.INPUT).tolist())
    for part in parts:
        assert set(part.reads.tolist()) <= known
        known |= set(part.gives.tolist())
    assert {bit >> 1 for port in circuit.outputs for bit in port.bits} <= known | {0}


@pytest.mark.parametrize("seed", [3, 4])
def test_joined_slices_equal_the_interpreter(seed: int) -> None:
    target, network = load_library(), classifier(seed, 3)
    circuit, told = to_circuit(network, Form()), list[tuple[int, int]]()
    mapped = map_circuit(circuit, target, scripts=[MAP], progress=lambda done, total, _: told.append((done, total)))
    count = len(slices.cut(circuit))
    assert told == [(k + 1, count) for k in range(count)]
    inputs = random_inputs(network, 7, 2000)
    got = simulate(mapped.netlist, target, inputs).outputs
    for name, codes in interp.outputs(network, inputs).items():
        assert np.array_equal(got[name].reshape(codes.shape), codes)
    (attempt,) = mapped.attempts
    assert attempt.area_cm2 is not None
    assert area_cm2(mapped.netlist, target) <= attempt.area_cm2  # inverters vanish at the seams


def chain(length: int) -> Circuit:
    """Outputs that are inverted, constant, an input, and constant only after mapping."""
    gates = Gates()
    x = gates.add_input("x", 0, 9, signed=False).bits
    value = x[0]
    for k in range(length):
        value = gates.differ(gates.both(value, x[1 + k % 8]) ^ 1, x[(3 * k) % 9])
    hidden = gates.both(gates.both(x[0], x[1]), gates.both(x[0] ^ 1, x[2]))  # false, which no hashing sees
    bits = (value ^ 1, 1, x[4], hidden ^ 1, value)
    return gates.finish([Port(node="y", index=0, bits=bits, signed=False)])


def test_ends_that_are_inverted_constant_or_inputs() -> None:
    target, circuit = load_library(), chain(300)
    assert len(slices.cut(circuit)) >= 3
    sliced = map_circuit(circuit, target, scripts=["strash; dc2; amap"]).netlist
    codes = np.arange(512).reshape(-1, 1)
    got = simulate(sliced, target, {"x": codes}).outputs["y"]
    x = [codes[:, 0] >> k & 1 for k in range(9)]
    value = x[0]
    for k in range(300):
        value = (1 ^ value & x[1 + k % 8]) ^ x[(3 * k) % 9]
    expected = (1 ^ value) + 2 + 4 * x[4] + 8 + 16 * value
    assert np.array_equal(got[:, 0], expected)


@pytest.mark.parametrize("name", ["n5", "n3", "u0", "tie1"])
@pytest.mark.parametrize("large", [False, True])
def test_ports_may_be_called_as_wires_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, large: bool
) -> None:
    if not large:
        monkeypatch.setattr(mapping, "LARGE", 10**6)
    target, gates = load_library(), Gates()
    x = [gates.add_input(f"{name}" if k == 0 else f"x{k}", 0, 1, signed=False).bits[0] for k in range(4)]
    value = x[0]
    for k in range(250):
        value = gates.differ(gates.both(value, x[k % 3 + 1]) ^ 1, x[k * k % 4])
    circuit = gates.finish([Port(node="y", index=0, bits=(value,), signed=False)])
    netlist = map_circuit(circuit, target, scripts=[MAP]).netlist
    codes = np.arange(16)
    given = {port.node: codes.reshape(-1, 1) >> k & 1 for k, port in enumerate(circuit.inputs)}
    got = simulate(netlist, target, given).outputs["y"][:, 0]
    wanted = codes & 1
    for k in range(250):
        wanted = (1 ^ wanted & (codes >> (k % 3 + 1))) & 1 ^ (codes >> (k * k % 4)) & 1
    assert np.array_equal(got, wanted)
    (tmp_path / "a.v").write_text(netlist_verilog(netlist, target, "top") + cell_models(target, netlist.names))
    subprocess.run(["iverilog", "-g2005", "-o", "a.vvp", "a.v"], cwd=tmp_path, check=True)


def test_a_script_that_fails_is_reported_and_the_other_kept() -> None:
    target, circuit = load_library(), chain(300)
    mapped = map_circuit(circuit, target, scripts=["nonsense", MAP])
    count = len(slices.cut(circuit))
    assert mapped.attempts[0].area_cm2 is None
    assert mapped.attempts[0].failure == f"{count} of {count} slices: the script wrote nothing"
    assert mapped.attempts[1].area_cm2 is not None
    with pytest.raises(ToolError, match="no mapping script gave a netlist"):
        map_circuit(circuit, target, scripts=["nonsense"])
