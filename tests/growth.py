"""What random Networks grow from: a proposal for each kind of node, kept where it is sound and its value varies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Input,
    Ints,
    MaxPool,
    Mul,
    Node,
    Output,
    Pad,
    Requant,
    Reshape,
    Rounding,
    Slice,
    Step,
    SumPool,
    TableDense,
    Transpose,
    Value,
    operands,
)
from edgecomp.ir.ranges import MAX_BITS, NodeError, bits_of, infer, scaled

Codes = NDArray[np.int64]

SAMPLES = 128  # judged while growing
MAX_SIZE = 400  # elements of a value
MAX_MACS = 4000  # of one node


@dataclass
class Growth:
    """A network under construction, with the values of `SAMPLES` random samples."""

    rng: np.random.Generator
    wide: bool  # values may grow to 62 bits
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    data: dict[str, Codes] = field(default_factory=dict)
    seen: dict[str, Codes] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    @property
    def interior(self) -> int:
        return sum(not isinstance(node, Input | Output) for node in self.nodes)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def upto(self, lo: int, hi: int) -> int:
        """A random integer of lo..hi."""
        return int(self.rng.integers(lo, hi, endpoint=True))

    def add(self, node: Node) -> bool:
        """Append the node if it is sound, small and not constant."""
        try:
            value = infer(node, self.values)
        except NodeError:
            return False
        if not self.fits(node, value):
            return False
        data = interp.evaluate(node, [self.data[name] for name in operands(node)], self.values)
        if data.min() == data.max():
            return False
        self.keep(node, value, data)
        return True

    def keep(self, node: Node, value: Value, data: Codes) -> None:
        self.nodes.append(node)
        self.values[node.name], self.data[node.name] = value, data
        self.unread = [name for name in self.unread if name not in operands(node)] + [node.name]

    def fits(self, node: Node, value: Value) -> bool:
        most = MAX_BITS if self.wide else 40
        if value.size > MAX_SIZE or value.bits > most:
            return False
        if isinstance(node, Conv):
            return value.size * prod(node.weight.shape[1:]) <= MAX_MACS
        if isinstance(node, Requant):
            lo, hi = scaled(node, self.values[node.x])
            return bits_of(int(lo.min()), int(hi.max())) <= MAX_BITS
        return True

    def pick(self, *ranks: int, most_bits: int = MAX_BITS) -> str | None:
        """A value of one of these ranks, rather one that nothing reads yet."""
        fits = [n for n, v in self.values.items() if (not ranks or len(v.shape) in ranks) and v.bits <= most_bits]
        fresh = [name for name in fits if name in self.unread]
        names = fresh if fresh and self.chance(0.75) else fits
        return str(self.rng.choice(names)) if names else None

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def ints(self, lo: int, hi: int, *shape: int) -> Ints:
        return Ints(self.rng.integers(lo, hi, size=shape, endpoint=True))

    def per_channel(self, lo: int, hi: int, channels: int) -> Ints:
        return self.ints(lo, hi, channels if self.chance(0.5) else 1)

    def weight(self, *shape: int) -> Ints:
        """Weights of 1 to 8 bits (up to 30 where values may grow), with zeros."""
        bits = self.upto(12, 30) if self.wide and self.chance(0.5) else self.upto(1, 8)
        lo, hi = (-1, 1) if bits == 1 else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        dense = self.rng.integers(lo, hi, size=shape, endpoint=True)
        return Ints(np.where(self.rng.random(shape) < 0.2, 0, dense))

    def bias(self, outputs: int) -> Ints:
        return Ints([0]) if self.chance(0.3) else self.per_channel(-200, 200, outputs)

    def windows(self, spatial: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Kernel, stride and dilation for these spatial axes."""
        kernel = tuple(self.upto(1, min(3, size)) for size in spatial)
        stride = tuple(self.upto(1, 2) for _ in spatial)
        return kernel, stride, tuple(self.upto(1, 2) if self.chance(0.3) else 1 for _ in spatial)

    def pads(self, most: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        return tuple((self.upto(0, m), self.upto(0, m)) for m in most)


def dense(growth: Growth, name: str) -> Node | None:
    x = growth.pick(1)
    if x is None:
        return None
    outputs = growth.upto(1, 10)
    return Dense(name=name, x=x, weight=growth.weight(outputs, growth.shape(x)[0]), bias=growth.bias(outputs))


def convolution(growth: Growth, name: str) -> Node | None:
    x = growth.pick(2, 3)
    if x is None:
        return None
    channels, *spatial = growth.shape(x)
    kernel, stride, dilation = growth.windows(tuple(spatial))
    groups = int(growth.rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
    outputs = groups * growth.upto(1, max(1, 6 // groups))
    weight = growth.weight(outputs, channels // groups, *kernel)
    pads = growth.pads(tuple(2 for _ in kernel)) if growth.chance(0.6) else tuple((0, 0) for _ in kernel)
    return Conv(name=name, x=x, weight=weight, bias=growth.bias(outputs), stride=stride, pads=pads, dilation=dilation,
                groups=groups)  # fmt: skip


def pair(growth: Growth) -> tuple[str, str] | None:
    """Two values that broadcast against each other."""
    a = growth.pick()
    if a is None:
        return None
    shape = growth.shape(a)
    fits = [
        name
        for name, value in growth.values.items()
        if len(value.shape) == len(shape)
        and all(m == n or 1 in (m, n) for m, n in zip(value.shape, shape, strict=True))
    ]
    others = [name for name in fits if name != a] or fits
    return a, str(growth.rng.choice(others))


def addition(growth: Growth, name: str) -> Node | None:
    ab = pair(growth)
    if ab is None:
        return None
    channels = max(growth.shape(ab[0])[0], growth.shape(ab[1])[0])
    p, q = (growth.per_channel(-9, 9, channels) if growth.chance(0.6) else Ints([1]) for _ in range(2))
    return Add(name=name, a=ab[0], b=ab[1], p=p, q=q)


def product(growth: Growth, name: str) -> Node | None:
    ab = pair(growth)
    return None if ab is None else Mul(name=name, a=ab[0], b=ab[1])


def concat(growth: Growth, name: str) -> Node | None:
    first = growth.pick()
    if first is None:
        return None
    shape = growth.shape(first)
    axis = growth.upto(0, len(shape) - 1)

    def rest(other: tuple[int, ...]) -> tuple[int, ...]:
        return (*other[:axis], -1, *other[axis + 1 :])

    fits = [n for n, v in growth.values.items() if len(v.shape) == len(shape) and rest(v.shape) == rest(shape)]
    more = growth.rng.choice(fits, size=growth.upto(1, 2))
    return Concat(name=name, xs=(first, *(str(n) for n in more)), axis=axis)


def cut(growth: Growth, name: str) -> Node | None:
    x = growth.pick()
    if x is None:
        return None
    axis = growth.upto(0, len(growth.shape(x)) - 1)
    size = growth.shape(x)[axis]
    start = growth.upto(0, size - 1)
    return Slice(name=name, x=x, axis=axis, start=start, stop=growth.upto(start + 1, size), step=growth.upto(1, 2))


def reshape(growth: Growth, name: str) -> Node | None:
    x = growth.pick()
    if x is None:
        return None
    size = growth.values[x].size
    if growth.chance(0.4):
        return Reshape(name=name, x=x, shape=(size,))
    first = int(growth.rng.choice([n for n in range(1, size + 1) if size % n == 0]))
    second = int(growth.rng.choice([n for n in range(1, size // first + 1) if (size // first) % n == 0]))
    return Reshape(name=name, x=x, shape=(first, second, size // first // second)[: growth.upto(2, 3)])


def transpose(growth: Growth, name: str) -> Node | None:
    x = growth.pick(2, 3)
    if x is None:
        return None
    return Transpose(name=name, x=x, perm=tuple(int(i) for i in growth.rng.permutation(len(growth.shape(x)))))


def pad(growth: Growth, name: str) -> Node | None:
    x = growth.pick()
    if x is None:
        return None
    return Pad(name=name, x=x, pads=growth.pads((1,) * len(growth.shape(x))), value=growth.upto(-20, 20))


def code_range(growth: Growth) -> tuple[int, int]:
    """The codes of 1 to 16 bits: unsigned, signed or narrow."""
    bits = growth.upto(1, 16) if growth.chance(0.4) else growth.upto(2, 8)
    if growth.chance(0.4):
        return 0, (1 << bits) - 1
    return -(1 << (bits - 1)) + int(bits > 1 and growth.chance(0.3)), (1 << (bits - 1)) - 1


def requant(growth: Growth, name: str) -> Node | None:
    """Multipliers from the data's spread, so that some codes clip; shifts short enough that some tie."""
    x = growth.pick()
    if x is None:
        return None
    lo, hi = code_range(growth)
    channels = growth.shape(x)[0] if growth.chance(0.5) else 1
    spread = float(np.abs(growth.data[x]).max()) * growth.rng.uniform(0.3, 1.2, size=channels)
    ratio = (hi - lo) / np.maximum(spread, 1) / 2
    half_even = growth.chance(0.6)
    precision = growth.upto(0, 10)  # bits of the multiplier beyond its first
    shift = int(np.clip(np.ceil(precision - np.log2(ratio.max())), int(half_even), 60))
    magnitude = np.maximum(1, np.round(ratio * 2.0**shift)).astype(np.int64)
    negative = growth.rng.random(channels) < (0.3 if growth.chance(0.5) else 0)
    half = (1 << shift) >> 1
    offset = 0 if growth.chance(0.4) else growth.upto(lo // 2, hi // 2)
    addend = growth.upto(0, 1) * half + (offset << shift) if not half_even else half + (offset << shift)
    clip = growth.upto(0, max(0, (hi - lo) // 4)) if growth.chance(0.2) else 0
    return Requant(name=name, x=x, multiplier=Ints(np.where(negative, -magnitude, magnitude)), shift=shift,
                   addend=Ints([addend]), lo=Ints([lo + clip]), hi=growth.per_channel(hi - clip, hi, channels),
                   rounding=Rounding.HALF_EVEN if half_even else Rounding.FLOOR)  # fmt: skip


def step(growth: Growth, name: str) -> Node | None:
    """Thresholds on the data's own values, so that comparisons tie."""
    x = growth.pick()
    if x is None:
        return None
    rows = growth.shape(x)[0] if growth.chance(0.5) else 1
    count = growth.upto(1, 4) if growth.chance(0.5) else growth.upto(5, 255)
    pool = growth.data[x].reshape(-1)
    count = min(count, len(np.unique(pool)))
    thresholds = np.sort(growth.rng.choice(pool, size=(rows, count)) + growth.rng.integers(0, 2, size=(rows, count)))
    if growth.chance(0.25):
        values = growth.rng.choice([-1, 1], size=(rows, count + 1))
    else:
        lo, hi = code_range(growth)
        values = growth.rng.integers(lo, hi, size=(rows, count + 1), endpoint=True)
        values = np.sort(values) if growth.chance(0.5) else values
    return Step(name=name, x=x, thresholds=Ints(thresholds), values=Ints(values))


def table_dense(growth: Growth, name: str) -> Node | None:
    x = growth.pick(1, most_bits=6)
    if x is None:
        return None
    value, outputs = growth.values[x], growth.upto(1, 6)
    lo = Ints(value.lo) if growth.chance(0.5) else Ints([value.least])
    entries = value.greatest - value.least + 1 + growth.upto(0, 2)
    return TableDense(name=name, x=x, tables=growth.ints(-99, 99, outputs, len(value.lo), entries), lo=lo)


def pool(growth: Growth, name: str, *, greatest: bool) -> Node | None:
    x = growth.pick(2, 3)
    if x is None:
        return None
    spatial = growth.shape(x)[1:]
    kernel, stride, dilation = (spatial, (1,) * len(spatial), (1,) * len(spatial)) if growth.chance(0.2) else (
        growth.windows(spatial))  # fmt: skip
    pads = growth.pads(tuple(k // 2 for k in kernel)) if growth.chance(0.5) else ((0, 0),) * len(spatial)
    if greatest:
        return MaxPool(name=name, x=x, kernel=kernel, stride=stride, pads=pads, dilation=dilation)
    return SumPool(name=name, x=x, kernel=kernel, stride=stride, pads=pads)


def argmax(growth: Growth, name: str) -> Node | None:
    x = growth.pick(1)
    return None if x is None else ArgMax(name=name, x=x)


PROPOSALS: dict[type[Node], Callable[[Growth, str], Node | None]] = {
    Dense: dense,
    Conv: convolution,
    Add: addition,
    Mul: product,
    Concat: concat,
    Slice: cut,
    Reshape: reshape,
    Transpose: transpose,
    Pad: pad,
    Requant: requant,
    Step: step,
    TableDense: table_dense,
    MaxPool: lambda growth, name: pool(growth, name, greatest=True),
    SumPool: lambda growth, name: pool(growth, name, greatest=False),
    ArgMax: argmax,
}
WEIGHTS: dict[type[Node], float] = {Dense: 3, Conv: 3, Requant: 4, Step: 2, TableDense: 2}
