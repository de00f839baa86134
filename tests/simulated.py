"""A network through the HLS back end and its real C simulation, the options chosen by a seed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgecomp import interp, vectors
from edgecomp.backends.hls import HlsBackend
from edgecomp.errors import InexpressibleError, raise_all
from edgecomp.golden import compare
from edgecomp.ir import Network
from edgecomp.project import load_target
from edgecomp.simulate import run_hls

STRATEGIES = ("latency", "resource", "distributed_arithmetic")
IOS = ("parallel", "stream")
VENDORS = ("vitis", "vivado")


def settings_of(seed: int) -> dict[str, str]:
    """Every pair of io, vendor and strategy comes up within 12 seeds; a stream has no distributed arithmetic."""
    io, strategy = IOS[seed // 2 % 2], STRATEGIES[seed % 3]
    if io == "stream" and strategy == "distributed_arithmetic":
        strategy = "latency"
    return {"io": io, "vendor": VENDORS[seed // 4 % 2], "strategy": strategy}


def simulate(network: Network, settings: dict[str, str], seed: int) -> tuple[int, str]:
    """How many codes of the C simulation differ from the interpreter's, and a sentence about the first of them.

    InexpressibleError where the back end refuses the network.
    """
    backend, target = HlsBackend(), load_target("fpga")
    options = backend.parse(settings)
    raise_all(InexpressibleError, backend.check(network, target, options))
    legal = backend.legalize(network, target, options)
    made = vectors.make(legal, None, seed=seed, count=100)
    with tempfile.TemporaryDirectory() as folder:
        backend.emit(legal, target, options).spill(Path(folder))
        simulated = run_hls(Path(folder), legal, made.inputs)
    first, count = compare(interp.outputs(network, made.inputs), simulated.outputs)
    return count, "" if first is None else f"C simulation with {settings}: {first}"
