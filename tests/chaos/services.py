"""PostgreSQL and an MLflow server on it, to be killed and started again."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

_STARTS_IN_S = 120


def binaries() -> Path | None:
    """Folder of PostgreSQL's programs, as Debian installs them."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return places[-1].parent if places else None


def lacking() -> str | None:
    """What is missing for these services, or None."""
    if Path("/proc/self/uid_map").read_text().split()[2] == "1":
        return "PostgreSQL does not run as root, and this user namespace has no other user"
    if binaries() is None:
        return "PostgreSQL is not installed (Debian package postgresql)"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "the Python package psycopg2 is not installed"
    return None


class Services:
    """A database cluster of its own and a server, both on one address.

    Args:
        folder: scratch.
        host: address to listen on.
        port: of MLflow; the database has the next one.
    """

    def __init__(self, folder: Path, host: str, port: int = 5601) -> None:
        place = binaries()
        assert place is not None
        self.folder, self.host, self.port, self._bin = folder, host, port, place
        self.uri = f"http://{host}:{port}"
        self._mlflow: subprocess.Popen[bytes] | None = None
        self._database: subprocess.Popen[bytes] | None = None
        # PostgreSQL does not run as root.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(folder, self._user)
        data = str(folder / "data")
        self._call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
        with (folder / "data" / "pg_hba.conf").open("a") as file:
            file.write("host all all samenet trust\n")
        self.start_postgres()
        self._call("createdb", "-h", host, "-p", str(port + 1), "-U", "postgres", "mlflow")
        self.start_mlflow()

    def _as_user(self, program: str, *words: str) -> list[str]:
        before = ["runuser", "-u", self._user, "--"] if os.geteuid() == 0 else []
        return [*before, str(self._bin / program), *words]

    def _call(self, program: str, *words: str) -> None:
        subprocess.run(self._as_user(program, *words), check=True, capture_output=True, cwd="/")

    def start_postgres(self) -> None:
        """Start the database and wait until it answers."""
        words = ("-D", str(self.folder / "data"), "-h", self.host, "-p", str(self.port + 1))
        with (self.folder / "postgres.log").open("ab") as log:
            self._database = subprocess.Popen(
                self._as_user("postgres", *words, "-k", str(self.folder)),
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        until = time.monotonic() + _STARTS_IN_S
        ready = self._as_user("pg_isready", "-h", self.host, "-p", str(self.port + 1))
        while subprocess.run(ready, capture_output=True, check=False, cwd="/").returncode:
            if time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start; see {self.folder}/postgres.log")
            time.sleep(0.2)

    def stop_postgres(self) -> None:
        """Kill the database with no warning."""
        _end(self._database)

    def start_mlflow(self) -> None:
        """Start the server and wait until it answers."""
        database = f"postgresql+psycopg2://postgres@{self.host}:{self.port + 1}/mlflow"
        words = ["--backend-store-uri", database, "--host", self.host, "--port", str(self.port)]
        words += ["--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        with (self.folder / "mlflow.log").open("ab") as log:
            self._mlflow = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words, "--allowed-hosts", "*"],
                env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        until = time.monotonic() + _STARTS_IN_S
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError(f"MLflow does not start; see {self.folder}/mlflow.log")
            time.sleep(0.3)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop_mlflow(self) -> None:
        """Kill the server and its workers with no warning."""
        _end(self._mlflow)

    def trials(self, label: str) -> dict[str, int]:
        """How many runs MLflow has of every trial of a label, by the tag that names the trial."""
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        counts: dict[str, int] = {}
        for experiment in client.search_experiments():
            if label not in experiment.name:
                continue
            token = None
            while True:
                page = client.search_runs(
                    [experiment.experiment_id], max_results=1000, page_token=token
                )
                for run in page:
                    if (trial := run.data.tags.get("trial_id")) is not None:
                        counts[trial] = counts.get(trial, 0) + 1
                token = page.token
                if not token:
                    break
        return counts

    def close(self) -> None:
        """Kill both."""
        self.stop_mlflow()
        self.stop_postgres()


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
