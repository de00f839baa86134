"""edgecomp's C beside emlearn's on the same perceptrons, cores and compiler flags, in the same simulators.

    python -m benchmarks.mcu [--out DIR] [--data-root DIR] [--seeds N,...] [--sets NAME,...] [--cores NAME,...]

Needs the extra `benchmark` (emlearn) and `train`, and the cores' compilers and simulators (`edgecomp doctor`).
emlearn's form is its only one without floats, finished by `benchmarks.mcu_rival`, since 0.23.2 ships a skeleton.
Both sides get the same features, scaled outside, and give the class. Instructions (cycles on AVR) are the
mean over some test rows, accuracy is of all of them, on the host. One file for each data set and seed in --out is not
made again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.mcu_nets import SETS, Split, Trained, load, train
from benchmarks.mcu_rival import fixed_inputs, fixed_point
from edgecomp import interp
from edgecomp.backends.mcu import McuBackend, load_machine
from edgecomp.backends.mcu.project import CProgram
from edgecomp.contract import quantise_input
from edgecomp.errors import MismatchError
from edgecomp.ir import ArgMax, Network, Output
from edgecomp.simulate.mcu import measure

CORES = ("cortex_m0", "cortex_m3", "cortex_m4", "rv32imc", "avr")
VECTORS = 20
FIGURES = ("flash", "ram", "effort")
PUBLISHED = """\
Published for TensorFlow Lite Micro, one hidden layer of 10, on a Cortex-M7 (F746): iris 18.6 us, pendigits 35.0 us,
digits 54.6 us; flash 123 to 125 kB and SRAM 24.6 kB, nearly all of it runtime.
"""


def decided(network: Network) -> Network:
    """The network with its class as its output, whose logits share one scale."""
    *nodes, end = network.nodes
    assert isinstance(end, Output)
    assert len(set(end.scale)) == len(set(end.offset)) == 1
    best = ArgMax(name="decision", x=end.x)
    return Network(nodes=(*nodes, best, Output(name="y", x=best.name)))


def cost(program: CProgram, core: str, codes: NDArray[np.int64], classes: NDArray[np.int64]) -> dict[str, Any]:
    """Flash, RAM with its peak stack, and instructions or cycles a call; the reason where the program does not fit."""
    machine = load_machine(core)
    try:
        found = measure(program, machine, {"x": codes}, {"y": classes.reshape(-1, 1)})
    except MismatchError as error:
        if "does not fit" not in str(error):
            raise
        return {"refused": str(error)}
    if found.over(machine):
        return {"refused": "; ".join(found.over(machine))}
    return {"flash": found.flash_bytes, "ram": found.ram_bytes + found.stack_bytes, "effort": round(found.mean)}


def rows(name: str, seed: int, split: Split, trained: Trained, cores: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each core: both sides' figures."""
    ours, theirs = decided(trained.network), fixed_point(trained.weights, trained.biases)
    node = ours.inputs[0]
    codes, fixed = quantise_input(node, split.test_x), fixed_inputs(split.test_x)
    own = interp.outputs(ours, {node.name: codes})["y"].reshape(-1)
    host = replace(load_machine("host"), flags=("-std=c99", "-O2"))  # emlearn's headers warn of functions without a use
    rival = measure(theirs, host, {"x": fixed}).outputs["y"].reshape(-1)
    share = {"edgecomp": float((own == split.test_y).mean()), "emlearn": float((rival == split.test_y).mean())}
    found = []
    for core in cores:
        print(name, seed, core, file=sys.stderr, flush=True)
        found.append({
            "set": name, "seed": seed, "core": core, "float": trained.float_accuracy, "accuracy": share,
            "edgecomp": cost(McuBackend().program(ours), core, codes[:VECTORS], own[:VECTORS]),
            "emlearn": cost(theirs, core, fixed[:VECTORS], rival[:VECTORS]),
        })  # fmt: skip
    return found


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """edgecomp's figure over emlearn's; none where one of them does not fit."""
    ours, theirs = row["edgecomp"], row["emlearn"]
    return {} if "refused" in ours or "refused" in theirs else {key: ours[key] / theirs[key] for key in FIGURES}


def pair(row: dict[str, Any], key: str) -> str:
    return " / ".join(str(row[side].get(key, "-")) for side in ("edgecomp", "emlearn"))


def table(found: Sequence[dict[str, Any]]) -> str:
    """Every row, then medians and what falls short."""
    lines = ["| set | seed | core | flash B | RAM B | instructions, cycles | accuracy | float | flash, RAM, effort |",
             "|" + "---|" * 9]  # fmt: skip
    for row in found:
        share = " / ".join(f"{row['accuracy'][side]:.4f}" for side in ("edgecomp", "emlearn"))
        over = ", ".join(f"{value:.2f}" for value in ratios(row).values()) or "does not fit: no ratio"
        lines.append(f"| {row['set']} | {row['seed']} | {row['core']} | {pair(row, 'flash')} | {pair(row, 'ram')} | "
                     f"{pair(row, 'effort')} | {share} | {row['float']:.4f} | {over} |")  # fmt: skip
    known = [ratios(row) for row in found if ratios(row)]
    lines += ["", "Each cell is edgecomp / emlearn; ratios are edgecomp's share of emlearn's."]
    for key in FIGURES if known else ():
        values = [value[key] for value in known]
        lines.append(f"{key}: median {statistics.median(values):.3f}, greatest {max(values):.3f} of {len(values)} rows")
    least = {(row["set"], row["seed"]) for row in found if row["accuracy"]["edgecomp"] < row["accuracy"]["emlearn"]}
    lines += [f"less accurate than emlearn: {', '.join(f'{name} {seed}' for name, seed in sorted(least)) or 'none'}",
              "", PUBLISHED]  # fmt: skip
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> str:
    """Do what is missing and return the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/benchmark-mcu"))
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--cores", default=",".join(CORES))
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    for name in given.sets.split(","):
        for seed in map(int, given.seeds.split(",")):
            path = given.out / f"{name}-{seed}.json"
            if not path.exists():
                split = load(name, seed, given.data_root)
                made = rows(name, seed, split, train(split, seed), given.cores.split(","))
                aside = path.with_suffix(".new")
                aside.write_text(json.dumps(made, indent=1))
                os.replace(aside, path)
            found += json.loads(path.read_text())
    text = table(found)
    (given.out / "table.md").write_text(text)
    return text


if __name__ == "__main__":
    print(main())
