"""The printed flow through the command line, and which flow a target has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgecomp.cli import main
from edgecomp.errors import UsageError
from edgecomp.export import to_onnx
from edgecomp.flows import flow_for
from edgecomp.ir import Dense, Input, Ints, Network, Output, Requant

ROOT = Path(__file__).resolve().parent.parent


def classifier() -> Network:
    """4 codes of 3 bits, 2 neurons with a saturating ReLU, 3 classes."""
    return Network(
        nodes=(
            Input(name="x", shape=(4,), lo=0, hi=7),
            Dense(name="first", x="x", weight=Ints([[1, -2, 4, 0], [-1, 2, 0, 2]]), bias=Ints([-3, 2])),
            Requant(
                name="code", x="first", multiplier=Ints([1]), addend=Ints([1]), shift=1, lo=Ints([0]), hi=Ints([7])
            ),
            Dense(name="second", x="code", weight=Ints([[1, 0], [0, 1], [-1, 2]]), bias=Ints([0, 1, -2])),
            Output(name="y", x="second"),
        )
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("printed")
    (folder / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    arguments = ["build", str(folder / "net.onnx"), "--target", "printed", "--out", str(folder / "out")]
    assert main([*arguments, "--set", "effort=quick"]) == 0
    return folder / "out"


def test_a_printed_bundle_is_whole(bundle: Path) -> None:
    names = json.loads((bundle / "manifest.json").read_text())["files"]
    assert {"io_contract.json", "model/model.int.onnx", "printed/run.sh", "printed/netlist.v"} <= names.keys()
    report = json.loads((bundle / "report.json").read_text())
    assert report["verdict"] == {"exact": True, "fits": True, "reasons": []}
    assert report["model"]["head"] == "argmax"
    assert report["latency"] is None
    assert 0 < report["totals"]["area"]["value"] < 5
    executions = [row["execution"] for row in report["golden"]]
    assert "interpreter and mapped gates" in executions
    assert {row["differences"]["value"] for row in report["golden"]} == {0}
    assert json.loads((bundle / "io_contract.json").read_text())["head"] == "argmax"


def test_verify_runs_the_netlist_again(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle)]) == 0
    copy = shutil.copytree(bundle, tmp_path / "copy")
    expected = copy / "printed/tb_data/expected_y.dat"
    *lines, last, end = expected.read_text().splitlines()
    expected.write_text("\n".join([*lines, str((int(last) + 1) % 3), end]) + "\n")
    assert main(["verify", str(copy)]) == 1
    assert main(["verify", str(bundle), "--locate"]) == 2
    assert "only an HLS bundle can be traced" in capsys.readouterr().err


def test_reports_of_two_flows_stand_side_by_side(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(bundle), str(bundle)]) == 0
    assert "area" in capsys.readouterr().out


def test_a_regression_gives_its_number(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 4)), y=np.zeros((2, 3)))
    arguments = ["build", str(tmp_path / "net.onnx"), "--target", "egfet", "--data", str(tmp_path / "data.npz")]
    assert main([*arguments, "--set", "effort=quick", "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/io_contract.json").read_text())["head"] == "logits"


def test_what_a_flow_lacks_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    arguments = ["build", str(tmp_path / "net.onnx"), "--target", "printed", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--synth"]) == 2
    assert "no vendor's tool" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "net.onnx"), "--target", "printed"]) == 0


def test_flows_by_target() -> None:
    assert flow_for("fpga", None, {}).target.part == "xcvu13p-flga2577-2-e"
    assert flow_for("egfet", "printed", {}).target.name == "egfet"
    with pytest.raises(UsageError, match="there is no flow hls for printed"):
        flow_for("printed", "hls", {})
    with pytest.raises(UsageError) as caught:
        flow_for("pronted", None, {})
    assert "printed" in caught.value.problems[0].hint


def test_train_and_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with two classes that one feature tells apart, to a folder that builds."""
    rows = "\n".join(f"{i % 7},{10 * (i % 2) + i % 3},{'yes' if i % 2 else 'no'}" for i in range(60))
    (tmp_path / "table.csv").write_text("a,b,class\n" + rows + "\n")
    arguments = ["train", str(tmp_path / "table.csv"), "--label", "class", "--hidden", "2", "--out"]
    assert main([*arguments, str(tmp_path / "made")]) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith(str(tmp_path / "made"))
    assert "majority class" in said
    assert main(["build", str(tmp_path / "made"), "--set", "effort=quick", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/printed/netlist.v").is_file()
    assert main([*arguments, str(tmp_path / "other"), "--hidden", "two"]) == 2
    assert "give numbers of neurons" in capsys.readouterr().err
