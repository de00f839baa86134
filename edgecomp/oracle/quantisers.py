"""The quantisers by their published definitions: Quant, IntQuant, BipolarQuant and Trunc of the QONNX specification
(general domain, versions 1 and 2), QuantizeLinear and DequantizeLinear of ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgecomp.oracle.arithmetic import Array
from edgecomp.oracle.call import Call, is_real
from edgecomp.oracle.rounding import NAMES, Codes, Grid, Rounding, round_to_integer

# float64 holds every integer up to 2^53, so codes of so many bits are exact in it.
MAX_BITS = 52

INTEGER_TYPES = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (2, 4, 8, 16)} | {
    f"uint{bits}": (0, 2**bits - 1) for bits in (2, 4, 8, 16)
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantised:
    """Result of a quantiser: codes, the position before rounding (zero point included), and how it was rounded.

    The codes of a QONNX quantiser are centred; those of QuantizeLinear are as stored, zero point included.
    """

    codes: Codes
    position: Array
    grid: Grid


def quantise(call: Call) -> Quantised:
    """Centred codes of a QONNX quantiser."""
    match call.node.op:
        case "BipolarQuant":
            return _bipolar(call)
        case "Trunc":
            return _trunc(call)
        case _:
            return _int_quant(call)


def scale_of(call: Call, rank: int) -> Array:
    """The scale of the codes that a quantiser gives, shaped to multiply a tensor of `rank` axes."""
    if call.node.op == "DequantizeLinear":
        return _along_axis(call, positive(call, 1), rank)
    return positive(call, 4 if _is_trunc_v2(call) else 1)


def positive(call: Call, place: int) -> Array:
    """Input `place` as a scale; ModelError unless every entry is above zero."""
    scale = call.input(place)
    if not is_real(scale) or not np.all(scale > 0):
        raise call.refuse("has a scale that is not above zero", hint="train or calibrate the quantiser first")
    return scale


def _int_quant(call: Call) -> Quantised:
    """clip(rounding(x / scale + zero_point)); signed with 1 bit it is bipolar, as the qonnx executor has it."""
    zero_point, bits = _whole(call, 2), _bits(call, 3)
    position = _position(call, call.arithmetic.real(zero_point))
    signed = bool(call.node.integer("signed", 1))
    if bits == 1 and signed:
        if np.any(zero_point):
            raise call.refuse("is bipolar with a zero point")
        return _signs(position)
    lo, hi = limits(bits, signed=signed, narrow=bool(call.node.integer("narrow", 0)))
    grid = Grid(rounding=_rounding(call, "ROUND"), lo=lo, hi=hi)
    return Quantised(codes=grid.code(position, call.arithmetic) - zero_point, position=position, grid=grid)


def limits(bits: int, *, signed: bool, narrow: bool) -> tuple[int, int]:
    """Least and greatest code. A narrow range lacks its least signed or its greatest unsigned code."""
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


def _bipolar(call: Call) -> Quantised:
    """+1 for x >= 0, else -1."""
    return _signs(np.asarray(call.input(0) / positive(call, 1)))


def _signs(position: Array) -> Quantised:
    codes = np.where(position >= 0, 1, -1).astype(np.int64)
    return Quantised(codes=codes, position=position, grid=Grid(lo=-1, hi=1, bipolar=True))


def _is_trunc_v2(call: Call) -> bool:
    return call.node.op == "Trunc" and len(call.node.inputs) == 6


def _trunc(call: Call) -> Quantised:
    """rounding(round_half_even(x / scale + zero_point) / 2^shift).

    Version 1 (five inputs) shifts by the bits it takes away, does not clip, and keeps scale and zero point: the value
    shrinks. Version 2 (six inputs) shifts by the nearest power of two to out_scale / scale, clips to the bits of the
    output, and scales the zero point with the codes.
    """
    if len(call.node.inputs) not in (5, 6):
        raise call.refuse(f"has {len(call.node.inputs)} inputs; version 1 of Trunc has 5 and version 2 has 6")
    zero_point = _whole(call, 2)
    if _is_trunc_v2(call):
        shift = _trunc_shift(call)
        signed, narrow = bool(call.node.integer("signed", 1)), bool(call.node.integer("narrow", 0))
        lo, hi = limits(_bits(call, 5), signed=signed, narrow=narrow)
        rest = np.remainder(zero_point, 2.0**shift)
        if np.any(rest):
            raise call.refuse("truncates its zero point to a fraction", hint="use a zero point of 0")
        offset = (zero_point / 2.0**shift).astype(np.int64)
        grid = Grid(rounding=_rounding(call, "FLOOR"), lo=lo, hi=hi, shift=shift)
    else:
        shift, offset = _bits(call, 3) - _bits(call, 4), zero_point
        grid = Grid(rounding=_rounding(call, "FLOOR"), lo=None, hi=None, shift=shift)
    position = _position(call, call.arithmetic.real(zero_point)) / call.like(call.input(0), 2.0**shift)
    if np.any(np.abs(position) >= 2**MAX_BITS):
        raise call.refuse(f"has codes of more than {MAX_BITS} bits")
    return Quantised(codes=grid.code(position, call.arithmetic) - offset, position=position, grid=grid)


def _trunc_shift(call: Call) -> int:
    ratio = np.asarray(positive(call, 4) / positive(call, 1), dtype=np.float64)
    shifts = np.unique(np.rint(np.log2(ratio)))
    if shifts.size != 1:
        raise call.refuse("truncates its channels by different shifts")
    return int(shifts[0])


def _position(call: Call, zero_point: Array) -> Array:
    x = call.input(0)
    position = np.asarray(x / positive(call, 1) + zero_point)
    if position.shape != x.shape:
        raise call.refuse(f"has a scale or zero point that does not fit its input of {list(x.shape)}")
    return position


def _whole(call: Call, place: int) -> Codes:
    """Input `place` as integers, also where the file stores them as floats."""
    value = call.input(place)
    whole = np.asarray(np.floor(value)).astype(np.int64)
    if np.any(whole != value):
        raise call.refuse("has a zero point that is not an integer", hint="make the zero point a whole code")
    return whole


def _bits(call: Call, place: int) -> int:
    value = call.input(place)
    if value.size != 1:
        raise call.refuse("has more than one bit width")
    bits = value.reshape(())[()]
    if int(bits) != bits or not 1 <= bits <= MAX_BITS:
        raise call.refuse(f"has a bit width of {float(bits):g}, which is not an integer of 1 to {MAX_BITS}")
    return int(bits)


def _rounding(call: Call, default: str) -> Rounding:
    name = call.node.text("rounding_mode", default)
    if name.upper() not in NAMES:
        raise call.refuse(f"has the unknown rounding mode '{name}'", hint=f"known are {', '.join(sorted(NAMES))}")
    return NAMES[name.upper()]


def quantize_linear(call: Call, dtype: str) -> Quantised:
    """saturate(round_half_even(x / scale) + zero_point): the zero point is added after rounding, so that an odd one
    does not move the parity of ties. `dtype` is the element type of the result. Codes are stored codes.
    """
    x = call.input(0)
    _refuse_blocks(call)
    if dtype not in INTEGER_TYPES:
        raise call.refuse(f"quantises to {dtype}", hint=f"integer types are {', '.join(sorted(INTEGER_TYPES))}")
    lo, hi = INTEGER_TYPES[dtype]
    scaled = np.asarray(x / _along_axis(call, positive(call, 1), x.ndim))
    zero_point = _zero_point(call, x.ndim)
    position = np.asarray(scaled + call.arithmetic.real(zero_point))
    low, high = call.arithmetic.real(lo - 1 - zero_point), call.arithmetic.real(hi + 1 - zero_point)
    bounded = np.minimum(np.maximum(scaled, low), high)
    codes = np.clip(round_to_integer(bounded, Rounding.HALF_EVEN) + zero_point, lo, hi)
    return Quantised(codes=codes, position=position, grid=Grid(lo=lo, hi=hi))


def clip_codes(quantised: Quantised, clipped: Codes, low: Array | None, high: Array | None) -> Quantised:
    """The quantiser followed by a Clip of its stored codes, which narrows its limits."""
    lo, hi = quantised.grid.lo, quantised.grid.hi
    if lo is None or hi is None:
        raise AssertionError("a QuantizeLinear always has limits")
    lo = lo if low is None else max(lo, int(low.max()))
    hi = hi if high is None else min(hi, int(high.min()))
    return replace(quantised, codes=clipped, grid=replace(quantised.grid, lo=lo, hi=hi))


def centred(call: Call) -> Codes:
    """Codes minus zero point of a DequantizeLinear."""
    _refuse_blocks(call)
    codes = call.input(0)
    if codes.dtype != np.int64:
        raise call.refuse("dequantises a tensor that is not of integers")
    return np.asarray(codes - _zero_point(call, codes.ndim), dtype=np.int64)


def _zero_point(call: Call, rank: int) -> Codes:
    if call.given(2) is None:
        return np.zeros((), dtype=np.int64)
    return _along_axis(call, _whole(call, 2), rank)


def _along_axis(call: Call, values: Array, rank: int) -> Array:
    """A scalar as it is; a vector along `axis` (default 1) of a tensor of `rank` axes."""
    if values.size == 1:
        return values.reshape(())
    axis = call.node.integer("axis", 1)
    axis = axis + rank if axis < 0 else axis
    if values.ndim != 1 or not 0 <= axis < rank:
        raise call.refuse(f"has a scale or zero point of shape {list(values.shape)} for axis {axis} of {rank}")
    return values.reshape([-1 if place == axis else 1 for place in range(rank)])


def _refuse_blocks(call: Call) -> None:
    if call.node.integer("block_size", 0):
        raise call.refuse("is quantised by blocks", hint="use one scale per tensor or per channel")
