"""Data files: what is read, and every file that must be refused."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp import data
from edgecomp.data import Data, check_targets, decide_task, load_data
from edgecomp.errors import DataError
from edgecomp.project import Task

ONE: dict[str, tuple[int, ...]] = {"input": (3,)}
TWO: dict[str, tuple[int, ...]] = {"left": (3,), "right": (2, 2)}
X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 2, 1])


def save(path: Path, **arrays: object) -> Path:
    np.savez(path / "d.npz", **arrays)  # type: ignore[arg-type]
    return path / "d.npz"


def refusal(path: Path, shapes: dict[str, tuple[int, ...]] = ONE) -> str:
    with pytest.raises(DataError) as caught:
        load_data(path, shapes)
    return str(caught.value)


def make(y: NDArray[np.int64] | NDArray[np.float64] | None) -> Data:
    return Data(x={"input": X.astype(np.float32)}, y=y, unused=())


def test_x_and_y_of_a_single_input(tmp_path: Path) -> None:
    found = load_data(save(tmp_path, x=X, y=Y, extra=X, labels=Y), ONE)
    assert found.samples == 4
    np.testing.assert_array_equal(found.x["input"], X)
    assert found.x["input"].dtype == np.float32
    assert found.y is not None
    assert found.y.dtype == np.int64
    np.testing.assert_array_equal(found.y, Y)
    assert found.unused == ("extra", "labels")


def test_arrays_by_input_name(tmp_path: Path) -> None:
    found = load_data(save(tmp_path, left=X, right=np.ones((4, 2, 2), dtype=np.int8), y=np.ones(4)), TWO)
    assert sorted(found.x) == ["left", "right"]
    assert found.y is not None
    assert found.y.dtype == np.float64
    assert load_data(save(tmp_path, input=X), ONE).y is None


def test_an_input_called_y_is_not_the_targets(tmp_path: Path) -> None:
    assert load_data(save(tmp_path, y=X), {"y": (3,)}).y is None


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int64", "uint8", "bool"])
def test_types_of_x(tmp_path: Path, dtype: str) -> None:
    assert load_data(save(tmp_path, x=np.asfortranarray(X % 2).astype(dtype)), ONE).x["input"].dtype == np.float32


def test_a_column_of_classes_becomes_a_list(tmp_path: Path) -> None:
    found = load_data(save(tmp_path, x=X, y=Y.reshape(-1, 1).astype(np.uint8)), ONE)
    assert found.y is not None
    assert found.y.shape == (4,)


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"x": np.zeros((4, 5))}, r"x has shape \(4, 5\); the model takes \(N, 3\)"),
        ({"x": np.zeros(())}, r"x has shape \(\); the model takes \(N, 3\)"),
        ({"x": np.zeros((0, 3))}, "holds no samples"),
        ({"x": X, "y": Y[:3]}, "the arrays differ in length: x 4, y 3"),
        ({"x": X.astype(str)}, "x has type <U32; numbers are wanted"),
        ({"x": X.astype(complex)}, "x has type complex128; numbers are wanted"),
        ({"x": X.astype(object)}, "x has type object; numbers are wanted"),
        ({"x": X, "y": np.array(["a", "b", "c", "d"])}, "y has type <U1; numbers are wanted"),
    ],
)
def test_headers_that_do_not_fit(tmp_path: Path, arrays: dict[str, object], fault: str) -> None:
    lines = refusal(save(tmp_path, **arrays)).splitlines()
    assert any(re.fullmatch(rf"\S+d\.npz: {fault}", line) for line in lines), lines


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    text = refusal(save(tmp_path, left=np.zeros((4, 2)), right=np.zeros((3, 3))), TWO)
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite_name_the_first_sample(tmp_path: Path, bad: float) -> None:
    x = X.copy()
    x[2, 1] = x[3, 0] = bad
    text = r"\S+: x is not finite \(as float32\) in 2 samples, the first is sample 2\n  hint: drop or repair .+"
    assert re.fullmatch(text, refusal(save(tmp_path, x=x)))


def test_a_target_that_is_not_finite(tmp_path: Path) -> None:
    text = refusal(save(tmp_path, x=X, y=np.array([0, np.nan, 1, 2])))
    assert re.fullmatch(r"\S+: y is not finite \(as float32\) in 1 samples, the first is sample 1\n  hint: .+", text)


def test_missing_arrays(tmp_path: Path) -> None:
    text = refusal(save(tmp_path, inputs=X))
    assert re.fullmatch(r"\S+: lacks the array x or input\n  hint: the file holds: inputs", text)
    text = refusal(save(tmp_path, x=X), TWO)
    assert re.fullmatch(r"\S+: lacks the array left, right\n  hint: the file holds: x", text)


def test_no_file(tmp_path: Path) -> None:
    text = refusal(tmp_path / "no.npz")
    assert re.fullmatch(r"\S+no.npz: there is no such data file\n  hint: check the path", text)
    assert re.fullmatch(r"\S+: cannot be read: Is a directory", refusal(tmp_path))


@pytest.mark.parametrize("cut", [0, 10, 200, -30])
def test_truncated_files(tmp_path: Path, cut: int) -> None:
    path = save(tmp_path, x=X)
    path.write_bytes(path.read_bytes()[:cut])
    text = r"\S+: is no sound \.npz file: .+\n  hint: write it with numpy\.savez\(FILE, x=\.\.\., y=\.\.\.\)"
    assert re.fullmatch(text, refusal(path))


def member(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path / "d.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", content)
    return path / "d.npz"


def npy(array: NDArray[np.float64]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"text", npy(X)[:-8], npy(X) + b"more", npy(X).replace(b"(4, 3)", b"(4, 9)")])
def test_members_that_are_no_sound_arrays(tmp_path: Path, content: bytes) -> None:
    assert re.fullmatch(r"\S+: is no sound \.npz file: .+\n  hint: .+", refusal(member(tmp_path, content)))


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, x=X)
    content = bytearray(path.read_bytes())
    content[content.index(npy(X)[-20:])] ^= 1
    path.write_bytes(content)
    assert re.fullmatch(r"\S+: is no sound \.npz file: Bad CRC-32 .+\n  hint: .+", refusal(path))


def test_an_array_beyond_the_memory_bound_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(data, "_array", lambda *_: pytest.fail("the array was read"))
    path = member(tmp_path, npy(np.zeros((1 << 17, 3))))
    assert path.stat().st_size < 1 << 14
    assert re.fullmatch(r"\S+: needs more than 1 MiB of memory; give fewer samples", refusal(path))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("a pickle was loaded",)

    path = save(tmp_path, x=np.array([[Trap()] * 3], dtype=object))
    assert re.fullmatch(r"\S+: x has type object; numbers are wanted", refusal(path))


def test_the_task() -> None:
    assert decide_task(Task.REGRESSION, make(Y), 5) is Task.REGRESSION
    assert decide_task(None, make(Y), 1) is Task.CLASSES
    assert decide_task(None, make(Y.astype(float)), 5) is Task.REGRESSION
    assert decide_task(None, make(None), 5) is Task.CLASSES
    assert decide_task(None, None, 1) is Task.REGRESSION


def test_targets_that_fit() -> None:
    check_targets(make(None), Task.CLASSES, 2, where="d")
    check_targets(make(Y), Task.CLASSES, 3, where="d")
    check_targets(make(Y % 2), Task.CLASSES, 1, where="d")
    check_targets(make(Y.astype(float)), Task.REGRESSION, 1, where="d")
    check_targets(make(X), Task.REGRESSION, 3, where="d")


@pytest.mark.parametrize(
    ("y", "task", "outputs", "text"),
    [
        (Y, Task.CLASSES, 2, "d: y holds classes 0 to 2, the model tells 0 to 1\n  hint: number the classes from 0.+"),
        (Y - 1, Task.CLASSES, 3, "d: y holds classes -1 to 1, the model tells 0 to 2\n  hint: .+"),
        (Y, Task.CLASSES, 1, "d: y holds classes 0 to 2, the model tells 0 to 1\n  hint: .+"),
        (X, Task.REGRESSION, 2, r"d: y of shape \(4, 3\) does not fit the model's 2 outputs\n  hint: .+"),
        (Y.astype(float), Task.CLASSES, 3, r"d: y of shape \(4,\) and type float64 is no list of classes\n  hint: .+"),
        (X.astype(int), Task.CLASSES, 3, r"d: y of shape \(4, 3\) and type int64 is no list of classes\n  hint: .+"),
    ],
)
def test_targets_that_do_not_fit(y: NDArray[np.int64], task: Task, outputs: int, text: str) -> None:
    with pytest.raises(DataError) as caught:
        check_targets(make(y), task, outputs, where="d")
    assert re.fullmatch(text, str(caught.value))
