"""Runs a source graph: in float64 on any number of samples, and in exact arithmetic on single ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp.errors import DataError, ModelError
from edgecomp.oracle.arithmetic import Array, Exact, Float64
from edgecomp.oracle.execute import Plan, Record, activation_quantisers, execute, prepare
from edgecomp.oracle.graph import read_graph
from edgecomp.oracle.inputs import check_fed, check_inputs, check_names
from edgecomp.oracle.rounding import Codes, Grid

# Elements of the largest array of one chunk of samples: 64 MiB of float64.
CHUNK_ELEMENTS = 2**23


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """What the source graph computes, in its own layout (N, ...).

    `codes`: every activation quantiser, keyed by the tensor of its real value, as centred codes (code - zero point;
    -1 and +1 when bipolar). `positions`: the value before rounding in code units, x / scale + zero point (divided by
    2^shift for a truncation). `grids`: how each position becomes a code. `outputs`: graph outputs, real values.
    """

    codes: Mapping[str, Codes]
    outputs: Mapping[str, NDArray[np.float64]]
    positions: Mapping[str, NDArray[np.float64]]
    grids: Mapping[str, Grid]

    def distance(self, key: str) -> NDArray[np.float64]:
        """Signed distance of every position of quantiser `key` from its nearest effective boundary, in code units."""
        return np.asarray(self.grids[key].distance(self.positions[key], Float64()), dtype=np.float64)


def run(model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]], *, fed: Mapping[str, Codes] | None = None) -> Trace:
    """Execute `model` in float64 by the published definitions of its operators.

    `inputs`: one array (N, ...) per graph input. `fed`: centred codes (N, ...) by quantiser; what lies behind such a
    quantiser is computed from these codes, while the trace has the quantiser's own. A model exported for a fixed
    number of samples is executed on any number.
    Raises ModelError (unsupported operator, unsound quantiser, shapes that do not fit) and DataError (wrong inputs).
    """
    graph = read_graph(model)
    data, count = check_inputs(graph, inputs)
    codes = check_fed(fed, [node.outputs[0] for node in activation_quantisers(graph)], count)
    plan = prepare(graph, Float64())
    return _join(plan, list(_chunks(plan, _widen(data), codes, count)))


def _widen(data: Mapping[str, Array]) -> dict[str, Array]:
    return {name: value.astype(np.float64 if value.dtype.kind == "f" else np.int64) for name, value in data.items()}


def _rows(data: Mapping[str, Array], start: int, size: int, count: int) -> dict[str, Array]:
    """`size` samples from `start` on; the last sample repeats where there are no more."""
    index = np.minimum(np.arange(start, start + size), count - 1)
    return {name: value[index] for name, value in data.items()}


def _chunks(plan: Plan, data: Mapping[str, Array], fed: Mapping[str, Codes], count: int) -> Iterator[Record]:
    """Records of consecutive samples that add up to `count`."""
    fixed = plan.graph.batch
    unit = fixed or 1
    probe = execute(plan, _rows(data, 0, unit, count), _rows(fed, 0, unit, count))
    size = max(unit, CHUNK_ELEMENTS * unit // probe.elements)
    together = fixed is None or _runs_together(plan, data, fed, count, probe)
    size = size if together else unit
    for start in range(0, count, size):
        rows = min(size, count - start)
        batch = (unit, rows) if together and fixed is not None and rows != unit else None
        made = rows if together else unit
        record = execute(plan, _rows(data, start, made, count), _rows(fed, start, made, count), batch)
        yield _first(plan, record, made, rows)


def _runs_together(plan: Plan, data: Mapping[str, Array], fed: Mapping[str, Codes], count: int, probe: Record) -> bool:
    """Whether a graph that fixes its number of samples gives the same when it is executed on more of them at once."""
    unit = plan.graph.batch or 1
    more = 2 * unit + 1
    try:
        record = execute(plan, _rows(data, 0, more, count), _rows(fed, 0, more, count), (unit, more))
        record = _first(plan, record, more, unit)
    except ModelError:
        return False
    pairs = [(record.positions[key], probe.positions[key]) for key in probe.positions]
    pairs += [(record.values[key], probe.values[key]) for key in plan.graph.outputs]
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in pairs)


def _first(plan: Plan, record: Record, made: int, rows: int) -> Record:
    """The record of the first `rows` of `made` samples."""
    for key, codes in record.codes.items():
        if codes.ndim == 0 or len(codes) != made:
            what = f"its first axis is not the batch: {made} samples give shape {list(codes.shape)}"
            raise ModelError(what, where=f"quantiser '{key}'")
    dependent = plan.graph.dependent()
    for key in plan.graph.outputs:
        if key in dependent and (record.values[key].ndim == 0 or len(record.values[key]) != made):
            what = f"its first axis is not the batch: {made} samples give shape {list(record.values[key].shape)}"
            raise ModelError(what, where=f"output '{key}'")
    return Record(
        codes={key: codes[:rows] for key, codes in record.codes.items()},
        positions={key: position[:rows] for key, position in record.positions.items()},
        grids=record.grids,
        values={key: record.values[key][: rows if key in dependent else None] for key in plan.graph.outputs},
    )


def _join(plan: Plan, records: Sequence[Record]) -> Trace:
    dependent = plan.graph.dependent()
    outputs = {}
    for key in plan.graph.outputs:
        parts = [record.values[key] for record in records]
        outputs[key] = np.asarray(np.concatenate(parts) if key in dependent else parts[0], dtype=np.float64)
    keys = list(records[0].codes)
    return Trace(
        codes={key: np.concatenate([record.codes[key] for record in records]) for key in keys},
        outputs=outputs,
        positions={key: np.concatenate([record.positions[key] for record in records]) for key in keys},
        grids=records[0].grids,
    )


def exact_code(
    model: onnx.ModelProto,
    sample: Mapping[str, NDArray[Any]],
    tensor: str,
    index: tuple[int, ...],
    *,
    fed: Mapping[str, Codes] | None = None,
) -> tuple[int, Fraction | float]:
    """Code of one element of quantiser `tensor` in exact arithmetic, and its distance from a boundary.

    `sample`: one array (1, ...) per graph input; `index` counts the batch axis: (0, ...). `fed` as in `run`; only
    what lies between fed quantisers and `tensor` is computed. See `exact_codes` for the result.
    """
    return exact_codes(model, sample, [(tensor, index)], fed=fed)[0]


def exact_codes(
    model: onnx.ModelProto,
    inputs: Mapping[str, NDArray[Any]],
    queries: Sequence[tuple[str, tuple[int, ...]]],
    *,
    fed: Mapping[str, Codes] | None = None,
) -> list[tuple[int, Fraction | float]]:
    """Centred codes in exact arithmetic for many (quantiser, (sample, ...)) at once, constants executed once.

    Float32 numbers of the file are the rationals they are. With each code comes the signed distance of the exact value
    before rounding from the nearest boundary between two codes, in code units, positive above it; it is infinite where
    every value has the same code. Roots and exponentials are as `arithmetic.Exact` states.
    Raises ModelError as `run` does, and DataError for wrong inputs, quantisers or indices.
    """
    graph = read_graph(model)
    data, count = check_inputs(graph, inputs)
    known = [node.outputs[0] for node in activation_quantisers(graph)]
    codes = check_fed(fed, known, count)
    check_names((tensor for tensor, _ in queries), known, "quantiser")
    if not queries:
        return []
    wanted = frozenset(tensor for tensor, _ in queries)
    plan = prepare(graph, Exact(), wanted=wanted, fed=frozenset(codes))
    results: dict[int, tuple[int, Fraction | float]] = {}
    for sample in sorted({index[0] if index else -1 for _, index in queries}):
        if not 0 <= sample < count:
            raise DataError(f"there is no sample {sample} among {count}", where="exact codes")
        size = graph.batch or 1  # a graph for several samples is fed the same one several times
        rows = [{name: value[[sample] * size] for name, value in part.items()} for part in (_widen(data), codes)]
        record = execute(plan, rows[0], rows[1])
        for place, (tensor, index) in enumerate(queries):
            if index[0] == sample:
                results[place] = _verdict(plan, record, tensor, index[1:])
    return [results[place] for place in range(len(queries))]


def _verdict(plan: Plan, record: Record, tensor: str, index: tuple[int, ...]) -> tuple[int, Fraction | float]:
    codes = record.codes[tensor][0]
    if len(index) != codes.ndim or any(not 0 <= place < size for place, size in zip(index, codes.shape, strict=True)):
        raise DataError(f"index {list(index)} does not fit shape {list(codes.shape)}", where=f"quantiser '{tensor}'")
    position = np.asarray(record.positions[tensor][0][index]).reshape(1)
    distance = record.grids[tensor].distance(position, plan.arithmetic)[0]
    return int(codes[index]), distance
