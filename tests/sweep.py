"""Runs the compiler over random models and tabulates what happened: `python -m tests.sweep --count 200 --seed 0`.

Every model is lowered; then interpreter and oracle are compared at every quantiser, each fed with the oracle's own
codes, and at the outputs. Where they differ, exact arithmetic decides which of the two is wrong. With `--simulate`
the model also goes through the HLS back end, and its compiled C simulation is compared. Rows are written as JSON lines
and a second run resumes from them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from edgecomp import frontend, interp, oracle
from edgecomp.check import showing
from edgecomp.errors import EdgecompError
from edgecomp.ir import Encoding, Input, Network, Output, Reshape, Transpose
from tests.generator import GeneratedModel, make
from tests.simulated import settings_of, simulate

Codes = npt.NDArray[np.int64]
EXACT_CHECKS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model's result.

    `verdict`: built, refused, crashed, differs or unjudged. `float64_ties`: codes where the float64 oracle lies on a
    boundary and exact arithmetic sides with the interpreter. `differing`: codes where it does not, outputs included.
    """

    seed: int
    source: str
    dialect: str
    tags: tuple[str, ...]
    refusable: bool
    verdict: str
    reason: str = ""
    codes: int = 0
    clipped: float = 0.0
    tied: float = 0.0
    float64_ties: int = 0
    differing: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Codes of one quantiser or output that differ, and a sentence about the first of them."""

    codes: int
    float64_ties: int
    text: str


def judge(model: GeneratedModel, *, through_hls: bool = False) -> Row:
    """Lower one model and compare it with the oracle; every failure becomes a row."""
    start = time.perf_counter()
    row = Row(
        seed=model.seed, source=model.source, dialect=model.dialect, tags=model.tags, refusable=model.refusable,
        verdict="built", clipped=model.clipped, tied=model.tied, codes=sum(c.codes for c in model.counts),
    )  # fmt: skip
    try:
        lowered = frontend.read(model.proto)
    except EdgecompError as error:
        row = replace(row, verdict="refused", reason="; ".join(problem.what for problem in error.problems))
    except Exception:  # a crash is what the sweep looks for: recorded with its place, and the exit code tells
        row = replace(row, verdict="crashed", reason=_last_frames())
    else:
        row = _compared(row, model, lowered)
        if through_hls and row.verdict == "built":
            row = _simulated(row, lowered.network)
    return replace(row, seconds=round(time.perf_counter() - start, 3))


def _compared(row: Row, model: GeneratedModel, lowered: frontend.Lowered) -> Row:
    try:
        differences = list(compare(model.proto, model.inputs, lowered))
    except Exception:  # interpreter or oracle failed on a model that the front end took: neither built nor refused
        return replace(row, verdict="unjudged", reason=_last_frames())
    wrong = sum(d.codes for d in differences)
    text = " | ".join(d.text for d in differences if d.codes)
    ties = sum(d.float64_ties for d in differences)
    return replace(row, verdict="differs" if wrong else "built", reason=text, differing=wrong, float64_ties=ties)


def _simulated(row: Row, network: Network) -> Row:
    try:
        count, text = simulate(network, settings_of(row.seed), row.seed)
    except EdgecompError as error:
        return replace(row, verdict="refused", reason="; ".join(problem.what for problem in error.problems))
    except Exception:  # a crash of the back end, recorded with its place
        return replace(row, verdict="crashed", reason=_last_frames())
    return replace(row, verdict="differs", reason=text, differing=count) if count else row


def compare(
    proto: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[np.float32]], lowered: frontend.Lowered
) -> Iterable[Difference]:
    """Interpreter against oracle, at every quantiser and output."""
    trace = oracle.run(showing(proto, lowered.finals.values()), inputs)
    network = lowered.network
    lost = [name for name in trace.codes if name not in lowered.origins]
    if lost:
        yield Difference(codes=len(lost), float64_ties=0, text=f"quantisers without an origin: {lost}")
    by_node = {lowered.origins[tensor]: trace.codes[tensor] for tensor in trace.codes if tensor in lowered.origins}
    host = _host_inputs(network, by_node)
    values = interp.run(network, host, fed=by_node)
    for tensor, expected in trace.codes.items():
        node = lowered.origins.get(tensor)
        if node is not None:
            yield from _at_quantiser(proto, inputs, trace, tensor, values[node], expected)
    for output in network.outputs:
        yield from _at_output(output, values[output.name], trace.outputs[lowered.finals[output.name]])


def _host_inputs(network: Network, by_node: Mapping[str, Codes]) -> dict[str, Codes]:
    """Host codes of every input: the oracle's codes of its quantiser, carried back through transposes and reshapes."""
    nodes = {node.name: node for node in network.nodes}
    found = {}
    for name, codes in by_node.items():
        node = nodes[name]
        while isinstance(node, Transpose | Reshape):
            before = nodes[node.x]
            if isinstance(node, Transpose):
                codes = np.transpose(codes, (0, *(1 + np.argsort(node.perm))))
            else:
                codes = codes.reshape(len(codes), *network.values()[node.x].shape)
            node = before
        if isinstance(node, Input):
            found[node.name] = _host_codes(node, codes)
    return found


def _host_codes(node: Input, centred: Codes) -> Codes:
    return (centred + 1) // 2 if node.encoding is Encoding.BIPOLAR else centred + node.zero_point


def _at_quantiser(
    proto: onnx.ModelProto,
    inputs: Mapping[str, npt.NDArray[np.float32]],
    trace: oracle.Trace,
    tensor: str,
    got: Codes,
    expected: Codes,
) -> Iterable[Difference]:
    if got.shape != expected.shape:
        text = f"{tensor}: shape {got.shape}, expected {expected.shape}"
        yield Difference(codes=expected.size, float64_ties=0, text=text)
        return
    places = [tuple(int(i) for i in place) for place in np.argwhere(got != expected)]
    if not places:
        return
    grid = trace.distance(tensor)
    wrong = []
    asked = places[:EXACT_CHECKS]
    exact = oracle.exact_codes(proto, inputs, [(tensor, place) for place in asked], fed=_others(trace, tensor))
    for place, (code, _) in zip(asked, exact, strict=True):
        if code != got[place]:
            wrong.append((place, code))
    far = sum(abs(float(grid[place])) > 1e-6 for place in places[EXACT_CHECKS:])
    text = ""
    if wrong:
        place, code = wrong[0]
        text = f"{tensor}{list(place)}: interpreter {got[place]}, exact {code}, float64 {expected[place]}"
    count = len(wrong) + far
    yield Difference(codes=count, float64_ties=len(places) - count, text=text or f"{tensor}: {far} far from a boundary")


def _others(trace: oracle.Trace, tensor: str) -> dict[str, Codes]:
    return {name: codes for name, codes in trace.codes.items() if name != tensor}


def _at_output(node: Output, got: Codes, expected: npt.NDArray[np.float64]) -> Iterable[Difference]:
    """Real outputs, before a final softmax or sigmoid."""
    shape = (1, -1, *[1] * (got.ndim - 2))
    scale, offset = (np.array([float(v) for v in values]).reshape(shape) for values in (node.scale, node.offset))
    code = 2 * got - 1 if node.encoding is Encoding.BIPOLAR else got - node.zero_point
    real = code * scale + offset if got.ndim > 1 else code * scale.reshape(()) + offset.reshape(())
    if real.shape != expected.shape and real.size == expected.size:
        real = real.reshape(expected.shape)
    if real.shape != expected.shape:
        yield Difference(codes=expected.size, float64_ties=0, text=f"output: {real.shape} against {expected.shape}")
        return
    off = np.abs(real - expected) > 1e-9 * (np.abs(expected).max() + 1e-30)
    if off.any():
        place = tuple(int(i) for i in np.argwhere(off)[0])
        text = f"output{list(place)}: interpreter {real[place]}, float64 {expected[place]}"
        yield Difference(codes=int(off.sum()), float64_ties=0, text=text)


def _last_frames() -> str:
    kind, error, trail = sys.exc_info()
    assert kind is not None
    frames = traceback.extract_tb(trail)[-3:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return f"{kind.__name__}: {str(error)[:200]} at {where}"


def judge_seed(seed: int, *, through_hls: bool = False) -> Row:
    return judge(make(seed), through_hls=through_hls)


def summary(rows: list[Row]) -> str:
    """The table: verdicts per source, reasons grouped with seeds, shares of clipped and tied codes."""
    lines = []
    for source in sorted({row.source for row in rows}):
        part = [row for row in rows if row.source == source]
        verdicts = Counter(row.verdict for row in part)
        lines.append(f"{source}: {len(part)} models, " + ", ".join(f"{n} {v}" for v, n in sorted(verdicts.items())))
    codes = sum(row.codes for row in rows)
    for name in ("clipped", "tied"):
        share = sum(getattr(row, name) * row.codes for row in rows) / max(1, codes)
        some = sum(getattr(row, name) > 0 for row in rows)
        lines.append(f"codes {name}: {share:.2%} of {codes}; in {some} of {len(rows)} models")
    lines.append(f"differing codes: {sum(row.differing for row in rows)}; float64 ties settled exactly: "
                 f"{sum(row.float64_ties for row in rows)}")  # fmt: skip
    wanted = [row for row in rows if not row.refusable]
    built = sum(row.verdict == "built" for row in wanted)
    lines.append(f"built of those that must build: {built} of {len(wanted)} ({built / max(1, len(wanted)):.1%})")
    for verdict in ("refused", "crashed", "unjudged", "differs"):
        for allowed in (False, True):
            reasons: dict[str, list[int]] = {}
            for row in rows:
                if row.verdict == verdict and row.refusable == allowed:
                    reasons.setdefault(row.reason[:160], []).append(row.seed)
            label = f"{verdict}{' (may be refused)' if allowed else ''}"
            lines += [f"{label}: {len(s)} x {reason}  seeds {s[:8]}" for reason, s in sorted(reasons.items())]
    return "\n".join(lines)


def _read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [Row(**{**item, "tags": tuple(item["tags"])}) for item in found]


def main() -> int:
    """Run the sweep; exits 1 when anything crashed or differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/sweep.jsonl"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    wanted = range(options.seed, options.seed + options.count)
    rows = [row for row in _read_rows(options.out) if row.seed in wanted]
    missing = sorted(set(wanted) - {row.seed for row in rows})
    with ProcessPoolExecutor(options.jobs) as pool, options.out.open("a") as file:
        for row in pool.map(partial(judge_seed, through_hls=options.simulate), missing):
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            rows.append(row)
            print(f"{row.seed}: {row.verdict} {row.seconds:.1f} s {row.reason[:120]}", file=sys.stderr, flush=True)
    print(summary(rows))
    return int(any(row.verdict in ("crashed", "unjudged", "differs") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
