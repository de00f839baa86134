"""Tables of numbers with a class column, from text files with any separator, with or without a header."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.errors import DataError, Problem, UsageError, raise_all
from edgecomp.project import nearest

MISSING = frozenset({"", "?", "na", "nan", "n/a", "null", "none"})
SEPARATORS = (",", ";", "\t", "|")
SHOWN = 10  # problems listed of a table


class Missing(StrEnum):
    """What becomes of a row in which a value is missing."""

    REFUSE = "refuse"
    DROP = "drop"
    MEDIAN = "median"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """x (N, F), NaN where a value is missing and medians were asked for; y (N,) classes, indices into `classes`."""

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    names: tuple[str, ...]
    classes: tuple[str, ...]


def read_table(
    paths: Sequence[Path], label: str, *, separator: str | None = None, header: bool | None = None,
    missing: Missing = Missing.REFUSE, ignore: Sequence[str] = (),
) -> Table:  # fmt: skip
    """The rows of all files, `label` being the class column's name or its place (from 0, or from the end if negative).

    Separator and header are found where they are not given; columns to `ignore` are named or numbered alike.
    DataError for what is no table, missing values (with row and column) and cells that are no numbers.
    """
    rows: list[list[str]] = []
    places: list[str] = []
    names: list[str] = []
    for path in paths:
        first, found, lines = _rows(path, separator, header)
        names = names or first
        rows += found
        places += [f"{path}, line {line}" for line in lines]
    target = column(label, names, where="--label")
    skipped = {target, *(column(name, names, where="--ignore") for name in ignore)}
    kept = [c for c in range(len(names)) if c not in skipped]
    if missing is Missing.DROP:
        whole = [i for i, row in enumerate(rows) if not any(_missing(row[c]) for c in (*kept, target))]
        rows, places = [rows[i] for i in whole], [places[i] for i in whole]
    x = _numbers(rows, places, names, kept, missing)
    y, classes = _classes(rows, places, names[target], target)
    return Table(x=x, y=y, names=tuple(names[c] for c in kept), classes=classes)


def column(name: str, names: Sequence[str], *, where: str) -> int:
    """The place of a column given by name or number; UsageError where there is none."""
    if name in names:
        return names.index(name)
    try:
        place = int(name)
    except ValueError:
        place = len(names)
    if not -len(names) <= place < len(names):
        raise UsageError(f"there is no column {name}", where=where, hint=nearest(name, names))
    return place % len(names)


def _rows(path: Path, separator: str | None, header: bool | None) -> tuple[list[str], list[list[str]], list[int]]:
    """(column names, the rows of cells, their line numbers)."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path), hint="check the path") from error
    except UnicodeDecodeError as error:
        raise DataError("is no text in UTF-8", where=str(path), hint="give a CSV file") from error
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not numbered:
        raise DataError("is empty", where=str(path), hint="give a CSV file")
    rows = _cells([line for _, line in numbered], separator, str(path))
    lines = [n for n, _ in numbered]
    problems = [Problem(what=f"has {len(row)} cells, the first row has {len(rows[0])}", where=f"{path}, line {n}")
                for n, row in zip(lines, rows, strict=True) if len(row) != len(rows[0])]  # fmt: skip
    raise_all(DataError, problems[:SHOWN])
    if header or (header is None and _has_header(rows)):
        return rows[0], rows[1:], lines[1:]
    return [f"column{c}" for c in range(len(rows[0]))], rows, lines


def _cells(lines: list[str], separator: str | None, where: str) -> list[list[str]]:
    chosen = separator or _separator(lines)
    if chosen.isspace() and chosen != "\t":
        return [line.split() for line in lines]
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=chosen)]
    except (csv.Error, TypeError) as error:
        raise DataError(f"cannot be split: {error}", where=where, hint="give one character as the separator") from error


def _separator(lines: list[str]) -> str:
    """The separator that splits every line into the same number of cells, the more the better; else white space."""
    best, most = " ", 1
    for candidate in SEPARATORS:
        counts = {len(row) for row in csv.reader(lines, delimiter=candidate)}
        if len(counts) == 1 and min(counts) > most:
            best, most = candidate, min(counts)
    return best


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row holds text in a column that is all numbers below it."""
    for c, top in enumerate(rows[0]):
        below = [row[c] for row in rows[1:] if not _missing(row[c])]
        if _number(top) is None and not _missing(top) and below and all(_number(v) is not None for v in below):
            return True
    return False


def _missing(cell: str) -> bool:
    return cell.lower() in MISSING


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(
    rows: list[list[str]], places: list[str], names: list[str], kept: list[int], missing: Missing
) -> NDArray[np.float64]:
    x = np.full((len(rows), len(kept)), np.nan)
    problems = []
    for i, row in enumerate(rows):
        for k, c in enumerate(kept):
            value = _number(row[c])
            if value is not None:
                x[i, k] = value
            elif not _missing(row[c]):
                problems.append(Problem(what=f"{row[c]!r} is no number", where=f"{places[i]}, column {names[c]}",
                                        hint="repair it, or leave the column out with --ignore"))  # fmt: skip
            elif missing is Missing.REFUSE:
                problems.append(Problem(what="a value is missing", where=f"{places[i]}, column {names[c]}",
                                        hint="--missing drop omits the row, --missing median fills it"))  # fmt: skip
    raise_all(DataError, problems[:SHOWN])
    empty = [Problem(what="holds no value at all", where=f"column {names[c]}", hint="leave it out with --ignore")
             for k, c in enumerate(kept) if len(rows) and np.isnan(x[:, k]).all()]  # fmt: skip
    raise_all(DataError, empty)
    return x


def _classes(
    rows: list[list[str]], places: list[str], name: str, target: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    cells = [row[target] for row in rows]
    problems = [Problem(what="the class is missing", where=f"{place}, column {name}", hint="--missing drop omits it")
                for place, cell in zip(places, cells, strict=True) if _missing(cell)]  # fmt: skip
    raise_all(DataError, problems[:SHOWN])
    numbers = [_number(cell) for cell in cells]
    if all(number is not None for number in numbers):
        cells = [f"{number:g}" for number in numbers if number is not None]
        classes = tuple(sorted(set(cells), key=float))
    else:
        classes = tuple(sorted(set(cells)))
    if len(classes) < 2:
        raise DataError(f"holds {len(classes)} class", where=f"column {name}", hint="a classifier wants two at least")
    place = {cell: k for k, cell in enumerate(classes)}
    return np.array([place[cell] for cell in cells], dtype=np.int64), classes
