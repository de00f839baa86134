"""The graph's inputs: the host's rule from raw data to codes, taken from the chain of an input's quantiser."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

from edgecomp.errors import InexpressibleError
from edgecomp.frontend.functions import Affine, Chain, Clip, Round, Sign, Vector, entry
from edgecomp.frontend.movement import per_channel
from edgecomp.ir import Encoding, Input
from edgecomp.ir.ranges import bits_of

ONE, ZERO = Fraction(1), Fraction(0)


def host_input(source: str, shape: tuple[int, ...], chain: Chain, steps: Vector, tensor: str) -> Input:
    """The Input, unnamed, whose host codes `chain` gives for raw data of `shape`; `steps` is the quantiser's scale.

    InexpressibleError where more than an affine map with a positive scale stands before the quantiser.
    """
    before, quantiser, shift = _host_rule(chain, tensor)
    size = max(len(before.a), len(before.b))
    lines = [(entry(before.a, c), entry(before.b, c)) for c in range(size)]
    if min(a for a, _ in lines) <= 0:
        raise InexpressibleError("the input's normalisation has no positive scale", where=tensor)
    bipolar = isinstance(quantiser, Sign)
    together, zero_point = shift != 0, -shift
    if (
        not together
        and isinstance(quantiser, Round)
        and bits_of(quantiser.lo, quantiser.hi) > bits_of(0, quantiser.hi - quantiser.lo)
    ):
        zero_point = -quantiser.lo  # codes from 0 up take a bit less
        quantiser = replace(quantiser, lo=0, hi=quantiser.hi - quantiser.lo)
    return Input(
        name="", shape=shape,
        lo=0 if isinstance(quantiser, Sign) else quantiser.lo,
        hi=1 if isinstance(quantiser, Sign) else quantiser.hi,
        zero_point=zero_point, rounded_with_zero_point=together,
        encoding=Encoding.BIPOLAR if bipolar else Encoding.INTEGER,
        scale=steps if bipolar else per_channel([1 / a for a, _ in lines], shape),
        offset=per_channel([((zero_point if together else 0) - b) / a for a, b in lines], shape),
        source=source, rounding="SIGN" if isinstance(quantiser, Sign) else quantiser.mode.value,
    )  # fmt: skip


def _host_rule(chain: Chain, tensor: str) -> tuple[Affine, Round | Sign, int]:
    """(affine map, quantiser, integer added after it) of an input quantiser's chain; InexpressibleError else."""
    ops = list(chain)
    before = ops.pop(0) if ops and isinstance(ops[0], Affine) else Affine(a=(ONE,), b=(ZERO,))
    quantiser = ops.pop(0) if ops else None
    shift = 0
    for op in ops:
        if isinstance(op, Affine) and op.a == (ONE,) and len(op.b) == 1 and op.b[0].denominator == 1:
            shift += int(op.b[0])
        elif isinstance(op, Clip) and isinstance(quantiser, Round):
            lo = quantiser.lo if op.lo is None else max(quantiser.lo, math.ceil(op.lo) - shift)
            hi = quantiser.hi if op.hi is None else min(quantiser.hi, math.floor(op.hi) - shift)
            quantiser = replace(quantiser, lo=lo, hi=hi)
        else:
            quantiser = None
    plain = isinstance(before, Affine) and isinstance(quantiser, Round | Sign)
    if not plain or (shift and isinstance(quantiser, Sign)):
        raise InexpressibleError(
            "between the graph input and its quantiser stands more than an affine map", where=tensor,
            hint="quantise the raw input first",
        )  # fmt: skip
    assert isinstance(before, Affine)
    assert isinstance(quantiser, Round | Sign)
    return before, quantiser, shift
