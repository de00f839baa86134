"""The circuit for a target and options, and its figures before synthesis."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from edgecomp.backends.estimate import Estimate
from edgecomp.backends.rtl.circuit import Circuit, make_circuit
from edgecomp.backends.rtl.forms import Form
from edgecomp.backends.rtl.options import Effort, RtlOptions
from edgecomp.backends.rtl.packs import WIDEST
from edgecomp.backends.rtl.parts import family
from edgecomp.errors import InexpressibleError
from edgecomp.ir import Conv, Dense, Network
from edgecomp.project import FpgaTarget
from edgecomp.report.figures import Figure, Source

ADDER = 12, 1.09375 + 6 * 0.025390625  # bits of a usual adder, and its delay in alkaid's levels
USABLE_CLOCK = 0.875
FORMS = (
    Form(),
    Form(depth=2),
    Form(depth=3),
    Form(depth=2, table_bits=8),
    Form(clamp=True),
    Form(saturate=False),
)
PACKED = (Form(packed=True),)


def level_ns(target: FpgaTarget) -> float:
    """One of alkaid's levels, so that a usual adder with its net takes as long as in the HLS estimate."""
    bits, levels = ADDER
    return family(target).delay.of(bits) / levels


def clock_ns(target: FpgaTarget, options: RtlOptions) -> float:
    return options.clock_ns or target.clock_ns


def cutoff_levels(target: FpgaTarget, options: RtlOptions) -> float:
    """The longest stage allowed, in levels of logic."""
    return options.latency_cutoff or max(1.0, clock_ns(target, options) * USABLE_CLOCK / level_ns(target))


def circuit_for(network: Network, target: FpgaTarget, options: RtlOptions) -> Circuit:
    """The one of FORMS with the fewest LUTs in alkaid's model at no more cycles than the first.

    effort=quick: the first.
    """
    return circuits_for(network, target, options)[0]


def circuits_for(network: Network, target: FpgaTarget, options: RtlOptions) -> tuple[Circuit, ...]:
    """Every circuit tried, the chosen one first."""
    cutoff = cutoff_levels(target, options)
    offered = (*FORMS, *(PACKED if has_narrow_sums(network) else ()))
    forms = [replace(form, ternary=bool(family(target).sum3)) for form in offered]
    forms = forms if options.effort is Effort.FULL else forms[:1]
    usual = make_circuit(network, forms[0], cutoff=cutoff)
    tried = [usual]
    for form in forms[1:]:
        with suppress(InexpressibleError):  # its constants may be too wide where the usual form's are not
            tried.append(make_circuit(network, form, cutoff=cutoff))
    allowed = [c for c in tried if c.cycles <= usual.cycles and c.delay <= max(cutoff, usual.delay)]
    best = min(allowed, key=lambda c: (c.lut, c.cycles, c.ff))
    return (best, *(c for c in tried if c is not best))


def has_narrow_sums(network: Network) -> bool:
    """Whether several numbers of a matrix product fit one look-up table."""
    values = network.values()
    return any(isinstance(node, Dense | Conv) and values[node.x].bits <= WIDEST for node in network.nodes)


def forecast(circuit: Circuit, target: FpgaTarget, options: RtlOptions) -> Estimate:
    """In total only: additions are shared across layers."""
    clock, method = clock_ns(target, options), f"alkaid's model of the circuit ({circuit.form})"
    delay = round(circuit.delay * level_ns(target), 3)
    total = {
        "lut": Figure(value=circuit.lut, unit=family(target).kinds["lut"][0], source=Source.ESTIMATE, method=method),
        "ff": Figure(value=circuit.ff, unit="flip-flops", source=Source.MEASURED, method="registers of the sources"),
        "cycles": Figure(value=circuit.cycles, unit="cycles", source=Source.ESTIMATE, method="stages of the pipeline"),
        "latency_ns": Figure(value=round(circuit.cycles * clock, 6), unit="ns", source=Source.ESTIMATE,
                             method=f"cycles times the clock of {clock:g} ns"),
        "stage_delay": Figure(value=delay, unit="ns", source=Source.ESTIMATE,
                              method=f"{circuit.delay:.1f} levels of {level_ns(target):.2f} ns in the longest stage"),
    }  # fmt: skip
    return Estimate(layers=(), total=total)
