"""Logs of model servers and web servers, in the forms in which they write them."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.api import audit
from bench.contract import UserError
from tests.engine.test_audit_logs import lines, load, write

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
        assert len(content["alice"]) == 4
    with pytest.raises(UserError, match=r"no account.*metadataHeaders"):
        load(path, tmp_path, "kserve")


def test_kserve_events_as_knative_displays_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = []
    for event in events("org.kubeflow.serving.inference", *V1):
        data = json.dumps(event.pop("data"), indent=2).splitlines()
        inner = [f"  {name}: {event.pop(name)}" for name in ("specversion", "type", "id", "time")]
        more = [f"  {name}: {value}" for name, value in event.items()]
        text += ["☁️  cloudevents.Event", "Validation: valid", "Context Attributes,", *inner]
        text += ["Extensions,", *more, "Data,", *(f"  {line}" for line in data), "", ""]
    path = lines(tmp_path / "dump.log", *text)
    assert load(path, tmp_path, "kserve", {"account": "metadata.x-user"})[1] == WANTED
    piped = io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    monkeypatch.setattr(sys, "stdin", piped)
    assert load("-", tmp_path, "kserve", {"account": "metadata.x-user"})[1] == WANTED


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


def test_a_caller_can_stop_no_audit_nor_hide_in_it(tmp_path: Path) -> None:
    request, response = events("org.kubeflow.serving.inference", *V1)[::-1]
    odd: list[Any] = [{"instances": [["x", 1, 2]]}, {"instances": [[1]]}, {"a": [1]}, "{", None]
    odd += [
        {"instances": [{"time": 5, "account": "bob"}]},
        {"inputs": 3},
        {"inputs": [[1e300] * 4]},
    ]
    rows = [request, *(request | {"data": body} for body in odd), response, request, response]
    path = lines(tmp_path / "l.jsonl", *map(json.dumps, rows))
    log, content = load(path, tmp_path, "kserve", {"account": "metadata.x-user"})
    assert list(content) == ["alice"]
    assert log.plan.records == ("x0", "x1", "x2", "x3")
    fit = [q for q in content["alice"] if q[2][0] == q[2][0]]
    assert len(fit) == 4 and len(content["alice"]) == 4 + len(odd)
    assert any(f"{len(odd)} queries hold no record like most" in note for note in log.notes)


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


def test_bodies_alike_in_nothing_are_no_records(tmp_path: Path) -> None:
    """Half of the accounts send one field, half another: no record has both."""
    rows = [
        {"time": i, "account": f"u{i % 40}", "request": {"instances": [{"ab"[i % 2]: i}]}}
        for i in range(400)
    ]
    path = lines(tmp_path / "l.jsonl", *map(json.dumps, rows))
    with pytest.raises(UserError, match="too few records to say what is ordinary"):
        audit(path, format="v2")
    assert audit(path, format="v2", detectors=["volume"]).audited == 40


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_kserve_logs_from_a_bucket(tmp_path: Path, ending: str) -> None:
    """Its logger's store keeps headers and bodies, but no time: a header must tell it."""
    rows = [
        {
            "id": "689b15e7",
            "reqType": f"org.kubeflow.serving.inference.{name}",
            "bytes": base64.b64encode(json.dumps(body).encode()).decode(),
            "metadata": json.dumps({"X-User": ["alice"], "X-Time": ["1680680393500"]}),
        }
        for name, body in zip(("request", "response"), V1, strict=True)
    ]
    path = tmp_path / f"l.{ending}"
    if ending == "csv":
        write(rows, path)
    else:
        path.write_text(
            json.dumps([row | {"metadata": json.loads(row["metadata"])} for row in rows])
        )
    names = {"account": "metadata.X-User", "time": "metadata.X-Time"}
    assert load(path, tmp_path, "kserve", names)[1] == WANTED
    with pytest.raises(UserError, match="item 1 has no time"):
        load(path, tmp_path, "kserve", {"account": "metadata.X-User"})
