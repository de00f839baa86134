"""The front end: QONNX and QDQ ONNX files to exact integer Networks."""

from pathlib import Path

import onnx

from edgecomp.frontend.lower import Lowered, lower
from edgecomp.frontend.model import load

__all__ = ["Lowered", "load", "read", "read_file"]


def read(model: onnx.ModelProto) -> Lowered:
    """Lower a model; see `lower`."""
    return lower(model)


def read_file(path: Path) -> Lowered:
    """Load and lower the model in a file."""
    return lower(load(path))
