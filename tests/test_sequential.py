"""One multiplexed neuron: exact on random perceptrons, cycle by cycle, and in the written machine."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp import interp
from edgecomp.backends.printed import PrintedBackend, PrintedTarget, load_library
from edgecomp.backends.printed.design import Design, design_files, make_design, simulate_design
from edgecomp.backends.printed.gates import Port
from edgecomp.backends.printed.netlist import Netlist
from edgecomp.backends.printed.options import Effort, PrintedOptions, Timing
from edgecomp.backends.printed.sequential import to_machine
from edgecomp.errors import InexpressibleError, MismatchError, UsageError
from edgecomp.ir import (
    Add,
    ArgMax,
    Dense,
    Input,
    Ints,
    Network,
    Node,
    Output,
    Requant,
    Reshape,
    Rounding,
    Step,
    TableDense,
)
from edgecomp.simulate import verify_script
from tests.growth import Codes
from tests.test_printed_gates import execute

OPTIONS = PrintedOptions(effort=Effort.QUICK, form=Timing.SEQUENTIAL)


@pytest.fixture(scope="module")
def target() -> PrintedTarget:
    return load_library()


def perceptron(
    seed: int, sizes: tuple[int, ...], *, logits: bool = False, table: bool = False, signed: bool = False
) -> Network:
    """Random layers; requantisers with factors, addends and bounds of each channel, floored or half to even."""
    rng = np.random.default_rng(seed)
    lo, hi = (-4, 3) if signed else (0, 7)
    nodes: list[Node] = [Input(name="x", shape=(sizes[0],), lo=lo, hi=hi)]
    x, width = "x", 8
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weight = rng.integers(-9, 10, size=(outputs, inputs))
        bias = rng.integers(-40, 40, size=outputs)
        if table and number:
            tables = weight[..., None] * np.arange(width) & rng.choice([~1, ~0], size=weight.shape)[..., None]
            nodes.append(TableDense(name=f"sum{number}", x=x, tables=Ints(tables), lo=Ints([0])))
        else:
            nodes.append(Dense(name=f"sum{number}", x=x, weight=Ints(weight), bias=Ints(bias)))
        x = f"sum{number}"
        if number < len(sizes) - 2:
            if rng.random() < 0.3:
                rows = int(rng.choice([1, outputs]))
                nodes.append(Step(name=f"code{number}", x=x, thresholds=Ints(np.sort(rng.integers(-60, 90, (rows, 3)))),
                                  values=Ints(rng.integers(0, 8, size=(rows, 4)))))  # fmt: skip
                nodes.append(Reshape(name=f"flat{number}", x=f"code{number}", shape=(outputs,)))
                x = f"flat{number}"
                continue
            tops = rng.choice([3, 6, 7], size=outputs)
            rounding = Rounding.HALF_EVEN if rng.random() < 0.5 else Rounding.FLOOR
            nodes.append(Requant(name=f"code{number}", x=x, multiplier=Ints(rng.integers(-3, 6, size=outputs)),
                                 addend=Ints(rng.integers(0, 64, size=outputs)), shift=5, lo=Ints([0]), hi=Ints(tops),
                                 rounding=rounding))  # fmt: skip
            nodes.append(Reshape(name=f"flat{number}", x=f"code{number}", shape=(outputs,)))
            x, width = f"flat{number}", 8
    if logits:
        nodes.append(Output(name="logits", x=x))
    nodes += [ArgMax(name="best", x=x), Output(name="start", x="best")]
    return Network(nodes=tuple(nodes))


def codes_of(network: Network, count: int) -> dict[str, Codes]:
    rng = np.random.default_rng(1)
    return {n.name: rng.integers(n.lo, n.hi + 1, size=(count, *n.shape)) for n in network.inputs}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1 << 20), hidden=st.lists(st.integers(1, 5), max_size=2), flags=st.tuples(*[st.booleans()] * 3)
)
def test_random_perceptrons_are_exact_before_mapping(
    seed: int, hidden: list[int], flags: tuple[bool, bool, bool]
) -> None:
    """The machine's circuit, stepped in Python on single vectors."""
    logits, table, signed = flags
    network = perceptron(seed, (3, *hidden, 3), logits=logits, table=table, signed=signed)
    inputs = codes_of(network, 24)
    expected = interp.outputs(network, inputs)
    machine = to_machine(network)
    rng = np.random.default_rng(seed)
    names = {port.node for port in machine.circuit.inputs}
    counts = {name: sum(p.node == name for p in machine.circuit.inputs) for name in names}
    state = {name: rng.integers(0, 1 << 20, size=(24, counts[name])) for name, _ in machine.registers}
    got: dict[str, Codes] = {}
    for cycle in range(-1, machine.cycles + 3):
        got = execute(machine.circuit, inputs | state | {machine.start: np.full((24, 1), int(cycle < 0))})
        assert cycle < 0 or (got[machine.done] == int(cycle >= machine.cycles)).all()
        state = {name: got[f"{name}_next"] for name in state}
    for name, codes in expected.items():
        assert np.array_equal(got[name], codes.reshape(24, -1))


@pytest.fixture(scope="module")
def design(target: PrintedTarget) -> tuple[Network, Design]:
    network = perceptron(5, (4, 3, 3))
    return network, make_design(network, target, OPTIONS)


def test_the_mapped_machine_and_its_logits_are_exact(target: PrintedTarget, design: tuple[Network, Design]) -> None:
    network, made = design
    inputs = codes_of(network, 700)
    cost = simulate_design(made, target, inputs, interp.outputs(network, inputs), n_user=100)
    assert made.machine is not None
    assert cost.cycles == 7
    bits = sum(bits for _, bits in made.machine.registers)
    assert cost.register_bits == bits
    assert cost.converters == {3: 4}
    combinational = sum(target.cells[name].area_um2 * count for name, count in made.netlist.counts().items())
    assert cost.area_cm2 == pytest.approx((combinational + 2 * bits * 1413984 + 228420) / 1e8)
    low = cost.at(0.6)
    assert low.power_mw > 2 * bits * 0.02285
    assert low.delay_ms == pytest.approx(7 * low.clock_ms)
    assert low.period_ms == max(200, low.delay_ms)
    both = perceptron(5, (4, 3, 3), logits=True)
    simulate_design(make_design(both, target, OPTIONS), target, inputs, interp.outputs(both, inputs))


def test_a_wrong_expectation_and_a_wrong_netlist_are_caught(
    target: PrintedTarget, design: tuple[Network, Design]
) -> None:
    network, made = design
    inputs = codes_of(network, 100)
    expected = interp.outputs(network, inputs)
    wrong = {"start": (expected["start"] + 1) % 3}
    with pytest.raises(MismatchError, match="the mapped gates differ in 100 codes"):
        simulate_design(made, target, inputs, wrong)
    with pytest.raises(MismatchError, match="done is wrong in cycle"):
        simulate_design(replace(made, netlist=turned(made.netlist, "done")), target, inputs, expected)
    with pytest.raises(MismatchError, match="differ in"):
        simulate_design(replace(made, netlist=turned(made.netlist, "winner_next")), target, inputs, expected)


def turned(netlist: Netlist, name: str) -> Netlist:
    """The netlist with the first bit of an output constant."""
    ends = tuple(replace(p, bits=(0, *p.bits[1:])) if p.node == name else p for p in netlist.outputs)
    return replace(netlist, outputs=ends)


def written(folder: Path, target: PrintedTarget, design: tuple[Network, Design]) -> Path:
    network, made = design
    inputs = codes_of(network, 150)
    design_files(made, target, inputs, interp.outputs(network, inputs)).spill(folder)
    return folder / "printed"


def test_the_bundle_runs_its_machine_and_bites(
    tmp_path: Path, target: PrintedTarget, design: tuple[Network, Design]
) -> None:
    folder = written(tmp_path, target, design)
    assert verify_script(tmp_path, "printed").startswith(f"{design[1].netlist.cells} cells, 150 samples: 0 of 150")
    ports = (folder / "ports.txt").read_text()
    (folder / "ports.txt").write_text(ports.replace("cycles 6", "cycles 5"))
    with pytest.raises(MismatchError, match="done is wrong after cycle 5"):
        verify_script(tmp_path, "printed")
    (folder / "ports.txt").write_text(ports.replace("cycles 6", "cycles"))
    with pytest.raises(MismatchError, match="has a malformed line: cycles"):
        verify_script(tmp_path, "printed")
    (folder / "ports.txt").write_text(ports.replace("cycles 6", "register loser 1 1 0\ncycles 6"))
    with pytest.raises(MismatchError, match="the netlist assigns no loser_next"):
        verify_script(tmp_path, "printed")


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not there")
def test_iverilog_runs_the_machine_with_its_latches(
    tmp_path: Path, target: PrintedTarget, design: tuple[Network, Design]
) -> None:
    """The written top module with clock and latches, vectors one after the other without a pause."""
    folder = written(tmp_path, target, design)
    inputs, expected = (np.loadtxt(folder / "tb_data" / name, skiprows=1, max_rows=60, dtype=np.int64)
                        for name in ("inputs_x.dat", "expected_start.dat"))  # fmt: skip
    words = (inputs << (3 * np.arange(4))).sum(axis=1)
    (folder / "vectors.hex").write_text("\n".join(f"{w:x}" for w in words) + "\n")
    assert design[1].machine is not None
    begin = design[1].machine.start
    (folder / "bench.v").write_text(
        f"module bench; reg [11:0] m [0:59]; reg [11:0] x; reg begun, clk; wire [1:0] y; wire done; integer i;\n"
        f"classifier_machine c (.clk(clk), .x(x), .{begin}(begun), .start(y), .done(done));\n"
        "always #10 clk = ~clk;\n"
        'initial begin $readmemh("vectors.hex", m); clk = 0; for (i = 0; i < 60; i = i + 1) begin\n'
        "begun = 1; x = m[i]; @(negedge clk); @(negedge clk) begun = 0; #1 while (done !== 1) @(negedge clk) #1;\n"
        '$display("%0d", y); end $finish; end endmodule\n'
    )
    sources = ["bench.v", "cells.v", "latch.v", "netlist.v", "machine.v"]
    subprocess.run(["iverilog", "-g2005", "-Wall", "-o", "a.vvp", *sources], cwd=folder, check=True)
    ran = subprocess.run(["vvp", "-n", "a.vvp"], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    assert [int(line) for line in ran.stdout.split()] == expected.tolist()


def test_what_one_neuron_cannot_compute_is_refused(target: PrintedTarget) -> None:
    plain = perceptron(1, (3, 2, 3))
    nodes = list(plain.nodes)

    def refusal(network: Network, library: PrintedTarget = target) -> str:
        return "; ".join(p.what for p in PrintedBackend().check(network, library, OPTIONS))

    assert refusal(plain) == ""
    assert refusal(plain, replace(target, latch=None)) == "the library has no latch"
    added = [Add(name="code0", a="sum0", b="sum0", p=Ints([1]), q=Ints([1])) if n.name == "code0" else n for n in nodes]
    assert refusal(Network(nodes=tuple(added))).startswith("Add is no part of a perceptron that one neuron")
    tree = [replace(n, tree=Ints([(0, 1, -1), (0, 2, -1)])) if isinstance(n, ArgMax) else n for n in nodes]
    assert refusal(Network(nodes=tuple(tree))) == "stated comparisons take all logits at once"
    double = [ArgMax(name="best", x="flat0") if n.name == "best" else n for n in nodes if n.name != "sum1"]
    assert refusal(Network(nodes=tuple(double))) == "ArgMax follows Requant"
    with pytest.raises(InexpressibleError, match="ArgMax follows Requant"):
        to_machine(Network(nodes=tuple(double)))
    assert refusal(Network(nodes=(*plain.nodes, Output(name="more", x="flat0")))) == "Output follows Requant"


def test_an_unknown_form_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="form cannot be sequentia"):
        PrintedBackend().parse({"form": "sequentia"})
    assert PrintedBackend().parse({"form": "sequential"}).form is Timing.SEQUENTIAL


def test_ports_of_a_machine_stand_apart_from_names_of_the_network() -> None:
    """The network of these tests has an output `start`."""
    machine = to_machine(perceptron(2, (2, 2, 2)))
    assert machine.start == "start_"
    assert isinstance(machine.circuit.outputs[0], Port)
    assert machine.circuit.outputs[0].node == "start"
