"""FPGA through hls4ml: the project, its C simulation, and the vendor's tools where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp import interp
from edgecomp.backends.estimate import Estimate
from edgecomp.backends.hls import HlsBackend, HlsOptions
from edgecomp.backends.hls.testbench import vector_files
from edgecomp.backends.hls.vendor import COMMANDS, program_of, synthesize
from edgecomp.bundle import Bundle
from edgecomp.errors import Problem, UsageError
from edgecomp.flows.base import Built, Clock, Job, same, scratch_folder
from edgecomp.ir import Network
from edgecomp.project import FpgaTarget, load_target
from edgecomp.report.figures import Figure, Source
from edgecomp.report.model import Latency, Resource, TargetFacts
from edgecomp.simulate import verify_hls
from edgecomp.vectors import Vectors

RESOURCES = ("lut", "ff", "dsp", "bram18")
SHOWN = ("cycles", "latency_ns", "initiation_interval", "fits", *RESOURCES)


@dataclass(frozen=True, slots=True, kw_only=True)
class HlsFlow:
    """See `edgecomp.flows.base.Flow`."""

    part: FpgaTarget
    options: HlsOptions
    head: str = "logits"

    @property
    def target(self) -> TargetFacts:
        period = self.options.clock_ns or self.part.clock_ns
        clock = Figure(value=period, unit="ns", source=Source.ESTIMATE, method="the clock period aimed at")
        return TargetFacts(name=self.part.name, part=self.part.part, flow="hls", clock=clock)

    def check(self, network: Network) -> tuple[Problem, ...]:
        return HlsBackend().check(network, self.part, self.options)

    def doubts(self, network: Network) -> tuple[str, ...]:
        estimate = HlsBackend().estimate(network, self.part, self.options)
        return _reasons(_resources(self.part, estimate), {}, self.target.clock)

    def prepare(self, *, synth: bool, cosim: bool) -> None:
        if synth or cosim:
            program_of(self.options.vendor)

    def realise(self, job: Job, clock: Clock) -> Built:
        with clock.stage("writing the project"):
            files = _files(self, job.network, job.vectors)
            estimate = HlsBackend().estimate(job.network, self.part, self.options)
        with scratch_folder() as scratch, clock.stage("compiling and running the C simulation"):
            files.spill(scratch)
            verify_hls(scratch)
        if job.logits is not None:
            with scratch_folder() as scratch, clock.stage("the same circuit with its logits brought out"):
                _files(self, job.logits, job.vectors).spill(scratch)
                verify_hls(scratch)
        programs, synthesis = ["g++"], {}
        if job.synth or job.cosim:
            programs.append(COMMANDS[self.options.vendor][0])
            with scratch_folder() as scratch, clock.stage("synthesis with the vendor's tool"):
                files.spill(scratch)
                synthesis = dict(synthesize(scratch, self.options.vendor, cosim=job.cosim).figures)
        resources = _resources(self.part, estimate)
        total = estimate.total
        return Built(
            files=files, executions=("interpreter and g++ C simulation",), programs=tuple(programs),
            layers=estimate.layers, resources=resources, synthesis=synthesis,
            latency=Latency(cycles=total["cycles"], time=total["latency_ns"],
                            initiation_interval=total["initiation_interval"]),
            totals={name: figure for name, figure in total.items() if name not in SHOWN},
            reasons=_reasons(resources, synthesis, self.target.clock),
        )  # fmt: skip


def hls_flow(target: str, settings: Mapping[str, str]) -> HlsFlow:
    part = load_target(target)
    if not part.part.startswith("xc"):
        raise UsageError(f"Vitis and Vivado HLS do not know {part.part}", where="--flow hls", hint="use --flow rtl")
    return HlsFlow(part=part, options=HlsBackend().parse(settings))


def _files(flow: HlsFlow, network: Network, vectors: Vectors) -> Bundle:
    """The project with its vectors; the legalised network gives the same codes."""
    expected = interp.outputs(network, vectors.inputs)
    legal = HlsBackend().legalize(network, flow.part, flow.options)
    same("the legalised network", expected, interp.outputs(legal, vectors.inputs))
    project = HlsBackend().emit(legal, flow.part, flow.options)
    return project.merge(vector_files(legal, vectors.inputs, expected))


def _resources(part: FpgaTarget, estimate: Estimate) -> tuple[Resource, ...]:
    """The estimate of each resource beside what the part holds."""
    held = {"lut": part.lut, "ff": part.ff, "dsp": part.dsp, "bram18": part.bram18}
    return tuple(
        Resource(name=name.upper(), used=estimate.total[name],
                 available=Figure(value=held[name], unit=name.upper(), source=Source.TOOL, method=part.source))
        for name in RESOURCES
    )  # fmt: skip


def _reasons(resources: tuple[Resource, ...], synthesis: Mapping[str, Figure], clock: Figure) -> tuple[str, ...]:
    """Why the circuit does not fit: by the tool's figures where it ran, else by the estimate."""
    reasons = []
    for resource in resources:
        used = synthesis.get(resource.name.lower(), resource.used)
        if _number(used) > _number(resource.available):
            reasons.append(f"{used.value} {resource.name} of {resource.available.value} ({used.source.value})")
    period = synthesis.get("clock_estimate_ns")
    if period is not None and _number(period) > _number(clock):
        asked = f"{clock.value} ns is asked for"
        reasons.append(f"a clock period of {period.value} ns, {asked} ({period.source.value})")
    return tuple(reasons)


def _number(figure: Figure) -> int | float:
    assert isinstance(figure.value, int | float)
    return figure.value
