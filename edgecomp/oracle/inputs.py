"""Checks what a caller feeds into a graph: names, shapes, element types, finite values, and codes for quantisers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import DataError
from edgecomp.oracle.arithmetic import Array
from edgecomp.oracle.graph import Graph, Input
from edgecomp.oracle.rounding import Codes


def check_inputs(graph: Graph, inputs: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Array], int]:
    """Every graph input in the element type that the file declares, and the number of samples.

    A float64 array given for a float32 input is rounded to float32 first, as every runtime does.
    Raises DataError for wrong names, shapes, types or values, and for unequal numbers of samples.
    """
    names = [entry.name for entry in graph.inputs]
    check_names(inputs, names, "input")
    missing = [name for name in names if name not in inputs]
    if missing:
        raise DataError(f"no data for input {missing[0]}", where="inputs", hint=f"give one array for each of {names}")
    data = {entry.name: _check_input(entry, np.asarray(inputs[entry.name])) for entry in graph.inputs}
    counts = {name: len(value) for name, value in data.items()}
    if len(set(counts.values())) != 1:
        raise DataError(f"the numbers of samples differ: {counts}", where="inputs")
    count = next(iter(counts.values()))
    if count == 0:
        raise DataError("there are no samples", where="inputs")
    return data, count


def check_names(given: Iterable[str], known: Iterable[str], kind: str) -> None:
    """DataError for the first name in `given` that is not in `known`."""
    names = sorted(known)
    for name in given:
        if name not in names:
            raise DataError(f"the model has no {kind} '{name}'", where=f"{kind} '{name}'", hint=f"it has {names}")


def _check_input(entry: Input, values: Array) -> Array:
    where = f"input '{entry.name}'"
    expected = ["N" if place == 0 else size for place, size in enumerate(entry.shape)]
    fits = values.ndim == len(entry.shape) and all(
        size is None or size == found for size, found in zip(entry.shape[1:], values.shape[1:], strict=True)
    )
    if not fits:
        raise DataError(f"shape {list(values.shape)} is not {expected}".replace("'N'", "N"), where=where)
    if entry.dtype.kind in "iu":
        return _check_integers(entry, values, where)
    if values.dtype.kind not in "iuf":
        raise DataError(f"holds {values.dtype} instead of numbers", where=where)
    with np.errstate(over="ignore"):
        stored = values.astype(entry.dtype)
    if not np.isfinite(stored).all():
        raise DataError(f"holds a number that is not finite as {entry.dtype}", where=where)
    return stored


def _check_integers(entry: Input, values: Array, where: str) -> Array:
    limits = np.iinfo(entry.dtype.name)
    if values.dtype.kind not in "iu" or (values.size and (values.min() < limits.min or values.max() > limits.max)):
        raise DataError(f"holds values that are not {entry.dtype}", where=where)
    return values.astype(entry.dtype)


def check_fed(fed: Mapping[str, Codes] | None, quantisers: Iterable[str], count: int) -> dict[str, Codes]:
    """Codes to feed, as int64 with `count` samples. DataError for an unknown name, another type or length."""
    if not fed:
        return {}
    check_names(fed, quantisers, "quantiser")
    for name, codes in fed.items():
        if codes.dtype.kind not in "iu" or codes.ndim == 0 or len(codes) != count:
            what = f"{codes.dtype} of shape {list(codes.shape)} is not integer codes of {count} samples"
            raise DataError(what, where=f"quantiser '{name}'")
    return {name: codes.astype(np.int64) for name, codes in fed.items()}
