"""How a network is streamed: pixel circuits between buffers, as plain data.

A token is what travels in one beat: the channels of one place of a value, places row-major; or the whole value where it
has one place only or was collected. A segment is a small network computed once for each token, all of it at one rate.
An import brings the value of an earlier segment to it, through borders and windows. Segments are numbered so that
every import comes from a lower number, so there are no loops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.ir import Network
from edgecomp.ir.ranges import bits_of

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """Places around a grid of (rows, cols): (before, after) of each axis, and what stands there in each channel."""

    grid: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    fills: tuple[int, ...]

    @property
    def outer(self) -> tuple[int, int]:
        (top, bottom), (left, right) = self.pads
        return self.grid[0] + top + bottom, self.grid[1] + left + right


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Windows over a grid of (rows, cols), the first at `first`, `places` of them along each axis."""

    grid: tuple[int, int]
    kernel: tuple[int, int]
    dilation: tuple[int, int]
    stride: tuple[int, int]
    first: tuple[int, int]
    places: tuple[int, int]

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def span(self) -> tuple[int, int]:
        rows, cols = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, cols


Mover = Border | Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Value `value` of segment `source`, after `movers`.

    `channels` holds the interval of each channel, `inner` how many elements of a token a channel has; `beats` tokens
    make a frame. `whole` where a token holds all of the value.
    """

    source: int
    value: str
    channels: tuple[Interval, ...]
    inner: int
    beats: int
    whole: bool
    movers: tuple[Mover, ...] = ()

    @property
    def key(self) -> tuple[int, str, tuple[Mover, ...]]:
        return self.source, self.value, self.movers

    @property
    def taps(self) -> int:
        last = self.movers[-1] if self.movers else None
        return last.taps if isinstance(last, Window) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A stream that a segment reads; `inputs` are the input nodes that hold its channels, in order."""

    stream: Stream
    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A value that leaves a segment through the outputs `outputs`, its channels in order."""

    value: str
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """`network` takes a token of every import and gives one of every export; `beats` of them a frame.

    The segment that holds the network's Input has no imports, the one with its Outputs no exports for these.
    """

    network: Network
    imports: tuple[Import, ...]
    exports: tuple[Export, ...]
    beats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Segments in order; the first takes the frame's places, the last gives the result's."""

    segments: tuple[Segment, ...]
    network: Network

    @property
    def edges(self) -> tuple[tuple[int, Import], ...]:
        """(reading segment, import) of every import, in order."""
        return tuple((number, each) for number, segment in enumerate(self.segments) for each in segment.imports)


def pixel_bits(channels: tuple[Interval, ...], inner: int = 1) -> int:
    """Bits of one token."""
    return inner * sum(bits_of(*ends) for ends in channels)


def bordered(stream: Stream, pads: tuple[tuple[int, int], tuple[int, int]], fills: tuple[int, ...],
             grid: tuple[int, int]) -> Stream:  # fmt: skip
    """The stream with places around its grid; itself where there are none."""
    if pads == ((0, 0), (0, 0)):
        return stream
    border = Border(grid=grid, pads=pads, fills=fills)
    channels = tuple((min(lo, fill), max(hi, fill)) for (lo, hi), fill in zip(stream.channels, fills, strict=True))
    return Stream(source=stream.source, value=stream.value, channels=channels, inner=1, whole=False,
                  beats=math.prod(border.outer), movers=(*stream.movers, border))  # fmt: skip


def windowed(stream: Stream, window: Window, *, whole: bool) -> Stream:
    """The stream of windows; `whole` where a window holds all of the value."""
    return Stream(source=stream.source, value=stream.value, channels=stream.channels, inner=window.taps, whole=whole,
                  beats=math.prod(window.places), movers=(*stream.movers, window))  # fmt: skip


def grid_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of the places of a value; more than two spatial axes count as one."""
    spatial = shape[1:]
    return (spatial[0], spatial[1]) if len(spatial) == 2 else (1, math.prod(spatial))


def both(pair: tuple[int, ...], missing: int = 1) -> tuple[int, int]:
    """An entry for each of (rows, columns), of parameters of one or two spatial axes."""
    return (pair[0], pair[1]) if len(pair) == 2 else (missing, pair[0])


def runs_of(channels: tuple[Interval, ...]) -> list[tuple[int, int]]:
    """(first, end) of neighbouring channels with one interval."""
    found: list[tuple[int, int]] = []
    for place, ends in enumerate(channels):
        if found and channels[found[-1][0]] == ends:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found


def free_name(head: str, taken: Mapping[str, object] | set[str]) -> str:
    """`head`, with underscores until nothing else is called so."""
    while head in taken:
        head += "_"
    return head
