"""The same network for many samples at a time on a computer: LANES of them side by side, so that loops are vectors.

Every job's loops are the program's own; only the memory of an element holds all samples of a block, one after the
other, and each statement on elements is a loop over them.
"""

from __future__ import annotations

from edgecomp.backends.mcu.emit import READERS, Program, buffers
from edgecomp.backends.mcu.entries import code_type
from edgecomp.backends.mcu.loops import compute
from edgecomp.backends.mcu.names import Names
from edgecomp.backends.mcu.plan import make_plan
from edgecomp.backends.mcu.writer import Lines, Writer, indented
from edgecomp.idle import without_idle
from edgecomp.ir import Input, Network, Output

LANES = 64


def emit_many(network: Network, program: Program) -> tuple[str, str]:
    """(a source file beside the program's, what the testbench wants to know of it).

    It defines <function>_many(inputs, outputs, count), which takes arrays of whole samples, one after the other.
    """
    network, function = without_idle(network), program.name
    names = Names(taken={f"{function}_many", "count", "k", "lane", "LANES"})
    plan = make_plan(network, copies=False)
    w = Writer(network=network, values=network.values(), plan=plan, names=names, lane="lane")
    nodes: tuple[Input | Output, ...] = (*network.inputs, *network.outputs)
    blocks = {node.name: names.of(f"block_{node.name}") for node in nodes}
    w.ends.update(blocks)
    body = [line for job in w.plan.jobs for line in compute(w, job)]
    ends = {node.name: names.of(node.name) for node in nodes}
    sizes = {node.name: w.values[node.name].size for node in nodes}
    kinds = {node.name: code_type(node, w.values[node.name]) for node in nodes}
    head = (
        f"void {function}_many({', '.join(_argument(n, kinds[n.name], ends[n.name]) for n in nodes)}, uint32_t count)"
    )
    run, first, held = names.of("run_block"), names.of("first"), names.of("held")
    into: Lines = []
    for node in nodes:
        move = _move(node, blocks[node.name], ends[node.name], sizes[node.name], first, held)
        into += [*move, f"{run}();"] if node is network.inputs[-1] else move
    source = [
        "#include <stdint.h>", "", READERS, f"#define LANES {LANES}", "",
        *(f"static {kinds[n.name]} {blocks[n.name]}[{sizes[n.name]} * LANES];" for n in nodes),
        *buffers(w.plan, " * LANES")[0], *w.tables, "", f"static void {run}(void)", "{", *indented(body), "}", "",
        f"{head};", head, "{", f"    for (uint32_t {first} = 0; {first} < count; {first} += LANES) {{",
        f"        const uint32_t {held} = count - {first} < LANES ? count - {first} : LANES;",
        *indented(indented(into)), "    }", "}", "",
    ]  # fmt: skip
    call = f"{function}_many({', '.join(f'm_{end.identifier}' for end in program.ends)}, count)"
    return "\n".join(source), f"{head};\n#define MANY(count) {call}\n"


def _argument(node: Input | Output, kind: str, name: str) -> str:
    return f"{'const ' if isinstance(node, Input) else ''}{kind} *{name}"


def _move(node: Input | Output, block: str, end: str, size: int, first: str, held: str) -> Lines:
    """Samples into a block, whose rest repeats the last one, or out of it."""
    if isinstance(node, Input):
        sample = f"({first} + (lane < {held} ? lane : {held} - 1)) * {size} + k"
        count, what = "LANES", f"{block}[k * LANES + lane] = {end}[{sample}];"
    else:
        count, what = held, f"{end}[({first} + lane) * {size} + k] = {block}[k * LANES + lane];"
    return [f"for (uint32_t lane = 0; lane < {count}; lane++)", f"    for (uint32_t k = 0; k < {size}; k++)",
            f"        {what}"]  # fmt: skip
