"""The text form of a Network: `dump` prints it, `parse` reads back exactly the same Network.

One line a node, `name = Kind field=value ...`, every field written out; tensors follow as indented blocks, one row of
the last axis a line. Scales are exact fractions. What follows `#` is a comment: shape and interval of the node's value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from fractions import Fraction
from itertools import pairwise
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import ModelError
from edgecomp.ir.network import Network
from edgecomp.ir.nodes import Encoding, Ints, Node, Rounding, Scale, Ties
from edgecomp.ir.ranges import Value

HEADER = "edgecomp network 1"
MAX_CHARACTERS = 1 << 28
MAX_DIGITS = 1200  # of a fraction's part; a float64's smallest has 324
KINDS: Mapping[str, type[Node]] = {kind.__name__: kind for kind in get_args(Node)}

_NODE = re.compile(r'("(?:[^"\\]|\\.)*"|\S+) = ([A-Za-z]+)((?: .*)?)')
_FIELD = re.compile(r' ([a-z_]+)=((?:"(?:[^"\\]|\\.)*"|[^\s"])+)')
_BLOCK = re.compile(r"  ([a-z_]+) (\d{1,9}(?:x\d{1,9}){0,7}):(.*)", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_]+")
_INT = re.compile(r"-?\d{1,20}", re.ASCII)
_INTS = re.compile(r"(?:-?\d{1,19}(?: -?\d{1,19})*)?", re.ASCII)
_FRACTION = re.compile(rf"(-?\d{{1,{MAX_DIGITS}}})(?:/(0*[1-9]\d{{0,{MAX_DIGITS}}}))?", re.ASCII)


class UnreadableError(ValueError):
    """Why a piece of text does not parse; `parse` adds the line."""


def dump(network: Network) -> str:
    """The network's text form; deterministic, and `parse` gives back an equal Network."""
    values = {} if network.problems() else network.values()
    lines = [HEADER, ""]
    for node in network.nodes:
        lines += _node_lines(node, values.get(node.name))
    return "\n".join(lines) + "\n"


def parse(text: str) -> Network:
    """The Network that `text` states; ModelError with the line that cannot be read. It is not verified."""
    if len(text) > MAX_CHARACTERS:
        raise ModelError(f"{len(text)} characters of network text; {MAX_CHARACTERS} is the most")
    lines = _Lines(text=text.split("\n"))
    try:
        if lines.take() != HEADER:
            raise UnreadableError(f"the first line of a network is {HEADER!r}")
        nodes = tuple(_parse_nodes(lines))
    except UnreadableError as error:
        raise ModelError(str(error), where=f"network text, line {lines.number}") from error
    return Network(nodes=nodes)


def _node_lines(node: Node, value: Value | None) -> Iterator[str]:
    given = [(field.name, getattr(node, field.name)) for field in fields(node) if field.name != "name"]
    scalars = " ".join(f"{name}={_show(v)}" for name, v in given if not isinstance(v, Ints))
    head = f"{_text(node.name)} = {type(node).__name__}" + (f" {scalars}" if scalars else "")
    yield head + (f"  # {_comment(value)}" if value else "")
    for name, v in given:
        if isinstance(v, Ints):
            yield from _tensor_lines(name, v)


def _tensor_lines(name: str, tensor: Ints) -> Iterator[str]:
    head = f"  {name} {'x'.join(map(str, tensor.shape))}:"
    rows = (
        [" ".join(map(str, row)) for row in tensor.array.reshape(-1, tensor.shape[-1]).tolist()]
        if tensor.array.size
        else []
    )
    if len(tensor.shape) == 1:
        yield " ".join([head, *rows])
    else:
        yield head
        yield from ("    " + row for row in rows)


def _comment(value: Value) -> str:
    sign = "signed" if value.signed else "unsigned"
    return f"{'x'.join(map(str, value.shape))}, {value.least}..{value.greatest}, {value.bits} bits {sign}"


def _show(value: object) -> str:
    match value:
        case Enum():
            return str(value.value)
        case bool():
            return str(value).lower()
        case tuple():
            return "[" + ",".join(map(_show, value)) + "]"
        case str():
            return _text(value)
        case _:
            return str(value)  # int and Fraction print exactly


def _text(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)


@dataclass
class _Lines:
    """The lines not read yet; `number` counts from 1 and is the last one taken."""

    text: list[str]
    number: int = 0

    def peek(self) -> str | None:
        """The next line that is not empty."""
        while self.number < len(self.text) and not self.text[self.number].strip():
            self.number += 1
        return self.text[self.number] if self.number < len(self.text) else None

    def take(self) -> str:
        line = self.peek()
        self.number = min(self.number + 1, len(self.text))
        if line is None:
            raise UnreadableError("the text ends too early")
        return line


def _parse_nodes(lines: _Lines) -> Iterator[Node]:
    while lines.peek() is not None:
        yield _parse_node(lines)


def _parse_node(lines: _Lines) -> Node:
    match = _NODE.fullmatch(lines.take())
    if match is None:
        raise UnreadableError("'name = Kind field=value ...' is wanted")
    if match[2] not in KINDS:
        raise UnreadableError(f"{match[2]} is no kind of node; there are {', '.join(KINDS)}")
    kind, given = KINDS[match[2]], _parse_fields(match[3])
    if "name" in given:
        raise UnreadableError("the name goes in front of '='")
    given["name"] = match[1]
    readers = {field.name: READERS[str(field.type)] for field in fields(kind) if str(field.type) != "Ints"}
    tensors = [field.name for field in fields(kind) if str(field.type) == "Ints"]
    odd = sorted(given.keys() ^ readers.keys())
    if odd:
        raise UnreadableError(f"{match[2]} {'has no field' if odd[0] in given else 'lacks the field'} {odd[0]}")
    arguments: dict[str, Any] = {name: read(given[name]) for name, read in readers.items()}
    arguments |= {name: _parse_tensor(lines, name) for name in tensors}
    return kind(**arguments)


def _parse_fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    while match := _FIELD.match(text, position):
        if match[1] in found:
            raise UnreadableError(f"the field {match[1]} is given twice")
        found[match[1]] = match[2]
        position = match.end()
    rest = text[position:].strip()
    if rest and not rest.startswith("#"):
        raise UnreadableError(f"'field=value' is wanted where it says {rest[:40]!r}")
    return found


def _parse_tensor(lines: _Lines, name: str) -> Ints:
    match = _BLOCK.fullmatch(lines.take())
    if match is None or match[1] != name:
        raise UnreadableError(f"the tensor '  {name} SHAPE:' is wanted")
    shape = tuple(int(size) for size in match[2].split("x"))
    if 0 in shape or len(shape) == 1:
        return Ints(_parse_row(match[3].removeprefix(" "), math.prod(shape)).reshape(shape))
    if match[3]:
        raise UnreadableError(f"the rows of {name} go on lines of their own")
    count = math.prod(shape[:-1])
    if count > len(lines.text) - lines.number:
        raise UnreadableError(f"{name} wants {count} rows, more than the text has left")
    rows = [_parse_row(lines.take().removeprefix("    "), shape[-1]) for _ in range(count)]
    return Ints(np.array(rows).reshape(shape))


def _parse_row(text: str, count: int) -> NDArray[np.int64]:
    numbers = [int(word) for word in text.split()] if _INTS.fullmatch(text) else []
    if len(numbers) != count or (text and not numbers):
        raise UnreadableError(f"{count} integers are wanted")
    if not all(-(1 << 63) <= number < 1 << 63 for number in numbers):
        raise UnreadableError("an integer needs more than 64 bits")
    return np.array(numbers, dtype=np.int64)


def _read_text(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, str):
        raise UnreadableError(f"{text[:40]!r} is no text")
    return value


def _read_int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise UnreadableError(f"{text[:40]!r} is no integer")
    return int(text)


def _read_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise UnreadableError(f"{text[:40]!r} is neither true nor false")
    return text == "true"


def _read_fraction(text: str) -> Fraction:
    match = _FRACTION.fullmatch(text)
    if match is None:
        raise UnreadableError(f"{text[:40]!r} is no fraction")
    return Fraction(int(match[1]), int(match[2] or 1))


def _split(text: str) -> list[str]:
    """The items of '[a,b,[c,d]]', brackets and quotes kept together."""
    if not (text.startswith("[") and text.endswith("]") and len(text) > 1):
        raise UnreadableError(f"{text[:40]!r} is no list")
    inside = re.sub(r'"(?:[^"\\]|\\.)*"', lambda match: "q" * len(match[0]), text[1:-1])
    depth, cuts = 0, [0]
    for place, character in enumerate(inside, 1):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            cuts.append(place)
    cuts.append(len(text) - 1)
    return [text[start + 1 : stop] for start, stop in pairwise(cuts)] if inside else []


def _read_ints(text: str) -> tuple[int, ...]:
    return tuple(_read_int(item) for item in _split(text))


def _read_pairs(text: str) -> tuple[tuple[int, int], ...]:
    found = [_read_ints(item) for item in _split(text)]
    if any(len(pair) != 2 for pair in found):
        raise UnreadableError(f"{text[:40]!r} is no list of pairs")
    return tuple((pair[0], pair[1]) for pair in found)


def _read_scale(text: str) -> Scale:
    return tuple(_read_fraction(item) for item in _split(text))


def _reader_of(choice: type[Enum]) -> Callable[[str], Enum]:
    def read(text: str) -> Enum:
        for member in choice:
            if member.value == text:
                return member
        raise UnreadableError(f"{text[:40]!r} is not one of {', '.join(str(member.value) for member in choice)}")

    return read


READERS: Mapping[str, Callable[[str], object]] = {
    "int": _read_int,
    "bool": _read_bool,
    "str": _read_text,
    "tuple[int, ...]": _read_ints,
    "tuple[tuple[int, int], ...]": _read_pairs,
    "tuple[str, ...]": lambda text: tuple(_read_text(item) for item in _split(text)),
    "Scale": _read_scale,
    "Encoding": _reader_of(Encoding),
    "Rounding": _reader_of(Rounding),
    "Ties": _reader_of(Ties),
}
