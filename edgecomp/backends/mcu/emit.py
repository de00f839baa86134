"""A Network as C99: one function of loops over constant tables, without allocation, floats or a runtime.

Nothing is undefined: accumulators are as wide as the ranges prove, negative numbers are never shifted, and every
product is computed in a type that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecomp.backends.mcu.entries import code_type, entries
from edgecomp.backends.mcu.example import End
from edgecomp.backends.mcu.names import Names
from edgecomp.backends.mcu.plan import Plan, make_plan
from edgecomp.backends.mcu.sensor import Sensor, helper
from edgecomp.backends.mcu.writer import Lines, Writer
from edgecomp.idle import without_idle
from edgecomp.ir import (
    Input,
    Network,
    Output,
    Value,
)

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
#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#endif
#if defined(__ARM_ARCH_6M__) && __GNUC__ >= 8
#define ALONE __attribute__((noipa)) /* knowing the counts, gcc 12 turns one index into two pointers */
#elif defined(__arm__) || defined(__AVR__) || defined(__riscv)
#define ALONE __attribute__((noinline))
#else
#define ALONE
/* A computer's fast integers have 64 bits, of which a vector holds half as many. */
#define int_fast16_t int32_t
#define int_fast32_t int32_t
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


def emit(network: Network, name: str, sensor: Sensor | None = None) -> Program:
    """C for the network; `name` is made a C identifier, and so are the names of its ends. Idle channels are left out.

    InexpressibleError where a `sensor` is described whose codes no exact function gives.
    """
    network = without_idle(network)
    writer = Writer(network=network, values=network.values(), plan=make_plan(network), names=Names())
    function = writer.names.of(name)
    writer.names.taken |= {f"{function}_{what}" for what in ("predict", "classify", "golden")}
    nodes: tuple[Input | Output, ...] = (*network.inputs, *network.outputs)
    ends = [(writer.names.of(node.name), node) for node in nodes]
    writer.ends = {node.name: end for end, node in ends}
    made = entries(writer, function, network, ends)
    helpers = [helper(writer, function, end, node, sensor or Sensor()) for end, node in ends if isinstance(node, Input)]
    memory, ram = buffers(writer.plan)
    guard = f"{function.upper()}_H"
    header = [
        f"#ifndef {guard}", f"#define {guard}", "", "#include <stdint.h>", "",
        "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
        *(_described(end, node, writer.values[node.name]) for end, node in ends),
        *made.declared, *(line for declared, _ in helpers for line in declared),
        "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", "",
    ]  # fmt: skip
    source = [
        f'#include "{function}.h"', "", READERS, *writer.tables, "", *memory, "",
        *(line for _, lines in writer.helpers.values() for line in lines),
        *made.defined, *(line for _, defined in helpers for line in defined), "",
    ]  # fmt: skip
    described = tuple(
        End(identifier=end, name=node.name, kind=code_type(node, writer.values[node.name]),
            count=writer.values[node.name].size, given=isinstance(node, Input))
        for end, node in ends
    )  # fmt: skip
    return Program(name=function, header="\n".join(header), source="\n".join(source), ram_bytes=ram, entries=made.names,
                   ends=described, test=_test(function, described), constant_bytes=writer.constant_bytes)  # fmt: skip


def _test(function: str, ends: Sequence[End]) -> str:
    """What the testbench wants to know of the network."""
    lists = []
    for side, given in (("INPUTS", True), ("OUTPUTS", False)):
        rows = [f'X({end.kind}, {end.identifier}, "{end.name}", {end.count})' for end in ends if end.given is given]
        lists.append(f"#define {side}(X) {' '.join(rows)}")
    call = f"#define CALL {function}_predict({', '.join(f'v_{end.identifier}' for end in ends)})"
    return "\n".join([f'#include "{function}.h"', *lists, call, ""])


def _described(end: str, node: Input | Output, value: Value) -> str:
    lo, hi = (node.lo, node.hi) if isinstance(node, Input) else (value.least, value.greatest)
    shape = " x ".join(map(str, value.shape))
    return (
        f"/* {end}: {'takes' if isinstance(node, Input) else 'gives'} codes {lo}..{hi} of shape {shape}, row-major */"
    )


def buffers(plan: Plan, times: str = "") -> tuple[Lines, int]:
    """One union for each slot, whose members live one after the other; bytes (of one sample)."""
    lines, total = [], 0
    for number, members in enumerate(plan.slots):
        fields = " ".join(f"{kind} {field}[{size}{times}];" for field, kind, size in members)
        lines.append(f"static union {{ {fields} }} s{number};")
        total += max(size * int(kind.strip("uint_")) // 8 for _, kind, size in members)
    return lines, total
