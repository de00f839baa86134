"""The whole flow on a small model, as a user would run it; and what it says when the user errs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgecomp.cli import cli
from edgecomp.errors import MismatchError, ModelError, UsageError
from tests.generator import make_handmade

ROOT = Path(__file__).resolve().parent.parent


def model_file(folder: Path, seed: int = 2) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(make_handmade(seed, 8).onnx_bytes)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    out = folder / "out bundle"
    arguments = ["build", str(model_file(folder)), "--target", "fpga", "--out", str(out), "--set", "vectors=150"]
    ran = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    assert ran.stdout.rstrip().endswith(str(out))
    return out


def test_the_bundle_is_whole(bundle: Path) -> None:
    names = json.loads((bundle / "manifest.json").read_text())["files"]
    assert {"io_contract.json", "model/model.int.onnx", "model/network.txt", "hls/run.sh"} <= names.keys()
    report = json.loads((bundle / "report.json").read_text())
    assert report["verdict"]["exact"] is True


def test_the_testbench_bites(bundle: Path) -> None:
    expected = sorted((bundle / "hls").rglob("*expected*"))[0]
    whole = expected.read_text()
    first, rest = whole.split("\n", 1)
    digits = rest.split()
    digits[len(digits) // 2] = str(int(digits[len(digits) // 2]) ^ 1)
    try:
        expected.write_text(first + "\n" + "\n".join(digits) + "\n")
        ran = subprocess.run(["bash", "run.sh"], cwd=bundle / "hls", capture_output=True, text=True, check=False)
        assert ran.returncode != 0
    finally:
        expected.write_text(whole)


def test_a_bundle_builds_again_to_the_same_network(bundle: Path) -> None:
    from edgecomp.pipeline import read_model

    network = read_model(bundle).network
    assert network.problems() == ()
    from edgecomp.ir.text import dump

    assert dump(network) == (bundle / "model" / "network.txt").read_text()


def test_an_unknown_target_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="xcvu13"):
        CliRunner().invoke(cli, ["build", str(model_file(tmp_path)), "--target", "xcvu13"], catch_exceptions=False)


def test_a_truncated_model_is_named(tmp_path: Path) -> None:
    path = model_file(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"cut short|malformed|no ONNX"):
        CliRunner().invoke(cli, ["build", str(path), "--target", "fpga"], catch_exceptions=False)


def test_the_muon_model_is_the_source_s_codes() -> None:
    from edgecomp import check, frontend

    model = frontend.load(ROOT / "examples" / "muon" / "model.onnx")
    lowered = frontend.read(model)
    with np.load(ROOT / "examples" / "muon" / "data.npz", allow_pickle=False) as data:
        tracks = data["x"][:500].astype(np.float64)
    found = check.against_source(model, lowered, {lowered.network.inputs[0].source: tracks})
    assert found.codes > 0
    assert found.float64_ties == ()


def test_a_wrong_network_is_caught() -> None:
    from dataclasses import replace

    from edgecomp import check, frontend
    from edgecomp.ir import Ints, Network, Requant

    model = frontend.load(ROOT / "examples" / "muon" / "model.onnx")
    lowered = frontend.read(model)
    victim = next(node for node in lowered.network.nodes if isinstance(node, Requant) and node.shift)
    wrong = replace(victim, addend=Ints(victim.addend.array + 1))
    nodes = tuple(wrong if node is victim else node for node in lowered.network.nodes)
    with np.load(ROOT / "examples" / "muon" / "data.npz", allow_pickle=False) as data:
        tracks = data["x"][:200].astype(np.float64)
    broken = replace(lowered, network=Network(nodes=nodes))
    with pytest.raises(MismatchError, match="in exact arithmetic"):
        check.against_source(model, broken, {lowered.network.inputs[0].source: tracks})
