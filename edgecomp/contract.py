"""io_contract.json: what the integers at a circuit's ends mean, and the host's side of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import DataError
from edgecomp.ir import Encoding, Input, Network, Output, Value

Codes = NDArray[np.int64]
Reals = NDArray[np.float64]
Number = float | str
Json = Mapping[str, object]


def contract(network: Network, *, task: str, head: str, n_labelled: int) -> dict[str, object]:
    """The contract of a network's ends; real = scale * (code - zero_point) + offset, or scale * (2 * code - 1)."""
    values = network.values()
    return {
        "inputs": [_input(node) for node in network.inputs],
        "outputs": [_output(node, values[node.name]) for node in network.outputs],
        "n_labelled": n_labelled,
        "task": task,
        "head": head,
        "comparable": all(len({*node.scale}) == len({*node.offset}) == 1 for node in network.outputs),
        "ties": "lowest index",
    }


def _side(name: str, shape: Sequence[int], lo: int, hi: int, node: Input | Output) -> dict[str, object]:
    bipolar = node.encoding is Encoding.BIPOLAR
    bits = max(hi.bit_length() + 1, (-lo - 1).bit_length() + 1) if lo < 0 else max(1, hi.bit_length())
    return {
        "name": name,
        "shape": list(shape),
        "order": "row-major, channels first",
        "packing": "one code per word",
        "bits": bits,
        "signed": lo < 0,
        "encoding": "bipolar" if bipolar else "twos_complement" if lo < 0 else "unsigned",
        "lo": lo,
        "hi": hi,
        "scale": _numbers(node.scale),
        "scale_exact": [str(v) for v in node.scale],
        "zero_point": node.zero_point,
        "offset": _numbers(node.offset),
        "offset_exact": [str(v) for v in node.offset],
    }


def _numbers(vector: Sequence[Fraction]) -> float | list[float]:
    return float(vector[0]) if len(vector) == 1 else [float(v) for v in vector]


def _input(node: Input) -> dict[str, object]:
    side = _side(node.name, node.shape, node.lo, node.hi, node)
    rounding = {
        "source": node.source,
        "rounding": node.rounding,
        "rounded_with_zero_point": node.rounded_with_zero_point,
    }
    return {**side, **rounding}


def _output(node: Output, value: Value) -> dict[str, object]:
    return _side(node.name, value.shape, value.least, value.greatest, node)


def _column(vector: Sequence[Fraction], shape: Sequence[int]) -> Reals:
    """A vector for all elements, of one entry a channel, or of one an element, so that it broadcasts over `shape`."""
    column = np.array([float(v) for v in vector])
    return column.reshape(shape) if len(vector) > shape[0] else column.reshape(-1, *[1] * (len(shape) - 1))


def rounded(mode: str, v: Reals) -> Reals:
    """v rounded as `Input.rounding` names it."""
    match mode:
        case "ROUND":
            return np.asarray(np.rint(v))
        case "FLOOR":
            return np.asarray(np.floor(v))
        case "CEIL":
            return np.asarray(np.ceil(v))
        case "DOWN":
            return np.asarray(np.trunc(v))
        case "UP":
            return np.asarray(np.sign(v) * np.ceil(np.abs(v)))
        case "HALF_UP":
            return np.asarray(np.sign(v) * np.floor(np.abs(v) + 0.5))
        case "HALF_DOWN":
            return np.asarray(np.sign(v) * np.ceil(np.abs(v) - 0.5))
        case _:
            raise AssertionError(f"unknown rounding {mode}")


def quantise_input(node: Input, real: NDArray[np.floating]) -> Codes:
    """Host codes (N, *shape) of real data (N, *shape): float64 arithmetic, the stated rounding, clipping.

    DataError where the data has another shape or is not finite.
    """
    if real.shape[1:] != node.shape:
        raise DataError(f"real data of shape {real.shape} is no {('N', *node.shape)}", where=node.source or node.name)
    if not np.isfinite(real).all():
        raise DataError("real data is not finite", where=node.source or node.name)
    position = (real.astype(np.float64) - _column(node.offset, node.shape)) / _column(node.scale, node.shape)
    if node.encoding is Encoding.BIPOLAR:
        return np.asarray(position >= 0).astype(np.int64)
    before = node.zero_point if node.rounded_with_zero_point else 0
    codes = rounded(node.rounding, position + before) + (node.zero_point - before)
    return np.clip(codes, node.lo, node.hi).astype(np.int64)


def real_output(node: Output, codes: Codes) -> Reals:
    """Real values (N, *shape) of host codes."""
    shape = codes.shape[1:]
    centred = 2 * codes - 1 if node.encoding is Encoding.BIPOLAR else codes - node.zero_point
    return np.asarray(centred * _column(node.scale, shape) + _column(node.offset, shape))
