"""FPGA through alkaid: pipelined sources, simulated cycle by cycle, and synthesised with Yosys on request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecomp import interp, tools
from edgecomp.backends.estimate import Estimate
from edgecomp.backends.rtl import RtlBackend, RtlOptions
from edgecomp.backends.rtl.options import Interface, Io, Language
from edgecomp.backends.rtl.place import find_program
from edgecomp.bundle import Bundle
from edgecomp.errors import Problem, UsageError
from edgecomp.flows.base import Built, Clock, Codes, Job, same, scratch_folder
from edgecomp.ir import Network
from edgecomp.project import FpgaTarget, load_target
from edgecomp.report.figures import Figure, Source
from edgecomp.report.model import Latency, Resource, TargetFacts, measured
from edgecomp.simulate import verify_script
from edgecomp.vectors import Vectors

SIMULATORS = {Language.VERILOG: ("verilator", "iverilog", "g++"), Language.VHDL: ("ghdl",)}
NAMES = {Language.VERILOG: "Verilator (back to back, with gaps, after a reset) and Icarus Verilog (up to 100 samples)",
         Language.VHDL: "GHDL (back to back and with gaps)"}  # fmt: skip
RESOURCES = ("lut", "ff", "dsp", "bram18")
TOTALS = ("stage_delay", "memory", "places")


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlFlow:
    """See `edgecomp.flows.base.Flow`."""

    part: FpgaTarget
    options: RtlOptions
    head: str = "logits"

    @property
    def streams(self) -> bool:
        return self.options.io is Io.STREAM

    @property
    def target(self) -> TargetFacts:
        period = self.options.clock_ns or self.part.clock_ns
        clock = Figure(value=period, unit="ns", source=Source.ESTIMATE, method="the clock period aimed at")
        return TargetFacts(name=self.part.name, part=self.part.part, flow="rtl", clock=clock)

    def check(self, network: Network) -> tuple[Problem, ...]:
        return RtlBackend().check(network, self.part, self.options)

    def doubts(self, network: Network) -> tuple[str, ...]:
        return ()

    def prepare(self, *, synth: bool, cosim: bool) -> None:
        if cosim:
            raise UsageError("the RTL flow simulates its sources in every build", where="--cosim", hint="leave it out")
        if synth and self.options.language is Language.VHDL:
            raise UsageError("Yosys reads Verilog only", where="--synth", hint="leave out --set language=vhdl")
        if synth and self.part.place:
            find_program(self.part.place[0])
        for name in SIMULATORS[self.options.language]:
            tools.need(name, hint=f"install it (Debian: apt-get install {name})")

    def realise(self, job: Job, clock: Clock) -> Built:
        with clock.stage("tracing the circuit and writing its sources"):
            files, estimate, tried, harness = _files(self, job.network, job.vectors)
        with scratch_folder() as scratch, clock.stage("simulating the sources cycle by cycle"):
            files.spill(scratch)
            said = verify_script(scratch, "rtl")
        cycles, interval = _counted_in(said, "latency"), _counted_in(said, "interval") if self.streams else 1
        if job.logits is not None:
            with scratch_folder() as scratch, clock.stage("the same circuit with its logits brought out"):
                _files(self, job.logits, job.vectors)[0].spill(scratch)
                verify_script(scratch, "rtl")
        period = self.target.clock.value
        assert isinstance(period, int | float)
        synthesis = _synthesis(self, files, harness, clock, interval) if job.synth else {}
        resources = _resources(self.part, estimate, synthesis)
        simulator = SIMULATORS[self.options.language][0]
        return Built(
            files=files, executions=("interpreter and alkaid's interpreter",
            f"interpreter and {_simulators(self.options)}"),
            programs=SIMULATORS[self.options.language], layers=(), resources=resources, synthesis=synthesis,
            latency=Latency(cycles=measured(cycles, "cycles", f"{_counted(self.options)} in {simulator}"),
                            time=measured(round(cycles * period, 6), "ns", "counted cycles times the clock aimed at"),
                            initiation_interval=measured(interval, "cycles",
                                                         f"samples fed back to back in {simulator}")),
            totals={**{name: estimate.total[name] for name in TOTALS if name in estimate.total}, **tried,
                    **_foretold(self, job.network, cycles), **_ports(self, resources, synthesised=job.synth)},
            reasons=_reasons(resources, synthesis.get("fmax_mhz"), estimate.total["stage_delay"], period),
        )  # fmt: skip


def rtl_flow(target: str, settings: Mapping[str, str]) -> RtlFlow:
    return RtlFlow(part=load_target(target), options=RtlBackend().parse(settings))


def _files(flow: RtlFlow, network: Network, vectors: Vectors) -> tuple[Bundle, Estimate, dict[str, Figure], str]:
    """The project with its vectors; alkaid's interpreter has given the same codes. Also the forms tried, and what
    feeds the circuit when it is placed."""
    from edgecomp.backends.rtl.emit import part_files, vector_files
    from edgecomp.backends.rtl.figures import circuits_for, forecast
    from edgecomp.backends.rtl.place import harness_for

    RtlBackend().legalize(network, flow.part, flow.options)
    if flow.streams:
        return _stream_files(flow, network, vectors)
    circuit, *others = circuits_for(network, flow.part, flow.options)
    expected = interp.outputs(network, vectors.inputs)
    flat = np.concatenate([vectors.inputs[n.name].reshape(vectors.samples, -1) for n in network.inputs], axis=1)
    same("alkaid's interpreter", expected, _split(circuit.predict(flat), expected))
    estimate = forecast(circuit, flow.part, flow.options)
    tried = {f"form_{i}": Figure(value=c.lut, unit=estimate.total["lut"].unit, source=Source.ESTIMATE,
                                 method=f"alkaid's model: {c.form}; {c.cycles} cycles{'' if i else ', chosen'}")
             for i, c in enumerate((circuit, *others))}  # fmt: skip
    files = part_files(circuit, flow.part, flow.options).merge(vector_files(vectors.inputs, expected))
    return files, estimate, tried, harness_for(circuit.inputs, circuit.outputs, flow.options)


def _stream_files(flow: RtlFlow, network: Network, vectors: Vectors) -> tuple[Bundle, Estimate, dict[str, Figure], str]:
    """As `_files`, with io=stream: every circuit of one place has been held against the interpreter by itself."""
    from edgecomp.backends.rtl.emit import vector_files
    from edgecomp.backends.rtl.place import harness_for
    from edgecomp.backends.rtl.stream_circuit import check_segments, stream_circuit
    from edgecomp.backends.rtl.stream_emit import stream_part_files
    from edgecomp.backends.rtl.stream_figures import stream_forecast

    design = stream_circuit(network, flow.part, flow.options)
    count = check_segments(design, vectors.inputs)
    estimate = stream_forecast(design, flow.part, flow.options)
    tried = {"segments": Figure(value=len(design.circuits), unit="circuits", source=Source.MEASURED,
                                method=f"each the smallest of {len(design.tried[0])} forms tried; alkaid's interpreter "
                                f"gave the same {count} tokens")}  # fmt: skip
    expected = interp.outputs(network, vectors.inputs)
    files = stream_part_files(design, flow.part, flow.options).merge(vector_files(vectors.inputs, expected))
    ends = design.circuits[0].inputs, design.circuits[-1].outputs
    return files, estimate, tried, harness_for(*ends, flow.options)


def _simulators(options: RtlOptions) -> str:
    if options.io is Io.STREAM:
        stalls = "stalls on both sides, " if options.interface is Interface.AXIS else ""
        return (f"Verilator (frames back to back, with gaps, {stalls}after resets in the middle of frames) and Icarus "
                "Verilog (up to 100 samples)")  # fmt: skip
    if options.interface is Interface.AXIS:
        return ("Verilator (AXI4-Stream at full speed, with stalls on both sides, after a reset) and Icarus Verilog "
                "(stalls, up to 100 samples)")  # fmt: skip
    return NAMES[options.language]


def _counted(options: RtlOptions) -> str:
    """Where the latency is counted."""
    if options.io is Io.STREAM:
        return "from a frame's first place to its result's last, counted"
    if options.interface is Interface.AXIS:
        return "counted at the AXI4-Stream ports, sink always ready,"
    return "counted"


def _ports(flow: RtlFlow, resources: tuple[Resource, ...], *, synthesised: bool) -> dict[str, Figure]:
    """What the resources leave out where nothing was synthesised."""
    if flow.options.interface is Interface.PLAIN or flow.streams or synthesised:
        return {}
    names = " and ".join(resource.name for resource in resources)
    method = f"AXI4-Stream; {names} are of the circuit within, without its FIFO"
    return {"interface": Figure(value="axis", unit="ports", source=Source.TOOL, method=method)}


def _foretold(flow: RtlFlow, network: Network, cycles: int) -> dict[str, Figure]:
    """What the HLS flow's estimate says of the same network, and how far it is from the cycles counted here."""
    from edgecomp.backends.hls import HlsBackend

    hls = HlsBackend()
    options = hls.parse({} if flow.options.clock_ns is None else {"clock_ns": f"{flow.options.clock_ns:g}"})
    if flow.streams or flow.part.place or hls.check(network, flow.part, options):
        return {}
    value = hls.estimate(network, flow.part, options).total["cycles"].value
    assert isinstance(value, int)
    method = f"estimate of --flow hls for the same network: {value - cycles:+d} beside the cycles counted here"
    return {"hls_cycles": Figure(value=value, unit="cycles", source=Source.ESTIMATE, method=method)}


def _split(flat: Codes, like: Mapping[str, Codes]) -> dict[str, Codes]:
    found, place = {}, 0
    for name, codes in like.items():
        size = int(np.prod(codes.shape[1:]))
        found[name] = flat[:, place : place + size].reshape(codes.shape)
        place += size
    return found


def _counted_in(said: str, what: str) -> int:
    """The latency or interval that the testbench counted."""
    found = re.search(rf"{what} (\d+) cycles", said)
    assert found, f"the testbench names no {what}: {said}"
    return int(found[1])


def _synthesis(flow: RtlFlow, files: Bundle, harness: str, clock: Clock, cycles: int) -> dict[str, Figure]:
    """Yosys, its netlist proven and simulated, and nextpnr where it knows the part and the circuit may fit."""
    from edgecomp.backends.rtl.axis import AXIS_TOP
    from edgecomp.backends.rtl.place import place
    from edgecomp.backends.rtl.synthesis import prove, simulate_netlist, synthesize
    from edgecomp.backends.rtl.top import TOP

    part, top = flow.part, AXIS_TOP if flow.options.interface is Interface.AXIS else TOP
    with scratch_folder() as scratch:
        files.spill(scratch)
        with clock.stage("synthesis with Yosys"):
            found = synthesize(Path(scratch), part, top=top)
        with clock.stage("proving every stage's netlist"):
            found["proven"] = prove(Path(scratch), part)
        luts = found["lut"].value
        assert isinstance(luts, int)
        with clock.stage("simulating the netlist"):
            found["netlist_samples"] = simulate_netlist(Path(scratch), part, luts, top=top, cycles=cycles)
        if part.place and luts <= part.lut:
            with clock.stage("place and route with nextpnr"):
                found |= place(Path(scratch), part, harness=harness,
                               clock_ns=flow.options.clock_ns or part.clock_ns)  # fmt: skip
    return found


def _resources(part: FpgaTarget, estimate: Estimate, synthesis: Mapping[str, Figure]) -> tuple[Resource, ...]:
    """Yosys's count of each resource, else alkaid's model of the two it has, beside what the part holds."""
    held = {"lut": part.lut, "ff": part.ff, "dsp": part.dsp, "bram18": part.bram18}
    used = synthesis or estimate.total
    return tuple(
        Resource(name="BRAM4" if used[name].unit.startswith("4 Kb") else name.upper(), used=used[name],
                 available=Figure(value=held[name], unit=name.upper(), source=Source.TOOL, method=part.source))
        for name in RESOURCES if name in used
    )  # fmt: skip


def _reasons(resources: tuple[Resource, ...], fmax: Figure | None, delay: Figure, period: float) -> tuple[str, ...]:
    """Why the circuit does not fit its part or its clock, which is measured where `fmax` is there."""
    reasons = []
    for resource in resources:
        used, held = resource.used.value, resource.available.value
        assert isinstance(used, int | float)
        assert isinstance(held, int | float)
        if used > held:
            reasons.append(f"{used} {resource.name} of {held} ({resource.used.source.value})")
    assert isinstance(delay.value, int | float)
    if fmax is not None:
        assert isinstance(fmax.value, int | float)
        if fmax.value < 1000 / period:
            reasons.append(f"{fmax.value} MHz reached, {1000 / period:g} MHz is asked for ({fmax.method})")
    elif delay.value > period:
        reasons.append(f"a stage of {delay.value} ns, a clock of {period:g} ns is asked for (estimate)")
    return tuple(reasons)
