"""The Report: JSON there and back, text, side by side; and the rule that no figure stands bare."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecomp.errors import UsageError
from edgecomp.report import Figure, Source, measured, plain, read_report, render, side_by_side, table, to_json
from edgecomp.report.text import number
from tests.reports import small_report


def bare_numbers(node: object, path: str = "report") -> Iterator[str]:
    """Paths of numbers outside a figure."""
    if isinstance(node, dict):
        if "value" not in node:
            for key, child in node.items():
                yield from bare_numbers(child, f"{path}.{key}")
    elif isinstance(node, list):
        for i, child in enumerate(node):
            yield from bare_numbers(child, f"{path}[{i}]")
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield path


def test_json_reads_back_equal(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(to_json(small_report()))
    assert read_report(tmp_path) == small_report()


def test_only_places_of_near_ties_and_counts_under_a_shared_unit_are_bare_numbers() -> None:
    bare = set(bare_numbers(json.loads(to_json(small_report()))))
    allowed = r"report\.(near_ties\[\d+\]\.(sample|index\[\d\])|confusion\.counts(\[\d\]){2})"
    assert all(re.fullmatch(allowed, path) for path in bare)


def test_text_holds_every_section_and_figure() -> None:
    text = render(small_report())
    for title in ("latency", "resources", "cost per layer", "accuracy", "golden", "requantisation", "wall time",
                  "tools", "notes"):  # fmt: skip
        assert re.search(rf"^{title}\n=+$", text, re.MULTILINE), title
    assert re.search(r"^latency +9 +cycles +estimate +a model$", text, re.MULTILINE)
    assert re.search(r"^LUT +5,320 +53,200 +10\.00 +estimate$", text, re.MULTILINE)
    assert re.search(r"^integer +0\.875 +1$", text, re.MULTILINE)
    assert re.search(r"^ONNX Runtime +256 +1,280 +0$", text, re.MULTILINE)
    assert "float32 near-ties of the source: 12\n" in text
    assert "... 2 more in report.json" in text
    assert re.search(r"^fc1 +Dense +4 +1,000,000$", text, re.MULTILINE)
    assert re.search(r"^r1 +Requant +1 +-$", text, re.MULTILINE)
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_a_part_that_is_too_small_is_said_with_the_reason() -> None:
    text = render(small_report(fits=False))
    assert re.search(r"^fits +NO$", text, re.MULTILINE)
    assert "LUT: 60,000 of 53,200" in text


def test_side_by_side_has_a_column_for_each() -> None:
    text = side_by_side({"a": small_report(), "b": small_report(cycles=20, fits=False)})
    assert re.search(r"^ +a +b$", text, re.MULTILINE)
    assert re.search(r"^latency +9 cycles, 90 ns \(estimate\) +20 cycles, 200 ns \(estimate\)$", text, re.MULTILINE)
    assert re.search(r"^fits +yes +no$", text, re.MULTILINE)


def test_tables() -> None:
    assert table([["a", "n"], ["long", "1"], ["b", "-22"]]) == "a       n\n----  ---\nlong    1\nb     -22"
    assert table([]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (1234567, "1,234,567"), (0.123456789, "0.12346"), (1.5e7, "15,000,000"), ("x", "x")],
)
def test_numbers_for_reading(value: float | str, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "method", "text"),
    [
        (1, "", "m", "a figure needs a unit: .*"),
        (1, "u", "", "a figure needs a method: .*"),
        (float("nan"), "u", "m", "a figure must be finite: .*"),
    ],
)
def test_a_figure_without_unit_method_or_value_is_our_bug(value: float, unit: str, method: str, text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        measured(value, unit, method)
    assert re.fullmatch(text, str(caught.value))


def test_what_json_cannot_hold_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="a report holds set"):
        plain({1})


def test_a_folder_without_a_report_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_report(tmp_path)
    assert re.fullmatch(
        r"\S+: holds no report: No such file or directory\n  hint: name the folder.*", str(caught.value)
    )


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ((), [], "report is list, not dict"),
        (("model", "name"), 3, "report.model.name is int, not str"),
        (("model", "extra"), 3, "report.model.extra is unknown"),
        (("latency", "cycles", "source"), "guess", "report.latency.cycles.source: 'guess' is not a valid Source"),
        (("notes",), "text", "report.notes is str, not list"),
        (("accuracy", 0, "flips"), 3, "report.accuracy[0].flips is int, not dict"),
        (("latency", "cycles", "value"), None, "report.latency.cycles.value is NoneType, not int"),
        (
            ("latency", "cycles", "unit"),
            "",
            "report.latency.cycles: a figure needs a unit: Figure(value=9, unit='', "
            "source=<Source.ESTIMATE: 'estimate'>, method='a model')",
        ),
    ],
)
def test_a_report_of_another_form_is_a_usage_error(
    tmp_path: Path, path: tuple[str | int, ...], value: object, fault: str
) -> None:
    content = plain(small_report())
    place = content
    for key in path[:-1]:
        place = place[key]
    if path:
        place[path[-1]] = value
    else:
        content = value
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(UsageError) as caught:
        read_report(tmp_path)
    message = rf"\S+: is no report of this edgecomp: {re.escape(fault)}\n  hint: build it again"
    assert re.fullmatch(message, str(caught.value))


def test_a_missing_field_and_broken_json_are_usage_errors(tmp_path: Path) -> None:
    content = plain(small_report())
    del content["model"]
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(UsageError) as caught:
        read_report(tmp_path)
    assert re.fullmatch(r"\S+: is no report of this edgecomp: report.model is missing\n.+", str(caught.value))
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UsageError, match="is no report of this edgecomp"):
        read_report(tmp_path)


def test_a_report_without_a_field_that_has_a_default_still_reads(tmp_path: Path) -> None:
    content = plain(small_report())
    del content["notes"], content["verdict"]["reasons"]
    (tmp_path / "report.json").write_text(json.dumps(content))
    found = read_report(tmp_path)
    assert (found.notes, found.verdict.reasons) == ((), ())


def test_measured_says_so() -> None:
    assert measured(1, "s", "clock") == Figure(value=1, unit="s", source=Source.MEASURED, method="clock")
