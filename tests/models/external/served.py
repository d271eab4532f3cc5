"""A real HTTP server on this machine with a small model, which counts what it is asked."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = ("a", "b", "c")
COLUMNS = ("age", "income", "city")
_WEIGHTS = np.array([[0.5, -1.0, 0.3], [0.2, 0.7, -0.9], [-0.4, 0.1, 0.6]])
_CITIES = {"Bern": 0.5, "Rome": -1.5, None: 0.0}

Scripted = tuple[int, dict[str, str], bytes]
"""A status, headers and a body to answer with."""


def probabilities(x: Any) -> npt.NDArray[np.float64]:
    """What the model answers for records of three numbers."""
    logits = np.asarray(x, dtype=np.float64).reshape(len(x), 3) @ _WEIGHTS
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def encoded(records: list[list[Any]]) -> list[list[float]]:
    """Records of a table as the model's three numbers; a city is a number already or a text."""
    return [
        [float(v) if isinstance(v, int | float) else _CITIES[v] for v in record]
        for record in records
    ]


class Served:
    """The server, within a ``with`` block.

    Args:
        port: 0: any free one.
        asked: counts of records, to go on with.
        dies_after: records after which it stops, in the middle of a request.
        a_second: requests a second, above which it answers 429.
        most: records a request, above which it answers 413 (or ``too_large``).
        labels: whether it answers labels only.
        digits: to which it rounds; None: not.
        top: scores that it leaves in each row; None: all.
        noise: whether the answer to a record differs each time.
        metadata: what it says of itself by kserve; None: it does not.
        always: what it answers to every question.
        slow_s: seconds that it takes for each request.
        tls: the path of a certificate with its key, for https.
    """

    def __init__(self, *, port: int = 0, asked: Counter[str] | None = None, **ways: Any) -> None:
        self.port = port
        self.asked: Counter[str] = asked if asked is not None else Counter()
        self.dies_after: int | None = None
        self.a_second: float | None = None
        self.most: int | None = None
        self.too_large = 413
        self.labels = False
        self.digits: int | None = None
        self.top: int | None = None
        self.noise = False
        self.metadata: dict[str, Any] | None = None
        self.always: Scripted | None = None
        self.slow_s = 0.0
        self.tls: Path | None = None
        self.content_type = "application/json"
        for name, value in ways.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        self.script: deque[Scripted | None] = deque()
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.gets = 0
        self.refused = 0
        self.dead = False
        self._free_at = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Served:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        if self.tls is not None:
            protected = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            protected.load_cert_chain(self.tls)
            # The handshake is made by the thread of each request, not by the one that accepts.
            self._server.socket = protected.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.dead = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str = "") -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{path}"

    @property
    def total(self) -> int:
        return self.asked.total()

    def die(self) -> None:
        self.dead = True
        threading.Thread(target=self._server.shutdown).start()
        self._server.socket.close()

    def scripted(self) -> Scripted | None:
        """What to answer instead of what the model says."""
        with self._lock:
            if self.script:
                return self.script.popleft()
            if self.always is not None:
                return self.always
            if self.a_second is not None:
                now = time.monotonic()
                if now < self._free_at:
                    self.refused += 1
                    left = f"{self._free_at - now:.3f}"
                    return (429, {"Retry-After": left}, b'{"error": "too many requests"}')
                self._free_at = now + 1 / self.a_second
        return None

    def answer(self, records: list[list[Any]]) -> Any:
        """Scores or labels of records, each of which is counted."""
        times = []
        with self._lock:
            for record in records:
                self.asked[json.dumps(record)] += 1
                times.append([self.asked[json.dumps(record)]])
        scores = probabilities(encoded(records))
        if self.noise:
            scores = scores + 0.001 * np.array(times)
        if self.labels:
            return [int(place) for place in scores.argmax(axis=1)]
        if self.top is not None:
            cut = np.sort(scores, axis=1)[:, -self.top][:, None]
            scores = np.where(scores >= cut, scores, 0.0)
        if self.digits is not None:
            scores = scores.round(self.digits)
        return scores.tolist()


class _Handler(BaseHTTPRequestHandler):
    owner: Served
    disable_nagle_algorithm = True
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.owner.gets += 1
        if (scripted := self.owner.scripted()) is not None:
            self._send(*scripted)
        elif self.path == "/v2/models/m" and self.owner.metadata is not None:
            self._send(200, {}, json.dumps(self.owner.metadata).encode())
        else:
            self._send(404, {}, b'{"error": "no such page"}')

    def do_POST(self) -> None:
        owner = self.owner
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if owner.dead:
            self.close_connection = True
            return
        time.sleep(owner.slow_s)
        owner.headers.append(dict(self.headers))
        if (scripted := owner.scripted()) is not None:
            self._send(*scripted)
            return
        body = json.loads(data)
        owner.bodies.append(body)
        try:
            made = self._model(body)
        except BrokenPipeError:
            self.close_connection = True
            return
        if made is None:
            self._send(404, {}, b'{"error": "no such page"}')
        elif isinstance(made, tuple):
            self._send(*made)
        else:
            self._send(200, {}, json.dumps(made).encode())

    def _model(self, body: Any) -> Any:
        if self.path == "/invocations":
            split = body.get("dataframe_split")
            records = split["data"] if split else body["inputs"]
            return self._counted(records, lambda found: {"predictions": found})
        if self.path == "/v2/models/m/infer":
            return self._counted(_records(body["inputs"]), _tensors)
        if self.path == "/many":
            records = [_plain(record) for record in body["instances"]]
            return self._counted(
                records, lambda found: {"data": {"rows": [{"p": row} for row in found]}}
            )
        if self.path == "/one":
            record = _plain(body["instance"])
            named = lambda found: {"result": dict(zip(CLASSES, found[0], strict=True))}  # noqa: E731
            return self._counted([record], named)
        return None

    def _counted(self, records: list[list[Any]], shaped: Any) -> Any:
        owner = self.owner
        if owner.most is not None and len(records) > owner.most:
            return (owner.too_large, {}, b'{"error": "the batch size exceeds the maximum"}')
        if owner.dies_after is not None and owner.total + len(records) > owner.dies_after:
            owner.die()
            raise BrokenPipeError
        return shaped(owner.answer(records))

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": self.owner.content_type} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _plain(record: Any) -> list[Any]:
    return [record[name] for name in COLUMNS] if isinstance(record, dict) else record


def _records(inputs: list[dict[str, Any]]) -> list[list[Any]]:
    if len(inputs) == 1:
        rows = np.array(inputs[0]["data"], dtype=np.float64).reshape(inputs[0]["shape"])
        return list(rows.tolist())
    return [list(record) for record in zip(*(tensor["data"] for tensor in inputs), strict=True)]


def _tensors(found: list[Any]) -> dict[str, Any]:
    if isinstance(found[0], int):
        output = {"name": "predict", "datatype": "INT64", "shape": [len(found)], "data": found}
    else:
        output = {
            "name": "predict_proba",
            "datatype": "FP64",
            "shape": [len(found), len(found[0])],
            "data": [value for row in found for value in row],
        }
    return {"model_name": "m", "outputs": [output]}
