"""The pipelined circuit of a network in one form, and what it is foretold to cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.lower import trace
from edgecomp.ir import Network
from edgecomp.ir.ranges import bits_of

ADDITIONS, HIDDEN = (0, 1), 1000
REDUCTION, INVERSION = 9, 0  # alkaid's operation codes
BATCH = 64  # samples that alkaid's interpreter takes at a time, or a multiple of it
BALANCING = 16  # cutoffs tried, down to half of the one asked for


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
        """alkaid's own interpreter on host codes (N, all inputs' elements) in float64.

        alkaid fills its last batch up with zeros, which a table may not take: here with the last sample.
        """
        rows = np.minimum(np.arange(-(-len(codes) // BATCH) * BATCH), len(codes) - 1)
        found = self.program.predict(codes[rows].astype(np.float64), n_threads=1)
        return np.asarray(found)[: len(codes)].astype(np.int64)


def make_circuit(network: Network, form: Form, *, cutoff: float) -> Circuit:
    """Trace, share, and cut into the fewest stages of at most `cutoff` levels, or of one operation that is longer."""
    from alkaid.trace import trace as close

    traced = trace(network, form)
    program = close(list(traced.inputs), list(traced.outputs), optimize=False)
    program = _optimised(program)
    if form.ternary:
        program = _ternary(program)
    cycles, delay, machine = _staged(program, cutoff)
    values = network.values()
    inputs = tuple(Ends(node=n.name, elements=values[n.name].size, bits=bits_of(n.lo, n.hi), signed=n.lo < 0)
                   for n in network.inputs)  # fmt: skip
    outputs = tuple(Ends(node=n.name, elements=values[n.name].size, bits=values[n.name].bits,
                         signed=values[n.name].signed) for n in network.outputs)  # fmt: skip
    return Circuit(form=form, inputs=inputs, outputs=outputs, program=program, machine=machine, cycles=cycles,
                   delay=delay, lut=round(program.cost),
                   ff=sum(s.width for s in machine.signals.values() if s.reg) + cycles)  # fmt: skip


def _optimised(program: Any) -> Any:
    """alkaid's `optimize` without retracing and without the pass that drops the shift of one-bit wraps.

    In alkaid 0.8.2 that pass (`canonicalize_msb_wraps`) takes a bit of a scaled word for its source's top bit where
    the one's place is that of the other before scaling.
    """
    from alkaid.trace.passes import add_surrogate, common_subexpr_elimin, dead_code_elimin, null_quant_elimin
    from alkaid.trace.passes.canon import canonicalize_outputs, const_propagation
    from alkaid.trace.passes.order import canonical_sort, topo_bandwidth_sort

    program = dead_code_elimin(canonicalize_outputs(const_propagation(program)), keep_dead_inputs=True)
    program = dead_code_elimin(common_subexpr_elimin(program), keep_dead_inputs=True)
    program = dead_code_elimin(null_quant_elimin(program), keep_dead_inputs=True)
    return topo_bandwidth_sort(canonical_sort(add_surrogate(canonical_sort(program))))


def _ternary(program: Any) -> Any:
    """Additions joined by twos; those that only put bits side by side, which are free, stay hidden from the pass."""
    from alkaid.trace.passes import add_surrogate, dead_code_elimin, fuse_ternary_adders

    hidden = {i for i, op in enumerate(program.ops) if op.opcode in ADDITIONS and op.cost == 0}
    ops = [op._replace(opcode=op.opcode + HIDDEN) if i in hidden else op for i, op in enumerate(program.ops)]
    fused = fuse_ternary_adders(program._replace(ops=ops))
    ops = [op._replace(opcode=op.opcode - HIDDEN) if i in hidden else op for i, op in enumerate(fused.ops)]
    fused = dead_code_elimin(fused._replace(ops=ops), keep_dead_inputs=True)
    return add_surrogate(fused, _skip_op8_cost=True)


def _staged(program: Any, cutoff: float) -> tuple[int, float, Any]:
    """Stages, the longest one's delay, and the machine.

    alkaid cuts where the delay from the inputs passes a multiple of a share of the total, and so leaves stages half
    full; here it is given the number of the stage in place of the delay.
    """
    from alkaid.trace.pipeline import _split_comb_logic, _stages_to_fsm

    delays = [own_delay(program.ops, op) for op in program.ops]
    feeds = [op.addr for op in program.ops]
    stages, longest = scheduled(feeds, delays, cutoff)
    count = max(stages) + 1
    even = longest
    for step in range(1, BALANCING + 1):  # as many stages, of less unequal length
        tried, least = scheduled(feeds, delays, cutoff * (1 - step / (2 * BALANCING)))
        if max(tried) + 1 == count and least < even:
            stages, even = tried, least
    ops = [op._replace(latency=float(stage + 1)) for op, stage in zip(program.ops, stages, strict=True)]
    parts = _split_comb_logic(program._replace(ops=ops), n_stages=count, verbose=False)
    return count, even, _stages_to_fsm(parts, reg_inp=False, reg_out=True)


def own_delay(ops: Sequence[Any], op: Any) -> float:
    """alkaid's, but of the reduction of many bits, which alkaid takes as free: half a level for each six-input LUT."""
    if op.opcode == REDUCTION and op.data[0] != INVERSION:
        return 0.5 * math.ceil(math.log(max(sum(ops[op.addr[0]].qint.kif), 2), 6))
    return float(max(op.latency - max((ops[i].latency for i in op.addr), default=op.latency), 0.0))


def scheduled(feeds: Sequence[Sequence[int]], delays: Sequence[float], cutoff: float) -> tuple[list[int], float]:
    """The earliest stage of each operation, fed by those of lower number, and the longest stage's delay.

    An operation goes where its operands are ready if it ends there within `cutoff`, else one stage on: no schedule
    that cuts between operations has fewer stages. One that is longer than `cutoff` alone has a stage of its own.
    """
    stages: list[int] = []
    ends: list[float] = []
    for feed, delay in zip(feeds, delays, strict=True):
        stage = max((stages[i] for i in feed), default=0)
        ready = max((ends[i] for i in feed if stages[i] == stage), default=0.0)
        late = ready + delay > cutoff and ready > 0
        stages.append(stage + late)
        ends.append(delay if late else ready + delay)
    return stages, max(ends, default=0.0)
