"""What the RTL back end refuses: numbers too wide for exact intervals, and circuits far beyond the part."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.backends.hls.cost import cost
from edgecomp.backends.rtl.options import Io, RtlOptions
from edgecomp.backends.rtl.stream_build import plan_of, stream_problems
from edgecomp.backends.rtl.words import MAX_BITS
from edgecomp.errors import Problem
from edgecomp.ir import Network, Requant
from edgecomp.ir.ranges import bits_of, scaled
from edgecomp.project import FpgaTarget

SHARING = 4  # additions shared between outputs have not been seen to save more than three quarters of the model's LUTs
PARALLEL = RtlOptions()
STREAMED = "take --set io=stream, a smaller network or a larger part"
UNSTREAMED = "use --flow hls with io=stream, a smaller network or a larger part"
SMALLER = "use a smaller network or a larger part"


def check(network: Network, target: FpgaTarget, options: RtlOptions = PARALLEL) -> tuple[Problem, ...]:
    """Everything that cannot be built, at once; with io=stream a node is counted for one place of its value."""
    problems = _too_wide(network)
    stream = options.io is Io.STREAM
    if stream and (refused := stream_problems(network)):
        return (*problems, *refused)
    parts = [segment.network for segment in plan_of(network).segments] if stream else [network]
    lut = _luts(parts)
    if lut > SHARING * target.lut:
        how = "for one place a clock" if stream else "fully parallel"
        what = f"about {lut} LUTs {how} before sharing (estimate); {target.name} holds {target.lut}"
        hint = SMALLER if stream else UNSTREAMED if stream_problems(network) else STREAMED
        problems.append(Problem(what=what, hint=hint))
    return tuple(problems)


def _luts(networks: Sequence[Network]) -> int:
    return sum(cost(node, network.values()).lut for network in networks for node in network.nodes)


def _too_wide(network: Network) -> list[Problem]:
    values, problems = network.values(), []
    for node in network.nodes:
        bits = values[node.name].bits
        if isinstance(node, Requant):
            lo, hi = scaled(node, values[node.x])
            bits = max(bits, bits_of(int(lo.min()), int(hi.max())))
        if bits > MAX_BITS:
            problems.append(Problem(what=f"it needs {bits} bits; {MAX_BITS} is the most", where=node.name,
                                    hint="use narrower codes or weights"))  # fmt: skip
    return problems
