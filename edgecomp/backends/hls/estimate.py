"""Latency, initiation interval and resources of an HLS build before synthesis; every figure is an estimate.

Parallel circuits: levels are chained along the longest path, and a register is put where the next level would not end
within the clock less its uncertainty, as an HLS scheduler does; the last result is registered as well. Streams: layers
do not overlap, so their cycles are an upper bound. See `cost` for areas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgecomp.backends.estimate import Estimate, LayerCost
from edgecomp.backends.hls.cost import Cost, cost
from edgecomp.backends.hls.options import HlsOptions, Io, Strategy, Vendor
from edgecomp.ir import ArgMax, Conv, Dense, MaxPool, Network, Node, SumPool, operands
from edgecomp.project import FpgaTarget
from edgecomp.report.figures import Figure, Source

BRAM_BITS_WIDE = 36

# The part of the clock period that hls4ml's projects leave to the HLS tool: `set clock_uncertainty` of project.tcl.
USABLE_CLOCK = {Vendor.VITIS: 0.73, Vendor.VIVADO: 0.875}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Of one level of n bits: base_ns + n * per_bit_ns, local routing included. A model, not a vendor's figure."""

    family: str
    base_ns: float
    per_bit_ns: float

    def of(self, bits: int) -> float:
        return self.base_ns + bits * self.per_bit_ns


# One LUT and one short net, then the carry chain. Chosen so that chained schedules come out near published ones: the
# muon trigger's 8-bit network takes 11 clocks of 6.25 ns on UltraScale+. 7 series are some 2.5 times slower a level.
ULTRASCALE = Delay(family="UltraScale+", base_ns=0.75, per_bit_ns=0.01)
SERIES_7 = Delay(family="7 series", base_ns=1.7, per_bit_ns=0.03)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a value is there: the clock cycle, and the ns into it."""

    cycle: int = 0
    ns: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One node's schedule: cycles it adds after its latest operand, register bits, and its own initiation interval."""

    cycles: int
    ff: int
    interval: int


def estimate(network: Network, target: FpgaTarget, options: HlsOptions) -> Estimate:
    """Per layer and in total; the totals also hold the initiation interval, the latency and whether it all fits."""
    values = network.values()
    costs = {node.name: cost(node, values) for node in network.nodes}
    clock = options.clock_ns or target.clock_ns
    delay = SERIES_7 if target.part.startswith("xc7") else ULTRASCALE
    usable = clock * USABLE_CLOCK[options.vendor]
    timed, cycles = _schedule(network, costs, options, delay, usable)
    layers = []
    for node in network.nodes:
        figures = _layer_figures(node, costs[node.name], timed[node.name], options, delay, clock)
        if any(figure.value for name, figure in figures.items() if name != "initiation_interval"):
            layers.append(LayerCost(node=node.name, kind=type(node).__name__, figures=figures))
    interval = max(entry.interval for entry in timed.values())
    return Estimate(layers=tuple(layers), total=_totals(layers, interval, cycles, clock, target, options, delay))


def _schedule(
    network: Network, costs: dict[str, Cost], options: HlsOptions, delay: Delay, usable: float
) -> tuple[dict[str, Timed], int]:
    """Every node's schedule, and the cycles from the first input to the last output."""
    there: dict[str, Moment] = {}
    timed: dict[str, Timed] = {}
    for node in network.nodes:
        start = max((there[name] for name in operands(node)), key=lambda m: (m.cycle, m.ns), default=Moment())
        read = sum(network.values()[name].size * network.values()[name].bits for name in operands(node))
        end, ff = _chain(start, read, costs[node.name], delay, usable)
        more = _more_cycles(node, network, options)
        if more:
            end = Moment(cycle=end.cycle + more, ns=end.ns)
        interval = _interval(node, network, options)
        there[node.name] = end
        timed[node.name] = Timed(cycles=end.cycle - start.cycle, ff=ff, interval=interval)
    return timed, max(moment.cycle for moment in there.values()) + 1


def _chain(start: Moment, read: int, cost: Cost, delay: Delay, usable: float) -> tuple[Moment, int]:
    """The moment after the node's levels, and the bits of the registers before and between them; it reads `read`."""
    cycle, ns, ff, live = start.cycle, start.ns, 0, read
    for level in cost.levels:
        needed = delay.of(level.bits)
        if ns and ns + needed > usable:
            cycle, ns, ff = cycle + 1, 0.0, ff + live
        ns += needed
        if ns > usable:  # one level alone misses the clock: it is spread over several cycles
            stages = math.ceil(ns / usable) - 1
            cycle, ns, ff = cycle + stages, ns - stages * usable, ff + stages * level.live
        live = level.live or live
    return Moment(cycle=cycle, ns=ns), ff


def _places(node: Node, network: Network) -> int:
    return math.prod(network.values()[node.name].shape[1:])


def _reuse(node: Node, options: HlsOptions) -> int:
    return options.reuse_of(node.name) if isinstance(node, Dense | Conv) else 1


def _interval(node: Node, network: Network, options: HlsOptions) -> int:
    """Cycles between two samples that the node can take."""
    reuse = _reuse(node, options)
    if options.io is Io.PARALLEL:
        return reuse * (_places(node, network) if _sequential(node, options) else 1)
    beats = [math.prod(network.values()[name].shape[1:]) for name in (*operands(node), node.name)]
    buffered = isinstance(node, MaxPool | SumPool | ArgMax)
    return (sum(beats) if buffered else max(beats)) * reuse


def _sequential(node: Node, options: HlsOptions) -> bool:
    """hls4ml's resource strategy computes one place of a convolution after the other."""
    return isinstance(node, Conv) and options.strategy is Strategy.RESOURCE


def _more_cycles(node: Node, network: Network, options: HlsOptions) -> int:
    """Cycles beyond the chain of levels: shared multipliers take turns, streams move one place a cycle."""
    return max(0, _interval(node, network, options) - 1)


def _layer_figures(
    node: Node, cost: Cost, timed: Timed, options: HlsOptions, delay: Delay, clock: float
) -> dict[str, Figure]:
    shared = cost.products > 0 and (_reuse(node, options) > 1 or options.strategy is Strategy.RESOURCE)
    numbers = _shared(node, cost, options) if shared else {"lut": cost.lut, "dsp": cost.dsp, "bram18": 0}
    found: dict[str, int | float] = {
        **numbers, "cycles": timed.cycles, "latency_ns": round(timed.cycles * clock, 6),
        "initiation_interval": timed.interval, "ff": timed.ff, "weight_bits": cost.weight_bits,
        "adder_bits": cost.adder_bits, "multipliers": numbers.get("multipliers", cost.multipliers),
    }  # fmt: skip
    methods = {"cycles": schedule_method(options, delay), "latency_ns": "cycles times the clock",
               "initiation_interval": "reuse factor times places in turn",
               "weight_bits": "constants times their width"}  # fmt: skip
    method = "shared multipliers in DSP slices, weights in block RAM" if shared else AREA_METHOD
    return {
        name: Figure(value=found[name], unit=unit, source=Source.ESTIMATE, method=methods.get(name, method))
        for name, unit in UNITS.items()
    }


UNITS = {
    "cycles": "cycles", "latency_ns": "ns", "initiation_interval": "cycles", "multipliers": "multipliers",
    "adder_bits": "bits", "weight_bits": "bits", "lut": "6-input LUTs", "ff": "flip-flops", "dsp": "DSP slices",
    "bram18": "18 Kb block RAMs",
}  # fmt: skip
AREA_METHOD = "shift-add model: one adder tree over the signed digits of each output's weights, one LUT an adder bit"


def schedule_method(options: HlsOptions, delay: Delay) -> str:
    usable = f"{USABLE_CLOCK[options.vendor]:.1%} of the clock"
    chain = f"{delay.base_ns} ns + {delay.per_bit_ns} ns a bit for each level ({delay.family}), chained within {usable}"
    return chain if options.io is Io.PARALLEL else f"{chain}; one place a cycle, layers not overlapping (upper bound)"


def _shared(node: Node, cost: Cost, options: HlsOptions) -> dict[str, int]:
    """A layer whose multipliers take turns over `reuse` cycles: real multipliers, weights read from memory."""
    reuse = _reuse(node, options)
    multipliers = math.ceil(cost.products / reuse)
    a, b = max(cost.product_bits), min(cost.product_bits)
    in_dsp = b >= 5
    slices = math.ceil(a / 26) * math.ceil(b / 17)
    wide = multipliers * cost.product_bits[1]
    return {
        "multipliers": multipliers,
        "lut": math.ceil(cost.lut / reuse) if not in_dsp else multipliers * (a + b),
        "dsp": multipliers * slices if in_dsp else 0,
        "bram18": math.ceil(wide / BRAM_BITS_WIDE) * math.ceil(reuse / 512) if reuse > 1 else 0,
    }


SUMMED = ("multipliers", "adder_bits", "weight_bits", "lut", "ff", "dsp", "bram18")


def _totals(
    layers: list[LayerCost], interval: int, cycles: int, clock: float, target: FpgaTarget, options: HlsOptions,
    delay: Delay,
) -> dict[str, Figure]:  # fmt: skip
    method = schedule_method(options, delay)

    def figure(value: int | float | bool, unit: str, how: str) -> Figure:
        return Figure(value=value, unit=unit, source=Source.ESTIMATE, method=how)

    totals = {
        "initiation_interval": figure(interval, "cycles", "the slowest layer: reuse factor times places in turn"),
        "cycles": figure(cycles, "cycles", f"{method}; with the output register"),
        "latency_ns": figure(round(cycles * clock, 6), "ns", f"cycles times the clock of {clock:g} ns"),
    }
    for name in SUMMED:
        parts = [layer.figures[name] for layer in layers]
        unit = parts[0].unit if parts else "bits"
        totals[name] = figure(sum(int(part.value) for part in parts), unit, "sum over the layers")
    offered = {"lut": target.lut, "ff": target.ff, "dsp": target.dsp, "bram18": target.bram18}
    over = [name for name, most in offered.items() if int(totals[name].value) > most]
    totals["fits"] = figure(not over, "yes or no", f"estimated LUT, FF, DSP and block RAM against the {target.name}'s")
    return totals
