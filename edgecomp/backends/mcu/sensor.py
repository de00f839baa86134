"""Functions that make input codes of a sensor's raw integers, exactly as the host's side of the contract does.

The host rounds (real - offset) / scale; with real = sensor_scale * raw + sensor_offset this is a step function of the
integer raw, so an exact requantisation computes it in integers (design: 'Exact requantisation').
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from edgecomp.backends.mcu.ctypes import literal, local, stored
from edgecomp.backends.mcu.writer import Lines, Writer, indented
from edgecomp.errors import InexpressibleError, UsageError
from edgecomp.frontend.functions import Affine, Chain, Mode, Round, Sign, compose
from edgecomp.frontend.requantise import requantise
from edgecomp.ir import Encoding, Input, Network, Output, Requant, Step, Value

SETTINGS = ("sensor_scale", "sensor_offset", "sensor_range")
MOST = 1 << 31  # raw integers are of 32 bits
MOST_DIGITS = 40  # of a number in a setting
UNASKED = 1 << 10  # thresholds or channels of a function that nobody asked for: more are left out with a note


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """real = scale * raw + offset for raw in lo..hi; `asked` where a setting says any of it."""

    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    lo: int = -(1 << 15)
    hi: int = (1 << 15) - 1
    asked: bool = False


def parse_sensor(settings: Mapping[str, str]) -> Sensor:
    """The settings `sensor_scale` and `sensor_offset` (5/1024, 0.25) and `sensor_range` (0:4095)."""
    given = {key: settings[key] for key in SETTINGS if key in settings}
    sensor = Sensor(asked=bool(given))
    if "sensor_scale" in given:
        sensor = replace(sensor, scale=_number("sensor_scale", given["sensor_scale"]))
        if not sensor.scale:
            raise UsageError("sensor_scale cannot be 0", where="--set sensor_scale", hint="give the step of the sensor")
    if "sensor_offset" in given:
        sensor = replace(sensor, offset=_number("sensor_offset", given["sensor_offset"]))
    if "sensor_range" in given:
        lo, hi = _range(given["sensor_range"])
        sensor = replace(sensor, lo=lo, hi=hi)
    return sensor


def _number(key: str, text: str) -> Fraction:
    try:
        if len(text) > MOST_DIGITS or "e" in text.lower():
            raise ValueError
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        hint = f"a number or a fraction of at most {MOST_DIGITS} characters, such as 0.25 or 5/1024"
        raise UsageError(f"{key} cannot be {text}", where=f"--set {key}", hint=hint) from None


def _range(text: str) -> tuple[int, int]:
    low, found, high = text.partition(":")
    try:
        if not found or len(text) > MOST_DIGITS:
            raise ValueError
        lo, hi = int(low), int(high)
    except ValueError:
        lo, hi = 0, -1
    if not -MOST <= lo <= hi < MOST:
        hint = "two integers of 32 bits, the lesser first, such as 0:4095"
        raise UsageError(f"sensor_range cannot be {text}", where="--set sensor_range", hint=hint)
    return lo, hi


def helper(w: Writer, function: str, end: str, node: Input, sensor: Sensor) -> tuple[Lines, Lines]:
    """(declaration with its description, definition) of the function for one input.

    InexpressibleError where the sensor was described, but no exact function of the IR's nodes is found.
    """
    name = w.names.of(f"{function}_quantise_{end}")
    count = max(len(node.scale), len(node.offset))
    try:
        if count > UNASKED and not sensor.asked:
            raise InexpressibleError(f"{count} scales", where=node.name)
        network = _network(node, count, sensor)
    except InexpressibleError:
        if sensor.asked:
            raise
        return [f"/* no {name}: say what the sensor gives by --set sensor_scale and sensor_range */"], []
    thresholds = sum(n.thresholds.array.size for n in network.nodes if isinstance(n, Step))
    if thresholds > UNASKED and not sensor.asked:
        return [f"/* no {name}: {thresholds} thresholds; ask for it by --set sensor_scale or sensor_range */"], []
    index = "" if count == 1 else w.names.of("k")
    of = index and f", uint16_t {index}"
    head = f"{stored(node.lo, node.hi)} {name}(int32_t raw{of})"
    which = "" if count == 1 else f" of {'channel' if count == node.shape[0] else 'element'} {index}"
    said = [
        f"/* {name}: the code{which} of a sensor's raw integer {sensor.lo}..{sensor.hi}, whose real value is",
        f" * {sensor.scale} * raw + {sensor.offset}; exact. What lies beyond is taken as the nearest of these. */",
    ]
    return [*said, f"{head};"], [
        "",
        head,
        "{",
        *indented(_body(w, network, stored(node.lo, node.hi), sensor, index)),
        "}",
    ]


def _network(node: Input, count: int, sensor: Sensor) -> Network:
    """From raw integers to codes, one channel for each scale."""
    raw = Input(name="raw", shape=(count,), lo=sensor.lo, hi=sensor.hi)
    value = Value(shape=(count,), lo=(sensor.lo,) * count, hi=(sensor.hi,) * count)
    exact = requantise(_chain(node, count, sensor), value, "code", "raw")
    encoding = Encoding.BIPOLAR if node.encoding is Encoding.BIPOLAR else Encoding.INTEGER
    return Network(nodes=(raw, *exact.nodes, Output(name="y", x="code", encoding=encoding)))


def _chain(node: Input, count: int, sensor: Sensor) -> Chain:
    """code = clip(round((real - offset) / scale [+ zero point]) [+ zero point]), as `Input` says."""
    before = node.zero_point if node.rounded_with_zero_point else 0
    after = node.zero_point - before
    scales, offsets = (v * count if len(v) == 1 else v for v in (node.scale, node.offset))
    a = tuple(sensor.scale / s for s in scales)
    b = tuple((sensor.offset - o) / s + before for s, o in zip(scales, offsets, strict=True))
    if len(set(a)) == len(set(b)) == 1:
        a, b = a[:1], b[:1]
    if node.encoding is Encoding.BIPOLAR:
        return (Affine(a=a, b=b), Sign())
    rounded = Round(mode=Mode(node.rounding), lo=node.lo - after, hi=node.hi - after)
    return compose((Affine(a=a, b=b), rounded, Affine(a=(Fraction(1),), b=(Fraction(after),))))


def _body(w: Writer, network: Network, result: str, sensor: Sensor, index: str) -> Lines:
    inner = Writer(network=network, values=network.values(), plan=w.plan, names=w.names, tables=w.tables)
    kept = w.names.of("kept")
    clamped = "raw"
    if sensor.lo > -MOST:
        clamped = f"raw < {literal(sensor.lo)} ? {literal(sensor.lo)} : {clamped}"
    if sensor.hi < MOST - 1:
        clamped = f"raw > {literal(sensor.hi)} ? {literal(sensor.hi)} : {clamped}"
    chain = [n for n in network.nodes if isinstance(n, Requant | Step | Output)]
    lines, code, _ = inner.through(kept, network.values()["raw"], chain, index or "0")
    unused = [f"(void){index};"] if index else []
    return [*unused, f"const {local(sensor.lo, sensor.hi)} {kept} = {clamped};", *lines, f"return ({result}){code};"]
