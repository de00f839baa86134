"""The RTL flow beside alkaid's own lowering of the same integer networks: LUTs after Yosys at as many stages.

    python -m benchmarks.rtl [--out DIR] [--networks NAME,...]

Columns of LUTs: ours; alkaid's default (its solver, saturation, rounding and Verilog cells), as its own project would
be read by Yosys; and, with --cells, the same with our cells, which give Yosys the three-operand adder of Xilinx parts.
All go through `synth_xilinx`, stage by stage; the seconds are those of our circuit's. Beside them the stages of our
circuit and the cycles that the HLS estimate foretells. Each network's row is a file in --out and is not made again.
The table goes to stdout and --out/table.md.
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
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from alkaid.codegen import rtl as codegen
from alkaid.codegen.rtl.rtl_model import RTLModel
from alkaid.trace import FVArray
from alkaid.trace import trace as close

from edgecomp import interp
from edgecomp.backends.hls import HlsBackend
from edgecomp.backends.rtl import words
from edgecomp.backends.rtl.circuit import Circuit
from edgecomp.backends.rtl.emit import project_files
from edgecomp.backends.rtl.figures import circuit_for
from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.functions import entry
from edgecomp.backends.rtl.lower import Lowering, Words
from edgecomp.backends.rtl.options import Language, RtlOptions
from edgecomp.backends.rtl.product import Matrix, Products
from edgecomp.backends.rtl.synthesis import synthesize
from edgecomp.backends.rtl.words import Word
from edgecomp.frontend import load, read
from edgecomp.ir import ArgMax, Dense, Input, Ints, MaxPool, Network, Node, Output, Requant, Rounding, Step
from edgecomp.ir.ranges import bits_of
from edgecomp.project import FpgaTarget, load_target

DEFAULT = (1, -1, -1)  # alkaid's own adder and carry sizes
SAMPLES = 200
COLUMNS = ("network", "stages", "HLS estimate", "LUT", "synthesis s", "alkaid's LUT", "ratio",
           "its LUT with our cells", "ratio with our cells")  # fmt: skip


class PlainProducts(Products):
    """Matrix products by alkaid's solver as it comes."""

    def multiply(self, weight: Matrix, bias: Sequence[int], x: Sequence[Word]) -> list[Word]:
        raw = np.empty(len(x), dtype=object)
        raw[:] = list(x)
        return list(np.asarray(FVArray(raw) @ weight.T.astype(float) + np.array(bias, dtype=float), dtype=object))


class PlainLowering(Lowering):
    """The network as it would be written in alkaid's own operations."""

    def bounded(self, node: Node, x: Words) -> Words:
        return x

    def function(self, node: Requant | Step | MaxPool | ArgMax) -> Words:
        if not isinstance(node, Requant):
            return super().function(node)
        return self.each(self.values[node.x], lambda c, word: plain_requant(node, c, word))


def plain_requant(node: Requant, channel: int, word: Word) -> Word:
    """Scale, then alkaid's saturating quantizer, or its limits where the bounds are no powers of two."""
    even = node.rounding is Rounding.HALF_EVEN
    addend = entry(node.addend, channel) - ((1 << node.shift) // 2 if even else 0)
    scaled = (word * float(entry(node.multiplier, channel)) + float(addend)) * 2.0**-node.shift
    lo, hi = entry(node.lo, channel), entry(node.hi, channel)
    sign = int(lo < 0)
    bits = max(bits_of(lo, hi) - sign, 0)
    mode = "RND_CONV" if even else "TRN"
    if (lo, hi) == (-sign * 2**bits, 2**bits - 1):
        return scaled.quantize(sign, bits, 0, "SAT", mode)
    if not even:
        scaled = scaled.quantize(int(scaled.kif[0]), int(scaled.kif[1]), 0)
    return scaled.max_of(lo).min_of(hi).quantize(sign, bits, 0, "WRAP", mode)


def plain_program(network: Network) -> Any:
    """alkaid's program for the network, checked against the interpreter."""
    state = PlainLowering(form=Form(), known=network.values(), products=PlainProducts(depth=-1))
    with mock.patch.object(words, "HARDWARE", DEFAULT):
        for node in network.nodes:
            state.values[node.name] = state.lower(node)
        program = close(list(state.inputs), list(state.outputs))
    rng = np.random.default_rng(0)
    codes = {n.name: rng.integers(n.lo, n.hi + 1, size=(SAMPLES, *n.shape)) for n in network.inputs}
    flat = np.concatenate([c.reshape(SAMPLES, -1) for c in codes.values()], axis=1).astype(np.float64)
    expected = [c.reshape(SAMPLES, -1) for c in interp.outputs(network, codes).values()]
    np.testing.assert_array_equal(program.predict(flat, n_threads=1), np.concatenate(expected, axis=1))
    return program


def luts(circuit: Circuit, target: FpgaTarget, cells: Sequence[Path] = ()) -> int:
    """LUTs after Yosys; `cells` in place of ours where given."""
    with tempfile.TemporaryDirectory(prefix="edgecomp-rtl-") as scratch:
        folder = Path(scratch)
        project_files(circuit, Language.VERILOG).spill(folder)
        if cells:
            (folder / "rtl" / "src" / "cells.v").unlink()
            for path in cells:
                (folder / "rtl" / "src" / path.name).write_text(path.read_text())
        value = synthesize(folder, target)["lut"].value
        assert isinstance(value, int)
        return value


def row(name: str, network: Network, target: FpgaTarget, *, cells: bool) -> dict[str, Any]:
    ours = circuit_for(network, target, RtlOptions())
    with tempfile.TemporaryDirectory(prefix="edgecomp-rtl-") as scratch:
        model = RTLModel(plain_program(network), Path(scratch) / "project", n_stages=ours.cycles)
    plain = replace(ours, program=model._comb, machine=model.fsm)
    hls = HlsBackend()
    foretold = hls.estimate(network, target, hls.parse({})).total["cycles"].value
    start = time.perf_counter()
    own = luts(ours, target)
    seconds = time.perf_counter() - start
    stock = luts(plain, target, alkaid_cells())
    found = {"network": name, "stages": ours.cycles, "HLS estimate": foretold, "LUT": own,
             "synthesis s": round(seconds, 1), "alkaid's LUT": stock, "ratio": round(own / stock, 3),
             "form": str(ours.form)}  # fmt: skip
    if cells:
        same = luts(plain, target)
        found |= {"its LUT with our cells": same, "ratio with our cells": round(own / same, 3)}
    return found


def alkaid_cells() -> list[Path]:
    assert codegen.__file__ is not None
    return sorted((Path(codegen.__file__).parent / "verilog" / "source").glob("*.v"))


def mlp(sizes: Sequence[int], *, per_channel: bool) -> Network:
    """A random perceptron with 6-bit weights, half of them zero, and 6-bit codes rounded half to even."""
    rng = np.random.default_rng(0)
    nodes: list[Node] = [Input(name="x", shape=(sizes[0],), lo=-32, hi=31)]
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weight = rng.integers(-32, 32, size=(fan_out, fan_in)) * (rng.random((fan_out, fan_in)) < 0.5)
        bias = rng.integers(-200, 200, size=fan_out)
        nodes.append(Dense(name=f"dense{i}", x=nodes[-1].name, weight=Ints(weight), bias=Ints(bias)))
        if i < len(sizes) - 2:
            shift = 16 if per_channel else 6
            scale = rng.integers(300, 1200, size=fan_out) if per_channel else [1]
            nodes.append(Requant(name=f"act{i}", x=f"dense{i}", multiplier=Ints(scale), shift=shift, lo=Ints([0]),
                                 addend=Ints([1 << shift - 1]), hi=Ints([63]),
                                 rounding=Rounding.HALF_EVEN))  # fmt: skip
    return Network(nodes=(*nodes, Output(name="y", x=nodes[-1].name)))


def example(path: str) -> Callable[[], Network]:
    return lambda: read(load(Path(path))).network


NETWORKS: dict[str, Callable[[], Network]] = {
    "16-32-16-5, per-channel scales": lambda: mlp((16, 32, 16, 5), per_channel=True),
    "16-64-32-32-5": lambda: mlp((16, 64, 32, 32, 5), per_channel=False),
    "muon": example("examples/muon/model.onnx"),
    "muon, plain CNN": example("examples/muon/cnn.onnx"),
    "digits CNN": example("examples/digits/model.onnx"),
}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    columns = [column for column in COLUMNS if any(column in row for row in rows)]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows]
    lines += [f"median of the {key}: {statistics.median(row[key] for row in rows if key in row):.3f}"
              for key in columns if key.startswith("ratio")]  # fmt: skip
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> str:
    """Do what is missing and return the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/benchmark-rtl"))
    parser.add_argument("--networks", default=";".join(NETWORKS), help="names, parted by semicolons")
    parser.add_argument("--target", default="fpga")
    parser.add_argument("--cells", action="store_true", help="also alkaid's default with our cells")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in given.networks.split(";"):
        path = given.out / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if not path.exists():
            print(name, file=sys.stderr, flush=True)
            made = json.dumps(row(name, NETWORKS[name](), load_target(given.target), cells=given.cells), indent=1)
            aside = path.with_suffix(".new")
            aside.write_text(made)
            os.replace(aside, path)
        rows.append(json.loads(path.read_text()))
    text = markdown(rows)
    (given.out / "table.md").write_text(text)
    return text


if __name__ == "__main__":
    sys.stdout.write(main())
