"""Bit-parallel gate simulation: a million vectors through a random netlist of 2,000 cells.

    python -m benchmarks.gates [CELLS] [VECTORS]

prints the wall seconds with and without counting the cells' input states (which static power needs).
"""

from __future__ import annotations

import sys
import time

import numpy as np

from edgecomp.backends.printed.gates import Port
from edgecomp.backends.printed.library import PrintedTarget, load_library
from edgecomp.backends.printed.netlist import Netlist
from edgecomp.simulate.gates import simulate

INPUTS, BITS, OUTPUT_BITS = 16, 4, 4
MIX = {"AND2": 0.05, "INV": 0.2, "NAND2": 0.7, "OR2": 0.05}  # about that of mapped classifiers


def random_netlist(target: PrintedTarget, cells: int, seed: int) -> Netlist:
    """Cells of the mix, each reading earlier signals."""
    rng = np.random.default_rng(seed)
    names = tuple(MIX)
    first = 2 + INPUTS * BITS
    kind = rng.choice(len(names), cells, p=list(MIX.values())).astype(np.int16)
    pins = (rng.random((cells, 2)) * (first - 2 + np.arange(cells)[:, None]) + 2).astype(np.int32)
    pins[[len(target.cells[names[k]].pins) == 1 for k in kind], 1] = -1
    inputs = tuple(Port(node="x", index=i, bits=tuple(range(2 + i * BITS, 2 + (i + 1) * BITS)), signed=False)
                   for i in range(INPUTS))  # fmt: skip
    last = first + cells
    output = Port(node="y", index=0, bits=tuple(range(last - OUTPUT_BITS, last)), signed=False)
    return Netlist(names=names, kind=kind, pins=pins, inputs=inputs, outputs=(output,))


def main(cells: int = 2000, vectors: int = 1_000_000) -> None:
    target = load_library()
    netlist = random_netlist(target, cells, seed=0)
    codes = np.random.default_rng(1).integers(0, 1 << BITS, (vectors, INPUTS))
    for states in (False, True):
        start = time.perf_counter()
        simulate(netlist, target, {"x": codes}, states=states)
        seconds = time.perf_counter() - start
        counted = "input states counted" if states else "outputs only"
        sys.stdout.write(f"{cells} cells, {vectors} vectors, {counted}: {seconds:.2f} s\n")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
