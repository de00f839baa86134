"""What a user can get wrong, through the command line: one clear message, the exit code, no traceback, nothing left."""

from __future__ import annotations

import io
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.cli import main
from edgecomp.errors import Exit

QONNX = "qonnx.custom_op.general"


def quant(name: str, x: str, y: str, scale: str = "scale") -> onnx.NodeProto:
    return helper.make_node("Quant", [x, scale, "zero", "bits"], [y], name=name, domain=QONNX,
                            signed=1, narrow=0, rounding_mode="ROUND")  # fmt: skip


def sound() -> onnx.ModelProto:
    """A dense layer of 4 inputs and 3 outputs, quantised to 4 bits throughout."""
    draw = np.random.default_rng(0)
    arrays = {"w": draw.normal(size=(4, 3)), "scale": np.array(0.25), "zero": np.array(0.0), "bits": np.array(4.0)}
    nodes = [
        quant("q_x", "x", "x_code"), quant("q_w", "w", "w_code"),
        helper.make_node("MatMul", ["x_code", "w_code"], ["sum"], name="dense"), quant("q_y", "sum", "y"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(v, dtype=np.float32), name) for name, v in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)])


def array(model: onnx.ModelProto, name: str, values: object) -> None:
    """Put another array in an initialiser's place."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))


def before_output(model: onnx.ModelProto, kind: str, **attributes: str) -> None:
    """An operator between the dense layer and its quantiser."""
    model.graph.node[-1].input[0] = "more"
    node = helper.make_node(kind, ["sum"], ["more"], name="extra")
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    model.graph.node.insert(len(model.graph.node) - 1, node)


def widened(model: onnx.ModelProto) -> None:
    """Codes of 16 bits times weights of 32 by a product of two accumulators."""
    array(model, "bits", 16.0)
    array(model, "scale", 2.0**-15)
    model.graph.node.remove(model.graph.node[-1])
    for i in range(3):
        here, there = ("sum", "p0") if i == 0 else (f"p{i - 1}", f"p{i}" if i < 2 else "y")
        model.graph.node.append(helper.make_node("Mul", [here, here], [there], name=f"square{i}"))


def unquantised(model: onnx.ModelProto) -> None:
    model.graph.node[2].input[0] = "x"


def float_model(model: onnx.ModelProto) -> None:
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("MatMul", ["x", "w"], ["y"], name="dense"))


def dynamic(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"


def outside(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "48")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def huge_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1 << 40


def huge_constant(model: onnx.ModelProto) -> None:
    shape = helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([1 << 40])))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["w"], name="wide"))
    model.graph.node.insert(0, shape)
    del model.graph.initializer[0]


def huge_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def huge_pad(model: onnx.ModelProto) -> None:
    """A padding of 2^30 zeros on either side."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 1 << 30, 0, 1 << 30]), "pads"))
    model.graph.node[-1].input[0] = "more"
    model.graph.node.insert(3, helper.make_node("Pad", ["sum", "pads"], ["more"], name="pad"))


Change = Callable[[onnx.ModelProto], object]
MODELS: dict[str, tuple[Change, int, str]] = {
    "unknown operator": (lambda m: before_output(m, "Einsum", equation="ij->ij"), 3, "operator Einsum is unknown"),
    "unknown domain": (lambda m: m.graph.node[2].MergeFrom(onnx.NodeProto(domain="evil")), 3, "operator evil.MatMul"),
    "dynamic shape": (dynamic, 2, "dynamic beyond the batch axis"),
    "NaN weight": (lambda m: array(m, "w", np.full((4, 3), np.nan)), 2, "12 of 12 values are NaN or infinite"),
    "infinite weight": (lambda m: array(m, "w", np.full((4, 3), np.inf)), 2, "values are NaN or infinite"),
    "NaN scale": (lambda m: array(m, "scale", np.nan), 2, "1 of 1 values are NaN or infinite"),
    "zero scale": (lambda m: array(m, "scale", 0.0), 2, "scale is zero or negative"),
    "negative scale": (lambda m: array(m, "scale", -0.5), 2, "scale is zero or negative"),
    "fractional width": (lambda m: array(m, "bits", 3.5), 3, "bit width is not one integer"),
    "width of 20": (lambda m: array(m, "bits", 20.0), 3, "a code of 20 bits"),
    "unquantised path": (unquantised, 3, "the graph input is used without a quantiser"),
    "float model": (float_model, 2, "edgecomp quantize"),
    "mid-graph softmax": (lambda m: before_output(m, "Softmax"), 3, "softmax inside the graph"),
    "accumulator": (widened, 3, "bits; 62 is the most"),
    "weights elsewhere": (outside("/etc/hostname"), 2, "does not lie in the model's folder"),
    "weights above": (outside("../../etc/hostname"), 2, "does not lie in the model's folder"),
    "weights behind a link": (outside("link.bin"), 2, "does not lie in the model's folder"),
    "short weights": (outside("short.bin"), 2, "external data"),
    "huge input": (huge_input, 2, "elements"),
    "huge constant": (huge_constant, 2, "elements"),
    "huge tensor": (huge_tensor, 2, "malformed"),
    "huge pad": (huge_pad, 3, "elements"),
    "missing tensor": (lambda m: m.graph.node.pop(1), 2, "w_code"),
    "no output": (lambda m: m.graph.output.pop(), 2, "the graph has no output"),
    "an empty graph": (lambda m: m.graph.ClearField("node"), 2, "is empty"),
}


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for the output; scratch files go beside it, and neither may hold anything afterwards."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "made").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and message of a build that must leave nothing."""
    code = main(["build", *map(str, arguments), "--out", str(folder / "made" / "out")])
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert list((folder / "made").iterdir()) == []
    assert [path.name for path in (folder / "scratch").iterdir()] in ([], [".ses"])  # onnxruntime's own
    return code, said.err


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, code, message = MODELS[name]
    (clean / "elsewhere").write_bytes(bytes(48))
    (clean / "model").mkdir()
    (clean / "model" / "link.bin").symlink_to(clean / "elsewhere")
    (clean / "model" / "short.bin").write_bytes(b"1234")
    model = sound()
    change(model)
    path = clean / "model" / "net.onnx"
    path.write_bytes(model.SerializeToString())
    got, said = refused(clean, capsys, path)
    assert (got, message in said) == (code, True), said
    assert "error:" in said


def test_external_data_beside_the_model_is_read(clean: Path) -> None:
    model = sound()
    path = clean / "net.onnx"
    (clean / "w.bin").write_bytes(model.graph.initializer[0].raw_data)
    outside("w.bin")(model)
    path.write_bytes(model.SerializeToString())
    assert main(["check", str(path), "--target", "fpga"]) == 0


class Executed:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(Path(tempfile.gettempdir()) / "executed"),)


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut short"),
    "noise": (bytes(range(256)) * 9, "cut short"),
    "truncated": (sound().SerializeToString()[:-40], "cut short"),
    "pickle": (pickle.dumps(Executed()), "cut short"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_model(name: str, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = FILES[name]
    (clean / "net.onnx").write_bytes(content)
    code, said = refused(clean, capsys, clean / "net.onnx")
    assert (code, message in said) == (2, True), said


def test_many_truncations_never_crash(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = sound().SerializeToString()
    for length in range(1, len(whole), 37):
        (clean / "net.onnx").write_bytes(whole[:length])
        code, said = refused(clean, capsys, clean / "net.onnx")
        assert code in (2, 3), (length, said)


@pytest.fixture
def model(clean: Path) -> Path:
    path = clean / "net.onnx"
    path.write_bytes(sound().SerializeToString())
    return path


def test_a_folder_without_a_project(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clean / "empty").mkdir()
    code, said = refused(clean, capsys, clean / "empty")
    assert code == 2
    assert "edgecomp.toml" in said


def test_no_such_model(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(clean, capsys, clean / "none.onnx")
    assert code == 2
    assert "none.onnx" in said


ARGUMENTS = {
    "target": (["--target", "fgpa"], "fpga"),
    "flow": (["--flow", "hsl"], "hls"),
    "setting": (["--set", "stategy=latency"], "strategy"),
    "value": (["--set", "io=paralel"], "parallel"),
    "no value": (["--set", "io"], "io"),
    "layer": (["--set", "reuse.dens=2"], "sum"),
    "seed": (["--set", "seed=-1"], "seed cannot be -1"),
    "outlier": (["--set", "outlier=-1"], "outlier cannot be -1"),
    "outlier in words": (["--set", "outlier=far"], "give a positive number"),
    "option": (["--targets", "fpga"], "--target"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str, model: Path, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = ARGUMENTS[name]
    code, said = refused(clean, capsys, model, *arguments)
    assert (code, message in said) == (2, True), said


def archive(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def bomb() -> bytes:
    """A member that claims 8 TB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 4)})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", header.getvalue() + bytes(1 << 16))
    return stream.getvalue()


DATA = {
    "shape": (archive(x=np.zeros((5, 3))), "(5, 3)"),
    "type": (archive(x=np.array([["a"] * 4])), "x"),
    "NaN": (archive(x=np.full((2, 4), np.nan)), "sample 0"),
    "key": (archive(z=np.zeros((2, 4))), "x"),
    "rows": (archive(x=np.zeros((2, 4)), y=np.zeros(3, dtype=int)), "3"),
    "classes": (archive(x=np.zeros((2, 4)), y=np.array([0, 3])), "0 to 2"),
    "pickle": (archive(x=np.array([Executed()], dtype=object)), "x"),
    "bomb": (bomb(), "x"),
    "no archive": (b"PK\x03\x04 and then nothing", "data.npz"),
}


@pytest.mark.parametrize("name", DATA)
def test_data(name: str, model: Path, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = DATA[name]
    (clean / "data.npz").write_bytes(content)
    code, said = refused(clean, capsys, model, "--data", clean / "data.npz")
    assert (code, message in said) == (2, True), said


def test_an_output_folder_that_is_not_ours(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    assert main(["build", str(model), "--out", str(tmp_path / "thesis")]) == 2
    assert "thesis" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]
    assert main(["build", str(model), "--out", str(model)]) == 2
    assert onnx.load(model) == sound()


def command(model: Path, out: Path) -> list[str]:
    program = "from edgecomp.cli import entry; entry()"
    return [sys.executable, "-c", program, "build", str(model), "--out", str(out)]


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_full_disk(model: Path, clean: Path) -> None:
    """A limit on the size of files stands for the disk: writing ends in an error in the middle of a file."""
    ran = subprocess.run(command(model, clean / "made" / "out"), capture_output=True, text=True, check=False,
                         preexec_fn=small_files)  # fmt: skip
    assert (ran.returncode, ran.stdout) == (Exit.DISK, ""), ran.stderr
    assert "Traceback" not in ran.stderr
    assert list((clean / "made").iterdir()) == []
    assert [path.name for path in (clean / "scratch").iterdir()] in ([], [".ses"])  # onnxruntime's own
