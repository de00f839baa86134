"""What a bundle of C lets a user start from: golden vectors as C arrays, a sketch for Arduino, a Makefile."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgecomp.backends.mcu.example import End, golden, sketch
from edgecomp.cli import main
from edgecomp.export import to_onnx
from tests.test_flows import classifier

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=undefined,address")
SERIAL = """\
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#define F(text) text
struct Port {
    void begin(long) {}
    int peek() { int c = getchar(); if (c == EOF) exit(0); ungetc(c, stdin); return c; }
    int read() { return getchar(); }
    long parseInt() { long found = 0; return scanf("%ld", &found) == 1 ? found : -999; }
    void print(char c) { putchar(c); }
    void print(const char *text) { fputs(text, stdout); }
    void print(long value) { printf("%ld", value); }
    void print(unsigned long value) { printf("%lu", value); }
    void print(uint16_t value) { printf("%u", value); }
    void print(double value) { printf("%g", value); }
    void println() { puts(""); }
    void println(const char *text) { puts(text); }
} Serial;
#include "arduino.ino"
int main() { setup(); for (;;) loop(); }
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("avr")
    (folder / "net.onnx").write_bytes(to_onnx(classifier()).SerializeToString())
    assert main(["build", str(folder / "net.onnx"), "--target", "avr", "--out", str(folder / "out")]) == 0
    return folder / "out" / "mcu"


def run(*command: str, cwd: Path, given: str = "") -> str:
    return subprocess.run(command, cwd=cwd, input=given, capture_output=True, text=True, check=True).stdout


def test_the_sketch_tests_itself_and_answers(bundle: Path, tmp_path: Path) -> None:
    """On the host, with a serial port of standard input and output."""
    (tmp_path / "main.cpp").write_text(SERIAL)
    folder = bundle / "arduino"
    objects = [f"{tmp_path}/{name}.o" for name in ("network", "golden")]
    for made in objects:
        run("gcc", "-std=c99", *STRICT, "-c", Path(made).stem + ".c", "-o", made, cwd=folder)
    run("g++", *STRICT, f"-I{folder}", "main.cpp", *objects, "-o", "sketch", cwd=tmp_path)
    said = run("./sketch", cwd=tmp_path, given="0 0 0 0\n7, 1; 7 0\n")
    assert said.splitlines() == ["0 codes of the golden vectors differ", "0 2 0 ", "7 1 -9 "]


def test_the_makefile_compiles_and_tests(bundle: Path) -> None:
    run("make", cwd=bundle)
    symbols = run("avr-nm", "network.o", "golden.o", cwd=bundle)
    assert {"network_predict", "network_classify", "network_golden"} <= set(symbols.split())
    assert "codes differ" in run("make", "test", cwd=bundle)
    run("make", "clean", cwd=bundle)
    assert not list(bundle.glob("*.o"))


def test_golden_arrays_find_a_difference(bundle: Path, tmp_path: Path) -> None:
    for path in ("network.c", "network.h", "golden.h"):
        (tmp_path / path).write_bytes((bundle / path).read_bytes())
    (tmp_path / "main.c").write_text(
        '#include "golden.h"\nint main(void) { uint8_t x[4]; int8_t y[3]; return network_golden(x, y); }\n'
    )
    text = (bundle / "golden.c").read_text()
    for wrong in (0, 1, 2):
        head, found, rest = text.partition("golden_y[16][3] FLASH = {\n    {")
        first, _, rest = rest.partition("}")
        codes = [int(code) + (k < wrong) for k, code in enumerate(first.split(","))]
        (tmp_path / "golden.c").write_text(f"{head}{found}{', '.join(map(str, codes))}}}{rest}")
        run("gcc", "-std=c99", *STRICT, "main.c", "network.c", "golden.c", "-o", "all", cwd=tmp_path)
        assert subprocess.run(["./all"], cwd=tmp_path, check=False).returncode == wrong


def test_golden_arrays_are_bounded_and_names_are_apart() -> None:
    ends = (End(identifier="wrong", name="a", kind="uint8_t", count=400, given=True),
            End(identifier="n", name="b", kind="int64_t", count=2, given=False))  # fmt: skip
    codes = {"a": np.zeros((9, 20, 20), dtype=np.int64), "b": np.ones((9, 2), dtype=np.int64)}
    text = golden("net", ends, codes).files["golden.c"].decode()
    assert "golden_wrong[4][400]" in text  # 416 bytes each
    assert "wrong_2 += differing(n, golden_n[n_2], 2, 8);" in text
    assert "Serial.print((double)out_n[k]);" in sketch("net", ends)
