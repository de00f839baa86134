"""What a mapped netlist costs: area, static power from the states seen, delay, and the supplies that can drive it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.printed.library import Cell, PrintedTarget
from edgecomp.backends.printed.netlist import INVERTER, Netlist
from edgecomp.backends.printed.sequential import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class AtVoltage:
    """Static power and delay at one voltage; `supply` is the weakest that carries it, or None.

    `delay_ms` is from an input to its result: `clock_ms` times the cycles. `period_ms` is the target's period, or the
    delay where that is longer.
    """

    voltage: float
    power_mw: float
    clock_ms: float
    delay_ms: float
    period_ms: float
    supply: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A netlist's cost, converters apart: `converters` counts input bits as (bits, how many inputs).

    `register_bits` and `cycles` are a machine's; 0 and 1 of a combinational circuit.
    """

    area_cm2: float
    register_bits: int
    cycles: int
    cells: Mapping[str, int]
    voltages: tuple[AtVoltage, ...]
    converter_area_cm2: float
    converter_power_mw: float
    converters: Mapping[int, int]

    def at(self, voltage: float) -> AtVoltage:
        return next(v for v in self.voltages if v.voltage == voltage)


def area_cm2(netlist: Netlist, target: PrintedTarget) -> float:
    return sum(target.cells[name].area_um2 * count for name, count in netlist.counts().items()) / 1e8


def cost_of(netlist: Netlist, target: PrintedTarget, states: NDArray[np.int64], machine: Machine | None = None) -> Cost:
    """The cost of a netlist whose cells were seen in `states` (cells, states) by `simulate.gates`."""
    converters = _converters(netlist, frozenset() if machine is None else machine.own)
    area, power = _converter_cost(target, converters)
    return Cost(
        area_cm2=area_cm2(netlist, target) + register_cm2(target, machine), cells=netlist.counts(),
        register_bits=0 if machine is None else machine.bits, cycles=1 if machine is None else machine.cycles + 1,
        voltages=tuple(_at(netlist, target, states, v, machine) for v in target.voltages), converters=converters,
        converter_area_cm2=area, converter_power_mw=power,
    )  # fmt: skip


def register_cm2(target: PrintedTarget, machine: Machine | None) -> float:
    """Two latches a bit, and the inverter of the clock."""
    if machine is None:
        return 0.0
    assert target.latch is not None
    return (2 * machine.bits * target.latch.area_um2 + target.cells[INVERTER].area_um2) / 1e8


def _at(
    netlist: Netlist, target: PrintedTarget, states: NDArray[np.int64], voltage: float, machine: Machine | None
) -> AtVoltage:
    power = static_mw(netlist, target, states, voltage)
    clock = delay = delay_ms(netlist, target, voltage)
    if machine is not None:
        latch = target.latch
        assert latch is not None
        inverter = sum(target.cells[INVERTER].static_uw[voltage]) / 2  # the clock is high for half of the time
        power += (2 * machine.bits * latch.mean_uw[voltage] + inverter) / 1000
        clock += 2 * latch.delay_ms[voltage]
        delay = (machine.cycles + 1) * clock
    supply = next((name for name, most in target.supplies if power <= most), None)
    return AtVoltage(voltage=voltage, power_mw=power, clock_ms=clock, delay_ms=delay,
                     period_ms=max(target.period_ms, delay), supply=supply)  # fmt: skip


def static_mw(netlist: Netlist, target: PrintedTarget, states: NDArray[np.int64], voltage: float) -> float:
    """The mean over the vectors of the power of every cell in its state."""
    if not netlist.cells:
        return 0.0
    table = np.zeros((len(netlist.names), states.shape[1]))
    for row, name in enumerate(netlist.names):
        powers = target.cells[name].static_uw[voltage]
        table[row, : len(powers)] = powers
    vectors = int(states[0].sum())
    return float((states * table[netlist.kind]).sum() / vectors / 1000)


def delay_ms(netlist: Netlist, target: PrintedTarget, voltage: float) -> float:
    """The longest path, rising and falling edges apart: an estimate without wires."""
    rise = [0.0] * (netlist.first + netlist.cells)
    fall = [0.0] * (netlist.first + netlist.cells)
    cells = [target.cells[name] for name in netlist.names]
    for place, kind in enumerate(netlist.kind.tolist()):
        cell = cells[kind]
        up = down = 0.0
        for k, pin in enumerate(netlist.pins[place, : len(cell.pins)].tolist()):
            positive, negative = unateness(cell, k)
            up = max(up, rise[pin] if positive else 0.0, fall[pin] if negative else 0.0)
            down = max(down, fall[pin] if positive else 0.0, rise[pin] if negative else 0.0)
        rise[netlist.first + place] = up + cell.rise_ms[voltage]
        fall[netlist.first + place] = down + cell.fall_ms[voltage]
    return max((max(rise[bit], fall[bit]) for port in netlist.outputs for bit in port.bits), default=0.0)


def unateness(cell: Cell, pin: int) -> tuple[bool, bool]:
    """Whether the output can rise, and whether it can fall, when this pin rises."""
    pairs = [(cell.truth[s], cell.truth[s | 1 << pin]) for s in range(len(cell.truth)) if not s >> pin & 1]
    return any(b and not a for a, b in pairs), any(a and not b for a, b in pairs)


def _converters(netlist: Netlist, own: frozenset[str]) -> dict[int, int]:
    """How many inputs are read with how many bits: from the highest down to the lowest that any cell reads."""
    read = {int(pin) for pin in netlist.pins.reshape(-1)} | {bit for port in netlist.outputs for bit in port.bits}
    found: dict[int, int] = {}
    for port in (port for port in netlist.inputs if port.node not in own):
        used = [k for k, bit in enumerate(port.bits) if bit in read]
        if used:
            bits = len(port.bits) - used[0]
            found[bits] = found.get(bits, 0) + 1
    return dict(sorted(found.items()))


def _converter_cost(target: PrintedTarget, converters: Mapping[int, int]) -> tuple[float, float]:
    """(cm2, mW) of the inputs' converters, each the smallest that has the bits; beyond them doubling with each bit."""
    area = power = 0.0
    known = sorted(target.converters, key=lambda c: c.bits)
    for bits, count in converters.items():
        if known:
            one = next((c for c in known if c.bits >= bits), known[-1])
            factor = count * 2.0 ** max(0, bits - one.bits)
            area, power = area + factor * one.area_mm2 / 100, power + factor * one.power_mw
    return area, power
