"""Servers that people use: MLflow's, and MLServer behind a proxy that refuses what is too fast."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from bench.contract.files import locked
from bench.models.external.http.endpoint import Channel, open_endpoint
from bench.models.external.http.transcript import Transcript
from tests.cli.redteaming import COLUMNS, Place

pytestmark = pytest.mark.slow

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "inversion-bench"
MLSERVER = CACHE / "mlserver-1.7.1"
"""An environment of its own: MLServer pins an older fastapi than ours."""
START_S = 120

TRAIN = """
import json, pathlib, sys, joblib, numpy as np, pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
home = pathlib.Path(sys.argv[1])
given = json.loads((home / "data.json").read_text())
joblib.dump(LogisticRegression().fit(*map(np.array, given["array"])), home / "array.joblib")
models = {"table": LogisticRegression(), "people": RandomForestClassifier(random_state=0)}
for name, model in models.items():
    records, y = pd.DataFrame(given[name][0]), given[name][1]
    texts = make_column_selector(dtype_include=object)
    encoder = make_column_transformer((OneHotEncoder(), texts), remainder="passthrough")
    joblib.dump(make_pipeline(encoder, model).fit(records, y), home / f"{name}.joblib")
"""
"""Run by MLServer's own Python, whose scikit-learn reads no model of ours."""


def data(n: int = 60) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    cities = rng.choice(["Bern", "Rome", "Oslo"], size=n)
    table = pd.DataFrame({"age": x[:, 0].astype(np.float64), "city": cities.tolist()})
    y = (x[:, 0] + (cities == "Rome") > 0).astype(int) + (x[:, 1] > 1)
    return x, table, y


def of_table(table: pd.DataFrame, y: np.ndarray) -> Any:
    encoder = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    return make_pipeline(encoder, LogisticRegression()).fit(table, y)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], ready: str, log: Path, **environment: str) -> Iterator[None]:
    """A server, from when it answers to the end of the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
    try:
        until = time.monotonic() + START_S
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{command[0]} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.3)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def limited(port: int, a_second: float) -> Iterator[tuple[str, list[int]]]:
    """A proxy before a server that answers 429 to requests that come too fast."""
    refused = [0]
    free_at = [0.0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            now = time.monotonic()
            if now < free_at[0]:
                refused[0] += 1
                self._answer(429, b"{}", {"Retry-After": f"{free_at[0] - now:.3f}"})
                return
            free_at[0] = now + 1 / a_second
            self._pass_on(body)

        def _pass_on(self, body: bytes) -> None:
            server = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            with contextlib.closing(server):
                headers = {"Content-Type": "application/json"}
                server.request(self.command, self.path, body or None, headers)
                reply = server.getresponse()
                self._answer(reply.status, reply.read(), {"Content-Type": "application/json"})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}", refused
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def _save(model: Any, folder: Path, example: Any) -> None:
    """In a child, for MLflow warns of what is no concern of ours."""
    import warnings

    import mlflow.sklearn
    from mlflow.models import infer_signature

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = model.predict_proba(example)
        mlflow.sklearn.save_model(
            model,
            folder,
            signature=infer_signature(example, answers),
            serialization_format="skops",
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"],
        )


@pytest.mark.parametrize("kind", ["array", "table"])
def test_mlflow_models_serve(kind: str, tmp_path: Path) -> None:
    x, table, y = data()
    asked: Any = x if kind == "array" else table
    model = LogisticRegression().fit(x, y) if kind == "array" else of_table(table, y)
    _save(model, tmp_path / "model", asked)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(tmp_path / "model")]
    command += ["-h", "127.0.0.1", "-p", str(port), "--env-manager", "local", "--workers", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with running(command, f"http://127.0.0.1:{port}/ping", tmp_path / "log", PATH=path):
        way = Channel(f"http://127.0.0.1:{port}/invocations", batch=25)
        answered = open_endpoint(way, tmp_path / "t.db").ask(asked)
    np.testing.assert_allclose(answered.scores, model.predict_proba(asked), atol=1e-6)
    assert Transcript(tmp_path / "t.db").counts()["sent"] == len(x)


@pytest.fixture(scope="module")
def mlserver() -> Path:
    """MLServer's own environment, which is made once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / "mlserver.lock"):
        if not (MLSERVER / "complete").exists():
            packages = ["mlserver==1.7.1", "mlserver-sklearn==1.7.1"]
            pip = [str(MLSERVER / "bin/pip"), "install", "-q", *packages]
            for command in ([sys.executable, "-m", "venv", str(MLSERVER)], pip):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    pytest.skip(f"MLServer cannot be installed: {done.stderr[-300:]}")
            (MLSERVER / "complete").touch()
    return MLSERVER / "bin"


def _describe(home: Path, name: str, columns: dict[str, str]) -> None:
    """Tell MLServer of a model; ``columns`` are of a table, and empty for an array."""
    settings: dict[str, Any] = {"name": name, "implementation": "mlserver_sklearn.SKLearnModel"}
    settings["parameters"] = {"uri": str(home / f"{name}.joblib")}
    if columns:
        settings["parameters"]["content_type"] = "pd"
        settings["inputs"] = [
            {"name": column, "datatype": "FP64" if kind == "number" else "BYTES", "shape": [-1, 1]}
            for column, kind in columns.items()
        ]
        scores = {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]}
        settings["outputs"] = [scores]
    (home / "models" / name).mkdir(parents=True)
    (home / "models" / name / "model-settings.json").write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The people whom a model on MLServer was trained on, and their card."""
    return Place.made(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def served(mlserver: Path, place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an MLServer with three models: of an array, of a table, and of people."""
    home = tmp_path_factory.mktemp("mlserver")
    x, table, y = data()
    members = place.records()
    records = members[list(COLUMNS)].to_dict("list")
    given = {
        "array": (x.tolist(), y.tolist()),
        "table": (table.to_dict("list"), y.tolist()),
        "people": (records, members["y"].tolist()),
    }
    (home / "data.json").write_text(json.dumps(given))
    subprocess.run([str(mlserver / "python"), "-c", TRAIN, str(home)], check=True)
    _describe(home, "array", {})
    _describe(home, "table", {"age": "number", "city": "category"})
    _describe(home, "people", COLUMNS)
    ports = [free_port() for _ in range(3)]
    names = ("MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT")
    environment = dict(zip(names, map(str, ports), strict=True))
    environment |= {"MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_HOST": "127.0.0.1"}
    command = [str(mlserver / "mlserver"), "start", str(home / "models")]
    ready = f"http://127.0.0.1:{ports[0]}/v2/health/ready"
    with running(command, ready, home / "log", **environment):
        yield ports[0]


CASES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "array": lambda: (data()[0], LogisticRegression().fit(data()[0], data()[2])),
    "table": lambda: (data()[1], of_table(data()[1], data()[2])),
}


@pytest.mark.parametrize("name", list(CASES))
def test_mlserver_behind_a_proxy_that_limits_the_rate(
    name: str, served: int, tmp_path: Path
) -> None:
    asked, model = CASES[name]()
    output = "predict_proba" if name == "array" else ""
    with limited(served, a_second=5) as (url, refused):
        way = Channel(f"{url}/v2/models/{name}", batch=10, retries=0, output=output)
        opened = open_endpoint(way, tmp_path / "t.db")
        answered = opened.ask(asked)
        assert refused[0] > 0
    np.testing.assert_allclose(answered.scores, model.predict_proba(asked), atol=1e-6)
    counts = Transcript(tmp_path / "t.db").counts()
    assert counts["sent"] == len(asked)
    assert counts["refusals"] == refused[0]


def test_mlserver_answers_labels_where_no_scores_are_asked_for(served: int, tmp_path: Path) -> None:
    asked, model = CASES["array"]()
    way = Channel(f"http://127.0.0.1:{served}", "kserve", model="array")
    answered = open_endpoint(way, tmp_path / "t.db").ask(asked)
    assert answered.scores is None
    np.testing.assert_array_equal(answered.labels, model.predict(asked))


def test_refusals_change_no_figure_of_a_campaign(served: int, place: Place) -> None:
    words = ("--budget=5000", "--json", "model.external.classes=[no,yes]")
    with limited(served, a_second=10) as (url, refused):
        slow = place.redteam(f"{url}/v2/models/people", "--campaign=limited", *words)
        assert refused[0] > 0
    free = place.redteam(f"http://127.0.0.1:{served}/v2/models/people", "--campaign=free", *words)
    for said in (slow, free):
        assert said.code in (0, 1), said.err
        assert not said.data["unfinished"]
    leaks = [{row["attack"]: row["L"] for row in said.data["rows"]} for said in (slow, free)]
    assert leaks[0] == pytest.approx(leaks[1], abs=1e-9)
    assert max(leaks[0].values()) > 0.1, "a forest remembers whom it was trained on"
    counts = [Transcript(place.transcript(name)).counts() for name in ("limited", "free")]
    assert counts[0]["sent"] == counts[1]["sent"] <= 5000
    assert (counts[0]["refusals"], counts[1]["refusals"]) == (refused[0], 0)
