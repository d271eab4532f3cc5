from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.contract.gaps import GAPS
from bench.data import cells, table_read
from bench.data.table_card import TableCard

BASE = {"name": "t", "sector": "s", "source": "", "terms": ""}


def card(**changes: Any) -> TableCard:
    columns = {"n": "number", "c": "category"}
    own = {**BASE, "target": "y", "sensitive": "c", "columns": columns, **changes}
    return TableCard(**own)


def meant(folder: Path, content: pd.DataFrame | str | bytes, **changes: Any) -> table_read.Meant:
    path = folder / "t.csv"
    if isinstance(content, pd.DataFrame):
        content = content.to_csv(index=False)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return table_read.read(card(**changes), {"": path})


def refused(words: str) -> Any:
    return pytest.raises(UserError, match=words)


CELLS = st.one_of(
    st.sampled_from([*sorted(GAPS), "TRUE", "true", "3", "3.0", "3.50", "-0.0", "1e5", "x "]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
NUMBERS = st.sampled_from(["1", "1.0", " 7 ", "1e5", "?", "2", "", "-3.25", "0x10"])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(NUMBERS, CELLS, CELLS), min_size=2, max_size=8))
def test_text_means_the_same_in_csv_and_parquet(
    tmp_path: Path, rows: list[tuple[str, ...]]
) -> None:
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("n", "c", "y"), *rows])
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("n", "c", "y"))}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    outcomes = []
    for suffix in ("csv", "parquet"):
        try:
            outcomes.append(table_read.read(card(), {"": tmp_path / f"t.{suffix}"}))
        except UserError:
            outcomes.append(None)
    a, b = outcomes
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        assert a.frame.equals(b.frame)
        assert (a.sha256, a.classes, a.gaps) == (b.sha256, b.classes, b.gaps)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, None, 2], pa.int64()),
        pa.array([1.0, 2.0, None, 2.0], pa.float64()),
        pa.array([0.1, 2.5, float("nan"), 2.5], pa.float32()),
        pa.array([True, False, None, True]),
        pa.array(["a", "b ", "NA", "b"]).dictionary_encode(),
        pa.array(["a", "b", None, "b"], pa.large_string()),
        pa.array([1, 2, None, 2], pa.decimal128(5, 2)),
        pa.array([1, 20000, None, 20000], pa.date32()),
    ],
)
def test_typed_parquet_means_what_pandas_writes_as_csv(tmp_path: Path, values: pa.Array) -> None:
    columns = {"c": values, "y": ["u", "v", "u", "v"], "n": [1, 2, 3, 4]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    read = pd.read_parquet(tmp_path / "t.parquet")
    read.to_csv(tmp_path / "t.csv", index=False)
    a, b = (table_read.read(card(), {"": tmp_path / f"t.{s}"}) for s in ("csv", "parquet"))
    assert a.frame.equals(b.frame)
    assert a.sha256 == b.sha256
    assert a.frame["c"].isna().tolist() == [False, False, True, False]
    assert a.frame["c"].nunique() == 2


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 1], pa.timestamp("us")),
        pa.array([[1], [2]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"a", b"b"]),
        pa.array(["a\0", "b"]),
    ],
)
def test_other_types_are_refused(tmp_path: Path, values: pa.Array) -> None:
    columns = {"c": values, "y": ["u", "v"], "n": [1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with refused("column 'c'"):
        table_read.read(card(), {"": tmp_path / "t.parquet"})


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_parquet_file_is_a_table_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"n": [1.5, 2.0], "c": ["é", None], "d": pa.array([1, 20000], pa.date32())})
    pq.write_table(table, path)
    content = bytearray(path.read_bytes()[: data.draw(st.integers(0, path.stat().st_size))])
    if data.draw(st.booleans()):
        content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, max(len(content) - 1, 0)), max_size=3)):
        content[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
    path.write_bytes(content)
    try:
        read = cells.read("t", path, ["n", "c", "d"])
    except UserError:
        return
    assert all(isinstance(text, str) for text in read.frame.to_numpy().ravel())


def test_a_column_twice_in_parquet_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["c", "c "])
    pq.write_table(table, tmp_path / "t.parquet")
    with refused("twice"):
        table_read.read(card(), {"": tmp_path / "t.parquet"})


def test_gaps_are_known_counted_and_can_be_named(tmp_path: Path) -> None:
    content = "n,c,y\n1,?,u\n999,none,v\n , NA ,u\n#N/A,-,v\n4,d,\n"
    known = meant(tmp_path, content)
    assert known.frame["n"].isna().tolist() == [False, False, True, True, False]
    assert known.frame["c"].tolist()[1::3] == ["none", "d"]
    assert known.gaps == {
        "n": {"": 1, "#N/A": 1},
        "c": {"-": 1, "?": 1, "NA": 1},
        "y": {"": 1},
    }
    named = meant(tmp_path, content.replace("#N/A", "7"), gaps=frozenset({"", "none", "999.0"}))
    assert named.gaps == {"n": {"": 1, "999": 1}, "c": {"none": 1}, "y": {"": 1}}
    assert "?" in set(named.frame["c"])


def test_a_class_may_look_like_a_gap(tmp_path: Path) -> None:
    content = "n,c,y\n1,a,None\n2,b,Norm\n3,b,?\n"
    read = meant(tmp_path, content, classes=("None", "Norm"))
    assert read.frame["y"].tolist()[:2] == ["None", "Norm"]
    assert read.gaps == {"y": {"?": 1}}


def test_labels_are_joined_and_counted(tmp_path: Path) -> None:
    content = "n,c,y\n99999,a,yes.\n2,A,yes\n3,b,no \n4,x,no\n"
    labels = {"y": {"yes.": "yes"}, "c": {"A": "a", "x": ""}, "n": {"99999.0": ""}}
    read = meant(tmp_path, content, labels=labels)
    assert read.classes == ("no", "yes")
    assert read.frame["c"].tolist()[:3] == ["a", "a", "b"]
    assert read.joined == {"c": {"A": 1, "x": 1}, "y": {"yes.": 1}, "n": {"99999": 1}}
    assert read.frame["n"].isna().tolist() == [True, False, False, False]
    with refused("'labels' replaces .'maybe'.*Did you mean"):
        meant(tmp_path, content.replace("yes.", "maybee"), labels={"y": {"maybe": "yes"}})


@pytest.mark.parametrize(
    ("changes", "content", "words"),
    [
        ({}, "n,c,y\n1,a,u\n2,b,u\n", "nothing to learn"),
        ({"classes": ("u", "v")}, "n,c,y\n1,a,u\n2,b,w\n", "holds .'w'.*labels"),
        ({"classes": ("u", "v", "w")}, "n,c,y\n1,a,u\n2,b,v\n", "'w'. in no record"),
        ({"positive": "w"}, "n,c,y\n1,a,u\n2,b,v\n", "'positive' is 'w'"),
        ({"positive": "u"}, "n,c,y\n1,a,u\n2,b,v\n2,b,w\n", "one of two classes"),
    ],
)
def test_classes_that_do_not_fit_are_refused(
    changes: dict[str, Any], content: str, words: str, tmp_path: Path
) -> None:
    with refused(words):
        meant(tmp_path, content, **changes)


def test_the_positive_class_is_the_second(tmp_path: Path) -> None:
    assert meant(tmp_path, "n,c,y\n1,a,u\n2,b,v\n", positive="u").classes == ("v", "u")
    whole = meant(tmp_path, "n,c,y\n1,a,1.0\n2,b,0.0\n", classes=("1", "0"), positive="1.0")
    assert whole.classes == ("0", "1")


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        ("7", ".", 7.0),
        ("-1.5e3", ".", -1500.0),
        (".5", ".", 0.5),
        ("+2.", ".", 2.0),
        ("1,5", ",", 1.5),
        ("-0", ",", 0.0),
    ],
)
def test_numbers(text: str, decimal: str, value: float) -> None:
    assert cells.number(text, decimal) == value


@pytest.mark.parametrize(
    ("text", "decimal", "words"),
    [
        ("1,5", ".", 'decimal: ","'),
        ("1,234", ".", "thousands"),
        ("1,234.5", ".", "thousands"),
        ("1.234,5", ",", "thousands"),
        ("1.5", ",", "point"),
        ("1 234", ".", "thousands"),
        ("1_000", ".", "thousands"),
        ("2024-01-31", ".", "date"),
        ("31.1.2024", ",", "date"),
        ("1/2/24", ".", "date"),
        ("1e999", ".", "too large"),
        *((text, ".", "mend the file") for text in ("inf", "0x10", "True", "5 kg", "٣", "1e", ".")),
    ],
)
def test_what_is_no_number_says_why(text: str, decimal: str, words: str) -> None:
    assert words in str(cells.number(text, decimal))


def test_a_bad_number_is_named_by_its_line(tmp_path: Path) -> None:
    with refused(r"column 'n', line 4 holds '2024-01-31', which is no number .2 records"):
        meant(tmp_path, "n,c,y\n1,a,u\n\n2024-01-31,b,v\n2024-01-31,b,v\n")


def test_an_export_with_semicolons_means_the_same(tmp_path: Path) -> None:
    plain = meant(tmp_path, "n,c,y\n1.5,é,u\n2,b,v\n")
    export = "n;c;y\r\n1,5;é;u\r\n2,00;b;v\r\n".encode("latin-1")
    other = meant(tmp_path, export, encoding="latin-1", delimiter=";", decimal=",")
    assert other.sha256 == plain.sha256
    pq.write_table(
        pa.table({"n": [1.5, 2.0], "c": ["é", "b"], "y": ["u", "v"]}), tmp_path / "t.parquet"
    )
    stored = table_read.read(card(decimal=","), {"": tmp_path / "t.parquet"})
    assert stored.sha256 == plain.sha256


def test_tabs_are_expected_in_tsv(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("n\tc\ty\n1\ta,b\tu\n2\tb\tv\n")
    read = table_read.read(card(), {"": tmp_path / "t.tsv"})
    assert read.frame["c"].tolist() == ["a,b", "b"]


def test_the_hash_follows_every_cell_and_what_is_hidden(tmp_path: Path) -> None:
    rows = [["1", "a", "u"], ["2", "b", "v"], ["3", "?", "v"]]

    def sha256(**changes: Any) -> str:
        content = "n,c,y\n" + "\n".join(map(",".join, rows))
        return meant(tmp_path, content, **changes).sha256

    seen = [sha256(), sha256(sensitive="n"), sha256(repeats=True), sha256(classes=("v", "u"))]
    for row, column, value in ((0, 0, "9"), (1, 1, "z"), (2, 1, "nothing"), (0, 2, "v")):
        before, rows[row][column] = rows[row][column], value
        if row != 0 or column != 2:
            seen.append(sha256())
        rows[row][column] = before
    rows[0], rows[1] = rows[1], rows[0]
    seen.append(sha256())
    assert len(set(seen)) == len(seen)


def test_a_trailing_zero_never_joins_two_labels(tmp_path: Path) -> None:
    """250.0 and 250 are two diagnoses in ICD-9."""
    read = meant(tmp_path, "n,c,y\n1,250,u\n2,250.0,v\n")
    assert read.frame["c"].tolist() == ["250", "250.0"]
    assert np.array_equal(read.frame["n"], [1.0, 2.0])
