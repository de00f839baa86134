"""What a user starts from: some golden vectors as C arrays with a test that runs them, and a sketch for Arduino."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.backends.mcu.ctypes import literal
from edgecomp.backends.mcu.names import Names
from edgecomp.bundle import Bundle

Codes = NDArray[np.int64]

MOST_VECTORS = 16
MOST_BYTES = 2048  # of golden arrays, one vector at least: a part of 32 kB holds the network as well
GOLDEN_H = """\
#ifndef {guard}_GOLDEN_H
#define {guard}_GOLDEN_H

#include "{function}.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* Runs {samples} golden vectors, overwriting the arrays; the number of output codes that are not the expected ones. */
uint16_t {function}_golden({parameters});

#ifdef __cplusplus
}}
#endif

#endif
"""
GOLDEN_C = """\
#include "golden.h"

#if defined(__AVR__)
#include <avr/pgmspace.h>
#define FLASH PROGMEM
#define BYTE(p) pgm_read_byte(p)
#else
#define FLASH
#define BYTE(p) (*(p))
#endif

{tables}

static void {copied}(void *to, const void *from, uint32_t bytes) {{
    uint8_t *at = to;
    const uint8_t *next = from;
    for (; bytes; bytes--, next++)
        *at++ = BYTE(next);
}}

static uint16_t {differing}(const void *got, const void *expected, uint32_t count, uint8_t size) {{
    const uint8_t *a = got, *b = expected;
    uint16_t wrong = 0;
    for (; count; count--) {{
        uint8_t differ = 0;
        for (uint8_t k = 0; k < size; k++, a++, b++)
            differ |= *a ^ BYTE(b);
        wrong += differ != 0;
    }}
    return wrong;
}}

uint16_t {function}_golden({parameters}) {{
    uint16_t {wrong} = 0;
    for (uint8_t {n} = 0; {n} < {samples}; {n}++) {{
{calls}
    }}
    return {wrong};
}}
"""
SKETCH = """\
/* Runs the golden vectors once; then takes {inputs} integer codes at a time from the serial port and answers with those
 * of the outputs. The codes' meaning (scale, zero point) is in io_contract.json. */
#include "golden.h"

{arrays}

/* The next integer, however it is set off; parseInt alone takes a pause for a 0. */
static long number() {{
    for (;;) {{
        int c = Serial.peek();
        if (c == '-' || (c >= '0' && c <= '9'))
            return Serial.parseInt();
        if (c >= 0)
            Serial.read();
    }}
}}

void setup() {{
    Serial.begin(115200);
    Serial.print({function}_golden({arguments}));
    Serial.println(F(" codes of the golden vectors differ"));
}}

void loop() {{
{reads}
    {function}_predict({arguments});
{prints}
    Serial.println();
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """An input or output of the C function: its name there and in the network, C type and number of codes."""

    identifier: str
    name: str
    kind: str
    count: int
    given: bool

    @property
    def size(self) -> int:
        """Bytes of one code."""
        return int(self.kind.strip("uint_")) // 8


def golden(function: str, ends: Sequence[End], codes: Mapping[str, Codes]) -> Bundle:
    """golden.h and golden.c: the first vectors, as many as MOST_BYTES hold; `codes` (N, ...) of every end by name."""
    room = MOST_BYTES // sum(end.size * end.count for end in ends)
    samples = max(1, min(room, MOST_VECTORS, *(len(codes[end.name]) for end in ends)))
    names = Names(taken={end.identifier for end in ends} | {f"{function}_{what}" for what in ("predict", "golden")})
    own = {hint: names.of(hint) for hint in ("copied", "differing", "wrong", "n")}
    tables, before, after = [], [], []
    for end in ends:
        table = names.of(f"golden_{end.identifier}")
        tables.append(_table(table, end, codes[end.name][:samples]))
        row = f"{table}[{own['n']}]"
        if end.given:
            before.append(f"        {own['copied']}({end.identifier}, {row}, sizeof {row});")
        else:
            call = f"{own['differing']}({end.identifier}, {row}, {end.count}, {end.size})"
            after.append(f"        {own['wrong']} += {call};")
    predict = f"        {function}_predict({', '.join(end.identifier for end in ends)});"
    texts = {"function": function, "guard": function.upper(), "samples": samples,
             "parameters": ", ".join(f"{end.kind} {end.identifier}[{end.count}]" for end in ends),
             "tables": "\n".join(tables), "calls": "\n".join([*before, predict, *after]), **own}  # fmt: skip
    return Bundle(files={name: text.format(**texts).encode()
                         for name, text in (("golden.h", GOLDEN_H), ("golden.c", GOLDEN_C))})  # fmt: skip


def _table(name: str, end: End, codes: Codes) -> str:
    rows = [", ".join(literal(int(code)) for code in row) for row in codes.reshape(len(codes), -1)]
    body = ",\n".join(f"    {{{row}}}" for row in rows)
    return f"static const {end.kind} {name}[{len(rows)}][{end.count}] FLASH = {{\n{body}}};"


def sketch(function: str, ends: Sequence[End]) -> str:
    """The text of a sketch that lies beside the network's and the golden vectors' C."""
    names = {end.identifier: f"{'in' if end.given else 'out'}_{end.identifier}" for end in ends}
    arrays = [f"static {end.kind} {names[end.identifier]}[{end.count}];" for end in ends]
    reads, prints = [], []
    for end in ends:
        head = f"    for (uint16_t k = 0; k < {end.count}; k++)"
        element = f"{names[end.identifier]}[k]"
        if end.given:
            reads += [head, f"        {element} = ({end.kind})number();"]
        else:
            prints += [f"{head} {{", f"        Serial.print({_printable(end)}{element});", "        Serial.print(' ');",
                       "    }"]  # fmt: skip
    return SKETCH.format(
        function=function, inputs=sum(end.count for end in ends if end.given), arrays="\n".join(arrays),
        arguments=", ".join(names.values()), reads="\n".join(reads), prints="\n".join(prints))  # fmt: skip


def _printable(end: End) -> str:
    """The cast to a type that Serial prints; 64 bits it prints as a floating-point number only."""
    if end.size == 8:
        return "(double)"
    return "(unsigned long)" if end.kind.startswith("u") else "(long)"
