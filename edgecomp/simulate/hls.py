"""C simulation of an HLS project with g++ and the bundled types."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp, tools
from edgecomp.backends.hls.drive import PROJECT
from edgecomp.backends.hls.testbench import vector_text
from edgecomp.ir import Network
from edgecomp.simulate.script import GXX_HINT, verify_script

Codes = NDArray[np.int64]

COMPILE_SECONDS = 900.0
RUN_SECONDS = 900.0
TRACED_SAMPLES = 64
FLAGS = ("-std=c++14", "-O1", "-w", "-Ifirmware/ap_types", "-Ifirmware/nnet_utils", "-Ifirmware")


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """Host codes of every output (N, *shape), and the wall seconds of compiler and simulation."""

    outputs: Mapping[str, Codes]
    compile_seconds: float
    run_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """The first layer whose value is not the interpreter's: where it differs first, and by how much."""

    sample: int
    node: str
    index: tuple[int, ...]
    expected: int
    got: int


def run_hls(folder: Path, network: Network, inputs: Mapping[str, Codes]) -> Simulated:
    """Compile the project in `folder`/hls and run it on host codes (N, *shape).

    Nothing is compared and nothing in the folder is written. ToolError where g++ is missing, fails or takes too long,
    or where the program ends early.
    """
    with tempfile.TemporaryDirectory(prefix="edgecomp-csim-") as name:
        scratch = Path(name)
        compiled = _compile(folder / "hls", scratch)
        seconds = _simulate(folder / "hls", scratch, network, inputs, ())
        shapes = {node.name: network.values()[node.name].shape for node in network.outputs}
        outputs = {name: _read(scratch / f"got_{name}.dat", shape) for name, shape in shapes.items()}
    return Simulated(outputs=outputs, compile_seconds=compiled, run_seconds=seconds)


def verify_hls(folder: Path) -> str:
    """Run the bundle's own hls/run.sh; see `verify_script`."""
    return verify_script(folder, "hls")


def locate_hls(folder: Path, network: Network, inputs: Mapping[str, Codes]) -> Located | None:
    """The first layer that differs from the interpreter on host codes (N, *shape), or None where none does.

    The same circuit is compiled with trace points. Samples whose outputs differ are traced; where all outputs agree,
    the first ones are.
    """
    hls = folder / "hls"
    with tempfile.TemporaryDirectory(prefix="edgecomp-csim-") as name:
        scratch = Path(name)
        _compile(hls, scratch, "-DEDGECOMP_TRACE_VALUES")
        chosen = _chosen(hls, scratch, network, inputs)
        traced = {key: codes[chosen] for key, codes in inputs.items()}
        _simulate(hls, scratch, network, traced, ("--trace", scratch / "trace"))
        return _first_difference(hls, scratch / "trace", network, traced, chosen)


def _compile(hls: Path, scratch: Path, *defines: str) -> float:
    compiler = tools.need("g++", hint=GXX_HINT)
    sources = (f"{PROJECT}_test.cpp", f"firmware/{PROJECT}.cpp")
    command: list[str | Path] = [compiler, *FLAGS, *defines, *sources, "-o", scratch / "csim"]
    return tools.run(command, cwd=hls, seconds=COMPILE_SECONDS).seconds


def _simulate(
    hls: Path, scratch: Path, network: Network, inputs: Mapping[str, Codes], more: tuple[str | Path, ...]
) -> float:
    """Run the compiled program on `inputs`; it writes got_<name>.dat into `scratch`."""
    for node in network.inputs:
        (scratch / f"inputs_{node.name}.dat").write_bytes(vector_text(inputs[node.name]))
    command = [scratch / "csim", "--data", scratch, "--dump", scratch, *more]
    return tools.run(command, cwd=hls / "firmware", seconds=RUN_SECONDS).seconds


def _read(path: Path, shape: tuple[int, ...]) -> Codes:
    _, *rows, _ = path.read_text().splitlines()
    codes = np.array(" ".join(rows).split(), dtype=np.int64)
    return codes.reshape(-1, *shape)


def _chosen(hls: Path, scratch: Path, network: Network, inputs: Mapping[str, Codes]) -> Codes:
    """Numbers of the samples to trace."""
    _simulate(hls, scratch, network, inputs, ("--trace", scratch / "trace"))
    expected = interp.outputs(network, inputs)
    wrong = np.zeros(len(next(iter(inputs.values()))), dtype=bool)
    for name, codes in expected.items():
        got = _read(scratch / f"got_{name}.dat", codes.shape[1:])
        wrong |= (got != codes).reshape(len(codes), -1).any(axis=1)
    return np.flatnonzero(wrong if wrong.any() else ~wrong)[:TRACED_SAMPLES]


def _first_difference(
    hls: Path, trace: Path, network: Network, inputs: Mapping[str, Codes], samples: Codes
) -> Located | None:
    values = interp.run(network, inputs)
    probes = json.loads((hls / "trace.json").read_text())
    rows: list[list[list[int]]] = [[] for _ in probes]
    for line in trace.read_text().splitlines():
        number, *row = map(int, line.split())
        rows[number].append(row)
    position = {node.name: at for at, node in enumerate(network.nodes)}
    for number in sorted(range(len(probes)), key=lambda number: position[probes[number]["node"]]):
        node, order = probes[number]["node"], probes[number]["order"]
        expected = values[node].reshape(len(samples), -1)[:, order]
        wrong = np.argwhere(np.array(rows[number], dtype=np.int64) != expected)
        if len(wrong):
            sample, at = wrong[0]
            index = np.unravel_index(order[at], values[node].shape[1:])
            return Located(sample=int(samples[sample]), node=node, index=tuple(map(int, index)),
                           expected=int(expected[sample, at]), got=rows[number][sample][at])  # fmt: skip
    return None
