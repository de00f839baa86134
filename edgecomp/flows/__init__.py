"""The flows: from a Network to proven files for one kind of target."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgecomp.errors import UsageError
from edgecomp.flows.base import Built, Clock, Flow, Job, Progress, same
from edgecomp.flows.hls import hls_flow
from edgecomp.flows.mcu import mcu_flow
from edgecomp.flows.printed import printed_flow
from edgecomp.flows.rtl import rtl_flow
from edgecomp.project import family_of, load_target, nearest

__all__ = ["Built", "Clock", "Flow", "Job", "Progress", "flow_for", "same"]

Maker = Callable[[str, Mapping[str, str]], Flow]
FLOWS: Mapping[str, Mapping[str, Maker]] = {
    "fpga": {"hls": hls_flow, "rtl": rtl_flow}, "printed": {"printed": printed_flow}, "mcu": {"mcu": mcu_flow}
}  # fmt: skip


def flow_for(target: str, flow: str | None, settings: Mapping[str, str]) -> Flow:
    """The flow asked for (default: the first that knows the part) for a part or a family's default, with its options.

    UsageError for names, keys and values that are not known.
    """
    family, part = family_of(target)
    makers = FLOWS[family]
    if flow is not None and flow not in makers:
        raise UsageError(f"there is no flow {flow} for {target}", where="--flow", hint=nearest(flow, makers))
    usual = "rtl" if family == "fpga" and load_target(part).place else next(iter(makers))
    return makers[flow or usual](part, settings)
