"""Random small networks of convolutions that can be streamed: branches of one input, joined at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgecomp.ir import (
    Add,
    Concat,
    Conv,
    Input,
    Ints,
    MaxPool,
    Mul,
    Network,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Rounding,
    Slice,
    Step,
    SumPool,
    Value,
)
from edgecomp.ir.ranges import NodeError, infer


@dataclass(slots=True, kw_only=True)
class Branch:
    """The nodes of a network so far, and the value that this branch has come to."""

    rng: np.random.Generator
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    at: str = "x"

    def upto(self, lo: int, hi: int) -> int:
        return int(self.rng.integers(lo, hi + 1))

    def add(self, node: Node) -> str:
        """NodeError where it does not fit."""
        self.values[node.name] = infer(node, self.values)
        self.nodes.append(node)
        return node.name

    def name(self, head: str) -> str:
        return f"{head}{len(self.nodes)}"

    def ints(self, lo: int, hi: int, *shape: int) -> Ints:
        return Ints(self.rng.integers(lo, hi + 1, shape))

    def rescaled(self, x: str) -> str:
        """Four or fewer bits, by channel; a channel may have one value only."""
        value = self.values[x]
        channels = value.shape[0]
        if self.rng.random() < 0.2:
            thresholds = np.sort(self.rng.integers(value.least, value.greatest + 1, (channels, 3)), axis=1)
            return self.add(Step(name=self.name("step"), x=x, thresholds=Ints(thresholds),
                                 values=self.ints(-4, 4, channels, 4)))  # fmt: skip
        shift = max(1, max(abs(value.least), value.greatest, 1).bit_length() - 2)
        lo = self.rng.choice([-8, -2, 0, 0], channels)
        even = self.rng.random() < 0.5
        return self.add(Requant(
            name=self.name("requant"), x=x, multiplier=self.ints(1, 3, channels), addend=Ints([1 << (shift - 1)]),
            shift=shift, lo=Ints(lo), hi=Ints(lo + self.rng.choice([0, 3, 7, 10], channels)),
            rounding=Rounding.HALF_EVEN if even else Rounding.FLOOR))  # fmt: skip

    def conv(self, x: str, *, same: bool = False) -> str:
        channels, *spatial = self.values[x].shape
        rank = len(spatial)
        groups = channels if channels > 1 and self.rng.random() < 0.3 else 1
        outputs = channels if same or groups > 1 else self.upto(1, 3)
        kernel = [1 + 2 * self.upto(0, 1) if same else self.upto(1, 3) for _ in range(rank)]
        dilation = [1 if same else self.upto(1, 2) for _ in range(rank)]
        pads = [(k // 2, k // 2) if same else (self.upto(0, 2), self.upto(0, 2)) for k in kernel]
        stride = tuple(1 if same else self.upto(1, 2) for _ in range(rank))
        return self.add(Conv(name=self.name("conv"), x=x, weight=self.ints(-3, 3, outputs, channels // groups, *kernel),
                             bias=self.ints(-5, 5, outputs), stride=stride, pads=tuple(pads), dilation=tuple(dilation),
                             groups=groups))  # fmt: skip

    def pool(self, x: str) -> str:
        rank = len(self.values[x].shape) - 1
        kernel = tuple(self.upto(1, 3) for _ in range(rank))
        stride = tuple(self.upto(1, 3) for _ in range(rank))
        pads = tuple((self.upto(0, k // 2), self.upto(0, k // 2)) for k in kernel)
        if self.rng.random() < 0.5:
            return self.add(SumPool(name=self.name("sums"), x=x, kernel=kernel, stride=stride, pads=pads))
        dilation = tuple(1 if any(pad) else self.upto(1, 2) for pad in pads)
        return self.add(MaxPool(name=self.name("most"), x=x, kernel=kernel, stride=stride, pads=pads,
                                dilation=dilation))  # fmt: skip

    def residual(self, x: str) -> str:
        inner = self.rescaled(self.conv(x, same=True))
        if self.rng.random() < 0.5:
            inner = self.rescaled(self.conv(inner, same=True))
        if self.rng.random() < 0.3:
            return self.add(Mul(name=self.name("mul"), a=inner, b=x))
        if self.rng.random() < 0.3:
            return self.add(Concat(name=self.name("concat"), xs=(x, inner), axis=0))
        channels = self.values[x].shape[0]
        return self.add(Add(name=self.name("add"), a=x, b=inner, p=self.ints(1, 3, channels), q=Ints([-1])))

    def move(self, x: str) -> str:
        shape = self.values[x].shape
        if self.rng.random() < 0.5:
            pads = ((0, 0), *((self.upto(0, 2), self.upto(0, 1)) for _ in shape[1:]))
            return self.add(Pad(name=self.name("pad"), x=x, pads=pads, value=self.upto(-3, 9)))
        axis = self.upto(0, len(shape) - 1)
        start = self.upto(0, shape[axis] - 1)
        return self.add(Slice(name=self.name("slice"), x=x, axis=axis, start=start, stop=shape[axis],
                              step=self.upto(1, 2)))  # fmt: skip

    def grow(self, steps: int) -> None:
        """So many random steps from `at`, those that do not fit left out."""
        for _ in range(steps):
            kept, known = len(self.nodes), dict(self.values)
            kind = self.rng.choice(5, p=[0.4, 0.2, 0.2, 0.1, 0.1])
            try:
                self.at = [lambda x: self.rescaled(self.conv(x)), self.residual, self.pool, self.move,
                           self.rescaled][kind](self.at)  # fmt: skip
                if self.values[self.at].bits > 7:
                    self.at = self.rescaled(self.at)
            except NodeError:
                del self.nodes[kept:]
                self.values = known


def random_stream(seed: int, shape: tuple[int, ...], *, branches: int, flat: bool = True) -> Network:
    """Branches from one input; their values joined as one vector where `flat`, else one branch's places one by one."""
    rng = np.random.default_rng(seed)
    lo = int(rng.choice([-4, 0]))
    zero_point = int(rng.integers(0, 3))
    branch = Branch(rng=rng)
    branch.add(Input(name="x", shape=shape, lo=lo, hi=lo + 7, zero_point=zero_point))
    ends = []
    for _ in range(branches):
        branch.at = "x"
        branch.grow(branch.upto(2, 3))
        while branch.values[branch.at].size > 80 and flat:
            branch.grow(1)
        ends.append(branch.at)
    last = ends[0]
    if flat:
        parts = [branch.add(Reshape(name=branch.name("flat"), x=end, shape=(branch.values[end].size,)))
                 for end in ends]  # fmt: skip
        last = branch.add(Concat(name="joined", xs=tuple(parts), axis=0)) if branches > 1 else parts[0]
    return pruned((*branch.nodes, Output(name="y", x=last)))


def pruned(nodes: tuple[Node, ...]) -> Network:
    """The nodes that the output needs."""
    from edgecomp.ir import operands

    wanted, kept = {nodes[-1].name}, []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted |= set(operands(node))
            kept.append(node)
    network = Network(nodes=tuple(reversed(kept)))
    assert network.problems() == (), network.problems()
    return network
