"""Figures of a printed design: a forecast before mapping, and what the mapped gates cost."""

from __future__ import annotations

from edgecomp.backends.estimate import Estimate, LayerCost
from edgecomp.backends.printed.check import summed_bits
from edgecomp.backends.printed.cost import Cost
from edgecomp.backends.printed.forms import Form
from edgecomp.backends.printed.gates import Circuit, Kind
from edgecomp.backends.printed.library import PrintedTarget
from edgecomp.backends.printed.lower import to_circuit
from edgecomp.ir import Network
from edgecomp.report.figures import Figure, Source

BASE_CELL = "NAND2"
AND_CELLS, XOR_CELLS = 1.0, 3.3  # mapped area of an AND and an XOR node, in smallest cells: seen over trained networks


def predicted_cm2(circuit: Circuit, target: PrintedTarget) -> float:
    """The area that a circuit's gates foretell."""
    smallest = min(cell.area_um2 for cell in target.cells.values() if len(cell.pins) == 2)
    ands, xors = (int((circuit.kind == kind).sum()) for kind in (Kind.AND, Kind.XOR))
    return (AND_CELLS * ands + XOR_CELLS * xors) * smallest / 1e8


def mw_per_cm2(target: PrintedTarget, voltage: float) -> float:
    """Static power of a square centimetre: the mean over the library's cells, each in its mean state."""
    shares = [sum(cell.static_uw[voltage]) / len(cell.truth) / cell.area_um2 for cell in target.cells.values()]
    return 1e5 * sum(shares) / len(shares)


def forecast(network: Network, target: PrintedTarget) -> Estimate:
    """Summed bits per layer, and the area and power that the circuit's gates foretell."""
    values = network.values()
    layers = []
    for node in network.nodes:
        bits = summed_bits(node, values)
        if bits:
            figure = Figure(value=bits, unit="bits", source=Source.MEASURED, method="signed digits times code bits")
            layers.append(LayerCost(node=node.name, kind=type(node).__name__, figures={"summed_bits": figure}))
    area = predicted_cm2(to_circuit(network, Form()), target)
    volts = min(target.voltages)
    total = {
        "area": Figure(value=round(area, 4), unit="cm2", source=Source.ESTIMATE,
                       method="AND and XOR gates before mapping"),
        "power": Figure(value=round(area * mw_per_cm2(target, volts), 4), unit="mW", source=Source.ESTIMATE,
                        method=f"that area of a mean cell at {volts:g} V"),
    }  # fmt: skip
    return Estimate(layers=tuple(layers), total=total)


def mapped_figures(cost: Cost, target: PrintedTarget) -> dict[str, Figure]:
    """The mapped gates' figures by name; converters stand apart from the circuit."""
    seen = "mean over the input states seen with the vectors"
    figures = {
        "area": Figure(value=round(cost.area_cm2, 5), unit="cm2", source=Source.MEASURED,
                       method="mapped cells, converters apart"),
        "cells": Figure(value=sum(cost.cells.values()), unit="cells", source=Source.MEASURED,
                        method=", ".join(f"{n} {name}" for name, n in sorted(cost.cells.items())) or "wires only"),
        "converter_area": Figure(value=round(cost.converter_area_cm2, 4), unit="cm2", source=Source.ESTIMATE,
                                 method=_converters(cost)),
        "converter_power": Figure(value=round(cost.converter_power_mw, 4), unit="mW", source=Source.ESTIMATE,
                                  method=_converters(cost)),
    }  # fmt: skip
    if cost.register_bits:
        figures["register_bits"] = Figure(value=cost.register_bits, unit="bits", source=Source.MEASURED,
                                          method="two latches each, within the area")  # fmt: skip
        figures["cycles"] = Figure(value=cost.cycles, unit="cycles", source=Source.MEASURED,
                                   method="from start to the result, counted in the simulation")  # fmt: skip
    for at in cost.voltages:
        volts = f"{at.voltage:g}V"
        carried = at.supply or f"none of {', '.join(name for name, _ in target.supplies)}"
        if cost.register_bits:
            figures[f"clock_{volts}"] = Figure(value=round(at.clock_ms, 1), unit="ms", source=Source.ESTIMATE,
                                               method="longest path and two latches")  # fmt: skip
        path = "the clock's period times the cycles" if cost.register_bits else "longest path of cell delays, no wires"
        figures |= {
            f"power_{volts}": Figure(value=round(at.power_mw, 4), unit="mW", source=Source.ESTIMATE, method=seen),
            f"delay_{volts}": Figure(value=round(at.delay_ms, 1), unit="ms", source=Source.ESTIMATE,
                                     method=path),
            f"period_{volts}": Figure(value=round(at.period_ms, 1), unit="ms", source=Source.ESTIMATE,
                                      method="the target's period, or the delay where that is longer"),
            f"supply_{volts}": Figure(value=carried, unit="supply", source=Source.ESTIMATE,
                                      method="the weakest whose power suffices, converters apart"),
        }  # fmt: skip
    return figures


def _converters(cost: Cost) -> str:
    return " and ".join(f"{n} of {bits} bits" for bits, n in cost.converters.items()) or "no input is read"
