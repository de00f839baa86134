"""Tables: separators, headers, labels, missing values, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgecomp.errors import DataError, EdgecompError, UsageError
from edgecomp.tables import Missing, read_table

PLAIN = "a,b,kind\n1,2.5,yes\n3,4,no\n5,6,yes\n"


def written(tmp_path: Path, text: str | bytes) -> tuple[Path]:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return (path,)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", "  "])
def test_separators_are_found(tmp_path: Path, separator: str) -> None:
    table = read_table(written(tmp_path, PLAIN.replace(",", separator)), "kind")
    np.testing.assert_array_equal(table.x, [[1, 2.5], [3, 4], [5, 6]])
    np.testing.assert_array_equal(table.y, [1, 0, 1])
    assert (table.names, table.classes) == (("a", "b"), ("no", "yes"))


@pytest.mark.parametrize("label", ["2", "-1", "column2"])
def test_without_a_header_columns_are_numbered(tmp_path: Path, label: str) -> None:
    table = read_table(written(tmp_path, "1;2;9\n3;4;10\n"), label)
    assert (table.names, table.classes) == (("column0", "column1"), ("9", "10"))


def test_a_class_column_of_text_is_no_header(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "L,1,2\nB,3,4\n"), "0")
    assert table.x.shape == (2, 2)
    forced = read_table(written(tmp_path, "L,1,2\nB,3,4\nL,5,6\n"), "0", header=True, separator=",")
    assert forced.names == ("1", "2")


def test_several_files_with_quotes_and_columns_left_out(tmp_path: Path) -> None:
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    first.write_text('"id","v w","k"\n7,1,0\n\n8,2,1\n')
    second.write_text('"id","v w","k"\n9,3,1\n')
    table = read_table((first, second), "k", ignore=["id"])
    np.testing.assert_array_equal(table.x, [[1], [2], [3]])
    assert table.names == ("v w",)


def test_missing_values(tmp_path: Path) -> None:
    paths = written(tmp_path, "a,b,k\n1,?,0\n2,3,1\nNA,4,1\n5,6,?\n")
    with pytest.raises(DataError) as caught:
        read_table(paths, "k")
    hint = "\n  hint: --missing drop omits the row, --missing median fills it"
    expected = [f"{paths[0]}, line 2, column b: a value is missing{hint}",
                f"{paths[0]}, line 4, column a: a value is missing{hint}"]  # fmt: skip
    assert str(caught.value) == "\n".join(expected)
    with pytest.raises(DataError, match=re.escape("line 5, column k: the class is missing")):
        read_table(paths, "k", missing=Missing.MEDIAN)
    kept = read_table(written(tmp_path, "a,b,k\n1,?,0\n2,3,1\n4,5,0\n"), "k", missing=Missing.DROP)
    np.testing.assert_array_equal(kept.x, [[2, 3], [4, 5]])
    np.testing.assert_array_equal(kept.y, [1, 0])
    filled = read_table(written(tmp_path, "a,b,k\n1,?,0\n2,3,1\n4,5,0\n"), "k", missing=Missing.MEDIAN)
    assert np.isnan(filled.x).tolist() == [[False, True], [False, False], [False, False]]


@pytest.mark.parametrize(
    ("text", "label", "kind", "message"),
    [
        ("", "k", DataError, ": is empty"),
        (b"\xff\xfe\x00", "k", DataError, ": is no text in UTF-8"),
        ("a,b,k\n1,2,3\n1,2\n", "k", DataError, ", line 3: has 2 cells, the first row has 3"),
        ("a,b,k\n1,x,0\n2,3,1\n", "k", DataError, ", line 2, column b: 'x' is no number"),
        ("a,b,k\n1,inf,0\n2,3,1\n", "k", DataError, ", line 2, column b: 'inf' is no number"),
        ("a,b,k\n1,2,0\n2,3,0\n", "k", DataError, "column k: holds 1 class"),
        ("a,b,kind\n1,2,0\n2,3,1\n", "knd", UsageError, "--label: there is no column knd\n  hint: did you mean kind?"),
        ("a,b,kind\n1,2,0\n2,3,1\n", "3", UsageError, "--label: there is no column 3"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, text: str | bytes, label: str, kind: type[EdgecompError], message: str
) -> None:
    separator = "," if isinstance(text, str) else None
    with pytest.raises(kind, match=re.escape(message)):
        read_table(written(tmp_path, text), label, separator=separator)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_table((tmp_path / "none.csv",), "k")
    with pytest.raises(DataError, match="cannot be split: "):
        read_table(written(tmp_path, PLAIN), "kind", separator="ab")
    with pytest.raises(UsageError, match=re.escape("--ignore: there is no column zz")):
        read_table(written(tmp_path, PLAIN), "kind", ignore=["zz"])
    with pytest.raises(DataError, match="column b: holds no value at all"):
        read_table(written(tmp_path, "a,b,k\n1,?,0\n2,?,1\n"), "k", header=True, missing=Missing.MEDIAN)
