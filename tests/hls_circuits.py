"""Small networks for the tests of the HLS back end, and several networks as one, so that one compilation does."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp import interp
from edgecomp.backends.hls import HlsBackend, HlsOptions
from edgecomp.ir import (
    Add,
    ArgMax,
    Concat,
    Conv,
    Dense,
    Encoding,
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
    TableDense,
    Transpose,
)
from edgecomp.project import load_target
from edgecomp.simulate import run_hls

Codes = NDArray[np.int64]
TARGET = load_target("fpga")
HLS = HlsBackend()


def renamed(node: Node, prefix: str) -> Node:
    """The node under another name, reading its operands under theirs."""
    name = prefix + node.name
    match node:
        case Input():
            return replace(node, name=name)
        case Add() | Mul():
            return replace(node, name=name, a=prefix + node.a, b=prefix + node.b)
        case Concat():
            return replace(node, name=name, xs=tuple(prefix + x for x in node.xs))
        case _:
            return replace(node, name=name, x=prefix + node.x)


def union(networks: Sequence[Network]) -> Network:
    """The networks side by side."""
    return Network(nodes=tuple(renamed(node, f"n{i}_") for i, net in enumerate(networks) for node in net.nodes))


def simulated(network: Network, inputs: Mapping[str, Codes], options: HlsOptions) -> Mapping[str, Codes]:
    """The outputs of the C simulation."""
    bundle = HLS.emit(HLS.legalize(network, TARGET, options), TARGET, options)
    with tempfile.TemporaryDirectory() as folder:
        bundle.spill(Path(folder))
        return run_hls(Path(folder), network, inputs).outputs


def differing(network: Network, inputs: Mapping[str, Codes], options: HlsOptions) -> dict[str, int]:
    """For each output how many codes of the C simulation are not the interpreter's."""
    got, expected = simulated(network, inputs, options), interp.outputs(network, inputs)
    return {name: int((got[name] != expected[name]).sum()) for name in expected}


def draw(rng: np.random.Generator, shape: tuple[int, ...], lo: int, hi: int) -> Ints:
    return Ints(rng.integers(lo, hi + 1, size=shape))


def dense(bits: int, signed: bool, weights: tuple[int, int], seed: int) -> Network:
    """A Dense whose weights reach both ends of `weights`, on codes of that width."""
    rng = np.random.default_rng(seed)
    lo, hi = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    weight = rng.integers(weights[0], weights[1] + 1, size=(4, 6))
    weight[0, :2] = weights
    nodes: tuple[Node, ...] = (
        Input(name="x", shape=(6,), lo=lo, hi=hi),
        Dense(name="y", x="x", weight=Ints(weight), bias=draw(rng, (4,), -3, 3)),
        Output(name="out", x="y"),
    )
    return Network(nodes=nodes)


def image(name: str, channels: int, *spatial: int, bits: int = 4) -> Input:
    return Input(name=name, shape=(channels, *spatial), lo=-(1 << (bits - 1)), hi=(1 << (bits - 1)) - 1)


def convolutions(seed: int) -> Network:
    """1-D and 2-D; stride that leaves a rest, uneven padding, dilation, groups, depthwise, pointwise."""
    rng = np.random.default_rng(seed)
    one = Ints([0])
    nodes: tuple[Node, ...] = (
        image("x", 4, 7, 6), image("s", 2, 11),
        Conv(name="c1", x="x", weight=draw(rng, (6, 4, 3, 3), -7, 7), bias=draw(rng, (6,), -20, 20), stride=(2, 2),
             pads=((1, 0), (2, 1)), dilation=(1, 1)),
        Conv(name="c2", x="x", weight=draw(rng, (4, 2, 2, 2), -3, 3), bias=one, stride=(1, 1), pads=((0, 0), (0, 0)),
             dilation=(2, 1), groups=2),
        Conv(name="c3", x="x", weight=draw(rng, (8, 1, 3, 2), -2, 1), bias=one, stride=(1, 2), pads=((1, 1), (0, 0)),
             dilation=(1, 1), groups=4),
        Conv(name="c4", x="x", weight=draw(rng, (3, 4, 1, 1), -1, 1), bias=one, stride=(1, 1), pads=((0, 0), (0, 0)),
             dilation=(1, 1)),
        Conv(name="c5", x="s", weight=draw(rng, (3, 2, 3), -8, 7), bias=one, stride=(3,), pads=((2, 0),),
             dilation=(2,)),
        Conv(name="c6", x="s", weight=draw(rng, (3, 2, 1), 0, 1), bias=one, stride=(2,), pads=((0, 0),),
             dilation=(1,)),
        *(Output(name=f"o{i}", x=f"c{i}") for i in range(1, 7)),
    )  # fmt: skip
    return Network(nodes=nodes)


def pools(seed: int) -> Network:
    """Maximum with padding and dilation on negative values, sums with padding; means divide by half to even."""
    nodes: tuple[Node, ...] = (
        Input(name="x", shape=(2, 5, 6), lo=-9, hi=-2), image("s", 3, 9),
        MaxPool(name="m1", x="x", kernel=(2, 3), stride=(2, 1), pads=((1, 0), (1, 1)), dilation=(1, 2)),
        MaxPool(name="m2", x="s", kernel=(3,), stride=(2,), pads=((1, 1),), dilation=(1,)),
        SumPool(name="s1", x="x", kernel=(3, 2), stride=(1, 2), pads=((1, 1), (0, 0))),
        SumPool(name="s2", x="s", kernel=(9,), stride=(1,), pads=((0, 0),)),
        Requant(name="mean", x="s1", multiplier=Ints([11]), addend=Ints([32]), shift=6, lo=Ints([-9]), hi=Ints([7]),
                rounding=Rounding.HALF_EVEN),
        *(Output(name=f"o_{x}", x=x) for x in ("m1", "m2", "mean", "s2")),
    )  # fmt: skip
    return Network(nodes=nodes)


def movement(seed: int) -> Network:
    """Slices, pads of two constants, transposes and reshapes before a Dense, concats of one and of several wires."""
    rng = np.random.default_rng(seed)
    nodes: tuple[Node, ...] = (
        image("x", 3, 4, 5), image("z", 3, 4, 5, bits=2),
        Slice(name="sl", x="x", axis=2, start=0, stop=5, step=2),
        Pad(name="p1", x="sl", pads=((0, 0), (1, 0), (0, 2)), value=3),
        Pad(name="p2", x="p1", pads=((1, 0), (0, 0), (0, 0)), value=-2),
        Transpose(name="tr", x="p2", perm=(2, 0, 1)),
        Concat(name="cc", xs=("x", "z", "x"), axis=1),
        Concat(name="same", xs=("x", "x"), axis=0),
        Reshape(name="re", x="x", shape=(60,)),
        Dense(name="fc", x="re", weight=draw(rng, (3, 60), -3, 3), bias=Ints([1])),
        Reshape(name="flat", x="tr", shape=(100,)),
        Dense(name="fc2", x="flat", weight=draw(rng, (2, 100), -3, 3), bias=Ints([1])),
        *(Output(name=f"o_{x}", x=x) for x in ("tr", "cc", "same", "fc", "fc2")),
    )  # fmt: skip
    return Network(nodes=nodes)


def merges(seed: int) -> Network:
    """Sums with coefficients and products, broadcast over places and over channels, one value with itself."""
    nodes: tuple[Node, ...] = (
        image("a", 3, 2, 4), image("b", 3, 1, 1), image("c", 1, 2, 4),
        Add(name="s1", a="a", b="b", p=Ints([3, -5, 1]), q=Ints([-1])),
        Add(name="s2", a="a", b="c", p=Ints([2]), q=Ints([7, 0, -9])),
        Mul(name="m1", a="s1", b="b"), Mul(name="m2", a="a", b="a"), Mul(name="m3", a="c", b="s2"),
        *(Output(name=f"o_{x}", x=x) for x in ("m1", "m2", "m3")),
    )  # fmt: skip
    return Network(nodes=nodes)


def ends(seed: int) -> Network:
    """Zero points and bipolar codes at both ends, one value at two outputs, an input straight to an output."""
    nodes: tuple[Node, ...] = (
        Input(name="z", shape=(2, 3), lo=-4, hi=11, zero_point=5),
        Input(name="b", shape=(4,), lo=0, hi=1, encoding=Encoding.BIPOLAR),
        Input(name="straight", shape=(2, 2, 2), lo=0, hi=1),
        Step(name="sign", x="z", thresholds=Ints([[0]]), values=Ints([[-1, 1]])),
        Output(name="o_sign", x="sign", encoding=Encoding.BIPOLAR),
        Output(name="o_z", x="z", zero_point=-7), Output(name="o_z2", x="z"),
        Dense(name="fc", x="b", weight=Ints([[1, -1, 1, 1], [1, 1, -2, 0]]), bias=Ints([0])),
        Output(name="o_fc", x="fc"), Output(name="o_b", x="b", encoding=Encoding.BIPOLAR),
        Output(name="o_straight", x="straight"),
    )  # fmt: skip
    return Network(nodes=nodes)


def heads(seed: int) -> Network:
    """Argmax with many ties; tables with a start for each input."""
    rng = np.random.default_rng(seed)
    nodes: tuple[Node, ...] = (
        Input(name="x", shape=(5,), lo=-2, hi=1), Input(name="u", shape=(3,), lo=0, hi=6, zero_point=2),
        ArgMax(name="best", x="x"),
        TableDense(name="t", x="u", tables=draw(rng, (4, 3, 8), -1000, 900), lo=Ints([-2, -2, -3])),
        Output(name="o_best", x="best"), Output(name="o_t", x="t"),
    )  # fmt: skip
    return Network(nodes=nodes)


def steps(seed: int) -> Network:
    """A table, a search, thresholds beyond the interval, none at all, and not monotone, per channel."""
    rng = np.random.default_rng(seed)
    thresholds = np.sort(rng.integers(-40000, 40000, size=(2, 6)), axis=1)
    nodes: tuple[Node, ...] = (
        Input(name="x", shape=(2, 3), lo=-32768, hi=32767), image("small", 2, 3),
        Step(name="search", x="x", thresholds=Ints(thresholds), values=draw(rng, (2, 7), -9, 9)),
        Step(name="one", x="x", thresholds=Ints([[17]]), values=Ints([[0, 1]])),
        Step(name="table", x="small", thresholds=Ints([[-3, -3, 0, 2, 5]]), values=Ints([[4, 9, -1, 0, 3, 8]])),
        Step(name="none", x="small", thresholds=Ints(np.zeros((1, 0), dtype=np.int64)), values=Ints([[6]])),
        *(Output(name=f"o_{x}", x=x) for x in ("search", "one", "table", "none")),
    )  # fmt: skip
    return Network(nodes=nodes)


def wide(seed: int) -> Network:
    """1, 40 and 62 bits in one chain, negative multipliers, clipping at both ends."""
    big = (1 << 39) - 1
    nodes: tuple[Node, ...] = (
        Input(name="x", shape=(4,), lo=-big - 1, hi=big), Input(name="bit", shape=(4,), lo=0, hi=1),
        Requant(name="up", x="x", multiplier=Ints([(1 << 20) + 3, -(1 << 21), 5, -1]), addend=Ints([7, -9, 0, 1 << 40]),
                shift=0, lo=Ints([-(1 << 61)]), hi=Ints([(1 << 61) - 1])),
        Requant(name="down", x="up", multiplier=Ints([1]), addend=Ints([1 << 40]), shift=41,
                lo=Ints([-(1 << 19)]), hi=Ints([1 << 18]), rounding=Rounding.HALF_EVEN),
        Requant(name="far", x="x", multiplier=Ints([1]), addend=Ints([-1]), shift=62, lo=Ints([-5]), hi=Ints([5])),
        Dense(name="fc", x="x", weight=Ints([[1, -1, 3, 2], [0, 0, 0, 0]]), bias=Ints([(1 << 59) + 1, -(1 << 60) + 1])),
        Mul(name="m", a="down", b="bit"),
        *(Output(name=f"o_{x}", x=x) for x in ("up", "far", "fc", "m")),
    )  # fmt: skip
    return Network(nodes=nodes)


def roundings(seed: int) -> Network:
    """Every shift from 0 to 9 with both roundings over all 8-bit codes: every tie and every clip is met."""
    nodes: list[Node] = [Input(name="x", shape=(3,), lo=-128, hi=127)]
    for shift in range(10):
        for rounding in Rounding:
            if rounding is Rounding.FLOOR or shift:
                name = f"r{shift}_{rounding.value}"
                half = (1 << shift) >> 1
                nodes.append(
                    Requant(
                        name=name,
                        x="x",
                        multiplier=Ints([1, -3, 6]),
                        addend=Ints([half, half, half + 1]),
                        shift=shift,
                        lo=Ints([-7, -20, -128]),
                        hi=Ints([7, 3, 90]),
                        rounding=rounding,
                    )
                )
                nodes.append(Output(name=f"o{shift}_{rounding.value}", x=name))
    return Network(nodes=tuple(nodes))


def by_hand(seed: int) -> Network:
    """All of the above, and the weights that hls4ml reads as binary or ternary where their type lets it."""
    makers = (convolutions, pools, movement, merges, ends, heads, steps, wide, roundings)
    pairs = [(1, False, (0, 1)), (1, False, (-1, 1)), (1, True, (-2, 1)), (5, True, (-2, 1)), (3, False, (0, 1)),
             (8, True, (-128, 127))]  # fmt: skip
    denses = [dense(bits, signed, weights, seed + i) for i, (bits, signed, weights) in enumerate(pairs)]
    return union([make(seed) for make in makers] + denses)
