from __future__ import annotations

import csv
import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.data import delimited


def parse(text: str | bytes, **options: object) -> delimited.Delimited:
    data = text.encode() if isinstance(text, str) else text
    return delimited.parse(data, "'a.csv'", **options)  # type: ignore[arg-type]


def rows_of(table: delimited.Delimited) -> list[list[str]]:
    return [list(row) for row in zip(*table.columns.values(), strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n3,4\n",
        "a,b\r\n1,2\r\n3,4",
        "a,b\r1,2\r3,4\r",
        "\ufeffa,b\n1,2\n\n   \n3,4\n\n",
        " a , b \n 1,2 \n3, 4\n",
        'a,b\n"1", "2"\n3,4\n',
        "a,b\n1,2,\n3,4,\n",
        "a,b,\n1,2,\n3,4,\n",
        "a,b,,\n1,2,,\n3,4,,\n",
        'a,b\n"x1",1,2\n"x2",3,4\n',
    ],
)
def test_one_table_in_many_spellings(text: str) -> None:
    table = parse(text)
    assert table.header == ("a", "b")
    assert rows_of(table) == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
def test_byte_order_marks_say_the_encoding(encoding: str) -> None:
    assert rows_of(parse("a,ü\n1,é\n".encode(encoding))) == [["1", "é"]]


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("a;b\n1,5;é\n".encode("latin-1"), {"encoding": "latin-1", "delimiter": ";"}),
        ("a\tb\n1,5\té\n".encode("cp1252"), {"encoding": "cp1252", "delimiter": "\t"}),
        ("a|b\n1,5|é\n", {"delimiter": "|"}),
        ("a|b\n1,5|é\n".encode("utf-16-le"), {"delimiter": "|", "encoding": "utf-16"}),
    ],
)
def test_the_card_says_how_it_is_written(data: str | bytes, options: dict[str, str]) -> None:
    table = parse(data, **options)
    assert (table.header, rows_of(table)) == (("a", "b"), [["1,5", "é"]])


def test_row_names_of_r_go_on_working() -> None:
    table = parse('"age","ill"\n"1",30,"no"\n"2",40,"yes"\n')
    assert rows_of(table) == [["30", "no"], ["40", "yes"]]
    assert len(table.notes) == 1
    unnamed = parse(",age\n0,30\n1,40\n")
    assert unnamed.header == ("", "age")


def test_lines_count_cells_that_hold_line_breaks() -> None:
    table = parse('a,b\n"x\ny",2\n3,4\n')
    assert table.lines == [2, 4]
    assert rows_of(table)[0] == ["x\ny", "2"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a,b\n1,2\n1\n", "line 3 has 1 fields, the header has 2"),
        ("a,b\n1,2,3\n1,2\n", "line 2 has 3 fields"),
        ("a,b\n1,2,\n3,4\n", "line 2 has 3 fields"),
        ("a,b\n1,2,\n3,4,5\n3,4,5\n", "no row names"),
        ("a,b\n1,2,3,4\n1,2,3,4\n", "line 2 has 4 fields"),
        ("a,a\n1,2\n", "twice"),
        ("a, a \n1,2\n", "twice"),
        ("a,,b\n1,2,3\n", "values but no name"),
        ("a,b,\n1,2,3\n", "values but no name"),
        ('a,b\n1,2\n"3,4\n5,6\n', "line 3 .*never closed"),
        ('a,b\n"1"2,3\n', "line 2 .*behind a closing"),
        (b"a,b\n1,\x002\n", "NUL"),
        ("a,b\n1,2\n".encode("utf-16-le"), "utf-16"),
        ("a,b\n1,é\n".encode("latin-1"), "line 2 .*encoding: latin-1"),
        ("a;b\n1;2\n", 'delimiter: ";"'),
        ("a\tb\n1\t2\n", r'delimiter: "\\t"'),
        ("a,b\n1," + "x" * 200_000, "field limit"),
    ],
)
def test_what_cannot_be_read_without_guessing_is_refused(data: str | bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse(data)


@pytest.mark.parametrize(
    ("data", "encoding", "words"),
    [
        ("a,b\n1,é\n".encode(), "latin-1", "is UTF-8"),
        ("\ufeffa,b\n1,2\n".encode(), "cp1252", "mark of utf-8"),
        ("a,b\n1,5 €\n".encode("cp1252"), "latin-1", "cp1252"),
    ],
)
def test_a_wrong_encoding_in_the_card_is_refused(data: bytes, encoding: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse(data, encoding=encoding)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(alphabet='a,b\n";\t\r 1|', max_size=40).map(str.encode),
    ),
    st.sampled_from([None, ",", ";", "\t"]),
)
def test_any_bytes_are_a_table_or_refused(data: bytes, delimiter: str | None) -> None:
    try:
        table = delimited.parse(data, "'a.csv'", delimiter=delimiter)
    except UserError:
        return
    assert list(table.columns) == [name for name in table.header if name]
    assert all(len(column) == len(table.lines) for column in table.columns.values())


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda width: st.lists(
            st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6
        )
    ),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.integers(-1, 1),
    st.data(),
)
def test_a_table_is_read_as_written_and_never_shifted(
    rows: list[list[str]],
    delimiter: str,
    end: str,
    encoding: str,
    change: int,
    data: st.DataObject,
) -> None:
    """One row that is a field wider or narrower than the others is refused."""
    width = len(rows[0])
    bad = data.draw(st.integers(0, len(rows) - 1)) if change else None
    written = [list(row) for row in rows]
    if bad is not None:
        written[bad] = written[bad] + ["x"] if change > 0 else written[bad][:-1]
    stream = io.StringIO()
    if "\r" in "".join(itertools.chain(*rows)):
        end = "\r\n"  # With others Python's writer leaves a lone "\r" out of quotes.
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    writer.writerows([[f"c{i}" for i in range(width)], *written])
    try:
        table = parse(stream.getvalue().encode(encoding), delimiter=delimiter)
    except UserError:
        assert bad is not None
        return
    wanted = [[cell.strip() for cell in row] for row in rows]
    if bad is None:
        assert rows_of(table) == wanted
    elif change > 0:  # A table of one row with a row name.
        assert len(rows) == 1 and table.notes
    else:  # A row of nothing is an empty line.
        assert width == 2 and wanted[bad][0] == ""
