"""The RTL back end: random networks in alkaid's interpreter, and a whole build simulated."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyosys
import pytest

from edgecomp import interp, tools
from edgecomp.backends.rtl import parse_options, synthesis
from edgecomp.backends.rtl.check import check
from edgecomp.backends.rtl.circuit import make_circuit
from edgecomp.backends.rtl.emit import project_files, vector_files
from edgecomp.backends.rtl.figures import FORMS as CHOICES
from edgecomp.backends.rtl.figures import PACKED
from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.lower import trace
from edgecomp.backends.rtl.options import Language
from edgecomp.backends.rtl.parts import FAMILIES, family
from edgecomp.backends.rtl.place import find_program, run_placer
from edgecomp.backends.rtl.synthesis import cell_figures, prove, synthesize, yosys
from edgecomp.cli import main
from edgecomp.errors import InexpressibleError, MismatchError, ToolError, UsageError
from edgecomp.export import to_onnx
from edgecomp.flows import flow_for
from edgecomp.flows.rtl import rtl_flow
from edgecomp.ir import Concat, Dense, Input, Ints, Network, Node, Output, Requant, Rounding, Step
from edgecomp.project import load_target, target_names
from edgecomp.resources import resource
from edgecomp.simulate import verify_script
from tests.networks import random_inputs, random_network
from tests.test_flows import classifier

FORMS = (Form(), Form(table_bits=0, saturate=False), Form(clamp=True, table_bits=3, depth=-1), Form(table_bits=8))
SAMPLES, IN_ICARUS = 200, 40
SEEDS = [seed for seed in range(43) if seed not in (3, 30, 36)]  # 30 and 36 need constants that are refused


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_are_exact_in_every_form(seed: int, tmp_path: Path) -> None:
    network = random_network(seed)
    if check(network, load_target("fpga")):
        assert max(value.bits for value in network.values().values()) > 40
        return
    simulate_one(tmp_path, network, seed, FORMS[seed % len(FORMS)])


def simulate_one(folder: Path, network: Network, seed: int, form: Form) -> None:
    """A random network in alkaid's interpreter, and its written sources in Icarus Verilog on the first samples."""
    inputs = random_inputs(network, seed, SAMPLES)
    circuit = make_circuit(network, form, cutoff=5)
    flat = np.concatenate([inputs[n.name].reshape(SAMPLES, -1) for n in network.inputs], axis=1)
    expected = interp.outputs(network, inputs)
    wanted = np.concatenate([codes.reshape(SAMPLES, -1) for codes in expected.values()], axis=1)
    np.testing.assert_array_equal(circuit.predict(flat), wanted)
    project_files(circuit, Language.VERILOG).merge(vector_files(inputs, expected)).spill(folder)
    said = run_icarus(folder / "rtl")
    assert said.startswith(f"passed: {IN_ICARUS} samples, latency {circuit.cycles} cycles"), said


def run_icarus(folder: Path) -> str:
    """What the bundle's own testbench says in Icarus Verilog."""
    program = folder / "icarus"
    compiler, runner = (tools.need(name, hint="install it") for name in ("iverilog", "vvp"))
    tools.run([compiler, "-g2005", "-o", program, folder / "testbench.v", *sorted((folder / "src").glob("*.v"))],
              cwd=folder, seconds=300)  # fmt: skip
    return tools.run([runner, "-n", program, f"+samples={IN_ICARUS}"], cwd=folder, seconds=300).output


def joined(networks: Sequence[Network]) -> Network:
    """The networks side by side in one, so that one compilation simulates all of them."""
    nodes: list[Node] = []
    for number, network in enumerate(networks):
        for node in network.nodes:
            fields = {"name": f"n{number}_{node.name}"}
            fields |= {key: f"n{number}_{getattr(node, key)}" for key in ("x", "a", "b") if hasattr(node, key)}
            renamed: Node = replace(node, **fields)  # type: ignore[arg-type]
            if isinstance(renamed, Concat):
                renamed = replace(renamed, xs=tuple(f"n{number}_{x}" for x in renamed.xs))
            nodes.append(renamed)
    inputs = [node for node in nodes if isinstance(node, Input)]
    outputs = [node for node in nodes if isinstance(node, Output)]
    between = [node for node in nodes if not isinstance(node, Input | Output)]
    return Network(nodes=(*inputs, *between, *outputs))


def simulate_seeds(folder: Path, seeds: Sequence[int], form: Form) -> None:
    """Random networks joined, in alkaid's interpreter, Verilator and Icarus Verilog."""
    chosen = [(seed, random_network(seed)) for seed in seeds]
    fit = [(seed, network) for seed, network in chosen if is_buildable(network, form)]
    network = joined([network for _, network in fit])
    inputs = {f"n{number}_{name}": codes for number, (seed, one) in enumerate(fit)
              for name, codes in random_inputs(one, seed, SAMPLES).items()}  # fmt: skip
    expected = interp.outputs(network, inputs)
    circuit = make_circuit(network, form, cutoff=5)
    flat = np.concatenate([inputs[n.name].reshape(SAMPLES, -1) for n in network.inputs], axis=1)
    wanted = np.concatenate([codes.reshape(SAMPLES, -1) for codes in expected.values()], axis=1)
    np.testing.assert_array_equal(circuit.predict(flat), wanted)
    project_files(circuit, Language.VERILOG).merge(vector_files(inputs, expected)).spill(folder)
    assert f"latency {circuit.cycles} cycles" in verify_script(folder, "rtl")


def test_random_networks_in_one_circuit_are_exact_in_both_simulators(tmp_path: Path) -> None:
    simulate_seeds(tmp_path, (4, 5, 6, 8), FORMS[0])


def is_buildable(network: Network, form: Form) -> bool:
    """Whether the back end refuses the network neither before nor while it traces."""
    if check(network, load_target("fpga")):
        return False
    try:
        trace(network, form)
    except InexpressibleError:
        return False
    return True


def buildable(first: int, count: int) -> Iterator[tuple[int, Network]]:
    """The first random networks from a seed on that can be built."""
    found = 0
    for seed in range(first, first + 4 * count):
        network = random_network(seed)
        if found == count:
            return
        if is_buildable(network, FORMS[seed % len(FORMS)]):
            found += 1
            yield seed, network
    assert found == count


@pytest.mark.long
@pytest.mark.parametrize("batch", range(50))
def test_five_hundred_random_networks_are_exact_in_simulation(batch: int, tmp_path: Path) -> None:
    for seed, network in buildable(1000 + 40 * batch, 10):
        simulate_one(tmp_path / str(seed), network, seed, FORMS[seed % len(FORMS)])


@pytest.mark.long
@pytest.mark.parametrize("batch", range(10))
def test_random_networks_side_by_side_are_exact_in_both_simulators(batch: int, tmp_path: Path) -> None:
    simulate_seeds(tmp_path, range(3000 + 5 * batch, 3004 + 5 * batch), FORMS[batch % len(FORMS)])


@pytest.mark.parametrize(
    ("lo", "hi", "multiplier", "addend", "shift"), [(-1, 1, 62, 2, 2), (-1, 1, 62, 6, 2), (-24, 137, -60, 4, 3)]
)
def test_a_bit_of_a_scaled_word_keeps_its_place(lo: int, hi: int, multiplier: int, addend: int, shift: int) -> None:
    node = Requant(name="r", x="x", multiplier=Ints([multiplier]), addend=Ints([addend]), shift=shift, lo=Ints([-9]),
                   hi=Ints([23]), rounding=Rounding.HALF_EVEN)  # fmt: skip
    network = Network(nodes=(Input(name="x", shape=(1,), lo=lo, hi=hi), node, Output(name="y", x="r")))
    x = np.arange(lo, hi + 1)[:, None]
    expected = interp.outputs(network, {"x": x})["y"]
    for form in (*FORMS, Form(clamp=True), Form(table_bits=0)):
        np.testing.assert_array_equal(make_circuit(network, form, cutoff=50).predict(x), expected)


@pytest.mark.parametrize("read_by_yosys", [False, True])
@pytest.mark.parametrize("xilinx", [False, True])
def test_cells_add_as_numbers_do(xilinx: bool, read_by_yosys: bool, tmp_path: Path) -> None:
    rng = random.Random(3)
    cells = resource("hls/rtl_cells.v").read_text()
    if xilinx:
        cells = cells.replace("module sum3 ", "module plain_sum3 ") + resource("hls/xilinx_sum3.v").read_text()
    lines, expected = [], []
    for number in range(120):
        terms = [(rng.randint(1, 9), rng.randint(0, 1), rng.randint(0, 1), rng.choice((0, 0, 1, 3, 6))) for _ in "abc"]
        least = min(pad for *_, pad in terms)
        drop, width = least + rng.choice((0, 0, 2)), rng.randint(1, 16)
        codes = [rng.getrandbits(bits) for bits, *_ in terms]
        values = [code - (signed and code >> (bits - 1) and 1 << bits)
                  for code, (bits, signed, _, _) in zip(codes, terms, strict=True)]  # fmt: skip
        total = sum((-1 if minus else 1) * value << pad
                    for value, (_, _, minus, pad) in zip(values, terms, strict=True))  # fmt: skip
        expected.append((total >> drop) % (1 << width))
        parameters = ", ".join(str(part) for term in terms for part in term)
        operands = ", ".join(f"{bits}'d{code}" for code, (bits, *_) in zip(codes, terms, strict=True))
        lines += [f"wire [{width - 1}:0] y{number};",
                  f"ternary_adder #({parameters}, {width}, {drop}) u{number} ({operands}, y{number});"]  # fmt: skip
    total_width = 16 * len(expected)
    joined = [f"assign y[{16 * n} +: 16] = y{n};" for n in range(len(expected))]
    held = [f"module held (output [{total_width - 1}:0] y);", *lines, *joined, "endmodule"]
    shown = [f'$display("%0d", y[{16 * n} +: 16]);' for n in range(len(expected))]
    bench = ["module bench;", f"wire [{total_width - 1}:0] y; held held (y);", "initial begin #10;", *shown, "end",
             "endmodule"]  # fmt: skip
    (tmp_path / "held.v").write_text("\n".join([cells, *held, ""]))
    if read_by_yosys:
        yosys(tmp_path, ["read_verilog held.v", "read_verilog -lib +/xilinx/cells_sim.v", "hierarchy -top held", "proc",
                         "flatten", "write_verilog -noattr held.v"])  # fmt: skip
    (tmp_path / "bench.v").write_text("\n".join([(tmp_path / "held.v").read_text(), *bench, ""]))
    models = [Path(pyosys.__file__).parent / "share" / "xilinx" / "cells_sim.v"] if xilinx else []
    simulator = tools.need("iverilog", hint="install it")
    tools.run([simulator, "-g2012", "-s", "bench", "-o", tmp_path / "bench", tmp_path / "bench.v", *models],
              cwd=tmp_path, seconds=60)  # fmt: skip
    said = tools.run([tools.need("vvp", hint="install it"), "-n", tmp_path / "bench"], cwd=tmp_path, seconds=60).output
    assert [int(line) for line in said.split()] == expected


def test_sources_are_the_same_bytes_each_time() -> None:
    for language in Language:
        first, second = (project_files(make_circuit(classifier(), Form(), cutoff=2), language) for _ in range(2))
        assert first == second


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rtl")
    (folder / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    arguments = ["build", str(folder / "net.onnx"), "--target", "fpga", "--flow", "rtl", "--out", str(folder / "out")]
    assert main([*arguments, "--set", "latency_cutoff=2", "--set", "effort=full", "--synth"]) == 0
    return folder / "out"


def test_a_bundle_is_whole(bundle: Path) -> None:
    report = json.loads((bundle / "report.json").read_text())
    assert report["target"]["flow"] == "rtl"
    assert report["verdict"] == {"exact": True, "fits": True, "reasons": []}
    assert report["latency"]["cycles"]["source"] == "measured"
    assert 2 <= report["latency"]["cycles"]["value"] <= 8
    assert report["latency"]["initiation_interval"]["value"] == 1
    assert 10 < report["synthesis"]["lut"]["value"] < 300
    assert report["synthesis"]["dsp"]["value"] == 0
    assert len([name for name in report["totals"] if name.startswith("form_")]) == len((*CHOICES, *PACKED))
    assert report["synthesis"]["proven"]["value"] == report["latency"]["cycles"]["value"]
    assert report["synthesis"]["netlist_samples"]["value"] == 200
    stages = [entry["value"] for name, entry in report["synthesis"].items() if name.startswith("lut_logic")]
    assert len(stages) == report["latency"]["cycles"]["value"]
    assert sum(stages) == report["synthesis"]["lut"]["value"]


def test_every_part_has_a_family() -> None:
    assert {family(load_target(name)).kinds["lut"][0] for name in target_names()} == {"6-input LUTs", "4-input LUTs"}


def test_a_netlist_that_differs_is_seen(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(bundle / "rtl", tmp_path / "rtl")
    wrong = replace(FAMILIES["xc"], script=FAMILIES["xc"].script.replace("xcup", "xcup -run begin:check"), sum3="")
    monkeypatch.setitem(FAMILIES, "xc", wrong)
    monkeypatch.setattr(synthesis, "ALONE", (*synthesis.ALONE[:3], "chtype -set $sub t:$add", *synthesis.ALONE[3:]))
    synthesize(tmp_path, load_target("fpga"))
    with pytest.raises(MismatchError, match="does not compute what its source does"):
        prove(tmp_path, load_target("fpga"))


def test_verify_bites(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle)]) == 0
    assert "latency" in capsys.readouterr().out
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    expected = copy / "rtl" / "tb_data" / "expected_y.dat"
    head, *rows = expected.read_text().splitlines()
    first, *rest = rows[5].split()
    rows[5] = " ".join([str(int(first) ^ 1), *rest])
    expected.write_text("\n".join([head, *rows]) + "\n")
    assert main(["verify", str(copy)]) == 1
    assert "first difference: sample 5, y[0]" in capsys.readouterr().err
    expected.write_text("\n".join([head, *rows[:20]]) + "\n")
    assert main(["verify", str(copy)]) == 1
    assert "is short or malformed" in capsys.readouterr().err


def test_a_wrong_source_is_seen(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    adder = copy / "rtl" / "src" / "cells.v"
    text = adder.read_text()
    assert "a - b : a + b;" in text
    adder.write_text(text.replace("a - b : a + b;", "a - b : a + b + 1;"))
    assert main(["verify", str(copy)]) == 1


def test_vhdl_is_exact_in_ghdl(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    arguments = ["build", str(tmp_path / "net.onnx"), "--target", "fpga", "--flow", "rtl"]
    out = tmp_path / "out"
    assert main([*arguments, "--out", str(out), "--set", "language=vhdl", "--set", "latency_cutoff=2"]) == 0
    expected = out / "rtl" / "tb_data" / "expected_y.dat"
    expected.write_text(expected.read_text().replace("\nend", "\n9end"))
    assert main(["verify", str(out)]) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"effort": "ful"}, "effort cannot be ful"),
        ({"language": "vhd"}, "language cannot be vhd"),
        ({"clock_ns": "0.1"}, "clock_ns cannot be 0.1"),
        ({"latency_cutoff": "x"}, "latency_cutoff cannot be x"),
        ({"clok_ns": "5"}, "there is no setting named clok_ns"),
    ],
)
def test_settings_are_checked(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_options(settings)


def test_what_the_flow_refuses() -> None:
    with pytest.raises(UsageError, match="simulates its sources in every build"):
        rtl_flow("fpga", {}).prepare(synth=False, cosim=True)
    with pytest.raises(UsageError, match="Yosys reads Verilog only"):
        rtl_flow("fpga", {"language": "vhdl"}).prepare(synth=True, cosim=False)
    with pytest.raises(ToolError, match="synthesis gave no cells"):
        cell_figures({}, "nothing", FAMILIES["xc7"])


def test_what_cannot_be_built_is_refused_with_the_numbers() -> None:
    source = Input(name="x", shape=(2,), lo=-128, hi=127)
    wide = Network(
        nodes=(
            source,
            Dense(name="big", x="x", weight=Ints([[1 << 45, 1]]), bias=Ints([0])),
            Output(name="y", x="big"),
        )
    )
    (problem,) = check(wide, load_target("fpga"))[:1]
    assert problem.what == "it needs 54 bits; 50 is the most"
    odd = Step(name="act", x="x", thresholds=Ints([[0]]), values=Ints([[0, (1 << 30) + 1]]))
    with pytest.raises(InexpressibleError, match="it needs the constant 1073741825"):
        make_circuit(Network(nodes=(source, odd, Output(name="y", x="act"))), Form(table_bits=8), cutoff=5)
    weight = np.random.default_rng(0).integers(-2000, 2000, size=(4000, 2))
    large = Network(
        nodes=(source, Dense(name="wide", x="x", weight=Ints(weight), bias=Ints([0])), Output(name="y", x="wide"))
    )
    (found,) = check(large, load_target("xc7a35t"))
    assert "LUTs fully parallel before sharing" in found.what
    assert "holds 20800" in found.what


@pytest.mark.parametrize("target", ["ice40up5k", "ecp5_25k"])
def test_place_and_route_measures_the_clock(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    arguments = ["build", str(tmp_path / "net.onnx"), "--target", target, "--synth", "--set", "effort=quick"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["target"]["flow"] == "rtl"
    found = report["synthesis"]
    assert found["proven"]["value"] == report["latency"]["cycles"]["value"]
    assert found["fmax_mhz"]["value"] >= 1000 / load_target(target).clock_ns
    assert "3 seeds" in found["fmax_least_mhz"]["method"]
    assert any(name.startswith("placed_") and entry["value"] > 10 for name, entry in found.items())
    fast = [*arguments, "--set", "clock_ns=1", "--set", "latency_cutoff=50", "--out", str(tmp_path / "fast")]
    assert main(fast) == 1
    assert "MHz reached, 1000 MHz is asked for" in capsys.readouterr().err


def test_place_and_route_takes_axi_stream_ports(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    arguments = ["build", str(tmp_path / "net.onnx"), "--target", "ice40up5k", "--synth", "--set", "effort=quick"]
    assert main([*arguments, "--set", "interface=axis", "--out", str(tmp_path / "axis")]) == 0
    report = json.loads((tmp_path / "axis" / "report.json").read_text())
    assert report["synthesis"]["fmax_mhz"]["value"] >= 1000 / load_target("ice40up5k").clock_ns
    assert report["synthesis"]["netlist_samples"]["value"] == 200
    held = report["latency"]["cycles"]["value"] * sum(2 for _ in report["model"]["outputs"])
    assert report["synthesis"]["ff"]["value"] > held


def test_hls_does_not_know_lattice_parts() -> None:
    with pytest.raises(UsageError, match="Vitis and Vivado HLS do not know iCE40HX8K-CT256"):
        flow_for("ice40hx8k", "hls", {})


def test_a_missing_or_failing_router_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match="nextpnr-none is not there"):
        find_program("nextpnr-none")
    fails = tmp_path / "nextpnr-ice40"
    fails.write_text("#!/bin/sh\necho 'ERROR: Unable to place cell, no Bels remaining of type ICESTORM_LC'\nexit 1\n")
    fails.chmod(0o755)
    with pytest.raises(ToolError, match=r"does not fit with the shift registers that feed it: .*no Bels remaining"):
        run_placer(tmp_path, fails, [], 1, 10.0)
    silent = tmp_path / "nextpnr-silent"
    silent.write_text('#!/bin/sh\necho \'{"fmax": {}, "utilization": {}}\' > placed1.json.report\n')
    silent.chmod(0o755)
    with pytest.raises(ToolError, match="it timed no clock"):
        run_placer(tmp_path, silent, [], 1, 10.0)
