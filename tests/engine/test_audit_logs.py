"""What is read of a log: the same from every format, and nothing that is not there."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.engine.audit.files import FORMATS, source
from bench.engine.audit.log import Log, read

Content = dict[str, list[tuple[float, str, tuple[float, ...]]]]
LOOSE = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def load(
    path: Path | str,
    folder: Path,
    form: str | None = None,
    mapping: Mapping[str, str] | None = None,
    unit: str | None = None,
    prefix: str = "",
    classes: dict[str, int] | None = None,
) -> tuple[Log, Content]:
    """The log and its queries: time, label ("" for none) and record, by account."""
    numbered = {} if classes is None else classes
    place = folder / "parts"
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    log = read(source(path, form), numbered, mapping or {}, place, unit, prefix)
    names = {number: name for name, number in numbered.items()} | {-1: ""}
    content = {}
    for account in log.accounts(log.plan.records):
        q = account.queries
        labels = [""] * len(q) if q.label is None else [names[v] for v in q.label.tolist()]
        xs = [()] * len(q) if q.x is None else [tuple(row) for row in q.x.tolist()]
        rows = zip(q.time.tolist(), labels, xs, strict=True)
        content[log.names[account.number]] = list(rows)
    return log, content


def write(rows: list[dict[str, Any]], path: Path) -> Path:
    """Rows of text and numbers as the ending of ``path`` says."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    else:
        frame = pd.DataFrame(rows)
        out = io.BytesIO()
        frame.to_parquet(out) if name.endswith(".parquet") else frame.to_csv(out, index=False)
        data = out.getvalue()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def lines(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


# Text that readers of tables take for something else.
NAMES = st.sampled_from(["None", "NA", "null", "nan", "007", "7", "a,b", 'say "x"', "ü", "#1"])
LABELS = st.sampled_from(["", "None", "NA", "null", "0", "1", "yes", "true"])
FINITE = st.floats(-1e6, 1e6, width=32)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.integers(1_600_000_000, 1_700_000_000),
            "account": NAMES,
            "label": LABELS,
            "x0": FINITE,
            "income": FINITE,
        }
    ),
    min_size=1,
    max_size=30,
)


@LOOSE
@given(rows=ROWS, factor=st.sampled_from([1, 1000, 10**6]))
def test_every_format_holds_the_same(tmp_path: Path, rows: list[Any], factor: int) -> None:
    wanted: Content = {}
    for row in sorted(rows, key=lambda r: r["time"]):
        record = (row["x0"],)
        wanted.setdefault(row["account"], []).append((float(row["time"]), row["label"], record))
    scaled = [row | {"time": row["time"] * factor} for row in rows]
    for ending in ("csv", "jsonl", "parquet", "csv.gz", "jsonl.gz", "parquet.gz"):
        log, content = load(write(scaled, tmp_path / f"log.{ending}"), tmp_path)
        assert log.plan.records == ("x0",) and log.scale.dated
        assert content.keys() == wanted.keys()
        for account, queries in content.items():
            assert [q[1:] for q in queries] == [q[1:] for q in wanted[account]], ending
            times = [q[0] for q in queries]
            assert times == pytest.approx([q[0] for q in wanted[account]], abs=1e-3)


TOKENS = st.sampled_from(
    [
        *("time", "account", "label", "x0", "score", ",", ";", "\n", '"', "0", "1", "1e999", "nan"),
        *("a", "-1", "20251011143000", "2025-10-11T00:00:00Z", "{", "}", "[", "]", ":", "null"),
        *('{"time": 1, "account": "a"}\n', '{"request": {"inputs": [{"shape": [1e9], "data": 1}]}'),
        *('"type": "x.inference.request"', " - - [10/Oct/2025:13:55:36 +0000] ", '"GET / H" 200 1'),
        *("\ufeff", "\x00", "ü", "1.2.3.4", "\U0001f600"),
    ]
)
CELLS = st.sampled_from(
    [
        *("0", "1", "1760192996", "20251011143000", "2025-10-11", "a", "", " ", "nan", "1e999"),
        *("-1", "0.5", "true", '"a,b"', '"\n"', "99999999999999999999999", "ü", "\x00"),
    ]
)
FIELDS = st.sampled_from(
    [
        *("time", "account", "label", "score", "score0", "x0", "inputs", "instances", "data"),
        *("shape", "predictions", "request", "response", "outputs", "ndarray", "names"),
    ]
)
JSONS = st.recursive(
    st.sampled_from([None, True, 0, -1, 0.5, 1760192996, 10**30, "", "a", "2025-10-11T00:00:00Z"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(FIELDS, inner, max_size=4),
    ),
    max_leaves=12,
)
KINDS = st.sampled_from(["a.inference.request", "a.inference.response"])
CALLS = st.fixed_dictionaries(
    {
        "time": st.sampled_from([1760192996, 1760192999, "2025-10-11T00:00:00Z"]),
        "account": st.sampled_from(["a", "b", 7]),
    },
    optional={"type": KINDS, "id": st.sampled_from("12"), "data": JSONS, "request": JSONS}
    | {"response": JSONS, "label": JSONS, "x0": JSONS, "score": JSONS},
)
TEXTS = st.one_of(
    st.binary(max_size=200),
    st.lists(TOKENS, max_size=40).map(lambda parts: "".join(parts).encode()),
    st.lists(st.lists(CELLS, min_size=3, max_size=5), max_size=4).map(
        lambda rows: "\n".join(["time,account,label,x0", *map(",".join, rows)]).encode()
    ),
    st.lists(CALLS, max_size=5).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
)


@settings(LOOSE, max_examples=200)
@given(data=TEXTS, form=st.sampled_from(FORMATS), packed=st.booleans())
def test_any_bytes_are_a_log_or_a_mistake(
    tmp_path: Path, data: bytes, form: str, packed: bool
) -> None:
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(data) if packed else data)
    try:
        log, content = load(path, tmp_path, form)
    except UserError as error:
        assert str(error).endswith(".")
        return
    assert sum(map(len, content.values())) == log.count > 0


# ---------------------------------------------------------------- tables as they come
def test_a_last_comma_in_every_row_shifts_nothing(tmp_path: Path) -> None:
    rows = ["1,a,0,5.5,", "2,b,1,6.5,"]
    wanted = load(
        lines(tmp_path / "p.csv", "time,account,label,x0", *(r[:-1] for r in rows)), tmp_path
    )
    for head in ("time,account,label,x0", "time,account,label,x0,"):
        assert load(lines(tmp_path / "l.csv", head, *rows), tmp_path)[1] == wanted[1]
    with_names = [f"{i},{row[:-1]}" for i, row in enumerate(rows)]  # as R writes
    assert (
        load(lines(tmp_path / "l.csv", "time,account,label,x0", *with_names), tmp_path)[1]
        == wanted[1]
    )
    with pytest.raises(UserError, match="row 2 has a value in a column without a name"):
        load(lines(tmp_path / "l.csv", "time,account,label,x0", rows[0], rows[1] + "7"), tmp_path)
    with pytest.raises(UserError, match="Expected 4 columns, got 3"):
        load(lines(tmp_path / "l.csv", "time,account,label,x0", rows[0][:-1], "2,b,1"), tmp_path)


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names the column 'time' twice"):
        load(lines(tmp_path / "l.csv", "time,account,time", "1,a,2"), tmp_path)
    with pytest.raises(UserError, match="'time' is given twice"):
        load(lines(tmp_path / "l.jsonl", '{"time": 1, "time": 2, "account": "a"}'), tmp_path)


def test_semicolons_and_other_names_are_read(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "l.csv", "ts;user_id;answer;age;zip", "1;u;yes;30;8000", "2;v;no;40;9000"
    )
    names = {"time": "ts", "account": "user_id", "label": "answer", "x0": "age"}
    log, content = load(path, tmp_path, mapping=names)
    assert content == {"u": [(1.0, "yes", (30.0,))], "v": [(2.0, "no", (40.0,))]}
    assert "Not looked at: zip" in log.notes[0]


def test_nothing_is_read_from_gaps(tmp_path: Path) -> None:
    head = "time,account,label,x0"
    for row, message in (
        (",a,0,1", "row 2 has no time"),
        ("2,,0,1", "row 2 has no account"),
        ("2,a,0,", "in row 2 it is empty"),
        ("2,a,0,nan", "in row 2 it is 'nan'"),
        ("2,a,0,1e300", "in row 2 it is '1e300'"),
    ):
        with pytest.raises(UserError, match=message):
            load(lines(tmp_path / "l.csv", head, "1,a,0,1", row), tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.engine.audit.files.FREE", 1 << 16)
    path = tmp_path / "l.csv.gz"
    path.write_bytes(gzip.compress(b"time,account\n" + b"1,a\n" * 100_000))
    with pytest.raises(UserError, match="unpacks to more than 200 times"):
        load(path, tmp_path)
    path.write_bytes(gzip.compress(b"time,account\n1,a\n")[:-6])
    with pytest.raises(UserError, match="cannot be read"):
        load(path, tmp_path)


def test_what_does_not_fit_lies_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"time": i, "account": f"u{i % 7}", "label": str(i % 3), "x0": i / 2} for i in range(500)
    ]
    path = write(rows, tmp_path / "l.jsonl")
    wanted = load(path, tmp_path)[1]
    monkeypatch.setattr("bench.engine.audit.log.HELD", 1000)
    monkeypatch.setattr("bench.engine.audit.tables.ROWS", 40)
    assert load(path, tmp_path)[1] == wanted
    on_disk = sum(part.stat().st_size for part in (tmp_path / "parts").iterdir())
    assert 400 * 20 < on_disk <= 500 * 20  # bytes of a query with one number


# ---------------------------------------------------------------- times
@pytest.mark.parametrize(
    ("values", "words", "first"),
    [
        (["1760192996", "1760192999"], "seconds since 1970", "2025-10-11T14:29:56Z"),
        (["1760192996500", "1760192999000"], "milliseconds", "2025-10-11T14:29:56.500Z"),
        (["1760192996500000", "1760192999000000"], "microseconds", "2025-10-11T14:29:56.500Z"),
        (["1760192996500000000", "1760192999000000000"], "nanoseconds", "2025-10-11T14:29:56.500Z"),
        (["20251011143000", "20251011143001"], "digits", "2025-10-11T14:30:00Z"),
        (["2025-10-11T14:30:00Z", "2025-10-11T16:30:01+02:00"], "ISO", "2025-10-11T14:30:00Z"),
        (["2025-10-11 14:30:00", "2025-10-11 14:30:01"], "taken for UTC", "2025-10-11T14:30:00Z"),
        (["[11/Oct/2025:16:30:00 +0200]"] * 2, "access log", "2025-10-11T14:30:00Z"),
        (["0", "90.5"], "seconds from an unstated start", "0"),
    ],
)
def test_times_are_understood_and_said(
    tmp_path: Path, values: list[str], words: str, first: str
) -> None:
    rows = [{"time": value, "account": "a"} for value in values]
    shown = []
    for ending in ("csv", "jsonl", "parquet"):
        log, _ = load(write(rows, tmp_path / f"l.{ending}"), tmp_path)
        assert words in log.notes[0]
        shown.append(log.scale.show(log.first))
    assert shown == [first] * 3
    if all(value.isdigit() for value in values):
        whole = [row | {"time": int(row["time"])} for row in rows]
        log, _ = load(write(whole, tmp_path / "l.jsonl"), tmp_path)
        assert log.scale.show(log.first) == first
        numbers = [row | {"time": float(row["time"])} for row in rows]
        log, _ = load(write(numbers, tmp_path / "l.parquet"), tmp_path)
        assert log.scale.show(log.first) == first


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1760192996", "1760192996500"], "row 2 has the time '1760192996500'.*seconds since 1970"),
        (["1760192996", "2025-10-11"], "row 2 has the time '2025-10-11', unlike"),
        (["2025-10-11", "1760192996"], "row 2 has the time '1760192996'"),
        (["2025-10-11T00:00:00Z", "2025-10-11T00:00:00"], "row 2 has the time"),
        (["20251011143000", "20251399000000"], "row 2 has the time '20251399000000'"),
        (["2025-02-30"], "row 1 has the time '2025-02-30'"),
        (["1850-01-01"], "row 1 has the time '1850-01-01'"),
        (["20251011"], "'20251011', which is no time"),
        (["-5", "7"], "row 1 has the time '-5'"),
        (["99999999"], "--time-unit"),
        (["14:30:00"], "row 1 has the time '14:30:00'"),
    ],
)
def test_implausible_times_are_refused(tmp_path: Path, values: list[str], message: str) -> None:
    rows = [{"time": value, "account": "a"} for value in values]
    for ending in ("csv", "parquet"):
        with pytest.raises(UserError, match=message):
            load(write(rows, tmp_path / f"l.{ending}"), tmp_path)


def test_a_stated_unit_is_taken(tmp_path: Path) -> None:
    path = lines(tmp_path / "l.csv", "time,account", "99999999000,a", "99999999500,a")
    log, content = load(path, tmp_path, unit="ms")
    assert [q[0] for q in content["a"]] == [99999999.0, 99999999.5]
    assert not log.scale.dated and "as stated" in log.notes[0]


def test_labels_of_two_logs_are_numbered_together(tmp_path: Path) -> None:
    classes: dict[str, int] = {}
    load(
        lines(tmp_path / "a.csv", "time,account,label", "1,a,yes", "2,a,no"),
        tmp_path,
        classes=classes,
    )
    _, content = load(
        lines(tmp_path / "b.csv", "label,account,time", "no,a,1", "None,a,2"),
        tmp_path,
        classes=classes,
    )
    assert classes == {"yes": 0, "no": 1, "None": 2}
    assert content["a"] == [(1.0, "no", ()), (2.0, "None", ())]
