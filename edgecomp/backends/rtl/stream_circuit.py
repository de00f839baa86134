"""The circuits of a streamed network: a pipeline for each segment, and FIFOs deep enough for every import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.backends.rtl.circuit import Circuit, Ends
from edgecomp.backends.rtl.figures import circuits_for
from edgecomp.backends.rtl.options import RtlOptions
from edgecomp.backends.rtl.stream_build import plan_of
from edgecomp.backends.rtl.stream_depth import occupancies
from edgecomp.backends.rtl.stream_plan import Border, Plan, Stream, Window
from edgecomp.errors import MismatchError
from edgecomp.ir import Network
from edgecomp.project import FpgaTarget

Codes = NDArray[np.int64]
BUFFER = 2  # cycles that a token takes through a FIFO
SPARE = 4  # entries beyond a pipeline's cycles that keep a token a cycle flowing
CHECKED = 1 << 22  # elements of tokens, at most, on which a segment's circuit is held against the interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCircuit:
    """`circuits[i]` computes the plan's segment i; `address_bits[k]` is the size of the FIFO of its edge k.

    `inputs` and `outputs` describe whole frames, as the vectors hold them; a beat holds 1 / in_beats of them or
    1 / out_beats. `tried` holds, for each segment, every circuit tried, the chosen one first.
    """

    plan: Plan
    circuits: tuple[Circuit, ...]
    address_bits: tuple[int, ...]
    inputs: tuple[Ends, ...]
    outputs: tuple[Ends, ...]
    in_beats: int
    out_beats: int
    tried: tuple[tuple[Circuit, ...], ...]


def stream_circuit(network: Network, target: FpgaTarget, options: RtlOptions) -> StreamCircuit:
    """Plan the network and make a circuit of every segment; InexpressibleError where it cannot be streamed."""
    plan = plan_of(network)
    tried = tuple(circuits_for(segment.network, target, options) for segment in plan.segments)
    circuits = tuple(choices[0] for choices in tried)
    return assembled(plan, circuits, tried)


def assembled(plan: Plan, circuits: tuple[Circuit, ...], tried: tuple[tuple[Circuit, ...], ...]) -> StreamCircuit:
    first, last = plan.segments[0], plan.segments[-1]
    return StreamCircuit(
        plan=plan, circuits=circuits, address_bits=sizes(plan, [c.cycles for c in circuits]), tried=tried,
        inputs=framed(circuits[0].inputs, first.beats), outputs=framed(circuits[-1].outputs, last.beats),
        in_beats=first.beats, out_beats=last.beats,
    )  # fmt: skip


def framed(ends: Sequence[Ends], beats: int) -> tuple[Ends, ...]:
    """The ends of a token as those of a frame."""
    return tuple(Ends(node=e.node, elements=e.elements * beats, bits=e.bits, signed=e.signed) for e in ends)


def sizes(plan: Plan, cycles: Sequence[int]) -> tuple[int, ...]:
    """Address bits of every edge's FIFO: the tokens that must wait in it lest the network lock up, those that wait
    because other imports of the same segment come through longer pipelines, and those in the pipeline before it."""
    arrival = [0] * len(plan.segments)
    for number, each in plan.edges:
        arrival[number] = max(arrival[number], arrival[each.stream.source] + cycles[each.stream.source] + BUFFER)
    found = []
    for (number, each), waiting in zip(plan.edges, occupancies(plan), strict=True):
        source = each.stream.source
        slack = arrival[number] - (arrival[source] + cycles[source] + BUFFER)
        found.append((waiting + slack + cycles[source] + SPARE - 1).bit_length())
    return tuple(found)


def tokens(stream: Stream, values: Mapping[str, Codes]) -> Codes:
    """The stream's tokens (N, beats, elements) for the network's values (N, *shape), as windows hold them."""
    x = values[stream.value]
    x = x.reshape(*x.shape[:2], -1)  # samples, channels, places
    for mover in stream.movers:
        grid = x.reshape(*x.shape[:2], *mover.grid)
        match mover:
            case Border():
                outer: Codes = np.empty((*x.shape[:2], *mover.outer), dtype=np.int64)
                outer[:] = np.array(mover.fills)[:, None, None]
                (top, _), (left, _) = mover.pads
                outer[:, :, top : top + mover.grid[0], left : left + mover.grid[1]] = grid
                x = outer.reshape(*x.shape[:2], -1)
            case Window():
                x = _swept(grid, mover)
    if stream.whole and not stream.movers:
        return x.reshape(len(x), 1, -1)
    x = x.reshape(*x.shape[:2], stream.beats, stream.inner)
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(len(x), stream.beats, -1)


def _swept(grid: Codes, window: Window) -> Codes:
    """(N, C, places * taps)."""
    views = sliding_window_view(grid, window.span, axis=(2, 3))
    starts = tuple(slice(f, f + (p - 1) * s + 1, s)
                   for f, p, s in zip(window.first, window.places, window.stride, strict=True))  # fmt: skip
    views = views[:, :, starts[0], starts[1], :: window.dilation[0], :: window.dilation[1]]
    return np.ascontiguousarray(views).reshape(*grid.shape[:2], -1)


def check_segments(design: StreamCircuit, codes: Mapping[str, Codes]) -> int:
    """Every segment's circuit in alkaid's interpreter on the tokens that our interpreter makes of host codes.

    Returns how many tokens were compared; MismatchError names the first difference.
    """
    network = design.plan.network
    most = max(value.size for value in network.values().values())
    taps = max((each.stream.taps for _, each in design.plan.edges), default=1)
    count = max(1, CHECKED // (most * taps))
    codes = {name: given[:count] for name, given in codes.items()}
    values, total = interp.run(network, codes), 0
    for segment, circuit in zip(design.plan.segments, design.circuits, strict=True):
        given = [_given(codes[n.name], segment.beats) for n in segment.network.inputs if n.name in codes]
        given += [tokens(each.stream, values) for each in segment.imports]
        flat = np.concatenate(given, axis=2)
        found = circuit.predict(flat.reshape(-1, flat.shape[2]))
        expected = [_given(values[e.value], segment.beats) for e in segment.exports]
        expected += [_given(values[n.name], segment.beats) for n in segment.network.outputs if n.name in values]
        _same(found, np.concatenate(expected, axis=2).reshape(len(found), -1), segment.network)
        total += len(found)
    return total


def _given(x: Codes, beats: int) -> Codes:
    """A value (N, *shape) as tokens (N, beats, elements)."""
    if beats == 1:
        return x.reshape(len(x), 1, -1)
    return x.reshape(*x.shape[:2], beats).transpose(0, 2, 1)


def _same(found: Codes, expected: Codes, network: Network) -> None:
    if not np.array_equal(found, expected):
        token = int(np.flatnonzero((found != expected).any(axis=1))[0])
        raise MismatchError(
            f"token {token}: expected {expected[token].tolist()}, got {found[token].tolist()}",
            where=f"alkaid's interpreter, the circuit of {network.outputs[0].name}",
            hint="this is a fault of edgecomp or of alkaid: please report it with the model",
        )
