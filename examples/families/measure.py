"""Build every family for every kind of target, and write what each costs, or why it is refused.

    python -m examples.families.measure [NAME...] [--columns hls,rtl,printed,cortex_m0] [--beats FILE]

Each figure goes to `results.json` as soon as it is there; the table goes to stdout. A build is exact on every code or
it fails, and one that is longer than --seconds is given up and noted so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from examples.ecg.train import DATA
from examples.families.networks import FAMILIES
from examples.families.train import rows_of

HERE: Final = Path(__file__).resolve().parent
COLUMNS: Final = {
    "hls": ("--target", "fpga"),
    "rtl": ("--target", "fpga", "--flow", "rtl", "--synth"),
    "printed": ("--target", "printed", "--set", "effort=quick"),
    "cortex_m0": ("--target", "cortex_m0"),
}
RUN: Final = "import sys; from edgecomp.cli import main; sys.exit(main(sys.argv[1:]))"
ROWS = 100
"""Test rows that every circuit is simulated on, beside the corners and random vectors."""


def build(name: str, column: str, data: Path, seconds: float) -> dict[str, Any]:
    """The figures of one build, or what `build` says where it refuses."""
    out = Path("build/families") / f"{name}-{column}"
    words = [sys.executable, "-c", RUN, "build", str(HERE / f"{name}.onnx"), *COLUMNS[column],
             "--data", str(data), "--out", str(out)]  # fmt: skip
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"refused": f"not built within {seconds:g} s"}
    if done.returncode not in (0, 1) or not (out / "report.json").exists():
        return {"code": done.returncode, "refused": done.stderr.strip().splitlines()[-2:]}
    return figures(json.loads((out / "report.json").read_text()))


def figures(report: dict[str, Any]) -> dict[str, Any]:
    latency = report["latency"]
    return {
        "exact": report["verdict"]["exact"], "fits": report["verdict"]["fits"],
        "resources": {one["name"]: [one["used"]["value"], one["used"]["source"]] for one in report["resources"]},
        "totals": {key: one["value"] for key, one in report["totals"].items() if not key.startswith("form_")},
        "cycles": latency["cycles"]["value"] if latency else None,
        "codes": sum(one["codes"]["value"] for one in report["golden"]),
    }  # fmt: skip


def shown(result: dict[str, Any] | None, column: str) -> str:
    """One cell of the table."""
    if result is None:
        return ""
    if "refused" in result:
        return "refused" if "code" in result else str(result["refused"])
    used = {name: value for name, (value, _) in result["resources"].items()}
    if column in ("hls", "rtl"):
        return f"{used['LUT']:,} LUT, {used['FF']:,} FF, {result['cycles']} cycles"
    return ", ".join(f"{value:,} {name}" for name, value in used.items())


def table(known: dict[str, Any], notes: dict[str, Any]) -> str:
    head = ["family", "weights", "accuracy", "majority", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in FAMILIES:
        if name in notes:
            own = notes[name]
            cells = [name, f"{own['weights']:,}", f"{own['integer']:.4f}", f"{own['majority']:.4f}"]
            cells += [shown(known.get(name, {}).get(column), column) for column in COLUMNS]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="build every family for every kind of target")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--columns", default=",".join(COLUMNS))
    parser.add_argument("--beats", type=Path, default=DATA)
    parser.add_argument("--seconds", type=float, default=900)
    given = parser.parse_args()
    results, folder = HERE / "results.json", Path("build/families")
    folder.mkdir(parents=True, exist_ok=True)
    known = json.loads(results.read_text()) if results.exists() else {}
    for name in given.names or FAMILIES:
        _, test = rows_of(name, given.beats)
        data = folder / f"{name}.npz"
        np.savez_compressed(data, x=test.x[:ROWS], y=test.y[:ROWS])
        for column in given.columns.split(","):
            known.setdefault(name, {})[column] = build(name, column, data, given.seconds)
            results.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
            print(name, column, json.dumps(known[name][column]), file=sys.stderr, flush=True)
    print(table(known, json.loads((HERE / "trained.json").read_text())))


if __name__ == "__main__":
    main()
