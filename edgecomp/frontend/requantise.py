"""Exact requantisation: a chain on a bounded interval as a staircase, and the staircase as the cheapest node.

A Requant equals a staircase if and only if it agrees just below and at every threshold (design: 'Exact
requantisation'); the search proves that for every node it returns, and the record says over how many breakpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.functions import Affine, Chain, Clip, Mode, Round, channels_of, entry
from edgecomp.frontend.staircase import Staircase, mirrored, slope, staircase
from edgecomp.ir import Ints, Requant, Rounding, Step, Value

Codes = NDArray[np.int64]

MAX_TABLE = 1 << 22  # thresholds of one Step, all channels together
MAX_SHIFT = 46
PRODUCT_BITS = 62


class Form(Enum):
    """What a requantiser became; the cheap ones first."""

    SHIFT = "shift"
    MULTIPLY = "multiply and shift"
    STEP = "thresholds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How a requantiser was made exact, for the report."""

    node: str
    form: Form
    rounding: Rounding
    channels: int
    breakpoints: int
    multiplier_bits: int
    shift: int
    proof: str


def fits(stairs: Staircase, shift: int, multiplier: int) -> int | None:
    """An addend with which floor((multiplier * x + addend) / 2^shift), clipped, is the rising staircase; else None.

    At a threshold t the quotient must be values[i] at least, at t - 1 less than values[i - 1] + 1; clipping to the end
    values does the rest, because the quotient never falls.
    """
    t, v = stairs.thresholds, stairs.values
    if not len(t):
        return int(v[0]) << shift if multiplier == 0 else None
    if multiplier <= 0:
        return None
    big = max(abs(int(v[0])), abs(int(v[-1])), 1) << shift, multiplier * (max(abs(int(t[0])), abs(int(t[-1]))) + 1)
    if max(big) < 1 << 61:
        least = int(np.max((v[1:] << shift) - multiplier * t))
        beyond = int(np.min(((v[:-1] + 1) << shift) - multiplier * (t - 1)))
    else:
        wide_t, wide_v = t.astype(object), v.astype(object)
        least = max((wide_v[1:] * (1 << shift)) - multiplier * wide_t)
        beyond = min(((wide_v[:-1] + 1) * (1 << shift)) - multiplier * (wide_t - 1))
    return roundest(least, beyond - 1) if least < beyond else None


def roundest(lo: int, hi: int) -> int:
    """The integer in lo..hi with the most trailing zeros: the addend that costs least."""
    for bit in range(max(lo.bit_length(), hi.bit_length()), -1, -1):
        candidate = -((-lo) >> bit) << bit
        if candidate <= hi:
            return candidate
    raise AssertionError("an empty interval of addends")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """multiplier, addend per channel and the common shift and rounding of a Requant; `rows` is what it costs."""

    multiplier: tuple[int, ...]
    addend: tuple[int, ...]
    shift: int
    rounding: Rounding

    @property
    def rows(self) -> int:
        """Adder rows of the multiplier (none for powers of two), and two for the parity correction."""
        bits = max((0 if m & (m - 1) == 0 else m.bit_length()) for m in map(abs, self.multiplier))
        return bits + (2 if self.rounding is Rounding.HALF_EVEN else 0)


def _fit_channel(stairs: Staircase, a: Fraction | None, shift: int) -> tuple[int, int] | None:
    """(multiplier, addend) of one channel at a shift, or None."""
    if not len(stairs.thresholds):
        return 0, int(stairs.values[0]) << shift
    falling = stairs.values[-1] < stairs.values[0]
    rising = mirrored(stairs) if falling else stairs
    if not np.all(np.diff(rising.values) > 0):
        return None
    exact_m = (abs(a) if a else _mean_slope(rising)) * (1 << shift)
    floor = int(exact_m)
    for multiplier in sorted({floor, floor + 1}, key=lambda m: abs(m - exact_m)):
        addend = fits(rising, shift, multiplier)
        if addend is not None:
            return (-multiplier if falling else multiplier), addend
    return None


def _mean_slope(rising: Staircase) -> Fraction:
    t, v = rising.thresholds, rising.values
    if len(t) == 1:
        return Fraction(int(v[1] - v[0]))
    return Fraction(int(v[-1] - v[1]), int(t[-1] - t[0]))


def search(stairs: Sequence[Staircase], slopes: Sequence[Fraction | None]) -> Fit | None:
    """The Requant with the smallest shift, hence the shortest multipliers, that equals every channel's staircase."""
    for shift in range(MAX_SHIFT + 1):
        found = []
        for one, a in zip(stairs, slopes, strict=True):
            pair = _fit_channel(one, a, shift)
            if pair is None:
                break
            found.append(pair)
        else:
            multiplier, addend = zip(*found, strict=True)
            return Fit(multiplier=multiplier, addend=addend, shift=shift, rounding=Rounding.FLOOR)
    return None


def algebraic(chain: Chain, channels: int) -> Fit | None:
    """The Requant that a chain of one dyadic affine map, clips and a rounding is by algebra, with no search."""
    parts = [_dyadic(chain, channel) for channel in range(channels)]
    if any(part is None for part in parts):
        return None
    lines = [part for part in parts if part is not None]
    mode = lines[0][2]
    shift = max([1 if mode is not Mode.FLOOR else 0, *(max(_log2(a), _log2(b)) for a, b, _ in lines)])
    if shift > MAX_SHIFT:
        return None
    half = {Mode.HALF_EVEN: (1 << shift) // 2, Mode.FLOOR: 0, Mode.CEIL: (1 << shift) - 1}[mode]
    rounding = Rounding.HALF_EVEN if mode is Mode.HALF_EVEN else Rounding.FLOOR
    return Fit(
        multiplier=tuple(int(a * (1 << shift)) for a, _, _ in lines),
        addend=tuple(int(b * (1 << shift)) + half for _, b, _ in lines),
        shift=shift,
        rounding=rounding,
    )


def _log2(v: Fraction) -> int:
    return v.denominator.bit_length() - 1


def _dyadic(chain: Chain, channel: int) -> tuple[Fraction, Fraction, Mode] | None:
    """(a, b, mode) of a chain that rounds a * x + b to an integer, possibly clipped; None where it is anything else.

    The integer added after the rounding moves into b: every mode here commutes with adding an even integer, and all
    but half-even with any.
    """
    a, b, mode = Fraction(1), Fraction(0), None
    for op in chain:
        match op:
            case Affine():
                scale, offset = entry(op.a, channel), entry(op.b, channel)
                if mode is None:
                    a, b = a * scale, b * scale + offset
                elif scale != 1 or offset.denominator != 1 or (mode is Mode.HALF_EVEN and offset % 2):
                    return None
                else:
                    b += offset
            case Clip():
                pass
            case Round(mode=found) if mode is None and found in (Mode.HALF_EVEN, Mode.FLOOR, Mode.CEIL):
                mode = found
            case _:
                return None
    if mode is None or any(v.denominator & (v.denominator - 1) for v in (a, b)):
        return None
    return a, b, mode


def agrees(fit: Fit, stairs: Sequence[Staircase]) -> bool:
    """Whether a fit equals every staircase at both ends and on both sides of every threshold."""
    for channel, one in enumerate(stairs):
        xs = np.unique(np.concatenate([[one.lo, one.hi], one.thresholds, one.thresholds - 1])).astype(object)
        v = fit.multiplier[channel] * xs + fit.addend[channel]
        y = v >> fit.shift
        if fit.rounding is Rounding.HALF_EVEN:
            y = y - ((v & ((1 << fit.shift) - 1)) == 0).astype(object) * (y & 1)
        want = one.values[np.searchsorted(one.thresholds, xs.astype(np.int64), side="right")]
        if not np.array_equal(np.clip(y, min(one.values), max(one.values)).astype(np.int64), want):
            return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """A requantiser made exact: the nodes in order (the last one named as asked) and the record for the report."""

    nodes: tuple[Requant | Step, ...]
    record: Record


def requantise(chain: Chain, x: Value, name: str, operand: str) -> Exact:
    """The cheapest nodes that equal `chain` on every integer that `operand`'s interval allows.

    Raises InexpressibleError where no Requant and no Step of at most MAX_TABLE thresholds does.
    """
    shared = len(set(zip(x.lo, x.hi, strict=True))) == 1 and channels_of(chain) == 1
    channels = 1 if shared else x.shape[0]
    stairs = [staircase(chain, c, x.lo[c], x.hi[c], name) for c in range(channels)]
    fit = _best_fit(chain, stairs)
    shift = _trailing_shift(chain)
    if shift and (fit is None or fit.rows > 1):
        inner = requantise(chain[:-1], x, f"{name}_code", operand)
        if inner.record.form is Form.SHIFT:
            return _shifted(inner, shift, name)
    breakpoints = sum(len(one.thresholds) for one in stairs)
    if fit is not None and fit.rows <= max(2, max(len(one.thresholds) for one in stairs)):
        proof = f"agrees at and just below all {breakpoints} breakpoints and at the interval's ends"
        record = _record(name, fit, channels, breakpoints, proof)
        return Exact(nodes=_requant_nodes(fit, stairs, x, name, operand), record=record)
    width = max(len(one.thresholds) for one in stairs)
    if width * len(stairs) > MAX_TABLE:
        raise InexpressibleError(
            f"no multiplier of {PRODUCT_BITS} product bits is exact, and {width} thresholds for {len(stairs)} channels "
            f"exceed {MAX_TABLE}",
            where=name,
            hint="use a power-of-two scale or fewer output bits",
        )
    record = Record(
        node=name, form=Form.STEP, rounding=Rounding.FLOOR, channels=channels, breakpoints=breakpoints,
        multiplier_bits=0, shift=0, proof=f"all {breakpoints} breakpoints found exactly",
    )  # fmt: skip
    return Exact(nodes=(_step_node(stairs, width, name, operand),), record=record)


def _trailing_shift(chain: Chain) -> int:
    """The odd integer that a chain adds after rounding half to even: it does not commute with the rounding."""
    last, before = (chain[-1], chain[-2]) if len(chain) > 1 else (None, None)
    if not isinstance(last, Affine) or not isinstance(before, Round) or before.mode is not Mode.HALF_EVEN:
        return 0
    odd = set(last.a) == {1} and len(last.b) == 1 and last.b[0].denominator == 1 and last.b[0] % 2 == 1
    return int(last.b[0]) if odd else 0


def _shifted(inner: Exact, shift: int, name: str) -> Exact:
    """A requantiser followed by the addition of a constant."""
    last = inner.nodes[-1]
    assert isinstance(last, Requant)
    move = Requant(
        name=name, x=last.name, multiplier=Ints([1]), addend=Ints([shift]), shift=0,
        lo=Ints(last.lo.array + shift), hi=Ints(last.hi.array + shift),
    )  # fmt: skip
    return Exact(nodes=(*inner.nodes, move), record=replace(inner.record, node=name))


def _best_fit(chain: Chain, stairs: Sequence[Staircase]) -> Fit | None:
    """The cheaper of the algebraic and the searched Requant, proven against the staircases."""
    found = search(stairs, [slope(chain, c) for c in range(len(stairs))])
    direct = algebraic(chain, len(stairs)) if found is None or found.rows else None
    fitting = [fit for fit in (found, direct) if fit is not None and agrees(fit, stairs)]
    return min(fitting, key=lambda fit: fit.rows) if fitting else None


def _record(name: str, fit: Fit, channels: int, breakpoints: int, proof: str) -> Record:
    bits = max(abs(m).bit_length() for m in fit.multiplier)
    power = all(abs(m) & (abs(m) - 1) == 0 for m in fit.multiplier)
    return Record(
        node=name, form=Form.SHIFT if power else Form.MULTIPLY, rounding=fit.rounding, channels=channels,
        breakpoints=breakpoints, multiplier_bits=0 if power else bits, shift=fit.shift, proof=proof,
    )  # fmt: skip


def _requant_nodes(
    fit: Fit, stairs: Sequence[Staircase], x: Value, name: str, operand: str
) -> tuple[Requant | Step, ...]:
    lo, hi = [int(min(s.values)) for s in stairs], [int(max(s.values)) for s in stairs]
    nodes: tuple[Requant, ...] = ()
    if _product_bits(fit, [(s.lo, s.hi) for s in stairs]) > PRODUCT_BITS:
        kept = [_unclipped(s) for s in stairs]
        if _product_bits(fit, kept) > PRODUCT_BITS:
            raise InexpressibleError(f"multiplier and accumulator need more than {PRODUCT_BITS} bits", where=name)
        nodes = (
            Requant(name=f"{name}_clamp", x=operand, multiplier=Ints([1]), addend=Ints([0]), shift=0,
                    lo=shortened([k[0] for k in kept]), hi=shortened([k[1] for k in kept])),
        )  # fmt: skip
        operand = nodes[0].name
    last = Requant(
        name=name, x=operand, multiplier=shortened(fit.multiplier), addend=shortened(fit.addend), shift=fit.shift,
        lo=shortened(lo), hi=shortened(hi), rounding=fit.rounding,
    )  # fmt: skip
    return (*nodes, last)


def shortened(entries: Sequence[int]) -> Ints:
    """A per-channel vector, as one entry where all are the same."""
    return Ints([entries[0]] if len(set(entries)) == 1 else list(entries))


def _unclipped(one: Staircase) -> tuple[int, int]:
    """The interval outside of which the staircase no longer changes."""
    if not len(one.thresholds):
        return one.lo, one.lo
    return int(one.thresholds[0]) - 1, int(one.thresholds[-1])


def _product_bits(fit: Fit, intervals: Sequence[tuple[int, int]]) -> int:
    pairs = zip(fit.multiplier, fit.addend, intervals, strict=True)
    return 1 + max(abs(m * end + b).bit_length() for m, b, interval in pairs for end in interval)


def _step_node(stairs: Sequence[Staircase], width: int, name: str, operand: str) -> Step:
    """Rows padded to one width with the last threshold, whose value stands from there on."""
    thresholds = np.empty((len(stairs), width), dtype=np.int64)
    values = np.empty((len(stairs), width + 1), dtype=np.int64)
    for c, one in enumerate(stairs):
        count = len(one.thresholds)
        thresholds[c, :count], values[c, : count + 1] = one.thresholds, one.values
        thresholds[c, count:] = one.thresholds[-1] if count else one.hi + 1
        values[c, count + 1 :] = one.values[-1]
    return Step(name=name, x=operand, thresholds=Ints(thresholds), values=Ints(values))
