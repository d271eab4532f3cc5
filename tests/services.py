"""PostgreSQL and ``mlflow server`` for tests: started in folders of their own and killed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

START_S = 240.0
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A dozen processes that nobody here asks for.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def _programs() -> Path | None:
    """The folder with ``initdb``, which Debian does not put on the path."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


def missing() -> str:
    """What of PostgreSQL is not there, as a sentence; empty if all is."""
    if _programs() is None:
        return "PostgreSQL is not installed (Debian package postgresql)"
    if importlib.util.find_spec("psycopg2") is None:
        return "psycopg2 is not installed (extra postgres)"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and there is no runuser"
    if os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split()[2] == "1":
        return "PostgreSQL does not run as root, and this user namespace has no other user"
    return ""


def port() -> int:
    """A free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


class Cluster:
    """A PostgreSQL server with data of its own.

    Args:
        host: address to listen on; machines of its network may enter.
        at: port; None: a free one.
    """

    def __init__(self, host: str = "127.0.0.1", at: int | None = None) -> None:
        programs = _programs()
        assert programs is not None
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="invbench-pg-"))
        self._host, self._port = host, at or port()
        # PostgreSQL refuses to run as root.
        self._as = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self._folder, "nobody")
        self._call("initdb", "-D", self._data, "-A", "trust", "-U", "bench", "-E", "UTF8")
        if host != "127.0.0.1":
            with (self._folder / "data" / "pg_hba.conf").open("a") as file:
                file.write("host all all samenet trust\n")
        self.start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _call(self, program: str, *words: str) -> None:
        subprocess.run(
            [*self._as, str(self._programs / program), *words],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_S,
        )

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if self._runs():
            return
        options = f"-p {self._port} -k {self._folder} -c listen_addresses={self._host}"
        log = str(self._folder / "log")
        self._call("pg_ctl", "-D", self._data, "-o", options, "-l", log, "-w", "start")

    def kill(self) -> None:
        """End it at once, if it runs; what was not committed is lost."""
        if self._runs():
            self._call("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def _runs(self) -> bool:
        try:
            self._call("pg_ctl", "-D", self._data, "status")
        except subprocess.CalledProcessError:
            return False
        return True

    def uri(self, database: str) -> str:
        """A tracking URI of a new database."""
        where = ("-h", self._host, "-p", str(self._port), "-U", "bench")
        self._call("createdb", *where, database)
        return f"postgresql+psycopg2://bench@{self._host}:{self._port}/{database}"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class Server:
    """An ``mlflow server`` before a database, with artifacts of its own.

    Args:
        database: URI of the database.
        host: address to listen on.
        at: port; None: a free one.
    """

    def __init__(self, database: str, host: str = "127.0.0.1", at: int | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="invbench-mlflow-"))
        self._database, self._host, self._port = database, host, at or port()
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://{host}:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        words = ["server", "--host", self._host, "--port", str(self._port), "--workers", "1"]
        words += ["--allowed-hosts", "*"]
        words += ["--backend-store-uri", self._database]
        words += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "mlflow", *words],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | _ENVIRONMENT,
            )
        until = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until:
                    self.kill()
                    raise RuntimeError((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.3)

    def kill(self) -> None:
        """End it and its workers at once, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
