"""The figures of a streamed circuit before synthesis."""

from __future__ import annotations

import math

from edgecomp.backends.estimate import Estimate
from edgecomp.backends.rtl.figures import clock_ns, level_ns
from edgecomp.backends.rtl.options import RtlOptions
from edgecomp.backends.rtl.parts import family
from edgecomp.backends.rtl.stream_circuit import StreamCircuit
from edgecomp.backends.rtl.stream_plan import Window, pixel_bits
from edgecomp.backends.rtl.stream_top import first_bus
from edgecomp.project import FpgaTarget
from edgecomp.report.figures import Figure, Source

ENTRIES_PER_LUT = 32  # bits of a two-port memory in look-up tables that one of them holds


def stream_forecast(design: StreamCircuit, target: FpgaTarget, options: RtlOptions) -> Estimate:
    """Pipelines by alkaid's model, memories by their bits; a report counts the cycles in simulation."""
    circuits, segments = design.circuits, design.plan.segments
    names = ", ".join(f"{s.network.outputs[0].name}: {c.form}" for s, c in zip(segments, circuits, strict=True))
    method = f"alkaid's model of the circuits of one place ({names}), and memories of {ENTRIES_PER_LUT} bits a LUT"
    memories = [*_fifos(design), *_lines(design)]
    held = sum(c.ff for c in circuits) + _registers(design)
    delay = max(c.delay for c in circuits)
    level = level_ns(target)
    total = {
        "lut": Figure(value=sum(c.lut for c in circuits) + sum(math.ceil(e / ENTRIES_PER_LUT) * b for e, b in memories),
                      unit=family(target).kinds["lut"][0], source=Source.ESTIMATE, method=method),
        "ff": Figure(value=held, unit="flip-flops", source=Source.ESTIMATE,
                     method="registers of the pipelines, of windows and behind memories; counters are not counted"),
        "memory": Figure(value=sum(e * b for e, b in memories), unit="bits", source=Source.MEASURED,
                         method=f"{len(_lines(design))} line buffers and {len(_fifos(design))} FIFOs of the sources"),
        "places": Figure(value=design.in_beats, unit="cycles", source=Source.MEASURED,
                         method="places of a frame that go in, one a cycle at most"),
        "stage_delay": Figure(value=round(delay * level, 3), unit="ns", source=Source.ESTIMATE,
                              method=f"{delay:.1f} levels of {level:.2f} ns in the longest stage of a pipeline, for a "
                              f"clock of {clock_ns(target, options):g} ns"),
    }  # fmt: skip
    return Estimate(layers=(), total=total)


def _windows(design: StreamCircuit) -> list[tuple[Window, int]]:
    """Every window, and the bits of one place before it."""
    return [(mover, pixel_bits(each.stream.channels)) for _, each in design.plan.edges
            for mover in each.stream.movers if isinstance(mover, Window)]  # fmt: skip


def _lines(design: StreamCircuit) -> list[tuple[int, int]]:
    """(entries, bits) of every line buffer."""
    found = [(w.grid[1], (w.kernel[0] - 1) * w.dilation[0] * bits) for w, bits in _windows(design)]
    return [(entries, bits) for entries, bits in found if bits]


def _fifos(design: StreamCircuit) -> list[tuple[int, int]]:
    """(entries, bits) of every FIFO's memory."""
    return [
        (1 << address_bits, first_bus(design, k, each).width)
        for k, ((_, each), address_bits) in enumerate(zip(design.plan.edges, design.address_bits, strict=True))
    ]


def _registers(design: StreamCircuit) -> int:
    """Bits of the columns in windows, and of the registers behind memories."""
    columns = sum(w.span[1] * w.kernel[0] * bits for w, bits in _windows(design))
    return columns + sum(bits for _, bits in (*_lines(design), *_fifos(design)))
