"""The float model that a user names: an ONNX file, or a PyTorch module as package.module:factory with a state dict.

The factory is code that the user asks to be run; a state dict is data, and is read as such.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx

from edgecomp.errors import DataError, ModelError, Problem, UsageError, raise_all
from edgecomp.frontend.model import load

FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_factory(model: str) -> bool:
    """Whether MODEL names a factory rather than a file."""
    return ":" in model and not Path(model).exists()


def read_source(model: str, state: Path | None, shape: tuple[int, ...]) -> onnx.ModelProto:
    """The float ONNX graph of a model; a module is traced on one sample of `shape`.

    UsageError where the factory cannot be had, DataError where state dict or samples do not fit it.
    """
    if not is_factory(model):
        if state is not None:
            raise UsageError("a state dict goes with a module, not with an ONNX file", where="--state",
                             hint="leave it out, or give MODEL as package.module:factory")  # fmt: skip
        if not Path(model).is_file():
            raise UsageError("there is no such model", where=model, hint="check the path")
        return load(Path(model))
    if not FACTORY.fullmatch(model):
        hint = "for instance networks.small:make"
        raise UsageError(f"{model!r} is not of the form package.module:factory", where="MODEL", hint=hint)
    if state is None:
        raise UsageError("a module needs its trained weights", where="--state", hint="give --state FILE, a state dict")
    module = _module(model)
    _load_state(module, state)
    return _traced(module, shape)


def _module(name: str) -> Any:
    """What the factory returns; its folder may be the working directory."""
    import torch

    place, _, factory = name.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(place), factory)()
    except Exception as error:
        what = f"the factory cannot be run: {type(error).__name__}: {error}"
        raise UsageError(what, where=name, hint="it must be importable here, and callable without arguments") from error
    finally:
        if added:
            sys.path.remove(here)
    if not isinstance(made, torch.nn.Module):
        raise UsageError(f"the factory gives a {type(made).__name__}, no torch.nn.Module", where=name)
    return made.eval()


def _load_state(module: Any, path: Path) -> None:
    import torch

    from edgecomp.quantize.tune import load_tensors

    found = load_tensors(path, "state dict")
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        hint = "write it with torch.save(module.state_dict(), FILE)"
        raise DataError("the file holds no state dict", where=str(path), hint=hint)
    bad = [name for name, value in found.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    raise_all(ModelError, [Problem(what="the weights are NaN or infinite", where=f"{path}: {name}",
                                   hint="train the model again") for name in bad])  # fmt: skip
    try:
        module.load_state_dict(found)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise_all(DataError, [Problem(what=f"the state dict does not fit the module: {line}", where=str(path))
                              for line in lines])  # fmt: skip


def _traced(module: Any, shape: tuple[int, ...]) -> onnx.ModelProto:
    import torch

    sample = torch.zeros((1, *shape))
    try:
        with torch.no_grad():
            module(sample)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        what = f"the module does not take samples of shape {shape}: {error}"
        raise DataError(what, where="--data", hint="give x as the module takes it, (N, ...)") from error
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "traced.onnx"
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(module, (sample,), traced, dynamo=False, opset_version=17, input_names=["x"],
                              output_names=["logits"], do_constant_folding=False,
                              dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}})  # fmt: skip
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ModelError(f"the module cannot be traced: {error}", where="MODEL") from error
        return load(traced)
