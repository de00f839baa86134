"""Doctor: what is there, and how to get what is not."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from edgecomp.doctor import Finding, examine


def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_tools_and_packages_are_listed_with_their_versions() -> None:
    found = findings()
    assert {"g++", "vitis-run", "vivado_hls", "numpy", "onnx", "torch", "brevitas"} <= found.keys()
    assert found["numpy"].version == metadata.version("numpy")
    assert found["numpy"].problem is None
    assert re.fullmatch(r"g\+\+ .*\d+\.\d+.* at \S+g\+\+", found["g++"].version)
    assert found["g++"].required
    assert not found["torch"].required


def test_a_missing_tool_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    problem = findings()["g++"].problem
    assert findings()["g++"].version == "missing"
    assert re.fullmatch(r"g\+\+: g\+\+ is not on the PATH\n  hint: apt-get install g\+\+; or set .+", str(problem))


def test_a_wrong_override_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMP_VITIS_RUN", "/nowhere")
    assert re.fullmatch(r"EDGECOMP_VITIS_RUN: '/nowhere' is no program\n.+", str(findings()["vitis-run"].problem))


def test_an_override_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gxx").write_text("#!/bin/sh\necho compiler 99.1\n")
    (tmp_path / "gxx").chmod(0o755)
    monkeypatch.setenv("EDGECOMP_GXX", str(tmp_path / "gxx"))
    assert findings()["g++"].version == f"compiler 99.1 at {tmp_path / 'gxx'}"


def test_packages_that_are_missing_or_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "a":
            raise metadata.PackageNotFoundError
        return "2.0+cpu"

    asked = ["a==1.0", "b==1.5", "c==2.0", 'd==2; extra == "train"', "e<81 ; extra == 'train'", 'f; extra == "test"']
    monkeypatch.setattr(metadata, "requires", lambda _: asked)
    monkeypatch.setattr(metadata, "version", version)
    found = {name: finding.problem for name, finding in findings().items()}
    assert str(found["a"]) == "a: is missing\n  hint: in a checkout of edgecomp: pip install ."
    assert (
        str(found["b"]) == "b: has version 2.0+cpu, tested with 1.5\n  hint: in a checkout of edgecomp: pip install ."
    )
    assert found["c"] is None
    assert (
        str(found["d"])
        == "d: has version 2.0+cpu, tested with 2\n  hint: in a checkout of edgecomp: pip install '.[train]'"
    )
    assert found["e"] is None
    assert "f" not in found
