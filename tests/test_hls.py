"""The HLS back end on small networks: every strategy and kind of io through the real C simulation, and its refusals."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecomp import interp, vectors
from edgecomp.backends.hls import HlsBackend
from edgecomp.cli import main
from edgecomp.errors import InexpressibleError, MismatchError, ToolError, UsageError
from edgecomp.export import from_onnx, to_onnx
from edgecomp.golden import compare
from edgecomp.ir import Conv, Dense, Input, Ints, Network, Output, Requant, Rounding
from edgecomp.project import load_target
from edgecomp.simulate.hls import locate_hls, run_hls, verify_hls

HLS = HlsBackend()
TARGET = load_target("fpga")


def two_layers() -> Network:
    """12 codes of 4 bits, 6 neurons with half-even rescaling, 3 logits."""
    draw = np.random.default_rng(3)
    return Network(
        nodes=(
            Input(name="x", shape=(12,), lo=-8, hi=7),
            Dense(name="first", x="x", weight=Ints(draw.integers(-8, 8, (6, 12))), bias=Ints([5, 0, -50, 9, 31, 2])),
            Requant(name="code", x="first", multiplier=Ints([3, 1, -2, 5, 1, 4]), addend=Ints([8]), shift=4,
                    lo=Ints([0]), hi=Ints([15]), rounding=Rounding.HALF_EVEN),
            Dense(name="second", x="code", weight=Ints(draw.integers(-8, 8, (3, 6))), bias=Ints([1, 0, -7])),
            Output(name="y", x="second"),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "distributed_arithmetic"},
        {"strategy": "resource", "reuse": "3", "reuse.second": "2", "io": "stream"},
        {"vendor": "vivado", "reuse.first": "2"},
    ],
    ids=lambda settings: ",".join(settings.values()),
)
def test_strategies_compute_the_same_codes(settings: dict[str, str]) -> None:
    simulated(two_layers(), settings)


def simulated(network: Network, settings: dict[str, str]) -> None:
    """The network's C simulation gives the interpreter's codes."""
    options = HLS.parse(settings)
    assert HLS.check(network, TARGET, options) == ()
    legal = HLS.legalize(network, TARGET, options)
    made = vectors.make(legal, None, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        HLS.emit(legal, TARGET, options).spill(Path(folder))
        simulated = run_hls(Path(folder), legal, made.inputs)
    first, count = compare(interp.outputs(network, made.inputs), simulated.outputs)
    assert first is None, (first, count)


def test_a_streamed_kernel_of_one_row_steps_over_rows() -> None:
    """hls4ml's own streamed Conv2D would take every row."""
    draw = np.random.default_rng(5)
    network = Network(
        nodes=(
            Input(name="x", shape=(2, 7, 5), lo=-3, hi=3),
            Conv(name="wide", x="x", weight=Ints(draw.integers(-8, 8, (3, 2, 1, 2))), bias=Ints([3]), stride=(2, 2),
                 pads=((0, 0), (0, 0)), dilation=(1, 1)),
            Conv(name="padded", x="x", weight=Ints(draw.integers(-8, 8, (1, 2, 1, 1))), bias=Ints([0]), stride=(3, 1),
                 pads=((1, 1), (1, 0)), dilation=(1, 1)),
            Output(name="y", x="wide"),
            Output(name="z", x="padded"),
        )
    )  # fmt: skip
    simulated(network, {"io": "stream"})


def test_distributed_arithmetic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "da4ml", None)
    with pytest.raises(ToolError, match=r"needs da4ml 0\.5"):
        HLS.emit(two_layers(), TARGET, HLS.parse({"strategy": "distributed_arithmetic"}))


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"reuse.first": "7"}, "reuse cannot be 7", "legal values: 1, 2, 3, 4, 6, 12"),
        ({"reuse.frist": "2"}, "no Dense or Conv is called frist", "first"),
        (
            {"reuse": "2", "strategy": "distributed_arithmetic"},
            "distributed arithmetic shares nothing",
            "leave reuse at 1",
        ),
    ],
)
def test_reuse_factors_that_cannot_be(settings: dict[str, str], message: str, hint: str) -> None:
    options = HLS.parse(settings)
    with pytest.raises(UsageError) as caught:
        HLS.legalize(two_layers(), TARGET, options)
    problem = caught.value.problems[0]
    assert problem.what.startswith(message)
    assert hint in problem.hint


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written bundle of `two_layers`; tests change copies of it."""
    folder = tmp_path_factory.mktemp("hls")
    (folder / "net.onnx").write_bytes(to_onnx(two_layers()).SerializeToString())
    assert main(["build", str(folder / "net.onnx"), "--out", str(folder / "out"), "--set", "vectors=150"]) == 0
    return folder / "out"


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path.name} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1))


def weights(folder: Path, name: str, old: str, new: str) -> None:
    """Change a constant array in both of its forms."""
    for end in ("txt", "h"):
        replaced(folder / f"hls/firmware/weights/{name}.{end}", old, new)


MUTATIONS: dict[str, Callable[[Path], object]] = {
    "shift": lambda folder: replaced(folder / "hls/firmware/parameters.h", "shift = 4", "shift = 5"),
    "rounding": lambda folder: replaced(folder / "hls/firmware/parameters.h", "half_even = 1", "half_even = 0"),
    "addend": lambda folder: weights(folder, "addend3", "8", "7"),
    "multiplier": lambda folder: weights(folder, "multiplier3", "3, 1", "4, 1"),
    "bound": lambda folder: weights(folder, "hi3", "15", "14"),
    "bias": lambda folder: weights(folder, "b4", "-7", "-6"),
}
PLACES = {"addend": "code", "bias": "second"}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_killed(bundle: Path, name: str, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    MUTATIONS[name](copy)
    with pytest.raises(MismatchError, match=r"first difference: sample \d+, output y.*expected -?\d+, got -?\d+"):
        verify_hls(copy)
    if name in PLACES:
        network = from_onnx(onnx.load(copy / "model/model.int.onnx"))
        assert network is not None
        found = locate_hls(copy, network, {"x": np.load(copy / "golden/inputs/x.npy")})
        assert found is not None
        assert found.node == PLACES[name]
        assert abs(found.expected - found.got) == 1


def test_verify_locates_the_layer(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    weights(copy, "addend3", "8", "7")
    assert main(["verify", str(copy), "--locate"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"sample \d+, code\[\d\]: expected \d+, got \d+", said), said


@pytest.mark.parametrize("status", [1, 2, 3])
def test_run_sh_that_fails(status: int, tmp_path: Path) -> None:
    (tmp_path / "hls").mkdir()
    (tmp_path / "hls/run.sh").write_text(f"echo ERROR: broken; exit {status}\n")
    kind = ToolError if status == 3 else MismatchError
    with pytest.raises(
        kind, match="bash ended with status 3: ERROR: broken" if status == 3 else "does not pass: ERROR: broken"
    ):
        verify_hls(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strat": "latency"}, "unknown setting strat"),
        ({"io": "paralel"}, "io cannot be paralel"),
        ({"clock_ns": "fast"}, "clock_ns cannot be fast"),
        ({"clock_ns": "0.1"}, "clock_ns cannot be 0.1"),
        ({"reuse.first": "0"}, "reuse.first cannot be 0"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        HLS.parse(settings)
    assert caught.value.problems[0].what == message


def test_a_streamed_input_that_nothing_reads() -> None:
    nodes = (*two_layers().nodes, Input(name="idle", shape=(2,), lo=0, hi=1))
    options = HLS.parse({"io": "stream"})
    (problem,) = HLS.check(Network(nodes=nodes), TARGET, options)
    assert problem.what == "a streamed input that nothing reads would block the circuit"
    with pytest.raises(InexpressibleError):
        HLS.legalize(Network(nodes=nodes), TARGET, options)


def test_estimates_follow_reuse_and_streams() -> None:
    """By hand: 12 beats cannot occur for a flat value, which is one beat; reuse 6 takes six turns."""

    def of(settings: dict[str, str]) -> dict[str, object]:
        total = HLS.estimate(two_layers(), TARGET, HLS.parse(settings)).total
        assert all(figure.method for figure in total.values())
        return {name: figure.value for name, figure in total.items()}

    plain, shared, stream = of({}), of({"reuse.first": "6"}), of({"io": "stream"})
    assert plain["initiation_interval"] == 1
    assert shared["initiation_interval"] == 6
    assert stream["initiation_interval"] == 1
    assert isinstance(plain["cycles"], int)
    assert shared["cycles"] == plain["cycles"] + 5
    assert shared["dsp"] == 0  # 4-bit products stay in LUTs


BITES: dict[str, Callable[[Path], object]] = {
    "one form of a weight": lambda hls: replaced(hls / "firmware/weights/b4.h", "-7", "-6"),
    "a short input": lambda hls: (hls / "tb_data/inputs_x.dat").write_text("290 12\n1 2 3\n"),
    "a missing file": lambda hls: (hls / "tb_data/expected_y.dat").unlink(),
    "a missing weight": lambda hls: (hls / "firmware/weights/b4.txt").unlink(),
    "another expectation": lambda hls: flipped(hls / "tb_data/expected_y.dat"),
}


def flipped(path: Path) -> None:
    """The last expected code, one off."""
    *lines, row, end = path.read_text().splitlines()
    *codes, last = row.split()
    path.write_text("\n".join([*lines, " ".join([*codes, str(int(last) ^ 1)]), end]) + "\n")


@pytest.mark.parametrize("name", BITES)
def test_the_testbench_bites(bundle: Path, name: str, tmp_path: Path, compiled: Path) -> None:
    """The program that was compiled once, on damaged files."""
    hls = shutil.copytree(bundle / "hls", tmp_path / "hls")
    BITES[name](hls)
    program = compiled if name != "one form of a weight" else compile_program(hls, tmp_path / "csim")
    ran = subprocess.run([program, "--data", "../tb_data"], cwd=hls / "firmware", capture_output=True, check=False)
    assert ran.returncode != 0


def compile_program(hls: Path, program: Path) -> Path:
    command = (hls / "run.sh").read_text().split('"${CXX:-g++}"')[1].split("-o")[0].replace("\\\n", " ").split()
    subprocess.run(["g++", *command, "-o", program], cwd=hls, check=True)
    return program


@pytest.fixture(scope="module")
def compiled(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = compile_program(bundle / "hls", tmp_path_factory.mktemp("csim") / "csim")
    ran = subprocess.run([program, "--data", "../tb_data"], cwd=bundle / "hls/firmware", check=False)
    assert ran.returncode == 0
    return program


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    """Under different seeds of Python's hashes; options with a stream and resource sharing."""
    (tmp_path / "net.onnx").write_bytes(to_onnx(two_layers()).SerializeToString())
    script = (
        "import sys, hashlib, onnx\n"
        "from edgecomp.backends.hls import HlsBackend\n"
        "from edgecomp.export import from_onnx\n"
        "from edgecomp.project import load_target\n"
        "network, target, back = from_onnx(onnx.load(sys.argv[1])), load_target('fpga'), HlsBackend()\n"
        "for settings in ({}, {'io': 'stream', 'strategy': 'resource', 'reuse': '2'}):\n"
        "    options = back.parse(settings)\n"
        "    files = back.emit(back.legalize(network, target, options), target, options).files\n"
        "    print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())\n"
    )
    said = [
        subprocess.run([sys.executable, "-c", script, str(tmp_path / "net.onnx")], capture_output=True, text=True,
                       check=True, env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]
    assert len(set(said[0].split())) == 2
