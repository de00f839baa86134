"""Inferences a second of the reference interpreter on a 16-64-32-32-5 network of 8-bit Requants (half to even).

usage: python benchmarks/interp.py [SAMPLES]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from edgecomp import interp
from edgecomp.ir import Dense, Input, Ints, Network, Node, Output, Requant, Rounding

WIDTHS = (16, 64, 32, 32, 5)
SHIFT = 12


def network() -> Network:
    """Random 8-bit weights; unsigned 8-bit codes between the layers, spread so that some clip."""
    random = np.random.default_rng(0)
    nodes: list[Node] = [Input(name="x", shape=WIDTHS[:1], lo=-128, hi=127)]
    last = "x"
    for layer, (taken, given) in enumerate(pairwise(WIDTHS)):
        weight = Ints(random.integers(-128, 128, size=(given, taken)))
        nodes.append(Dense(name=f"d{layer}", x=last, weight=weight, bias=Ints(random.integers(-999, 999, size=given))))
        last = f"d{layer}"
        if layer < len(WIDTHS) - 2:
            multiplier = Ints(random.integers(20, 60, size=given))
            nodes.append(Requant(name=f"r{layer}", x=last, multiplier=multiplier, addend=Ints([1 << (SHIFT - 1)]),
                                 shift=SHIFT, lo=Ints([0]), hi=Ints([255]), rounding=Rounding.HALF_EVEN))  # fmt: skip
            last = f"r{layer}"
    return Network(nodes=(*nodes, Output(name="y", x=last)))


def main(samples: int) -> None:
    subject = network()
    assert subject.problems() == ()
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, size=(samples, WIDTHS[0]))}
    for name, act in (("outputs", interp.outputs), ("run, every value kept", interp.run)):
        best = min(seconds(partial(act, subject, inputs)) for _ in range(5))
        print(f"{name}: {samples / best:,.0f} inferences a second ({samples} samples, best of 5)")


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
