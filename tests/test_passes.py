"""The class in place of the logits, exactly; and the flow that builds it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgecomp import interp
from edgecomp.cli import cli, main
from edgecomp.errors import UsageError
from edgecomp.ir import Input, Network, Output
from edgecomp.passes import decides, with_argmax, with_logits
from tests.generator import make


def logits(scale: list[Fraction], offset: list[Fraction], low: int = -300, high: int = 300) -> Network:
    count = max(len(scale), len(offset))
    ends = Output(name="y", x="x", scale=tuple(scale), offset=tuple(offset))
    return Network(nodes=(Input(name="x", shape=(count,), lo=low, hi=high), ends))


def reals(network: Network, x: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[list[Fraction]]:
    node = network.outputs[0]
    width = x.shape[1]
    scale, offset = (part * width if len(part) == 1 else part for part in (node.scale, node.offset))
    return [[scale[c] * int(row[c]) + offset[c] for c in range(width)] for row in x]


@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        (["1/3", "1/3", "1/3"], ["0"]),
        (["0.1", "0.25", "0.07"], ["0"]),
        (["0.25"], ["0.1", "0.3", "-0.2"]),
        (["2", "3", "5"], ["1", "-1", "0"]),
        (["0.0123", "0.0321", "0.0222"], ["0.5", "0.25", "-1.75"]),
    ],
)
def test_the_class_is_that_of_the_exact_logits(scale: list[str], offset: list[str]) -> None:
    network = logits([Fraction(v) for v in scale], [Fraction(v) for v in offset])
    width = max(len(scale), len(offset))
    x = np.random.default_rng(0).integers(-300, 301, (2000, width))
    x[:500] = x[:500, :1] + np.random.default_rng(1).integers(-3, 4, (500, width))
    x = np.clip(x, -300, 300)
    want = [max(range(width), key=lambda c: (row[c], -c)) for row in reals(network, x)]
    headed = with_argmax(network)
    assert decides(headed)
    assert interp.outputs(headed, {"x": x})["y"][:, 0].tolist() == want
    both = interp.outputs(with_argmax(network, keep_logits=True), {"x": x})
    assert both["y"][:, 0].tolist() == want
    assert np.array_equal(both["logits"], x)


@pytest.mark.parametrize("offset", ["0", "1/3", "-1/2", "7"])
def test_one_logit_decides_by_its_exact_sign(offset: str) -> None:
    network = logits([Fraction(1, 3)], [Fraction(offset)])
    x = np.arange(-50, 51)[:, None]
    want = [int(row[0] > 0) for row in reals(network, x)]
    assert interp.outputs(with_argmax(network), {"x": x})["y"][:, 0].tolist() == want


def test_a_class_stays_as_it_is() -> None:
    headed = with_argmax(logits([Fraction(1)], [Fraction(0)] * 3))
    assert with_argmax(headed) is headed
    assert not decides(logits([Fraction(1)], [Fraction(0)]))


def test_a_picture_of_logits_has_no_class() -> None:
    nodes = (Input(name="x", shape=(2, 3), lo=0, hi=1), Output(name="y", x="x"))
    with pytest.raises(UsageError, match="one output with one logit for each class"):
        with_argmax(Network(nodes=nodes))


def test_build_gives_the_class(tmp_path: Path) -> None:
    """The logits are compared as well, in the same circuit with them brought out."""
    model = next(m for m in map(make, range(200)) if m.refusable is False and "argmax" not in m.tags and one_axis(m))
    (tmp_path / "net.onnx").write_bytes(model.proto.SerializeToString())
    arguments = ["build", str(tmp_path / "net.onnx"), "--out", str(tmp_path / "out"), "--set", "head=argmax"]
    ran = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    assert "logits brought out" in ran.stderr
    contract = json.loads((tmp_path / "out" / "io_contract.json").read_text())
    assert contract["head"] == "argmax"
    assert contract["outputs"][0]["shape"] == [1]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["model"]["head"] == "argmax"


def one_axis(model: object) -> bool:
    from edgecomp import frontend
    from edgecomp.errors import EdgecompError

    try:
        network = frontend.read(model.proto).network  # type: ignore[attr-defined]
    except EdgecompError:
        return False
    shapes = [network.values()[node.name].shape for node in network.outputs]
    return len(shapes) == 1 and len(shapes[0]) == 1 and shapes[0][0] > 2 and len(network.nodes) < 12


def test_a_regression_has_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = next(m for m in map(make, range(200)) if one_axis(m))
    (tmp_path / "net.onnx").write_bytes(model.proto.SerializeToString())
    arguments = ["build", str(tmp_path / "net.onnx"), "--out", str(tmp_path / "out"), "--set", "head=argmax"]
    assert main([*arguments, "--set", "task=regression"]) == 2
    assert "a regression has no classes" in capsys.readouterr().err
    assert main([*arguments[:-1], "head=class"]) == 2
    assert "head cannot be class" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_logits_stand_beside_a_class_that_is_there_already() -> None:
    plain = logits([Fraction(1)] * 3, [Fraction(0)])
    decided = with_argmax(plain)
    both = with_logits(decided)
    x = {"x": np.random.default_rng(2).integers(-300, 301, (50, 3))}
    assert [node.name for node in both.outputs] == ["y", "logits"]
    found = interp.outputs(both, x)
    np.testing.assert_array_equal(found["y"], interp.outputs(decided, x)["y"])
    np.testing.assert_array_equal(found["logits"], x["x"])
    assert [node.name for node in with_logits(plain).outputs] == ["logits", "y"]
    taken = Network(nodes=tuple(replace(n, name="logits") if isinstance(n, Output) else n for n in decided.nodes))
    assert [node.name for node in with_logits(taken).outputs] == ["logits", "logits_"]
