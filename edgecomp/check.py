"""The source graph held against its Network: every code of every quantiser, each fed with the source's own input.

Where float64 and the interpreter differ, exact arithmetic decides: the interpreter must give the exact code, and the
value must lie so near a rounding boundary that a float could not tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp import interp, oracle
from edgecomp.contract import quantise_input
from edgecomp.errors import MismatchError, Problem, raise_all
from edgecomp.frontend import Lowered

Codes = NDArray[np.int64]
Reals = NDArray[np.floating]

NEAR = 1e-6  # code units: float64 cannot be this far off on the chains between two quantisers
QUARTER = 0.25  # code units: integers that differ do so by one at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """A code that floats get otherwise than exact arithmetic, and the exact value's distance from the boundary."""

    tensor: str
    sample: int
    index: tuple[int, ...]
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How many codes of the source were compared at how many quantisers, and those that only exact numbers decide."""

    samples: int
    quantisers: int
    codes: int
    float64_ties: tuple[Tie, ...]
    float32_ties: tuple[Tie, ...]


def host_codes(lowered: Lowered, data: Mapping[str, Reals]) -> dict[str, Codes]:
    """Host codes of real data, one array (N, *shape) per graph input."""
    return {node.name: quantise_input(node, np.asarray(data[node.source])) for node in lowered.network.inputs}


def against_source(model: onnx.ModelProto, lowered: Lowered, data: Mapping[str, Reals]) -> Agreement:
    """Compare the interpreter with the source at every quantiser; MismatchError naming the first difference of each."""
    model = showing(model, lowered.finals.values())
    trace = oracle.run(model, data)
    fed = {node: trace.codes[tensor] for tensor, node in lowered.origins.items()}
    own = interp.run(lowered.network, host_codes(lowered, data), fed=fed)
    pairs = {tensor: (trace.codes[tensor], own[node]) for tensor, node in lowered.origins.items()}
    judged = _judge(model, data, trace.codes, pairs, trace.positions)
    _compare_outputs(lowered, trace.outputs, own)
    float32: tuple[Tie, ...] = ()
    if lowered.dialect == "qdq":
        float32 = _float32(model, lowered, data)
    return Agreement(
        samples=len(next(iter(data.values()))), quantisers=len(pairs),
        codes=sum(want.size for want, _ in pairs.values()), float64_ties=judged, float32_ties=float32,
    )  # fmt: skip


def showing(model: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """The model with these tensors as its outputs."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    known = {info.name: info for info in model.graph.output}
    del opened.graph.output[:]
    opened.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in sorted(set(tensors)))
    return opened


def _compare_outputs(lowered: Lowered, source: Mapping[str, NDArray[np.float64]], own: Mapping[str, Codes]) -> None:
    """Each output's codes against the source's real output in code units; accumulators behind the last quantiser."""
    problems = []
    for node in lowered.network.outputs:
        got = own[node.name]
        real = source[lowered.finals[node.name]].reshape(got.shape)
        column = (-1, *[1] * (got.ndim - 2))
        scale = np.array([float(v) for v in node.scale]).reshape(column)
        offset = np.array([float(v) for v in node.offset]).reshape(column)
        want = (real - offset) / scale + node.zero_point
        slack = QUARTER + 1e-12 * (np.abs(want) + np.abs(offset / scale))
        places = np.argwhere(np.abs(want - got) > slack)
        if len(places):
            place = tuple(int(v) for v in places[0])
            shown = f"the source gives {want[place]:.3f} code units, the network {int(got[place])}"
            problems.append(
                Problem(what=f"sample {place[0]}, index {list(place[1:])}: {shown}", where=node.name,
                        hint="this is a fault of edgecomp: please report it with the model")
            )  # fmt: skip
    raise_all(MismatchError, problems)


def _judge(
    model: onnx.ModelProto, data: Mapping[str, Reals], codes: Mapping[str, Codes],
    pairs: Mapping[str, tuple[Codes, Codes]], positions: Mapping[str, NDArray[np.float64]] | None,
) -> tuple[Tie, ...]:  # fmt: skip
    """The differing codes that exact arithmetic gives to the interpreter; MismatchError for any other."""
    problems, ties = [], []
    for tensor, (want, got) in pairs.items():
        if want.shape != got.shape:
            problems.append(Problem(what=f"the source gives shape {want.shape}, the network {got.shape}", where=tensor))
            continue
        places = [tuple(int(v) for v in place) for place in np.argwhere(want != got)]
        verdicts = oracle.exact_codes(model, data, [(tensor, place) for place in places], fed=codes) if places else []
        for place, (exact, distance) in zip(places, verdicts, strict=True):
            far = positions is not None and abs(float(distance)) > NEAR
            if exact != int(got[place]) or far:
                problems.append(
                    Problem(what=f"sample {place[0]}, index {list(place[1:])}: the source gives {int(want[place])}, "
                            f"in exact arithmetic {exact}, the network {int(got[place])}", where=tensor,
                            hint="this is a fault of edgecomp: please report it with the model")
                )  # fmt: skip
                break
            ties.append(Tie(tensor=tensor, sample=place[0], index=place[1:], distance=float(distance)))
    raise_all(MismatchError, problems)
    return tuple(ties)


def _float32(model: onnx.ModelProto, lowered: Lowered, data: Mapping[str, Reals]) -> tuple[Tie, ...]:
    """ONNX Runtime's float32 against the interpreter fed with ONNX Runtime's own codes."""
    theirs = oracle.run_onnxruntime(model, data)
    known = {tensor: node for tensor, node in lowered.origins.items() if tensor in theirs}
    fed = {node: theirs[tensor] for tensor, node in known.items()}
    own = interp.run(lowered.network, host_codes(lowered, data), fed=fed)
    inputs = {node.name for node in lowered.network.inputs}
    pairs = {tensor: (theirs[tensor], own[node]) for tensor, node in known.items() if node not in inputs}
    return _judge(model, data, theirs, pairs, None)
