"""What is read of a log: the same from every format, and nothing that is not there."""

from __future__ import annotations

import base64
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
TEXTS = st.one_of(
    st.binary(max_size=200),
    st.lists(TOKENS, max_size=40).map(lambda parts: "".join(parts).encode()),
    st.lists(TOKENS, max_size=20).map(
        lambda parts: ("time,account,label,x0\n" + "".join(parts)).encode()
    ),
)


@settings(LOOSE, max_examples=200)
@given(data=TEXTS, form=st.sampled_from(FORMATS), packed=st.booleans())
def test_any_bytes_are_a_log_or_a_mistake(
    tmp_path: Path, data: bytes, form: str, packed: bool
) -> None:
    path = tmp_path / ("log.csv" if form in ("v2", "mlflow") else "log")
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
    if values[0].isdigit():
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


# ---------------------------------------------------------------- model servers
IRIS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
V1 = ({"instances": IRIS}, {"predictions": [1, 2]})
V2 = (
    {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [*IRIS[0], *IRIS[1]]}]},
    {"outputs": [{"name": "y", "shape": [2], "datatype": "INT64", "data": [1, 2]}]},
)
SELDON = (
    {"data": {"names": ["x0", "x1", "x2", "x3"], "ndarray": IRIS}},
    {"data": {"names": ["t:0", "t:1", "t:2"], "ndarray": [[0.1, 0.8, 0.1], [0.1, 0.2, 0.7]]}},
)
WANTED = {"alice": [(1680680393.5, str(i + 1), pytest.approx(x)) for i, x in enumerate(IRIS)]}


def events(kind: str, request: Any, response: Any) -> list[dict[str, Any]]:
    """Two CloudEvents as KServe's logger sends them, the response first."""
    shared = {
        "specversion": "1.0",
        "source": "http://localhost:9081/",
        "id": "689b15e7",
        "inferenceservicename": "iris",
        "metadata": json.dumps({"x-user": ["alice"]}),
    }
    kinds = (("response", response, "53.6"), ("request", request, "53.5"))
    return [
        shared | {"type": f"{kind}.{name}", "time": f"2023-04-05T07:39:{second}Z", "data": body}
        for name, body, second in kinds
    ]


@pytest.mark.parametrize("bodies", [V1, V2])
@pytest.mark.parametrize("coded", [lambda b: b, json.dumps, "base64"])
def test_kserve_events_are_joined(tmp_path: Path, bodies: Any, coded: Any) -> None:
    if coded == "base64":
        parts = [base64.b64encode(json.dumps(body).encode()).decode() for body in bodies]
    else:
        parts = [coded(body) for body in bodies]
    rows = events("org.kubeflow.serving.inference", *parts)
    orphan = rows[1] | {"id": "lost", "time": "2023-04-05T07:39:54Z"}
    text = [json.dumps(row) for row in [*rows, orphan]]
    for path in (
        lines(tmp_path / "l.jsonl", *text),
        lines(tmp_path / "l.json", "[", ",\n".join(text), "]"),
    ):
        log, content = load(path, tmp_path, "kserve", {"account": "metadata.x-user"})
        assert content["alice"][:2] == WANTED["alice"]
        assert [q[1] for q in content["alice"][2:]] == ["", ""]
        assert any("1 requests have no response" in note for note in log.notes)
    with pytest.raises(UserError, match=r"no account.*metadataHeaders"):
        load(path, tmp_path, "kserve")


def test_kserve_events_as_knative_displays_them(tmp_path: Path) -> None:
    text = []
    for event in events("org.kubeflow.serving.inference", *V1):
        data = json.dumps(event.pop("data"), indent=2).splitlines()
        inner = [f"  {name}: {event.pop(name)}" for name in ("specversion", "type", "id", "time")]
        more = [f"  {name}: {value}" for name, value in event.items()]
        text += ["☁️  cloudevents.Event", "Validation: valid", "Context Attributes,", *inner]
        text += ["Extensions,", *more, "Data,", *(f"  {line}" for line in data), "", ""]
    path = lines(tmp_path / "dump.log", *text)
    assert load(path, tmp_path, "kserve", {"account": "metadata.x-user"})[1] == WANTED


def test_seldon_events_as_its_dumper_and_its_store_hold_them(tmp_path: Path) -> None:
    dumped, stored = [], {}
    for name, body in zip(("request", "response"), SELDON, strict=True):
        head = {
            "ce-type": f"io.seldon.serving.inference.{name}",
            "ce-requestid": "b604",
            "ce-time": "2023-04-05T07:39:53.5Z",
            "x-user": "alice",
        }
        dumped.append({"path": "/", "headers": head, "method": "POST", "body": json.dumps(body)})
        stored[name] = {"payload": body, "dataType": "tabular"}
    path = lines(tmp_path / "l.jsonl", *map(json.dumps, dumped))
    assert load(path, tmp_path, "seldon", {"account": "headers.x-user"})[1] == WANTED
    hit = {"_source": {"@timestamp": "2023-04-05T07:39:53.5Z", "RequestId": "m1", "user": "alice"}}
    hit["_source"] |= stored
    path = lines(tmp_path / "l.jsonl", json.dumps(hit))
    assert load(path, tmp_path, "seldon", {"account": "user"})[1] == WANTED


@pytest.mark.parametrize(
    "request_body",
    [
        {"dataframe_split": {"columns": ["x0", "x1", "x2", "x3"], "data": IRIS}},
        {"dataframe_records": [dict(zip("abcd", row, strict=True)) for row in IRIS]},
        {"inputs": IRIS},
        {"inputs": {name: [row[i] for row in IRIS] for i, name in enumerate("abcd")}},
        V1[0],
    ],
)
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_mlflow_tables_are_read(tmp_path: Path, request_body: Any, ending: str) -> None:
    row = {
        "databricks_request_id": "d1",
        "timestamp_ms": 1680680393500,
        "status_code": 200,
        "requester": "alice",
        "request": json.dumps(request_body),
        "response": json.dumps({"predictions": [1, 2]}),
    }
    path = write([row], tmp_path / f"l.{ending}")
    assert load(path, tmp_path, "mlflow", {"account": "requester"})[1] == WANTED


def test_v2_scores_and_other_answers(tmp_path: Path) -> None:
    def outputs(*tensors: dict[str, Any]) -> str:
        row = {"time": 1680680393.5, "account": "alice", "request": V2[0]}
        return json.dumps(row | {"response": {"outputs": list(tensors)}})

    label = {"name": "y", "shape": [2], "datatype": "INT64", "data": [1, 2]}
    wide = {"name": "p", "shape": [2, 3], "datatype": "FP32", "data": [0, 1, 0, 0.1, 0.2, 0.7]}
    short = {"name": "y", "shape": [3], "datatype": "INT64", "data": [1, 2, 3]}
    for text in (outputs(label), outputs(label, wide), outputs(wide)):
        assert load(lines(tmp_path / "l.jsonl", text), tmp_path, "v2")[1] == WANTED
    log, content = load(lines(tmp_path / "l.jsonl", outputs(short)), tmp_path, "v2")
    assert [q[1] for q in content["alice"]] == ["", ""]
    assert any("1 calls have another number of answers" in note for note in log.notes)
    with pytest.raises(UserError, match=r"--map x0=\.\.\. has no use for format v2"):
        load(tmp_path / "l.jsonl", tmp_path, "v2", {"x0": "age"})


# ---------------------------------------------------------------- access logs
def test_nginx_and_uvicorn_say_who_asked_when(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "access.log",
        '10.0.0.1 - - [10/Oct/2025:13:55:36 +0000] "POST /predict HTTP/1.1" 200 12 "-" "curl"',
        '10.0.0.1 - ann [10/Oct/2025:15:55:37 +0200] "POST /predict HTTP/1.1" 429 12 "-" "c \\"" x',
        '::1 - - [10/Oct/2025:13:55:38 +0000] "GET /healthz HTTP/1.1" 200 2',
        "garbage",
    )
    log, content = load(path, tmp_path, "nginx", prefix="/predict")
    start = 1760104536.0
    assert content == {"10.0.0.1": [(start, "", ())], "ann": [(start + 1, "", ())]}
    assert "an access log shows who asked when" in log.lacks["x"]
    notes = " ".join(log.notes)
    for words in (
        "1 lines are no requests",
        "1 requests to other paths",
        "1 requests name no user",
    ):
        assert words in notes
    path = lines(
        tmp_path / "u.log",
        "INFO:     Application startup complete.",
        '2025-10-10 13:55:36,250 \x1b[32mINFO\x1b[0m: 127.0.0.1:52314 - "POST /p HTTP/1.1" 200 OK',
    )
    _, content = load(path, tmp_path, "uvicorn")
    assert content == {"127.0.0.1": [(start + 0.25, "", ())]}
    bare = lines(tmp_path / "u.log", 'INFO:     127.0.0.1:52314 - "POST /p HTTP/1.1" 200 OK')
    with pytest.raises(UserError, match=r"line 1 has no time.*--log-config"):
        load(bare, tmp_path, "uvicorn")
    with pytest.raises(UserError, match="no request in the form of nginx"):
        load(bare, tmp_path, "nginx")


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
