"""Latency and resources of a fully parallel circuit before synthesis: a model, and each figure says which.

Constant products are shift-adds in canonical signed digits, sums are balanced adder trees, an adder of w bits takes w
LUTs (one carry bit a LUT, UG574), and a level of logic takes LEVEL_NS with its routing. Registers stand between stages
of as many levels as fit the clock. The vendor's tools do not run here, so none of this is a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.estimate import Estimate, LayerCost
from edgecomp.backends.hls.options import HlsOptions
from edgecomp.ir import (
    Add,
    ArgMax,
    Conv,
    Dense,
    MaxPool,
    Mul,
    Network,
    Node,
    Requant,
    Rounding,
    Step,
    SumPool,
    TableDense,
    Value,
    operands,
)
from edgecomp.project import FpgaTarget
from edgecomp.report.figures import Figure, Source

LEVEL_NS = 1.0  # carry chain of some 16 bits with its routing on UltraScale+ at speed grade -2; a round number
MARGIN = 0.875  # of the clock period, as Vitis HLS leaves 12.5 % for clock uncertainty by default (27 % in later ones)
METHOD = "parallel shift-add model: signed-digit products, balanced adder trees, one LUT a carry bit"
PIPELINE = f"levels of logic of {LEVEL_NS} ns in {MARGIN} of the clock period, a register after each full stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one layer takes: products that are no shift, adder bits, constant bits, levels of logic on its path."""

    multipliers: int = 0
    adder_bits: int = 0
    weight_bits: int = 0
    levels: int = 0


def signed_digits(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Non-zero digits of each integer's canonical signed-digit form: bits of 3v xor v, halved away."""
    wide = np.abs(values).astype(object)
    return np.array([((3 * int(v)) ^ int(v)).bit_count() for v in wide.reshape(-1)], dtype=np.int64).reshape(
        values.shape
    )


def _linear(weight: NDArray[np.int64], places: int, value: Value) -> Cost:
    rows = np.abs(weight).reshape(len(weight), -1)
    digits = signed_digits(rows).sum(axis=1)
    adders = int(np.maximum(digits - 1, 0).sum())
    products = int(((rows & (rows - 1)) != 0).sum())
    bits = int(sum(int(v).bit_length() for v in rows.reshape(-1)))
    return Cost(
        multipliers=products * places, adder_bits=adders * places * value.bits, weight_bits=bits,
        levels=math.ceil(math.log2(max(2, int(digits.max()) + 1))),
    )  # fmt: skip


def _requant(node: Requant, value: Value, x: Value) -> Cost:
    digits = int(signed_digits(node.multiplier.array).max())
    extra = 2 if node.rounding is Rounding.HALF_EVEN else 1 if any(node.addend.array) else 0
    rows = max(0, digits - 1) + extra + 1
    hard = int(digits > 1) * value.size
    return Cost(
        multipliers=hard, adder_bits=rows * value.size * max(value.bits, x.bits // 2),
        levels=1 + math.ceil(math.log2(max(1, digits) + extra)),
    )  # fmt: skip


def _step(node: Step, value: Value, x: Value) -> Cost:
    count = node.thresholds.shape[1]
    lookups = math.ceil((1 << x.bits) / 64) * value.bits if x.bits <= 12 else count * x.bits
    return Cost(adder_bits=value.size * lookups, weight_bits=node.thresholds.array.size * x.bits,
                levels=1 + math.ceil(math.log2(max(2, count)) / 3))  # fmt: skip


def cost(node: Node, values: Mapping[str, Value]) -> Cost:
    """The model's cost of one node; data movement is wires."""
    value = values[node.name]
    xs = [values[name] for name in operands(node)]
    places = value.size // value.shape[0]
    match node:
        case Dense() | Conv():
            return _linear(node.weight.array, places, value)
        case Requant():
            return _requant(node, value, xs[0])
        case Step():
            return _step(node, value, xs[0])
        case Add():
            digits = int(signed_digits(node.p.array).max() + signed_digits(node.q.array).max())
            levels = math.ceil(math.log2(max(2, digits)))
            return Cost(adder_bits=max(1, digits - 1) * value.size * value.bits, levels=levels)
        case Mul():
            rows = min(xs[0].bits, xs[1].bits)
            levels = 1 + math.ceil(math.log2(max(2, rows)))
            return Cost(multipliers=value.size, adder_bits=rows * value.size * value.bits, levels=levels)
        case MaxPool() | SumPool():
            taps = math.prod(node.kernel)
            return Cost(adder_bits=(taps - 1) * value.size * value.bits * (2 if isinstance(node, MaxPool) else 1),
                        levels=math.ceil(math.log2(max(1, taps))))  # fmt: skip
        case TableDense():
            lookups = math.ceil(node.tables.shape[2] / 64) * node.tables.array.shape[0] * node.tables.shape[1]
            return Cost(adder_bits=lookups * value.bits * 2, weight_bits=node.tables.array.size * value.bits,
                        levels=1 + math.ceil(math.log2(max(2, node.tables.shape[1]))))  # fmt: skip
        case ArgMax():
            return Cost(adder_bits=2 * xs[0].size * xs[0].bits, levels=2 * math.ceil(math.log2(max(2, xs[0].size))))
        case _:
            return Cost()


def _figure(value: float, unit: str, method: str = METHOD) -> Figure:
    return Figure(value=value, unit=unit, source=Source.ESTIMATE, method=method)


def estimate(network: Network, target: FpgaTarget, options: HlsOptions) -> Estimate:
    """Figures per layer and in total for a parallel circuit at the target's clock."""
    values = network.values()
    clock = options.clock_ns or target.clock_ns
    per_stage = max(1, math.floor(clock * MARGIN / LEVEL_NS))
    depth: dict[str, int] = {}
    layers, costs = [], []
    for node in network.nodes:
        one = cost(node, values)
        depth[node.name] = max((depth[name] for name in operands(node)), default=0) + one.levels
        if one.levels:
            layers.append(
                LayerCost(node=node.name, kind=type(node).__name__, figures=_layer(one, values[node.name], per_stage))
            )
        costs.append(one)
    cycles = math.ceil(max(depth.values()) / per_stage) + 1
    reuse = max([options.reuse, *(factor for _, factor in options.layer_reuse)])
    return Estimate(layers=tuple(layers), total=_total(costs, network, cycles + reuse - 1, reuse, clock))


def _layer(one: Cost, value: Value, per_stage: int) -> dict[str, Figure]:
    return {
        "levels": _figure(one.levels, "levels of logic", PIPELINE),
        "cycles": _figure(math.ceil(one.levels / per_stage), "clock cycles", PIPELINE),
        "multipliers": _figure(one.multipliers, "products"),
        "adder_bits": _figure(one.adder_bits, "bits"),
        "weight_bits": _figure(one.weight_bits, "bits"),
        "output_bits": _figure(value.bits * value.size, "bits"),
    }


def _total(costs: Sequence[Cost], network: Network, cycles: int, reuse: int, clock: float) -> dict[str, Figure]:
    values = network.values()
    adder_bits = sum(one.adder_bits for one in costs)
    widest = max(value.bits * value.size for value in values.values())
    ff = cycles * widest
    return {
        "clock_ns": Figure(value=clock, unit="ns", source=Source.ESTIMATE, method="the clock period aimed at"),
        "cycles": _figure(cycles, "clock cycles", PIPELINE),
        "ns": _figure(round(cycles * clock, 3), "ns", PIPELINE),
        "initiation_interval": _figure(reuse, "clock cycles", "the reuse factor; 1 is fully parallel"),
        "multipliers": _figure(sum(one.multipliers for one in costs), "products"),
        "adder_bits": _figure(adder_bits, "bits"),
        "weight_bits": _figure(sum(one.weight_bits for one in costs), "bits"),
        "lut": _figure(adder_bits, "LUT"),
        "ff": _figure(ff, "FF", "a register of the widest value after every stage"),
        "dsp": _figure(0, "DSP", "constant products in logic"),
        "bram18": _figure(0, "BRAM18", "constants and tables in logic"),
    }
