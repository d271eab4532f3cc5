"""The way to MLflow: a client, an experiment, and its failures as sentences."""

from __future__ import annotations

import contextlib
import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError, require
from bench.contract.files import locked
from bench.contract.secrets import HIDDEN, in_one_line
from bench.engine.store.journal import journal_of

_SQLITE = "sqlite:///"
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Without this a server that is away is asked for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Otherwise a link is printed for every run that ends, after asking the server for the run.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def connect(uri: str) -> Any:
    """A client of MLflow at ``uri``.

    Raises:
        UserError: MLflow cannot be reached.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    for name in ("alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    require(
        HIDDEN not in uri,
        f"tracking.uri '{uri}' is what was recorded, where {HIDDEN} stands for what was left out; "
        "write it whole again, or give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD and a "
        "URI without them.",
    )
    with reachable(uri), contextlib.ExitStack() as stack:
        path = _file(uri)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_ahead(path)
            # MLflow makes the tables of a new database; two at once would be in each other's way.
            stack.enter_context(locked(path.parent))
        mlflow.set_tracking_uri(uri)
        return MlflowClient(uri)


def experiment_of(client: Any, uri: str, suite: str) -> str:
    """Identity of the experiment of a suite, which is made if it is not there.

    Raises:
        UserError: it was deleted, and MLflow keeps its name.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(suite)
    if experiment is None:
        path, location = _file(uri), None
        if path is not None:
            # Beside the database: MLflow's default is a folder in whatever directory one stands in.
            location = f"{(path.parent / 'mlartifacts').as_uri()}/{suite.replace('/', '_')}"
        try:
            client.create_experiment(suite, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise  # Otherwise somebody else has just made it.
        experiment = client.get_experiment_by_name(suite)
    require(
        experiment.lifecycle_stage == "active",
        f"The experiment '{suite}' was deleted in MLflow; bring it back with 'mlflow "
        f"experiments restore --experiment-id {experiment.experiment_id}' (MLFLOW_TRACKING_URI "
        f"says where), or give the run another name with label=.",
    )
    return str(experiment.experiment_id)


def lanes(uri: str) -> int:
    """How many trials may be sent at once: an SQLite file has one writer."""
    return 1 if _file(uri) is not None else 4


@contextlib.contextmanager
def reachable(uri: str) -> Any:
    """Within it, a server that fails is a mistake of the user's.

    Raises:
        UserError: MLflow cannot be used.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        raise UserError(
            f"MLflow at '{uri}' cannot be used ({in_one_line(error, 200)}); start it, set "
            f"tracking.uri=, or switch it off with tracking=none."
        ) from error


def _file(uri: str) -> Path | None:
    """The file of an SQLite database, else None."""
    return Path(uri.removeprefix(_SQLITE)).resolve() if uri.startswith(_SQLITE) else None


@lru_cache(maxsize=64)
def _write_ahead(path: Path) -> None:
    """Let MLflow's connections to this file write ahead, which waits for no disk.

    After a loss of power the last trials may be missing; ``sync`` sends them again.
    """
    import sqlalchemy
    from sqlalchemy.engine import Engine

    journal = journal_of(path.parent)

    def connected(connection: Any, _: Any) -> None:
        if type(connection).__module__ != "sqlite3":
            return
        names = {row[2] for row in connection.execute("PRAGMA database_list")}
        if str(path) in names and journal == "wal":
            connection.execute("PRAGMA busy_timeout = 20000")
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("PRAGMA synchronous = NORMAL")

    sqlalchemy.event.listen(Engine, "connect", connected)
