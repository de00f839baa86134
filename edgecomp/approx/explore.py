"""From a trained classifier to its Pareto front of approximate circuits, and a bundle for each budget of accuracy."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgecomp.approx.executor import Genes, Scores, dask, local
from edgecomp.approx.front import Check, Explored, Point, checks_of, front_files
from edgecomp.approx.ground import Ground, Selection, of_regression
from edgecomp.approx.search import Front, Plan, front_of, search
from edgecomp.contract import quantise_input
from edgecomp.data import load_data
from edgecomp.errors import DataError, DiskError, InexpressibleError, MismatchError, UsageError
from edgecomp.export import to_onnx
from edgecomp.flows import Progress
from edgecomp.ir import Network
from edgecomp.passes import decides
from edgecomp.pipeline import BuildRequest, build, outlier_of, read_model, split_settings, task_of
from edgecomp.project import Project, Task, family_of, find_project

CHECKPOINT, TRAINING, OURS, POINTS = "checkpoint.npz", "train.npz", "explore.json", "points"
SPREAD = {"printed": 12, "fpga": 8, "mcu": 12}  # candidates over the whole front that are measured
TRIED = 4  # candidates of a budget that are measured
SIZES = {"printed": (3000, 200), "fpga": (60, 40), "mcu": (60, 40)}  # generations and population where none are given


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreRequest:
    """`budgets`: accuracy that may be lost on the selection data. `data`: labelled selection data, never the test's.

    Without `generations` or `population`, as many as suit the family.
    """

    model: Path
    target: str = "printed"
    budgets: tuple[float, ...] = (0.01, 0.05)
    data: Path | None = None
    out: Path | None = None
    generations: int | None = None
    population: int | None = None
    seed: int = 0
    workers: int = 0
    scheduler: str | None = None

    def plan(self, family: str) -> Plan:
        generations, population = SIZES[family]
        return Plan(generations=self.generations or generations, population=self.population or population,
                    seed=self.seed)  # fmt: skip


def ground_for(family: str, network: Network, part: str, selection: Selection) -> Ground:
    """The family's ground; InexpressibleError for a network that it cannot explore."""
    from edgecomp.approx import coarser, printed

    makers: Mapping[str, Callable[[Network, str, Selection], Ground]] = {
        "printed": printed.printed_ground,
        "fpga": coarser.fpga_ground,
        "mcu": coarser.mcu_ground,
    }
    return makers[family](network, part, selection)


def explore(request: ExploreRequest, progress: Progress) -> Explored:
    """Search, measure what deserves it, and build a bundle for every budget.

    UsageError, DataError for what does not fit; InexpressibleError for a model that the target cannot explore.
    """
    family, part = family_of(request.target)
    if any(not 0 <= budget < 1 for budget in request.budgets) or not request.budgets:
        raise UsageError("budgets are shares of accuracy", where="--budget-accuracy", hint="for instance 0.01,0.05")
    project = find_project(request.model)
    out = request.out or Path("build") / f"{project.name}-{part}-explored"
    _free(out)
    progress.stage("reading the model and its selection data")
    network = read_model(project.model).network
    if len(network.outputs) > 1:
        raise InexpressibleError(f"the model has {len(network.outputs)} outputs; one is explored", where="explore",
                                 hint="leave out the others, or build it as it is")  # fmt: skip
    path = request.data or project.model.parent / TRAINING
    selection = _selection(network, path, project, given=request.data is not None)
    ground = ground_for(family, network, part, selection)
    own = _own(selection)
    _claim(out)
    plan = request.plan(family)
    front = _searched(request, plan, ground, selection, out, progress)
    points, exact = _points(front, ground, selection)
    points, exact, checks = _measured(points, exact, ground, SPREAD[family], progress)
    points, picks = _choose(points, exact, request.budgets, ground, progress)
    chosen = []
    for budget, pick in picks:
        point, made = points[pick], ground.network(points[pick].genes)
        _verify(point, made, selection)
        what = "values_changed" if selection.regression else "classes_changed"
        said = {**ground.declare(point.genes), what: selection.changed(ground.exact, made)}
        folder, model = out / f"budget-{budget:g}", out / f"budget-{budget:g}.onnx"
        _write(model, to_onnx(made).SerializeToString(deterministic=True))
        build(BuildRequest(model=model, target=request.target, flow=ground.flow, out=folder, data=project.data,
                           settings={**ground.settings, **own}, synth=ground.synth, notes=noted(exact, point, said),
                           approximates=ground.exact), progress)  # fmt: skip
        chosen.append((budget, point, said, folder))
    found = Explored(folder=out, costs=ground.costs, exact=exact, points=tuple(points), chosen=tuple(chosen),
                     checks=checks)  # fmt: skip
    progress.stage("writing the front")
    _write_points(found, ground)
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
        f"this network approximates another, whose circuit is not this one: {', '.join(changes) or 'in nothing'}",
        f"accuracy on selection data {point.accuracy:.4f}; {exact.accuracy:.4f} is the exact network's",
    )


def _verify(point: Point, network: Network, selection: Selection) -> None:
    """MismatchError unless the interpreter finds the accuracy that the search counted."""
    right = 1 - selection.error(network)
    if abs(right - point.accuracy) > 1e-9:
        what = f"the search counted an accuracy of {point.accuracy:.6f}, the network has {right:.6f}"
        hint = "this is a fault of edgecomp: please report it with the model"
        raise MismatchError(what, where="explore", hint=hint)


def _searched(
    request: ExploreRequest, plan: Plan, ground: Ground, selection: Selection, out: Path, progress: Progress
) -> Front:
    """The front on the rows that the search sees, scored anew on the whole selection data."""
    seen = ground.searched(selection, plan.seed)
    task = ground.task(seen)

    def told(generation: int, front: Front) -> None:
        best, least = 1 - front.scores[:, 0].min(), front.scores[:, 1].min()
        progress.advance(generation, plan.generations, f"generations: {len(front.scores)} on the front, "
                         f"accuracy up to {best:.4f}, smallest {least:.4g} {ground.costs[0]}")  # fmt: skip

    progress.stage("looking for starts on the selection data")
    starts = np.concatenate([ground.exact_genes, ground.more_starts(seen, plan.seed)])
    workers = request.workers or os.cpu_count() or 1
    with local(task, workers) if request.scheduler is None else dask(task, request.scheduler) as executor:
        found = search(ground.variation(), starts, executor, plan, checkpoint=out / CHECKPOINT, progress=told)
    return front_of(found.genes, ground.task(selection).scores(found.genes))


def _free(out: Path) -> None:
    """UsageError unless the output folder is new, empty, or ours."""
    try:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / OURS).exists())):
            raise UsageError("the output folder holds something else", where=str(out), hint="give another with --out")
    except OSError as error:
        raise DiskError(f"cannot write there: {error.strerror}", where=str(out)) from error


def _claim(out: Path) -> None:
    """Make the output folder ours, once everything else that can be refused has been looked at."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / OURS).exists():
            (out / OURS).write_text("{}\n")
    except OSError as error:
        raise DiskError(f"cannot write there: {error.strerror}", where=str(out)) from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise DiskError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _write_points(found: Explored, ground: Ground) -> None:
    """Every point's integer model, by its number in the front; those of an earlier front go."""
    for path in (found.folder / POINTS).glob("*.onnx"):
        path.unlink()
    for number, point in enumerate(found.points):
        content = to_onnx(ground.network(point.genes)).SerializeToString(deterministic=True)
        _write(found.folder / POINTS / f"{number}.onnx", content)


def _own(selection: Selection) -> dict[str, str]:
    """What the bundles' builds must be told of a regression."""
    if not selection.regression:
        return {}
    return {"task": Task.REGRESSION.value,
            **({"outlier": repr(selection.outlier)} if math.isfinite(selection.outlier) else {})}  # fmt: skip


def _selection(network: Network, path: Path, project: Project, *, given: bool) -> Selection:
    """The selection data as host codes, and classes or a regression's targets."""
    test = project.data
    hint = "give labelled data that is not the test's with --data FILE.npz"
    if not given and not path.exists():
        raise UsageError("a search needs labelled selection data", where=str(path), hint=hint)
    if test is not None and path.exists() and test.exists() and path.samefile(test):
        raise UsageError("the test data cannot select what is tested with it", where=str(path), hint=hint)
    data = load_data(path, {node.source or node.name: node.shape for node in network.inputs})
    if data.y is None or not len(data.y):
        raise DataError("holds no y", where=str(path), hint=hint)
    own = split_settings(project.options)[0]
    task = task_of({} if decides(network) else own, Task.CLASSES if decides(network) else project.task, data, network,
                   path)  # fmt: skip
    codes = {node.name: quantise_input(node, data.x[node.source or node.name]) for node in network.inputs}
    if task is Task.CLASSES:
        return Selection(inputs=codes, y=data.y.astype(np.int64))
    found = of_regression(codes, data.y.reshape(len(data.y), -1).astype(np.float64), outlier_of(own) or math.inf)
    if found.spread is not None and not found.spread.all():
        raise DataError("all targets of an output are one number", where=str(path), hint=hint)
    return found


def _points(front: Front, ground: Ground, selection: Selection) -> tuple[list[Point], Point]:
    """The front, best accuracy first, and the exact network."""
    starts = ground.task(selection).scores(ground.exact_genes)
    best = int(starts[:, 1].argmin())

    def point(scores: Scores, genes: Genes) -> Point:
        return Point(accuracy=float(1 - scores[0]), foretold=ground.foretold(scores), genes=genes)

    found = [point(scores, genes) for scores, genes in zip(front.scores, front.genes, strict=True)]
    return found, point(starts[best], ground.exact_genes[best])


def _measure(point: Point, ground: Ground) -> Point:
    if point.measured is not None:
        return point
    return replace(point, measured=ground.measure(ground.network(point.genes)))


def _measured(
    points: list[Point], exact: Point, ground: Ground, count: int, progress: Progress
) -> tuple[list[Point], Point, tuple[Check, ...]]:
    """A spread of the front measured, and the exact network; how far the foretold costs are off on them."""
    picks = sorted(set(np.linspace(0, len(points) - 1, min(count, len(points))).round().astype(int).tolist()))
    for number, at in enumerate(picks, 1):
        progress.stage(f"measuring candidate {number} of {len(picks)}")
        points[at] = _measure(points[at], ground)
    exact = _measure(exact, ground)
    return points, exact, checks_of([points[at] for at in picks], ground.costs)


def _choose(
    points: list[Point], exact: Point, budgets: Sequence[float], ground: Ground, progress: Progress
) -> tuple[list[Point], list[tuple[float, int]]]:
    """For each budget the cheapest when measured of the candidates foretold to be cheap within it."""
    if not any(np.array_equal(p.genes, exact.genes) for p in points):
        points = [*points, exact]  # so that every budget has one
    picks = []
    for budget in budgets:
        within = [at for at, p in enumerate(points) if p.accuracy >= exact.accuracy - budget - 1e-12]
        tried = sorted(within, key=lambda at: points[at].foretold)[:TRIED]
        progress.stage(f"measuring what fits a budget of {budget:g}")
        for at in tried:
            points[at] = _measure(points[at], ground)
        best = min(tried, key=lambda at: (points[at].measured, at))
        if math.isinf((points[best].measured or (0.0,))[0]):
            raise MismatchError(f"nothing within a loss of {budget:g} fits the part", where="--target",
                                hint="give a larger part, or allow a greater loss")  # fmt: skip
        picks.append((budget, best))
    return points, picks
