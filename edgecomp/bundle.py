"""A bundle: every generated file, in memory, by its relative path; one function writes it, all of it or nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecomp import __version__
from edgecomp.errors import DiskError, Problem, UsageError

MANIFEST = "manifest.json"
REPORTS = ("report.json", "report.txt", "report.html")
_PART = re.compile(r"(?!\.\.?$)[^/\\\0]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Relative posix path -> content. Scripts (`*.sh`) are written executable."""

    files: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for name in self.files:
            assert all(_PART.fullmatch(part) for part in name.split("/")), f"{name!r} is no path inside a bundle"

    def merge(self, other: Bundle) -> Bundle:
        """Both bundles' files; no path may be in both."""
        twice = sorted(self.files.keys() & other.files.keys())
        assert not twice, f"two parts of the bundle write {twice[0]}"
        return Bundle(files={**self.files, **other.files})

    def spill(self, folder: Path) -> None:
        """Write the files below an existing folder of the caller's own, such as a scratch folder to simulate in."""
        try:
            self._put(folder)
        except OSError as error:
            raise _refused(folder, error) from error

    def _put(self, folder: Path) -> None:
        for name in sorted(self.files):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.files[name])
            if name.endswith(".sh"):
                path.chmod(path.stat().st_mode | (path.stat().st_mode & 0o444) >> 2)

    def write(self, out: Path, *, hashes: Mapping[str, str]) -> Path:
        """Write the files and their manifest as folder `out`, replacing a bundle that is there; all of it or nothing.

        `hashes` names what went in (model, data, options). The files go to a sibling folder first; the swap is by
        rename, and the old bundle is removed only once the new one is in place. UsageError where `out` holds
        something that is not a bundle, DiskError where the disk refuses.
        """
        check_output(out)
        whole = self.merge(Bundle(files={MANIFEST: manifest(self, hashes)}))
        target = Path(os.path.realpath(out))
        fresh, old = (target.with_name(f".{target.name}.{os.getpid()}.{kind}") for kind in ("partial", "old"))
        try:
            fresh.mkdir(parents=True)
            whole._put(fresh)
            _swap(fresh, target, old)
        except OSError as error:
            raise _refused(out, error) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return out


def _swap(fresh: Path, target: Path, old: Path) -> None:
    """Put `fresh` in the place of `target`; whatever interrupts it, `target` is the old folder or the new one."""
    if not target.exists():
        fresh.rename(target)
        return
    target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _refused(folder: Path, error: OSError) -> DiskError:
    reason = error.strerror or str(error)
    hint = "free some space, or give another folder with --out; nothing was left half-written"
    return DiskError(f"cannot write the bundle: {reason}", where=str(folder), hint=hint)


def manifest(bundle: Bundle, hashes: Mapping[str, str]) -> bytes:
    """manifest.json: the sha256 of every file but the reports, beside the hashes of what went in."""
    content = {"edgecomp": __version__, "inputs": dict(hashes), "files": digests(bundle)}
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def digests(bundle: Bundle) -> dict[str, str]:
    """The sha256 of every file but the reports, by name."""
    return {
        name: hashlib.sha256(data).hexdigest() for name, data in sorted(bundle.files.items()) if name not in REPORTS
    }


def read_manifest(folder: Path) -> Mapping[str, str] | None:
    """The `files` of a bundle's manifest, or None where the folder is no bundle of edgecomp."""
    content = _manifest_of(folder)
    return None if content is None else _texts(content["files"])


def read_inputs(folder: Path) -> Mapping[str, str]:
    """The sha256 of what went into a bundle (model, data, options) as its manifest says; empty where it does not."""
    content = _manifest_of(folder) or {}
    return _texts(content["inputs"]) if isinstance(content.get("inputs"), dict) else {}


def _manifest_of(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    sound = isinstance(content, dict) and "edgecomp" in content and isinstance(content.get("files"), dict)
    return content if sound else None


def _texts(named: Mapping[str, object]) -> dict[str, str]:
    return {str(name): str(digest) for name, digest in named.items()}


def write_file(path: Path, content: bytes) -> None:
    """Write one file beside bundles, all of it or nothing; UsageError where a folder has its name."""
    if path.is_dir():
        raise UsageError("is a folder, not a file to write", where=str(path), hint="give a file's name")
    fresh = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DiskError(f"cannot write the file: {reason}", where=str(path), hint="give another one") from error
    finally:
        fresh.unlink(missing_ok=True)


def check_output(out: Path) -> None:
    """UsageError unless `out` is free: not there, empty, or a bundle of edgecomp that may be replaced."""
    hint = "give another folder with --out, or remove this one yourself"
    try:
        if not out.exists() and not out.is_symlink():
            above = next(folder for folder in out.absolute().parents if folder.exists())
            if not above.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(above, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        if not out.is_dir():
            raise UsageError("the output folder's name is taken by a file", where=str(out), hint=hint)
        if any(out.iterdir()) and read_manifest(out) is None:
            raise UsageError("the output folder is not empty and holds no edgecomp bundle", where=str(out), hint=hint)
    except OSError as error:
        raise _refused(out, error) from error


def audit(folder: Path) -> tuple[Problem, ...]:
    """The generated files that are gone or not as the manifest hashed them; UsageError where `folder` is no bundle."""
    files = read_manifest(folder)
    if files is None:
        raise UsageError("is no bundle of edgecomp", where=str(folder), hint="name a folder that build has written")
    problems = []
    for name, digest in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            problems.append(Problem(what="is gone from the bundle", where=str(path), hint="build it again"))
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            problems.append(Problem(what="is not as it was built", where=str(path), hint="build it again"))
    return tuple(problems)
