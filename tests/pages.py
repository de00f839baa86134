"""What a test sees of an HTML page, by the standard library's parser alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any


class Seen(HTMLParser):
    """The elements, attributes, text and figures (data-key to value) of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.figures: dict[str, list[Any]] = {}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.elements[tag] += 1
        self.attributes |= named.keys()
        if "data-key" in named:
            self.figures.setdefault(str(named["data-key"]), []).append(json.loads(str(named["value"])))

    def handle_data(self, data: str) -> None:
        self.text += data


def at(report: Any, key: str) -> Any:
    """What report.json holds at a data-key."""
    for part in key.split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        report = report[int(name)] if isinstance(report, list) else report[name]
    return report


def wrong(figures: dict[str, list[Any]], report: Any) -> list[str]:
    """The keys whose figures on the page are not report.json's."""
    return [key for key, values in figures.items() for value in values
            if value != at(report, key) or type(value) is not type(at(report, key))]  # fmt: skip


def lacking(figures: Iterable[str], report: Any) -> set[str]:
    """The figures of report.json that the page does not show, but those that all layers or nodes lack (zeros)."""
    return {key for key, value in _figures(report, "") if value} - set(figures)


def _figures(node: Any, path: str) -> Iterable[tuple[str, Any]]:
    if isinstance(node, dict):
        if "value" in node and "unit" in node:
            yield f"{path}value", node["value"]
            return
        for key, child in node.items():
            yield from _figures(child, f"{path}{key.replace('~', '~0').replace('/', '~1')}/")
    elif isinstance(node, list):
        for i, child in enumerate(node):
            yield from _figures(child, f"{path}{i}/")
