"""Reads the request logs of model servers: KServe, Seldon, MLflow, and V2 bodies in general.

KServe and Seldon log the request and the response of a call as two CloudEvents with one id; tables
of MLflow's serving have both in one row. Who asked is in none of them by itself.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from bench.contract import UserError, nearest, require
from bench.contract.documents import parse_json
from bench.engine.audit.files import Source, lines
from bench.engine.audit.payloads import Row, answers, records
from bench.engine.audit.tables import batches, objects

_WAITING = 100_000
"""Requests that are held until their response comes."""


@dataclass(frozen=True)
class Wire:
    """Names of the fields of a log, in lower case, the first that is there counts.

    Attributes:
        time, account: as it says.
        id: what joins a request with its response.
        kind: the type of an event; none: every row is a whole call.
        body: of an event.
        advice: how to log who asks.
    """

    time: tuple[str, ...]
    account: tuple[str, ...]
    id: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    advice: str = "log the caller in a column of its own and give --map account=NAME"


_WIRES = {
    "v2": Wire(("time",), ("account",)),
    "mlflow": Wire(("time", "timestamp_ms", "request_time"), ("account",)),
    "kserve": Wire(
        ("time", "ce-time"),
        ("account",),
        ("id", "ce-id"),
        ("type", "reqtype", "ce-type"),
        ("data", "data_base64", "bytes"),
        "name a header that tells the caller under metadataHeaders of the inference service's "
        "logger, and give --map account=metadata.HEADER",
    ),
    "seldon": Wire(
        ("time", "@timestamp", "headers.ce-time", "ce-time", "request.ce-time"),
        ("account",),
        ("requestid", "headers.ce-requestid", "ce-requestid", "headers.ce-id"),
        ("headers.ce-type", "ce-type", "type"),
        ("json", "body", "data"),
        "log a header that tells the caller and give --map account=headers.HEADER",
    ),
}
_PAYLOADS = {"request", "response", "data", "data_base64", "bytes", "json", "body"}
_TEXTS = {"metadata", "annotations", "request_metadata"}
"""Fields that may hold a JSON object as text."""


@dataclass
class _Counts:
    calls: int = 0
    unanswered: int = 0
    orphans: int = 0
    unread: int = 0
    mismatched: int = 0


def calls(log: Source, mapping: Mapping[str, str], notes: list[str]) -> Iterator[pa.Table]:
    """Rows of a request log, one a record that was asked about.

    Args:
        log: a log of one of the formats of ``_WIRES``.
        mapping: the names of the fields ``time`` and ``account``, where they are others.
        notes: gets sentences on what was left out.

    Raises:
        UserError: it cannot be read, or does not say who asked when.
    """
    wire = _WIRES[log.format]
    other = sorted(set(mapping) - {"time", "account"})
    require(
        not other,
        f"--map {(other or [''])[0]}=... has no use for format {log.format}, whose requests and "
        "responses say what is what; map 'time' and 'account'.",
    )
    wire = replace(
        wire,
        time=(mapping["time"].lower(),) if "time" in mapping else wire.time,
        account=(mapping["account"].lower(),) if "account" in mapping else wire.account,
    )
    counts = _Counts()

    def rows() -> Iterator[Row]:
        pairs = _whole(log) if not wire.kind else _joined(log, wire, counts)
        for number, fields, request, response in pairs:
            yield from _rows(log, wire, number, fields, request, response, counts)

    yield from batches(rows())
    for count, words in (
        (counts.unread, "calls hold no record in a known form and count as one query each"),
        (counts.unanswered, "requests have no response"),
        (counts.orphans, "responses have no request and were left out"),
        (counts.mismatched, "calls have another number of answers than of records: not read"),
    ):
        if count:
            notes.append(f"{log}: {count:,} {words}.")


def _rows(
    log: Source,
    wire: Wire,
    number: int,
    fields: Mapping[str, Any],
    request: Any,
    response: Any,
    counts: _Counts,
) -> Iterator[Row]:
    known: Row = {}
    for role, names in (("time", wire.time), ("account", wire.account)):
        value = next((fields[n] for n in names if fields.get(n) not in (None, "")), None)
        advice = wire.advice if role == "account" else "give --map time=NAME"
        require(
            value is not None,
            f"{log}, item {number} has no {role} ('{names[0]}'); {advice}."
            f"{nearest(names[0], fields)}",
        )
        known[role] = value
    counts.calls += 1
    asked, answered = records(request), answers(response)
    counts.unread += not asked
    if len(answered) not in (0, max(len(asked), 1)):
        counts.mismatched += 1
        answered = []
    for place, record in enumerate(asked or [{}]):
        yield known | record | (answered[place] if answered else {})


def _whole(log: Source) -> Iterator[tuple[int, dict[str, Any], Any, Any]]:
    for number, item in objects(log):
        bodies = {name.lower(): value for name, value in item.items()}
        require(
            "request" in bodies,
            f"{log}, item {number} has no 'request'; format {log.format} has the bodies of a call "
            "as 'request' and 'response'.",
        )
        request, response = (_body(bodies.get(key)) for key in ("request", "response"))
        yield number, _fields(item), request, response


def _joined(
    log: Source, wire: Wire, counts: _Counts
) -> Iterator[tuple[int, dict[str, Any], Any, Any]]:
    """Calls, put together of events; a response may come before its request."""
    requests: dict[str, tuple[int, dict[str, Any], Any]] = {}
    responses: dict[str, Any] = {}
    for number, event in _events(log):
        fields = _fields(event)
        kind = str(next((fields[n] for n in wire.kind if fields.get(n)), ""))
        bodies = {name.lower(): value for name, value in event.items()}
        if not kind and "request" in bodies:  # as Seldon's request logger stores them
            yield number, fields, _body(bodies["request"]), _body(bodies.get("response"))
            continue
        require(
            kind.endswith((".request", ".response")) or "inference" in kind,
            f"{log}, item {number} is no event of {log.format}: its type is '{kind}', not one "
            "that ends in '.inference.request' or '.inference.response'.",
        )
        key = str(next((fields[n] for n in wire.id if fields.get(n)), f"\0{number}"))
        body = next((bodies[n] for n in wire.body if bodies.get(n) is not None), None)
        if kind.endswith(".request"):
            if key in responses:
                yield number, fields, _body(body), responses.pop(key)
                continue
            if key in requests:  # callers may choose ids: none of their queries must get lost
                counts.unanswered += 1
                yield *requests.pop(key), None
            requests[key] = (number, fields, _body(body))
        elif kind.endswith(".response"):
            if key in requests:
                yield *requests.pop(key), _body(body)
            else:
                counts.orphans += key in responses
                responses[key] = _body(body)
        if len(requests) > _WAITING:
            counts.unanswered += 1
            yield *requests.pop(next(iter(requests))), None
        if len(responses) > _WAITING:
            counts.orphans += 1
            del responses[next(iter(responses))]
    counts.unanswered += len(requests)
    counts.orphans += len(responses)
    for waiting in requests.values():
        yield *waiting, None


def _events(log: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of JSON, or what Knative's event display prints."""
    read: Iterable[tuple[int, bytes]] | None = None
    if log.container == "jsonl":
        rest = lines(log)
        first = list(itertools.islice(rest, 1))
        read = itertools.chain(first, rest)
        if first and b"cloudevents.Event" in first[0][1]:
            yield from _displayed(read)
            return
    for number, item in objects(log, read):
        inner = item.get("_source", item)  # of a search in Elasticsearch
        yield number, inner if isinstance(inner, dict) else item


def _displayed(read: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, dict[str, Any]]]:
    event: dict[str, Any] = {}
    data: list[str] = []
    part, number = "", 0
    for _, line in read:
        text = line.decode("utf-8", "backslashreplace").rstrip()
        if "cloudevents.Event" in text:
            if number:
                yield number, event | {"data": "\n".join(data)}
            event, data, part, number = {}, [], "", number + 1
        elif text in ("Context Attributes,", "Extensions,", "Data,"):
            part = text
        elif part == "Data,":
            data.append(text)
        elif part:
            name, _, value = text.strip().partition(":")
            event[name] = value.strip()
    if number:
        yield number, event | {"data": "\n".join(data)}


def _fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """Plain fields outside the bodies by their dotted name in lower case."""
    fields: dict[str, Any] = {}
    level: list[tuple[str, Any]] = [
        (name.lower(), value) for name, value in event.items() if name.lower() not in _PAYLOADS
    ]
    while level:
        name, value = level.pop()
        if name in _TEXTS and isinstance(value, str):
            value = _body(value)
        if isinstance(value, Mapping):
            level += [(f"{name}.{key.lower()}", item) for key, item in value.items()]
        elif isinstance(value, list):
            level += [(name, value[0])] if len(value) == 1 else []
        else:
            fields[name] = value
    return fields


def _body(value: Any) -> Any:
    """A body: an object, or one as JSON text, which may be in base64; None where it is neither."""
    if not isinstance(value, str):
        return value
    for text in (value, _decoded(value)):
        if text.lstrip()[:1] in ("{", "["):
            try:
                return parse_json(text, "the body")
            except UserError:
                return None
    return None


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
