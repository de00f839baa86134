"""The circuit under construction: which wire holds each value, in which order, at which width.

Data movement is not computed: Slice, Reshape, Transpose, Pad and broadcasts only change where a value's elements lie
on a wire (`Place`). A gather kernel, which is wiring, is inserted where a reader needs them in order; a Dense takes
them in any order, with its weights permuted. Every width comes from the Network's exact intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.hls.circuit import (
    Flat,
    IntType,
    Kernel,
    KernelLayer,
    Layer,
    Parameter,
    Probe,
    Wire,
    type_of,
)
from edgecomp.backends.hls.options import HlsOptions, Io
from edgecomp.ir import Ints, Network, Value

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value lies: element e of the value is element `index[e]` of the wire, or `fill` where that is -1."""

    wire: str
    index: Index
    fill: int = 0

    def moved(self, index: Index) -> Place:
        return Place(wire=self.wire, index=index, fill=self.fill)


def canonical(shape: tuple[int, ...]) -> Index:
    """The elements of a value of that shape in the order in which wires hold them: the channel axis last."""
    return np.moveaxis(np.arange(int(np.prod(shape))).reshape(shape), 0, -1).ravel()


def memory_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0])


def value_type(value: Value) -> IntType:
    return type_of(value.least, value.greatest)


class Planner:
    """The circuit under construction: layers so far, and where each value lies."""

    def __init__(self, network: Network, options: HlsOptions) -> None:
        self.network = network
        self.options = options
        self.values: Mapping[str, Value] = network.values()
        self.layers: list[Layer] = []
        self.wires: dict[str, Wire] = {}
        self.places: dict[str, Place] = {}
        self.ordered: dict[tuple[str, tuple[int, ...]], str] = {}

    @property
    def streamed(self) -> bool:
        return self.options.io is Io.STREAM

    def wire(self, label: str, shape: tuple[int, ...], kind: IntType) -> Wire:
        """A new wire; its name is unique whatever the node is called."""
        wire = Wire(name=f"l{len(self.wires)}_{label.lower()}", shape=shape, type=kind)
        self.wires[wire.name] = wire
        return wire

    def node_wire(self, name: str) -> Wire:
        """A new wire for a node's value, in memory order."""
        value = self.values[name]
        return self.wire(name, memory_shape(value.shape), value_type(value))

    def port(self, kind: str, node: str, shape: tuple[int, ...], bits: IntType) -> Wire:
        """A new wire that is a port: in0_x, out0_y."""
        number = sum(name.startswith(kind) for name in self.wires)
        wire = Wire(name=f"{kind}{number}_{node.lower()}", shape=shape, type=bits)
        self.wires[wire.name] = wire
        return wire

    def in_order(self, wire: str, shape: tuple[int, ...]) -> Place:
        """The place of a value of that shape that lies on `wire` in memory order."""
        order = canonical(shape)
        index = np.empty_like(order)
        index[order] = np.arange(order.size)
        return Place(wire=wire, index=index.reshape(shape))

    def probe(self, name: str) -> Probe:
        return Probe(node=name, order=Ints(canonical(self.values[name].shape)))

    def put(self, layer: Layer, name: str) -> None:
        """Add the layer that computes node `name` in memory order."""
        self.layers.append(layer)
        self.places[name] = self.in_order(layer.wire.name, self.values[name].shape)

    def ready(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """A wire that holds value `name`, broadcast to `shape` where given, in memory order and shape."""
        value = self.values[name]
        shape = shape or value.shape
        if (name, shape) not in self.ordered:
            place = self.places[name]
            index = np.broadcast_to(place.index, shape).ravel()[canonical(shape)]
            self.ordered[name, shape] = self.rearranged(name, place, index, memory_shape(shape))
        return self.ordered[name, shape]

    def rearranged(self, name: str, place: Place, index: Index, shape: tuple[int, ...]) -> str:
        """A wire of that memory shape whose element k is element `index[k]` of the place's wire."""
        source = self.wires[place.wire]
        if index.size == source.size and np.array_equal(index, np.arange(index.size)):
            if shape == source.shape:
                return source.name
            if not self.streamed:
                return self.flat(source, shape)
        layer = gather(self.wire(name, shape, value_type(self.values[name])), name, source, place, index)
        self.layers.append(layer)
        return layer.wire.name

    def flat(self, source: Wire, shape: tuple[int, ...]) -> str:
        """The same memory under another shape."""
        wire = self.wire("flat", shape, source.type)
        self.layers.append(Flat(wire=wire, x=source.name))
        return wire.name


def gather(wire: Wire, node: str, source: Wire, place: Place, index: Index, port: str = "") -> KernelLayer:
    """The kernel that copies element index[k] of `source`, or the place's fill where that is -1."""
    spread = np.where(index < 0, source.size, index)
    return KernelLayer(
        wire=wire, node=node, kernel=Kernel.GATHER, xs=(source.name,), port=port,
        sizes=(("n_in", source.size), ("n_out", index.size), ("fill", place.fill)),
        parameters=(Parameter(name="source", values=Ints(spread), type=type_of(0, source.size)),),
    )  # fmt: skip
