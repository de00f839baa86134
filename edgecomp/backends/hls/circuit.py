"""The circuit that a Network becomes: typed wires between hls4ml's own layers and the kernels of `hls/`.

A wire holds a tensor as a flat array. `Wire.shape` is the order in which its elements lie: the channel axis comes last,
as hls4ml wants it, but for the ports of a parallel circuit, which keep the Network's order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from edgecomp.ir import Ints
from edgecomp.ir.ranges import bits_of


@dataclass(frozen=True, slots=True, kw_only=True)
class IntType:
    """An integer type of exactly the width that an interval needs."""

    bits: int
    signed: bool

    def __str__(self) -> str:
        return f"ap_{'' if self.signed else 'u'}int<{self.bits}>"

    @property
    def fixed(self) -> str:
        """The fixed-point type without fraction bits, which holds the same integers."""
        return f"ap_{'' if self.signed else 'u'}fixed<{self.bits},{self.bits}>"


def type_of(lo: int, hi: int) -> IntType:
    return IntType(bits=bits_of(lo, hi), signed=lo < 0)


def signed_type(*intervals: tuple[int, int]) -> IntType:
    """A signed type that holds every interval; zero and minus one are in it as well."""
    lo, hi = min(lo for lo, _ in intervals), max(hi for _, hi in intervals)
    return type_of(min(lo, -1), max(hi, 0))


def extent(values: Ints) -> tuple[int, int]:
    return int(values.array.min()), int(values.array.max())


def type_of_ints(values: Ints) -> IntType:
    return type_of(*extent(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A named array of integers; `shape` as it lies in memory."""

    name: str
    shape: tuple[int, ...]
    type: IntType

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A wire whose elements are those of an IR value: element k of the wire is element `order[k]` of the value."""

    node: str
    order: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An input port; `channels` elements share a place when a testbench fills it (see `Port` of the testbench)."""

    wire: Wire
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """hls4ml's Reshape to one axis: the same memory under another shape."""

    wire: Wire
    x: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseLayer:
    """hls4ml's Dense; weight (inputs, outputs), bias (outputs,)."""

    wire: Wire
    node: str
    x: str
    weight: Ints
    bias: Ints
    accumulator: IntType
    reuse: int
    probe: Probe | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvLayer:
    """hls4ml's Conv1D or Conv2D, channels last; weight (*kernel, inputs, outputs), bias (outputs,)."""

    wire: Wire
    node: str
    x: str
    in_shape: tuple[int, ...]
    weight: Ints
    bias: Ints
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    accumulator: IntType
    reuse: int
    probe: Probe | None


class Kernel(Enum):
    """The functions of `hls/`; the value is the C++ name, `header` the file that holds it."""

    REQUANT = "requant"
    STEP = "step"
    LOOKUP = "lookup"
    ADD = "add"
    MUL = "mul"
    GATHER = "gather"
    JOIN = "join"
    CONV = "conv"
    MAX_POOL = "max_pool"
    SUM_POOL = "sum_pool"
    TABLE_DENSE = "table_dense"
    ARGMAX = "argmax"

    @property
    def header(self) -> str:
        return HEADERS[self]


HEADERS = {
    Kernel.REQUANT: "edgecomp_pointwise.h",
    Kernel.STEP: "edgecomp_pointwise.h",
    Kernel.LOOKUP: "edgecomp_pointwise.h",
    Kernel.ADD: "edgecomp_pointwise.h",
    Kernel.MUL: "edgecomp_pointwise.h",
    Kernel.GATHER: "edgecomp_move.h",
    Kernel.JOIN: "edgecomp_move.h",
    Kernel.CONV: "edgecomp_window.h",
    Kernel.MAX_POOL: "edgecomp_window.h",
    Kernel.SUM_POOL: "edgecomp_window.h",
    Kernel.TABLE_DENSE: "edgecomp_dense.h",
    Kernel.ARGMAX: "edgecomp_dense.h",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A constant array of a kernel."""

    name: str
    values: Ints
    type: IntType


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLayer:
    """A kernel of `hls/`: its sizes and types become the configuration, its parameters constant arrays."""

    wire: Wire
    node: str
    kernel: Kernel
    xs: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]
    types: tuple[tuple[str, IntType], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    probe: Probe | None = None
    port: str = ""  # the name of the output port that the wire is; empty inside the circuit


Layer = Entry | Flat | DenseLayer | ConvLayer | KernelLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Layers in order; `inputs` and `outputs` name wires, in the Network's order."""

    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def wire(self, name: str) -> Wire:
        return next(layer.wire for layer in self.layers if layer.wire.name == name)
