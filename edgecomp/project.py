"""`targets/*.toml` and a project's `edgecomp.toml`, read into frozen objects."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edgecomp.bundle import read_manifest
from edgecomp.errors import Problem, UsageError, raise_all
from edgecomp.resources import resource

PROJECT_FILE = "edgecomp.toml"
MODEL_IN_BUNDLE = "model/model.int.onnx"
_TABLES = ("project", "options")
_KEYS = ("name", "model", "data", "task", "target")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Task(StrEnum):
    """What the model's outputs are for."""

    CLASSES = "classes"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What to build: an edgecomp.toml's [project] and its [options], whose keys are --set's.

    Paths are as the user gave them, seen from the working directory.
    """

    name: str
    model: Path
    data: Path | None = None
    task: Task | None = None
    target: str | None = None
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FpgaTarget:
    """An FPGA part: what it offers, the clock that a design for it aims at, and where the numbers are from.

    `place` is the program that places and routes for it, with its arguments; () where no open one does.
    """

    name: str
    part: str
    clock_ns: float
    lut: int
    ff: int
    dsp: int
    bram18: int
    source: str
    description: str = ""
    place: tuple[str, ...] = ()


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the known names closest to `name`, else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names) or 'none'}"


def refuse_unknown(names: Iterable[str], known: Iterable[str], *, kind: str, where: str) -> None:
    """UsageError listing every one of `names` that is not `known`, each with the nearest."""
    names, known = sorted(names), sorted(known)
    raise_all(UsageError, [Problem(what=f"there is no {kind} named {name}", where=where, hint=nearest(name, known))
                           for name in names if name not in known])  # fmt: skip


def parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    """--set's key=value pairs; the last one of a key holds."""
    wrong = [pair for pair in pairs if not pair.partition("=")[0].strip() or "=" not in pair]
    raise_all(UsageError, [Problem(what=f"{pair!r} is not of the form key=value", where="--set",
                                   hint="for instance --set head=argmax") for pair in wrong])  # fmt: skip
    split = [pair.partition("=") for pair in pairs]
    return {key.strip(): value.strip() for key, _, value in split}


def parse_task(text: str, *, where: str) -> Task:
    """The task of that name."""
    refuse_unknown([text], list(Task), kind="task", where=where)
    return Task(text)


def find_project(model: Path | None) -> Project:
    """What `build [MODEL or FOLDER]` means: a project's folder or file, a bundle's folder, or a model file.

    Without an argument, the current folder's edgecomp.toml. UsageError where there is nothing to build.
    """
    if model is None:
        hint = f"name a model, as in: edgecomp build MODEL --target fpga; or write an {PROJECT_FILE}"
        return _load(Path(PROJECT_FILE), hint=hint)
    if model.is_dir():
        if (model / PROJECT_FILE).exists() or read_manifest(model) is None:
            return _load(model / PROJECT_FILE, hint=f"a folder to build holds an {PROJECT_FILE} or is a bundle")
        return Project(name=_folder_name(model), model=model / MODEL_IN_BUNDLE, options={})
    if model.name == PROJECT_FILE:
        return _load(model, hint="check the path")
    if not model.exists():
        raise UsageError("there is no such model", where=str(model), hint="check the path")
    return Project(name=model.stem, model=model, options={})


def load_project(path: Path) -> Project:
    """The project that `path`, an edgecomp.toml, describes; UsageError with every problem of it."""
    return _load(path, hint="check the path")


def _load(path: Path, *, hint: str) -> Project:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no {PROJECT_FILE}", where=str(path.parent), hint=hint) from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    except ValueError as error:
        raise UsageError(f"is no TOML: {error}", where=str(path), hint="see README.md for an example") from error
    refuse_unknown(tables, _TABLES, kind="table", where=str(path))
    table, options = tables.get("project", {}), tables.get("options", {})
    odd = [name for name, given in tables.items() if not isinstance(given, dict)]
    raise_all(UsageError, [Problem(what=f"{name} must be a table", where=str(path)) for name in odd])
    refuse_unknown(table, _KEYS, kind="key", where=str(path))
    raise_all(UsageError, _problems(table, options, str(path)))
    data, task = table.get("data"), table.get("task")
    return Project(
        name=table.get("name") or _folder_name(path.parent),
        model=path.parent / table["model"],
        data=path.parent / data if data else None,
        task=parse_task(task, where=str(path)) if task else None,
        target=table.get("target"),
        options=_flat(options),
    )


def _problems(table: Mapping[str, object], options: Mapping[str, object], where: str) -> list[Problem]:
    """Wrong types and names of a project file whose keys are known."""
    faults = [f"{key} must be text" for key, value in table.items() if not (isinstance(value, str) and value)]
    name = table.get("name")
    if isinstance(name, str) and name and not _NAME.fullmatch(name):
        faults.append(f"name {name!r} may hold letters, digits, dots, dashes and underscores only")
    if "model" not in table:
        faults.append("model is missing: the path of the ONNX file, seen from this folder")
    faults += [f"options.{key} must be text, a number or true or false" for key in _odd(options)]
    return [Problem(what=fault, where=where) for fault in faults]


def _odd(table: Mapping[str, object], prefix: str = "") -> list[str]:
    """The dotted keys of options whose values are neither text, numbers, booleans nor tables of these."""
    odd = []
    for key, value in table.items():
        if isinstance(value, dict):
            odd += _odd(value, f"{prefix}{key}.")
        elif not isinstance(value, (str, int, float)):
            odd.append(prefix + key)
    return odd


def _flat(table: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Options as --set would give them: {"reuse": {"fc1": 4}} is reuse.fc1=4, true is "true"."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value).lower() if isinstance(value, bool) else str(value)
    return flat


def _folder_name(folder: Path) -> str:
    return folder.absolute().name or "model"


FPGA_FAMILY = "fpga"


def target_names() -> tuple[str, ...]:
    """The names of FPGA parts that --target takes beside the families, sorted."""
    return tuple(_tables())


def _tables() -> dict[str, dict[str, object]]:
    """The FPGA targets' tables by name; other families have readers of their own."""
    return {name: table for name, table in _all_tables().items() if table["family"] == FPGA_FAMILY}


def _all_tables() -> dict[str, dict[str, object]]:
    return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(resource("targets").glob("*.toml"))}


def families() -> dict[str, str]:
    """Each target family with the name of its default part."""
    return {str(table["family"]): name for name, table in _all_tables().items() if table.get("default")}


def family_of(name: str) -> tuple[str, str]:
    """(family, part) of a part's name, or of a family's, whose default part is meant; UsageError with the nearest."""
    tables, defaults = _all_tables(), families()
    refuse_unknown([name], [*tables, *defaults], kind="target", where="--target")
    part = defaults.get(name, name)
    return str(tables[part]["family"]), part


def load_target(name: str) -> FpgaTarget:
    """The FPGA of that name; "fpga" gives the default part. UsageError with the nearest names else."""
    tables = _tables()
    refuse_unknown([name], [*tables, FPGA_FAMILY], kind="target", where="--target")
    return _fpga(tables[families()[FPGA_FAMILY] if name == FPGA_FAMILY else name])


def _fpga(table: Mapping[str, object]) -> FpgaTarget:
    """An FPGA's table as an object; its form is ours, and a test reads every file."""
    numbers = {key: _quantity(table, key) for key in ("clock", "lut", "ff", "dsp", "bram18")}
    sources = dict.fromkeys(source for _, source in numbers.values())
    counts = {key: int(numbers[key][0]) for key in ("lut", "ff", "dsp", "bram18")}
    place = table.get("place", [])
    assert isinstance(place, list), "place must be a list"
    return FpgaTarget(name=str(table["name"]), part=str(table["part"]), clock_ns=float(numbers["clock"][0]),
                      source="; ".join(sources), description=str(table["description"]),
                      place=tuple(map(str, place)), **counts)  # fmt: skip


def _quantity(table: Mapping[str, object], key: str) -> tuple[float, str]:
    quantity = table[key]
    assert isinstance(quantity, dict), f"a target's table lacks {key}"
    return quantity["value"], str(quantity["source"])
