"""The printed back end: a Network as bespoke gates of a printed cell library, the weights wired in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.backends.estimate import Estimate
from edgecomp.backends.printed.library import PrintedTarget, load_library
from edgecomp.backends.printed.options import SETTINGS, PrintedOptions, Timing, parse_options
from edgecomp.bundle import Bundle
from edgecomp.errors import InexpressibleError, Problem, raise_all
from edgecomp.ir import Network

__all__ = ["PrintedBackend", "PrintedOptions", "PrintedTarget", "load_library", "parse_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedBackend:
    """See `edgecomp.backends.Backend`; mapping and simulation are `design.make_design` and what follows it there."""

    name: str = "printed"
    settings: tuple[str, ...] = SETTINGS

    def parse(self, settings: Mapping[str, str]) -> PrintedOptions:
        return parse_options(settings)

    def check(self, network: Network, target: PrintedTarget, options: PrintedOptions) -> tuple[Problem, ...]:
        from edgecomp.backends.printed import sequential
        from edgecomp.backends.printed.check import check

        problems = check(network)
        if options.form is Timing.SEQUENTIAL:
            problems += sequential.check(network)
            if target.latch is None:
                problems += (Problem(what="the library has no latch", where=target.name, hint=sequential.HINT),)
        return problems

    def legalize(self, network: Network, target: PrintedTarget, options: PrintedOptions) -> Network:
        raise_all(InexpressibleError, self.check(network, target, options))
        return network

    def emit(self, network: Network, target: PrintedTarget, options: PrintedOptions) -> Bundle:
        """The circuit before mapping, in its plain form."""
        from edgecomp.backends.printed.design import source_files
        from edgecomp.backends.printed.forms import Form
        from edgecomp.backends.printed.lower import to_circuit
        from edgecomp.backends.printed.sequential import to_machine

        if options.form is Timing.SEQUENTIAL:
            return Bundle(files=source_files(to_machine(network).circuit))
        return Bundle(files=source_files(to_circuit(network, Form())))

    def estimate(self, network: Network, target: PrintedTarget, options: PrintedOptions) -> Estimate:
        from edgecomp.backends.printed.estimate import forecast

        return forecast(network, target)
