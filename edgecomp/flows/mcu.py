"""Microcontrollers: C99, compiled and run on every vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp import interp, tools
from edgecomp.backends.hls.testbench import vector_text
from edgecomp.backends.mcu import FOLDER, McuBackend, McuOptions, McuTarget, load_machine
from edgecomp.bundle import Bundle
from edgecomp.errors import Problem, UsageError
from edgecomp.flows.base import Built, Clock, Job, scratch_folder
from edgecomp.ir import Network
from edgecomp.report.figures import Figure, Source
from edgecomp.report.model import TargetFacts
from edgecomp.simulate import verify_script
from edgecomp.vectors import Vectors

COMPILER_HINT = "install it (Debian: apt-get install gcc)"


@dataclass(frozen=True, slots=True, kw_only=True)
class McuFlow:
    """See `edgecomp.flows.base.Flow`."""

    machine: McuTarget
    options: McuOptions
    head: str = "logits"

    @property
    def target(self) -> TargetFacts:
        none = Figure(value="none", unit="clock", source=Source.TOOL, method="nothing is timed on this machine")
        return TargetFacts(name=self.machine.name, part=self.machine.description, flow="mcu", clock=none)

    def check(self, network: Network) -> tuple[Problem, ...]:
        return McuBackend().check(network, self.machine, self.options)

    def prepare(self, *, synth: bool, cosim: bool) -> None:
        if synth or cosim:
            raise UsageError("there is nothing to synthesise in C", where="--synth, --cosim", hint="leave them out")
        tools.need(self.machine.compiler, hint=COMPILER_HINT)

    def realise(self, job: Job, clock: Clock) -> Built:
        with clock.stage("writing the C sources"):
            files = _files(self, job.network, job.vectors)
            estimate = McuBackend().estimate(job.network, self.machine, self.options)
        with scratch_folder() as scratch, clock.stage("compiling and running the C"):
            files.spill(scratch)
            verify_script(scratch, FOLDER)
        if job.logits is not None:
            with scratch_folder() as scratch, clock.stage("the same program with its logits brought out"):
                _files(self, job.logits, job.vectors).spill(scratch)
                verify_script(scratch, FOLDER)
        return Built(
            files=files, executions=("interpreter and the compiled C",), programs=(self.machine.compiler,),
            layers=estimate.layers, latency=None, resources=(), totals=estimate.total, synthesis={}, reasons=(),
        )  # fmt: skip


def mcu_flow(target: str, settings: Mapping[str, str]) -> McuFlow:
    return McuFlow(machine=load_machine(target), options=McuBackend().parse(settings))


def _files(flow: McuFlow, network: Network, vectors: Vectors) -> Bundle:
    """The program with its vectors."""
    expected = interp.outputs(network, vectors.inputs)
    files = {f"{FOLDER}/tb_data/inputs_{name}.dat": vector_text(codes) for name, codes in vectors.inputs.items()}
    files |= {f"{FOLDER}/tb_data/expected_{name}.dat": vector_text(codes) for name, codes in expected.items()}
    legal = McuBackend().legalize(network, flow.machine, flow.options)
    return McuBackend().emit(legal, flow.machine, flow.options).merge(Bundle(files=files))
