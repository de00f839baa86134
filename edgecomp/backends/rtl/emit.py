"""The `rtl/` folder of a bundle: sources, both testbenches, and the scripts that run them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.hls.testbench import vector_text
from edgecomp.backends.rtl.circuit import Circuit
from edgecomp.backends.rtl.options import Language
from edgecomp.backends.rtl.scripts import RUN_GHDL, RUN_VERILOG
from edgecomp.backends.rtl.testbench import verilog_testbench, vhdl_testbench
from edgecomp.backends.rtl.top import CORE, TOP, layout, verilog_top
from edgecomp.backends.rtl.vhdl import vhdl_top
from edgecomp.bundle import Bundle
from edgecomp.resources import resource

Codes = NDArray[np.int64]
FOLDER = "rtl"


def sources(circuit: Circuit, language: Language) -> dict[str, str]:
    """The circuit's files by name, below `src/`."""
    if language is Language.VHDL:
        return vhdl_sources(circuit)
    from alkaid.codegen.rtl.verilog.fsm import fsm_logic_gen

    codes = fsm_logic_gen(circuit.machine, CORE, print_latency=False, timescale="`timescale 1 ns / 1 ps")
    return {**{f"{name}.v": code for name, code in codes.items()}, "cells.v": resource("hls/rtl_cells.v").read_text(),
            f"{TOP}.v": verilog_top(circuit)}  # fmt: skip


def vhdl_sources(circuit: Circuit) -> dict[str, str]:
    from alkaid.codegen.rtl.vhdl.fsm import fsm_logic_gen

    codes = fsm_logic_gen(circuit.machine, CORE, print_latency=False, timescale=None)
    return {**{f"{name}.vhd": code for name, code in codes.items()},
            "cells.vhd": resource("hls/rtl_cells.vhd").read_text(), f"{TOP}.vhd": vhdl_top(circuit)}  # fmt: skip


def project_files(circuit: Circuit, language: Language) -> Bundle:
    """Everything below `rtl/` but the vectors."""
    files = {f"src/{name}": text for name, text in sources(circuit, language).items()}
    files["layout.txt"] = layout(circuit)
    if language is Language.VHDL:
        files |= {"testbench.vhd": vhdl_testbench(circuit), "run.sh": RUN_GHDL}
    else:
        cpp = resource("hls/rtl_testbench.cpp").read_text()
        files |= {"testbench.cpp": cpp, "testbench.v": verilog_testbench(circuit), "run.sh": RUN_VERILOG}
    return Bundle(files={f"{FOLDER}/{name}": text.encode() for name, text in sorted(files.items())})


def vector_files(inputs: Mapping[str, Codes], expected: Mapping[str, Codes]) -> Bundle:
    """`rtl/tb_data/`: host codes (N, *shape) of every input, and what every output must give."""
    files = {f"{FOLDER}/tb_data/inputs_{name}.dat": vector_text(codes) for name, codes in inputs.items()}
    files |= {f"{FOLDER}/tb_data/expected_{name}.dat": vector_text(codes) for name, codes in expected.items()}
    return Bundle(files=files)
