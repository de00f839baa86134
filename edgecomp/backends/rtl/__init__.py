"""The RTL back end: a Network as pipelined Verilog or VHDL, through alkaid's traced arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.backends.estimate import Estimate
from edgecomp.backends.rtl.options import SETTINGS, Io, RtlOptions, parse_options
from edgecomp.bundle import Bundle
from edgecomp.errors import InexpressibleError, Problem, raise_all
from edgecomp.ir import Network
from edgecomp.project import FpgaTarget

__all__ = ["RtlBackend", "RtlOptions", "parse_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlBackend:
    """See `edgecomp.backends.Backend`. alkaid is imported by `emit` and `estimate` only."""

    name: str = "rtl"
    settings: tuple[str, ...] = SETTINGS

    def parse(self, settings: Mapping[str, str]) -> RtlOptions:
        return parse_options(settings)

    def check(self, network: Network, target: FpgaTarget, options: RtlOptions) -> tuple[Problem, ...]:
        from edgecomp.backends.rtl.check import check

        return check(network, target, options)

    def legalize(self, network: Network, target: FpgaTarget, options: RtlOptions) -> Network:
        raise_all(InexpressibleError, self.check(network, target, options))
        return network

    def emit(self, network: Network, target: FpgaTarget, options: RtlOptions) -> Bundle:
        if options.io is Io.STREAM:
            from edgecomp.backends.rtl.stream_circuit import stream_circuit
            from edgecomp.backends.rtl.stream_emit import stream_part_files

            return stream_part_files(stream_circuit(network, target, options), target, options)
        from edgecomp.backends.rtl.emit import part_files
        from edgecomp.backends.rtl.figures import circuit_for

        return part_files(circuit_for(network, target, options), target, options)

    def estimate(self, network: Network, target: FpgaTarget, options: RtlOptions) -> Estimate:
        if options.io is Io.STREAM:
            from edgecomp.backends.rtl.stream_circuit import stream_circuit
            from edgecomp.backends.rtl.stream_figures import stream_forecast

            return stream_forecast(stream_circuit(network, target, options), target, options)
        from edgecomp.backends.rtl.figures import circuit_for, forecast

        return forecast(circuit_for(network, target, options), target, options)
