"""The project's own testbench: its program, and the text forms of vectors and weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.hls.drive import PROJECT, Port, Project, WeightArray
from edgecomp.backends.hls.options import HlsOptions, Io
from edgecomp.bundle import Bundle
from edgecomp.ir import Network

Codes = NDArray[np.int64]


def weight_files(weights: tuple[WeightArray, ...]) -> dict[str, bytes]:
    """Each constant array twice, in integers only: a header that synthesis compiles in, a text for the C simulation."""
    files = {}
    for weight in weights:
        numbers = ", ".join(map(str, weight.values))
        declared = f"{weight.type} {weight.name}[{len(weight.values)}]"
        guard = f"{weight.name.upper()}_H_"
        lines = [f"#ifndef {guard}", f"#define {guard}", "", "#ifndef __SYNTHESIS__", f"{declared};", "#else",
                 f"{declared} = {{{numbers}}};", "#endif", "", "#endif", ""]  # fmt: skip
        files[f"firmware/weights/{weight.name}.h"] = "\n".join(lines).encode()
        files[f"firmware/weights/{weight.name}.txt"] = (numbers + "\n").encode()
    return files


def program(project: Project, options: HlsOptions) -> str:
    """The testbench's main: it reads the vectors, feeds every input, calls the circuit and checks every output."""
    weights, ports = project.weights, (*project.inputs, *project.outputs)
    lines = [
        f'#include "firmware/{PROJECT}.h"', '#include "firmware/nnet_utils/edgecomp_testbench.h"', "",
        "// The weights in the form that synthesis compiles in, their types as wide as any: what they hold is compared",
        "// with the text form and with what the circuit's type can hold.",
        "#define __SYNTHESIS__", "namespace compiled {",
        *(f"typedef long long {kind};" for kind in dict.fromkeys(weight.type for weight in weights)),
        *(f'#include "firmware/weights/{weight.name}.h"' for weight in weights), "}", "#undef __SYNTHESIS__", "",
        "int main(int argc, char **argv) {", "    edgecomp::Testbench bench(argc, argv);",
        *(f'    bench.weights<{weight.type}>("{weight.name}", compiled::{weight.name});' for weight in weights),
        *(f'    bench.input("{port.node}", {port.size});' for port in project.inputs),
        *(f'    bench.output("{port.node}", {port.size});' for port in project.outputs),
        "    while (bench.next()) {",
        *(f"        {_declared(port, options)};" for port in ports),
        *(f"        bench.feed({i}, {p.variable}, {p.channels});" for i, p in enumerate(project.inputs)),
        f"        {PROJECT}({', '.join(port.variable for port in ports)});",
        *(f"        bench.check({i}, {p.variable}, {p.channels});" for i, p in enumerate(project.outputs)),
        "    }", "    return bench.finish();", "}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _declared(port: Port, options: HlsOptions) -> str:
    if options.io is Io.STREAM:
        return f'hls::stream<{port.type}> {port.variable}("{port.variable}")'
    return f"{port.type} {port.variable}[{port.size}]"


def vector_text(codes: Codes) -> bytes:
    """The text form of codes (N, ...): a line with the counts, one sample a line, and a line that closes it."""
    rows = codes.reshape(len(codes), -1)
    lines = [f"samples {rows.shape[0]} values {rows.shape[1]}", *(" ".join(map(str, row)) for row in rows.tolist())]
    return ("\n".join([*lines, f"end {len(rows)}"]) + "\n").encode()


def vector_files(network: Network, inputs: Mapping[str, Codes], expected: Mapping[str, Codes]) -> Bundle:
    """`hls/tb_data/`: host codes (N, *shape) of every input, and what every output must give."""
    files = {f"hls/tb_data/inputs_{node.name}.dat": vector_text(inputs[node.name]) for node in network.inputs}
    files |= {f"hls/tb_data/expected_{node.name}.dat": vector_text(expected[node.name]) for node in network.outputs}
    return Bundle(files=files)
