"""Exploration of any network for FPGAs and microcontrollers: knobs, foretold costs against real ones, end to end."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecomp import interp
from edgecomp.approx import coarser, executor, explore
from edgecomp.approx.coarse import Change, coarsen
from edgecomp.approx.foretell import luts_and_cycles, work
from edgecomp.approx.front import Point, checks_of
from edgecomp.approx.ground import Selection, classes_of, of_regression
from edgecomp.approx.knobs import Kind, KnobVariation, changes_of, counts, knobs_of
from edgecomp.approx.search import front_of
from edgecomp.cli import main
from edgecomp.errors import InexpressibleError
from edgecomp.export import from_onnx, to_onnx
from edgecomp.ir import Dense, Input, Ints, Network, Output, Requant, Rounding
from edgecomp.pipeline import read_model

EXAMPLE = Path(__file__).parent.parent / "examples" / "printed"


def perceptron(seed: int = 1) -> Network:
    rng = np.random.default_rng(seed)
    act = Requant(name="r", x="d0", multiplier=Ints([1]), addend=Ints([16]), shift=5, lo=Ints([0]), hi=Ints([15]),
                  rounding=Rounding.HALF_EVEN)  # fmt: skip
    weights = rng.integers(-60, 61, (8, 6)), rng.integers(-60, 61, (3, 8))
    return Network(nodes=(Input(name="x", shape=(6,), lo=0, hi=15),
                          Dense(name="d0", x="x", weight=Ints(weights[0]), bias=Ints(rng.integers(-99, 99, 8))), act,
                          Dense(name="d1", x="r", weight=Ints(weights[1]), bias=Ints([0])),
                          Output(name="y", x="d1")))  # fmt: skip


def selection(network: Network, count: int = 200) -> Selection:
    x = np.random.default_rng(1).integers(0, 16, (count, 6))
    return Selection(inputs={"x": x}, y=classes_of(network, {"x": x}))


def test_knobs_say_what_changes() -> None:
    knobs = knobs_of(perceptron(), frozenset(Kind))
    assert [k.kind for k in knobs if k.node == "d1"] == [Kind.WEIGHT_BITS, Kind.PRUNED, Kind.DIGITS]
    assert sum(k.kind is Kind.CHANNEL for k in knobs) == 8
    genes = np.zeros(len(knobs), dtype=np.int32)
    assert changes_of(knobs, genes) == {}
    at = {(k.node, k.kind, k.place): i for i, k in enumerate(knobs)}
    genes[at["d0", Kind.WEIGHT_BITS, 0]] = 2
    genes[at["d0", Kind.CHANNEL, 5]] = 1
    genes[at["d0", Kind.DIGITS, 0]] = 1
    genes[at["r", Kind.CODE_BITS, 0]] = 1
    genes[at["r", Kind.FLOORED, 0]] = 1
    most = next(k.digits for k in knobs if k.node == "d0" and k.kind is Kind.DIGITS)
    assert changes_of(knobs, genes) == {"d0": Change(dropped=2, digits=most - 1, idle=(5,)),
                                        "r": Change(dropped=1, floored=True)}  # fmt: skip
    said = counts(knobs, genes)
    assert (said["weight bits dropped"], said["channels left out"], said["code bits dropped"]) == (2, 1, 1)
    assert (said["weights of few digits"], said["roundings simplified"]) == (1, 1)


def test_mutations_stay_inside_and_reach_every_knob() -> None:
    knobs = knobs_of(perceptron(), frozenset(Kind))
    variation, rng = KnobVariation(knobs=knobs), np.random.default_rng(0)
    genes = np.zeros((200, len(knobs)), dtype=np.int32)
    for _ in range(5):
        genes = variation.mutate(genes, rng)
    assert (genes >= 0).all()
    assert (genes <= [knob.most for knob in knobs]).all()
    assert (genes.max(axis=0) > 0).all()
    assert len(variation.blocks()) == len(knobs)


def test_all_zero_is_the_exact_network_and_workers_score_alike() -> None:
    network = perceptron()
    rows = selection(network)
    ground = coarser.CoarseGround(maker=coarser.maker_of(network, coarser.OF_MCU, rows), cost=lambda n: (work(n),) * 2,
                                  foretell=coarser.OfCore(beside=100.0, each=2.0), costs=("a", "b"))  # fmt: skip
    assert ground.network(ground.exact_genes[0]) == network
    task = ground.task(rows)
    assert task.scores(ground.exact_genes)[0, 0] == 0
    genes = KnobVariation(knobs=ground.maker.knobs).mutate(np.repeat(ground.exact_genes, 7, axis=0),
                                                          np.random.default_rng(2))  # fmt: skip
    with executor.local(task, 2) as pool:
        np.testing.assert_array_equal(pool.scores(genes), task.scores(genes))
    for row, score in zip(genes, task.scores(genes), strict=True):
        assert (classes_of(ground.network(row), rows.inputs) != rows.y).mean() == score[0]


def test_what_is_coarser_is_foretold_to_be_cheaper() -> None:
    network = perceptron()
    maker = coarser.maker_of(network, frozenset(Kind), selection(network))
    luts, cycles = luts_and_cycles(network, 3.0)
    for kind in Kind:
        genes = np.array([min(k.most, 3) * (k.kind is kind) for k in maker.knobs], dtype=np.int32)
        if kind is Kind.CHANNEL:
            genes[np.flatnonzero(genes)[:4]] = 0
        less = maker.network(genes)
        assert luts_and_cycles(less, 3.0)[0] < luts, kind
        assert luts_and_cycles(less, 3.0)[1] <= cycles, kind
        if kind in (Kind.CHANNEL, Kind.FLOORED):
            assert work(less) < work(network), kind


def test_biases_make_up_for_the_mean() -> None:
    """Without them the mean of every accumulator would move by what the weights lost."""
    network = perceptron()
    rows = selection(network, 1000)
    maker = coarser.maker_of(network, frozenset(Kind), rows)
    genes = np.array([3 * (k.node == "d0" and k.kind is Kind.PRUNED) for k in maker.knobs], dtype=np.int32)
    coarse = coarsen(network, changes_of(maker.knobs, genes), maker.means)
    kept = interp.run(coarse, rows.inputs)["d0"].mean(axis=0)
    np.testing.assert_allclose(kept, interp.run(network, rows.inputs)["d0"].mean(axis=0), atol=1)


def test_a_front_of_three_objectives() -> None:
    scores = np.array([[0.1, 9.0, 2.0], [0.1, 9.0, 2.0], [0.1, 9.0, 3.0], [0.2, 9.0, 1.0], [0.2, 10.0, 1.0]])
    assert front_of(np.arange(5, dtype=np.int32)[:, None], scores).genes[:, 0].tolist() == [0, 3]


def test_the_error_of_what_was_foretold() -> None:
    genes = np.zeros(1, dtype=np.int32)
    points = [Point(accuracy=1.0, foretold=(float(f),), measured=(float(m),), genes=genes)
              for f, m in ((10, 20), (20, 40), (30, 66), (40, math.inf))]  # fmt: skip
    (check,) = checks_of(points, ["LUT"])
    assert (check.count, check.rank, check.ratio) == (3, 1.0, 2.0)
    assert check.error == 0.0


def test_networks_without_layers_are_refused() -> None:
    network = Network(nodes=(Input(name="x", shape=(3,), lo=0, hi=3), Output(name="y", x="x")))
    rows = Selection(inputs={"x": np.zeros((2, 3), dtype=np.int64)}, y=np.zeros(2, dtype=np.int64))
    with pytest.raises(InexpressibleError, match="no layer has bits or channels to spare"):
        coarser.maker_of(network, frozenset(Kind), rows)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "front.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_microcontroller_is_explored_and_any_point_builds(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["explore", str(EXAMPLE), "--target", "cortex_m0", "--out", str(out), "--generations", "12",
               "--population", "16", "--budget-accuracy", "0.02"]  # fmt: skip
    assert main(command) == 0
    summary, front = json.loads((out / "explore.json").read_text()), rows_of(out)
    assert summary["costs"] == ["flash bytes", "instructions"]
    (chosen,) = summary["chosen"]
    assert chosen["loss"] <= 0.02 + 1e-9
    assert chosen["measured"][0] < summary["exact"]["measured"][0]
    flash = summary["checks"][0]
    assert flash["rank_correlation"] > 0.8
    assert flash["median_error"] < 0.3
    report = json.loads((out / "budget-0.02" / "report.json").read_text())
    assert report["verdict"]["exact"]
    assert {row["name"]: row["used"]["value"] for row in report["resources"]}["flash"] == chosen["measured"][0]
    assert "this network approximates another" in report["notes"][0]
    point = next(row for row in front if row["measured_flash_bytes"] and not row["budget"])
    model = out / "points" / f"{point['point']}.onnx"
    assert main(["build", str(model), "--target", "cortex_m0", "--out", str(tmp_path / "one")]) == 0
    built = json.loads((tmp_path / "one" / "report.json").read_text())
    assert built["resources"][0]["used"]["value"] == float(point["measured_flash_bytes"])
    copy = shutil.copytree(out, tmp_path / "copy")
    assert main([*command[:5], str(copy), *command[6:]]) == 0
    for name in ("front.csv", "explore.json", "budget-0.02/manifest.json"):
        assert (copy / name).read_bytes() == (out / name).read_bytes(), name


def test_an_fpga_is_explored_with_yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "SPREAD", {"fpga": 2})
    monkeypatch.setattr(explore, "TRIED", 1)
    out = tmp_path / "out"
    assert main(["explore", str(EXAMPLE), "--target", "fpga", "--out", str(out), "--generations", "6", "--population",
                 "12", "--budget-accuracy", "0.02"]) == 0  # fmt: skip
    summary = json.loads((out / "explore.json").read_text())
    assert summary["costs"] == ["LUT", "cycles"]
    (chosen,) = summary["chosen"]
    assert chosen["measured"][0] < summary["exact"]["measured"][0]
    report = json.loads((out / "budget-0.02" / "report.json").read_text())
    lut = next(row for row in report["resources"] if row["name"] == "LUT")
    assert lut["used"]["source"] == "tool"
    assert lut["used"]["value"] <= 1.1 * chosen["measured"][0]
    network = read_model(EXAMPLE / "model.onnx").network
    assert len(rows_of(out)) == len(list((out / "points").iterdir()))
    assert any(isinstance(node, Dense) for node in network.nodes)


def regression(folder: Path) -> Network:
    """model.onnx, edgecomp.toml with an outlier, and rows.npz whose targets are off by noise and, for three, lost."""
    *nodes, last, _ = perceptron().nodes
    assert isinstance(last, Dense)
    line = replace(last, weight=Ints(last.weight.array[:1]))
    network = Network(nodes=(*nodes, line, Output(name="y", x="d1", scale=(Fraction(1, 8),))))
    (folder / "model.onnx").write_bytes(to_onnx(network).SerializeToString())
    (folder / "edgecomp.toml").write_text(
        '[project]\nname = "line"\nmodel = "model.onnx"\ntask = "regression"\n[options]\noutlier = 20\n'
    )
    x = np.random.default_rng(1).integers(0, 16, (300, 6))
    y = interp.outputs(network, {"x": x})["y"] / 8 + np.random.default_rng(2).normal(0, 2, (300, 1))
    y[:3] += 1e6
    np.savez(folder / "rows.npz", x=x.astype(np.float32), y=y.astype(np.float32))
    return network


def test_a_regression_is_explored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "SPREAD", {"mcu": 4})
    network, out = regression(tmp_path), tmp_path / "out"
    command = ["explore", str(tmp_path), "--target", "cortex_m0", "--data", str(tmp_path / "rows.npz"), "--out",
               str(out), "--generations", "6", "--population", "12", "--budget-accuracy", "0.1"]  # fmt: skip
    assert main(command) == 0
    summary = json.loads((out / "explore.json").read_text())
    (chosen,) = summary["chosen"]
    assert chosen["measured"][0] < summary["exact"]["measured"][0]
    assert chosen["approximations"]["values_changed"] > 0.5
    with np.load(tmp_path / "rows.npz") as rows:
        codes, y = rows["x"].astype(np.int64), rows["y"].astype(np.float64)
    made = from_onnx(onnx.load(out / "budget-0.1.onnx"))
    assert made is not None
    for one, told in ((network, summary["exact"]), (made, chosen)):
        off = np.minimum(np.abs(interp.outputs(one, {"x": codes})["y"] / 8 - y), 20)
        spread = np.minimum(np.abs(y - np.median(y)), 20)
        assert told["accuracy"] == pytest.approx(1 - math.sqrt((off**2).mean() / (spread**2).mean()))
    assert summary["exact"]["accuracy"] > chosen["accuracy"] > 0.7  # three lost targets do not hide what is lost
    report = json.loads((out / "budget-0.1" / "report.json").read_text())
    assert report["verdict"]["exact"]


def test_a_regression_is_not_judged_by_what_is_lost() -> None:
    """Targets that are lost would make everything look small beside their spread; two outputs count alike."""
    network, rng = perceptron(), np.random.default_rng(3)
    x = rng.integers(0, 16, (200, 6))
    y = interp.outputs(network, {"x": x})["y"] + rng.normal(0, 1, (200, 3))
    y[:4] += 1e9
    seen = of_regression({"x": x}, y, 50.0)
    dead = Dense(name="d1", x="r", weight=Ints(np.zeros((3, 8), int)), bias=Ints([0]))
    ruined = Network(nodes=(*network.nodes[:3], dead, network.nodes[4]))
    assert seen.error(network) < 0.3
    assert seen.error(ruined) > 0.9
    assert seen.rows(np.arange(9)).spread is seen.spread
    assert seen.changed(network, network) == 0
    assert seen.changed(network, ruined) > 0.9


def test_candidates_that_need_wide_integers_are_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    network = perceptron()
    seen = of_regression({"x": np.arange(60).reshape(10, 6) % 16}, np.arange(30.0).reshape(10, 3) * 1e-6, math.inf)
    ground = coarser.CoarseGround(maker=coarser.maker_of(network, coarser.OF_MCU, seen), cost=lambda n: (work(n),) * 2,
                                  foretell=lambda n: (1.0, 2.0), costs=("a", "b"))  # fmt: skip
    task = ground.task(seen)
    exact = task.scores(ground.exact_genes)
    assert exact[0, 0] > 1

    def refused(*_: object) -> Network:
        raise InexpressibleError("too wide", where="explore")

    monkeypatch.setattr(coarser, "coarsen", refused)
    worst = task.scores(np.ones_like(ground.exact_genes))
    assert len(front_of(np.zeros((2, 1), np.int32), np.concatenate([exact, worst])).scores) == 1


def test_networks_with_several_outputs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = perceptron()
    two = Network(nodes=(*network.nodes, Output(name="z", x="r")))
    (tmp_path / "two.onnx").write_bytes(to_onnx(two).SerializeToString())
    assert main(["explore", str(tmp_path / "two.onnx"), "--target", "cortex_m0", "--out", str(tmp_path / "out")]) == 3
    assert "the model has 2 outputs; one is explored" in capsys.readouterr().err


def test_regressions_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    regression(tmp_path)
    np.savez(tmp_path / "flat.npz", x=np.zeros((9, 6), np.float32), y=np.ones((9, 1), np.float32))
    command = ["explore", str(tmp_path), "--out", str(tmp_path / "out"), "--data"]
    assert main([*command, str(tmp_path / "rows.npz"), "--target", "printed"]) == 3
    assert "printed circuits are explored of classifiers" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "flat.npz"), "--target", "cortex_m0"]) == 2
    assert "flat.npz: all targets of an output are one number" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
