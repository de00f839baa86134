"""Two classifiers of look-up tables: Kolmogorov-Arnold networks on wine, a weightless network on handwritten digits.

    python -m benchmarks.edges wine [--hidden 4] [--splits 10] [--out DIR]
    python -m benchmarks.edges mnist [--data DIR] [--nodes 300] [--epochs 20] [--out DIR]

Each network is trained (extra `train`), exported as QONNX, built with `--flow rtl --synth`, and its figures are read
from the report. Wine is scikit-learn's, ten stratified 70/30 splits; everything that a network is made of, and the
scales of its inputs, comes from the training rows. MNIST is read from its four files as they are published; the last
6,000 training images are held out to compare recipes, the 10,000 test images are only counted.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecomp.cli import main as edgecomp
from examples.families.layers import EdgeTables, FixedLookUps, LookUps, codes, export
from examples.muon.export import restore_one_bit_input

MNIST = Path("../shared/data/mnist")
HELD_OUT, BATCH = 6000, 256
RARE = 1e-3  # a pixel that is set in a smaller share of the images is not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Wine:
    """A recipe for wine: inputs are `reach` standard deviations to either side of the mean, in `bits` bits.

    `noise` in standard deviations is added to the rows while training; 13-3 where `hidden` is 0, else 13-hidden-3.
    """

    hidden: int = 0
    bits: int = 3
    hidden_bits: int = 3
    table_bits: int = 5
    reach: float = 2.0
    steps: int = 200
    rate: float = 0.03
    noise: float = 0.6
    rough: float = 1.0
    decay: float = 0.1


class WineNet(nn.Module):
    """Edges from 13 standardised inputs to 3 classes, with one hidden layer of sums or none."""

    def __init__(self, recipe: Wine, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> None:
        super().__init__()
        top = 2**recipe.bits - 1
        self.low = nn.Buffer(torch.tensor(mean - recipe.reach * deviation, dtype=torch.float32))
        self.steps = nn.Buffer(torch.tensor(top / (2 * recipe.reach * deviation), dtype=torch.float32))
        self.inputs = codes(recipe.bits, 1.0)
        wide = recipe.hidden or 3
        self.first = EdgeTables(13, wide, bits=recipe.bits, step=1.0, table_bits=recipe.table_bits)
        self.hidden_bits, self.deep = recipe.hidden_bits, bool(recipe.hidden)
        if self.deep:
            self.norm = nn.BatchNorm1d(wide)
            self.hidden = codes(recipe.hidden_bits, 1.0)
            self.second = EdgeTables(wide, 3, bits=recipe.hidden_bits, step=1.0, table_bits=recipe.table_bits)

    def forward(self, x: Tensor) -> Tensor:
        sums: Tensor = self.first(self.inputs((x - self.low) * self.steps))
        if not self.deep:
            return sums
        top = 2**self.hidden_bits - 1
        logits: Tensor = self.second(self.hidden(self.norm(sums) * (top / 4) + top / 2))
        return logits

    def penalty(self, recipe: Wine) -> Tensor:
        layers = [self.first, self.second] if self.deep else [self.first]
        terms = [recipe.rough * one.roughness() + recipe.decay * one.functions().square().mean() for one in layers]
        return torch.stack(terms).sum()


def train_wine(recipe: Wine, x: NDArray[np.float64], y: NDArray[np.int64]) -> WineNet:
    torch.manual_seed(0)
    deviation = x.std(0)
    network = WineNet(recipe, x.mean(0), deviation)
    rows, labels, spread = torch.tensor(x, dtype=torch.float32), torch.tensor(y), torch.tensor(deviation).float()
    optimiser = torch.optim.Adam(network.parameters(), recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps)
    for _ in range(recipe.steps):
        moved = rows + recipe.noise * spread * torch.randn_like(rows)
        loss = nn.functional.cross_entropy(network(moved), labels, label_smoothing=0.05) + network.penalty(recipe)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """A recipe for MNIST: pixels of at least `threshold` are ones; each class counts the ones of its share of `nodes`.

    `shift` pixels at most are the images moved while training; logits are counts over `softness` * sqrt(share).
    """

    nodes: int = 300
    threshold: int = 100
    epochs: int = 20
    rate: float = 0.05
    softness: float = 0.35
    shift: int = 1


class DigitsNet(nn.Module):
    """Binary pixels, look-ups by six of them, and a count for each of ten classes."""

    def __init__(self, recipe: Digits, learned: LookUps, kept: Tensor) -> None:
        super().__init__()
        self.threshold, self.pixels = recipe.threshold, codes(1, 1.0)
        wide = LookUps(784, recipe.nodes)
        with torch.no_grad():
            wide.scores.fill_(-torch.inf)
            wide.scores[kept] = learned.scores
            wide.entries.copy_(learned.entries)
        self.look_ups = FixedLookUps(wide)

    def forward(self, x: Tensor) -> Tensor:
        """Counts of pixels (n, 784) from 0 to 255."""
        bits = self.pixels((x - (self.threshold - 0.25)) / 128 + 0.5)
        counts: Tensor = self.look_ups(bits).view(-1, 10, self.look_ups.table.shape[1] // 10).sum(2)
        return counts


def images(folder: Path, kind: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(n, 28, 28) pixels and their digits, of `train` or `t10k`."""
    with gzip.open(folder / f"{kind}-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{kind}-labels-idx1-ubyte.gz") as file:
        return x, np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)


def train_digits(recipe: Digits, x: NDArray[np.uint8], y: NDArray[np.int64]) -> DigitsNet:
    if recipe.nodes % 10:
        raise SystemExit(f"--nodes {recipe.nodes}: ten classes share the nodes; take a multiple of 10")
    torch.manual_seed(0)
    pixels, labels = torch.from_numpy(x >= recipe.threshold), torch.from_numpy(y)
    kept = torch.nonzero(pixels.flatten(1).float().mean(0) > RARE).flatten()
    learned, share = LookUps(len(kept), recipe.nodes), recipe.nodes // 10
    batches = len(x) // BATCH
    groups = [{"params": [learned.scores]}, {"params": [learned.entries]}]
    optimiser = torch.optim.Adam(groups, recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [recipe.rate, 0.4 * recipe.rate], total_steps=recipe.epochs * batches, pct_start=0.1
    )
    for epoch in range(recipe.epochs):
        losses = []
        for batch in torch.randperm(len(x))[: batches * BATCH].view(batches, BATCH):
            moves = torch.randint(-recipe.shift, recipe.shift + 1, (2,)) * torch.randint(0, 2, (1,))
            moved = torch.roll(pixels[batch], tuple(moves.tolist()), (1, 2)).flatten(1)[:, kept].float()
            counts = learned(moved).view(BATCH, 10, share).sum(2)
            loss = nn.functional.cross_entropy(counts / (recipe.softness * share**0.5), labels[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {recipe.epochs}: loss {statistics.mean(losses):.4f}", file=sys.stderr, flush=True)
    return DigitsNet(recipe, learned, kept).eval()


def accuracy(network: nn.Module, x: NDArray[Any], y: NDArray[np.int64]) -> float:
    with torch.no_grad():
        parts = [network(rows) for rows in torch.split(torch.from_numpy(np.asarray(x, dtype=np.float32)), 1000)]
    return float((torch.cat(parts).argmax(1).numpy() == y).mean())


def built(path: Path, x: NDArray[Any], y: NDArray[np.int64], settings: list[str]) -> dict[str, Any]:
    """Build with synthesis beside `path`, on the rows x, y: exact, or the command has failed. The report's figures."""
    data, out = path.with_suffix(".npz"), path.with_suffix("")
    np.savez_compressed(data, x=np.asarray(x, dtype=np.float32), y=y)
    words = ["build", str(path), "--target", "fpga", "--flow", "rtl", "--synth", "--data", str(data), "--out", str(out)]
    with redirect_stdout(StringIO()):
        code = edgecomp([*words, *(word for setting in settings for word in ("--set", setting))])
    if code:
        raise SystemExit(f"{path.name}: the build ended with {code}")
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What the tables show of a report."""
    used = {one["name"]: one["used"]["value"] for one in report["resources"]}
    shares = {one["stage"]: one["metrics"]["accuracy"]["value"] for one in report["accuracy"]}
    return {
        "lut": used["LUT"], "ff": used["FF"], "cycles": report["latency"]["cycles"]["value"],
        "interval": report["latency"]["initiation_interval"]["value"], "exact": report["verdict"]["exact"],
        "accuracy": shares, "golden": {one["execution"]: one["codes"]["value"] for one in report["golden"]},
    }  # fmt: skip


def wine(recipe: Wine, splits: int, out: Path) -> list[dict[str, Any]]:
    """A row for each split: the accuracy on its 54 test rows as the circuit's integers have it, and the circuit."""
    from sklearn.datasets import load_wine
    from sklearn.model_selection import train_test_split

    x, y = load_wine(return_X_y=True)
    rows = []
    for seed in range(splits):
        train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
        path = out / f"wine-{recipe.hidden}-{seed}.onnx"
        export(train_wine(recipe, train_x, train_y), path, 13)
        rows.append({"split": seed, **figures(built(path, test_x, test_y, []))})
        print(json.dumps(rows[-1]), flush=True)
    luts, shares = [row["lut"] for row in rows], [row["accuracy"]["integer"] for row in rows]
    shown = f"mean accuracy {statistics.mean(shares):.4f} (least {min(shares):.4f})"
    print(f"{asdict(recipe)}: {shown}, LUT mean {statistics.mean(luts):.0f}, most {max(luts)}", flush=True)
    return rows


def mnist(recipe: Digits, data: Path, out: Path) -> dict[str, Any]:
    """The figures of one recipe, its circuit tested on all test images."""
    x, y = images(data, "train")
    network = train_digits(recipe, x[:-HELD_OUT], y[:-HELD_OUT])
    held = accuracy(network, x[-HELD_OUT:].reshape(-1, 784), y[-HELD_OUT:])
    print(f"{asdict(recipe)}: {held:.4f} of the {HELD_OUT} held-out training images", flush=True)
    test_x, test_y = images(data, "t10k")
    path = out / f"mnist-{recipe.nodes}.onnx"
    export(network, path, 784, fill=float(recipe.threshold))
    model = onnx.load(path)
    restore_one_bit_input(model)
    onnx.save(model, path)
    expected = accuracy(network, test_x.reshape(-1, 784), test_y)
    row = {"held_out": held, "pytorch": expected, **figures(built(path, test_x.reshape(-1, 784), test_y, []))}
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="wine and MNIST in look-up tables")
    parser.add_argument("name", choices=["wine", "mnist"])
    parser.add_argument("--out", type=Path, default=Path("build/edges"))
    parser.add_argument("--data", type=Path, default=MNIST)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=Digits().nodes)
    parser.add_argument("--epochs", type=int, default=Digits().epochs)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.name == "wine":
        found: Any = wine(replace(Wine(), hidden=given.hidden), given.splits, given.out)
        name = f"wine-{given.hidden}"
    else:
        found = mnist(Digits(nodes=given.nodes, epochs=given.epochs), given.data, given.out)
        name = f"mnist-{given.nodes}"
    (given.out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
