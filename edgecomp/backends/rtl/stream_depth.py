"""How many tokens must be able to wait at each edge of a plan, lest branches that meet again stop each other.

A plan is a network of processes that read and write in an order that no data and no timing change. Such a network
with FIFOs of some sizes runs to the end in every timing if it does so in one order of events. Here is one order: a
token of the network's input only comes in when nothing else can happen, and what follows goes before what leads. The
most tokens that wait at an edge in that order are enough in every other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.rtl.stream_plan import Border, Plan, Stream, Window

FRAMES = 3  # the order repeats itself from the second on

Counts = NDArray[np.int64]


def runs_ahead(stream: Stream, source_beats: int) -> bool:
    """Whether the stream's first token holds nothing but border, and could come before the frame does."""
    return bool(_reached(stream, source_beats)[0] == 0)


def needed(stream: Stream, source_beats: int) -> Counts:
    """How many tokens of its source each token of the stream needs or waits for, (beats,)."""
    return np.maximum(_reached(stream, source_beats), 1)


def _reached(stream: Stream, source_beats: int) -> Counts:
    needs: Counts = np.arange(1, source_beats + 1)
    for mover in stream.movers:
        match mover:
            case Border():
                outer = np.zeros(mover.outer, dtype=np.int64)
                (top, _), (left, _) = mover.pads
                outer[top : top + mover.grid[0], left : left + mover.grid[1]] = needs.reshape(mover.grid)
                needs = np.maximum.accumulate(outer.reshape(-1))
            case Window():
                ends = [f + s - 1 + np.arange(p) * gap for f, s, p, gap in
                        zip(mover.first, mover.span, mover.places, mover.stride, strict=True)]  # fmt: skip
                needs = needs.reshape(mover.grid)[np.ix_(*ends)].reshape(-1)
    return needs


def occupancies(plan: Plan) -> tuple[int, ...]:
    """The most tokens that wait at each edge, at least 1."""
    if all(len(segment.imports) <= 1 for segment in plan.segments):
        return (1,) * len(plan.edges)
    return _Run(plan).run()


class _Run:
    """Counts of the events so far."""

    def __init__(self, plan: Plan) -> None:
        beats = [segment.beats for segment in plan.segments]
        edges = [(number, each.stream) for number, each in plan.edges]
        self.beats, self.targets = beats, [number for number, _ in edges]
        self.sources = [stream.source for _, stream in edges]
        self.needs = [
            [need + frame * beats[stream.source] for frame in range(FRAMES + 2)
             for need in needed(stream, beats[stream.source]).tolist()]
            for _, stream in edges
        ]  # fmt: skip
        self.given = [[k for k, source in enumerate(self.sources) if source == s] for s in range(len(beats))]
        self.read = [[k for k, target in enumerate(self.targets) if target == s] for s in range(len(beats))]
        self.fired, self.most = [0] * len(beats), [1] * len(edges)

    def run(self) -> tuple[int, ...]:
        for _ in range(FRAMES * self.beats[0]):
            self.fire(0)
            number = len(self.beats) - 1
            while number > 0:  # the last that can go, until none can
                if self.ready(number):
                    self.fire(number)
                    number = len(self.beats)
                number -= 1
        return tuple(self.most)

    def ready(self, number: int) -> bool:
        fired = self.fired[number]
        return all(self.fired[self.sources[k]] >= self.needs[k][fired] for k in self.read[number])

    def fire(self, number: int) -> None:
        self.fired[number] += 1
        for k in self.given[number]:
            there = self.fired[self.sources[k]]
            waiting = there - min(there, self.needs[k][self.fired[self.targets[k]]])
            self.most[k] = max(self.most[k], waiting + 1)
