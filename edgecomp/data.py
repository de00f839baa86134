"""A data file (.npz): real inputs `x`, or one array per input name, and optionally the targets `y`.

Nothing is unpickled, and no array is read before its header has been held against the model's shapes and a bound on
memory, so that a hostile or truncated file costs no more than its directory.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import DataError, Problem, raise_all
from edgecomp.project import Task

MAX_BYTES = 1 << 30
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Real inputs (N, *shape) float32 by the model's input names; targets (N,) int64 classes or (N, outputs) float64.

    `unused` names the file's arrays that were not read.
    """

    x: Mapping[str, NDArray[np.float32]]
    y: NDArray[np.int64] | NDArray[np.float64] | None
    unused: tuple[str, ...]

    @property
    def samples(self) -> int:
        return len(next(iter(self.x.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def decide_task(stated: Task | None, data: Data | None, outputs: int) -> Task:
    """The stated task, else by the type of y, else classes when there is more than one output."""
    if stated is not None:
        return stated
    if data is not None and data.y is not None:
        return Task.CLASSES if data.y.dtype.kind == "i" else Task.REGRESSION
    return Task.CLASSES if outputs > 1 else Task.REGRESSION


def check_targets(data: Data, task: Task, outputs: int, *, where: str) -> None:
    """DataError unless y fits the task: classes below `outputs` (0 and 1 of a single logit), or finite numbers."""
    if data.y is None:
        return
    if task is Task.REGRESSION:
        if data.y.reshape(len(data.y), -1).shape[1] != outputs:
            what = f"y of shape {data.y.shape} does not fit the model's {outputs} outputs"
            raise DataError(what, where=where, hint="give (N, outputs) numbers; or integer classes for a classifier")
        return
    if data.y.dtype.kind != "i" or data.y.ndim != 1:
        what = f"y of shape {data.y.shape} and type {data.y.dtype} is no list of classes"
        raise DataError(what, where=where, hint="give integers of shape (N,), or --set task=regression")
    classes = max(outputs, 2)
    if data.y.min() < 0 or data.y.max() >= classes:
        what = f"y holds classes {data.y.min()} to {data.y.max()}, the model tells 0 to {classes - 1}"
        raise DataError(what, where=where, hint="number the classes from 0, in the order of the model's outputs")


def load_data(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Data:
    """The data of `path` for a model whose inputs have these shapes (batchless); DataError with every problem."""
    where = str(path)
    try:
        with zipfile.ZipFile(path) as file:
            return _read(file, shapes, where)
    except FileNotFoundError:
        raise DataError("there is no such data file", where=where, hint="check the path") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=where) from error
    except _BROKEN as error:
        hint = "write it with numpy.savez(FILE, x=..., y=...)"
        raise DataError(f"is no sound .npz file: {error}", where=where, hint=hint) from error


def sample_shape(path: Path) -> tuple[int, ...]:
    """The shape of one sample of `x`, read from its header; DataError where the file has none."""
    where, hint = str(path), "write it with numpy.savez(FILE, x=..., y=...)"
    try:
        with zipfile.ZipFile(path) as file:
            shape = _header(file, file.getinfo("x.npy")).shape
    except KeyError:
        raise DataError("lacks the array x", where=where, hint=hint) from None
    except FileNotFoundError:
        raise DataError("there is no such data file", where=where, hint="check the path") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=where) from error
    except _BROKEN as error:
        raise DataError(f"is no sound .npz file: {error}", where=where, hint=hint) from error
    return shape[1:]


def _read(file: zipfile.ZipFile, shapes: Mapping[str, tuple[int, ...]], where: str) -> Data:
    members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
    names = _names(members.keys(), shapes, where)
    wanted = [*names.values(), *(["y"] if "y" in members and "y" not in names.values() else [])]
    headers = {name: _header(file, members[name]) for name in wanted}
    raise_all(DataError, _problems(headers, names, shapes, where))
    arrays = {name: _array(file, members[name]) for name in wanted}
    x = {name: _real32(arrays[member]) for name, member in names.items()}
    y = _targets(arrays["y"]) if "y" in headers and "y" not in names.values() else None
    _refuse_endless({**{names[name]: array for name, array in x.items()}, **({} if y is None else {"y": y})}, where)
    return Data(x=x, y=y, unused=tuple(sorted(members.keys() - set(wanted))))


def _names(members: Set[str], shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, str]:
    """Which member holds each input."""
    if len(shapes) == 1 and "x" in members:
        return dict.fromkeys(shapes, "x")
    lacking = sorted(shapes.keys() - members)
    if lacking:
        wanted = "x or " + lacking[0] if len(shapes) == 1 else ", ".join(lacking)
        hint = f"the file holds: {', '.join(sorted(members)) or 'nothing'}"
        raise DataError(f"lacks the array {wanted}", where=where, hint=hint)
    return {name: name for name in shapes}


def _header(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Header:
    """The header of a member, without reading its array; ValueError where the member is no array of that size."""
    with file.open(info) as stream:
        shape, dtype, start = _npy_header(stream)
    header = _Header(shape=shape, dtype=dtype)
    if start + header.bytes != info.file_size and dtype.kind != "O":
        raise ValueError(f"{info.filename} is {info.file_size} bytes long, its header wants {start + header.bytes}")
    return header


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype, stream.tell()


def _problems(
    headers: Mapping[str, _Header], names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], where: str
) -> list[Problem]:
    faults = [f"{name} has type {header.dtype}; numbers are wanted"
              for name, header in headers.items() if header.dtype.kind not in "biuf"]  # fmt: skip
    for name, member in names.items():
        shape = headers[member].shape
        if shape[1:] != shapes[name] or not shape:
            faults.append(f"{member} has shape {shape}; the model takes (N, {', '.join(map(str, shapes[name]))})")
    counts = {name: header.shape[0] if header.shape else 0 for name, header in headers.items()}
    if min(counts.values()) == 0:
        faults.append("holds no samples")
    elif len(set(counts.values())) > 1:
        faults.append(f"the arrays differ in length: {', '.join(f'{k} {v}' for k, v in sorted(counts.items()))}")
    if sum(header.bytes for header in headers.values()) > MAX_BYTES:
        faults.append(f"needs more than {MAX_BYTES >> 20} MiB of memory; give fewer samples")
    return [Problem(what=fault, where=where) for fault in faults]


def _array(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    with file.open(info) as stream:
        array: NDArray[np.generic] = np.lib.format.read_array(stream, allow_pickle=False)
        return array


def _real32(array: NDArray[np.generic]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _targets(array: NDArray[np.generic]) -> NDArray[np.int64] | NDArray[np.float64]:
    """Integers as int64 (a column as a list), numbers as float64."""
    if array.dtype.kind in "biu":
        return (array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array).astype(np.int64)
    return array.astype(np.float64)


def _refuse_endless(
    arrays: Mapping[str, NDArray[np.float32] | NDArray[np.int64] | NDArray[np.float64]], where: str
) -> None:
    problems = []
    for name, array in arrays.items():
        wrong = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        if len(wrong):
            what = f"{name} is not finite (as float32) in {len(wrong)} samples, the first is sample {wrong[0]}"
            problems.append(Problem(what=what, where=where, hint="drop or repair these samples"))
    raise_all(DataError, problems)
