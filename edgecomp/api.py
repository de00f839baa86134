"""The Python interface: what `import edgecomp` offers, the same flow as the command line's."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray

from edgecomp import pipeline
from edgecomp.errors import DataError, EdgecompError, ModelError
from edgecomp.flows.base import scratch_folder
from edgecomp.ir import Network
from edgecomp.pipeline import BuildResult
from edgecomp.project import find_project

if TYPE_CHECKING:
    from edgecomp.flows import Progress

__all__ = ["BuildResult", "Network", "build", "read"]

Model = str | Path | onnx.ModelProto
DataSource = str | Path | Mapping[str, ArrayLike]


class Quiet:
    """Progress that tells nothing."""

    def stage(self, name: str) -> None: ...

    def advance(self, done: int, total: int, said: str) -> None: ...


def build(
    model: Model,
    *,
    target: str | None = None,
    data: DataSource | None = None,
    flow: str | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
    synth: bool = False,
    cosim: bool = False,
    progress: Progress | None = None,
) -> BuildResult:
    """Build a bundle as `edgecomp build` does: sources, golden codes that have just been run, and a report.

    `model` is a model file, a folder with an edgecomp.toml, a bundle's folder, or an ONNX model in memory. `data` is an
    .npz file, or arrays by name: `x` (or one per input) of shape (N, ...) as the model takes them, and optionally `y`,
    integer classes or real targets (N,). `settings` are those of `--set`; `out` is the bundle's folder, by default
    build/MODEL-TARGET. `progress` hears of the stages; `edgecomp.talk.Talk()` prints them.

    Returns the folder, the files in memory and the report. An FPGA design that is too large for its part is written
    and no error here: `report.verdict.fits` says so. EdgecompError, of a kind that edgecomp.errors lists, for what a
    user can put right; nothing is written then.

    >>> import edgecomp
    >>> built = edgecomp.build("examples/digits", target="host")
    >>> built.report.verdict.exact
    True
    >>> sorted(path for path in built.bundle.files if path.startswith("golden/expected"))
    ['golden/expected/logits.npy']
    >>> import numpy as np
    >>> rows = {"x": np.zeros((3, 1, 8, 8), dtype=np.float32), "y": np.array([1, 2, 3])}
    >>> built = edgecomp.build("examples/digits/model.onnx", target="host", data=rows, settings={"head": "argmax"})
    >>> built.report.model.head, built.report.accuracy[0].metrics["accuracy"].unit
    ('argmax', 'fraction')
    """
    with _files(model, data) as (model_path, data_path):
        request = pipeline.BuildRequest(
            model=model_path, target=target, flow=flow, out=None if out is None else Path(out), data=data_path,
            settings={key: str(value) for key, value in (settings or {}).items()}, synth=synth, cosim=cosim,
        )  # fmt: skip
        return pipeline.build(request, Quiet() if progress is None else progress)


def read(model: Model) -> Network:
    """The exact integer network of a model, as `build` would lower it; a notebook draws it.

    InexpressibleError with everything that cannot be made integer exactly; ModelError for what is no such model.

    >>> import edgecomp
    >>> network = edgecomp.read("examples/digits/model.onnx")
    >>> [node.name for node in network.outputs]
    ['logits']
    """
    with _files(model, None) as (path, _):
        return pipeline.read_model(find_project(path).model).network


@contextmanager
def _files(model: Model, data: DataSource | None) -> Iterator[tuple[Path, Path | None]]:
    """Model and data as files; what is in memory goes to a scratch folder, which errors then leave out."""
    with scratch_folder() as scratch:
        try:
            yield _model_file(model, scratch), _data_file(data, scratch)
        except EdgecompError as error:
            problems = [replace(p, where=p.where.replace(f"{scratch}/", "")) for p in error.problems]
            if problems == list(error.problems):
                raise
            raise type(error)(problems[0].what, problems=problems) from error


def _model_file(model: Model, scratch: Path) -> Path:
    if not isinstance(model, onnx.ModelProto):
        return Path(model)
    path = scratch / f"{re.sub('[^A-Za-z0-9_-]', '_', model.graph.name)[:100] or 'model'}.onnx"
    try:
        path.write_bytes(model.SerializeToString(deterministic=True))
    except ValueError as error:
        raise ModelError(f"the model cannot be serialised: {error}", where=model.graph.name) from error
    return path


def _data_file(data: DataSource | None, scratch: Path) -> Path | None:
    if data is None or isinstance(data, str | Path):
        return None if data is None else Path(data)
    path = scratch / "data.npz"
    with zipfile.ZipFile(path, "w") as file:
        for name, values in data.items():
            with file.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, _array(name, values), allow_pickle=False)
    return path


def _array(name: str, values: ArrayLike) -> NDArray[np.generic]:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} is no array: {error}", where="data") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} has type {array.dtype}; numbers are wanted", where="data")
    return array
