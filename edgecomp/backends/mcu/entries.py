"""The functions of a program: predict, and classify, which keeps the best of the last layer's outputs as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecomp.backends.mcu.ctypes import stored
from edgecomp.backends.mcu.dense import dense
from edgecomp.backends.mcu.loops import compute
from edgecomp.backends.mcu.plan import Job
from edgecomp.backends.mcu.writer import Lines, Writer, indented, opened
from edgecomp.ir import ArgMax, Dense, Input, Network, Output, Value, operands
from edgecomp.passes import decides

Ends = Sequence[tuple[str, Input | Output]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """The names that a user calls, their declarations, and the definitions of all functions."""

    names: tuple[str, ...]
    declared: Lines
    defined: Lines


def entries(w: Writer, function: str, network: Network, ends: Ends) -> Entries:
    """predict, and classify where the one output says the class by its codes."""
    predict, jobs = f"{function}_predict", w.plan.jobs
    head = f"void {predict}({_arguments(w, ends)})"
    result, means = _class_type(network, w.values)
    inputs = [(end, node) for end, node in ends if isinstance(node, Input)]
    if not result:
        reason = "/* no classify: the outputs' codes do not say the class by themselves */"
        return Entries(names=(predict,), declared=[f"{head};", reason], defined=_function(w, head, jobs, inputs))
    choice = f"{result} {function}_classify({_arguments(w, inputs)})"
    names, declared = (predict, f"{function}_classify"), [f"{head};", f"{choice};"]
    last = jobs[-1]
    if decides(network) or not isinstance(last.node, Dense) or last.result != network.outputs[0].name:
        lines = _through_codes(w, predict, choice, result, inputs, w.values[network.outputs[0].name], means)
        return Entries(names=names, declared=declared, defined=[*_function(w, head, jobs, inputs), *lines])
    best = Job(node=last.node, chain=last.chain[:-1], best=ArgMax(name="", x=last.chain[-1].x))
    lines, hidden = [], w.names.of("hidden_layers")
    if len(jobs) > 1:
        lines = _function(w, f"static void {hidden}({_arguments(w, inputs)})", jobs[:-1], inputs)
    call = [f"{hidden}({', '.join(end for end, _ in inputs)});"] if lines else _unread(w, [last], inputs)
    for start, body in ((head, compute(w, last)), (choice, dense(w, last.node, best, result))):
        lines += ["", start, "{", *indented([*call, *body]), "}"]
    return Entries(names=names, declared=declared, defined=lines)


def _function(w: Writer, head: str, jobs: Sequence[Job], inputs: Ends) -> Lines:
    body = _unread(w, jobs, inputs) + [line for job in jobs for line in compute(w, job)]
    return ["", head, "{", *indented(body), "}"]


def _unread(w: Writer, jobs: Sequence[Job], inputs: Ends) -> Lines:
    """What says to a compiler that an argument is not used on purpose."""
    read = {w.plan.source[name] for job in jobs for name in operands(job.node)}
    return [f"(void){end};" for end, node in inputs if node.name not in read]


def _class_type(network: Network, values: Mapping[str, Value]) -> tuple[str, int]:
    """(the type of the class, how many codes say it); an empty type where they do not say it by themselves."""
    node = network.outputs[0]
    value = values[node.name]
    if decides(network):
        return stored(0, value.greatest), 1
    comparable = len(network.outputs) == 1 and len(set(node.scale)) == len(set(node.offset)) == 1
    return (stored(0, value.size - 1) if comparable and value.size > 1 and node.scale[0] > 0 else ""), value.size


def _through_codes(
    w: Writer, predict: str, head: str, result: str, inputs: Ends, value: Value, count: int
) -> Lines:  # fmt: skip
    """classify as a look at all of predict's codes."""
    codes, best, k = (w.names.of(hint) for hint in ("codes", "best", "k"))
    lines = ["", head, "{", f"    {stored(value.least, value.greatest)} {codes}[{value.size}];",
             f"    {predict}({', '.join([*(end for end, _ in inputs), codes])});"]  # fmt: skip
    if count == 1:
        return [*lines, f"    return {codes}[0];", "}"]
    return [*lines, f"    int_fast16_t {best} = 0;", *indented(opened(k, count)),
            f"        if ({codes}[{k}] > {codes}[{best}]) {best} = {k};", "    }",
            f"    return ({result}){best};", "}"]  # fmt: skip


def code_type(node: Input | Output, value: Value) -> str:
    return stored(node.lo, node.hi) if isinstance(node, Input) else stored(value.least, value.greatest)


def _arguments(w: Writer, ends: Ends) -> str:
    return ", ".join(
        f"{'const ' if isinstance(node, Input) else ''}{code_type(node, w.values[node.name])} "
        f"{end}[{w.values[node.name].size}]"
        for end, node in ends
    )  # fmt: skip
