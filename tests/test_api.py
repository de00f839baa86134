"""The Python interface: what it returns is what the command line writes, its examples run, notebooks can show it."""

from __future__ import annotations

import doctest
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgecomp
from edgecomp import api, cli
from edgecomp.bundle import MANIFEST, digests, read_manifest
from edgecomp.errors import DataError, Exit, ModelError, UsageError
from edgecomp.report import to_json
from tests.browser import chromium

TOP = Path(__file__).resolve().parent.parent
MODEL, DATA = TOP / "examples" / "digits" / "model.onnx", TOP / "examples" / "digits" / "data.npz"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with the examples at hand."""
    (tmp_path / "examples").symlink_to(TOP / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def some_rows(count: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    with np.load(DATA) as data:
        return {name: data[name][:count] for name in ("x", "y")}


@pytest.mark.usefixtures("desk")
def test_the_examples_of_the_docstrings_run() -> None:
    found = doctest.testmod(api)
    assert found.attempted >= 8
    assert found.failed == 0


@pytest.mark.usefixtures("desk")
def test_the_examples_of_the_readme_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (TOP / "README.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_it_returns_what_the_command_line_writes(desk: Path) -> None:
    built = edgecomp.build("examples/digits", target="host", out=desk / "a", settings={"vectors": 100, "seed": 3})
    assert cli.main(["build", "examples/digits", "--target", "host", "--out", "b", "--set", "vectors=100",
                     "--set", "seed=3"]) == Exit.DONE  # fmt: skip
    assert built.folder == desk / "a"
    assert (desk / "a" / MANIFEST).read_bytes() == (desk / "b" / MANIFEST).read_bytes()
    assert digests(built.bundle) == read_manifest(desk / "b")
    assert (desk / "a" / "report.json").read_text() == to_json(built.report)
    written = {p.relative_to(desk / "a").as_posix() for p in (desk / "a").rglob("*") if p.is_file()}
    assert written == {*built.bundle.files, MANIFEST}


def test_a_model_and_data_in_memory_are_as_good_as_files(desk: Path) -> None:
    rows = some_rows(40)
    np.savez(desk / "rows.npz", allow_pickle=False, **rows)
    loaded = onnx.load(MODEL)
    one = edgecomp.build(loaded, target="host", data=rows, out="one")
    two = edgecomp.build(MODEL, target="host", data=desk / "rows.npz", out=Path("two"))
    assert digests(one.bundle) == digests(two.bundle)
    assert one.report.accuracy[0].metrics == two.report.accuracy[0].metrics
    assert one.report.model.name == re.sub("[^A-Za-z0-9_-]", "_", loaded.graph.name) + ".onnx"
    given = hashlib.sha256(loaded.SerializeToString(deterministic=True)).hexdigest()
    assert one.report.model.sha256 == given


def test_a_design_that_does_not_fit_is_told_and_not_raised(desk: Path) -> None:
    large = edgecomp.build("examples/ecg", target="xc7a35t", out="large", settings={"vectors": 100})
    assert not large.report.verdict.fits
    assert any("LUT of 20800" in reason for reason in large.report.verdict.reasons)
    assert (desk / "large" / MANIFEST).is_file()


def test_errors_name_what_the_user_gave(desk: Path) -> None:
    rows = some_rows(5)
    with pytest.raises(DataError, match=r"^data.npz: x has shape \(5, 2\); the model takes \(N, 1, 8, 8\)"):
        edgecomp.build(MODEL, target="host", data={"x": np.zeros((5, 2)), "y": rows["y"]})
    with pytest.raises(DataError, match=r"^data: x has type object; numbers are wanted"):
        edgecomp.build(MODEL, target="host", data={"x": np.array([None, "a"])})
    with pytest.raises(DataError, match=r"^data: x is no array: "):
        edgecomp.build(MODEL, target="host", data={"x": [[1], [1, 2]]})
    with pytest.raises(DataError, match=r"lacks the array x"):
        edgecomp.build(MODEL, target="host", data={"file": rows["x"]})
    with pytest.raises(UsageError, match="fpga"):
        edgecomp.build(MODEL, target="fpgq")
    with pytest.raises(ModelError, match=r"^model.onnx: the ONNX graph is empty"):
        edgecomp.read(onnx.ModelProto())
    with pytest.raises(UsageError, match="there is no such model"):
        edgecomp.read("nowhere.onnx")
    assert sorted(p.name for p in desk.iterdir()) == ["examples"]


def test_progress_is_told_where_it_is_asked_for(capsys: pytest.CaptureFixture[str], desk: Path) -> None:
    from edgecomp.talk import Talk

    edgecomp.build(MODEL, target="host", out=desk / "quiet")
    assert capsys.readouterr() == ("", "")
    edgecomp.build(MODEL, target="host", out=desk / "loud", progress=Talk())
    assert "reading the model" in capsys.readouterr().err


def test_importing_is_cheap_and_unknown_names_are_refused() -> None:
    code = "import sys, edgecomp; assert not {'onnx', 'numpy', 'click'} & {*sys.modules}; edgecomp.read"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=TOP)
    with pytest.raises(AttributeError, match="has no attribute 'bulid'"):
        edgecomp.bulid  # noqa: B018


def test_a_notebook_shows_network_and_report(desk: Path) -> None:
    built = edgecomp.build(MODEL, target="host", data=some_rows(40))
    network = edgecomp.read(MODEL)
    assert built._repr_html_() == built.report._repr_html_()
    page = desk / "notebook.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{network._repr_html_()}{built._repr_html_()}")
    with chromium() as tab:
        tab.open(page, width=900)
        assert tab.complaints() == []
        asked = {event["request"]["url"].partition(":")[0] for event in tab.of("Network.requestWillBeSent")}
        assert asked <= {"file", "about", "data"}
        assert tab.value("document.querySelectorAll('iframe').length") == 2
        sources = tab.value("[...document.querySelectorAll('iframe')].map(f => f.srcdoc)")
    drawn, told = sources
    assert all(f">{node.name}<" in drawn or node.name in drawn for node in network.nodes)
    assert drawn.count("<svg") == 1
    assert "every execution gave the same codes" in told
