"""A Network: an ordered tuple of nodes, its values, and the verifier that lists everything wrong with it at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from edgecomp.errors import InexpressibleError, Problem, raise_all
from edgecomp.ir.nodes import Input, Node, Output, Requant, operands
from edgecomp.ir.ranges import MAX_BITS, NodeError, Value, infer, scaled, value

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Nodes in an order in which every value is defined before it is read."""

    nodes: tuple[Node, ...]

    @property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Input))

    @property
    def outputs(self) -> tuple[Output, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Output))

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def values(self) -> Mapping[str, Value]:
        """Shape and interval of every node's value; the network must be sound."""
        values, problems = _analyse(self)
        raise_all(InexpressibleError, problems)
        return values

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with the network."""
        return _analyse(self)[1]

    def _repr_html_(self) -> str:
        """The drawing that notebooks show."""
        from edgecomp.report.html import framed, render_network

        return framed(render_network(self), title="integer network")


@lru_cache(maxsize=64)
def _analyse(network: Network) -> tuple[Mapping[str, Value], tuple[Problem, ...]]:
    values: dict[str, Value] = {}
    seen: set[str] = set()
    problems: list[Problem] = []
    for node in network.nodes:
        faults = _faults_of_name(node, seen)
        lacking = [name for name in operands(node) if name not in seen]
        faults += [f"reads {name}, which no earlier node gives" for name in lacking]
        seen.add(node.name)
        if not lacking and all(name in values for name in operands(node)):
            try:
                values[node.name] = infer(node, values)
                faults += faults_of_width(node, values)
            except NodeError as fault:
                faults.append(str(fault))
        problems += [Problem(what=fault, where=node.name) for fault in faults]
    problems += _faults_of_ends(network)
    return MappingProxyType(values), tuple(problems)


def _faults_of_name(node: Node, seen: set[str]) -> list[str]:
    faults = [] if NAME.fullmatch(node.name) else ["the name is not a plain identifier"]
    return faults + (["the name is taken by an earlier node"] if node.name in seen else [])


def faults_of_width(node: Node, values: Mapping[str, Value]) -> list[str]:
    """Values, and Requant's products, that need more than MAX_BITS bits."""
    parts = {"its value": values[node.name]}
    if isinstance(node, Requant):
        x = values[node.x]
        parts["multiplier * x + addend"] = value(x.shape, *scaled(node, x))
    return [f"{part} needs {v.bits} bits; {MAX_BITS} is the most" for part, v in parts.items() if v.bits > MAX_BITS]


def _faults_of_ends(network: Network) -> list[Problem]:
    read = {name for node in network.nodes for name in operands(node)}
    outputs = {node.name for node in network.outputs}
    problems = [Problem(what="the network has no input")] if not network.inputs else []
    problems += [Problem(what="the network has no output")] if not outputs else []
    problems += [Problem(what="an output is read by another node", where=name) for name in sorted(outputs & read)]
    unread = [node.name for node in network.nodes if node.name not in read | outputs and not isinstance(node, Input)]
    return problems + [Problem(what="nothing reads this node", where=name) for name in unread]
