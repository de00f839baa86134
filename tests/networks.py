"""Random integer Networks over every node kind, for tests: sound, not constant, and pressing on clipping and ties."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from typing import get_args

import numpy as np

from edgecomp import interp
from edgecomp.golden import coverage
from edgecomp.ir import (
    Encoding,
    Input,
    Mul,
    Network,
    Node,
    Output,
    Requant,
    Rounding,
    Scale,
    Step,
)
from edgecomp.ir.ranges import infer
from tests.growth import PROPOSALS, SAMPLES, WEIGHTS, Codes, Growth

KINDS: frozenset[type[Node]] = frozenset(get_args(Node))
ENDS: frozenset[type[Node]] = frozenset({Input, Output})
ATTEMPTS = 200
ROUNDINGS = ("ROUND", "HALF_UP", "FLOOR", "CEIL")


def random_network(seed: int, *, kinds: Collection[type[Node]] | None = None) -> Network:
    """A sound random network made of `kinds` (default: all), beside Input and Output.

    Every output takes more than one value, and, where the network rescales at all, some codes clip and some tie.
    """
    allowed = KINDS if kinds is None else frozenset(kinds) | ENDS
    for attempt in range(ATTEMPTS):
        growth = grow(np.random.default_rng((seed, attempt)), allowed)
        network = Network(nodes=tuple(growth.nodes))
        if growth.interior and presses(network, growth.data):
            assert network.problems() == (), network.problems()
            return network
    raise AssertionError(f"no network of {sorted(kind.__name__ for kind in allowed)} in {ATTEMPTS} attempts")


def random_inputs(network: Network, seed: int, samples: int) -> dict[str, Codes]:
    """Host codes for every input; a quarter of the samples at the ends of the interval."""
    rng = np.random.default_rng((seed, samples))
    return {node.name: input_codes(node, rng, samples) for node in network.inputs}


def input_codes(node: Input, rng: np.random.Generator, samples: int) -> Codes:
    codes = rng.integers(node.lo, node.hi + 1, size=(samples, *node.shape))
    extreme = rng.random(codes.shape) < 0.5
    extreme[samples // 4 :] = False
    return np.where(extreme, rng.choice([node.lo, node.hi], size=codes.shape), codes).astype(np.int64)


def presses(network: Network, data: dict[str, Codes]) -> bool:
    """Whether rescaling nodes, if there are any, clip and tie on `data`."""
    covers = coverage(network, data)
    half_even = [n.name for n in network.nodes if isinstance(n, Requant) and n.rounding is Rounding.HALF_EVEN]
    clipped = sum(cover.clipped for cover in covers.values())
    return (not covers or clipped > 0) and (not half_even or sum(covers[name].tied for name in half_even) > 0)


def grow(rng: np.random.Generator, allowed: frozenset[type[Node]]) -> Growth:
    growth = Growth(rng=rng, wide=bool(rng.random() < 0.3))
    for number in range(growth.upto(1, 3)):
        add_input(growth, f"in{number}")
    kinds = [kind for kind in PROPOSALS if kind in allowed]
    weights = np.array([WEIGHTS.get(kind, 1.0) * (4 if growth.wide and kind is Mul else 1) for kind in kinds])
    wanted, tries = growth.upto(4, 14), 0
    while growth.interior < wanted and tries < 20 * wanted and kinds:
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        node = PROPOSALS[kind](growth, f"{kind.__name__.lower()}{growth.interior}")
        if node is not None:
            growth.add(node)
        tries += 1
    finish(growth)
    return growth


def random_scale(growth: Growth, channels: int) -> Scale:
    count = channels if growth.chance(0.3) else 1
    if growth.chance(0.5):
        return tuple(Fraction(1, 1 << growth.upto(0, 12)) for _ in range(count))
    return tuple(Fraction(float(np.float32(growth.rng.uniform(0.001, 1)))) for _ in range(count))


def add_input(growth: Growth, name: str) -> None:
    rank = growth.upto(1, 3)
    most = {1: (12,), 2: (4, 10), 3: (3, 6, 6)}[rank]
    shape = tuple(growth.upto(2 if axis or rank == 1 else 1, size) for axis, size in enumerate(most))
    scale = random_scale(growth, shape[0])
    if growth.chance(0.15):
        node = Input(name=name, shape=shape, lo=0, hi=1, encoding=Encoding.BIPOLAR, scale=scale)
    else:
        bits, signed = growth.upto(1, 16), growth.chance(0.5)
        lo, hi = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        zero_point = growth.upto(lo, hi) if growth.chance(0.3) else 0
        rounding = ROUNDINGS[growth.upto(0, 3)]
        source = "raw data/x:0" if growth.chance(0.3) else ""
        node = Input(name=name, shape=shape, lo=lo, hi=hi, zero_point=zero_point, scale=scale, rounding=rounding,
                     source=source, rounded_with_zero_point=growth.chance(0.2))  # fmt: skip
    codes = input_codes(node, growth.rng, SAMPLES)
    value = 2 * codes - 1 if node.encoding is Encoding.BIPOLAR else codes - node.zero_point
    growth.keep(node, infer(node, {}), value)


def finish(growth: Growth) -> None:
    """An Output for everything that nothing reads."""
    for number, x in enumerate(name for name in list(growth.unread) if not unread_input(growth, name)):
        reached = {side for v in (growth.values[x],) for side in (*v.lo, *v.hi)}
        source = growth.nodes[[node.name for node in growth.nodes].index(x)]
        bipolar = reached == {-1, 1} and isinstance(source, Step | Input) and growth.chance(0.7)
        scale = random_scale(growth, growth.shape(x)[0])
        offset = random_scale(growth, growth.shape(x)[0]) if growth.chance(0.3) else (Fraction(0),)
        if bipolar:
            node = Output(name=f"out{number}", x=x, encoding=Encoding.BIPOLAR, scale=scale)
        else:
            zero_point = growth.upto(-9, 9) if growth.values[x].bits <= 40 and growth.chance(0.3) else 0
            node = Output(name=f"out{number}", x=x, zero_point=zero_point, scale=scale, offset=offset)
        growth.keep(node, infer(node, growth.values), interp.evaluate(node, [growth.data[x]], growth.values))


def unread_input(growth: Growth, name: str) -> bool:
    return any(node.name == name and isinstance(node, Input) for node in growth.nodes) and growth.interior > 0
