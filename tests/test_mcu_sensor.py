"""Codes from a sensor's raw integers: every raw integer against the contract, in exact arithmetic."""

from __future__ import annotations

import math
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edgecomp.backends.mcu import McuBackend
from edgecomp.backends.mcu.emit import emit
from edgecomp.backends.mcu.sensor import Sensor, parse_sensor
from edgecomp.contract import quantise_input
from edgecomp.errors import UsageError
from edgecomp.ir import Dense, Encoding, Input, Ints, Network, Output
from tests.test_mcu import SANITIZED

MODES = ("ROUND", "HALF_UP", "HALF_DOWN", "FLOOR", "CEIL", "UP", "DOWN")
BEYOND = 3
HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def rounded(mode: str, v: Fraction) -> int:
    """Written anew: the nearest integers and what each mode does between them."""
    below, part = math.floor(v), v - math.floor(v)
    away = below + 1 if v > 0 else below
    match mode:
        case "FLOOR":
            return below
        case "CEIL":
            return math.ceil(v)
        case "DOWN" | "UP":
            toward = math.trunc(v)
            return toward if mode == "DOWN" or not part else away
    if part != HALF:
        return below if part < HALF else below + 1
    if mode == "ROUND":
        return below + below % 2
    return away if mode == "HALF_UP" else 2 * below + 1 - away


def exact(node: Input, sensor: Sensor, raw: int, k: int) -> int:
    scale, offset = (v[k] if len(v) > 1 else v[0] for v in (node.scale, node.offset))
    position = (sensor.scale * min(max(raw, sensor.lo), sensor.hi) + sensor.offset - offset) / scale
    if node.encoding is Encoding.BIPOLAR:
        return int(position >= 0)
    before = node.zero_point if node.rounded_with_zero_point else 0
    return min(max(rounded(node.rounding, position + before) + node.zero_point - before, node.lo), node.hi)


def cases() -> list[tuple[Input, Sensor]]:
    found = []
    ways = ((Fraction(1, 8), Fraction(0), Fraction(1, 16)), (THIRD, THIRD, Fraction(5, 1024)),
            (Fraction(3, 4), Fraction(-7, 8), Fraction(-3, 32)))  # fmt: skip
    for number, mode in enumerate(MODES):
        for scale, offset, step in (ways[0], ways[1 + number % 2]):
            node = Input(name="x", shape=(2,), lo=-90, hi=100, zero_point=number - 3, scale=(scale,), offset=(offset,),
                         rounding=mode, rounded_with_zero_point=number % 2 == 1)  # fmt: skip
            found.append((node, Sensor(scale=step, offset=offset / 3, lo=-700, hi=800)))
    channels = Input(name="x", shape=(2, 3), lo=0, hi=15, scale=(THIRD, Fraction(2)), offset=(Fraction(1), Fraction(0)))
    elements = Input(name="x", shape=(2, 2), lo=-8, hi=7, scale=tuple(Fraction(k, 7) for k in range(1, 5)))
    tables = Input(name="x", shape=(2,), lo=0, hi=15, scale=(Fraction(0.1), Fraction(0.7)), offset=(Fraction(0.3),))
    bit = Input(name="x", shape=(3,), lo=0, hi=1, encoding=Encoding.BIPOLAR, offset=(Fraction(5, 3),), rounding="SIGN")
    wide = Input(name="x", shape=(1,), lo=0, hi=4095, scale=(Fraction(1, 2),))
    one = Sensor(lo=-50, hi=50)
    far = Sensor(scale=Fraction(1, 1 << 20), lo=-(1 << 31), hi=(1 << 31) - 1)
    table = Sensor(scale=Fraction(13, 100), lo=0, hi=8191, asked=True)
    return [
        *found,
        (channels, one),
        (elements, one),
        (tables, Sensor(lo=-300, hi=3000)),
        (bit, one),
        (wide, table),
        (wide, far),
    ]


def network(node: Input) -> Network:
    if len(node.shape) > 1:
        return Network(nodes=(node, Output(name="y", x="x")))
    weight = Ints(np.ones((1, *node.shape), dtype=np.int64))
    return Network(nodes=(node, Dense(name="d", x="x", weight=weight, bias=Ints([0])), Output(name="y", x="d")))


def raws(sensor: Sensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if sensor.hi - sensor.lo > 1 << 16:
        return np.random.default_rng(0).integers(sensor.lo, sensor.hi + 1, 2000)
    return np.arange(sensor.lo - BEYOND, sensor.hi + BEYOND + 1)


def test_every_raw_integer_has_the_contracts_code(tmp_path: Path) -> None:
    blocks, want, names = ["#include <stdio.h>"], [], []
    for number, (node, sensor) in enumerate(cases()):
        made = emit(network(node), f"n{number}", sensor)
        (tmp_path / f"n{number}.h").write_text(made.header)
        (tmp_path / f"n{number}.c").write_text(made.source)
        names.append(f"n{number}.c")
        blocks[0] += f'\n#include "n{number}.h"'
        given, count = raws(sensor), max(len(node.scale), len(node.offset))
        assert f"whose real value is\n * {sensor.scale} * raw + {sensor.offset}; exact" in made.header
        call = f"n{number}_quantise_x(raws[i]{', k' if count > 1 else ''})"
        listed = ",".join(f"{v}LL" for v in given)
        blocks.append(f"static void f{number}(void) {{ static const int32_t raws[] = {{{listed}}};"
                      f"for (int k = 0; k < {count}; k++) for (unsigned i = 0; i < sizeof raws / 4; i++)"
                      f' printf("%d\\n", (int){call}); }}')  # fmt: skip
        want += [exact(node, sensor, int(raw), k) for k in range(count) for raw in given]
    calls = " ".join(f"f{number}();" for number in range(len(names)))
    (tmp_path / "main.c").write_text("\n".join([*blocks, f"int main(void) {{ {calls} return 0; }}", ""]))
    subprocess.run([*SANITIZED, "-o", "all", "main.c", *names], cwd=tmp_path, check=True)
    ran = subprocess.run(["./all"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert list(map(int, ran.stdout.split())) == want


@pytest.mark.parametrize("mode", MODES)
def test_the_reference_is_the_contract(mode: str) -> None:
    """On dyadic scales, where float64 is exact."""
    for zero, together in ((0, False), (5, True), (-4, False)):
        node = Input(name="x", shape=(1,), lo=-40, hi=50, zero_point=zero, scale=(Fraction(1, 4),), rounding=mode,
                     offset=(Fraction(3, 8),), rounded_with_zero_point=together)  # fmt: skip
        sensor = Sensor(scale=Fraction(1, 16), offset=Fraction(1, 2), lo=-400, hi=400)
        given = np.arange(-400, 401)
        codes = quantise_input(node, (given / 16 + 0.5).reshape(-1, 1))[:, 0]
        assert codes.tolist() == [exact(node, sensor, int(raw), 0) for raw in given]


def test_what_nobody_asked_for_is_left_out_where_it_is_large() -> None:
    many = Input(name="x", shape=(1100,), lo=0, hi=15, scale=tuple(Fraction(k, 9) for k in range(1, 1101)))
    assert "/* no n_quantise_x: say what the sensor gives" in emit(network(many), "n").header
    fine = Input(name="x", shape=(1,), lo=0, hi=4095, scale=(Fraction(1, 2),))
    sensor = Sensor(scale=Fraction(13, 100), lo=0, hi=8191)
    assert "/* no n_quantise_x: 2130 thresholds; ask for it by --set" in emit(network(fine), "n", sensor).header


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sensor_scale": "0"}, "sensor_scale cannot be 0"),
        ({"sensor_scale": "1/0"}, "sensor_scale cannot be 1/0"),
        ({"sensor_scale": "1e9"}, "sensor_scale cannot be 1e9"),
        ({"sensor_offset": "x"}, "sensor_offset cannot be x"),
        ({"sensor_offset": "1" * 41}, f"sensor_offset cannot be {'1' * 41}"),
        ({"sensor_range": "4095"}, "sensor_range cannot be 4095"),
        ({"sensor_range": "9:3"}, "sensor_range cannot be 9:3"),
        ({"sensor_range": "0:4294967296"}, "sensor_range cannot be 0:4294967296"),
        ({"sensor_range": "a:b"}, "sensor_range cannot be a:b"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        McuBackend().parse(settings)
    assert message in str(caught.value)


def test_settings() -> None:
    given = {"sensor_scale": "5/1024", "sensor_offset": "-0.25", "sensor_range": "0:4095"}
    assert parse_sensor(given) == Sensor(scale=Fraction(5, 1024), offset=Fraction(-1, 4), lo=0, hi=4095, asked=True)
    assert parse_sensor({}) == Sensor()
