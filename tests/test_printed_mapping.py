"""Mapping to printed cells: the library, netlists, proofs, simulation of the mapped gates, cost and files."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgecomp import interp
from edgecomp.backends.printed import PrintedBackend, load_library, mapping
from edgecomp.backends.printed.cost import cost_of, delay_ms
from edgecomp.backends.printed.design import Design, design_files, forms_of, make_design, simulate_design
from edgecomp.backends.printed.estimate import mapped_figures, predicted_cm2
from edgecomp.backends.printed.forms import Decision, Form
from edgecomp.backends.printed.gates import Gates, Port
from edgecomp.backends.printed.library import PrintedTarget, genlib, parse_function, read_library
from edgecomp.backends.printed.mapping import map_circuit
from edgecomp.backends.printed.netlist import Netlist, read_blif
from edgecomp.backends.printed.options import Effort, PrintedOptions
from edgecomp.backends.printed.scripts import QUICK
from edgecomp.errors import InexpressibleError, MismatchError, ToolError, UsageError
from edgecomp.ir import Dense, Input, Ints, Network, Output, Step
from edgecomp.passes import with_argmax
from edgecomp.resources import resource
from edgecomp.simulate.gates import CHUNK_VECTORS, simulate
from tests.networks import random_inputs
from tests.test_printed_gates import classifier

BACKEND = PrintedBackend()
QUICKLY = PrintedOptions(effort=Effort.QUICK)


@pytest.fixture(scope="module")
def target() -> PrintedTarget:
    return load_library()


@pytest.fixture(scope="module")
def design(target: PrintedTarget) -> Design:
    return make_design(classifier(3, 3), target, QUICKLY)


def ports(node: str, *bits: int) -> tuple[Port, ...]:
    return (Port(node=node, index=0, bits=bits, signed=False),)


def blif(*gates: str) -> str:
    return "\n".join([".model m", ".inputs x[0] x[1]", ".outputs y", *gates, ".end"])


def netlist(target: PrintedTarget, *gates: str) -> Netlist:
    return read_blif(blif(*gates), target, ports("x", 2, 4), ports("y", 6))


def test_every_number_of_the_library_has_a_unit_and_a_source(target: PrintedTarget) -> None:
    text = (resource("targets") / "egfet.toml").read_text()
    assert re.search(r'^source = ".{20,}"$', text, re.MULTILINE)
    assert set(re.findall(r'^(\w+) = "(?:um2|uW|ms|mW)"$', text, re.MULTILINE)) == {
        "area", "static", "mean", "rise", "fall", "supply",
    }  # fmt: skip
    assert target.voltages == (1.0, 0.8, 0.6)
    assert [name for name, _ in target.supplies] == ["harvester", "Blue Spark", "Zinergy", "Molex"]
    assert target.cells["NAND2"].truth == (True, True, True, False)
    for cell in target.cells.values():
        for voltage in target.voltages:
            assert len(cell.static_uw[voltage]) == len(cell.truth)
            assert min(cell.static_uw[voltage]) > 0
        assert cell.static_uw[1.0] > cell.static_uw[0.8] > cell.static_uw[0.6]


def test_composites_compute_their_function(target: PrintedTarget) -> None:
    for name, composite in target.composites.items():
        assert re.search(rf"^GATE {name} ", genlib(target, 1.0), re.MULTILINE)
        got = netlist(target, f".gate {name} a=x[0] b=x[1] O=y")
        codes = np.arange(4).reshape(-1, 1)
        expected = parse_function(composite.function)[1]
        assert simulate(got, target, {"x": codes}).outputs["y"][:, 0].tolist() == list(expected)
        assert set(got.counts()) <= set(target.cells)


@pytest.mark.parametrize(
    ("function", "truth"),
    [("!a", (True, False)), ("a*!b+!a*b", (False, True, True, False)), ("!((a+b)*c)", (1, 1, 1, 1, 1, 0, 0, 0))],
)
def test_functions(function: str, truth: tuple[bool, ...]) -> None:
    assert parse_function(function)[1] == truth


@pytest.mark.parametrize("text", ["a*", "(a+b", "a b", "a-b", "a)"])
def test_functions_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"function|parenthesis"):
        parse_function(text)


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    for text in ("", "family = 3", 'family = "printed"', "="):
        path.write_text(text)
        with pytest.raises(UsageError, match="is no printed cell library"):
            read_library(path)
    with pytest.raises(UsageError, match="is no printed cell library"):
        read_library(tmp_path / "none.toml")
    whole = (resource("targets") / "egfet.toml").read_text()
    path.write_text(whole.replace("[0.491, 19.284]", "[0.491]"))
    with pytest.raises(UsageError, match="INV has 2 states"):
        read_library(path)


def test_another_library_is_one_more_file(tmp_path: Path) -> None:
    """A three-input cell and no composites: mapped, simulated and paid for alike."""
    text = (resource("targets") / "egfet.toml").read_text()
    text = text[: text.index("# Several cells")] + text[text.index("[supplies]") :]
    majority = '\n[cells.MAJ3]\nfunction = "a*b+b*c+a*c"\narea = 1000\nstatic = { "1.0" = [1, 2, 3, 4, 5, 6, 7, 8] }\n'
    path = tmp_path / "other.toml"
    path.write_text(text + majority + 'mean = { "1.0" = 4.5 }\nrise = { "1.0" = 1 }\nfall = { "1.0" = 1 }\n')
    library = read_library(path)
    gates = Gates()
    a, b, c = gates.add_input("x", 0, 3, signed=False).bits
    circuit = gates.finish(list(ports("y", gates.majority(a, b, c))))
    mapped = map_circuit(circuit, library, scripts=["strash; map -a"]).netlist
    assert mapped.counts() == {"MAJ3": 1}
    ran = simulate(mapped, library, {"x": np.arange(8).reshape(-1, 1)})
    assert ran.outputs["y"][:, 0].tolist() == [0, 0, 0, 1, 0, 1, 1, 1]
    assert sorted(ran.states[0].tolist()) == [1] * 8
    assert cost_of(mapped, library, ran.states).at(1.0).power_mw == pytest.approx(4.5e-3)


def test_buffers_double_inverters_and_equal_cells_vanish(target: PrintedTarget) -> None:
    got = netlist(
        target, ".gate BUF_PSEUDO a=x[0] O=p", ".gate INV a=p O=q", ".gate INV a=q O=r",
        ".gate NAND2 a=r b=x[1] O=s", ".gate NAND2 a=x[1] b=x[0] O=t", ".gate NOR2 a=s b=t O=y",
        ".gate INV a=x[1] O=unread",
    )  # fmt: skip
    assert got.counts() == {"NAND2": 1, "NOR2": 1}


@pytest.mark.parametrize(
    ("gates", "message"),
    [((".gate INV a=z O=y",), "drives z nowhere"), ((".names x[0] y", "1 1"), "holds what is no cell: .names x[0] y")],
)
def test_netlists_that_are_none(target: PrintedTarget, gates: tuple[str, ...], message: str) -> None:
    with pytest.raises(ToolError, match=re.escape(message)):
        netlist(target, *gates)


def test_constants_and_wires_cost_nothing(target: PrintedTarget) -> None:
    gates = Gates()
    (bit,) = gates.add_input("x", 0, 1, signed=False).bits
    circuit = gates.finish([Port(node="y", index=0, bits=(bit, 1, 0), signed=False)])
    mapped = map_circuit(circuit, target, scripts=[QUICK]).netlist
    assert mapped.cells == 0
    ran = simulate(mapped, target, {"x": np.array([[0], [1]])})
    assert ran.outputs["y"][:, 0].tolist() == [2, 3]
    cost = cost_of(mapped, target, ran.states)
    assert (cost.area_cm2, cost.at(0.6).power_mw, cost.at(0.6).supply) == (0, 0, "harvester")
    assert cost.converters == {1: 1}


def test_static_power_and_delay_by_hand(target: PrintedTarget) -> None:
    got = netlist(target, ".gate NAND2 a=x[0] b=x[1] O=p", ".gate INV a=p O=y")
    codes = np.array([[0], [3], [3], [1]])
    ran = simulate(got, target, {"x": codes})
    assert ran.states.tolist() == [[1, 1, 0, 2], [2, 2, 0, 0]]
    cost = cost_of(got, target, ran.states)
    nand, inv = target.cells["NAND2"].static_uw[1.0], target.cells["INV"].static_uw[1.0]
    micro = (nand[0] + nand[1] + 2 * nand[3] + 2 * inv[1] + 2 * inv[0]) / 4
    assert cost.at(1.0).power_mw == pytest.approx(micro / 1000)
    assert cost.area_cm2 == pytest.approx((247860 + 228420) / 1e8)
    assert delay_ms(got, target, 1.0) == pytest.approx(max(1.234 + 0.078, 0.887 + 0.932))
    assert cost.at(0.8).supply == "harvester"


def test_the_period_grows_with_the_delay(target: PrintedTarget) -> None:
    chain = [f".gate XOR2 a=n{k} b=x[1] O=n{k + 1}" for k in range(60)]
    got = netlist(target, ".gate BUF_PSEUDO a=x[0] O=n0", *chain, ".gate BUF_PSEUDO a=n60 O=y")
    cost = cost_of(got, target, simulate(got, target, {"x": np.arange(4).reshape(-1, 1)}).states)
    assert cost.at(0.6).period_ms == cost.at(0.6).delay_ms > 200
    assert cost.at(1.0).delay_ms < 200 == cost.at(1.0).period_ms


def test_dropped_input_bits_save_converter_bits(target: PrintedTarget) -> None:
    gates = Gates()
    first = gates.add_input("x", 0, 4, signed=False).bits
    second = gates.add_input("x", 1, 4, signed=False).bits
    circuit = gates.finish(list(ports("y", gates.both(first[2], first[3]), gates.both(first[2], second[3]))))
    mapped = map_circuit(circuit, target, scripts=["strash; amap"]).netlist
    cost = cost_of(mapped, target, simulate(mapped, target, {"x": np.zeros((1, 2), dtype=np.int64)}).states)
    assert cost.converters == {1: 1, 2: 1}
    assert cost.converter_area_cm2 == pytest.approx(2 * 0.0376)


def test_mapped_gates_equal_the_interpreter(target: PrintedTarget, design: Design) -> None:
    network = classifier(3, 3)
    inputs = random_inputs(network, 5, CHUNK_VECTORS + 100)
    expected = interp.outputs(network, inputs)
    cost = simulate_design(design, target, inputs, expected)
    assert 0.2 < predicted_cm2(design.circuit, target) / cost.area_cm2 < 5
    some = {name: codes[:50] for name, codes in inputs.items()}
    seen = simulate_design(design, target, some, {"y": expected["y"][:50]})
    assert simulate_design(design, target, inputs, expected, n_user=50) == seen != cost
    wrong = {"y": expected["y"].copy()}
    wrong["y"][CHUNK_VECTORS + 7] ^= 1
    with pytest.raises(
        MismatchError, match=rf"the mapped gates differ in 1 codes, first sample {CHUNK_VECTORS + 7}, y"
    ):
        simulate_design(design, target, inputs, wrong)
    figures = mapped_figures(cost, target)
    assert figures["area"].value == round(cost.area_cm2, 5)
    assert figures["supply_0.6V"].value == cost.at(0.6).supply


def test_the_same_circuit_with_its_logits_brought_out(target: PrintedTarget) -> None:
    nodes = classifier(4, 3).nodes
    plain = Network(nodes=(*nodes[:-2], Output(name="y", x="last")))
    network = with_argmax(plain, keep_logits=True)
    alone = make_design(with_argmax(plain), target, QUICKLY)
    both = make_design(network, target, QUICKLY, form=alone.form)
    assert (both.form, len(both.attempts)) == (alone.form, 1)
    inputs = random_inputs(network, 2, 3000)
    expected = interp.outputs(network, inputs)
    assert expected["logits"].shape == (3000, 3)
    simulate_design(both, target, inputs, expected)


def test_a_broken_cell_is_found(target: PrintedTarget, design: Design) -> None:
    """Of ten changed cells, all but some that matter on no reachable code make a code differ."""
    network = classifier(3, 3)
    inputs = random_inputs(network, 5, 4000)
    expected = interp.outputs(network, inputs)
    names = (*design.netlist.names, "XOR2") if "XOR2" not in design.netlist.names else design.netlist.names
    found = 0
    for cell in np.linspace(0, design.netlist.cells - 1, 10).astype(int):
        kind = design.netlist.kind.copy()
        pins = design.netlist.pins.copy()
        kind[cell], pins[cell] = names.index("XOR2"), [pins[cell, 0], 1]
        broken = dataclasses.replace(
            design, netlist=dataclasses.replace(design.netlist, names=names, kind=kind, pins=pins)
        )
        try:
            simulate_design(broken, target, inputs, expected)
        except MismatchError:
            found += 1
    assert found >= 7


def spilled(tmp_path: Path, design: Design, target: PrintedTarget) -> Path:
    network = classifier(3, 3)
    inputs = random_inputs(network, 7, 200)
    design_files(design, target, inputs, interp.outputs(network, inputs)).spill(tmp_path)
    return tmp_path / "printed"


def run_sh(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "run.sh"], cwd=folder, capture_output=True, text=True, check=False)


def test_the_bundle_simulates_itself_and_bites(tmp_path: Path, target: PrintedTarget, design: Design) -> None:
    folder = spilled(tmp_path, design, target)
    ran = run_sh(folder)
    assert (ran.returncode, ran.stdout) == (0, f"{design.netlist.cells} cells, 200 samples: 0 of 200 codes differ\n")
    expected = folder / "tb_data" / "expected_y.dat"
    text = expected.read_text()
    lines = text.splitlines()
    lines[120] = str((int(lines[120]) + 1) % 3)
    expected.write_text("\n".join(lines) + "\n")
    ran = run_sh(folder)
    assert ran.returncode == 1
    assert ran.stdout.startswith("first difference: sample 119, y[0]: expected ")
    expected.write_text(text[: len(text) // 2])
    assert run_sh(folder).returncode == 2
    expected.write_text(text)
    cells = folder / "netlist.v"
    source = cells.read_text()
    cells.write_text(
        source.replace("    NAND2 u", "    NOR2 u", 1) if "NOR2" in design.netlist.names else source + "    BAD u1 ();"
    )
    assert run_sh(folder).returncode in (1, 2)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not there")
def test_iverilog_gives_the_same_classes(tmp_path: Path, target: PrintedTarget, design: Design) -> None:
    """An outside simulator on both the circuit and the mapped netlist."""
    folder = spilled(tmp_path, design, target)
    inputs = np.loadtxt(folder / "tb_data" / "inputs_x.dat", skiprows=1, max_rows=200, dtype=np.int64)
    expected = np.loadtxt(folder / "tb_data" / "expected_y.dat", skiprows=1, max_rows=200, dtype=np.int64)
    words = (inputs << (3 * np.arange(5))).sum(axis=1)
    (folder / "vectors.hex").write_text("\n".join(f"{w:x}" for w in words) + "\n")
    (folder / "bench.v").write_text(
        "module bench; reg [14:0] m [0:199]; reg [14:0] x; wire [1:0] y; integer i; classifier c (.x(x), .y(y));\n"
        'initial begin $readmemh("vectors.hex", m); for (i = 0; i < 200; i = i + 1) begin x = m[i]; #1 '
        '$display("%0d", y); end end endmodule\n'
    )
    for sources in (["circuit.v"], ["cells.v", "netlist.v"]):
        subprocess.run(["iverilog", "-g2005", "-o", "a.vvp", "bench.v", *sources], cwd=folder, check=True)
        ran = subprocess.run(["vvp", "-n", "a.vvp"], cwd=folder, capture_output=True, text=True, check=True)
        assert [int(line) for line in ran.stdout.split()] == expected.tolist()


def test_forms() -> None:
    assert forms_of(classifier(1, 2)) == (Form(),)
    assert forms_of(classifier(1, 6)) == (Form(), Form(centred=False))
    assert Form(decision=Decision.DIFFERENCES) in forms_of(classifier(1, 3))


def test_scripts_that_fail_are_reported(target: PrintedTarget) -> None:
    gates = Gates()
    a, b = gates.add_input("x", 0, 2, signed=False).bits
    circuit = gates.finish(list(ports("y", gates.both(a, b))))
    told = list[tuple[int, int, str]]()
    mapped = map_circuit(circuit, target, scripts=["nonsense", "strash; amap"], progress=lambda *a: told.append(a))
    assert [attempt.area_cm2 is None for attempt in mapped.attempts] == [True, False]
    assert mapped.attempts[0].failure == "the script wrote nothing"
    assert told == [(1, 2, "mapping scripts run and proven"), (2, 2, "mapping scripts run and proven")]
    with pytest.raises(ToolError, match="no mapping script gave a netlist: the script wrote nothing"):
        map_circuit(circuit, target, scripts=["nonsense"])


def test_a_wrong_netlist_is_not_proven(target: PrintedTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = Gates()
    a, b = gates.add_input("x", 0, 2, signed=False).bits
    circuit = gates.finish(list(ports("y", gates.both(a, b))))

    def swapped(*arguments: object) -> Netlist:
        return netlist(target, ".gate OR2 a=x[0] b=x[1] O=y")

    monkeypatch.setattr(mapping, "read_blif", swapped)
    with pytest.raises(MismatchError, match="mapping script 0 changed the circuit"):
        map_circuit(circuit, target, scripts=["strash; amap"])


def test_a_missing_mapper(target: PrintedTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMP_YOSYS_ABC", "no-such-program")
    circuit = Gates()
    ends = list(ports("y", circuit.add_input("x", 0, 1, signed=False).bits[0]))
    with pytest.raises(ToolError, match="'no-such-program' is no program"):
        map_circuit(circuit.finish(ends), target)


def test_what_is_too_large_is_refused_at_once(target: PrintedTarget) -> None:
    wide = Network(
        nodes=(
            Input(name="x", shape=(600,), lo=0, hi=65535),
            Dense(name="d", x="x", weight=Ints(np.full((60, 600), 5)), bias=Ints([0])),
            Step(name="s", x="d", thresholds=Ints([np.arange(300) * 7]), values=Ints([np.arange(301) % 5])),
            Output(name="y", x="s"),
        )
    )
    problems = BACKEND.check(wide, target, QUICKLY)
    assert [problem.what for problem in problems] == [
        "a function with 300 thresholds on 28 bits; 256 thresholds or 12 bits are the most",
        "the layers sum 1152000 bits; wired-in gates for more than 262144 are not made",
    ]
    with pytest.raises(InexpressibleError, match="the layers sum 1152000 bits"):
        BACKEND.legalize(wide, target, QUICKLY)
    network = classifier(2, 2)
    assert BACKEND.legalize(network, target, QUICKLY) is network
    assert BACKEND.emit(network, target, QUICKLY).files["printed/circuit.v"].startswith(b"module classifier (")
    assert [layer.node for layer in BACKEND.estimate(network, target, QUICKLY).layers] == ["first", "last"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"efort": "quick"}, "--set: there is no setting named efort\n  hint: did you mean effort or form?"),
        ({"effort": "fast"}, "--set effort: effort cannot be fast\n  hint: there are: full, quick"),
        ({"jobs": "-1"}, "--set jobs: jobs cannot be -1\n  hint: give an integer from 0 to 256"),
    ],
)
def test_settings(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        BACKEND.parse(settings)
    assert str(caught.value) == message
    assert BACKEND.parse({"effort": "quick", "jobs": "2"}) == PrintedOptions(effort=Effort.QUICK, jobs=2)
