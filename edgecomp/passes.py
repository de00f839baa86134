"""Exact passes over a Network."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

from edgecomp.errors import UsageError
from edgecomp.frontend.builder import Builder, Grid
from edgecomp.frontend.sums import winner
from edgecomp.ir import ArgMax, Ints, Network, Node, Output, Reshape, Step

LOGITS = "logits"


def decides(network: Network) -> bool:
    """Whether the only output is a class already: an ArgMax, possibly reshaped."""
    if len(network.outputs) != 1:
        return False
    return isinstance(_decision(network), ArgMax)


def _decision(network: Network) -> Node:
    """What the first output gives, reshapes passed over."""
    nodes = {node.name: node for node in network.nodes}
    node = nodes[network.outputs[0].x]
    while isinstance(node, Reshape):
        node = nodes[node.x]
    return node


def with_logits(network: Network) -> Network:
    """The network with its class, and what the class is decided from beside it."""
    if not decides(network):
        return with_argmax(network, keep_logits=True)
    last = _decision(network)
    assert isinstance(last, ArgMax)
    name, taken = LOGITS, {node.name for node in network.nodes}
    while name in taken:
        name += "_"
    return Network(nodes=(*network.nodes, Output(name=name, x=last.x)))


def with_argmax(network: Network, *, keep_logits: bool = False) -> Network:
    """The network with its class in place of its logits, the lowest index among ties; or with both.

    Scales and offsets per class are taken into the comparison exactly. One logit decides by its exact sign: class 1
    where it is positive. UsageError where there is not one output of one axis.
    """
    if decides(network):
        return network
    values = network.values()
    output = network.outputs[0]
    value = values[output.x]
    if len(network.outputs) != 1 or value.size != value.shape[0]:
        raise UsageError("a class wants one output with one logit for each class", where="--set head=argmax",
                         hint="build with head=logits")  # fmt: skip
    others = [node for node in network.nodes if node is not output]
    builder = Builder(nodes=list(others), values=dict(values), taken={node.name for node in network.nodes})
    if value.size == 1:
        base = _sign(builder, output)
    else:
        grid = Grid(base=output.x, shape=value.shape, scale=output.scale, offset=output.offset)
        base = winner(builder, grid, "winner")
    if keep_logits:
        builder.emit(replace(output, name=builder.name(LOGITS)))
    builder.emit(Output(name=output.name, x=base))
    return Network(nodes=tuple(builder.nodes))


def _sign(builder: Builder, output: Output) -> str:
    """1 where scale * x + offset is positive, else 0."""
    threshold = math.floor(-output.offset[0] / Fraction(output.scale[0])) + 1
    step = Step(name=builder.name("winner"), x=output.x, thresholds=Ints([[threshold]]), values=Ints([[0, 1]]))
    return builder.emit(step)
