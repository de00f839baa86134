"""Bundles: all of it or nothing, whatever interrupts the writing."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from edgecomp.bundle import Bundle, audit, check_output, read_inputs, read_manifest
from edgecomp.errors import DiskError, Exit, UsageError

FILES = Bundle(files={"hls/run.sh": b"#!/bin/sh\n", "model/network.txt": b"net\n", "report.json": b"{}"})
OTHER = Bundle(files={"mcu/run.sh": b"other\n"})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_write_makes_the_files_the_manifest_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert FILES.write(out, hashes={"model": "abc"}) == out
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["inputs"] == {"model": "abc"}
    assert manifest["files"] == {
        name: hashlib.sha256(FILES.files[name]).hexdigest() for name in ("hls/run.sh", "model/network.txt")
    }
    assert tree(out) == {**FILES.files, "manifest.json": (out / "manifest.json").read_bytes()}
    assert os.listdir(out.parent) == ["out"]
    assert (out / "hls/run.sh").stat().st_mode & 0o111
    assert not (out / "model/network.txt").stat().st_mode & 0o111


def test_the_same_files_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    Bundle(files=dict(reversed(list(FILES.files.items())))).write(tmp_path / "a", hashes={"b": "1", "a": "2"})
    FILES.write(tmp_path / "b", hashes={"a": "2", "b": "1"})
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_bundle_is_replaced_whole(tmp_path: Path) -> None:
    FILES.write(tmp_path / "out", hashes={})
    OTHER.write(tmp_path / "out", hashes={})
    assert sorted(tree(tmp_path / "out")) == ["manifest.json", "mcu/run.sh"]
    assert os.listdir(tmp_path) == ["out"]


def test_an_empty_folder_and_a_link_to_a_bundle_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    FILES.write(tmp_path / "out", hashes={})
    (tmp_path / "link").symlink_to(tmp_path / "out")
    OTHER.write(tmp_path / "link", hashes={})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "out/mcu/run.sh").is_file()


@pytest.mark.parametrize("manifest", [None, "", "[]", "{}", '{"edgecomp": "1"}', '{"edgecomp": "1", "files": 3}'])
def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    before = tree(tmp_path)
    with pytest.raises(UsageError) as caught:
        FILES.write(tmp_path, hashes={})
    text = r"\S+: the output folder is not empty and holds no edgecomp bundle\n  hint: give another folder with --out.*"
    assert re.fullmatch(text, str(caught.value))
    assert tree(tmp_path) == before


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError) as caught:
        check_output(tmp_path / "out")
    assert re.fullmatch(r"\S+out: the output folder's name is taken by a file\n  hint: .+", str(caught.value))


def test_a_free_name_passes(tmp_path: Path) -> None:
    check_output(tmp_path / "nothing")
    assert os.listdir(tmp_path) == []


def test_a_folder_under_a_file_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError) as caught:
        FILES.write(tmp_path / "file" / "out", hashes={})
    assert caught.value.exit_code is Exit.DISK
    assert re.fullmatch(r"\S+: cannot write the bundle: Not a directory\n  hint: free some space.*", str(caught.value))


@pytest.mark.parametrize("failing", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("step", ["write_bytes", "rename"])
def test_whatever_interrupts_leaves_the_old_bundle_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: BaseException, there: bool, step: str
) -> None:
    out = tmp_path / "out"
    if there:
        OTHER.write(out, hashes={})
    before = tree(tmp_path)
    calls = 0
    original = getattr(Path, step)

    def fail(path: Path, argument: object) -> object:
        nonlocal calls
        calls += 1
        if calls == (2 if there or step == "write_bytes" else 1):
            raise failing
        return original(path, argument)

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises((DiskError, KeyboardInterrupt)) as caught:
        FILES.write(out, hashes={})
    monkeypatch.undo()
    if isinstance(failing, OSError):
        message = r"\S+out: cannot write the bundle: No space left on device\n  hint: free some space.*"
        assert re.fullmatch(message, str(caught.value))
    assert calls >= 1
    assert tree(tmp_path) == before
    assert os.listdir(tmp_path) == (["out"] if there else [])


def test_a_folder_that_cannot_be_looked_into_is_a_disk_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DiskError) as caught:
        check_output(tmp_path)
    assert re.fullmatch(r"\S+: cannot write the bundle: Permission denied\n  hint: .+", str(caught.value))


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/../b", "", ".", "a\\b", "a/", "a\0b"])
def test_a_path_that_escapes_is_our_bug(name: str) -> None:
    with pytest.raises(AssertionError, match="is no path inside a bundle"):
        Bundle(files={name: b""})


def test_merging_the_same_path_twice_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="two parts of the bundle write hls/run"):
        FILES.merge(FILES)


def test_audit_names_what_changed(tmp_path: Path) -> None:
    FILES.write(tmp_path / "out", hashes={})
    assert audit(tmp_path / "out") == ()
    (tmp_path / "out/model/network.txt").write_text("tampered")
    (tmp_path / "out/hls/run.sh").unlink()
    (tmp_path / "out/report.json").write_text("reports may change")
    gone, changed = audit(tmp_path / "out")
    assert re.fullmatch(r"\S+run.sh: is gone from the bundle\n  hint: build it again", str(gone))
    assert re.fullmatch(r"\S+network.txt: is not as it was built\n  hint: build it again", str(changed))


def test_audit_of_another_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        audit(tmp_path)
    assert re.fullmatch(
        r"\S+: is no bundle of edgecomp\n  hint: name a folder that build has written", str(caught.value)
    )
    assert read_manifest(tmp_path) is None


def test_spill_makes_scripts_executable(tmp_path: Path) -> None:
    FILES.spill(tmp_path)
    assert os.access(tmp_path / "hls/run.sh", os.X_OK)


def test_spilling_into_a_folder_that_is_not_there_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError) as caught:
        FILES.spill(tmp_path / "file")
    assert re.fullmatch(r"\S+file: cannot write the bundle: Not a directory\n  hint: .+", str(caught.value))


def test_what_went_in_is_read_back_and_nothing_where_there_is_none(tmp_path: Path) -> None:
    FILES.write(tmp_path / "out", hashes={"model": "ab", "data": ""})
    assert read_inputs(tmp_path / "out") == {"model": "ab", "data": ""}
    assert read_inputs(tmp_path) == {}
    (tmp_path / "manifest.json").write_text('{"edgecomp": "0", "files": {}, "inputs": []}')
    assert read_inputs(tmp_path) == {}
