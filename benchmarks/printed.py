"""Printed classifiers on public data sets: exact and approximate perceptrons, decision trees, published figures.

    python -m benchmarks.printed [--data-root DIR] [--out DIR] [--sets NAME,...] [--seeds 42,0,1,2,3] [--generations N]
                               [--effort full|quick]

Protocol: stratified 70 to 30 split by the seed, inputs scaled to 4 bits by the training rows, every choice made on
training rows, the test rows read once for each row of the table. Areas count everything up to the class; converters
stand apart. Each finished row is a file in --out and is not done again. Tables go to stdout and to --out/table.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.approx.executor import local
from edgecomp.approx.front import spearman
from edgecomp.approx.genes import read_classifier, to_network
from edgecomp.approx.masks import trained_masks
from edgecomp.approx.mutations import GeneVariation
from edgecomp.approx.noise import jittered
from edgecomp.approx.printed import task_of
from edgecomp.approx.search import Plan, search
from edgecomp.backends.printed.cost import Cost, area_cm2
from edgecomp.backends.printed.design import Design, make_design, simulate_design
from edgecomp.backends.printed.forms import Form
from edgecomp.backends.printed.gates import Gates, Port
from edgecomp.backends.printed.library import PrintedTarget, load_library
from edgecomp.backends.printed.mapping import map_circuit
from edgecomp.backends.printed.options import Effort, PrintedOptions, Timing
from edgecomp.backends.printed.scripts import portfolio
from edgecomp.backends.printed.sums import Word
from edgecomp.backends.printed.words import at_least, choose, fixed
from edgecomp.frontend import load, read
from edgecomp.ir import Network
from edgecomp.passes import with_argmax
from edgecomp.quantize.mlp import Mlp, Schedule, Spec, train
from edgecomp.quantize.qonnx import Scaler, fit_scaler, to_qonnx
from edgecomp.quantize.train import Split, split_table
from edgecomp.tables import Missing, read_table

Codes = NDArray[np.int64]
Row = dict[str, Any]

INPUT_BITS = 4
HIDDEN_BITS = (4, 6)  # tried on held-out training rows
RESTARTS = 32
DEPTHS = range(1, 13)
LOSSES = (0.002, 0.01, 0.02, 0.04, 0.07)  # of training accuracy, against the best that the search found
TRIED = 4
COLUMNS = ("set", "seed", "row", "train", "test", "cm2", "mW 1.0 V", "mW 0.6 V", "ms 0.6 V", "supply 0.6 V", "wall s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a data set is, how its table reads, the hidden neurons of the published network, and published figures.

    `published`: (what, accuracy, cm2, mW at 1.0 V), from "Numbers to stand beside" of the developers' documentation.
    """

    files: tuple[str, ...]
    label: str
    hidden: int = 3
    missing: Missing = Missing.REFUSE
    ignore: tuple[str, ...] = ()
    published: tuple[tuple[str, float, float, float], ...] = ()


SETS = {
    "breast_cancer_original": Source(
        files=("breast-cancer-wisconsin.data",), label="-1", missing=Missing.DROP, ignore=("0",),
        published=(("ICCAD'23", .9463, 3.01, 9.7), ("DATE'24, own test rows", .9420, .033, .10))),
    "cardiotocography": Source(
        files=("ctg_21feat_nsp.csv",), label="NSP", ignore=("CLASS",),
        published=(("exact", .88, 33.4, 97.3), ("ICCAD'23", .8621, 6.78, 22.5),
                   ("DATE'24, own test rows", .8732, 1.14, 3.7))),
    "pendigits": Source(
        files=("pendigits.tra", "pendigits.tes"), label="-1", hidden=5,
        published=(("exact", .94, 67.0, 213), ("ICCAD'23", .8908, 14.2, 46),
                   ("DATE'24, own test rows", .9009, 10.65, 34))),
    "wine_quality_red": Source(
        files=("winequality-red.csv",), label="-1", hidden=2,
        published=(("exact", .56, 17.6, 53.3), ("ICCAD'23", .5667, 2.55, 8.3),
                   ("DATE'24, own test rows", .5188, .032, .09))),
    "wine_quality_white": Source(
        files=("winequality-white.csv",), label="-1", hidden=4,
        published=(("exact", .54, 31.2, 98.4), ("ICCAD'23", .5265, 5.46, 17.8),
                   ("DATE'24, own test rows", .5143, .197, .64))),
    "seeds": Source(files=("seeds_dataset.txt",), label="-1"),
    "vertebral_column": Source(files=("column_3C_weka.arff",), label="-1"),
    "balance_scale": Source(files=("balance-scale.data",), label="0"),
    "arrhythmia": Source(files=("arrhythmia.data",), label="-1", hidden=5, missing=Missing.MEDIAN),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One data set under one split, its codes, and how hard to work."""

    name: str
    seed: int
    source: Source
    split: Split
    scaler: Scaler
    target: PrintedTarget
    generations: int
    epochs: int
    folder: Path
    effort: Effort = Effort.FULL  # of mapping what gets a row

    @property
    def train_codes(self) -> Codes:
        return self.scaler.codes(self.split.train_x)

    @property
    def model(self) -> Path:
        """Where the exact perceptron is kept."""
        return self.folder / f"{self.name}-{self.seed}.onnx"

    @property
    def classes(self) -> int:
        return int(max(self.split.train_y.max(), self.split.test_y.max())) + 1


def rows_of(folder: Path, source: Source) -> list[Path]:
    """The tables' files; of an .arff file the rows behind @data, and runs of blanks as one comma, in a file aside."""
    made = []
    for name in source.files:
        lines = (folder / name).read_text().splitlines()
        start = next((i + 1 for i, line in enumerate(lines) if line.lower().startswith("@data")), 0)
        if start or name.endswith(".txt"):
            rows = [line if "," in line else ",".join(line.split()) for line in lines[start:] if line.strip()]
            path = Path(tempfile.mkdtemp(prefix="edgecomp-table-")) / f"{name}.csv"
            path.write_text("\n".join(rows) + "\n")
            made.append(path)
        else:
            made.append(folder / name)
    return made


def case_of(
    name: str, seed: int, root: Path, target: PrintedTarget, generations: int, epochs: int, folder: Path
) -> Case:
    source = SETS[name]
    table = read_table(rows_of(root / name, source), source.label, missing=source.missing, ignore=source.ignore)
    split = split_table(table, 0.3, seed)
    return Case(name=name, seed=seed, source=source, split=split, scaler=fit_scaler(split.train_x, INPUT_BITS),
                target=target, generations=generations, epochs=epochs, folder=folder)  # fmt: skip


def trained(case: Case) -> Mlp:
    """The perceptron: the width of hidden codes is chosen on a quarter of the training rows, held out."""
    from sklearn.model_selection import train_test_split

    codes, y = case.train_codes, case.split.train_y
    common = np.bincount(y, minlength=case.classes)[y] > 1
    first, held = train_test_split(np.flatnonzero(common), test_size=0.25, random_state=case.seed)
    plan = Schedule(epochs=case.epochs, restarts=RESTARTS)

    def spec(bits: int) -> Spec:
        return Spec(features=codes.shape[1], hidden=(case.source.hidden,), classes=case.classes,
                    input_bits=INPUT_BITS, hidden_bits=bits)  # fmt: skip

    part = jittered(codes[first], y[first], INPUT_BITS, case.seed)
    scores = {bits: train(spec(bits), *part, plan=plan, seed=case.seed)[0][1].accuracy(codes[held], y[held])
              for bits in HIDDEN_BITS}  # fmt: skip
    best = max(HIDDEN_BITS, key=lambda bits: (scores[bits], -bits))
    return train(spec(best), *jittered(codes, y, INPUT_BITS, case.seed), plan=plan, seed=case.seed)[0][1]


def network_of(case: Case) -> Network:
    """The exact perceptron, trained where it is not kept yet."""
    if not case.model.exists():
        aside = case.model.with_suffix(".new")
        aside.write_bytes(to_qonnx(trained(case), case.scaler).SerializeToString(deterministic=True))
        os.replace(aside, case.model)
    return with_argmax(read(load(case.model)).network)


def figures(case: Case, label: str, accuracy: tuple[float, float], cost: Cost, start: float) -> Row:
    """A row of the table; accuracy on training and test rows."""
    one, low = cost.at(max(case.target.voltages)), cost.at(min(case.target.voltages))
    return {"set": case.name, "seed": case.seed, "row": label, "train": round(accuracy[0], 4),
            "test": round(accuracy[1], 4), "cm2": round(cost.area_cm2, 4), "mW 1.0 V": round(one.power_mw, 3),
            "mW 0.6 V": round(low.power_mw, 3), "ms 0.6 V": round(low.delay_ms, 1),
            "supply 0.6 V": low.supply or "none", "wall s": round(time.perf_counter() - start, 1),
            "converters cm2": round(cost.converter_area_cm2, 3)}  # fmt: skip


def realised(case: Case, network: Network, label: str, start: float, form: Timing = Timing.COMBINATIONAL) -> Row:
    """Map, simulate on the test rows, compare with the interpreter."""
    design = make_design(network, case.target, PrintedOptions(effort=case.effort, form=form))
    codes = {network.inputs[0].name: case.scaler.codes(case.split.test_x).reshape(-1, *network.inputs[0].shape)}
    expected = interp.outputs(network, codes)
    cost = simulate_design(design, case.target, codes, expected)
    known = {network.inputs[0].name: case.train_codes.reshape(-1, *network.inputs[0].shape)}
    seen = interp.outputs(network, known)[network.outputs[0].name].reshape(-1)
    got = expected[network.outputs[0].name].reshape(-1)
    accuracy = float((seen == case.split.train_y).mean()), float((got == case.split.test_y).mean())
    return figures(case, label, accuracy, cost, start)


def approximate(case: Case, network: Network, start: float) -> list[Row]:
    """For each loss of training accuracy, the smallest when mapped of the candidates foretold smallest."""
    exact = read_classifier(network)
    codes, y = jittered(case.train_codes, case.split.train_y, INPUT_BITS, case.seed)
    task = task_of(exact.space, codes, y)
    starts = np.concatenate([exact.starts, trained_masks(exact, codes, y, seed=case.seed)])
    with local(task, os.cpu_count() or 1) as executor:
        began = time.perf_counter()
        front = search(
            GeneVariation(space=exact.space), starts, executor, Plan(generations=case.generations, seed=case.seed)
        )
        seconds = time.perf_counter() - began
    rate = case.generations * Plan().population / seconds
    best_right = 1 - front.scores[:, 0].min()
    found: list[Row] = []
    pairs: dict[int, tuple[float, float]] = {}
    for loss in LOSSES:
        within = np.flatnonzero(1 - front.scores[:, 0] >= best_right - loss - 1e-12)[-TRIED:].tolist()
        for at in set(within) - set(pairs):
            mapped = make_design(to_network(exact, front.genes[at]), case.target, PrintedOptions(effort=Effort.QUICK))
            pairs[at] = front.scores[at, 1], area_cm2(mapped.netlist, case.target)
        best = to_network(exact, front.genes[min(within, key=lambda at: pairs[at][1])])
        found.append(realised(case, best, f"approximate, best - {loss:g}", start))
    rank = spearman(*np.array(list(pairs.values())).T)
    print(f"{case.name} {case.seed}: {len(y)} rows, {rate:.0f} candidates/s, {seconds:.0f} s of search; "
          f"rank correlation of foretold and mapped area {rank:.3f} over {len(pairs)}",
          file=sys.stderr, flush=True)  # fmt: skip
    return found


def tree(case: Case) -> list[Row]:
    """A decision tree on the same codes, its depth by cross validation, its comparators with thresholds wired in."""
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    start = time.perf_counter()
    x, y = case.train_codes, case.split.train_y
    folds = max(2, min(5, int(np.bincount(y)[np.bincount(y) > 0].min())))
    scores = {d: cross_val_score(DecisionTreeClassifier(max_depth=d, random_state=0), x, y, cv=folds).mean()
              for d in DEPTHS}  # fmt: skip
    best = max(scores, key=lambda d: (scores[d], -d))
    fitted = DecisionTreeClassifier(max_depth=best, random_state=0).fit(x, y)
    gates = Gates()
    ports = [gates.add_input("x", i, INPUT_BITS, signed=False) for i in range(x.shape[1])]
    words = [Word(bits=port.bits, signed=False, lo=0, hi=(1 << INPUT_BITS) - 1) for port in ports]
    parts = fitted.tree_

    def grow(at: int) -> Word:
        if parts.children_left[at] < 0:
            return fixed(int(fitted.classes_[parts.value[at][0].argmax()]))
        right = at_least(gates, words[parts.feature[at]], int(np.floor(parts.threshold[at])) + 1)
        return choose(gates, right, grow(parts.children_left[at]), grow(parts.children_right[at]))

    circuit = gates.finish([Port(node="y", index=0, bits=grow(0).bits, signed=False)])
    mapped = map_circuit(circuit, case.target, scripts=portfolio(circuit.gates))
    design = Design(form=Form(), circuit=circuit, netlist=mapped.netlist, attempts=())
    test = case.scaler.codes(case.split.test_x)
    expected = fitted.predict(test).astype(np.int64)[:, None]
    cost = simulate_design(design, case.target, {"x": test}, {"y": expected})
    accuracy = float(fitted.score(x, y)), float((expected[:, 0] == case.split.test_y).mean())
    return [figures(case, f"decision tree, depth {best}", accuracy, cost, start)]


def perceptrons(case: Case) -> list[Row]:
    start = time.perf_counter()
    network = network_of(case)
    return [realised(case, network, "exact", start), *approximate(case, network, start)]


def sequential(case: Case) -> list[Row]:
    """The exact perceptron with one multiplexed neuron; its delay is of all cycles."""
    start = time.perf_counter()
    return [realised(case, network_of(case), "exact, sequential", start, Timing.SEQUENTIAL)]


def majority(case: Case) -> list[Row]:
    most = np.bincount(case.split.train_y).argmax()
    shares = [round(float((y == most).mean()), 4) for y in (case.split.train_y, case.split.test_y)]
    return [{"set": case.name, "seed": case.seed, "row": "majority class", "train": shares[0], "test": shares[1],
             "cm2": 0.0}]  # fmt: skip


KINDS: dict[str, Callable[[Case], list[Row]]] = {
    "majority": majority, "tree": tree, "perceptrons": perceptrons, "sequential": sequential
}  # fmt: skip


def kept(path: Path, make: Callable[[], list[Row]]) -> list[Row]:
    """The rows of `path`, made and written first where it is not there."""
    if not path.exists():
        content = json.dumps(make(), indent=1)
        aside = path.with_suffix(".new")
        aside.write_text(content)
        os.replace(aside, path)
    rows: list[Row] = json.loads(path.read_text())
    return rows


def published(name: str) -> list[Row]:
    return [{"set": name, "seed": "", "row": f"published: {what}", "test": accuracy, "cm2": area, "mW 1.0 V": power}
            for what, accuracy, area, power in SETS[name].published]  # fmt: skip


def spreads(rows: Sequence[Row]) -> list[Row]:
    """Median and extremes over the seeds of each set and kind of row, where there are several."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["row"].partition(", depth")[0]), []).append(row)
    found = []
    for (name, label), group in groups.items():
        if len({row["seed"] for row in group}) > 1:
            entry: Row = {"set": name, "seed": f"{len(group)} seeds", "row": label}
            for key in ("train", "test", "cm2", "mW 1.0 V", "mW 0.6 V"):
                values = [row[key] for row in group if key in row]
                if values:
                    entry[key] = f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"
            found.append(entry)
    return found


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(str(row.get(column, "")) for column in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> str:
    """Do what is missing and return the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("EDGECOMP_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path("build/benchmark-printed"))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="42")
    parser.add_argument("--generations", type=int, default=Plan().generations)
    parser.add_argument("--epochs", type=int, default=Schedule().epochs)
    parser.add_argument("--effort", choices=list(Effort), default=Effort.FULL)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    target, rows, ours = load_library("egfet"), [], []
    for name in given.sets.split(","):
        rows += published(name)
        for seed in map(int, given.seeds.split(",")):
            case = case_of(name, seed, given.data_root, target, given.generations, given.epochs, given.out)
            case = replace(case, effort=Effort(given.effort))
            for kind, make in KINDS.items():
                print(f"{name} {seed} {kind}", file=sys.stderr, flush=True)
                path = given.out / f"{name}-{seed}-{kind}.json"
                ours += (made := kept(path, lambda make=make, case=case: make(case)))  # type: ignore[misc]
                rows += made
    text = markdown([*rows, *spreads(ours)])
    (given.out / "table.md").write_text(text)
    return text


if __name__ == "__main__":
    sys.stdout.write(main())
