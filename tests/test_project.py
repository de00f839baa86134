"""Project files, settings and targets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from edgecomp.bundle import Bundle
from edgecomp.errors import UsageError
from edgecomp.project import (
    Project,
    Task,
    families,
    family_of,
    find_project,
    load_project,
    load_target,
    nearest,
    parse_settings,
    parse_task,
    target_names,
)
from edgecomp.resources import resource

WHOLE = """
[project]
name = "net-1"
model = "sub/net.onnx"
data = "../d.npz"
task = "regression"
target = "xc7z020"
[options]
head = "logits"
vectors = 300
fast = true
[options.reuse]
fc1 = 4
"""


def write(folder: Path, text: str) -> Path:
    (folder / "edgecomp.toml").write_text(text)
    return folder / "edgecomp.toml"


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_project(write(folder, text))
    return str(caught.value)


def test_a_whole_project(tmp_path: Path) -> None:
    expected = Project(
        name="net-1",
        model=tmp_path / "sub/net.onnx",
        data=tmp_path / "../d.npz",
        task=Task.REGRESSION,
        target="xc7z020",
        options={"head": "logits", "vectors": "300", "fast": "true", "reuse.fc1": "4"},
    )
    assert load_project(write(tmp_path, WHOLE)) == expected
    assert find_project(tmp_path) == expected
    assert find_project(tmp_path / "edgecomp.toml") == expected


def test_the_least_project_is_named_after_its_folder(tmp_path: Path) -> None:
    write(tmp_path, '[project]\nmodel = "m.onnx"')
    assert find_project(tmp_path) == Project(name=tmp_path.name, model=tmp_path / "m.onnx", options={})


def test_without_an_argument_the_current_folder_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        find_project(None)
    assert re.fullmatch(r"\.: there is no edgecomp\.toml\n  hint: name a model, as in: .+", str(caught.value))
    write(tmp_path, '[project]\nmodel = "m.onnx"')
    assert find_project(None).model == Path("m.onnx")


def test_a_model_and_a_bundle_as_arguments(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    assert find_project(tmp_path / "net.onnx") == Project(name="net", model=tmp_path / "net.onnx", options={})
    Bundle(files={"model/model.int.onnx": b""}).write(tmp_path / "b", hashes={})
    assert find_project(tmp_path / "b").model == tmp_path / "b/model/model.int.onnx"


def test_nothing_to_build(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_project(tmp_path / "no.onnx")
    assert re.fullmatch(r"\S+no\.onnx: there is no such model\n  hint: check the path", str(caught.value))
    with pytest.raises(UsageError) as caught:
        find_project(tmp_path)
    text = r"\S+: there is no edgecomp\.toml\n  hint: a folder to build holds an edgecomp\.toml or is a bundle"
    assert re.fullmatch(text, str(caught.value))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[projet]", r"there is no table named projet\n  hint: did you mean project\?"),
        ("model = 'm'", r"there is no table named model\n  hint: .+"),
        ("[project]\nmodl = 'm'", r"there is no key named modl\n  hint: did you mean model\?"),
        ("project = 3", "project must be a table"),
        ("[project]", r"model is missing: the path of the ONNX file, seen from this folder"),
        ("[project]\nmodel = 3", "model must be text"),
        ("[project]\nmodel = ''", "model must be text"),
        ("[project]\nmodel = 'm'\nname = 'a/b'", r"name 'a/b' may hold letters, digits, dots, .+ only"),
        ("[project]\nmodel = 'm'\nname = '..'", r"name '\.\.' may hold letters, digits, dots, .+ only"),
        ("[project]\nmodel = 'm'\ntask = 'clases'", r"there is no task named clases\n  hint: did you mean classes\?"),
        ("[project]\nmodel = 'm'\n[options]\na = [1]", "options.a must be text, a number or true or false"),
        ("[project]\nmodel = 'm'\n[options.a]\nb = [1]", "options.a.b must be text, a number or true or false"),
        ("[project", r"is no TOML: .+\n  hint: see README\.md for an example"),
    ],
)
def test_project_files_that_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    assert re.fullmatch(rf"\S+edgecomp\.toml: {fault}", refusal(tmp_path, text))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "edgecomp.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is no TOML"):
        load_project(tmp_path / "edgecomp.toml")


def test_a_project_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "edgecomp.toml").mkdir()
    with pytest.raises(UsageError) as caught:
        load_project(tmp_path / "edgecomp.toml")
    assert re.fullmatch(r"\S+edgecomp\.toml: cannot be read: Is a directory\n  hint: .+", str(caught.value))


def test_settings() -> None:
    assert parse_settings(["a=1", " b = x=y ", "a=2"]) == {"a": "2", "b": "x=y"}
    with pytest.raises(UsageError) as caught:
        parse_settings(["a", "=3", "ok=1"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "--set: 'a' is not of the form key=value"
    assert lines[2] == "--set: '=3' is not of the form key=value"


def test_tasks() -> None:
    assert parse_task("classes", where="w") is Task.CLASSES
    with pytest.raises(UsageError) as caught:
        parse_task("foo", where="--set task")
    assert str(caught.value) == "--set task: there is no task named foo\n  hint: there are: classes, regression"


def test_nearest() -> None:
    assert nearest("xcvu13", ["xcvu13p", "fpga"]) == "did you mean xcvu13p?"
    assert nearest("zzz", ["b", "a"]) == "there are: a, b"
    assert nearest("zzz", []) == "there are: none"


def test_targets_and_their_family() -> None:
    assert target_names() == (
        "ecp5_25k",
        "ecp5_85k",
        "ice40hx8k",
        "ice40up5k",
        "xc7a35t",
        "xc7z020",
        "xcu250",
        "xcvu13p",
        "xczu7ev",
    )
    assert families() == {"fpga": "xcvu13p", "mcu": "cortex_m0", "printed": "egfet"}
    assert family_of("printed") == family_of("egfet") == ("printed", "egfet")
    assert family_of("fpga") == ("fpga", "xcvu13p")
    assert load_target("fpga") == load_target("xcvu13p")
    assert (load_target("fpga").part, load_target("fpga").clock_ns) == ("xcvu13p-flga2577-2-e", 6.25)


@pytest.mark.parametrize("name", target_names())
def test_every_number_of_a_target_has_a_unit_and_a_source(name: str) -> None:
    table = tomllib.loads((resource("targets") / f"{name}.toml").read_text())
    assert table["name"] == name
    assert table["part"].lower().startswith(name) or name.startswith("ecp5")
    assert table["part_source"]
    for key in ("clock", "lut", "ff", "dsp", "bram18"):
        assert table[key]["value"] > 0 or "place" in table
        assert table[key]["unit"]
        assert len(table[key]["source"]) > 10
    target = load_target(name)
    assert target.ff == (1 if target.place else 2) * target.lut
    assert target.source.startswith(table["clock"]["source"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [("xcvu13", r"did you mean xcvu13p.*\?"), ("printed", "there are: ecp5_25k, .+"), ("", "there are: ecp5_25k, .+")],
)
def test_unknown_targets(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_target(name)
    assert re.fullmatch(rf"--target: there is no target named {name}\n  hint: {hint}", str(caught.value))


def test_a_resource_that_does_not_ship_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="tests/x does not ship with edgecomp"):
        resource("tests/x")
