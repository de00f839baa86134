"""Microcontrollers: C99, compiled for a core, run in its simulator on every vector, and measured there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgecomp import interp
from edgecomp.backends.estimate import Estimate
from edgecomp.backends.hls.testbench import vector_text
from edgecomp.backends.mcu import FOLDER, McuBackend, McuOptions, McuTarget, load_machine
from edgecomp.backends.mcu.emit import NETWORK, emit
from edgecomp.backends.mcu.example import Codes, golden, sketch
from edgecomp.backends.mcu.project import needed
from edgecomp.backends.mcu.target import Counts
from edgecomp.bundle import Bundle
from edgecomp.errors import MismatchError, Problem, UsageError
from edgecomp.flows.base import Built, Clock, Job, scratch_folder
from edgecomp.ir import Network
from edgecomp.report.figures import Figure, Source
from edgecomp.report.model import Resource, TargetFacts
from edgecomp.simulate.mcu import Measured, need_tools, run_measured
from edgecomp.vectors import Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class McuFlow:
    """See `edgecomp.flows.base.Flow`."""

    machine: McuTarget
    options: McuOptions
    head: str = "logits"

    @property
    def target(self) -> TargetFacts:
        machine = self.machine
        clock = Figure(value="none", unit="clock", source=Source.TOOL, method="the clock of the computer at hand")
        if machine.clock_hz:
            clock = Figure(value=machine.clock_hz / 1e6, unit="MHz", source=Source.TOOL, method=machine.clock_source)
        return TargetFacts(name=machine.name, part=machine.description, flow="mcu", clock=clock)

    def check(self, network: Network) -> tuple[Problem, ...]:
        return McuBackend().check(network, self.machine, self.options)

    def doubts(self, network: Network) -> tuple[str, ...]:
        return _oversize(self.machine, McuBackend().estimate(network, self.machine, self.options))

    def prepare(self, *, synth: bool, cosim: bool) -> None:
        if synth or cosim:
            raise UsageError("there is nothing to synthesise in C", where="--synth, --cosim", hint="leave them out")
        need_tools(self.machine)

    def realise(self, job: Job, clock: Clock) -> Built:
        with clock.stage("writing the C sources"):
            files = _files(self, job.network, job.vectors)
            estimate = McuBackend().estimate(job.network, self.machine, self.options)
        _refuse(self.machine, _oversize(self.machine, estimate))  # before a compiler stumbles over it
        with scratch_folder() as scratch, clock.stage(f"compiling and running the C on {self.machine.name}"):
            files.spill(scratch)
            measured = run_measured(scratch, self.machine)
        if job.logits is not None:
            with scratch_folder() as scratch, clock.stage("the same program with its logits brought out"):
                _files(self, job.logits, job.vectors).spill(scratch)
                run_measured(scratch, self.machine)
        _refuse(self.machine, measured.over(self.machine))
        return Built(
            files=files, executions=(f"interpreter and the C on {self.machine.name}",),
            programs=needed(self.machine), layers=estimate.layers, latency=None,
            resources=_resources(self.machine, measured),
            totals={**_effort(self.machine, measured), **estimate.total}, synthesis={}, reasons=(),
        )  # fmt: skip


def mcu_flow(target: str, settings: Mapping[str, str]) -> McuFlow:
    return McuFlow(machine=load_machine(target), options=McuBackend().parse(settings))


def _refuse(machine: McuTarget, reasons: Sequence[str]) -> None:
    if reasons:
        what = f"it does not fit {machine.description}: {'; '.join(reasons)}"
        raise MismatchError(what, where=machine.name, hint="use a smaller network or a larger part")


def _oversize(machine: McuTarget, estimate: Estimate) -> tuple[str, ...]:
    """What cannot fit whatever the code's size."""
    constants, buffers = (int(estimate.total[name].value) for name in ("constant_bytes", "buffer_bytes"))
    reasons = []
    if machine.flash_bytes and constants > machine.flash_bytes:
        reasons.append(f"its constant tables alone take {constants} bytes of flash of {machine.flash_bytes}")
    if machine.ram_bytes and buffers > machine.ram_bytes:
        reasons.append(f"its buffers alone take {buffers} bytes of RAM of {machine.ram_bytes}")
    return tuple(reasons)


def _resources(machine: McuTarget, measured: Measured) -> tuple[Resource, ...]:
    """Flash and RAM of the part; none on the host."""
    if machine.counts is Counts.TIME:
        return ()
    flash = "text, constants, initial values and library helpers; start-up and golden data left out"
    rows = (("flash", measured.flash_bytes, flash, machine.flash_bytes, machine.flash_source),
            ("RAM", measured.ram_bytes + measured.stack_bytes, "static data and peak stack", machine.ram_bytes,
             machine.ram_source))  # fmt: skip
    return tuple(
        Resource(name=name, used=_measured(used, "bytes", method),
                 available=Figure(value=there, unit="bytes", source=Source.TOOL, method=source))
        for name, used, method, there, source in rows
    )  # fmt: skip


def _effort(machine: McuTarget, measured: Measured) -> dict[str, Figure]:
    if machine.counts is Counts.TIME:
        one = "the last vector again and again, one call at a time"
        many = "the last vectors again and again, 64 side by side in vectors, moving them in and out included"
        return {"inferences_per_second": _measured(round(measured.per_second), "inferences/s", one),
                "inferences_per_second_many": _measured(round(measured.many_per_second), "inferences/s", many),
                }  # fmt: skip
    unit, exact = machine.counts.value, machine.counts is Counts.CYCLES
    time = measured.mean / machine.clock_hz * 1e6
    how = f"{unit} at {machine.clock_hz / 1e6:g} MHz" + ("" if exact else ", one cycle each: the core takes longer")
    return {
        f"{unit}_mean": _measured(round(measured.mean, 1), unit, f"an inference, over {measured.samples} vectors"),
        f"{unit}_most": _measured(measured.most, unit, "an inference, the longest of these"),
        "time": Figure(value=round(time, 3), unit="us", source=Source.ESTIMATE, method=how),
        "static_ram": _measured(measured.ram_bytes, "bytes", "initialised and zeroed data"),
        "peak_stack": _measured(measured.stack_bytes, "bytes", "painted below the call, the deepest of some calls"),
    }


def _measured(value: int | float, unit: str, method: str) -> Figure:
    return Figure(value=value, unit=unit, source=Source.MEASURED, method=method)


def _files(flow: McuFlow, network: Network, vectors: Vectors) -> Bundle:
    """The program with its vectors."""
    expected = interp.outputs(network, vectors.inputs)
    files = {f"{FOLDER}/tb_data/inputs_{name}.dat": vector_text(codes) for name, codes in vectors.inputs.items()}
    files |= {f"{FOLDER}/tb_data/expected_{name}.dat": vector_text(codes) for name, codes in expected.items()}
    legal = McuBackend().legalize(network, flow.machine, flow.options)
    bundle = McuBackend().emit(legal, flow.machine, flow.options).merge(Bundle(files=files))
    return bundle.merge(_started(flow, legal, {**vectors.inputs, **expected}))


def _started(flow: McuFlow, network: Network, codes: Mapping[str, Codes]) -> Bundle:
    """Golden vectors as C arrays, and for a microcontroller a sketch with all that it needs in its folder."""
    program = emit(network, NETWORK, flow.options.sensor)
    files = {f"{FOLDER}/{name}": text for name, text in golden(program.name, program.ends, codes).files.items()}
    if flow.machine.counts is Counts.TIME:
        return Bundle(files=files)
    beside = {name.replace(FOLDER, f"{FOLDER}/arduino", 1): text for name, text in files.items()}
    beside |= {f"{FOLDER}/arduino/{program.name}.h": program.header.encode(),
               f"{FOLDER}/arduino/{program.name}.c": program.source.encode(),
               f"{FOLDER}/arduino/arduino.ino": sketch(program.name, program.ends).encode()}  # fmt: skip
    return Bundle(files={**files, **beside})
