"""Approximate classifiers: genes, kernel, network, ONNX and gates agree; the search resumes; explore end to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecomp import golden, interp
from edgecomp.approx import executor, explore, printed
from edgecomp.approx.declare import declare
from edgecomp.approx.front import Point, spearman
from edgecomp.approx.genes import Exact, Genes, read_classifier, to_network, tournament
from edgecomp.approx.ground import Selection
from edgecomp.approx.masks import PRICES, trained_masks
from edgecomp.approx.mutations import GeneVariation
from edgecomp.approx.noise import jittered
from edgecomp.approx.search import Front, Plan, front_of, search, survivors
from edgecomp.backends.printed import load_library
from edgecomp.backends.printed.design import make_design, simulate_design
from edgecomp.backends.printed.forms import Form
from edgecomp.backends.printed.lower import to_circuit
from edgecomp.backends.printed.options import Effort, PrintedOptions, Timing
from edgecomp.cli import main
from edgecomp.errors import DataError, InexpressibleError, MismatchError, ToolError
from edgecomp.export import to_onnx
from edgecomp.ir import ArgMax, Dense, Input, Ints, Network, Output, Requant, Rounding
from tests.test_printed_gates import execute

Codes = NDArray[np.int64]
BALANCED = 14  # a seed whose network gives no class to most rows
EXAMPLE = Path(__file__).parent.parent / "examples" / "printed"


def perceptron(seed: int, hidden: tuple[int, ...] = (3,), classes: int = 3, weights: int = 5) -> Network:
    """A random network; multipliers and addends of its activations are folded into its genes."""
    rng = np.random.default_rng(seed)
    nodes: list[object] = [Input(name="x", shape=(4,), lo=0, hi=7)]
    x, width = "x", 4
    for number, size in enumerate(hidden):
        weight = Ints(rng.integers(-weights, weights + 1, (size, width)))
        nodes.append(Dense(name=f"d{number}", x=x, weight=weight, bias=Ints(rng.integers(-9, 9, size))))
        nodes.append(Requant(name=f"r{number}", x=f"d{number}", multiplier=Ints([int(rng.integers(1, 4))]),
                             addend=Ints(rng.integers(-3, 4, size)), shift=int(rng.integers(0, 4)), lo=Ints([0]),
                             hi=Ints([15])))  # fmt: skip
        x, width = f"r{number}", size
    weight = Ints(rng.integers(-weights, weights + 1, (classes, width)))
    nodes += [Dense(name="last", x=x, weight=weight, bias=Ints(rng.integers(-9, 9, classes))),
              ArgMax(name="a", x="last"), Output(name="y", x="a")]  # fmt: skip
    return Network(nodes=tuple(nodes))  # type: ignore[arg-type]


def rows(seed: int, count: int = 300) -> Codes:
    return np.random.default_rng(seed).integers(0, 8, (count, 4))


def scrambled(exact: Exact, seed: int, changes: int = 30) -> Genes:
    variation, rng = GeneVariation(space=exact.space), np.random.default_rng(seed)
    genes = exact.starts[seed % len(exact.starts)][None]
    for _ in range(changes):
        genes = variation.mutate(genes, rng)
    found: Genes = genes[0]
    return found


def classes_of(network: Network, x: Codes) -> Codes:
    return interp.outputs(network, {"x": x})["y"].reshape(-1)


@given(st.integers(0, 10**6), st.sampled_from([(3,), (4, 3), (2, 2, 2)]), st.integers(2, 5))
@settings(max_examples=25, derandomize=True, deadline=None)
def test_exact_genes_are_the_network(seed: int, hidden: tuple[int, ...], classes: int) -> None:
    network, x = perceptron(seed, hidden, classes), rows(seed)
    exact = read_classifier(network)
    expected = classes_of(network, x)
    task = printed.task_of(exact.space, x, expected)
    assert (task.scores(exact.starts)[:, 0] == 0).all()
    for genes in exact.starts:
        np.testing.assert_array_equal(classes_of(to_network(exact, genes), x), expected)


@given(st.integers(0, 10**6), st.sampled_from([(3,), (3, 2)]), st.integers(2, 6))
@settings(max_examples=25, derandomize=True, deadline=None)
def test_approximate_genes_agree_everywhere(seed: int, hidden: tuple[int, ...], classes: int) -> None:
    """Kernel, interpreter, ONNX Runtime and gates on the approximated network, after many changes of every kind."""
    exact, x = read_classifier(perceptron(seed, hidden, classes)), rows(seed + 1)
    genes = scrambled(exact, seed)
    network = to_network(exact, genes)
    assert network.problems() == ()
    expected = classes_of(network, x)
    assert printed.task_of(exact.space, x, expected).scores(genes[None])[0, 0] == 0
    assert printed.task_of(exact.space, x, (expected + 1) % classes).scores(genes[None])[0, 0] == 1
    np.testing.assert_array_equal(golden.run_onnxruntime(to_onnx(network), {"x": x})["y"].reshape(-1), expected)
    np.testing.assert_array_equal(execute(to_circuit(network, Form()), {"x": x})["y"].reshape(-1), expected)


def test_whole_comparisons_are_an_exact_choice_that_one_neuron_can_make() -> None:
    exact, x = read_classifier(perceptron(4, (3,), 3)), rows(4)
    genes = exact.starts[0].copy()
    exact.space.parts()[0]["mask"].of(genes)[...] &= 6
    network = to_network(exact, genes)
    best = next(node for node in network.nodes if isinstance(node, ArgMax))
    assert not best.tree.array.size
    options = PrintedOptions(effort=Effort.QUICK, form=Timing.SEQUENTIAL)
    target = load_library()
    design = make_design(network, target, options)
    assert design.machine is not None
    assert design.machine.cycles == 6
    simulate_design(design, target, {"x": x}, interp.outputs(network, {"x": x}))


def test_mutations_reach_every_kind_of_gene() -> None:
    exact = read_classifier(perceptron(1))
    genes = np.stack([scrambled(exact, seed, 60) for seed in range(12)])
    for parts in exact.space.parts():
        for name, part in parts.items():
            if not (parts is exact.space.parts()[-1] and name == "top"):
                changed = (part.of(genes) != part.of(exact.starts[0])).any()
                assert changed or name == "top"
    assert (exact.space.compared.of(genes) != -1).any()


def test_what_is_left_out_makes_the_foretold_area_smaller() -> None:
    exact, x = read_classifier(perceptron(3)), rows(0)
    task = printed.task_of(exact.space, x, np.zeros(300, dtype=np.int64))
    whole = exact.starts[0]
    price = task.scores(whole[None])[0, 1]
    parts = exact.space.parts()
    for name, value in (("mask", 6), ("used", 6), ("digit", 0)):
        less = whole.copy()
        parts[0][name].of(less)[...] = value if name == "digit" else parts[0][name].of(less) & value
        assert task.scores(less[None])[0, 1] < price
    nothing = whole.copy()
    exact.space.compared.of(nothing)[...] = 0
    assert task.scores(nothing[None])[0, 1] == 0
    assert classes_of(to_network(exact, nothing), x).max() == 0


def test_comparisons_come_in_a_tournament() -> None:
    assert tournament(5) == [(0, 1), (2, 3), (0, 2), (0, 4)]


REFUSED = {
    "no perceptron": (lambda n: n[:1] + n[-2:], "the class does not come straight from a Dense layer"),
    "signed inputs": (lambda n: (Input(name="x", shape=(4,), lo=-8, hi=7), *n[1:]), "are not all of an unsigned width"),
    "another rounding": (lambda n: (*n[:2], Requant(name="r0", x="d0", multiplier=Ints([1]), addend=Ints([0]), shift=1,
                                    lo=Ints([0]), hi=Ints([15]), rounding=Rounding.HALF_EVEN), *n[3:]),
                         "no floored ReLU"),
    "odd bounds": (lambda n: (*n[:2], Requant(name="r0", x="d0", multiplier=Ints([9]), addend=Ints([200]), shift=0,
                              lo=Ints([0]), hi=Ints([12])), *n[3:]), "not all of one unsigned width"),
    "wide sums": (lambda n: (n[0], Dense(name="d0", x="x", weight=Ints(np.full((3, 4), 1 << 22)), bias=Ints([0])),
                             *n[2:]), "layer 1 may need more than 30 bits"),
    "logits": (lambda n: (*n[:-2], Output(name="y", x="last")), "does not end in an exact choice of the class"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_perceptron_is_refused(name: str) -> None:
    change, what = REFUSED[name]
    nodes = change(perceptron(1).nodes)  # type: ignore[no-untyped-call]
    if name == "no perceptron":
        nodes = (nodes[0], ArgMax(name="a", x="x"), nodes[2])
    with pytest.raises(InexpressibleError, match=what):
        read_classifier(Network(nodes=nodes))


def test_a_wrong_count_is_found() -> None:
    exact, task = problem()
    network = to_network(exact, exact.starts[0])
    x, y = task.x.T.astype(np.int64), task.y.astype(np.int64)
    point = Point(accuracy=1.0, foretold=(1.0,), genes=exact.starts[0])
    explore._verify(point, network, Selection(inputs={"x": x}, y=y))
    with pytest.raises(MismatchError, match="the search counted an accuracy of 1"):
        explore._verify(point, network, Selection(inputs={"x": x}, y=(y + 1) % 3))


def test_survivors_and_front() -> None:
    scores = np.array([[0.1, 9.0], [0.1, 8.0], [0.2, 5.0], [0.3, 6.0], [0.9, 1.0]])
    assert sorted(survivors(scores, 0.5, 2).tolist()) == [1, 2]
    assert sorted(survivors(scores, 0.5, 5).tolist()) == [0, 1, 2, 3, 4]
    front = front_of(np.arange(5, dtype=np.int32)[:, None], scores)
    assert front.genes[:, 0].tolist() == [1, 2, 4]


def problem() -> tuple[Exact, printed.KernelTask]:
    exact, x = read_classifier(perceptron(BALANCED)), rows(7)
    return exact, printed.task_of(exact.space, x, classes_of(perceptron(BALANCED), x))


class StopError(Exception):
    pass


def test_a_stopped_search_goes_on_to_the_same_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecomp.approx.search.CHECKPOINT_GENERATIONS", 5)
    exact, task = problem()
    plan = Plan(generations=23, population=24, slack=0.3)

    def stop(generation: int, front: Front) -> None:
        if generation == 13:
            raise StopError

    seen: list[int] = []
    whole = search(GeneVariation(space=exact.space), exact.starts, task, plan)
    with pytest.raises(StopError):
        search(GeneVariation(space=exact.space), exact.starts, task, plan, checkpoint=tmp_path / "c.npz", progress=stop)
    again = search(GeneVariation(space=exact.space), exact.starts, task, plan, checkpoint=tmp_path / "c.npz",
                   progress=lambda generation, _: seen.append(generation))  # fmt: skip
    assert seen[0] == 11
    np.testing.assert_array_equal(again.genes, whole.genes)
    assert whole.scores[:, 1].min() < task.scores(exact.starts)[:, 1].min()
    other = search(GeneVariation(space=exact.space), exact.starts, task, Plan(generations=3, population=24, seed=1),
                   checkpoint=tmp_path / "c.npz", progress=lambda generation, _: seen.append(generation))  # fmt: skip
    assert seen[-3:] == [1, 2, 3]  # the checkpoint is another search's
    assert len(other.scores)
    whole_file = (tmp_path / "c.npz").read_bytes()
    for damaged in (b"no archive", whole_file[: len(whole_file) // 2], whole_file[:60] + b"12345" + whole_file[65:]):
        (tmp_path / "c.npz").write_bytes(damaged)
        with pytest.raises(DataError, match="checkpoint cannot be read"):
            search(GeneVariation(space=exact.space), exact.starts, task, plan, checkpoint=tmp_path / "c.npz")


def test_local_processes_score_alike() -> None:
    exact, task = problem()
    genes = np.stack([scrambled(exact, seed) for seed in range(7)])
    with executor.local(task, 2) as pool:
        np.testing.assert_array_equal(pool.scores(genes), task.scores(genes))


def test_a_cluster_that_loses_a_worker_scores_alike() -> None:
    from distributed import LocalCluster

    exact, task = problem()
    genes = np.stack([scrambled(exact, seed) for seed in range(9)])
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)  # type: ignore[no-untyped-call]
    with cluster, executor.dask(task, cluster.scheduler_address) as pool:
        np.testing.assert_array_equal(pool.scores(genes), task.scores(genes))
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        for _ in range(3):
            np.testing.assert_array_equal(pool.scores(genes), task.scores(genes))


def test_a_cluster_that_is_not_there() -> None:
    _, task = problem()
    with pytest.raises(ToolError, match="no Dask scheduler answers"), executor.dask(task, "nowhere:1"):
        pass


def test_masks_trained_by_gradients_leave_bits_out() -> None:
    network, x = perceptron(BALANCED), rows(7)
    exact = read_classifier(network)
    y = classes_of(network, x)
    masks = trained_masks(exact, x, y, seed=0)
    assert masks.shape == (len(PRICES), exact.space.size)
    scores = printed.task_of(exact.space, x, y).scores(masks)
    assert scores[-1, 1] < scores[0, 1] < printed.task_of(exact.space, x, y).scores(exact.starts)[:, 1].max()
    np.testing.assert_array_equal(masks, trained_masks(exact, x, y, seed=0))
    counts = declare(exact.space, exact.starts, masks[-1])
    assert counts["summand_bits_dropped"] != 0
    assert counts["coefficients_changed"] == 0


def test_declared_changes_are_counted() -> None:
    exact = read_classifier(perceptron(3))
    assert set(declare(exact.space, exact.starts, exact.starts[0]).values()) - {0} == {
        declare(exact.space, exact.starts, exact.starts[0])["summands"]
    }
    genes = exact.starts[0].copy()
    exact.space.parts()[0]["const"].of(genes)[1] += 1
    exact.space.parts()[0]["used"].of(genes)[0] = 6
    exact.space.compared.of(genes)[:] = [-2, 0]
    counts = declare(exact.space, exact.starts, genes)
    assert (counts["constants_changed"], counts["input_bits_dropped"]) == (1, 1)
    assert (counts["comparisons_coarser"], counts["comparisons_removed"]) == (1, 1)


def test_noisy_copies_stand_behind_the_rows() -> None:
    codes, y = np.arange(1500, dtype=np.int64).reshape(300, 5) % 16, np.arange(300, dtype=np.int64) % 3
    more, classes = jittered(codes, y, 4, seed=1)
    assert len(more) == len(classes) == 4200
    np.testing.assert_array_equal(more[:300], codes)
    np.testing.assert_array_equal(classes, np.tile(y, 14))
    moved = more[300:] - np.tile(codes, (13, 1))
    assert (more.min(), more.max(), moved.min(), moved.max()) == (0, 15, -1, 1)
    assert 0.2 < (moved != 0).mean() < 0.3
    assert len(jittered(codes % 4, y, 2, seed=1)[0]) == 300


def test_ranks() -> None:
    assert spearman(np.array([1.0, 2, 3]), np.array([5.0, 6, 9])) == pytest.approx(1)
    assert spearman(np.array([1.0, 2, 3]), np.array([9.0, 6, 5])) == pytest.approx(-1)
    assert spearman(np.array([1.0, 1, 3]), np.array([2.0, 2, 2])) == 1.0


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explored") / "out"
    command = ["explore", str(EXAMPLE), "--out", str(out), "--generations", "40", "--population", "40"]
    assert main([*command, "--budget-accuracy", "0.02"]) == 0
    return out


def test_explore_writes_the_front_and_bundles(explored: Path) -> None:
    summary = json.loads((explored / "explore.json").read_text())
    table = (explored / "front.csv").read_text().splitlines()
    assert table[0] == "point,accuracy,foretold_cm2,foretold_mW,measured_cm2,measured_mW,budget"
    assert len(table) == len(summary["front"]) + 1
    assert (explored / "front.png").read_bytes()[:4] == b"\x89PNG"
    (chosen,) = summary["chosen"]
    assert 0 <= chosen["loss"] <= 0.02 + 1e-9 or chosen["loss"] < 0
    assert chosen["approximations"]["classes_changed"] >= chosen["loss"] - 1e-9
    assert chosen["approximations"]["summand_bits_dropped"] > 0
    assert chosen["measured"][0] < summary["exact"]["measured"][0]
    assert [check["cost"] for check in summary["checks"]] == ["cm2", "mW"]
    assert all(check["rank_correlation"] > 0.8 and check["median_error"] < 0.5 for check in summary["checks"])
    assert 1 < chosen["measured"][1] / chosen["measured"][0] < 6  # mW a cm2 at 1 V
    points = sorted(path.name for path in (explored / "points").iterdir())
    assert points == sorted(f"{number}.onnx" for number in range(len(summary["front"])))
    report = json.loads((explored / "budget-0.02" / "report.json").read_text())
    assert {row["differences"]["value"] for row in report["golden"]} == {0}
    stages = {row["stage"]: row for row in report["accuracy"]}
    assert list(stages) == ["integer", "approximated"]
    assert stages["integer"]["metrics"]["accuracy"]["value"] == pytest.approx(0.94152, abs=1e-4)
    assert stages["approximated"]["flips"]["value"] > 0
    counts = np.array(report["confusion"]["counts"])
    assert report["confusion"]["stage"] == "approximated"
    assert counts.trace() / counts.sum() == stages["approximated"]["metrics"]["accuracy"]["value"]
    assert "the same circuit with its logits brought out" in {row["name"] for row in report["stages"]}
    assert "this network approximates another" in report["notes"][0]
    assert f"{chosen['accuracy']:.4f}; {summary['exact']['accuracy']:.4f} is the exact" in report["notes"][1]
    assert report["totals"]["area"]["value"] <= chosen["measured"][0] + 1e-9
    assert main(["verify", str(explored / "budget-0.02")]) == 0


def test_an_explored_folder_is_explored_again(explored: Path, tmp_path: Path) -> None:
    """The finished search is read from its checkpoint; the same bytes come out."""
    copy = shutil.copytree(explored, tmp_path / "copy")
    command = ["explore", str(EXAMPLE), "--out", str(copy), "--generations", "40", "--population", "40"]
    assert main([*command, "--budget-accuracy", "0.02"]) == 0
    for name in ("front.csv", "front.png", "explore.json", "budget-0.02/manifest.json"):
        assert (copy / name).read_bytes() == (explored / name).read_bytes(), name


def test_an_interrupted_exploration_goes_on(tmp_path: Path) -> None:
    """SIGINT to the whole process group, as a terminal sends it, in the midst of the search."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from edgecomp.cli import entry; entry()", "explore", str(EXAMPLE), "--out",
               str(out), "--generations", "100000", "--population", "20"]  # fmt: skip
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    for _ in range(600):
        if (out / "checkpoint.npz").exists():
            break
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert "Traceback" not in said
    with np.load(out / "checkpoint.npz", allow_pickle=False) as file:
        at = int(json.loads(str(file["head"]))["generation"])
    again = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert again.stderr is not None
    first = next(line for line in again.stderr if " generations: " in line)
    os.killpg(again.pid, signal.SIGINT)
    again.communicate(timeout=60)
    assert int(first.partition("] ")[2].split()[0]) > at


def test_what_explore_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(shutil.copy(EXAMPLE / "model.onnx", tmp_path / "model.onnx"))
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    unlabelled = tmp_path / "x.npz"
    np.savez(unlabelled, x=np.zeros((3, 10), dtype=np.float32))
    cases = [
        ([str(EXAMPLE), "--out", str(full)], "holds something else", 2),
        ([str(EXAMPLE), "--budget-accuracy", "two"], "budgets cannot be two", 2),
        ([str(EXAMPLE), "--budget-accuracy", "1.5"], "budgets are shares", 2),
        ([str(EXAMPLE), "--target", "host"], "neither flash nor instructions", 2),
        ([str(EXAMPLE), "--target", "prnited"], "printed", 2),
        ([model, "--out", str(tmp_path / "a")], "needs labelled selection data", 2),
        ([model, "--out", str(tmp_path / "b"), "--data", str(unlabelled)], "holds no y", 2),
        ([str(EXAMPLE), "--out", str(tmp_path / "c"), "--data", str(EXAMPLE / "data.npz")], "cannot select", 2),
    ]
    for arguments, what, code in cases:
        assert main(["explore", *arguments]) == code, arguments
        assert what in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "model.onnx", "x.npz"]
