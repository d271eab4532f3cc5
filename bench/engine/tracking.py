"""MLflow as a sink: written by the driver only, idempotent, rebuildable from the store.

One experiment a suite, a parent run an execution, a child run a trial, found again by its tag
``trial_id``. If the server is away the run goes on and ``invbench sync`` uploads later.
"""

from __future__ import annotations

import json
import math
import queue
import re
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.errors import UserError
from bench.contract.record import TrialRecord
from bench.contract.secrets import redacted
from bench.engine.mlflow_server import connect, experiment_of, reachable
from bench.engine.names import PICTURE, RECORD
from bench.engine.seal import digest_of, sealed, unsealed
from bench.engine.store import FAULTS, Store

if TYPE_CHECKING:
    from bench.engine.graph import Node

_PAGE = 1000
_MANIFEST = "execution.json"
_TABLES = ("leaderboard.csv", "leaderboard.md")
"""Files of a site that stand at the top of an execution's artifacts as well."""
_BAD = re.compile(r"[^A-Za-z0-9_\-. :/]")


class Sink:
    """An open execution in MLflow.

    Args:
        uri: tracking URI: ``sqlite:///path`` or an http(s) server.
        suite: name of the experiment.
        manifest: the execution's manifest.

    Raises:
        UserError: the server cannot be reached.
    """

    def __init__(self, uri: str, suite: str, manifest: Mapping[str, Any]) -> None:
        self.client = connect(uri)
        with reachable(uri):
            self.experiment = experiment_of(self.client, uri, suite)
            self._have = self._existing()
            tags = {"kind": "execution", "suite": suite, "execution": manifest["name"]}
            commit = manifest["git"].get("commit")
            if commit:
                tags["mlflow.source.git.commit"] = commit
            found = self._search(
                f"tags.execution = '{manifest['name']}' and tags.kind = 'execution'"
            )
            run = next(iter(found), None) or self.client.create_run(
                self.experiment, run_name=manifest["name"], tags=tags
            )
        self.parent = run.info.run_id

    def _search(self, where: str) -> Iterable[Any]:
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], where, max_results=_PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _existing(self) -> dict[str, tuple[str, str]]:
        return {
            run.data.tags["trial_id"]: (run.info.run_id, run.data.tags.get("status", ""))
            for run in self._search("tags.kind = 'trial'")
        }

    def put(self, record: TrialRecord, picture: bytes | None) -> bool:
        """Record a trial unless it is there already; True if it was written."""
        run_id, status = self._have.get(record.trial_id, ("", ""))
        if status == record.status:
            return False
        if run_id:
            self.client.delete_run(run_id)  # a failure that has since been run again
        self._create(record, picture)
        return True

    def _create(self, record: TrialRecord, picture: bytes | None) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        cell = record.cell
        tags = {
            "kind": "trial",
            "trial_id": record.trial_id,
            "mlflow.parentRunId": self.parent,
            "sector": record.data.sector,
            "goal": record.goal,
            "access": record.access,
            "control": record.control or "none",
            "defense_family": record.defense.family,
            "attack_family": record.attack.family,
            "budget": str(record.budget.queries_cap or "unlimited"),
            "flags": ",".join(record.flags),
            "picture": str(picture is not None).lower(),
        }
        commit = (record.env.get("git") or {}).get("commit")
        if commit:
            tags["mlflow.source.git.commit"] = commit
        run = self.client.create_run(self.experiment, run_name=cell.key(), tags=tags)
        run_id = run.info.run_id
        params = {**cell.model_dump(), **_flat("target", record.target.params)}
        params |= _flat("attack", record.attack.params)
        for i, layer in enumerate(record.defense.layers):
            params |= _flat(f"defense.{i}", layer)
        self.client.log_batch(
            run_id,
            metrics=[Metric(_BAD.sub("_", k), v, 0, 0) for k, v in metrics(record).items()],
            params=[Param(_BAD.sub("_", k), str(v)[:6000]) for k, v in params.items()],
            # The status comes with the last write: without it a torn upload is done again.
            tags=[RunTag("protocol_version", record.protocol_version)],
        )
        facts = record.data.facts
        data = Dataset(
            name=cell.dataset,
            digest=str(facts.get("sha256", ""))[:36] or "unknown",
            source_type="inversion-bench",
            source=json.dumps({"source": record.data.source}),
        )
        self.client.log_inputs(
            run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
        )
        files = {} if picture is None else {PICTURE: picture}
        self._artifact(run_id, RECORD, sealed(_place(record.trial_id), record.model_dump(), files))
        if picture is not None:
            self._artifact(run_id, PICTURE, picture)
        self.client.set_tag(run_id, "status", record.status)
        done = record.status in ("done", "skipped")
        self.client.set_terminated(run_id, "FINISHED" if done else "FAILED")
        self._have[record.trial_id] = (run_id, record.status)

    def _artifact(self, run_id: str, name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            self.client.log_artifact(run_id, str(path))

    def finish(self, manifest: Mapping[str, Any], pages: Path | None) -> None:
        """End the execution: what was asked as parameters, the manifest and its site as artifacts.

        Args:
            manifest: of the execution.
            pages: folder of its site, with the leaderboard; None: nothing has ended.
        """
        from mlflow.entities import Param

        self._artifact(self.parent, _MANIFEST, sealed(_place(manifest["name"]), manifest, {}))
        params = [Param(k, _listed(v)[:6000]) for k, v in manifest.get("grid", {}).items()]
        self.client.log_batch(self.parent, params=params)
        if pages is not None:
            for name in _TABLES:
                self.client.log_artifact(self.parent, str(pages / name))
            self.client.log_artifacts(self.parent, str(pages), "site")
        self.client.set_terminated(self.parent)


class BackgroundSink:
    """A sink that writes beside the run, in a thread of its own; a driver's listener.

    A server that fails does not stop the run: ``problem`` says what happened.
    """

    def __init__(self, uri: str, suite: str, manifest: Mapping[str, Any], store: Store) -> None:
        self.problem: str | None = None
        self.written = 0
        self._store = store
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._arguments = (uri, suite, dict(manifest))
        self._sink: Sink | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def node(self, node: Node, status: str, seconds: float) -> None:
        """Nodes are not tracked, trials are."""

    def tick(self, running: int) -> None:
        """Nothing to do."""

    def trial(self, key: str, status: str, fresh: bool) -> None:
        """Queue a trial."""
        self._queue.put(key)

    def _work(self) -> None:
        try:
            self._sink = Sink(*self._arguments)
            while (key := self._queue.get()) is not None:
                record = stored(self._store, key)
                if record is None:
                    continue
                self.written += self._sink.put(record, picture(self._store, record))
        except Exception as error:
            # Whatever the server does, the run goes on; the store has everything.
            self.problem = " ".join(redacted(str(error)).split())[:300]

    def close(self, manifest: Mapping[str, Any], pages: Path | None) -> None:
        """Wait until everything is written, then end the execution.

        Args:
            manifest: of the execution.
            pages: folder of its site; None: nothing has ended.
        """
        self._queue.put(None)
        self._thread.join()
        if self._sink is not None and self.problem is None:
            try:
                self._sink.finish(manifest, pages)
            except Exception as error:
                self.problem = " ".join(redacted(str(error)).split())[:300]


def sync(store: Store, uri: str, manifest: Mapping[str, Any], pages: Path | None) -> int:
    """Upload what MLflow lacks of one execution; returns the number of trials written.

    Args:
        store: where its records are.
        uri: tracking URI.
        manifest: of the execution.
        pages: folder of its site; None: nothing has ended.

    Raises:
        UserError: the server cannot be reached.
    """
    sink = Sink(uri, manifest["suite"], manifest)
    with reachable(uri):
        written = 0
        for key in manifest["trials"]:
            record = stored(store, key)
            if record is not None:
                written += sink.put(record, picture(store, record))
        sink.finish(manifest, pages)
    return written


def stored(store: Store, key: str) -> TrialRecord | None:
    """A trial's record in the store: its result, else its last failure, else None.

    None too where its result is damaged: an earlier failure does not stand for it.
    """
    record = store.record("trial", key) if store.has("trial", key) else store.failure("trial", key)
    return None if record is None else TrialRecord.model_validate(record)


def picture(store: Store, record: TrialRecord) -> bytes | None:
    """A trial's picture, where the data's card allows to show it."""
    return store.file("trial", record.trial_id, PICTURE) if record.data.publishable else None


def fetch(uri: str, suite: str) -> tuple[list[TrialRecord], dict[str, bytes], dict[str, Any]]:
    """Records, pictures and manifest of a suite's newest finished execution, from MLflow alone.

    Raises:
        UserError: the server cannot be reached, or does not know the suite.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    missing = UserError(
        f"MLflow at '{uri}' has no finished execution of suite '{suite}'; run it, or "
        f"'invbench sync suite={suite}' to upload what the store has."
    )
    with reachable(uri), tempfile.TemporaryDirectory() as folder:
        experiment = client.get_experiment_by_name(suite)
        if experiment is None:
            raise missing
        runs = mlflow.search_runs(
            [experiment.experiment_id],
            "tags.kind = 'execution' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
            output_format="list",
        )
        if not runs:
            raise missing

        def read(run_id: str, name: str) -> bytes:
            return Path(client.download_artifacts(run_id, name, folder)).read_bytes()

        execution = runs[0]
        name = execution.data.tags["execution"]
        try:
            manifest, _ = unsealed(read(execution.info.run_id, _MANIFEST), _place(name))
        except ValueError as error:
            raise UserError(
                f"MLflow at '{uri}': '{_MANIFEST}' of run '{name}' cannot be used ({error}); "
                f"'invbench sync suite={suite}' uploads it again from the store."
            ) from error
        wanted = set(manifest["trials"])
        records: dict[str, TrialRecord] = {}
        pictures: dict[str, bytes] = {}
        token = None
        while True:
            page = client.search_runs(
                [experiment.experiment_id],
                "tags.kind = 'trial'",
                max_results=_PAGE,
                page_token=token,
            )
            for run in page:
                key, tags = run.data.tags.get("trial_id", ""), run.data.tags
                if key not in wanted or "status" not in tags:
                    continue
                run_id = run.info.run_id
                try:
                    record, digests = unsealed(read(run_id, RECORD), _place(key))
                    if tags.get("picture") == "true":
                        pictures[key] = read(run_id, PICTURE)
                        if digest_of(pictures[key]) != digests.get(PICTURE):
                            raise ValueError(f"'{PICTURE}' is not what was uploaded")
                except (ValueError, OSError, MlflowException) as error:
                    pictures.pop(key, None)
                    FAULTS[Path("mlflow", run_id, RECORD)] = (
                        f"{error}; delete this run in MLflow, then 'invbench sync' uploads it again"
                    )
                    continue
                records[key] = TrialRecord.model_validate(record)
            token = page.token
            if not token:
                break
    return [records[k] for k in manifest["trials"] if k in records], pictures, manifest


def metrics(record: TrialRecord) -> dict[str, float]:
    """A record's finite numbers under stable names."""
    out: dict[str, float | None] = {}
    if record.score is not None:
        score = record.score
        out |= {k: getattr(score, k) for k in ("L", "M", "value", "s_base", "s_ceil")}
        out |= {f"score/{k}": v for k, v in score.extra.items()}
    if record.utility is not None:
        out["utility"] = record.utility.value
        out |= {f"utility/{k}": v for k, v in record.utility.all.items()}
    if record.privacy is not None:
        out |= {"epsilon": record.privacy.epsilon, "epsilon_rdp": record.privacy.epsilon_rdp}
    out |= {f"time/{k}": v for k, v in record.times.model_dump().items()}
    out["queries"] = float(record.budget.queries)
    return {k: float(v) for k, v in out.items() if v is not None and math.isfinite(v)}


def _flat(prefix: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{prefix}.{k}": json.dumps(v) if isinstance(v, dict | list) else v
        for k, v in params.items()
    }


def _listed(value: Any) -> str:
    """A parameter as text; of a list its items, so that a search can look for one of them."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _place(name: str) -> str:
    """Where an artifact stands, for its seal."""
    return f"mlflow/{name}"
