"""Data files that ship with edgecomp: the folders `targets/` and `hls/`, which lie beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def resource(path: str) -> Path:
    """The file or folder `path`, such as "targets" or "hls/kernel.h": in the installed package, else the checkout."""
    folder = path.partition("/")[0]
    assert folder in ("targets", "hls"), f"{path} does not ship with edgecomp"
    installed = PACKAGE / "_data"
    return (installed if installed.is_dir() else PACKAGE.parent) / path
