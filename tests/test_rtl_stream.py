"""Streamed RTL: random small networks in both simulators, what is refused, and faults that must be seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp import interp, tools
from edgecomp.backends.rtl import parse_options
from edgecomp.backends.rtl.check import check
from edgecomp.backends.rtl.circuit import make_circuit
from edgecomp.backends.rtl.emit import vector_files
from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.options import Interface, Io, RtlOptions
from edgecomp.backends.rtl.parts import family
from edgecomp.backends.rtl.stream_build import plan_of, stream_problems
from edgecomp.backends.rtl.stream_circuit import StreamCircuit, assembled, check_segments
from edgecomp.backends.rtl.stream_depth import occupancies
from edgecomp.backends.rtl.stream_emit import stream_files
from edgecomp.backends.rtl.synthesis import used
from edgecomp.cli import main
from edgecomp.errors import InexpressibleError, MismatchError, UsageError
from edgecomp.export import to_onnx
from edgecomp.ir import (
    Add,
    Concat,
    Conv,
    Dense,
    Encoding,
    Input,
    Ints,
    MaxPool,
    Mul,
    Network,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Slice,
    SumPool,
    Transpose,
)
from edgecomp.pipeline import read_model
from edgecomp.project import load_target
from edgecomp.simulate import verify_script
from tests.stream_networks import random_stream
from tests.test_flows import classifier

Codes = NDArray[np.int64]
EXAMPLES = Path(__file__).parents[1] / "examples"
STREAM = RtlOptions(io=Io.STREAM)
SHAPES = ((2, 5, 7), (1, 11), (3, 4, 4), (2, 6, 3), (3, 9), (2, 1, 6), (1, 7, 1))


def circuit_of(network: Network, form: Form = Form()) -> StreamCircuit:  # noqa: B008
    plan = plan_of(network)
    return assembled(plan, tuple(make_circuit(s.network, form, cutoff=4) for s in plan.segments), ())


def codes_for(network: Network, samples: int, seed: int = 0) -> dict[str, Codes]:
    (node,) = network.inputs
    return {node.name: np.random.default_rng(seed).integers(node.lo, node.hi + 1, (samples, *node.shape))}


def spilled(folder: Path, network: Network, samples: int, interface: Interface = Interface.PLAIN,
            form: Form = Form()) -> StreamCircuit:  # fmt: skip  # noqa: B008
    """The project with vectors; its circuits have been held against the interpreter."""
    design, codes = circuit_of(network, form), codes_for(network, samples)
    assert check_segments(design, codes) > 0
    folder.mkdir(exist_ok=True)
    stream_files(design, interface).merge(vector_files(codes, interp.outputs(network, codes))).spill(folder)
    return design


def icarus(folder: Path) -> str:
    """What the testbench for Icarus Verilog says."""
    sources = sorted(path.name for path in (folder / "rtl" / "src").glob("*.v"))
    compiler, simulator = tools.need("iverilog", hint="install it"), tools.need("vvp", hint="install it")
    tools.run([compiler, "-g2005", "-o", "sim", "testbench.v", *(f"src/{name}" for name in sources)],
              cwd=folder / "rtl", seconds=300)  # fmt: skip
    return tools.run([simulator, "-n", "sim"], cwd=folder / "rtl", seconds=300).output


def conv(name: str, x: str, outputs: int, inputs: int, *, stride: int = 1, pad: int = 1) -> Conv:
    weight = np.random.default_rng(len(name)).integers(-3, 4, (outputs, inputs, 3, 3))
    return Conv(name=name, x=x, weight=Ints(weight), bias=Ints(np.arange(outputs)), stride=(stride, stride),
                pads=((pad, pad),) * 2, dilation=(1, 1))  # fmt: skip


def narrowed(name: str, x: str) -> Requant:
    return Requant(name=name, x=x, multiplier=Ints([3]), addend=Ints([8]), shift=4, lo=Ints([0]), hi=Ints([15]))


SOURCE = Input(name="x", shape=(2, 5, 7), lo=-8, hi=7)
BODY = (SOURCE, conv("c", "x", 3, 2), narrowed("r", "c"))


def network_of(*nodes: Node) -> Network:
    network = Network(nodes=(SOURCE, *nodes, Output(name="y", x=nodes[-1].name)))
    assert network.problems() == (), network.problems()
    return network


def residual() -> Network:
    return network_of(*BODY[1:], conv("deeper", "r", 3, 3), Add(name="a", a="deeper", b="r", p=Ints([1]), q=Ints([2])),
                      narrowed("n", "a"))  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_are_exact_place_by_place(seed: int) -> None:
    network = random_stream(seed, SHAPES[seed % len(SHAPES)], branches=2)
    assert check_segments(circuit_of(network), codes_for(network, 20)) > 0


def test_branches_of_all_kinds_are_exact(tmp_path: Path) -> None:
    spilled(tmp_path, random_stream(3, (2, 5, 7), branches=4), 20)
    assert icarus(tmp_path).startswith("passed: 20 samples")


def test_axis_with_stalls_is_exact_in_both_simulators(tmp_path: Path) -> None:
    spilled(tmp_path, random_stream(1, (2, 13), branches=2), 20, Interface.AXIS)
    assert verify_script(tmp_path, "rtl").count("passed") == 2


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_that_give_places_are_exact(seed: int, tmp_path: Path) -> None:
    network = random_stream(100 + seed, SHAPES[seed % len(SHAPES)], branches=1, flat=False)
    spilled(tmp_path, network, 20, list(Interface)[seed % 2])
    assert icarus(tmp_path).startswith("passed: 20 samples")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(200, 300))
def test_a_hundred_random_networks_are_exact_in_both_simulators(seed: int, tmp_path: Path) -> None:
    network = random_stream(seed, SHAPES[seed % len(SHAPES)], branches=1 + seed % 4, flat=seed % 3 > 0)
    forms = (Form(), Form(table_bits=0, saturate=False), Form(clamp=True, table_bits=3))
    if seed % 3 == 0:
        network = random_stream(seed, SHAPES[seed % len(SHAPES)], branches=1, flat=False)
    spilled(tmp_path, network, 60, list(Interface)[seed % 2], forms[seed % len(forms)])
    assert verify_script(tmp_path, "rtl").count("passed") == 2


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("residual")
    spilled(folder, residual(), 12)
    assert icarus(folder).startswith("passed: 12 samples")
    return folder


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("lines[here] <= column[LINES*BITS-1:0];", "lines[here] <= {column[BITS-1:0], column[LINES*BITS-1:BITS]};"),
        ("above <= lines[next];", "above <= lines[here];"),
        ("end_row <= END_ROW;", "end_row <= END_ROW + 1;"),
        ("given ? in_data : FILL", "given ? in_data : FILL + 1"),
        ("room <= rst ? ENTRIES[ADDRESS_BITS:0] : left;", "if (rst) room <= ENTRIES[ADDRESS_BITS:0];"),
        ("out_valid <= !rst && (move ||", "out_valid <= (move ||"),
        ("row >= TOP &&", "row > TOP &&"),
    ],
)
def test_a_fault_in_the_buffers_is_seen(right: str, wrong: str, project: Path, tmp_path: Path) -> None:
    for path in sorted(project.rglob("*")):
        if path.is_file():
            copy = tmp_path / path.relative_to(project)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    source = tmp_path / "rtl" / "src" / "stream.v"
    text = source.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    assert "passed" not in icarus(tmp_path)


def test_a_wrong_circuit_of_one_place_is_named() -> None:
    design = circuit_of(residual())
    plan = replace(design.plan, network=network_of(*BODY[1:], narrowed("s", "r"), conv("deeper", "s", 3, 3),
                   Add(name="a", a="deeper", b="r", p=Ints([1]), q=Ints([2])), narrowed("n", "a")))  # fmt: skip
    with pytest.raises(MismatchError, match=r"token \d+: expected \[.*\], got"):
        check_segments(replace(design, plan=plan), codes_for(residual(), 4))


def test_a_branch_that_waits_has_room_for_what_waits() -> None:
    """The sum waits for a row and a place of the convolution's windows, behind the border's first row."""
    plan = plan_of(residual())
    skip = [k for k, (number, each) in enumerate(plan.edges) if not each.stream.movers]
    waiting = [occupancies(plan)[k] for k in skip]
    assert waiting == [7 + 2]
    assert all(number == 1 for k, number in enumerate(occupancies(plan)) if k not in skip)


def test_a_network_without_places_is_one_segment(tmp_path: Path) -> None:
    spilled(tmp_path, classifier(), 20)
    assert icarus(tmp_path).startswith("passed: 20 samples")


def test_results_of_border_alone_wait_for_their_frame(tmp_path: Path) -> None:
    """The first two rows are of the border alone, and the slice takes nothing else."""
    pads = ((0, 0), (2, 0), (0, 0))
    network = network_of(*BODY[1:], Pad(name="p", x="r", pads=pads, value=3),
                         Slice(name="s", x="p", axis=1, start=0, stop=2))  # fmt: skip
    spilled(tmp_path, network, 6)
    assert icarus(tmp_path).startswith("passed: 6 samples")
    top = tmp_path / "rtl" / "src" / "network.v"
    assert top.read_text().count(".WAIT(1)") == 1
    top.write_text(top.read_text().replace(".WAIT(1)", ".WAIT(0)"))
    assert "a result too many came out" in icarus(tmp_path)


def test_too_small_a_fifo_locks_up(tmp_path: Path) -> None:
    network = residual()
    design = circuit_of(network)
    small = tuple(2 if not each.stream.movers else bits
                  for (_, each), bits in zip(design.plan.edges, design.address_bits, strict=True))  # fmt: skip
    codes = codes_for(network, 4)
    files = stream_files(replace(design, address_bits=small))
    files.merge(vector_files(codes, interp.outputs(network, codes))).spill(tmp_path)
    assert "not every sample came out" in icarus(tmp_path)


def test_signs_and_constants_at_borders_and_inputs_are_kept(tmp_path: Path) -> None:
    """A border beyond the codes, a channel of one negative value, an input of -1 and +1, a pool of negative codes."""
    source = Input(name="x", shape=(2, 3, 4), lo=0, hi=1, encoding=Encoding.BIPOLAR)
    nodes = (
        source, Pad(name="p", x="x", pads=((0, 0), (1, 0), (0, 1)), value=5), conv("c", "p", 2, 2),
        Requant(name="r", x="c", multiplier=Ints([1]), addend=Ints([0]), shift=3, lo=Ints([-1, -9]), hi=Ints([-1, -2])),
        MaxPool(name="m", x="r", kernel=(2, 2), stride=(1, 2), pads=((1, 0), (0, 1)), dilation=(1, 1)),
        Mul(name="u", a="m", b="m"), SumPool(name="s", x="u", kernel=(1, 2), stride=(1, 1), pads=((0, 0), (1, 0))),
        Output(name="y", x="s", zero_point=3),
    )  # fmt: skip
    network = Network(nodes=nodes)
    assert network.problems() == (), network.problems()
    spilled(tmp_path, network, 20)
    assert icarus(tmp_path).startswith("passed: 20 samples")


@pytest.mark.parametrize("multiplier", [1, 8])
def test_bits_that_count_negative_are_multiplied(multiplier: int) -> None:
    rng, only = np.random.default_rng(0), Ints([multiplier])
    signs, other = Input(name="x", shape=(6,), lo=-1, hi=0), Input(name="z", shape=(3,), lo=-2, hi=4)
    network = Network(nodes=(
        signs, other, Requant(name="r", x="x", multiplier=only, addend=Ints([0]), shift=0, lo=Ints([-8]), hi=Ints([8])),
        Concat(name="c", xs=("r", "z"), axis=0),
        Dense(name="d", x="c", weight=Ints(rng.integers(-5, 6, (4, 9))), bias=Ints([3])), Output(name="y", x="d"),
    ))  # fmt: skip
    codes = {"x": rng.integers(-1, 1, (100, 6)), "z": rng.integers(-2, 5, (100, 3))}
    found = make_circuit(network, Form(), cutoff=4).predict(np.concatenate([codes["x"], codes["z"]], axis=1))
    np.testing.assert_array_equal(found, interp.outputs(network, codes)["y"])


@pytest.mark.parametrize("samples", [1, 7, 63, 64, 65, 200])
def test_a_table_without_a_zero_is_looked_up_in_any_number_of_samples(samples: int) -> None:
    one = Ints([1])
    network = Network(nodes=(
        Input(name="x", shape=(3,), lo=1, hi=4),
        Requant(name="r", x="x", multiplier=Ints([2]), addend=one, shift=1, lo=Ints([-2]), hi=Ints([3])),
        Dense(name="d", x="r", weight=Ints([[1, -2, 3]]), bias=one), Output(name="y", x="d"),
    ))  # fmt: skip
    codes = codes_for(network, samples)
    found = make_circuit(network, Form(), cutoff=4).predict(codes["x"])
    np.testing.assert_array_equal(found, interp.outputs(network, codes)["y"])


def refusals() -> Sequence[tuple[Network, str, str]]:
    other = Input(name="z", shape=(2, 5, 7), lo=0, hi=3)
    gate = SumPool(name="all", x="x", kernel=(5, 7), stride=(1, 1), pads=((0, 0), (0, 0)))
    swap = Transpose(name="t", x="x", perm=(0, 2, 1))
    return (
        (network_of(swap), "t", "it cannot be streamed: it puts places into another order than they come in"),
        (network_of(gate, Mul(name="m", a="x", b="all")), "m",
         "it cannot be streamed: a value is broadcast along places"),
        (network_of(Concat(name="k", xs=("x", "x"), axis=1)), "k",
         "it cannot be streamed: it works along axis 1, whose places come one after the other"),
        (network_of(Pad(name="p", x="x", pads=((1, 0), (0, 1), (0, 0)))), "p",
         "it cannot be streamed: channels are padded beside places"),
        (Network(nodes=(SOURCE, other, Mul(name="m", a="x", b="z"), Output(name="y", x="m"))), "z",
         "a stream has one input, not 2"),
        (Network(nodes=(SOURCE, gate, Output(name="y", x="all"), Output(name="w", x="x"))), "y",
         "it cannot be streamed: the outputs come at different rates or times"),
    )  # fmt: skip


@pytest.mark.parametrize(("network", "where", "what"), refusals())
def test_what_cannot_be_streamed_is_named(network: Network, where: str, what: str) -> None:
    (problem,) = stream_problems(network)
    assert (problem.where, problem.what) == (where, what)
    assert check(network, load_target("fpga"), STREAM) == (problem,)
    with pytest.raises(InexpressibleError, match="stream"):
        plan_of(network)


def test_a_large_convolution_is_counted_for_one_place() -> None:
    weight = np.random.default_rng(0).integers(-100, 100, (16, 8, 3, 3))
    nodes = (Input(name="x", shape=(8, 64, 64), lo=0, hi=15),
             Conv(name="c", x="x", weight=Ints(weight), bias=Ints([0]), stride=(1, 1), pads=((0, 0),) * 2,
                  dilation=(1, 1)))  # fmt: skip
    part = load_target("xc7a35t")
    network = Network(nodes=(*nodes, Output(name="y", x="c")))
    (problem,) = check(network, part)
    assert "fully parallel" in problem.what
    assert problem.hint == "take --set io=stream, a smaller network or a larger part"
    assert check(network, part, STREAM) == ()
    turned = Network(nodes=(*nodes, Transpose(name="t", x="c", perm=(0, 2, 1)), Output(name="y", x="t")))
    assert check(turned, part)[0].hint == "use --flow hls with io=stream, a smaller network or a larger part"
    flat = Reshape(name="f", x="c", shape=(16 * 62 * 62,))
    wide = Dense(name="d", x="f", weight=Ints(np.full((2, 16 * 62 * 62), 85)), bias=Ints([0]))
    (found,) = check(Network(nodes=(*nodes, flat, wide, Output(name="y", x="d"))), part, STREAM)
    assert "for one place a clock" in found.what
    assert found.hint == "use a smaller network or a larger part"


def test_streams_are_verilog() -> None:
    with pytest.raises(UsageError, match="streamed circuits are written in Verilog only"):
        parse_options({"io": "stream", "language": "vhdl"})
    with pytest.raises(UsageError, match="io cannot be strem"):
        parse_options({"io": "strem"})


def test_the_same_bytes_each_time() -> None:
    assert stream_files(circuit_of(residual())) == stream_files(circuit_of(residual()))


def test_a_streamed_network_is_built_synthesised_and_placed(tmp_path: Path) -> None:
    source = Input(name="x", shape=(1, 3, 5), lo=0, hi=3)
    weight = Ints(np.array([[[[2, -1], [1, 3]]]]))
    network = Network(nodes=(
        source, Conv(name="c", x="x", weight=weight, bias=Ints([1]), stride=(1, 1), pads=((1, 0), (0, 1)),
                     dilation=(1, 1)), Output(name="y", x="c"),
    ))  # fmt: skip
    (tmp_path / "net.onnx").write_bytes(to_onnx(network).SerializeToString())
    arguments = ["build", str(tmp_path / "net.onnx"), "--target", "ice40hx8k", "--set", "io=stream"]
    out = tmp_path / "out"
    settings = ["--set", "task=regression", "--set", "effort=quick", "--set", "latency_cutoff=100"]
    assert main([*arguments, *settings, "--synth", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["verdict"] == {"exact": True, "fits": True, "reasons": []}
    assert report["latency"]["initiation_interval"]["value"] == 4 * 6  # the border included
    assert report["latency"]["cycles"]["source"] == "measured"
    assert report["totals"]["places"]["value"] == 15
    assert report["synthesis"]["proven"]["value"] == 2
    assert report["synthesis"]["netlist_samples"]["value"] >= 10
    assert 30 < report["synthesis"]["lut"]["value"] < 300
    assert report["synthesis"]["fmax_mhz"]["value"] >= 1000 / load_target("ice40hx8k").clock_ns
    assert {row["name"]: row["available"]["value"] for row in report["resources"]}["BRAM4"] == 32


def test_memories_are_counted_in_look_up_tables() -> None:
    kind = family(load_target("fpga"))
    cells = {"RAM32M16": 3, "RAM32M": 2, "RAM64X1D": 1, "SRLC32E": 4, "LUT6_2": 5, "FDRE": 9, "RAMB36E2": 2}
    assert used(cells, "lut", kind) == 3 * 8 + 2 * 4 + 2 + 4 + 5
    assert used(cells, "ff", kind) == 9
    assert used(cells, "bram18", kind) == 4
    assert used({"SB_RAM40_4K": 3, "SB_LUT4": 9}, "bram18", family(load_target("ice40up5k"))) == 3


def test_the_digits_are_streamed(tmp_path: Path) -> None:
    network = read_model(EXAMPLES / "digits" / "model.onnx").network
    spilled(tmp_path, network, 8)
    assert icarus(tmp_path).startswith("passed: 8 samples, latency 1")


@pytest.mark.long
@pytest.mark.parametrize("interface", list(Interface))
def test_the_digits_are_built(interface: Interface, tmp_path: Path) -> None:
    arguments = ["build", str(EXAMPLES / "digits"), "--target", "fpga", "--flow", "rtl", "--set", "io=stream"]
    assert main([*arguments, "--set", f"interface={interface}", "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"]["exact"]
    assert report["latency"]["initiation_interval"]["value"] == 100  # 64 places and the border of the first convolution
