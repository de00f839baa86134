"""A Report as JSON and back. The form follows the dataclasses: no field is named here."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from edgecomp.errors import UsageError
from edgecomp.report.model import Report


class _FormError(Exception):
    """The JSON is not of the form that the Report has."""


def to_json(report: Report) -> str:
    return json.dumps(plain(report), indent=1, allow_nan=False) + "\n"


def plain(value: object) -> Any:
    """`value`, built of dataclasses, tuples, mappings and enums, as what json.dumps takes."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    assert value is None or isinstance(value, (bool, int, float, str)), f"a report holds {type(value).__name__}"
    return value


def read_report(folder: Path) -> Report:
    """The report of a bundle; UsageError where the folder holds none that this edgecomp can read."""
    path = folder / "report.json"
    hint = "name the folder of a bundle, as build printed it"
    try:
        report = parse(Report, json.loads(path.read_text(encoding="utf-8")), "report")
    except OSError as error:
        raise UsageError(f"holds no report: {error.strerror}", where=str(folder), hint=hint) from error
    except (ValueError, _FormError) as error:
        raise UsageError(f"is no report of this edgecomp: {error}", where=str(path), hint="build it again") from error
    assert isinstance(report, Report)
    return report


def parse(kind: Any, data: Any, place: str) -> Any:
    """`data` from JSON as an object of type `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _parse_dataclass(kind, data, place)
    if origin is tuple:
        return tuple(parse(arguments[0], part, f"{place}[{i}]") for i, part in enumerate(_check(data, list, place)))
    if origin is Mapping:
        return {key: parse(arguments[1], part, f"{place}.{key}") for key, part in _check(data, dict, place).items()}
    if origin is types.UnionType:
        return _parse_union(arguments, data, place)
    if issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError as error:
            raise _FormError(f"{place}: {error}") from error
    return _check(data, kind, place)


def _parse_dataclass(kind: Any, data: Any, place: str) -> Any:
    """A field with a default may be missing: a report written before the field was there still reads."""
    hints = typing.get_type_hints(kind)
    optional = {field.name for field in fields(kind) if field.default is not MISSING}
    odd = sorted(name for name in hints.keys() ^ _check(data, dict, place).keys() if name not in optional)
    if odd:
        raise _FormError(f"{place}.{odd[0]} is {'missing' if odd[0] in hints else 'unknown'}")
    given = {name: parse(hint, data[name], f"{place}.{name}") for name, hint in hints.items() if name in data}
    try:
        return kind(**given)
    except AssertionError as error:  # a figure without a unit, or not finite: here the file's fault, not ours
        raise _FormError(f"{place}: {error}") from error


def _parse_union(kinds: tuple[Any, ...], data: Any, place: str) -> Any:
    """An optional value, or one of several plain types."""
    if data is None and types.NoneType in kinds:
        return None
    if type(data) in kinds:
        return data
    return parse(next(kind for kind in kinds if kind is not types.NoneType), data, place)


def _check(data: Any, kind: type, place: str) -> Any:
    if type(data) is not kind:
        raise _FormError(f"{place} is {type(data).__name__}, not {kind.__name__}")
    return data
