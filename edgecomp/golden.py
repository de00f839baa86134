"""Golden vectors: compare every code, name the first difference, and say how hard the vectors press on the rounding."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp.ir import Network, Requant, Rounding, Step

Codes = NDArray[np.int64]
Marks = NDArray[np.bool_]

BATCH = 512  # samples that ONNX Runtime is given at once, to bound its memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many of a rescaling node's `codes` were clipped, and how many lay exactly on a rounding boundary."""

    codes: int
    clipped: int
    tied: int


def coverage(network: Network, values: Mapping[str, Codes]) -> dict[str, Coverage]:
    """Coverage of every Requant and Step by `values`, every node's value (N, *shape) as the interpreter gives them.

    Requant: clipped where the rounded value lies outside lo..hi; tied where multiplier * x + addend is a multiple of
    2^shift (half to even: an exact tie). Step: clipped in the first or last segment; tied on a threshold.
    """
    found = {}
    for node in network.nodes:
        if isinstance(node, Requant | Step):
            clipped, tied = marks(node, values[node.x])
            found[node.name] = Coverage(codes=clipped.size, clipped=int(clipped.sum()), tied=int(tied.sum()))
    return found


def marks(node: Requant | Step, x: Codes) -> tuple[Marks, Marks]:
    """Which elements of a rescaling node's operand x (N, *shape) are clipped, and which are tied (see `coverage`)."""
    return _of_requant(node, x) if isinstance(node, Requant) else _of_step(node, x)


def _of_requant(node: Requant, x: Codes) -> tuple[Marks, Marks]:
    column = (-1, *[1] * (x.ndim - 2))
    v = node.multiplier.array.reshape(column) * x + node.addend.array.reshape(column)
    on_boundary = (v & ((1 << node.shift) - 1)) == 0
    y = v >> node.shift
    if node.rounding is Rounding.HALF_EVEN:
        y = y - (on_boundary & (y & 1 == 1))
    clipped = (y < node.lo.array.reshape(column)) | (y > node.hi.array.reshape(column))
    return clipped, on_boundary & (node.shift > 0)


def _of_step(node: Step, x: Codes) -> tuple[Marks, Marks]:
    clipped, tied = np.empty(x.shape, dtype=bool), np.empty(x.shape, dtype=bool)
    thresholds = np.broadcast_to(node.thresholds.array, (x.shape[1], node.thresholds.shape[1]))
    for channel, row in enumerate(thresholds):
        at_or_below = np.searchsorted(row, x[:, channel], side="right")
        clipped[:, channel] = (at_or_below == 0) | (at_or_below == len(row))
        tied[:, channel] = at_or_below != np.searchsorted(row, x[:, channel], side="left")
    return clipped, tied


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first code on which two executions disagree."""

    sample: int
    node: str
    index: tuple[int, ...]
    expected: int
    got: int

    def __str__(self) -> str:
        return f"sample {self.sample}, {self.node}{list(self.index)}: expected {self.expected}, got {self.got}"


def compare(expected: Mapping[str, Codes], got: Mapping[str, Codes]) -> tuple[Difference | None, int]:
    """The first difference, in the order of `expected`, and how many codes differ; shapes must agree."""
    first, total = None, 0
    for name, want in expected.items():
        have = got[name]
        assert have.shape == want.shape, f"{name}: {have.shape} against {want.shape}"
        places = np.argwhere(have != want)
        total += len(places)
        if first is None and len(places):
            sample, *index = (int(v) for v in places[0])
            place = (sample, *index)
            first = Difference(
                sample=sample, node=name, index=tuple(index), expected=int(want[place]), got=int(have[place])
            )
    return first, total


def array_bytes(array: NDArray[np.generic]) -> bytes:
    """An array as .npy, the same bytes for the same array."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def files(inputs: Mapping[str, Codes], expected: Mapping[str, Codes], labels: NDArray[np.generic]) -> dict[str, bytes]:
    """golden/ of a bundle: path -> bytes."""
    parts = {f"golden/inputs/{name}.npy": array_bytes(codes) for name, codes in inputs.items()}
    parts |= {f"golden/expected/{name}.npy": array_bytes(codes) for name, codes in expected.items()}
    return {**parts, "golden/labels.npy": array_bytes(labels)}


def run_onnxruntime(model: onnx.ModelProto, inputs: Mapping[str, Codes]) -> dict[str, Codes]:
    """The outputs of an integer ONNX graph in ONNX Runtime, graph optimisation off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    types = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8,
             "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16}  # fmt: skip
    feed = {node.name: inputs[node.name].astype(types[node.type]) for node in session.get_inputs()}
    samples = len(next(iter(feed.values())))
    parts = [
        session.run(names, {name: codes[start : start + BATCH] for name, codes in feed.items()})
        for start in range(0, max(samples, 1), BATCH)
    ]
    return {name: np.concatenate([part[i] for part in parts]).astype(np.int64) for i, name in enumerate(names)}
