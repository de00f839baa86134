"""What Yosys is told for each family of parts, and what its cells count for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.backends.hls.estimate import SERIES_7, ULTRASCALE, Delay
from edgecomp.project import FpgaTarget

# resource: unit, how much of it a cell is by the head of its name, the longest that fits
Kinds = Mapping[str, tuple[str, Mapping[str, int]]]

# Look-up tables of each memory (AMD, UltraScale Architecture Libraries Guide UG974, 7 Series UG953).
XILINX_MEMORIES = {
    "RAM32X1S": 1,
    "RAM32X1D": 2,
    "RAM32M": 4,
    "RAM32M16": 8,
    "RAM64X1S": 1,
    "RAM64X1D": 2,
    "RAM64M": 4,
    "RAM64M8": 8,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM256X1S": 4,
    "RAM256X1D": 8,
    "RAM512X1S": 8,
}

XILINX_KINDS: Kinds = {
    "lut": ("6-input LUTs", {"LUT": 1, "SRL": 1, **XILINX_MEMORIES}),
    "ff": ("flip-flops", {"FD": 1}),
    "carry": ("carry blocks", {"CARRY": 1}),
    "dsp": ("DSP slices", {"DSP": 1}),
    "bram18": ("18 Kb block RAMs", {"RAMB18": 1, "RAMB36": 2}),
}
ICE40_KINDS: Kinds = {
    "lut": ("4-input LUTs", {"SB_LUT4": 1}),
    "ff": ("flip-flops", {"SB_DFF": 1}),
    "carry": ("carry cells", {"SB_CARRY": 1}),
    "dsp": ("DSP blocks", {"SB_MAC16": 1}),
    "bram18": ("4 Kb block RAMs", {"SB_RAM40": 1}),
}
ECP5_KINDS: Kinds = {
    "lut": ("4-input LUTs", {"LUT4": 1, "CCU2C": 2}),
    "ff": ("flip-flops", {"TRELLIS_FF": 1}),
    "carry": ("carry blocks", {"CCU2C": 1}),
    "dsp": ("18 x 18 multipliers", {"MULT18X18D": 1}),
    "bram18": ("18 Kb block RAMs", {"DP16KD": 1}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """`script` maps a design without its top's name; `models` are Yosys's own of its cells, in its share folder.

    `delay` is of one level of logic with its net; `sum3` replaces the addition of three operands where it is not "".
    """

    script: str
    models: str
    kinds: Kinds
    delay: Delay
    sum3: str = ""


def xilinx(name: str, delay: Delay) -> Family:
    """Memories in look-up tables: Yosys has no model of a block RAM to simulate the netlist with."""
    return Family(script=f"synth_xilinx -family {name} -nodsp -nobram -noiopad -flatten", models="xilinx/cells_sim.v",
                  kinds=XILINX_KINDS, delay=delay, sum3="xilinx_sum3.v")  # fmt: skip


# Lattice delays were chosen after what nextpnr reached on small perceptrons: a model, not the vendor's figures.
FAMILIES: Mapping[str, Family] = {
    "xc7": xilinx("xc7", SERIES_7),
    "xc": xilinx("xcup", ULTRASCALE),
    "iCE40UP": Family(script="synth_ice40 -device u", models="ice40/cells_sim.v", kinds=ICE40_KINDS,
                      delay=Delay(family="iCE40 UltraPlus", base_ns=4.5, per_bit_ns=0.3)),
    "iCE40HX": Family(script="synth_ice40 -device hx", models="ice40/cells_sim.v", kinds=ICE40_KINDS,
                      delay=Delay(family="iCE40 HX", base_ns=1.7, per_bit_ns=0.13)),
    "LFE5U": Family(script="synth_ecp5 -nobram -nolutram -nodsp", models="ecp5/cells_sim.v", kinds=ECP5_KINDS,
                    delay=Delay(family="ECP5", base_ns=2.5, per_bit_ns=0.09)),
}  # fmt: skip


def family(target: FpgaTarget) -> Family:
    """By the first of FAMILIES that the part's name begins with; a test holds every target to having one."""
    return next(found for head, found in FAMILIES.items() if target.part.startswith(head))
