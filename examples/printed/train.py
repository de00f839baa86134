"""Trains this example's model on scikit-learn's breast cancer data, with the ten "mean" features of its thirty.

    python -m examples.printed.train

writes model.onnx, data.npz (the test rows), train.npz and edgecomp.toml beside this file. Needs the extra `train`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from edgecomp.quantize.mlp import Schedule
from edgecomp.quantize.train import TrainRequest, TrainResult, train_csv

HERE = Path(__file__).parent
SEED = 1


def write_table(path: Path) -> None:
    """The "mean" features of every row, and the diagnosis."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    kept = [k for k, name in enumerate(found.feature_names) if name.startswith("mean ")]
    lines = [",".join([*(found.feature_names[k].replace(" ", "_") for k in kept), "diagnosis"])]
    for row, label in zip(found.data, found.target, strict=True):
        lines.append(",".join([*(repr(float(row[k])) for k in kept), str(found.target_names[label])]))
    path.write_text("\n".join(lines) + "\n")


def train(out: Path) -> TrainResult:
    """The example's model, from scratch, in `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "table.csv"
        write_table(table)
        schedule = Schedule(epochs=1000, restarts=8, soft=0.0)
        return train_csv(TrainRequest(data=(table,), label="diagnosis", out=out, hidden=(3,), weight_bits=3,
                                      hidden_bits=4, seed=SEED, schedule=schedule))  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        result = train(Path(scratch) / "breast_cancer")
        for file in sorted(result.folder.iterdir()):
            (HERE / file.name).write_bytes(file.read_bytes())
    sys.stdout.write(f"train {result.train_accuracy:.4f} test {result.test_accuracy:.4f} of {result.test_rows} rows, "
                     f"majority class {result.majority:.4f}\n")  # fmt: skip
