"""What is computed in which order and kept where: chains of elementwise nodes, views, and buffers by lifetime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgecomp.backends.mcu.ctypes import stored
from edgecomp.ir import ArgMax, Conv, Dense, Input, Network, Node, Output, Requant, Reshape, Step, Value, operands

Elementwise = Requant | Step | Output
FEW_INPUTS = 6  # so few products are not worth a call, some 12 instructions: its loop saves 2 or 3 for each
FEW_OUTPUTS = 3  # output channels that read one window
MOST_COPIED = 512  # bytes of RAM for a window


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A node whose elements are computed one by one, and the elementwise nodes that each element passes at once.

    Where `best` is there, the elements are not stored: only the index of the greatest is kept, which passes `after`.
    """

    node: Node
    chain: tuple[Elementwise, ...]
    best: ArgMax | None = None
    after: tuple[Elementwise, ...] = ()

    @property
    def value(self) -> str:
        """The name of the value whose elements leave the chain."""
        return self.chain[-1].name if self.chain else self.node.name

    @property
    def result(self) -> str:
        """The name of the value that is stored."""
        if self.best is None:
            return self.value
        return self.after[-1].name if self.after else self.best.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`jobs` in order; `place` names the slot of each stored value that is no output; `slots` lists each slot's
    members (field, C type, elements); `source` is the value whose memory a view reads; `windows` the place where a
    convolution puts its windows' elements side by side."""

    jobs: tuple[Job, ...]
    place: Mapping[str, tuple[int, str]]
    slots: tuple[tuple[tuple[str, str, int], ...], ...]
    source: Mapping[str, str]
    windows: Mapping[str, tuple[int, str]]


def make_plan(network: Network, *, copies: bool = True) -> Plan:
    """The plan of a network; `copies` where windows may be copied."""
    jobs = _jobs(network)
    source = _sources(network)
    last = {}
    for time, job in enumerate(jobs):
        for name in operands(job.node):
            last[source[name]] = time
    values = network.values()
    slots = _Slots()
    place, windows = {}, {}
    outputs = {node.name for node in network.outputs}
    for time, job in enumerate(jobs):
        name = job.result
        if name not in outputs:
            value = values[name]
            place[name] = slots.take(stored(value.least, value.greatest), value.size, time, last.get(name, time))
        if copies and isinstance(job.node, Conv) and (kind := window_kind(job.node, values[job.node.x])):
            windows[job.node.name] = slots.take(kind, job.node.weight.array[0].size, time, time)
    return Plan(jobs=tuple(jobs), place=place, slots=tuple(map(tuple, slots.members)), source=source, windows=windows)


def window_kind(node: Conv, x: Value) -> str:
    """The type of the elements of a window that is copied; none where it is read in place.

    A copy costs some 15 instructions an element and saves some 10 for each output channel that reads it.
    """
    kind, taps = stored(min(0, x.least), max(0, x.greatest)), node.weight.array[0].size
    size = taps * int(kind.strip("uint_")) // 8
    pays = len(node.weight.array) // node.groups >= FEW_OUTPUTS and taps >= FEW_INPUTS and size <= MOST_COPIED
    return kind if pays else ""


@dataclass(slots=True)
class _Slots:
    """Memory given so far: the time from which each slot is free, its bytes and its members."""

    free: dict[int, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    members: list[list[tuple[str, str, int]]] = field(default_factory=list)

    def take(self, kind: str, count: int, time: int, until: int) -> tuple[int, str]:
        """(slot, field) of elements that live from one time to another: the free slot nearest in size, or a new one."""
        size = count * int(kind.strip("uint_")) // 8
        ready = [slot for slot, end in self.free.items() if end < time]
        slot = min(ready, key=lambda s: (abs(self.sizes[s] - size), s), default=len(self.sizes))
        if slot == len(self.sizes):
            self.sizes.append(0)
            self.members.append([])
        self.sizes[slot] = max(self.sizes[slot], size)
        name = f"v{sum(map(len, self.members))}"
        self.members[slot].append((name, kind, count))
        self.free[slot] = until
        return slot, name


def _jobs(network: Network) -> list[Job]:
    """Every node that computes; one that a single elementwise node reads is followed by it at once."""
    readers = Counter(name for node in network.nodes for name in set(operands(node)))
    follower = {operands(node)[0]: node for node in network.nodes if isinstance(node, Elementwise)}
    jobs: list[Job] = []
    done: set[str] = set()
    for node in network.nodes:
        if isinstance(node, Input | Reshape) or node.name in done:
            continue
        chain = _followers(node, follower, readers)
        job = Job(node=node, chain=chain)
        chosen = next((n for n in network.nodes if isinstance(n, ArgMax) and n.x == job.value), None)
        if isinstance(node, Dense) and readers[job.value] == 1 and chosen is not None and not chosen.tree.array.size:
            job = Job(node=node, chain=chain, best=chosen, after=_followers(chosen, follower, readers))
            done.add(chosen.name)
        done |= {n.name for n in (*job.chain, *job.after)}
        jobs.append(job)
    return jobs


def _followers(node: Node, follower: Mapping[str, Elementwise], readers: Mapping[str, int]) -> tuple[Elementwise, ...]:
    """The elementwise nodes behind a node, as long as nothing else reads what they read."""
    chain: list[Elementwise] = []
    at: Node = node
    while not isinstance(at, Output) and readers[at.name] == 1 and at.name in follower:
        at = follower[at.name]
        chain.append(at)
    return tuple(chain)


def _sources(network: Network) -> dict[str, str]:
    """The value in whose memory each value lies: a reshaped one's is that of what it reads."""
    found: dict[str, str] = {}
    for node in network.nodes:
        found[node.name] = found[node.x] if isinstance(node, Reshape) else node.name
    return found
