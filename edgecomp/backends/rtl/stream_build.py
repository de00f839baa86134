"""Which segment each node of a network goes to, and through which buffers its operands come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgecomp.backends.rtl.stream_plan import (
    Export,
    Import,
    Plan,
    Segment,
    Stream,
    Window,
    bordered,
    both,
    free_name,
    grid_of,
    runs_of,
    windowed,
)
from edgecomp.errors import InexpressibleError, Problem, raise_all
from edgecomp.ir import (
    Concat,
    Conv,
    Input,
    Ints,
    MaxPool,
    Network,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Slice,
    SumPool,
    Transpose,
    Value,
    operands,
)

Pooling = MaxPool | SumPool


class RefusedError(Exception):
    """Why a node cannot be streamed."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """A segment under construction: its nodes, its imports by their key, and what leaves it."""

    beats: int
    nodes: list[Node] = field(default_factory=list)
    imports: dict[object, Import] = field(default_factory=dict)
    exports: list[str] = field(default_factory=list)


def plan_of(network: Network) -> Plan:
    """InexpressibleError names every node in the way, at least the first."""
    plan = _planned(network)
    if isinstance(plan, Problem):
        raise_all(InexpressibleError, (plan,))
    assert isinstance(plan, Plan)
    return plan


def stream_problems(network: Network) -> tuple[Problem, ...]:
    """Why the network cannot be streamed: the first node in the way, since what follows depends on it."""
    plan = _planned(network)
    return (plan,) if isinstance(plan, Problem) else ()


def _planned(network: Network) -> Plan | Problem:
    if len(network.inputs) != 1:
        return Problem(what=f"a stream has one input, not {len(network.inputs)}", where=network.inputs[1].name,
                       hint="take io=parallel, or join the inputs in the model")  # fmt: skip
    planner = Planner(network=network, known=network.values(), taken={node.name for node in network.nodes})
    for node in network.nodes:
        try:
            planner.place(node)
        except RefusedError as refused:
            return Problem(what=f"it cannot be streamed: {refused}", where=node.name, hint="take io=parallel")
    ends = {planner.streams[node.name].source for node in network.outputs}
    if ends != {len(planner.drafts) - 1}:
        return Problem(what="it cannot be streamed: the outputs come at different rates or times",
                       where=network.outputs[0].name, hint="take io=parallel")  # fmt: skip
    return Plan(segments=tuple(planner.segment(draft) for draft in planner.drafts), network=network)


@dataclass(slots=True, kw_only=True)
class Planner:
    """The segments so far, and the stream of every value."""

    network: Network
    known: Mapping[str, Value]
    taken: set[str]
    drafts: list[Draft] = field(default_factory=list)
    streams: dict[str, Stream] = field(default_factory=dict)

    def place(self, node: Node) -> None:
        if isinstance(node, Input):
            self.drafts.append(Draft(beats=self.beats(node.name)))
            self.added(node, 0, whole=self.beats(node.name) == 1)
            return
        streams = [self.streams[name] for name in operands(node)]
        if all(stream.whole for stream in streams):
            self.computed(node, streams, whole=True)
        elif isinstance(node, Pad | Slice) and self.moved(node, streams[0]):
            pass
        else:
            self.computed(*self.by_tokens(node, streams))

    def beats(self, name: str) -> int:
        return math.prod(self.known[name].shape[1:])

    def by_tokens(self, node: Node, streams: list[Stream]) -> tuple[Node, list[Stream], bool]:
        """The node as one token sees it, the streams that it reads then, and whether it gives a whole value."""
        match node:
            case Conv():
                stream = self.swept(node, streams[0], node.weight.shape[2:], node.dilation)
                ones, none = (1,) * len(node.stride), ((0, 0),) * len(node.stride)
                return replace(node, stride=ones, pads=none, dilation=ones), [stream], stream.beats == 1
            case MaxPool() | SumPool():
                dilation = node.dilation if isinstance(node, MaxPool) else (1,) * len(node.kernel)
                stream = self.swept(node, streams[0], node.kernel, dilation)
                return self.pooled(node), [stream], stream.beats == 1
            case Reshape():
                return self.reshaped(node, streams[0])
            case Concat() | Slice() if node.axis > 0:
                raise RefusedError(f"it works along axis {node.axis}, whose places come one after the other")
            case Transpose() if node.perm != tuple(range(len(node.perm))):
                raise RefusedError("it puts places into another order than they come in")
            case Pad():
                raise RefusedError("channels are padded beside places")
            case _:
                if any(stream.beats != self.beats(node.name) for stream in streams):
                    raise RefusedError("a value is broadcast along places")
                return node, streams, self.beats(node.name) == 1

    def pooled(self, node: Pooling) -> Pooling:
        ones, none = (1,) * len(node.kernel), ((0, 0),) * len(node.kernel)
        if isinstance(node, MaxPool):
            return replace(node, stride=ones, pads=none, dilation=ones)
        return replace(node, stride=ones, pads=none)

    def reshaped(self, node: Reshape, stream: Stream) -> tuple[Node, list[Stream], bool]:
        """Places under other numbers, or all of the value collected first."""
        value = self.known[node.x]
        if node.shape[0] == value.shape[0] and len(node.shape) > 1:
            return replace(node, shape=(node.shape[0], *[1] * (len(node.shape) - 1))), [stream], False
        one = (1, stream.beats)
        window = Window(grid=one, kernel=one, dilation=(1, 1), stride=(1, 1), first=(0, 0), places=(1, 1))
        return node, [windowed(stream, window, whole=True)], True

    def swept(self, node: Conv | Pooling, stream: Stream, kernel: Sequence[int], dilation: Sequence[int]) -> Stream:
        """The windows of a convolution or pooling, its border around the grid."""
        fills = tuple(lo if isinstance(node, MaxPool) else 0 for lo, _ in stream.channels)
        rows, cols = ((0, 0), *node.pads)[-2:]
        inner = bordered(stream, (rows, cols), fills, grid_of(self.known[node.x].shape))
        grid = grid_of(self.known[node.x].shape)
        grid = (grid[0] + sum(rows), grid[1] + sum(cols))
        window = Window(grid=grid, kernel=both(tuple(kernel)), dilation=both(tuple(dilation)),
                        stride=both(node.stride), first=(0, 0),
                        places=grid_of(self.known[node.name].shape))  # fmt: skip
        if window.kernel == (1, 1) and window.stride == (1, 1):
            return inner
        return windowed(inner, window, whole=False)

    def moved(self, node: Pad | Slice, stream: Stream) -> bool:
        """Whether the node is a border or a choice of places, which needs no segment."""
        grid = grid_of(self.known[node.x].shape)
        if len(self.known[node.x].shape) > 3:
            return False
        if isinstance(node, Pad):
            if node.pads[0] != (0, 0):
                return False
            rows, cols = ((0, 0), *node.pads[1:])[-2:]
            self.streams[node.name] = bordered(stream, (rows, cols), (node.value,) * len(stream.channels), grid)
            return True
        if node.axis == 0:
            return False
        along = len(self.known[node.x].shape) - node.axis  # 1 along columns, 2 along rows
        first, stride = ((node.start, 0), (node.step, 1)) if along == 2 else ((0, node.start), (1, node.step))
        window = Window(grid=grid, kernel=(1, 1), dilation=(1, 1), stride=stride, first=first,
                        places=grid_of(self.known[node.name].shape))  # fmt: skip
        self.streams[node.name] = windowed(stream, window, whole=math.prod(window.places) == 1)
        return True

    def computed(self, node: Node, streams: list[Stream], whole: bool) -> None:
        """The node in the latest segment that one of its operands is in or is brought to."""
        homes = [self.home(stream) for stream in streams]
        number = max(homes)
        if number == len(self.drafts):
            self.drafts.append(Draft(beats=streams[0].beats))
        draft = self.drafts[number]
        names = {name: self.local(number, stream, name)
                 for name, stream in zip(operands(node), streams, strict=True)}  # fmt: skip
        assert draft.beats == streams[0].beats, f"{node.name} among {draft.beats} tokens a frame"
        self.added(renamed(node, names), number, whole=whole)

    def home(self, stream: Stream) -> int:
        """The segment that the stream is in already, or a new one."""
        if not stream.movers:
            return stream.source
        found = [number for number, draft in enumerate(self.drafts) if stream.key in draft.imports]
        return found[-1] if found else len(self.drafts)

    def local(self, number: int, stream: Stream, name: str) -> str:
        """What the stream is called in the segment; brought there where it is not yet."""
        draft = self.drafts[number]
        if stream.source == number:
            assert not stream.movers, "a segment would read itself"
            return stream.value
        if stream.key not in draft.imports:
            source = self.drafts[stream.source]
            if stream.value not in source.exports:
                source.exports.append(stream.value)
            shape = self.token_shape(stream, name)
            found = self.imported(draft, stream, shape)
            draft.imports[stream.key] = found
        return draft.imports[stream.key].name

    def token_shape(self, stream: Stream, name: str) -> tuple[int, ...]:
        """(channels, ...) of a token of the stream, which leads to the value `name`."""
        shape = self.known[name].shape
        if stream.whole:
            return shape
        window = stream.movers[-1] if stream.movers else None
        kernel = window.kernel if isinstance(window, Window) else (1, 1)
        return (shape[0], *kernel[2 - min(len(shape) - 1, 2) :], *[1] * (len(shape) - 3))

    def imported(self, draft: Draft, stream: Stream, shape: tuple[int, ...]) -> Import:
        """Input nodes for the channels, one for neighbours of one interval, and one node that holds all of them."""
        inputs, parts = [], []
        for first, end in runs_of(stream.channels):
            lo, hi = stream.channels[first]
            name = self.fresh("given")
            inputs.append(name)
            draft.nodes.append(Input(name=name, shape=(end - first, *shape[1:]), lo=lo, hi=max(hi, lo + 1)))
            parts.append(self.known_constant(draft, name, lo) if lo == hi else name)
        joined = parts[0]
        if len(parts) > 1:
            joined = self.fresh("joined")
            draft.nodes.append(Concat(name=joined, xs=tuple(parts), axis=0))
        return Import(stream=stream, name=joined, inputs=tuple(inputs))

    def known_constant(self, draft: Draft, name: str, value: int) -> str:
        """The only value that some channels take, which an Input of one code cannot state."""
        only = Ints([value])
        node = Requant(name=self.fresh("only"), x=name, multiplier=Ints([0]), addend=only, shift=0, lo=only, hi=only)
        draft.nodes.append(node)
        return node.name

    def fresh(self, head: str) -> str:
        name = free_name(f"{head}{len(self.taken)}", self.taken)
        self.taken.add(name)
        return name

    def added(self, node: Node, number: int, *, whole: bool) -> None:
        """The node as the last one of a segment; its value a stream."""
        value = self.known[node.name]
        if isinstance(node, Input) and not whole:
            node = replace(node, shape=(node.shape[0], *[1] * (len(node.shape) - 1)))
        self.drafts[number].nodes.append(node)
        inner = math.prod(value.shape[1:]) if whole else 1
        self.streams[node.name] = Stream(
            source=number, value=node.name, channels=tuple(zip(value.lo, value.hi, strict=True)), inner=inner,
            beats=1 if whole else self.beats(node.name), whole=whole)  # fmt: skip

    def segment(self, draft: Draft) -> Segment:
        """The finished segment, every exported value with outputs for channels of one interval."""
        nodes, exports = list(draft.nodes), []
        for value in draft.exports:
            runs, outputs = runs_of(self.streams[value].channels), []
            for first, end in runs:
                source = value
                if len(runs) > 1:
                    source = self.fresh("part")
                    nodes.append(Slice(name=source, x=value, axis=0, start=first, stop=end))
                outputs.append(self.fresh("gives"))
                nodes.append(Output(name=outputs[-1], x=source))
            exports.append(Export(value=value, outputs=tuple(outputs)))
        order = [n for n in nodes if isinstance(n, Input)], [n for n in nodes if not isinstance(n, Input)]
        return Segment(network=Network(nodes=(*order[0], *order[1])), imports=tuple(draft.imports.values()),
                       exports=tuple(exports), beats=draft.beats)  # fmt: skip


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """The node reading what its operands are called here."""
    match node:
        case Input():
            return node
        case Concat():
            return replace(node, xs=tuple(names[x] for x in node.xs))
        case _:
            fields: dict[str, Any] = {key: names[getattr(node, key)] for key in ("x", "a", "b") if hasattr(node, key)}
            return replace(node, **fields)
