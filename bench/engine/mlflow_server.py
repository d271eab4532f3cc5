"""The way to MLflow: a client, an experiment, and its failures as sentences."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError, require
from bench.contract.secrets import HIDDEN, redacted


def connect(uri: str) -> Any:
    """A client of MLflow at ``uri``."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Without this a server that is away is asked for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import mlflow
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    require(
        HIDDEN not in uri,
        f"tracking.uri '{uri}' is what was recorded, where {HIDDEN} stands for what was left out; "
        "write it whole again, or give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD and a "
        "URI without them.",
    )
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).resolve().parent.mkdir(parents=True, exist_ok=True)
    with reachable(uri):
        mlflow.set_tracking_uri(uri)
        return MlflowClient(uri)


def experiment_of(client: Any, uri: str, suite: str) -> str:
    """Identity of the experiment of a suite, which is made if it is not there.

    Raises:
        UserError: it was deleted, and MLflow keeps its name.
    """
    found = client.get_experiment_by_name(suite)
    if found is not None:
        require(
            found.lifecycle_stage == "active",
            f"The experiment '{suite}' was deleted in MLflow; bring it back with 'mlflow "
            f"experiments restore --experiment-id {found.experiment_id}' (MLFLOW_TRACKING_URI says "
            f"where), or give the run another name with label=.",
        )
        return str(found.experiment_id)
    location = None
    if uri.startswith("sqlite:///"):
        # Beside the database: MLflow's default is a folder in whatever directory one stands in.
        location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()
        location = f"{location}/{suite.replace('/', '_')}"
    return str(client.create_experiment(suite, artifact_location=location))


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
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = " ".join(redacted(str(error)).split())[:200]
        raise UserError(
            f"MLflow at '{uri}' cannot be used ({reason}); start it, set tracking.uri=, or switch "
            f"it off with tracking=none."
        ) from error
