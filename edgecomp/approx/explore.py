"""From a trained classifier to its Pareto front of approximate circuits, and a bundle for each budget of accuracy."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.approx.declare import declare
from edgecomp.approx.executor import dask, local, task_of
from edgecomp.approx.genes import Exact, Genes, read_classifier, to_network
from edgecomp.approx.masks import trained_masks
from edgecomp.approx.noise import jittered
from edgecomp.approx.search import Front, Plan, front_of, search
from edgecomp.backends.printed import PrintedTarget, load_library
from edgecomp.backends.printed.cost import area_cm2
from edgecomp.backends.printed.design import make_design
from edgecomp.backends.printed.options import Effort, PrintedOptions
from edgecomp.contract import quantise_input
from edgecomp.data import check_targets, load_data
from edgecomp.errors import DataError, DiskError, MismatchError, UsageError
from edgecomp.export import to_onnx
from edgecomp.flows import Progress
from edgecomp.ir import Network
from edgecomp.passes import with_argmax
from edgecomp.pipeline import BuildRequest, build, read_model
from edgecomp.project import Task, family_of, find_project

CHECKPOINT, TRAINING, OURS = "checkpoint.npz", "train.npz", "explore.json"
SPREAD = 12  # candidates over the whole front that are mapped to show what the foretold area is worth
TRIED = 4  # candidates of a budget that are mapped
QUICK = PrintedOptions(effort=Effort.QUICK)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreRequest:
    """`budgets`: accuracy that may be lost on the selection data. `data`: labelled selection data, never the test's."""

    model: Path
    target: str = "printed"
    budgets: tuple[float, ...] = (0.01, 0.05)
    data: Path | None = None
    out: Path | None = None
    plan: Plan = field(default_factory=Plan)
    workers: int = 0
    scheduler: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A candidate of the front; accuracy on the selection data, areas in cm2, `mapped` where it was mapped."""

    accuracy: float
    foretold: float
    genes: Genes
    mapped: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """`chosen` has for each budget its point, declared approximations and bundle; `rank` is Spearman's correlation."""

    folder: Path
    exact: Point
    points: tuple[Point, ...]
    chosen: tuple[tuple[float, Point, Mapping[str, object], Path], ...]
    rank: float


def explore(request: ExploreRequest, progress: Progress) -> Explored:
    """Search, map what deserves it, and build a bundle for every budget.

    UsageError, DataError for what does not fit; InexpressibleError for a model that is no perceptron.
    """
    family, part = family_of(request.target)
    if family != "printed":
        raise UsageError(f"there is no exploration for {request.target} yet", where="--target", hint="give printed")
    if any(not 0 <= budget < 1 for budget in request.budgets) or not request.budgets:
        raise UsageError("budgets are shares of accuracy", where="--budget-accuracy", hint="for instance 0.01,0.05")
    library = load_library(part)
    project = find_project(request.model)
    out = request.out or Path("build") / f"{project.name}-{library.name}-explored"
    _claim(out)
    progress.stage("reading the model and its selection data")
    network = with_argmax(read_model(project.model).network)
    exact = read_classifier(network)
    path = request.data or project.model.parent / TRAINING
    codes, y = _selection(network, path, project.data, given=request.data is not None)
    front = _searched(request, exact, codes, y, out, progress)
    points, start = _points(front, exact, codes, y, library)
    points, rank = _mapped(points, exact, library, progress)
    points, picks = _choose(points, start, request.budgets, exact, library, progress)
    chosen = []
    for budget, pick in picks:
        folder = out / f"budget-{budget:g}"
        _verify(points[pick], exact, codes, y)
        said = {**declare(exact.space, exact.starts, points[pick].genes),
                "classes_changed": _changed(network, to_network(exact, points[pick].genes), codes)}  # fmt: skip
        model = out / f"budget-{budget:g}.onnx"
        _write(model, to_onnx(to_network(exact, points[pick].genes)).SerializeToString(deterministic=True))
        notes = noted(start, points[pick], said)
        build(BuildRequest(model=model, target=request.target, flow=None, out=folder, data=project.data, settings={},
                           notes=notes, approximates=network), progress)  # fmt: skip
        chosen.append((budget, points[pick], said, folder))
    found = Explored(folder=out, exact=start, points=tuple(points), chosen=tuple(chosen), rank=rank)
    progress.stage("writing the front")
    for name, content in front_files(found).items():
        _write(out / name, content)
    return found


def noted(exact: Point, point: Point, said: Mapping[str, object]) -> tuple[str, ...]:
    """What a bundle's report says of its approximations."""
    changes = []
    for name, value in said.items():
        if value and name != "summands":
            words = name.replace("_", " ")
            changes.append(
                f"{value} {words}" if isinstance(value, int) else f"{words} on {value:.2%} of the selection data"
            )
    return (
        f"this network approximates another, whose circuit is not this one: {', '.join(changes)}",
        f"accuracy on selection data {point.accuracy:.4f}; {exact.accuracy:.4f} is the exact network's",
    )


def _verify(point: Point, exact: Exact, codes: NDArray[np.int64], y: NDArray[np.int64]) -> None:
    """MismatchError unless the interpreter finds the accuracy that the search counted."""
    network = to_network(exact, point.genes)
    inputs = {node.name: codes.reshape(-1, *node.shape) for node in network.inputs}
    right = (interp.outputs(network, inputs)[exact.name].reshape(-1) == y).mean()
    if abs(right - point.accuracy) > 1e-9:
        what = f"the search counted an accuracy of {point.accuracy:.6f}, the network has {right:.6f}"
        hint = "this is a fault of edgecomp: please report it with the model"
        raise MismatchError(what, where="explore", hint=hint)


def _changed(exact: Network, other: Network, codes: NDArray[np.int64]) -> float:
    """The share of rows of codes (N, features) to which two networks give unlike classes."""
    inputs = {node.name: codes.reshape(-1, *node.shape) for node in exact.inputs}
    end = exact.outputs[0].name
    return float((interp.outputs(exact, inputs)[end] != interp.outputs(other, inputs)[end]).mean())


def _searched(
    request: ExploreRequest, exact: Exact, codes: NDArray[np.int64], y: NDArray[np.int64], out: Path, progress: Progress
) -> Front:
    noisy, classes = jittered(codes, y, exact.space.layers[0].bits, request.plan.seed)
    task = task_of(exact.space, noisy, classes)

    def told(generation: int, front: Front) -> None:
        best, least = 1 - front.scores[:, 0].min(), front.scores[:, 1].min()
        progress.advance(generation, request.plan.generations, f"generations: {len(front.scores)} on the front, "
                         f"accuracy up to {best:.4f}, smallest {least:.0f} cells")  # fmt: skip

    progress.stage("training masks on the selection data")
    starts = np.concatenate([exact.starts, trained_masks(exact, noisy, classes, seed=request.plan.seed)])
    workers = request.workers or os.cpu_count() or 1
    with local(task, workers) if request.scheduler is None else dask(task, request.scheduler) as executor:
        found = search(exact.space, starts, executor, request.plan, checkpoint=out / CHECKPOINT, progress=told)
    return front_of(found.genes, task_of(exact.space, codes, y).scores(found.genes))


def _claim(out: Path) -> None:
    """An output folder that is new, empty, or ours."""
    try:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / OURS).exists())):
            raise UsageError("the output folder holds something else", where=str(out), hint="give another with --out")
        out.mkdir(parents=True, exist_ok=True)
        if not (out / OURS).exists():
            (out / OURS).write_text("{}\n")
    except OSError as error:
        raise DiskError(f"cannot write there: {error.strerror}", where=str(out)) from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise DiskError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _selection(
    network: Network, path: Path, test: Path | None, *, given: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes (N, features) and classes (N,) of the selection data."""
    hint = "give labelled data that is not the test's with --data FILE.npz"
    if not given and not path.exists():
        raise UsageError("a search needs labelled selection data", where=str(path), hint=hint)
    if test is not None and path.exists() and test.exists() and path.samefile(test):
        raise UsageError("the test data cannot select what is tested with it", where=str(path), hint=hint)
    node = network.inputs[0]
    data = load_data(path, {node.source or node.name: node.shape})
    if data.y is None or not len(data.y):
        raise DataError("holds no classes y", where=str(path), hint=hint)
    check_targets(data, Task.CLASSES, network.values()[network.outputs[0].name].greatest + 1, where=str(path))
    codes = quantise_input(node, data.x[node.source or node.name])
    return codes.reshape(len(codes), -1), data.y.astype(np.int64)


def _points(
    front: Front, exact: Exact, codes: NDArray[np.int64], y: NDArray[np.int64], library: PrintedTarget
) -> tuple[list[Point], Point]:
    """The front, best accuracy first, and the exact circuit."""
    cell = min(cell.area_um2 for cell in library.cells.values() if len(cell.pins) == 2) / 1e8
    starts = task_of(exact.space, codes, y).scores(exact.starts)
    best = int(starts[:, 1].argmin())
    start = Point(accuracy=1 - starts[best, 0], foretold=starts[best, 1] * cell, genes=exact.starts[best])
    points = [Point(accuracy=float(1 - wrong), foretold=float(price * cell), genes=genes)
              for (wrong, price), genes in zip(front.scores, front.genes, strict=True)]  # fmt: skip
    return points, start


def _map(point: Point, exact: Exact, library: PrintedTarget) -> Point:
    if point.mapped is not None:
        return point
    design = make_design(to_network(exact, point.genes), library, QUICK)
    return Point(accuracy=point.accuracy, foretold=point.foretold, genes=point.genes,
                 mapped=area_cm2(design.netlist, library))  # fmt: skip


def _mapped(points: list[Point], exact: Exact, library: PrintedTarget, progress: Progress) -> tuple[list[Point], float]:
    """A spread of the front mapped; the rank correlation of foretold and mapped area over it."""
    picks = sorted(set(np.linspace(0, len(points) - 1, min(SPREAD, len(points))).round().astype(int).tolist()))
    for number, at in enumerate(picks, 1):
        progress.stage(f"mapping candidate {number} of {len(picks)}")
        points[at] = _map(points[at], exact, library)
    pairs = np.array([(points[at].foretold, points[at].mapped) for at in picks], dtype=float)
    return points, spearman(pairs[:, 0], pairs[:, 1])


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Rank correlation, equal values sharing their mean rank; 1 for fewer than two or for constants."""
    ranks = []
    for values in (a, b):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    if len(a) < 2 or any(rank.std() == 0 for rank in ranks):
        return 1.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _choose(
    points: list[Point], exact_point: Point, budgets: Sequence[float], exact: Exact, library: PrintedTarget,
    progress: Progress,
) -> tuple[list[Point], list[tuple[float, int]]]:  # fmt: skip
    """For each budget the smallest when mapped of the candidates foretold to be small within it."""
    if not any(np.array_equal(p.genes, exact_point.genes) for p in points):
        points = [*points, exact_point]  # so that every budget has one
    picks = []
    for budget in budgets:
        within = [at for at, p in enumerate(points) if p.accuracy >= exact_point.accuracy - budget - 1e-12]
        tried = sorted(within, key=lambda at: points[at].foretold)[:TRIED]
        progress.stage(f"mapping what fits a budget of {budget:g}")
        for at in tried:
            points[at] = _map(points[at], exact, library)
        picks.append((budget, min(tried, key=lambda at: (points[at].mapped, at))))
    return points, picks


def front_files(found: Explored) -> dict[str, bytes]:
    """front.csv, front.png and explore.json."""
    budgets: dict[int, list[str]] = {}
    for budget, point, _, _ in found.chosen:
        budgets.setdefault(id(point), []).append(f"{budget:g}")
    head = ["accuracy", "foretold_cm2", "mapped_cm2", "budget"]
    rows = [[f"{p.accuracy:.6f}", f"{p.foretold:.4f}", "" if p.mapped is None else f"{p.mapped:.4f}",
             " ".join(budgets.get(id(p), []))] for p in found.points]  # fmt: skip
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    summary = {
        "accuracy_on": "selection data",
        "exact": {"accuracy": found.exact.accuracy, "foretold_cm2": found.exact.foretold},
        "rank_correlation": found.rank,
        "front": [dict(zip(head, row, strict=True)) for row in rows],
        "chosen": [{"budget": budget, "accuracy": point.accuracy, "loss": found.exact.accuracy - point.accuracy,
                    "mapped_cm2": point.mapped, "approximations": said, "bundle": folder.name}
                   for budget, point, said, folder in found.chosen],
    }  # fmt: skip
    return {"front.csv": text.getvalue().encode(), "front.png": plot(found),
            OURS: (json.dumps(summary, indent=1) + "\n").encode()}  # fmt: skip


def plot(found: Explored) -> bytes:
    """Accuracy over area: the front as foretold, what was mapped, and what was chosen."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "edgecomp"}):
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([p.foretold for p in found.points], [p.accuracy for p in found.points], ".", ms=4, label="foretold")
        done = [(p.mapped, p.accuracy) for p in found.points if p.mapped is not None]
        axes.plot([area for area, _ in done], [accuracy for _, accuracy in done], "o", mfc="none", label="mapped")
        for budget, point, _, _ in found.chosen:
            axes.plot([point.mapped or 0.0], [point.accuracy], "*", ms=12, label=f"chosen for a loss of {budget:g}")
        axes.axhline(found.exact.accuracy, lw=0.8, color="grey", label="exact")
        axes.set(xscale="log", xlabel="area (cm2)", ylabel="accuracy on selection data",
                 title=f"rank correlation of foretold and mapped area {found.rank:.3f}")  # fmt: skip
        axes.legend(fontsize=8)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    return stream.getvalue()
