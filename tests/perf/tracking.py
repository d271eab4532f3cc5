"""Trials a second into MLflow: SQLite, PostgreSQL itself, and ``mlflow server`` before it.

``python -m tests.perf.tracking [TRIALS]`` measures all; what is timed is a whole ``sync`` of an
execution that MLflow has nothing of, records and one artifact a batch included, its site not.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path

from bench.engine.tracking import sink
from tests import services
from tests.engine.canned import Canned, canned, manifest


def rate(uri: str, count: int) -> tuple[float, float]:
    """Trials a second, and milliseconds of this process's CPU a trial."""
    few, many = canned(3), canned(count)
    with tempfile.TemporaryDirectory() as folder:
        # MLflow is imported, and makes its tables, before anything is timed.
        sink.sync(Canned(Path(folder), few), uri, manifest(few, "before"), None)
        wall, cpu = time.perf_counter(), time.process_time()
        sent = sink.sync(Canned(Path(folder), many), uri, manifest(many), None)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert sent == count
    return count / wall, 1000 * cpu / count


def report(count: int = 500) -> list[str]:
    """A line for each kind of server."""
    lines = [f"MLflow, {count} trials sent"]

    def measured(name: str, uri: str) -> None:
        speed, cpu = rate(uri, count)
        lines.append(f"  {name:28} {speed:6.1f} trials a second, {cpu:.1f} ms of CPU here a trial")

    with tempfile.TemporaryDirectory() as folder:
        measured("SQLite", f"sqlite:///{folder}/mlflow.db")
    missing = services.missing()
    if missing:
        return [*lines, f"  PostgreSQL: not measured: {missing}"]
    # MLflow puts the artifacts of a bare database below the folder that one stands in.
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        services.Cluster() as cluster,
    ):
        measured("PostgreSQL", cluster.uri("direct"))
        with services.Server(cluster.uri("served")) as server:
            measured("mlflow server, PostgreSQL", server.uri)
    return lines


if __name__ == "__main__":
    print("\n".join(report(int(sys.argv[1]) if sys.argv[1:] else 500)))
