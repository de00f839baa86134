"""What an exploration found: points, how far foretold costs are off, and the files that show them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.approx.executor import Genes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """A candidate of the front; accuracy on the selection data, costs as foretold, and `measured` where they were."""

    accuracy: float
    foretold: tuple[float, ...]
    genes: Genes
    measured: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Of one cost, over the measured candidates: Spearman's `rank` correlation of foretold and measured, the median
    `ratio` of measured to foretold, and the median relative `error` that is left once it is applied."""

    cost: str
    rank: float
    ratio: float
    error: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """`chosen` has for each budget its point, declared approximations and bundle; `checks` has one for each cost."""

    folder: Path
    costs: tuple[str, ...]
    exact: Point
    points: tuple[Point, ...]
    chosen: tuple[tuple[float, Point, Mapping[str, object], Path], ...]
    checks: tuple[Check, ...]


def checks_of(points: Sequence[Point], costs: Sequence[str]) -> tuple[Check, ...]:
    """How far each cost was foretold off, over the points that were measured and fit."""
    kept = [p for p in points if p.measured is not None and math.isfinite(p.measured[0])]
    found = []
    for at, cost in enumerate(costs):
        foretold = np.array([p.foretold[at] for p in kept])
        real = np.array([(p.measured or p.foretold)[at] for p in kept])
        ratios = real / np.maximum(foretold, 1e-12)
        ratio = float(np.median(ratios)) if len(kept) else 1.0
        error = float(np.median(np.abs(ratio * foretold - real) / np.maximum(real, 1e-12))) if len(kept) else 0.0
        found.append(Check(cost=cost, rank=spearman(foretold, real), ratio=ratio, error=error, count=len(kept)))
    return tuple(found)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Rank correlation, equal values sharing their mean rank; 1 for fewer than two or for constants."""
    ranks = []
    for values in (a, b):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    if len(a) < 2 or any(rank.std() == 0 for rank in ranks):
        return 1.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def front_files(found: Explored) -> dict[str, bytes]:
    """front.csv, front.png and explore.json."""
    budgets: dict[int, list[str]] = {}
    for budget, point, _, _ in found.chosen:
        budgets.setdefault(id(point), []).append(f"{budget:g}")
    names = [cost.replace(" ", "_") for cost in found.costs]
    head = ["point", "accuracy", *(f"foretold_{n}" for n in names), *(f"measured_{n}" for n in names), "budget"]
    rows = [[str(number), f"{p.accuracy:.6f}", *(f"{cost:.4f}" for cost in p.foretold), *_shown(p, len(names)),
             " ".join(budgets.get(id(p), []))] for number, p in enumerate(found.points)]  # fmt: skip
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    summary = {
        "accuracy_on": "selection data",
        "costs": list(found.costs),
        "exact": _told(found.exact),
        "checks": [{"cost": c.cost, "rank_correlation": c.rank, "measured_to_foretold": c.ratio,
                    "median_error": c.error, "measured": c.count} for c in found.checks],
        "front": [dict(zip(head, row, strict=True)) for row in rows],
        "chosen": [{"budget": budget, "loss": found.exact.accuracy - point.accuracy, **_told(point),
                    "approximations": said, "bundle": folder.name}
                   for budget, point, said, folder in found.chosen],
    }  # fmt: skip
    return {"front.csv": text.getvalue().encode(), "front.png": plot(found),
            "explore.json": (json.dumps(summary, indent=1) + "\n").encode()}  # fmt: skip


def _shown(point: Point, count: int) -> list[str]:
    """Measured costs as text, empty where they were not measured."""
    if point.measured is None:
        return [""] * count
    return [f"{cost:.4f}" if math.isfinite(cost) else "does not fit" for cost in point.measured]


def _told(point: Point) -> dict[str, object]:
    measured = None if point.measured is None else [c if math.isfinite(c) else None for c in point.measured]
    return {"accuracy": point.accuracy, "foretold": list(point.foretold), "measured": measured}


def plot(found: Explored) -> bytes:
    """Accuracy over each cost: the front as foretold, scaled as measured, what was measured, and what was chosen."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "edgecomp"}):
        figure = Figure(figsize=(7 * len(found.costs), 4.5), layout="constrained")
        for at, check in enumerate(found.checks):
            axes = figure.add_subplot(1, len(found.costs), at + 1)
            axes.plot([check.ratio * p.foretold[at] for p in found.points], [p.accuracy for p in found.points], ".",
                      ms=4, label="foretold")  # fmt: skip
            done = [(p.measured[at], p.accuracy) for p in found.points
                    if p.measured is not None and math.isfinite(p.measured[at])]  # fmt: skip
            axes.plot([cost for cost, _ in done], [right for _, right in done], "o", mfc="none", label="measured")
            for budget, point, _, _ in found.chosen:
                axes.plot([(point.measured or point.foretold)[at]], [point.accuracy], "*", ms=12,
                          label=f"chosen for a loss of {budget:g}")  # fmt: skip
            axes.axhline(found.exact.accuracy, lw=0.8, color="grey", label="exact")
            axes.set(xscale="log", xlabel=check.cost, ylabel="accuracy on selection data",
                     title=f"rank correlation with what was measured {check.rank:.3f}")  # fmt: skip
            axes.legend(fontsize=8)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    return stream.getvalue()
