"""The `rtl/` folder of a bundle: sources, both testbenches, and the scripts that run them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.hls.testbench import vector_text
from edgecomp.backends.rtl.axis import AXIS_TOP, axis_testbench, axis_top
from edgecomp.backends.rtl.circuit import Circuit
from edgecomp.backends.rtl.options import Interface, Io, Language, RtlOptions
from edgecomp.backends.rtl.scripts import RUN_GHDL, run_verilog
from edgecomp.backends.rtl.testbench import verilog_testbench, vhdl_testbench
from edgecomp.backends.rtl.top import CORE, TOP, layout, verilog_top
from edgecomp.backends.rtl.vhdl import vhdl_top
from edgecomp.backends.rtl.vivado import vivado_files
from edgecomp.bundle import Bundle
from edgecomp.project import FpgaTarget
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


def project_files(circuit: Circuit, language: Language, interface: Interface = Interface.PLAIN) -> Bundle:
    """Everything below `rtl/` but the vectors and what a vendor's tool reads."""
    files = {f"src/{name}": text for name, text in sources(circuit, language).items()}
    files["layout.txt"] = layout(circuit)
    if language is Language.VHDL:
        files |= {"testbench.vhd": vhdl_testbench(circuit), "run.sh": RUN_GHDL}
    else:
        files["vectors.hpp"] = resource("hls/rtl_vectors.hpp").read_text()
        files |= _axis_files(circuit) if interface is Interface.AXIS else _plain_files(circuit)
    return Bundle(files={f"{FOLDER}/{name}": text.encode() for name, text in sorted(files.items())})


def _plain_files(circuit: Circuit) -> dict[str, str]:
    return {"testbench.cpp": resource("hls/rtl_testbench.cpp").read_text(),
            "testbench.v": verilog_testbench(circuit), "run.sh": run_verilog(TOP)}  # fmt: skip


def _axis_files(circuit: Circuit) -> dict[str, str]:
    return {"src/axis.v": resource("hls/rtl_axis.v").read_text(), f"src/{AXIS_TOP}.v": axis_top(circuit),
            "testbench.cpp": resource("hls/rtl_axis_testbench.cpp").read_text(),
            "testbench.v": axis_testbench(circuit), "run.sh": run_verilog(AXIS_TOP)}  # fmt: skip


def part_files(circuit: Circuit, target: FpgaTarget, options: RtlOptions) -> Bundle:
    """`project_files`, and for Xilinx parts a project for Vivado."""
    return with_vivado(project_files(circuit, options.language, options.interface), target, options)


def with_vivado(files: Bundle, target: FpgaTarget, options: RtlOptions) -> Bundle:
    """The files, and for Xilinx parts a project for Vivado."""
    if not target.part.startswith("xc"):
        return files
    names = [name.removeprefix(f"{FOLDER}/src/") for name in files.files if name.startswith(f"{FOLDER}/src/")]
    vivado = vivado_files(names, target.part, options.clock_ns or target.clock_ns, options.interface,
                          ready=options.io is Io.STREAM)  # fmt: skip
    return files.merge(Bundle(files={f"{FOLDER}/vivado/{name}": text.encode() for name, text in vivado.items()}))


def vector_files(inputs: Mapping[str, Codes], expected: Mapping[str, Codes]) -> Bundle:
    """`rtl/tb_data/`: host codes (N, *shape) of every input, and what every output must give."""
    files = {f"{FOLDER}/tb_data/inputs_{name}.dat": vector_text(codes) for name, codes in inputs.items()}
    files |= {f"{FOLDER}/tb_data/expected_{name}.dat": vector_text(codes) for name, codes in expected.items()}
    return Bundle(files=files)
