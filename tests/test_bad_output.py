"""Outputs that cannot be written, builds that are stopped, data that does not fit: said once, and nothing is left."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgecomp.cli import main
from edgecomp.errors import Exit
from tests.generator import make_handmade

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound model; scratch files go to a folder of their own, which must be empty afterwards."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "made").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    path = tmp_path / "net.onnx"
    path.write_bytes(make_handmade(2, 8).onnx_bytes)
    return path


def left(model: Path) -> list[Path]:
    """What a build left; .ses is onnxruntime's own, which it writes to the temporary folder when it is imported."""
    here = [*(model.parent / "made").iterdir(), *(model.parent / "scratch").iterdir()]
    return [path for path in here if path.name != ".ses"]


def build(model: Path, out: Path, *more: str | Path) -> int:
    return main(["build", str(model), "--out", str(out), *map(str, more)])


def test_an_output_that_is_a_file(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model.parent / "taken").write_text("mine")
    assert build(model, model.parent / "taken") == Exit.USAGE
    said = capsys.readouterr().err
    assert "taken by a file" in said
    assert "--out" in said
    assert (model.parent / "taken").read_text() == "mine"
    assert left(model) == []


@pytest.mark.parametrize("out", ["/dev/full/out"])
def test_an_output_below_what_cannot_hold_it(model: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = build(model, Path(out))
    said = capsys.readouterr()
    assert code == Exit.DISK, said.err
    assert out in said.err
    assert "--out" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert left(model) == []


def test_a_part_beside_an_unwritable_folder_is_said_before_the_long_stages(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model.parent / "file").write_text("")
    assert build(model, model.parent / "file" / "below") == Exit.DISK
    assert "C simulation" not in capsys.readouterr().err


def archive(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def real_bomb() -> bytes:
    """128 MiB of zeros, honestly declared, in a few hundred KiB."""
    stream, block = io.BytesIO(), bytes(1 << 24)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 21, 8)})
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made, made.open("x.npy", "w", force_zip64=True) as file:
        file.write(header.getvalue())
        for _ in range(8):
            file.write(block)
    return stream.getvalue()


def shape_of(model: Path) -> tuple[int, ...]:
    from edgecomp.pipeline import read_model

    (node,) = read_model(model).network.inputs
    return node.shape


@pytest.mark.parametrize(
    ("name", "message"),
    [("infinite", "is not finite"), ("scalar", "has shape ()"), ("none", "holds no samples"),
     ("complex", "numbers are wanted"), ("negative class", "y holds classes -1"), ("lengths", "differ in length"),
     ("y of text", "y has type"), ("bomb", "x has shape"), ("missing", "there is no such data file"),
     ("folder", "cannot be read")],
)  # fmt: skip
def test_data_that_does_not_fit(
    name: str, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.zeros((3, *shape_of(model)))
    made = {
        "infinite": lambda: archive(x=np.full_like(x, np.inf)), "scalar": lambda: archive(x=np.float32(1)),
        "none": lambda: archive(x=x[:0]), "complex": lambda: archive(x=x.astype(complex)),
        "negative class": lambda: archive(x=x, y=np.array([0, -1, 0])),
        "lengths": lambda: archive(x=x, y=np.zeros(2, dtype=int)), "y of text": lambda: archive(x=x, y=["a"] * 3),
        "bomb": real_bomb,
    }  # fmt: skip
    path = tmp_path / "data.npz"
    if name in made:
        path.write_bytes(made[name]())
    elif name == "folder":
        path.mkdir()
    code = build(model, tmp_path / "made" / "out", "--data", path, "--set", "task=classes")
    said = capsys.readouterr().err
    assert (code, message in said) == (Exit.USAGE, True), said
    assert "data.npz" in said
    assert "Traceback" not in said
    assert left(model) == []


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stage", ["comparing with the source", "compiling and running"])
def test_a_stopped_build_leaves_nothing(model: Path, stage: str, sent: signal.Signals, code: int) -> None:
    program = [sys.executable, "-c", "from edgecomp.cli import entry; entry()", "build", str(model), "--out"]
    with subprocess.Popen(
        [*program, str(model.parent / "made" / "out")], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        reached = any(stage in line for line in process.stderr)
        process.send_signal(sent)
        rest = process.stderr.read()
        assert (reached, process.wait(60)) == (True, code), rest
    assert "Traceback" not in rest
    assert left(model) == []


def test_a_setting_given_twice_holds_the_last(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--set", "vendor=vitis", "--set", "vendor=vivvado"]
    assert build(model, model.parent / "made" / "out", *arguments) == Exit.USAGE
    assert "vivado" in capsys.readouterr().err
    assert left(model) == []
