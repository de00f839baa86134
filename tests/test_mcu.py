"""C for microcontrollers: random networks exact under the sanitizers, the bundle, its testbench, what is refused."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgecomp import interp
from edgecomp.backends.mcu import McuBackend, load_machine, machines
from edgecomp.backends.mcu.ctypes import literal, local, stored
from edgecomp.backends.mcu.emit import emit
from edgecomp.backends.mcu.names import Names
from edgecomp.cli import main
from edgecomp.errors import UsageError
from edgecomp.export import to_onnx
from edgecomp.ir import Add, ArgMax, Dense, Input, Ints, Mul, Network, Node, Output, Requant, Rounding
from tests.growth import Codes
from tests.networks import random_inputs, random_network
from tests.test_comparisons import network_of
from tests.test_flows import classifier

SANITIZED = ("gcc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-fsanitize=undefined,address",
             "-fno-sanitize-recover=undefined")  # fmt: skip
SAMPLES = 60


def differing(folder: Path, networks: dict[str, tuple[Network, dict[str, Codes]]]) -> dict[str, int]:
    """Samples in which each network's C differs from the interpreter, all compiled into one program."""
    heads, blocks, sources = ["#include <stdio.h>", "#include <string.h>"], [], []
    for name, (network, inputs) in networks.items():
        program = emit(network, name)
        (folder / f"{name}.h").write_text(program.header)
        (folder / f"{name}.c").write_text(program.source)
        sources.append(f"{name}.c")
        heads.append(f'#include "{name}.h"')
        blocks.append(block(program.header, program.name, network, inputs))
    (folder / "main.c").write_text("\n".join([*heads, "int main(void) {", *blocks, "return 0; }", ""]))
    subprocess.run([*SANITIZED, "-o", "all", "main.c", *sources], cwd=folder, check=True)
    ran = subprocess.run(["./all"], cwd=folder, capture_output=True, text=True, check=True)
    return {line.split()[0]: int(line.split()[1]) for line in ran.stdout.splitlines()}


def block(header: str, name: str, network: Network, inputs: dict[str, Codes]) -> str:
    """Run one network on its vectors; classify too where there is one."""
    expected = interp.outputs(network, inputs)
    declared = re.search(rf"{name}_predict\((.*)\);", header)
    assert declared
    lines, arguments, checks = ["{ int wrong = 0;"], [], []
    ends: tuple[Input | Output, ...] = (*network.inputs, *network.outputs)
    for text, node in zip(declared[1].split(", "), ends, strict=True):
        kind, given, count = re.fullmatch(r"(?:const )?(\w+) (\w+)\[(\d+)\]", text).groups()  # type: ignore[union-attr]
        is_input = isinstance(node, Input)
        rows = (inputs if is_input else expected)[node.name].reshape(SAMPLES, -1)
        assert rows.shape[1] == int(count)
        table = ",".join("{" + ",".join(literal(v) for v in row) + "}" for row in rows.tolist())
        lines.append(f"static const {kind} d_{given}[{SAMPLES}][{count}] = {{{table}}};")
        if is_input:
            arguments.append(f"d_{given}[n]")
        else:
            lines.append(f"static {kind} o_{given}[{count}];")
            arguments.append(f"o_{given}")
            checks.append(f"bad |= memcmp(o_{given}, d_{given}[n], sizeof o_{given}) != 0;")
    if f"{name}_classify" in header:
        only = expected[network.outputs[0].name].reshape(SAMPLES, -1)
        classes = (
            only[:, 0] if any(isinstance(n, ArgMax) for n in network.nodes) and only.shape[1] == 1 else only.argmax(1)
        )
        lines.append(f"static const int classes[] = {{{','.join(map(str, classes))}}};")
        checks.append(f"bad |= (int){name}_classify({', '.join(arguments[: len(network.inputs)])}) != classes[n];")
    call = f"{name}_predict({', '.join(arguments)});"
    loop = f"for (int n = 0; n < {SAMPLES}; n++) {{ int bad = 0; {call} {' '.join(checks)} wrong += bad; }}"
    return "\n".join([*lines, loop, f'printf("{name} %d\\n", wrong); }}'])


def test_random_networks_are_exact_and_nothing_is_undefined(tmp_path: Path) -> None:
    """All node kinds, in one compile, with the undefined-behaviour and address sanitizers."""
    networks = {}
    for seed in range(24):
        network = random_network(seed)
        networks[f"net{seed}"] = network, random_inputs(network, seed, SAMPLES)
    assert differing(tmp_path, networks) == dict.fromkeys(networks, 0)


def corner(rounding: Rounding, shift: int, zero: int, scale: int) -> Network:
    """Ties of both signs, saturation on both sides, wide factors, and names that C keeps for itself."""
    weight = np.random.default_rng(shift).integers(-3, 4, (3, 4)) * scale
    nodes: tuple[Node, ...] = (
        Input(name="int", shape=(4,), lo=-8, hi=7, zero_point=zero),
        Dense(name="for", x="int", weight=Ints(weight), bias=Ints([1, -2, 3])),
        Requant(name="v0", x="for", multiplier=Ints([1, -1, 5]), addend=Ints([1 << shift >> 1]), shift=shift,
                lo=Ints([-9, -4, -5]), hi=Ints([7, 6, 5]), rounding=rounding),
        Add(name="s0", a="v0", b="for", p=Ints([3, -1, 2]), q=Ints([1, 2, -1])),
        Output(name="while", x="s0", zero_point=-zero),
    )  # fmt: skip
    return Network(nodes=nodes)


def test_rounding_saturation_and_keywords(tmp_path: Path) -> None:
    networks = {}
    for number, rounding in enumerate(Rounding):
        for shift in (1, 4):
            for scale in (1, 4001, 1 << 33):
                network = corner(rounding, shift, 3 * number, scale)
                networks[f"c{number}_{shift}_{scale}"] = network, random_inputs(network, shift, SAMPLES)
    assert differing(tmp_path, networks) == dict.fromkeys(networks, 0)


def test_stated_comparisons_and_their_ties(tmp_path: Path) -> None:
    networks = {}
    for number, masks in enumerate([(-1, -1, -1), (-4, 6, 0), (3, -8, 5)]):
        rows = [(2, 1, masks[0]), (3, 0, masks[1]), (2, 3, masks[2])]
        network = network_of(4, rows, -9, 9)
        networks[f"t{number}"] = network, random_inputs(network, number, SAMPLES)
    assert differing(tmp_path, networks) == dict.fromkeys(networks, 0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mcu")
    (folder / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    command = ["build", str(folder / "net.onnx"), "--target", "mcu", "--set", "head=argmax"]
    assert main([*command, "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_a_bundle_of_c_is_whole(bundle: Path) -> None:
    names = json.loads((bundle / "manifest.json").read_text())["files"]
    assert {"mcu/network.c", "mcu/network.h", "mcu/test/testbench.c", "mcu/run.sh", "mcu/Makefile"} <= names.keys()
    report = json.loads((bundle / "report.json").read_text())
    assert report["verdict"]["exact"]
    assert "interpreter and the C on cortex_m0" in {row["execution"] for row in report["golden"]}
    assert report["totals"]["constant_bytes"]["value"] == 2 * 4 + 2 + 3 * 2 + 3
    assert report["totals"]["buffer_bytes"]["value"] == 2
    used = {row["name"]: row["used"]["value"] for row in report["resources"]}
    assert 0 < used["flash"] < 2000
    assert 0 < used["RAM"] < 200
    assert report["totals"]["instructions_mean"]["source"] == "measured"
    assert report["totals"]["time"]["source"] == "estimate"
    assert "uint8_t network_classify(const uint8_t x[4]);" in (bundle / "mcu" / "network.h").read_text()
    assert main(["verify", str(bundle)]) == 0


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("expected_y.dat", ("\n1\n", "\n2\n"), "first difference: sample"),
        ("expected_y.dat", ("end", "0\nend"), "its file is short or malformed"),
        ("expected_y.dat", ("samples 2", "samples 1"), "the vector files differ in length"),
        ("inputs_x.dat", ("values 4", "values 5"), "does not start with its counts"),
        ("inputs_x.dat", ("\n0", "\n999"), "a code is out of range"),
    ],
)
def test_the_testbench_bites(
    bundle: Path, file: str, change: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle / "mcu" / "tb_data" / file
    text = path.read_text()
    try:
        assert change[0] in text
        path.write_text(text.replace(*change, 1))
        assert main(["verify", str(bundle)]) == 1
        assert message in capsys.readouterr().err
        path.unlink()
        assert main(["verify", str(bundle)]) == 1
        assert "cannot be read" in capsys.readouterr().err
    finally:
        path.write_text(text)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    command = ["build", str(tmp_path / "net.onnx"), "--target", "mcu", "--out", str(tmp_path / "out")]
    assert main([*command, "--synth"]) == 2
    assert "there is nothing to synthesise in C" in capsys.readouterr().err
    monkeypatch.setenv("EDGECOMP_ARM_NONE_EABI_GCC", "no-such-gcc")
    assert main(command) == 4
    assert "'no-such-gcc' is no program" in capsys.readouterr().err
    monkeypatch.delenv("EDGECOMP_ARM_NONE_EABI_GCC")
    monkeypatch.setenv("PATH", "")
    assert main(command) == 4
    assert "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="there is no setting named speed"):
        McuBackend().parse({"speed": "1"})
    wide = Network(nodes=(Input(name="x", shape=(2049,), lo=0, hi=1),
                          Dense(name="d", x="x", weight=Ints(np.ones((2048, 2049), dtype=np.int64)), bias=Ints([0])),
                          Output(name="y", x="d")))  # fmt: skip
    (problem,) = McuBackend().check(wide, load_machine("host"), McuBackend().parse({}))
    assert problem.what == "the layers hold 4196352 constants; 4194304 is the most"


def test_a_wide_and_a_narrow_operand(tmp_path: Path) -> None:
    """The square of the wider one would fit no type."""
    nodes: tuple[Node, ...] = (
        Input(name="x", shape=(2,), lo=-8, hi=7), Dense(name="d", x="x", weight=Ints([[1 << 40, 3], [-1, 1 << 41]]),
                                                        bias=Ints([5])),
        Mul(name="m", a="d", b="x"), Output(name="y", x="m"),
        Add(name="s", a="x", b="d", p=Ints([1 << 40]), q=Ints([3])), Output(name="z", x="s"),
    )  # fmt: skip
    network = Network(nodes=nodes)
    assert differing(tmp_path, {"wide": (network, random_inputs(network, 1, SAMPLES))}) == {"wide": 0}


def test_bounds_that_nothing_reaches_have_no_table(tmp_path: Path) -> None:
    """A compiler that takes a table without a use for an error found one."""
    bounded = Requant(name="q", x="x", multiplier=Ints([3, -2]), addend=Ints([1]), shift=2, lo=Ints([-6, -9]),
                      hi=Ints([3, 7]))  # fmt: skip
    nodes: tuple[Node, ...] = (Input(name="x", shape=(2, 3), lo=-8, hi=5), bounded, Output(name="y", x="q"))
    source = emit(Network(nodes=nodes), "net").source
    assert "q_lo[2]" not in source
    assert "q_hi[2]" in source
    inputs = random_inputs(Network(nodes=nodes), 1, SAMPLES)
    assert differing(tmp_path, {"bounds": (Network(nodes=nodes), inputs)}) == {"bounds": 0}


@pytest.mark.parametrize("seed", range(6))
def test_bounds_that_compare_less_change_no_code(tmp_path: Path, seed: int) -> None:
    """Rescalings whose channels reach beyond all, some or none of unlike bounds; ties at the least and the greatest."""
    rng, networks = np.random.default_rng(seed), {}
    for number in range(20):
        mixed = np.sort(rng.integers(-12, 13, (2, 3)), axis=0)
        lo, hi = mixed if rng.random() < 0.5 else np.array([[-9] * 3, [11] * 3])
        node = Requant(name="q", x="x", multiplier=Ints(rng.integers(-4, 5, 3)), addend=Ints(rng.integers(-8, 9, 3)),
                       shift=int(rng.integers(1, 4)), lo=Ints(lo), hi=Ints(hi),
                       rounding=list(Rounding)[int(rng.integers(len(Rounding)))])  # fmt: skip
        nodes: tuple[Node, ...] = (Input(name="x", shape=(3, 1), lo=-8, hi=7), node, Output(name="y", x="q"))
        given = {"x": np.tile(np.resize(np.arange(-8, 8), SAMPLES).reshape(-1, 1, 1), (1, 3, 1))}
        networks[f"n{number}"] = (Network(nodes=nodes), given)
    assert set(differing(tmp_path, networks).values()) == {0}


def test_channels_that_are_constant_take_no_flash(tmp_path: Path) -> None:
    """A neuron that never fires, whose bias and scale were far from the others'; one that always gives 3."""
    first = Dense(name="d", x="x", weight=Ints([[1, -2], [0, 1], [3, 1], [0, 0]]), bias=Ints([4, -(1 << 31), -2, 0]))
    code = Requant(name="q", x="d", multiplier=Ints([1 << 25, 1, 1 << 24, 1 << 24]), addend=Ints([3 << 26]), shift=26,
                   lo=Ints([0]), hi=Ints([15]))  # fmt: skip
    last = Dense(name="e", x="q", weight=Ints([[1, 2, -3, 4], [-1, 5, 2, -2]]), bias=Ints([1]))
    nodes: tuple[Node, ...] = (Input(name="x", shape=(2,), lo=0, hi=7), first, code, last, Output(name="y", x="e"))
    network = Network(nodes=nodes)
    source = emit(network, "net").source
    assert "int8_t d_weight[4] " in source
    assert "int8_t q_multiplier[2] " in source
    assert "int8_t e_weight[4] " in source
    body = source.partition("int8_t d_weight")[2].partition("net_quantise")[0]
    assert "q_multiplier" in body
    assert "int64_t" not in body
    assert differing(tmp_path, {"still": (network, random_inputs(network, 1, SAMPLES))}) == {"still": 0}


def test_a_rounding_to_even_stays_one(tmp_path: Path) -> None:
    """What is left of the constants is even, but a shift of 0 would be no rounding."""
    nodes: tuple[Node, ...] = (
        Input(name="x", shape=(2,), lo=0, hi=7), Dense(name="d", x="x", weight=Ints([[1, 2], [0, 0]]), bias=Ints([0])),
        Requant(name="q", x="d", multiplier=Ints([2, 1]), addend=Ints([2, 1]), shift=1, lo=Ints([0]), hi=Ints([15]),
                rounding=Rounding.HALF_EVEN),
        Dense(name="e", x="q", weight=Ints([[1, 2]]), bias=Ints([0])), Output(name="y", x="e"),
    )  # fmt: skip
    network = Network(nodes=nodes)
    assert differing(tmp_path, {"even": (network, random_inputs(network, 1, SAMPLES))}) == {"even": 0}


def test_names_and_types() -> None:
    names = Names()
    assert [names.of(text) for text in ("x", "x", "int", "3d", "a b", "s0", "int8_t", "", "FLASH")] == [
        "x", "x_2", "int_", "n3d", "a_b", "s0_", "int8_t_", "x_3", "FLASH_",
    ]  # fmt: skip
    assert [stored(0, 255), stored(0, 256), stored(-1, 127), stored(-129, 0), stored(0, 1 << 40)] == [
        "uint8_t", "uint16_t", "int8_t", "int16_t", "uint64_t",
    ]  # fmt: skip
    assert [local(0, 32767), local(0, 32768), local(0, 1 << 31)] == ["int_fast16_t", "int_fast32_t", "int64_t"]
    assert literal(-40000) == "(-INT32_C(40000))"
    assert [machine.name for machine in machines()] == [
        "avr", "cortex_m0", "cortex_m3", "cortex_m4", "host", "rv32imc",
    ]  # fmt: skip
