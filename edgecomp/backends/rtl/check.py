"""What the RTL back end refuses: numbers too wide for exact intervals, and circuits far beyond the part."""

from __future__ import annotations

from edgecomp.backends.hls.cost import cost
from edgecomp.backends.rtl.words import MAX_BITS
from edgecomp.errors import Problem
from edgecomp.ir import Network, Requant
from edgecomp.ir.ranges import bits_of, scaled
from edgecomp.project import FpgaTarget

SHARING = 4  # additions shared between outputs have not been seen to save more than three quarters of the model's LUTs


def check(network: Network, target: FpgaTarget) -> tuple[Problem, ...]:
    """Everything that cannot be built fully parallel, at once."""
    values = network.values()
    problems = []
    for node in network.nodes:
        bits = values[node.name].bits
        if isinstance(node, Requant):
            lo, hi = scaled(node, values[node.x])
            bits = max(bits, bits_of(int(lo.min()), int(hi.max())))
        if bits > MAX_BITS:
            problems.append(Problem(what=f"it needs {bits} bits; {MAX_BITS} is the most", where=node.name,
                                    hint="use narrower codes or weights"))  # fmt: skip
    lut = sum(cost(node, values).lut for node in network.nodes)
    if lut > SHARING * target.lut:
        what = f"about {lut} LUTs fully parallel before sharing (estimate); {target.name} holds {target.lut}"
        problems.append(Problem(what=what, hint="use --flow hls with io=stream, a smaller network or a larger part"))
    return tuple(problems)
