"""The microcontroller back end: a Network as C99."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgecomp.backends.estimate import Estimate, LayerCost
from edgecomp.backends.mcu.project import FOLDER, CProgram, project
from edgecomp.backends.mcu.sensor import SETTINGS, Sensor, parse_sensor
from edgecomp.backends.mcu.target import Counts, McuTarget, load_machine, machines
from edgecomp.bundle import Bundle
from edgecomp.errors import InexpressibleError, Problem, raise_all
from edgecomp.idle import without_idle
from edgecomp.ir import Conv, Dense, Network, TableDense
from edgecomp.project import refuse_unknown
from edgecomp.report.figures import Figure, Source

__all__ = ["FOLDER", "SETTINGS", "CProgram", "McuBackend", "McuTarget", "load_machine", "machines"]

MAX_CONSTANTS = 1 << 22  # in all tables: more than any microcontroller's flash


@dataclass(frozen=True, slots=True, kw_only=True)
class McuOptions:
    """`sensor` is what the functions that quantise raw integers take."""

    sensor: Sensor = field(default_factory=Sensor)


@dataclass(frozen=True, slots=True, kw_only=True)
class McuBackend:
    """See `edgecomp.backends.Backend`."""

    name: str = "mcu"
    settings: tuple[str, ...] = SETTINGS

    def parse(self, settings: Mapping[str, str]) -> McuOptions:
        refuse_unknown(settings, self.settings, kind="setting", where="--set")
        return McuOptions(sensor=parse_sensor(settings))

    def check(self, network: Network, target: McuTarget, options: McuOptions) -> tuple[Problem, ...]:
        """What is too large for tables in C."""
        total = sum(_constants(node) for node in network.nodes if isinstance(node, Dense | Conv | TableDense))
        if total <= MAX_CONSTANTS:
            return ()
        what = f"the layers hold {total} constants; {MAX_CONSTANTS} is the most"
        return (Problem(what=what, hint="use a smaller network"),)

    def legalize(self, network: Network, target: McuTarget, options: McuOptions) -> Network:
        raise_all(InexpressibleError, self.check(network, target, options))
        return network

    def emit(self, network: Network, target: McuTarget, options: McuOptions) -> Bundle:
        """`mcu/`: the network's header and source, its testbench for the machine, run.sh and a Makefile."""
        return project(self.program(network, options, many=target.counts is Counts.TIME), target)

    def program(self, network: Network, options: McuOptions | None = None, *, many: bool = False) -> CProgram:
        """The network's C with what its testbench wants to know; with `many`, a form for many samples at a time."""
        from edgecomp.backends.mcu.emit import NETWORK, emit
        from edgecomp.backends.mcu.many import emit_many

        made = emit(network, NETWORK, (options or McuOptions()).sensor)
        sources, test = {f"{made.name}.h": made.header, f"{made.name}.c": made.source}, made.test
        if many:
            sources[f"{made.name}_many.c"], more = emit_many(network, made)
            test += more
        return CProgram(sources=sources, entries=made.entries, test=test)

    def estimate(self, network: Network, target: McuTarget, options: McuOptions) -> Estimate:
        """Constants and multiplications of each layer, counted; the bytes of tables and buffers in total."""
        from edgecomp.backends.mcu.emit import NETWORK, emit

        network = without_idle(network)
        program, layers, values = emit(network, NETWORK, options.sensor), [], network.values()
        for node in network.nodes:
            if isinstance(node, Dense | Conv | TableDense):
                constants = _constants(node)
                places = math.prod(values[node.name].shape[1:])
                figures = {"constants": _counted(constants, "constants", "weights or table entries")}
                if not isinstance(node, TableDense):
                    figures["macs"] = _counted(constants * places, "MACs", "multiply-accumulates, padding included")
                layers.append(LayerCost(node=node.name, kind=type(node).__name__, figures=figures))
        return Estimate(layers=tuple(layers), total={
            "constant_bytes": _counted(program.constant_bytes, "bytes", "constant tables in the C source"),
            "buffer_bytes": _counted(program.ram_bytes, "bytes", "static buffers of live values, each slot's widest"),
        })  # fmt: skip


def _constants(node: Dense | Conv | TableDense) -> int:
    return int((node.tables if isinstance(node, TableDense) else node.weight).array.size)


def _counted(value: int, unit: str, method: str) -> Figure:
    return Figure(value=value, unit=unit, source=Source.MEASURED, method=method)
