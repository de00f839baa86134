"""A network's printed design: forms tried, each mapped, the smallest kept, simulated, and written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp import golden
from edgecomp.backends.hls.testbench import vector_text
from edgecomp.backends.printed.cost import Cost, area_cm2, cost_of
from edgecomp.backends.printed.forms import Decision, Form
from edgecomp.backends.printed.gates import Circuit, Port
from edgecomp.backends.printed.library import PrintedTarget, cell_models
from edgecomp.backends.printed.lower import to_circuit
from edgecomp.backends.printed.mapping import TOP, Advance, Attempt, map_circuit
from edgecomp.backends.printed.netlist import Netlist
from edgecomp.backends.printed.options import Effort, PrintedOptions, Timing
from edgecomp.backends.printed.scripts import portfolio, quick
from edgecomp.backends.printed.sequential import Machine, to_machine
from edgecomp.backends.printed.verilog import LATCH, circuit_verilog, machine_verilog, netlist_verilog
from edgecomp.bundle import Bundle
from edgecomp.errors import MismatchError
from edgecomp.ir import ArgMax, Network
from edgecomp.resources import resource
from edgecomp.simulate.gates import GateRun, simulate, simulate_machine

Codes = NDArray[np.int64]

FOLDER = "printed"
MOST_DIFFERENCES = 4  # classes up to which all differences of two logits are tried
RUN_SH = """\
#!/usr/bin/env bash
# Simulates the mapped netlist on the golden vectors and exits with a status other than 0 on any difference and on any
# missing or short file. Needs bash and g++ (or CXX).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
build="$(mktemp -d)"
trap 'rm -rf -- "$build"' EXIT
"${CXX:-g++}" -std=c++14 -O1 testbench.cpp -o "$build/simulate"
"$build/simulate" ports.txt cells.v netlist.v tb_data
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The smallest circuit found, mapped; `attempts` by form. The mapping is proven equivalent to `circuit`.

    Of a sequential design these are what stands between the registers of `machine`.
    """

    form: Form
    circuit: Circuit
    netlist: Netlist
    attempts: tuple[tuple[Form, tuple[Attempt, ...]], ...]
    machine: Machine | None = None


def forms_of(network: Network) -> tuple[Form, ...]:
    """The forms worth trying, those that give the same circuit left out."""
    sizes = [network.values()[node.x].size for node in network.nodes
             if isinstance(node, ArgMax) and not node.tree.array.size]  # fmt: skip
    if not sizes or max(sizes) <= 2:
        return (Form(),)
    forms = [Form(), Form(centred=False)]
    if max(sizes) <= MOST_DIFFERENCES:
        forms.append(Form(decision=Decision.DIFFERENCES))
    return tuple(forms)


def make_design(
    network: Network, target: PrintedTarget, options: PrintedOptions,
    progress: Advance | None = None, *, form: Form | None = None,
) -> Design:  # fmt: skip
    """Map the network's forms, or `form` alone, and keep the smallest.

    Every form goes through the quick scripts; the smallest of them, when the effort is full, through the portfolio. The
    class with its logits brought out is the circuit of the class alone when it is given that design's form.
    """
    jobs = options.jobs or None
    tried = {}
    machine = to_machine(network) if options.form is Timing.SEQUENTIAL else None
    forms = forms_of(network) if form is None else (form,)
    circuits = dict(_distinct(network, forms)) if machine is None else {Form(): machine.circuit}
    for form, circuit in circuits.items():
        tried[form] = map_circuit(circuit, target, scripts=quick(circuit.gates), jobs=jobs, progress=progress)
    best = min(tried, key=lambda form: area_cm2(tried[form].netlist, target))
    attempts = {form: mapped.attempts for form, mapped in tried.items()}
    netlist = tried[best].netlist
    if options.effort is Effort.FULL:
        gates = circuits[best].gates
        done = len(quick(gates))
        more = map_circuit(circuits[best], target, scripts=portfolio(gates)[done:], jobs=jobs, progress=progress,
                           offset=done)  # fmt: skip
        attempts[best] += more.attempts
        netlist = min(netlist, more.netlist, key=lambda n: area_cm2(n, target))
    return Design(form=best, circuit=circuits[best], netlist=netlist, attempts=tuple(attempts.items()),
                  machine=machine)  # fmt: skip


def _distinct(network: Network, forms: Sequence[Form]) -> Iterator[tuple[Form, Circuit]]:
    seen = set()
    for form in forms:
        circuit = to_circuit(network, form)
        key = (circuit.kind.tobytes(), circuit.a.tobytes(), circuit.b.tobytes(), circuit.outputs)
        if key not in seen:
            seen.add(key)
            yield form, circuit


def simulate_design(
    design: Design, target: PrintedTarget, inputs: Mapping[str, Codes], expected: Mapping[str, Codes], *,
    n_user: int = 0,
) -> Cost:  # fmt: skip
    """Run the mapped gates on host codes and hold every output code against `expected`.

    The cost's static power is from the states seen with the first `n_user` vectors, or with all where that is 0.
    MismatchError names the first difference.
    """

    def run(part: Mapping[str, Codes], states: bool) -> GateRun:
        if design.machine is None:
            return simulate(design.netlist, target, part, states=states)
        return simulate_machine(design.netlist, target, design.machine, part, states=states)

    ran = run(inputs, n_user == 0)
    got = {name: ran.outputs[name].reshape(codes.shape) for name, codes in expected.items()}
    first, count = golden.compare(expected, got)
    if first is not None:
        raise MismatchError(f"the mapped gates differ in {count} codes, first {first}", where=first.node,
                            hint="this is a fault of edgecomp: please report it with the model")  # fmt: skip
    if n_user:
        ran = run({name: codes[:n_user] for name, codes in inputs.items()}, True)
    return cost_of(design.netlist, target, ran.states, design.machine)


def source_files(circuit: Circuit) -> dict[str, bytes]:
    """The circuit before mapping."""
    return {f"{FOLDER}/circuit.v": circuit_verilog(circuit, TOP).encode()}


def design_files(
    design: Design, target: PrintedTarget, inputs: Mapping[str, Codes], expected: Mapping[str, Codes]
) -> Bundle:
    """`printed/`: the circuit, the mapped netlist, its cells' models, the testbench with its vectors, and run.sh."""
    netlist = design.netlist
    files = {
        **source_files(design.circuit),
        f"{FOLDER}/netlist.v": netlist_verilog(netlist, target, TOP).encode(),
        f"{FOLDER}/cells.v": cell_models(target, netlist.names).encode(),
        f"{FOLDER}/ports.txt": ports_text(netlist, design.machine).encode(),
        f"{FOLDER}/testbench.cpp": resource("hls/gates_testbench.cpp").read_bytes(),
        f"{FOLDER}/run.sh": RUN_SH.encode(),
    }
    if design.machine is not None:
        files[f"{FOLDER}/machine.v"] = machine_verilog(netlist, design.machine, TOP).encode()
        files[f"{FOLDER}/latch.v"] = LATCH.encode()
    files |= {f"{FOLDER}/tb_data/inputs_{name}.dat": vector_text(codes) for name, codes in inputs.items()}
    files |= {f"{FOLDER}/tb_data/expected_{name}.dat": vector_text(codes) for name, codes in expected.items()}
    return Bundle(files=files)


def ports_text(netlist: Netlist, machine: Machine | None) -> str:
    """One line a port: direction, name, elements, bits of each, 1 where signed.

    A machine's own ports have their use for direction; a register's is its output's port. Its cycles stand at the end.
    """
    lines = []
    uses = {} if machine is None else {machine.start: "start", machine.done: "done"}
    if machine is not None:
        uses |= {name: "register" for name, _ in machine.registers}
        uses |= {f"{name}_next": "next" for name, _ in machine.registers}
    for direction, ports in (("input", netlist.inputs), ("output", netlist.outputs)):
        by_node: dict[str, list[Port]] = {}
        for port in ports:
            by_node.setdefault(port.node, []).append(port)
        lines += [f"{uses.get(node, direction)} {node} {len(found)} {len(found[0].bits)} {int(found[0].signed)}"
                  for node, found in by_node.items()]  # fmt: skip
    if machine is not None:
        lines.append(f"cycles {machine.cycles}")
    return "\n".join([*lines, ""])
