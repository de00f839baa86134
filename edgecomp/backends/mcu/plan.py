"""What is computed in which order and kept where: chains of elementwise nodes, views, and buffers by lifetime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.backends.mcu.ctypes import stored
from edgecomp.ir import Input, Network, Node, Output, Requant, Reshape, Step, operands

Elementwise = Requant | Step | Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A node whose elements are computed one by one, and the elementwise nodes that each element passes at once."""

    node: Node
    chain: tuple[Elementwise, ...]

    @property
    def result(self) -> str:
        """The name of the value that is stored."""
        return self.chain[-1].name if self.chain else self.node.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`jobs` in order; `place` names the slot of each stored value that is no output; `slots` lists each slot's
    members (field, C type, elements); `source` is the value whose memory a view reads."""

    jobs: tuple[Job, ...]
    place: Mapping[str, tuple[int, str]]
    slots: tuple[tuple[tuple[str, str, int], ...], ...]
    source: Mapping[str, str]


def make_plan(network: Network) -> Plan:
    jobs = _jobs(network)
    source = _sources(network)
    last = {}
    for time, job in enumerate(jobs):
        for name in operands(job.node):
            last[source[name]] = time
    values = network.values()
    free: dict[int, int] = {}  # slot -> the time from which it is free
    sizes: list[int] = []
    members: list[list[tuple[str, str, int]]] = []
    place: dict[str, tuple[int, str]] = {}
    outputs = {node.name for node in network.outputs}
    for time, job in enumerate(jobs):
        name = job.result
        if name in outputs:
            continue
        value = values[name]
        kind = stored(value.least, value.greatest)
        size = value.size * int(kind.strip("uint_")) // 8
        ready = [slot for slot, until in free.items() if until < time]
        slot = min(ready, key=lambda s: (abs(sizes[s] - size), s), default=len(sizes))
        if slot == len(sizes):
            sizes.append(0)
            members.append([])
        sizes[slot] = max(sizes[slot], size)
        field = f"v{len(place)}"
        members[slot].append((field, kind, value.size))
        place[name] = (slot, field)
        free[slot] = last.get(name, time)
    return Plan(jobs=tuple(jobs), place=place, slots=tuple(map(tuple, members)), source=source)


def _jobs(network: Network) -> list[Job]:
    """Every node that computes; one that a single elementwise node reads is followed by it at once."""
    readers = Counter(name for node in network.nodes for name in set(operands(node)))
    follower = {operands(node)[0]: node for node in network.nodes if isinstance(node, Elementwise)}
    jobs, done = [], set()
    for node in network.nodes:
        if isinstance(node, Input | Reshape) or node.name in done:
            continue
        chain: list[Elementwise] = []
        at: Node = node
        while not isinstance(at, Output) and readers[at.name] == 1 and at.name in follower:
            at = follower[at.name]
            chain.append(at)
            done.add(at.name)
        jobs.append(Job(node=node, chain=tuple(chain)))
    return jobs


def _sources(network: Network) -> dict[str, str]:
    """The value in whose memory each value lies: a reshaped one's is that of what it reads."""
    found: dict[str, str] = {}
    for node in network.nodes:
        found[node.name] = found[node.x] if isinstance(node, Reshape) else node.name
    return found
