"""Options of the HLS back end, from `--set key=value` strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from edgecomp.errors import UsageError
from edgecomp.project import nearest


class Io(Enum):
    """How values travel between layers: all at once on wires, or through FIFOs, one place of an image at a time."""

    PARALLEL = "parallel"
    STREAM = "stream"


class Strategy(Enum):
    """hls4ml's strategies for Dense and Conv."""

    LATENCY = "latency"
    RESOURCE = "resource"
    DISTRIBUTED_ARITHMETIC = "distributed_arithmetic"


class Vendor(Enum):
    """Whose project is written: Vitis HLS, or the older Vivado HLS."""

    VITIS = "vitis"
    VIVADO = "vivado"


E = TypeVar("E", bound=Enum)

SETTINGS = ("clock_ns", "io", "reuse", "reuse.<layer>", "strategy", "vendor")


@dataclass(frozen=True, slots=True, kw_only=True)
class HlsOptions:
    """`clock_ns` replaces the target's clock; `reuse` is every layer's reuse factor but for those in `layer_reuse`."""

    clock_ns: float | None = None
    io: Io = Io.PARALLEL
    strategy: Strategy = Strategy.LATENCY
    vendor: Vendor = Vendor.VITIS
    reuse: int = 1
    layer_reuse: tuple[tuple[str, int], ...] = ()

    def reuse_of(self, node: str) -> int:
        return dict(self.layer_reuse).get(node, self.reuse)


def parse_options(settings: Mapping[str, str]) -> HlsOptions:
    """Options from `--set` strings; UsageError for a key or value that is not known, naming the nearest."""
    for key in settings:
        if key not in SETTINGS and not (key.startswith("reuse.") and key != "reuse."):
            raise UsageError(f"unknown setting {key}", where="--set", hint=nearest(key, SETTINGS))
    layers = {key.removeprefix("reuse."): _reuse(key, settings[key]) for key in settings if key.startswith("reuse.")}
    return HlsOptions(
        clock_ns=_clock(settings["clock_ns"]) if "clock_ns" in settings else None,
        io=_choice(Io, "io", settings),
        strategy=_choice(Strategy, "strategy", settings),
        vendor=_choice(Vendor, "vendor", settings),
        reuse=_reuse("reuse", settings.get("reuse", "1")),
        layer_reuse=tuple(sorted(layers.items())),
    )


def _choice(kind: type[E], key: str, settings: Mapping[str, str]) -> E:
    choices = {str(member.value): member for member in kind}
    text = settings.get(key, next(iter(choices)))
    if text not in choices:
        raise UsageError(f"{key} cannot be {text}", where=f"--set {key}", hint=nearest(text, choices))
    return choices[text]


def _clock(text: str) -> float:
    try:
        clock = float(text)
    except ValueError:
        clock = 0.0
    if not 0.5 <= clock <= 1000:
        raise UsageError(f"clock_ns cannot be {text}", where="--set clock_ns", hint="give ns between 0.5 and 1000")
    return clock


def _reuse(key: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise UsageError(f"{key} cannot be {text}", where=f"--set {key}", hint="give an integer of at least 1")
    return int(text)
