"""An exact pass: channels that are constant or read by nothing leave a chain of layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgecomp.ir import Conv, Dense, Ints, MaxPool, Network, Node, Requant, Reshape, Rounding, Step, operands

Channels = NDArray[np.bool_]


def without_idle(network: Network) -> Network:
    """The same function with fewer channels between layers.

    Looked for between a Dense or Conv and the next one, where rescalings, maximum pooling and a flattening lie between
    them and nothing else reads what they give. A constant goes into the next layer's bias. One channel always stays.
    """
    while True:
        smaller = next((made for node in network.nodes if (made := _smaller(network, node)) is not None), None)
        if smaller is None:
            return network
        network = smaller


def _smaller(network: Network, first: Node) -> Network | None:
    """The network without what is idle behind `first`; None where nothing is."""
    chain = _chain(network, first)
    if chain is None:
        return None
    last = chain[-1]
    assert isinstance(last, Dense | Conv)
    values = network.values()
    flat = isinstance(chain[-2], Reshape)
    value = values[chain[-3 if flat else -2].name]
    count = value.shape[0]
    low, high = (np.broadcast_to(np.array(end), count) for end in (value.lo, value.hi))
    weight = last.weight.array.reshape(len(last.weight.array), count, -1)
    fixed = (low == high) & ((low == 0) | (not _pads(last)))
    idle = fixed | ~weight.any(axis=(0, 2))
    if idle.all():
        idle[0] = False
    if not idle.any():
        return None
    constant = np.where(fixed & idle, low, 0)
    bias = np.broadcast_to(last.bias.array, len(weight)) + (weight.sum(axis=2) * constant).sum(axis=1)
    fewer = weight[:, ~idle].reshape(len(weight), -1, *last.weight.shape[2:])
    changed: dict[str, Node] = {last.name: replace(last, weight=Ints(fewer), bias=Ints(bias))}
    for node in chain[:-1]:
        changed[node.name] = _without(node, idle)
    return Network(nodes=tuple(changed.get(node.name, node) for node in network.nodes))


def _pads(node: Dense | Conv) -> bool:
    return isinstance(node, Conv) and any(map(any, node.pads))


def _chain(network: Network, first: Node) -> list[Node] | None:
    """`first`, what lies between, and the layer behind; None where they are no such chain."""
    if not isinstance(first, Dense | Conv) or getattr(first, "groups", 1) != 1:
        return None
    readers = Counter(name for node in network.nodes for name in operands(node))
    reading = {name: node for node in network.nodes for name in operands(node)}
    chain: list[Node] = [first]
    while readers[chain[-1].name] == 1:
        node = reading[chain[-1].name]
        flat = isinstance(chain[-1], Reshape)
        chain.append(node)
        match node:
            case Dense() | Conv():
                return chain if getattr(node, "groups", 1) == 1 else None
            case Reshape() if len(node.shape) == 1 and not flat:
                continue
            case Requant() | Step() | MaxPool() if not flat:
                continue
            case _:
                return None
    return None


def _without(node: Node, idle: Channels) -> Node:
    """The node without its idle channels; a parameter that all channels share stays."""
    kept = ~idle

    def of(parameter: Ints) -> Ints:
        return Ints(parameter.array[kept]) if len(parameter.array) == len(idle) else parameter

    match node:
        case Dense() | Conv():
            return replace(node, weight=Ints(node.weight.array[kept]), bias=of(node.bias))
        case Requant():
            return _reduced(replace(node, multiplier=of(node.multiplier), addend=of(node.addend), lo=of(node.lo),
                                    hi=of(node.hi)))  # fmt: skip
        case Step():
            return replace(node, thresholds=of(node.thresholds), values=of(node.values))
        case Reshape():
            return replace(node, shape=(node.shape[0] // len(idle) * int(kept.sum()),))
        case _:
            return node


def _reduced(node: Requant) -> Requant:
    """The same rescaling without the power of two that its constants have in common: a channel gone may leave one."""
    both = int(np.bitwise_or.reduce([*node.multiplier.array, *node.addend.array]))
    least = int(node.rounding is Rounding.HALF_EVEN)  # to which it is no rounding any more
    spare = max(min(node.shift - least, (both & -both).bit_length() - 1), 0) if both else 0
    multiplier, addend = (Ints(p.array >> spare) for p in (node.multiplier, node.addend))
    return replace(node, multiplier=multiplier, addend=addend, shift=node.shift - spare)
