"""A Network as C99: one function of loops over constant tables, without allocation, floats or a runtime.

Nothing is undefined: accumulators are as wide as the ranges prove, negative numbers are never shifted, and every
product is computed in a type that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecomp.backends.mcu.ctypes import stored
from edgecomp.backends.mcu.example import End
from edgecomp.backends.mcu.loops import compute, indented, opened
from edgecomp.backends.mcu.names import Names
from edgecomp.backends.mcu.plan import Plan, make_plan
from edgecomp.backends.mcu.writer import Lines, Writer
from edgecomp.ir import (
    Input,
    Network,
    Output,
    Value,
    operands,
)
from edgecomp.passes import decides

NETWORK = "network"  # what the program is called
READERS = """\
#if defined(__AVR__)
#include <avr/pgmspace.h>
#define FLASH PROGMEM
#define READ_byte(p) pgm_read_byte(p)
#define READ_word(p) pgm_read_word(p)
#define READ_dword(p) pgm_read_dword(p)
#define HALF(p, k) pgm_read_dword((const uint32_t *)(p) + k)
#define READ_qword(p) ((uint64_t)HALF(p, 1) << 32 | HALF(p, 0))
#else
#define FLASH
#define READ_byte(p) (*(p))
#define READ_word(p) (*(p))
#define READ_dword(p) (*(p))
#define READ_qword(p) (*(p))
#endif
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The two files' texts, what the testbench includes, functions and their arguments; bytes of buffers and tables."""

    name: str
    header: str
    source: str
    test: str
    entries: tuple[str, ...]
    ends: tuple[End, ...]
    ram_bytes: int
    constant_bytes: int


def emit(network: Network, name: str) -> Program:
    """C for the network; `name` is made a C identifier, and so are the names of its ends."""
    writer = Writer(network=network, values=network.values(), plan=make_plan(network), names=Names())
    function = writer.names.of(name)
    writer.names.taken |= {f"{function}_{what}" for what in ("predict", "classify", "golden")}
    nodes: tuple[Input | Output, ...] = (*network.inputs, *network.outputs)
    ends = [(writer.names.of(node.name), node) for node in nodes]
    writer.ends = {node.name: end for end, node in ends}
    read = {writer.plan.source[name] for job in writer.plan.jobs for name in operands(job.node)}
    body = [f"(void){writer.ends[node.name]};" for node in network.inputs if node.name not in read]
    body += [line for job in writer.plan.jobs for line in compute(writer, job.node, job.chain)]
    decision, declared = _classify(function, network, ends, writer.values)
    arguments = ", ".join(_argument(end, node, writer.values[node.name]) for end, node in ends)
    buffers, ram = _buffers(writer.plan)
    entries = (f"{function}_predict", *([f"{function}_classify"] if decision else []))
    guard = f"{function.upper()}_H"
    header = [
        f"#ifndef {guard}", f"#define {guard}", "", "#include <stdint.h>", "",
        "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
        *(_described(end, node, writer.values[node.name]) for end, node in ends),
        f"void {function}_predict({arguments});", declared, "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", "",
    ]  # fmt: skip
    source = [f'#include "{function}.h"', "", READERS, *writer.tables, "", *buffers, "",
              f"void {function}_predict({arguments})", "{", *indented(body), "}", *decision, ""]  # fmt: skip
    described = tuple(
        End(identifier=end, name=node.name, kind=_type(node, writer.values[node.name]),
            count=writer.values[node.name].size, given=isinstance(node, Input))
        for end, node in ends
    )  # fmt: skip
    return Program(name=function, header="\n".join(header), source="\n".join(source), ram_bytes=ram, entries=entries,
                   ends=described, test=_test(function, described), constant_bytes=writer.constant_bytes)  # fmt: skip


def _classify(
    function: str, network: Network, ends: Sequence[tuple[str, Input | Output]], values: Mapping[str, Value]
) -> tuple[Lines, str]:
    """(definition, declaration) of the function that gives the class, where the one output says it by its codes."""
    node = network.outputs[0]
    value = values[node.name]
    comparable = len(network.outputs) == 1 and len(set(node.scale)) == len(set(node.offset)) == 1
    if not decides(network) and not (comparable and value.size > 1 and node.scale[0] > 0):
        return [], "/* no classify: the outputs' codes do not say the class by themselves */"
    most = value.greatest if decides(network) else value.size - 1
    inputs = [(end, given) for end, given in ends if isinstance(given, Input)]
    arguments = ", ".join(_argument(end, given, values[given.name]) for end, given in inputs)
    head = f"{stored(0, most)} {function}_classify({arguments})"
    lines = ["", head, "{", f"    {stored(value.least, value.greatest)} codes[{value.size}];",
             f"    {function}_predict({', '.join([*(end for end, _ in inputs), 'codes'])});"]  # fmt: skip
    if decides(network):
        return [*lines, "    return codes[0];", "}"], f"{head};"
    return [
        *lines,
        "    int_fast16_t best = 0;",
        *indented(opened("k", value.size)),
        "        if (codes[k] > codes[best]) best = k;",
        "    }",
        f"    return ({stored(0, most)})best;",
        "}",
    ], f"{head};"


def _test(function: str, ends: Sequence[End]) -> str:
    """What the testbench wants to know of the network."""
    lists = []
    for side, given in (("INPUTS", True), ("OUTPUTS", False)):
        rows = [f'X({end.kind}, {end.identifier}, "{end.name}", {end.count})' for end in ends if end.given is given]
        lists.append(f"#define {side}(X) {' '.join(rows)}")
    call = f"#define CALL {function}_predict({', '.join(f'v_{end.identifier}' for end in ends)})"
    return "\n".join([f'#include "{function}.h"', *lists, call, ""])


def _type(node: Input | Output, value: Value) -> str:
    return stored(node.lo, node.hi) if isinstance(node, Input) else stored(value.least, value.greatest)


def _argument(end: str, node: Input | Output, value: Value) -> str:
    return f"{'const ' if isinstance(node, Input) else ''}{_type(node, value)} {end}[{value.size}]"


def _described(end: str, node: Input | Output, value: Value) -> str:
    lo, hi = (node.lo, node.hi) if isinstance(node, Input) else (value.least, value.greatest)
    shape = " x ".join(map(str, value.shape))
    return (
        f"/* {end}: {'takes' if isinstance(node, Input) else 'gives'} codes {lo}..{hi} of shape {shape}, row-major */"
    )


def _buffers(plan: Plan) -> tuple[Lines, int]:
    """One union for each slot, whose members live one after the other."""
    lines, total = [], 0
    for number, members in enumerate(plan.slots):
        lines += [
            f"static union {{ {' '.join(f'{kind} {field}[{size}];' for field, kind, size in members)} }} s{number};"
        ]
        total += max(size * int(kind.strip("uint_")) // 8 for _, kind, size in members)
    return lines, total
