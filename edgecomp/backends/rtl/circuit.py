"""The pipelined circuit of a network in one form, and what it is foretold to cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.lower import trace
from edgecomp.ir import Network
from edgecomp.ir.ranges import bits_of

MORE_STAGES = 12  # tried beyond the least that the total delay asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """One input or output node on the top's data bus: its elements of `bits` each, row-major, lowest first."""

    node: str
    elements: int
    bits: int
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """alkaid's program and its pipeline; `cycles` from taking an input to the cycle that shows its output.

    `delay` is the longest stage in levels of logic, `lut` and `ff` are alkaid's model.
    """

    form: Form
    inputs: tuple[Ends, ...]
    outputs: tuple[Ends, ...]
    program: Any
    machine: Any
    cycles: int
    delay: float
    lut: int
    ff: int

    def predict(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """alkaid's own interpreter on host codes (N, all inputs' elements) in float64."""
        return np.asarray(self.program.predict(codes.astype(np.float64), n_threads=1)).astype(np.int64)


def make_circuit(network: Network, form: Form, *, cutoff: float) -> Circuit:
    """Trace, share, and cut into the fewest stages whose delay is at most `cutoff` levels, or the shortest found."""
    from alkaid.trace import trace as close
    from alkaid.trace.passes import add_surrogate, dead_code_elimin, fuse_ternary_adders, optimize

    traced = trace(network, form)
    program = close(list(traced.inputs), list(traced.outputs), optimize=False)
    program = optimize(program, keep_dead_inputs=True, retrace=False)
    if form.ternary:
        fused = dead_code_elimin(fuse_ternary_adders(program), keep_dead_inputs=True)
        program = add_surrogate(fused, _skip_op8_cost=True)
    cycles, delay, machine = _staged(program, cutoff)
    values = network.values()
    inputs = tuple(Ends(node=n.name, elements=values[n.name].size, bits=bits_of(n.lo, n.hi), signed=n.lo < 0)
                   for n in network.inputs)  # fmt: skip
    outputs = tuple(Ends(node=n.name, elements=values[n.name].size, bits=values[n.name].bits,
                         signed=values[n.name].signed) for n in network.outputs)  # fmt: skip
    return Circuit(form=form, inputs=inputs, outputs=outputs, program=program, machine=machine, cycles=cycles,
                   delay=delay, lut=round(program.cost),
                   ff=sum(s.width for s in machine.signals.values() if s.reg) + cycles)  # fmt: skip


def _staged(program: Any, cutoff: float) -> tuple[int, float, Any]:
    from alkaid.trace.pipeline import _split_comb_logic, _stages_to_fsm

    least = max(1, math.ceil(max(op.latency for op in program.ops) / cutoff))
    found = []
    for count in range(least, least + MORE_STAGES):
        stages = _split_comb_logic(program, n_stages=count, verbose=False)
        delay = max(longest(stage) for stage in stages)
        found.append((max(delay, cutoff), count, delay, stages))
        if delay <= cutoff:
            break
    _, count, delay, stages = min(found, key=lambda f: f[:2])
    return count, delay, _stages_to_fsm(stages, reg_inp=False, reg_out=True)


def longest(stage: Any) -> float:
    """The longest path through one stage in alkaid's levels of logic."""
    arrival: list[float] = []
    for op in stage.ops:
        before = [stage.ops[i].latency for i in op.addr]
        own = op.latency - max(before, default=op.latency)
        arrival.append(max((arrival[i] for i in op.addr), default=0.0) + max(own, 0.0))
    return max(arrival, default=0.0)
