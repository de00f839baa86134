"""Streams with many readers: hls4ml copies a stream to at most seven readers, so more of them read from copies."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import numpy as np

from edgecomp.backends.hls.circuit import Circuit, ConvLayer, DenseLayer, Entry, Flat, KernelLayer, Layer
from edgecomp.backends.hls.plan import Place, gather

MOST_READERS = 7


def read_by(layer: Layer) -> tuple[str, ...]:
    """The wires that a layer reads."""
    match layer:
        case Entry():
            return ()
        case KernelLayer():
            return layer.xs
        case Flat() | DenseLayer() | ConvLayer():
            return (layer.x,)
        case _:
            assert_never(layer)


def rewired(layer: Layer, old: str, new: str) -> Layer:
    """The layer reading wire `new` wherever it read `old`."""
    match layer:
        case Entry():
            return layer
        case KernelLayer():
            return replace(layer, xs=tuple(new if x == old else x for x in layer.xs))
        case Flat() | DenseLayer() | ConvLayer():
            return replace(layer, x=new) if layer.x == old else layer
        case _:
            assert_never(layer)


def with_copies(circuit: Circuit) -> Circuit:
    """The same circuit with no wire read more than MOST_READERS times."""
    layers = list(circuit.layers)
    at = 0
    while at < len(layers):
        wire = layers[at].wire
        readers = [i for i, layer in enumerate(layers) for x in read_by(layer) if x == wire.name]
        if len(readers) > MOST_READERS:
            kept = {i for i in readers if readers.index(i) + readers.count(i) <= MOST_READERS - 1}
            copy = replace(wire, name=f"{wire.name}_copy")
            for i in set(readers) - kept:
                layers[i] = rewired(layers[i], wire.name, copy.name)
            place = Place(wire=wire.name, index=np.arange(wire.size))
            layers.insert(at + 1, gather(copy, wire.name, wire, place, place.index))
        at += 1
    return replace(circuit, layers=tuple(layers))
