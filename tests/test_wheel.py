"""The built wheel: its content, and that it finds its data where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgecomp.resources import resource

TOP = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
FOLDERS = ("edgecomp", "targets", "hls")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    for name in SOURCES:
        shutil.copy(TOP / name, source)
    for name in FOLDERS:
        shutil.copytree(TOP / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), "."]
    subprocess.run(command, cwd=source, check=True)
    (found,) = out.glob("edgecomp-*.whl")
    return found


def test_every_module_and_data_file_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {str(path.relative_to(TOP)) for path in (TOP / "edgecomp").rglob("*.py")}
    data = [path for folder in ("targets", "hls") for path in resource(folder).rglob("*") if path.is_file()]
    shipped = {f"edgecomp/_data/{path.relative_to(TOP)}" for path in data}
    page = {str(path.relative_to(TOP)) for path in (TOP / "edgecomp/report/page").iterdir()}
    assert names == code | shipped | page
    assert {Path(name).suffix for name in page} == {".html", ".css"}
    assert len(shipped) > 5


def test_the_installed_package_reads_its_own_data(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "from edgecomp.project import load_target; from edgecomp.resources import resource; "
        "from edgecomp.report.html import TEMPLATES; "
        "print(load_target('fpga').name, resource('hls').is_dir(), resource('targets'), TEMPLATES.is_dir())"
    )
    # -I keeps the checkout off the path; the wheel's folder goes in front of an installed edgecomp.
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    output = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert output == f"xcvu13p True {tmp_path}/edgecomp/_data/targets True\n"
