"""What every family costs on every kind of target, or why it is refused.

    python -m examples.families.measure [NAME...] [--columns hls,rtl,printed,cortex_m0] [--build] [--beats FILE]

With --build every column is built: exact on every code, or the build fails; one that takes longer than --seconds is
given up and noted so. Without it the FPGA and printed columns are the back ends' estimates, which take seconds: the RTL
circuit is held against the interpreter by alkaid's, code for code, but not simulated. Cortex-M0 is always built and run
in its simulator. Each figure goes to `results.json` as soon as it is there; the table goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.backends.hls import HlsBackend
from edgecomp.backends.printed import load_library
from edgecomp.backends.printed.estimate import forecast
from edgecomp.backends.rtl.circuit import make_circuit
from edgecomp.backends.rtl.figures import cutoff_levels
from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.options import RtlOptions
from edgecomp.contract import quantise_input
from edgecomp.flows import flow_for
from edgecomp.frontend import read_file
from edgecomp.project import load_target
from examples.ecg.train import DATA
from examples.families.networks import FAMILIES
from examples.families.train import rows_of

HERE: Final = Path(__file__).resolve().parent
COLUMNS: Final = {
    "hls": ("--target", "fpga"),
    "rtl": ("--target", "fpga", "--flow", "rtl"),
    "printed": ("--target", "printed", "--set", "effort=quick", "--set", "head=logits"),
    "cortex_m0": ("--target", "cortex_m0"),
}
LONG: Final = ("merged_branches", "depthwise_separable", "network_in_network", "mixer")
"""Those whose synthesis and its proofs take an hour and more: their RTL is simulated, and its LUTs are estimated."""
RUN: Final = "import sys; from edgecomp.cli import main; sys.exit(main(sys.argv[1:]))"
ROWS = 100
"""Test rows that every circuit is simulated on, beside the corners and random vectors."""


def build(name: str, column: str, data: Path, seconds: float) -> dict[str, Any]:
    """The figures of one build, or what `build` says where it refuses."""
    out = Path("build/families") / f"{name}-{column}"
    synth = ["--synth"] if column == "rtl" and name not in LONG else []
    words = [sys.executable, "-c", RUN, "build", str(HERE / f"{name}.onnx"), *COLUMNS[column], *synth,
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


def estimated(name: str, column: str, x: NDArray[np.float32]) -> dict[str, Any]:
    """The back end's figures before building, or what `check` says."""
    network = read_file(HERE / f"{name}.onnx").network
    flow = flow_for(COLUMNS[column][1], "rtl" if column == "rtl" else None, {})
    problems = flow.check(network)
    if problems:
        return {"code": 3, "refused": [f"{one.where}: {one.what}" for one in problems[:2]]}
    if column == "printed":
        return {"estimate": {key: one.value for key, one in forecast(network, load_library("egfet")).total.items()}}
    part = load_target("fpga")
    if column == "hls":
        total = HlsBackend().estimate(network, part, HlsBackend().parse({})).total
        return {"estimate": {key: one.value for key, one in total.items()}}
    circuit = make_circuit(network, Form(packed=True), cutoff=cutoff_levels(part, RtlOptions()))
    (entry,), (exit_,) = network.inputs, network.outputs
    host = quantise_input(entry, x.astype(np.float64))
    expected = interp.outputs(network, {entry.name: host})[exit_.name]
    same = int((circuit.predict(host.reshape(len(host), -1)) == expected.reshape(len(host), -1)).sum())
    if same != expected.size:
        raise ValueError(f"{name}: {expected.size - same} codes of the circuit differ")
    return {"estimate": {"lut": circuit.lut, "ff": circuit.ff, "cycles": circuit.cycles}, "equal_codes": same}


def shown(result: dict[str, Any] | None, column: str) -> str:
    """One cell of the table; areas that are estimates are marked by a tilde."""
    if result is None:
        return ""
    if "refused" in result:
        return "refused" if "code" in result else str(result["refused"])
    if "estimate" in result:
        found = result["estimate"]
        return f"~{found['area']:.3g} cm2" if column == "printed" else (
            f"~{found['lut']:,} LUT, {found['cycles']} cycles")  # fmt: skip
    used = {name: value for name, (value, _) in result["resources"].items()}
    if column in ("hls", "rtl"):
        mark = "~" if result["resources"]["LUT"][1] == "estimate" else ""
        return f"{mark}{used['LUT']:,} LUT, {mark}{used['FF']:,} FF, {result['cycles']} cycles"
    if column == "printed":
        return f"{result['totals']['area']:.3g} cm2, {result['totals']['power_1V']:,.0f} mW"
    sizes = ", ".join(f"{used[name]:,} B {name}" for name in sorted(used, reverse=True))
    return f"{sizes}, {result['totals']['instructions_mean']:,.0f} instructions"


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
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--beats", type=Path, default=DATA)
    parser.add_argument("--seconds", type=float, default=900)
    given = parser.parse_args()
    results, folder = HERE / "results.json", Path("build/families")
    folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or FAMILIES:
        _, test = rows_of(name, given.beats)
        data = folder / f"{name}.npz"
        np.savez_compressed(data, x=test.x[:ROWS], y=test.y[:ROWS])
        for column in given.columns.split(","):
            real = given.build or column == "cortex_m0"
            found = build(name, column, data, given.seconds) if real else estimated(name, column, test.x[:ROWS])
            known = json.loads(results.read_text()) if results.exists() else {}
            known.setdefault(name, {})[column] = found
            results.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
            print(name, column, json.dumps(known[name][column]), file=sys.stderr, flush=True)
    known = json.loads(results.read_text())
    print(table(known, json.loads((HERE / "trained.json").read_text())))


if __name__ == "__main__":
    main()
