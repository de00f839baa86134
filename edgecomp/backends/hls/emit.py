"""The `hls/` folder of a bundle: hls4ml's project, the kernels, our testbench, and the weights in integers."""

from __future__ import annotations

import json

from edgecomp.backends.hls.drive import PROJECT, Project, write_project
from edgecomp.backends.hls.lower import plan
from edgecomp.backends.hls.options import HlsOptions
from edgecomp.backends.hls.scripts import BUILD_PRJ_TCL, RUN_SH, build_opt
from edgecomp.backends.hls.testbench import program, weight_files
from edgecomp.bundle import Bundle
from edgecomp.ir import Network
from edgecomp.project import FpgaTarget
from edgecomp.resources import resource


def emit(network: Network, target: FpgaTarget, options: HlsOptions) -> Bundle:
    """The files of a legalised network, below `hls/`; the vectors come from `vector_files`."""
    project = write_project(plan(network, options), target, options)
    kernels = {path.name: path.read_bytes() for path in sorted(resource("hls").glob("*.h"))}
    files = {
        **project.files,
        **{f"firmware/nnet_utils/{name}": data for name, data in kernels.items()},
        **weight_files(project.weights),
        f"{PROJECT}_test.cpp": program(project, options).encode(),
        "run.sh": RUN_SH.encode(),
        "build_prj.tcl": BUILD_PRJ_TCL.encode(),
        "build_opt.tcl": build_opt(csim=True, synth=True, cosim=False).encode(),
        "trace.json": _trace_index(project),
    }
    return Bundle(files={f"hls/{name}": data for name, data in sorted(files.items())})


def _trace_index(project: Project) -> bytes:
    """For each trace number the node, and for each element traced its place in the node's value."""
    index = [{"node": probe.node, "order": probe.order.array.tolist()} for probe in project.probes]
    return (json.dumps(index) + "\n").encode()
