"""Reports as one self-contained HTML page: no script, no request, readable on a phone, in the dark and in print.

Bars are CSS, the network and nothing else is SVG made here: a plotting library's import alone takes longer than a page
may. Every figure is a <data> element whose `value` is the report.json's and whose `data-key` is the place there, as a
JSON pointer without the leading slash. Names come from model files and are not trusted: everything is escaped, what
cannot be printed is shown as an escape, and the page forbids itself scripts and requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.bundle import read_inputs, read_manifest
from edgecomp.errors import printable
from edgecomp.ir import Network
from edgecomp.report import views
from edgecomp.report.facts import network_facts
from edgecomp.report.figures import Figure
from edgecomp.report.graph import draw, group_of
from edgecomp.report.model import Report
from edgecomp.report.text import main_figures, number

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("page")
MAX_MATRIX = 32  # classes whose confusion matrix is drawn; a larger one stands in report.json
FRAME = 640  # pixels a page is high in a notebook; the rest scrolls
SINGULAR = ("cycles", "samples", "codes", "bits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One bundle on a page: its name, its report, and the sha256 of what went in and of the files that came out."""

    name: str
    report: Report
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def render_html(entries: Sequence[Entry]) -> str:
    """The page of one bundle; of several, a table side by side and then each bundle's own page, folded."""
    assert entries, "a page needs a bundle"
    compared = {entry.name: main_figures(entry.report) for entry in entries}
    rows = list(dict.fromkeys(row for column in compared.values() for row in column))
    template = _environment().get_template("page.html")
    return template.render(entries=entries, compared=compared, rows=rows) + "\n"


def render_network(network: Network) -> str:
    """A page of a network alone: its drawing, and each value's proven range inside its type."""
    nodes = network_facts(network)
    template = _environment().get_template("drawing.html")
    ends = {"inputs": [node.name for node in network.inputs], "outputs": [node.name for node in network.outputs]}
    return template.render(nodes=nodes, **ends) + "\n"


def framed(page: str, *, title: str) -> str:
    """A page as a frame of its own inside a notebook: neither's styles reach the other, and nothing in it may run."""
    return (f'<iframe srcdoc="{escape(page)}" title="{escape(title)}" sandbox '
            f'style="width:100%;height:{FRAME}px;border:0"></iframe>')  # fmt: skip


def page_of(reports: Mapping[str, Report]) -> str:
    """The page of bundles by folder, with the hashes of their manifests where they have them."""
    return render_html(
        [
            Entry(name=name, report=report, inputs=read_inputs(Path(name)), files=read_manifest(Path(name)) or {})
            for name, report in reports.items()
        ]
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=_finalize,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"pointer": pointer, "exact": json.dumps, "shown": shown, "unit": unit_of, "number": number,
                     "percent": percent, "share": _of}  # fmt: skip
    made.globals |= {"views": views, "draw": draw, "group_of": group_of, "MAX_MATRIX": MAX_MATRIX}
    return made


def _finalize(value: object) -> object:
    """Text as it may stand on a page; what is marked as HTML already is left alone."""
    return printable(value) if type(value) is str else value


def pointer(path: Iterable[str | int]) -> str:
    """A place in report.json as RFC 6901 writes it, without the leading slash."""
    return "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)


def shown(figure: Figure) -> str:
    """A figure's value for reading; fractions in per cent."""
    value = views.numeric(figure)
    return f"{100 * value:.2f}" if figure.unit == "fraction" and value is not None else number(figure.value)


def unit_of(figure: Figure) -> str:
    if figure.unit == "fraction":
        return "%"
    return figure.unit[:-1] if figure.value == 1 and figure.unit in SINGULAR else figure.unit


def percent(value: float) -> str:
    """A bar's length or place as CSS takes it, inside 0 to 100."""
    return f"{min(max(value, 0.0), 100.0):.2f}%"


def _of(value: float | None, most: float) -> float:
    """`value` in per cent of `most`; 0 where there is nothing to show."""
    return 100 * value / most if value and most > 0 else 0.0
