"""report.html: its figures are report.json's, names cannot break it, and a real browser finds nothing to object to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgecomp import cli
from edgecomp.bundle import audit, read_manifest
from edgecomp.errors import Exit
from edgecomp.report import Figure, Report, Resource, Source, ToolVersion, plain, to_json
from edgecomp.report.html import Entry, pointer, render_html, shown, unit_of
from tests.browser import Tab, chromium
from tests.pages import Seen, lacking, wrong
from tests.reports import count, estimate, node, small_report

EVIL = "</style></title><script>console.log(1)</script>\"'><img src=http://127.0.0.1:9/x onerror=alert(1)>{{ 7*7 }}"


def page(report: Report, name: str = "net") -> str:
    return render_html([Entry(name=name, report=report, inputs={"model": "ab"}, files={"hls/run.sh": "cd"})])


def hostile(name: str) -> Report:
    """A report whose every name and text is `name`."""

    small = small_report(fits=False)
    layer = replace(small.layers[0], name=name, kind=name, figures={name: count(3, name)})
    return replace(
        small,
        model=replace(small.model, name=name, form=name, sha256=name, task=name, head=name, inputs=(name,),
                      outputs=(name,)),
        target=replace(small.target, name=name, part=name, flow=name),
        verdict=replace(small.verdict, reasons=(name,)),
        resources=(Resource(name=name, used=count(2, name), available=count(4, name)),),
        totals={name: Figure(value=name, unit=name, source=Source.TOOL, method=name)},
        synthesis={name: count(1, name)},
        accuracy=tuple(replace(a, stage=name, metrics={name: count(1, name)}) for a in small.accuracy),
        golden=tuple(replace(g, execution=name) for g in small.golden),
        near_ties=tuple(replace(t, quantiser=name) for t in small.near_ties),
        layers=(layer, layer),
        requantisers=tuple(replace(q, name=name, form=name, proof=name) for q in small.requantisers),
        stages=tuple(replace(s, name=name) for s in small.stages),
        tools=(ToolVersion(name=name, version=name),),
        notes=(name,),
        network=tuple(replace(n, name=name, kind=name, reads=(name,), shape=name) for n in small.network),
    )  # fmt: skip


def test_every_figure_stands_on_the_page_as_in_the_json() -> None:
    report = json.loads(to_json(small_report()))
    seen = Seen(page(small_report()))
    assert not wrong(seen.figures, report)
    assert lacking(seen.figures, report) == set()
    assert {"verdict/exact", "verdict/fits", "latency/cycles/value", "accuracy/1/metrics/accuracy/value",
            "confusion/counts/0/1", "model/sha256"} <= seen.figures.keys()  # fmt: skip


def test_a_changed_figure_is_noticed() -> None:
    seen = Seen(page(small_report(cycles=10)))
    found = wrong(seen.figures, json.loads(to_json(small_report())))
    assert {*found} == {"latency/cycles/value", "latency/time/value"}


def test_the_verdict_comes_first_and_says_no() -> None:
    text = Seen(page(small_report(fits=False))).text
    assert text.index("LUT: 60,000 of 53,200") < text.index("What was built")
    assert "does not fit" in text
    assert "every execution gave the same codes" in text


def test_names_are_text_whatever_they_hold() -> None:
    plain_page, evil = Seen(page(hostile("n"), "n")), Seen(page(hostile(EVIL), EVIL))
    assert evil.elements == plain_page.elements
    assert evil.attributes == plain_page.attributes
    assert not evil.elements["script"]
    assert not {name for name in evil.attributes if name.startswith("on")}
    assert "{{ 7*7 }}" in evil.text
    assert not wrong(evil.figures, plain(hostile(EVIL)))


def test_what_cannot_be_printed_is_shown_as_an_escape() -> None:
    text = page(hostile("a\0b\x1b[31m\u202e\ud800"))
    assert "a\\x00b\\x1b[31m\\u202e\\ud800" in text
    assert text.encode()


def test_a_report_of_older_form_has_no_network_and_no_matrix() -> None:
    text = Seen(page(replace(small_report(), network=(), confusion=None))).text
    assert "The integer network" not in text
    assert "Confusion" not in text


def test_several_bundles_stand_side_by_side_each_with_its_own_keys() -> None:
    text = render_html([Entry(name="a", report=small_report()), Entry(name="b", report=small_report(cycles=20))])
    seen = Seen(text)
    assert seen.figures["0/latency/cycles/value"] == [9]
    assert seen.figures["1/latency/cycles/value"] == [20]
    assert "20 cycles, 200 ns (estimate)" in seen.text
    assert seen.elements["details"] == 4  # a bundle's page and its near ties, twice


def test_a_large_report_is_rendered_in_time_and_size() -> None:
    nodes = tuple(node(f"n{i}", "Dense", (f"n{i - 1}", f"n{i - 2}"), -(1 << 20), 1 << 20, 9) for i in range(500))
    layers = tuple(replace(small_report().layers[0], name=f"n{i}") for i in range(500))
    start = time.process_time()
    text = page(replace(small_report(), network=nodes, layers=layers))
    assert time.process_time() - start < 2
    assert len(text.encode()) < 2_000_000


@pytest.mark.parametrize(
    ("figure", "text", "unit"),
    [
        (estimate(0.98765, "fraction"), "98.77", "%"),
        (count(1, "cycles"), "1", "cycle"),
        (count(1, "flip-flops"), "1", "flip-flops"),
        (count(12345, "codes"), "12,345", "codes"),
        (Figure(value="none", unit="fraction", source=Source.TOOL, method="m"), "none", "%"),
    ],
)
def test_figures_for_reading(figure: Figure, text: str, unit: str) -> None:
    assert (shown(figure), unit_of(figure)) == (text, unit)


def test_pointers_escape_what_they_are_made_of() -> None:
    assert pointer(("totals", "a/b~c", 3)) == "totals/a~1b~0c/3"


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "digits"
    assert cli.main(["build", "examples/digits", "--target", "mcu", "--out", str(out)]) == Exit.DONE
    return out


def objections(tab: Tab, file: Path, width: int) -> list[str]:
    """What is wrong with a page in the browser."""
    tab.open(file, width=width)
    asked = [event["request"]["url"] for event in tab.of("Network.requestWillBeSent")]
    found = [f"asks for {url}" for url in asked if url != file.absolute().as_uri()]
    found += [f"says {message}" for message in tab.complaints()]
    wide = tab.value("document.documentElement.scrollWidth")
    return found + ([f"is {wide} wide"] if wide > width else [])


@pytest.mark.parametrize("width", [380, 1200])
def test_a_build_writes_a_page_that_a_browser_shows_in_peace(tab: Tab, bundle: Path, width: int) -> None:
    assert objections(tab, bundle / "report.html", width) == []
    report = json.loads((bundle / "report.json").read_text())
    seen = Seen(tab.value("document.documentElement.outerHTML"))
    assert not wrong(seen.figures, report)
    assert lacking(seen.figures, report) == set()
    assert sum(n for row in report["confusion"]["counts"] for n in row) == 360
    right = sum(row[i] for i, row in enumerate(report["confusion"]["counts"]))
    assert right / 360 == report["accuracy"][-1]["metrics"]["accuracy"]["value"]
    assert tab.value("document.querySelectorAll('svg rect').length") == len(report["network"])


def test_the_page_is_no_part_of_the_manifest(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest is not None
    assert "report.html" not in manifest
    assert audit(bundle) == ()
    assert manifest["mcu/run.sh"] in (bundle / "report.html").read_text()


@pytest.mark.parametrize("name", ["n" * 300, "a_b" * 90, EVIL])
def test_long_and_hostile_names_neither_run_nor_widen_the_page(tab: Tab, tmp_path: Path, name: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(hostile(name), name))
    assert objections(tab, file, 380) == []
    both = [Entry(name=name + letter, report=hostile(name)) for letter in "ab"]
    file.write_text(render_html(both).replace("<details", "<details open"))
    assert objections(tab, file, 380) == []


def test_dark_and_print_have_colours_of_their_own(tab: Tab, tmp_path: Path) -> None:
    file, colour = tmp_path / "report.html", "getComputedStyle(document.body).backgroundColor"
    file.write_text(page(small_report()))
    tab.open(file, width=1200)
    light = tab.value(colour)
    tab.open(file, width=1200, dark=True)
    assert (light, tab.value(colour)) == ("rgb(244, 245, 248)", "rgb(13, 16, 23)")
    printing(tab, file)
    assert tab.value(colour) == "rgb(255, 255, 255)"


def printing(tab: Tab, file: Path) -> None:
    """Load a page as wide as a sheet of A4 within its margins, with the styles of print."""
    tab.open(file, width=720)
    tab.call("Emulation.setEmulatedMedia", media="print")


def test_a_sheet_of_paper_holds_a_table_of_many_columns_and_what_is_folded(tab: Tab, tmp_path: Path) -> None:
    file, small = tmp_path / "report.html", small_report()
    figures = {f"initiation_interval_{i}": count(123456, "flip-flops") for i in range(9)}
    layers = tuple(replace(layer, name="head_head_1_act_quant_export_handler_Quant", figures=figures)
                   for layer in small.layers)  # fmt: skip
    file.write_text(page(replace(small, layers=layers)))
    shown_tie = "document.querySelector('details tbody tr').checkVisibility()"
    tab.open(file, width=720)
    assert not tab.value(shown_tie)
    printing(tab, file)
    assert tab.value("document.documentElement.scrollWidth") <= 720
    assert tab.value(shown_tie)


def test_the_browser_would_object(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text("<meta name=viewport content='width=device-width'><p style='width:500px'>wide</p>"
                    "<script>console.log('x')</script><img src='http://127.0.0.1:9/y'>")  # fmt: skip
    found = " ".join(objections(tab, file, 380))
    assert "asks for http://127.0.0.1:9/y" in found
    assert "says" in found
    assert "wide" in found
    file.write_text(page(small_report()).replace("</main>", "<script>console.log('x')</script></main>"))
    assert "violates the following Content Security Policy" in " ".join(objections(tab, file, 380))
