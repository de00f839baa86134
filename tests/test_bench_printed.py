"""The benchmark of printed classifiers on a small made-up table: every kind of row, and going on after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import printed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "seeds"
    folder.mkdir(parents=True)
    rows = [(*rng.normal(3 * c, 1, 4).round(3), c) for c in (0, 1, 2) for _ in range(30)]
    (folder / "seeds_dataset.txt").write_text("\n".join("\t".join(map(str, row)) for row in rows) + "\n")
    return tmp_path / "data"


def test_every_row_is_made_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--data-root", str(root), "--out", str(tmp_path / "out"), "--sets", "seeds", "--seeds", "42",
                 "--generations", "10", "--epochs", "40"]  # fmt: skip
    text = printed.main(arguments)
    for label in ("majority class", "decision tree, depth", "exact |", "exact, sequential", "approximate, best - 0.04"):
        assert text.count(f"| {label}") == 1, text
    assert text == (tmp_path / "out" / "table.md").read_text()
    monkeypatch.setattr(printed, "KINDS", dict.fromkeys(printed.KINDS, lambda case: pytest.fail("made again")))
    assert printed.main(arguments) == text


def test_seeds_are_summed_up_by_their_median() -> None:
    rows = [{"set": "a", "seed": seed, "row": f"decision tree, depth {seed}", "test": 0.5 + seed / 10, "cm2": seed}
            for seed in (1, 2, 4)]  # fmt: skip
    assert printed.spreads([*rows, {"set": "a", "seed": 1, "row": "exact", "test": 1.0}]) == [
        {"set": "a", "seed": "3 seeds", "row": "decision tree", "test": "0.7 (0.6 to 0.9)", "cm2": "2 (1 to 4)"}
    ]


def test_published_figures_stand_beside() -> None:
    assert [row["row"] for row in printed.published("wine_quality_red")] == [
        "published: exact", "published: ICCAD'23", "published: DATE'24, own test rows",
    ]  # fmt: skip
    assert printed.published("seeds") == []
