"""A Report as text: tables for the terminal and report.txt, and several reports side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecomp.report.figures import Figure
from edgecomp.report.model import Report

MAX_NEAR_TIES = 10


def table(rows: Sequence[Sequence[str]], *, head: bool = True) -> str:
    """Rows of cells in aligned columns; columns of numbers to the right. The first row is the head, underlined."""
    if not rows:
        return ""
    body = rows[1:] if head else rows
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = [bool(body) and all(_is_number(row[i]) for row in body) for i in range(len(rows[0]))]
    lines = [_line(row, widths, right) for row in rows]
    if head:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = [cell.rjust(width) if to_right else cell.ljust(width)
             for cell, width, to_right in zip(row, widths, right, strict=True)]  # fmt: skip
    return "  ".join(cells).rstrip()


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or cell[0].isdigit() or (cell[0] == "-" and cell[1:2].isdigit())


def number(value: int | float | str | bool) -> str:
    """A value for reading: digits grouped, floats to five figures, yes and no."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.5g}" if abs(value) < 1e5 else f"{value:,.0f}"
        case _:
            return value


def amount(figure: Figure) -> str:
    return f"{number(figure.value)} {figure.unit}"


def share(used: Figure, available: Figure) -> str:
    """Used over available in per cent, where both are numbers."""
    if isinstance(used.value, str) or isinstance(available.value, str) or not available.value:
        return "-"
    return f"{100 * used.value / available.value:.2f}"


def render(report: Report) -> str:
    """The whole report as text; every section that has something to say."""
    sections = {
        "": _summary(report),
        "latency" if report.latency else "circuit": _latency(report),
        "resources": _resources(report),
        "synthesis": _figures(report.synthesis),
        "cost per layer": _layers(report),
        "accuracy": _accuracy(report),
        "golden": _golden(report),
        "requantisation": _requantisation(report),
        "wall time": table([[s.name, number(s.time.value), s.time.unit] for s in report.stages], head=False),
        "tools": table([[tool.name, tool.version] for tool in report.tools], head=False),
        "notes": "\n".join(f"- {note}" for note in report.notes),
    }
    titled = [f"{title}\n{'=' * len(title)}\n{text}" if title else text for title, text in sections.items() if text]
    return "\n\n".join(titled) + "\n"


def _summary(report: Report) -> str:
    model, target, verdict = report.model, report.target, report.verdict
    rows = [
        ["model", f"{model.name} ({model.form}), task {model.task}, head {model.head}"],
        *(["input", end] for end in model.inputs),
        *(["output", end] for end in model.outputs),
        ["target", f"{target.name}, part {target.part}, flow {target.flow}, clock {amount(target.clock)}"],
        ["exact", "yes: every execution gave the same codes" if verdict.exact else "NO"],
        ["fits", "yes" if verdict.fits else "NO"],
        *(["", reason] for reason in verdict.reasons),
    ]
    return table(rows, head=False)


def _latency(report: Report) -> str:
    latency = report.latency
    if latency is None:
        return _figures(report.totals)
    named = {"latency": latency.cycles, "": latency.time, "initiation interval": latency.initiation_interval}
    return _figures(named | dict(report.totals))


def _figures(named: Mapping[str, Figure]) -> str:
    rows = [[name, number(f.value), f.unit, f.source.value, f.method] for name, f in named.items()]
    return table([["", "value", "unit", "source", "method"], *rows]) if rows else ""


def _resources(report: Report) -> str:
    rows = [[r.name, number(r.used.value), number(r.available.value), share(r.used, r.available), r.used.source.value]
            for r in report.resources]  # fmt: skip
    return table([["", "used", "available", "%", "source"], *rows]) if rows else ""


def _layers(report: Report) -> str:
    """One row a layer, one column a figure; a unit stands once, in the head."""
    units = {name: figure.unit for layer in report.layers for name, figure in layer.figures.items()}
    rows = [
        [layer.name, layer.kind, *(number(layer.figures[n].value) if n in layer.figures else "-" for n in units)]
        for layer in report.layers
    ]
    return table([["layer", "kind", *(_titled(name, unit) for name, unit in units.items())], *rows]) if rows else ""


def _titled(name: str, unit: str) -> str:
    """A column's title: the figure's name, with its unit where the name does not say it."""
    said = unit.rstrip("s") in name.lower() or name.lower() in unit.lower()
    return name if said else f"{name} [{unit}]"


def _accuracy(report: Report) -> str:
    metrics = {name: figure.unit for stage in report.accuracy for name, figure in stage.metrics.items()}
    rows = [
        [
            stage.stage,
            *(number(stage.metrics[name].value) if name in stage.metrics else "-" for name in metrics),
            number(stage.flips.value) if stage.flips else "-",
        ]
        for stage in report.accuracy
    ]
    head = ["stage", *(_titled(name, unit) for name, unit in metrics.items()), "flips"]
    return table([head, *rows]) if rows else ""


def _golden(report: Report) -> str:
    rows = [[g.execution, *(number(f.value) for f in (g.samples, g.codes, g.differences))] for g in report.golden]
    if not rows:
        return ""
    ties = [[t.quantiser, number(t.sample), " ".join(map(str, t.index)), amount(t.distance)]
            for t in report.near_ties[:MAX_NEAR_TIES]]  # fmt: skip
    text = table([["execution", "samples", "codes compared", "differences"], *rows])
    text += f"\n\nfloat32 near-ties of the source: {number(report.near_tie_count.value)}"
    if ties:
        text += "\n" + table([["quantiser", "sample", "index", "distance from the boundary"], *ties])
    if len(report.near_ties) > len(ties):
        text += f"\n... {len(report.near_ties) - len(ties)} more in report.json"
    return text


def _requantisation(report: Report) -> str:
    rows = [[r.name, r.form, number(r.multiplier_bits.value), r.proof] for r in report.requantisers]
    return table([["requantiser", "form", "multiplier bits", "proof"], *rows]) if rows else ""


def side_by_side(reports: Mapping[str, Report]) -> str:
    """The main figures of several reports, one column each, under the names given."""
    columns = {name: main_figures(report) for name, report in reports.items()}
    rows = dict.fromkeys(row for column in columns.values() for row in column)
    body = [[row, *(column.get(row, "-") for column in columns.values())] for row in rows]
    return table([["", *columns], *body]) + "\n"


def main_figures(report: Report) -> dict[str, str]:
    """The rows of a comparison: what was built, the verdict, latency, resources, accuracy and differences."""
    latency = report.latency
    rows = {
        "model": report.model.name,
        "part": report.target.part,
        "flow": report.target.flow,
        "exact": number(report.verdict.exact),
        "fits": number(report.verdict.fits),
        "clock": amount(report.target.clock),
    }
    if latency is None:
        rows |= {name: f"{amount(figure)} ({figure.source.value})" for name, figure in report.totals.items()}
    else:
        interval = latency.initiation_interval
        rows["latency"] = f"{amount(latency.cycles)}, {amount(latency.time)} ({latency.time.source.value})"
        rows["initiation interval"] = f"{amount(interval)} ({interval.source.value})"
    for resource in report.resources:
        rows[resource.name] = f"{number(resource.used.value)} ({resource.used.source.value})"
    rows |= {
        f"{name}, synthesis": f"{amount(figure)} ({figure.source.value})" for name, figure in report.synthesis.items()
    }
    for stage in report.accuracy:
        rows |= {f"{name}, {stage.stage}": amount(figure) for name, figure in stage.metrics.items()}
    for agreement in report.golden:
        rows[f"differences, {agreement.execution}"] = number(agreement.differences.value)
    return rows
