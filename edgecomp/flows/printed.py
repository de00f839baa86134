"""Printed electronics: bespoke gates, mapped to a printed cell library and simulated on every vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp import interp
from edgecomp.backends.printed import PrintedBackend, PrintedOptions, PrintedTarget, load_library
from edgecomp.backends.printed.options import Timing
from edgecomp.errors import Problem, UsageError
from edgecomp.flows.base import Built, Clock, Job, scratch_folder
from edgecomp.ir import Network
from edgecomp.report.figures import Figure, Source
from edgecomp.report.model import TargetFacts
from edgecomp.simulate import verify_script


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedFlow:
    """See `edgecomp.flows.base.Flow`."""

    library: PrintedTarget
    options: PrintedOptions
    head: str = "argmax"

    @property
    def target(self) -> TargetFacts:
        period = Figure(value=self.library.period_ms, unit="ms", source=Source.TOOL, method=self.library.source)
        return TargetFacts(name=self.library.name, part=self.library.description, flow="printed", clock=period)

    def check(self, network: Network) -> tuple[Problem, ...]:
        return PrintedBackend().check(network, self.library, self.options)

    def doubts(self, network: Network) -> tuple[str, ...]:
        from edgecomp.backends.printed.estimate import forecast

        if self.options.form is Timing.SEQUENTIAL:
            return ()
        power = forecast(network, self.library).total["power"]
        return _unsupplied(self.library, float(power.value), f" at {min(self.library.voltages):g} V")

    def prepare(self, *, synth: bool, cosim: bool) -> None:
        from edgecomp.backends.printed.mapping import abc_program

        if synth or cosim:
            raise UsageError("printed circuits have no vendor's tool", where="--synth, --cosim", hint="leave them out")
        abc_program()

    def realise(self, job: Job, clock: Clock) -> Built:
        from edgecomp.backends.printed.design import design_files, make_design, simulate_design
        from edgecomp.backends.printed.estimate import forecast, mapped_figures

        user = job.vectors.n_user
        with clock.stage("mapping to the library's cells, every result proven equivalent"):
            network = PrintedBackend().legalize(job.network, self.library, self.options)
            design = make_design(network, self.library, self.options, clock.progress.advance)
        with clock.stage("simulating the mapped gates"):
            cost = simulate_design(design, self.library, job.vectors.inputs, job.expected, n_user=user)
        if job.logits is not None:
            with clock.stage("the same circuit with its logits brought out"):
                both = make_design(job.logits, self.library, self.options, clock.progress.advance, form=design.form)
                expected = interp.outputs(job.logits, job.vectors.inputs)
                simulate_design(both, self.library, job.vectors.inputs, expected)
        files = design_files(design, self.library, job.vectors.inputs, job.expected)
        with scratch_folder() as scratch, clock.stage("running the written netlist's testbench"):
            files.spill(scratch)
            verify_script(scratch, "printed")
        return Built(
            files=files, executions=("interpreter and mapped gates", "interpreter and the netlist's own testbench"),
            programs=("g++",), layers=forecast(network, self.library).layers, latency=None, resources=(),
            totals=mapped_figures(cost, self.library), synthesis={},
            reasons=_unsupplied(self.library, min(at.power_mw for at in cost.voltages)),
        )  # fmt: skip


def _unsupplied(library: PrintedTarget, needed: float, at: str = "") -> tuple[str, ...]:
    """Why no supply carries so many mW."""
    strongest = max((power for _, power in library.supplies), default=0.0)
    if needed <= strongest:
        return ()
    return (f"{needed:.3g} mW{at}, {strongest:g} mW is the strongest supply (estimate)",)


def printed_flow(target: str, settings: Mapping[str, str]) -> PrintedFlow:
    return PrintedFlow(library=load_library(target), options=PrintedBackend().parse(settings))
