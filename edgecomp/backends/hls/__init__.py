"""The HLS back end: a Network as a Vitis or Vivado HLS project, through hls4ml and the kernels of `hls/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.backends.estimate import Estimate
from edgecomp.backends.hls.options import SETTINGS, HlsOptions, parse_options
from edgecomp.bundle import Bundle
from edgecomp.errors import Problem
from edgecomp.ir import Network
from edgecomp.project import FpgaTarget

__all__ = ["HlsBackend", "HlsOptions", "parse_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HlsBackend:
    """See `edgecomp.backends.Backend`. hls4ml is imported by `emit` only."""

    name: str = "hls"
    settings: tuple[str, ...] = SETTINGS

    def parse(self, settings: Mapping[str, str]) -> HlsOptions:
        return parse_options(settings)

    def check(self, network: Network, target: FpgaTarget, options: HlsOptions) -> tuple[Problem, ...]:
        from edgecomp.backends.hls.legalize import check

        return check(network, options)

    def legalize(self, network: Network, target: FpgaTarget, options: HlsOptions) -> Network:
        from edgecomp.backends.hls.legalize import legalize

        return legalize(network, options)

    def emit(self, network: Network, target: FpgaTarget, options: HlsOptions) -> Bundle:
        from edgecomp.backends.hls.emit import emit

        return emit(network, target, options)

    def estimate(self, network: Network, target: FpgaTarget, options: HlsOptions) -> Estimate:
        from edgecomp.backends.hls.estimate import estimate

        return estimate(network, target, options)
