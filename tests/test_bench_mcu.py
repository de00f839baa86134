"""The heartbeat example, and the microcontroller benchmark: its rival computes, its table says what falls short."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mcu import pair, ratios, table
from benchmarks.mcu_rival import fixed_inputs, fixed_point
from edgecomp.backends.mcu import load_machine
from edgecomp.cli import main
from edgecomp.simulate.mcu import measure
from examples.ecg.train import CLASSES, HERE, LENGTH, Recipe, load_beats, split

DATA = HERE.parents[2] / "shared" / "data" / "ecg5000_train" / "ECG5000_TRAIN.txt.gz"


def test_the_rival_computes_its_float_network() -> None:
    """Random perceptrons: the class of the largest logit, the first class among them."""
    rng = np.random.default_rng(0)
    weights, biases = [rng.normal(0, 1, (6, 5)), rng.normal(0, 1, (5, 3))], [rng.normal(0, 1, 5), rng.normal(0, 1, 3)]
    x = rng.integers(0, 256, (200, 6)) / 256
    hidden = np.maximum(x @ weights[0] + biases[0], 0)
    logits = np.sort(hidden @ weights[1] + biases[1], axis=1), (hidden @ weights[1] + biases[1]).argmax(axis=1)
    clear = logits[0][:, -1] - logits[0][:, -2] > 0.05
    assert len(set(logits[1][clear])) > 1
    host = replace(load_machine("host"), flags=("-std=c99", "-O2"))
    got = measure(fixed_point(weights, biases), host, {"x": fixed_inputs(x)}).outputs["y"].reshape(-1)
    assert np.array_equal(got[clear], logits[1][clear])


def row(seed: int, ours: dict[str, Any], theirs: dict[str, Any], accuracy: float) -> dict[str, Any]:
    return {"set": "iris", "seed": seed, "core": "avr", "float": 0.9, "edgecomp": ours, "emlearn": theirs,
            "accuracy": {"edgecomp": accuracy, "emlearn": 0.9}}  # fmt: skip


def test_the_table_names_medians_and_what_falls_short() -> None:
    theirs = {"flash": 100, "ram": 100, "effort": 100}
    found = [row(0, {"flash": 50, "ram": 10, "effort": 40}, theirs, 0.95),
             row(1, {"flash": 70, "ram": 20, "effort": 120}, theirs, 0.85),
             row(2, {"flash": 70, "ram": 20, "effort": 50}, {"refused": "3000 bytes of RAM of 2048"}, 0.9)]  # fmt: skip
    assert ratios(found[0]) == {"flash": 0.5, "ram": 0.1, "effort": 0.4}
    assert ratios(found[2]) == {}
    assert pair(found[2], "flash") == "70 / -"
    text = table(found)
    assert "flash: median 0.600, greatest 0.700 of 2 rows" in text
    assert "effort: median 0.800, greatest 1.200 of 2 rows" in text
    assert "less accurate than emlearn: iris 1\n" in text
    assert "does not fit: no ratio" in text
    assert "123 to 125 kB" in text


def test_beats_are_read_and_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = np.column_stack([np.repeat(np.arange(CLASSES) + 1, 10), rng.normal(size=(50, LENGTH))])
    np.savetxt(tmp_path / "beats.txt", rows)
    beats, test = split(load_beats(tmp_path / "beats.txt"), Recipe())
    assert beats.x.shape == (35, 1, LENGTH)
    assert np.bincount(test.y).tolist() == [3] * CLASSES


def test_the_heartbeat_example_is_exact_and_beats_the_majority(tmp_path: Path) -> None:
    """The data may not be committed: accuracy is the training's record, which README repeats; the build is real."""
    results = json.loads((HERE / "results.json").read_text())
    assert results["integer"] > results["majority"] + 0.3
    text = (HERE / "README.md").read_text()
    for key in ("float", "quantised", "integer", "majority", "integer_mean_recall"):
        assert f"{results[key]:.5f}" in text, key
    assert main(["build", str(HERE), "--target", "host", "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"]["exact"]


@pytest.mark.long
def test_the_recorded_accuracy_is_the_models() -> None:
    from examples.integer import integer_outputs

    _, test = split(load_beats(DATA), Recipe())
    got = integer_outputs(HERE / "model.onnx", test.x).argmax(axis=1)
    assert round(float((got == test.y).mean()), 5) == json.loads((HERE / "results.json").read_text())["integer"]
