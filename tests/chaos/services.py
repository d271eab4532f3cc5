"""PostgreSQL and an MLflow server on it, to be killed and started again."""

from __future__ import annotations

from tests.services import Cluster, Server


class Services:
    """A database of its own and a server before it, both on one address.

    Args:
        host: address to listen on.
        port: of MLflow; the database has the next one.

    Attributes:
        database: the one.
        server: the other.
        uri: of the server.
    """

    def __init__(self, host: str, port: int = 5601) -> None:
        self.database = Cluster(host, port + 1)
        self.server = Server(self.database.uri("mlflow"), host, port)
        self.uri = self.server.uri

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
        """Kill both, and remove what they have written."""
        self.server.__exit__()
        self.database.__exit__()
