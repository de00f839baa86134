"""Sums and comparisons on unlike grids: short multipliers against exact arithmetic, over all of small boxes."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import combinations, product

import mpmath
import numpy as np
import pytest

from edgecomp import interp
from edgecomp.frontend.evaluate import exact
from edgecomp.frontend.functions import Affine, Chain, Clip, Mode, Normalise, Round, compose
from edgecomp.frontend.joint import joint
from edgecomp.frontend.lattice import Line, Logit, exact_lines, floor_sum, near, shortest_lines
from edgecomp.ir import Input, Network, Output, Value


def float32(draw: random.Random, low: float, high: float) -> Fraction:
    return Fraction(float(np.float32(draw.uniform(low, high))))


def test_floor_sum_is_the_plain_sum() -> None:
    draw = random.Random(1)
    for _ in range(500):
        count, a, b, m = draw.randint(0, 20), draw.randint(0, 50), draw.randint(-50, 50), draw.randint(1, 30)
        assert floor_sum(count, a, b, m) == sum((a * i + b) // m for i in range(count))


def test_near_counts_the_points_of_a_strip() -> None:
    draw = random.Random(2)
    for _ in range(500):
        x, y = (
            Line(multiplier=draw.randint(1, 20), addend=draw.randint(-30, 30), lo=lo, hi=lo + draw.randint(0, 15))
            for lo in (draw.randint(-10, 5), draw.randint(-10, 5))
        )
        slack = draw.randint(0, 20)
        points = product(range(x.lo, x.hi + 1), range(y.lo, y.hi + 1))
        lines = [x.multiplier * i + x.addend - y.multiplier * j - y.addend for i, j in points]
        assert near(x, y, slack) == sum(abs(v) <= slack for v in lines)


def logits(draw: random.Random, kind: int) -> list[Logit]:
    made = []
    for _ in range(draw.randint(2, 4)):
        lo = draw.randint(-20, 5)
        scale = (float32(draw, 0.01, 1), Fraction(3, 7), Fraction(draw.choice([1, 2, 3, 4])))[kind % 3]
        offset = float32(draw, -2, 2) if kind % 2 else Fraction(draw.randint(-4, 4))
        made.append(Logit(scale=scale, offset=offset, lo=lo, hi=lo + draw.randint(0, 30)))
    return made


def test_short_logits_compare_like_the_real_ones() -> None:
    """Ties included: equal and commensurable scales make many."""
    draw, shorter, ties = random.Random(3), 0, 0
    for kind in range(60):
        real = logits(draw, kind)
        short = shortest_lines(real)
        shorter += short != exact_lines(real)
        for i, j in combinations(range(len(real)), 2):
            one, other = real[i], real[j]
            for x, y in product(range(one.lo, one.hi + 1), range(other.lo, other.hi + 1)):
                want = one.scale * x + one.offset - other.scale * y - other.offset
                got = short[i].multiplier * x + short[i].addend - short[j].multiplier * y - short[j].addend
                assert (want > 0) - (want < 0) == (got > 0) - (got < 0)
                ties += want == 0
    assert shorter > 20
    assert ties > 100


def value(intervals: list[tuple[int, int]]) -> Value:
    return Value(shape=(len(intervals),), lo=tuple(i[0] for i in intervals), hi=tuple(i[1] for i in intervals))


def sum_of(draw: random.Random, channels: int, *, norm: bool) -> tuple[Chain, Chain, Chain]:
    """An accumulator, perhaps normalised, and a code on another float grid, then a ReLU and a quantiser."""
    scale = tuple(float32(draw, 0.01, 0.02) * float32(draw, 0.1, 0.2) for _ in range(channels))
    first: Chain = (Affine(a=scale, b=(Fraction(0),)),)
    if norm:
        one = (Fraction(1),)
        gamma = tuple(float32(draw, -2, 2) for _ in range(channels))
        bent = Normalise(gamma=gamma, mean=(float32(draw, -0.1, 0.1),), variance=(float32(draw, 0.5, 2),), beta=one)
        first = (*first, bent)
    second: Chain = (Affine(a=(float32(draw, 0.02, 0.04),), b=(float32(draw, -0.1, 0.1),)),)
    out = float32(draw, 0.05, 0.1)
    mode = draw.choice([Mode.HALF_EVEN, Mode.FLOOR, Mode.CEIL, Mode.HALF_AWAY])
    quantiser = (Affine(a=(1 / out,), b=(Fraction(0),)), Round(mode=mode, lo=-8 if norm else 0, hi=15))
    return first, second, (*(() if norm else (Clip(lo=Fraction(0), hi=None),)), *quantiser)


@pytest.mark.parametrize(("seed", "channels", "norm"), [(0, 1, False), (1, 3, False), (2, 2, True), (3, 3, True)])
def test_a_joint_sum_is_the_quantised_sum_of_every_pair(seed: int, channels: int, norm: bool) -> None:
    draw = random.Random(seed)
    first, second, then = sum_of(draw, channels, norm=norm)
    spans = [(-draw.randint(100, 500), draw.randint(100, 500)) for _ in range(channels)]
    codes = [(-8, 7)] * channels
    made = joint(first, second, then, value(spans), value(codes), ("a", "b", "y"))
    assert made is not None
    assert made.record.multiplier_bits < 24, "an exact common grid would take more than 60"
    ends = [Input(name=name, shape=(channels,), lo=lo, hi=hi) for name, lo, hi in (("a", -500, 500), ("b", -8, 7))]
    network = Network(nodes=(*ends, *made.nodes, Output(name="out", x="y")))
    seen = set()
    for channel in range(channels):
        for other in range(-8, 8):
            xs = np.arange(spans[channel][0], spans[channel][1] + 1)
            inputs = {"a": np.repeat(xs[:, None], channels, 1), "b": np.full((len(xs), channels), other)}
            got = interp.outputs(network, inputs)["out"][:, channel]
            line = second[0]
            assert isinstance(line, Affine)
            chain = compose((*first, Affine(a=(Fraction(1),), b=(line.a[0] * other + line.b[0],)), *then))
            want = [int(exact(chain, Fraction(int(x)), channel)) for x in xs[::7]]
            assert want == got[::7].tolist()
            seen |= set(want)
    assert len(seen) > 4


def test_two_batch_norms_are_added_exactly() -> None:
    """Both slopes are irrational; the reference works with 60 digits."""
    one = Fraction(1)
    norms = [Normalise(gamma=(g,), mean=(Fraction(1, 3),), variance=(v,), beta=(one / 7,))
             for g, v in ((Fraction(-5, 4), Fraction(7, 5)), (Fraction(3, 2), Fraction(11, 3)))]  # fmt: skip
    scales = [(Affine(a=(Fraction(float(np.float32(s))),), b=(Fraction(0),)),) for s in (0.0123, 0.0331)]
    then = (Affine(a=(1 / Fraction(float(np.float32(0.211))),), b=(Fraction(0),)),
            Round(mode=Mode.HALF_EVEN, lo=-16, hi=15))  # fmt: skip
    first, second = ((*scale, norm) for scale, norm in zip(scales, norms, strict=True))
    made = joint(first, second, then, value([(-300, 300)]), value([(-40, 40)]), ("a", "b", "y"))
    assert made is not None
    ends = [Input(name=name, shape=(1,), lo=-reach, hi=reach) for name, reach in (("a", 300), ("b", 40))]
    network = Network(nodes=(*ends, *made.nodes, Output(name="out", x="y")))
    grid = np.array(list(product(range(-300, 301, 3), range(-40, 41))))
    got = interp.outputs(network, {"a": grid[:, :1], "b": grid[:, 1:]})["out"][:, 0]
    with mpmath.workdps(60):
        for (a, b), code in zip(grid.tolist(), got.tolist(), strict=True):
            total = mpmath.mpf(0)
            for scale, norm, x in zip(scales, norms, (a, b), strict=True):
                op = scale[0]
                offset = mpmath.mpf(float(op.a[0])) * x - mpmath.mpf(1) / 3
                gamma = mpmath.mpf(norm.gamma[0].numerator) / norm.gamma[0].denominator
                variance = mpmath.mpf(norm.variance[0].numerator) / norm.variance[0].denominator
                total += gamma * offset / mpmath.sqrt(variance) + mpmath.mpf(1) / 7
            position = total / mpmath.mpf(float(np.float32(0.211)))
            assert code == min(max(int(mpmath.nint(position)), -16), 15)
    assert len(set(got.tolist())) > 20


def test_a_bent_sum_has_no_joint_form() -> None:
    first, second, then = sum_of(random.Random(5), 1, norm=False)
    bent = (*first, Clip(lo=Fraction(0), hi=Fraction(1, 3)))
    assert joint(bent, second, then, value([(-500, 500)]), value([(-8, 7)]), ("a", "b", "y")) is None
