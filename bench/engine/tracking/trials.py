"""Trials as runs of MLflow: what a run holds, how it is sent, and that a trial has one.

MLflow has no key that we may choose, so two that send at once can make two runs of a trial. Who has
sent looks at what is there afterwards and deletes all runs of a trial but the first in an order
that rests only on what a run was created with. That first run nobody ever deletes, and of any two
runs the one made later was made by somebody who sees both: one is left, whoever is faster. What a
dead process left, double or unfinished, is mended by the next who looks.
"""

from __future__ import annotations

import io
import json
import math
import random
import re
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.contract.record import TrialRecord
from bench.engine.names import PICTURE
from bench.engine.seal import digest_of, sealed
from bench.engine.tracking.server import connect, experiment_of, lanes, reachable

MANIFEST = "execution.json"
BUNDLE = "records"
"""Tag of a trial's run: execution run and artifact that its record is in; and that folder's name.
Runs of before have their record as an artifact of their own."""
_PAGE = 1000
_TABLES = ("leaderboard.csv", "leaderboard.md")
"""Files of a site that stand at the top of an execution's artifacts as well."""
_BAD = re.compile(r"[^A-Za-z0-9_\-. :/]")
_SKEW_MS = 3_600_000
"""Milliseconds by which the clocks of two who send may differ without a double being left to the
next who looks at everything."""


def place(name: str) -> str:
    """Where an artifact stands, for its seal."""
    return f"mlflow/{name}"


def version(status: str, created_utc: str) -> str:
    """What tells a record of a trial from an earlier one of the same trial."""
    return f"{status} {created_utc}"


@dataclass(frozen=True)
class Sent:
    """A run of a trial.

    Attributes:
        run: its identity in MLflow.
        trial: identity of the trial.
        status: of the trial; empty in a torn run of before.
        created: when its record was made; empty in a run of before.
        start: milliseconds at which the run was made, by the clock of who made it.
        ended: whether all of it was sent.
    """

    run: str
    trial: str
    status: str
    created: str
    start: int
    ended: bool

    def holds(self, wanted: str) -> bool:
        """Whether it is of this version of the trial, or of one that is to be kept instead."""
        status, _, created = wanted.partition(" ")
        if self.status == "done":
            return True
        return self.status == status and self.created in ("", created)


def sent_of(run: Any) -> Sent:
    """What a run of MLflow tells of the trial that it holds."""
    tags, info = run.data.tags, run.info
    return Sent(
        info.run_id,
        tags.get("trial_id", ""),
        tags.get("status", ""),
        tags.get("created", ""),
        info.start_time,
        info.status != "RUNNING",
    )


def searched(client: Any, experiment: str, where: str) -> Iterator[Any]:
    """Every run of an experiment that a filter lets through."""
    token = None
    while True:
        page = client.search_runs([experiment], where, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def ranked(runs: Iterable[Sent]) -> list[Sent]:
    """Runs of one trial, the one to keep first: a result before a failure, the newest failure."""
    order = sorted(runs, key=lambda run: (run.start, run.run))
    order.sort(key=lambda run: "" if run.status == "done" else run.created, reverse=True)
    return sorted(order, key=lambda run: {"done": 0, "": 2}.get(run.status, 1))


class _OvertakenError(Exception):
    """Somebody else has sent the trial meanwhile, and deleted the run that was being written."""


@dataclass
class Outcome:
    """What came of sending trials.

    Attributes:
        sent: those that MLflow has now.
        overtaken: those that somebody else sends; whether they arrive whole is to be looked at.
        refused: those that the server does not take as they are, with the reason.
        trouble: what kept others from being sent, which may pass.
    """

    sent: list[str]
    overtaken: list[str]
    refused: dict[str, Exception]
    trouble: Exception | None


class Experiment:
    """A suite's experiment in MLflow.

    Args:
        uri: tracking URI.
        suite: name of the experiment.

    Raises:
        UserError: the server cannot be reached.
    """

    def __init__(self, uri: str, suite: str) -> None:
        self.client = connect(uri)
        self.suite = suite
        self._lanes = lanes(uri)
        self._executions: dict[str, str] = {}
        self._inputs: set[tuple[str, str, str]] = set()
        with reachable(uri):
            self.id = experiment_of(self.client, uri, suite)
            made = self.client.get_experiment(self.id).creation_time
        self.identity = f"{self.id} {made}"

    # ------------------------------------------------------------ what is there
    def trials(self, since_ms: int = 0) -> dict[str, Sent]:
        """The run of each trial, after deleting all but one of those that have several.

        Args:
            since_ms: look only at runs made since then.
        """
        runs: dict[str, list[Sent]] = defaultdict(list)
        recent = f" and attributes.start_time >= {since_ms - _SKEW_MS}" if since_ms else ""
        for run in searched(self.client, self.id, f"tags.kind = 'trial'{recent}"):
            sent = sent_of(run)
            runs[sent.trial].append(sent)
        for trial, several in runs.items():
            runs[trial] = ranked(several)
            for other in runs[trial][1:]:
                self.client.delete_run(other.run)
        return {trial: first for trial, (first, *_) in runs.items()}

    # ------------------------------------------------------------ executions
    def execution(self, name: str, manifest: Mapping[str, Any] | None) -> str:
        """The run of an execution, which is made if it is not there.

        Of several who make it at once everybody who sees another's deletes his own: no run is used
        unless it was the only one after it had been made.
        """
        where = f"tags.execution = '{name}' and tags.kind = 'execution'"
        while name not in self._executions:
            there = [run.info.run_id for run in searched(self.client, self.id, where)]
            if there:
                self._executions[name] = min(there)
                break
            tags = {"kind": "execution", "suite": self.suite, "execution": name}
            start = None
            if manifest is not None:
                start = int(datetime.fromisoformat(manifest["started_utc"]).timestamp() * 1000)
                if commit := manifest["git"].get("commit"):
                    tags["mlflow.source.git.commit"] = commit
            own = self.client.create_run(self.id, start, tags, name).info.run_id
            if [run.info.run_id for run in searched(self.client, self.id, where)] != [own]:
                self.client.delete_run(own)
                time.sleep(random.uniform(0.1, 1.0))
        return self._executions[name]

    def finish(self, manifest: Mapping[str, Any], pages: Path | None) -> None:
        """End the execution: what was asked as parameters, the manifest and its site as artifacts.

        Args:
            manifest: of the execution.
            pages: folder of its site, with the leaderboard; None: nothing has ended.
        """
        from mlflow.entities import Param

        run = self.execution(manifest["name"], manifest)
        self._artifact(run, MANIFEST, sealed(place(manifest["name"]), manifest, {}))
        params = [Param(k, _listed(v)[:6000]) for k, v in manifest.get("grid", {}).items()]
        self.client.log_batch(run, params=params)
        if pages is not None:
            for name in _TABLES:
                self.client.log_artifact(run, str(pages / name))
            self.client.log_artifacts(run, str(pages), "site")
        self.client.set_terminated(run)

    # ------------------------------------------------------------ trials
    def send(
        self,
        execution: str,
        trials: Sequence[tuple[TrialRecord, bytes | None]],
        there: Mapping[str, Sent],
    ) -> Outcome:
        """Send trials: their records in one artifact of the execution's run, then a run each.

        Args:
            execution: run of their execution.
            trials: records, with the picture where one may be shown.
            there: the runs that trials have already.
        """
        bundle = self._bundle(execution, trials)
        self._datasets(execution, [record for record, _ in trials])

        def one(trial: tuple[TrialRecord, bytes | None]) -> Exception | None:
            try:
                self._one(execution, bundle, *trial, there.get(trial[0].trial_id))
            except Exception as error:
                return error
            return None

        if self._lanes > 1 and len(trials) > 1:
            with ThreadPoolExecutor(self._lanes) as pool:
                errors = list(pool.map(one, trials))
        else:
            errors = [one(trial) for trial in trials]
        outcome = Outcome([], [], {}, None)
        for (record, _), error in zip(trials, errors, strict=True):
            if error is None:
                outcome.sent.append(record.trial_id)
            elif isinstance(error, _OvertakenError):
                outcome.overtaken.append(record.trial_id)
            elif getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE":
                outcome.refused[record.trial_id] = error
            else:
                outcome.trouble = error
        return outcome

    def _bundle(self, execution: str, trials: Sequence[tuple[TrialRecord, bytes | None]]) -> str:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for record, picture in trials:
                files = {} if picture is None else {PICTURE: picture}
                key = record.trial_id
                # Without the time of writing, so that what is sent again has the same name.
                member = zipfile.ZipInfo(f"{key}.json")
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, sealed(place(key), record.model_dump(), files))
        name = f"{digest_of(out.getvalue())[:32]}.zip"
        self._artifact(execution, name, out.getvalue(), BUNDLE)
        return f"{execution}/{BUNDLE}/{name}"

    def _one(
        self,
        execution: str,
        bundle: str,
        record: TrialRecord,
        picture: bytes | None,
        there: Sent | None,
    ) -> None:
        from mlflow.exceptions import MlflowException

        tags = _tags(record) | {
            "mlflow.parentRunId": execution,
            BUNDLE: bundle,
            "picture": str(picture is not None).lower(),
        }
        torn = there is not None and there.holds(version(record.status, record.created_utc))
        if there is not None and torn:
            run = there.run
        else:
            run = self.client.create_run(self.id, None, tags, record.cell.key()).info.run_id
        try:
            self._fill(run, record, picture, tags if torn else {})
        except MlflowException as error:
            if self.client.get_run(run).info.lifecycle_stage == "deleted":
                raise _OvertakenError from error
            raise
        if there is not None and not torn:
            self.client.delete_run(there.run)  # a failure that has since been run again

    def _fill(
        self, run: str, record: TrialRecord, picture: bytes | None, tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        if picture is not None:
            self._artifact(run, PICTURE, picture)
        self.client.log_batch(
            run,
            metrics=[Metric(_key(k), v, 0, 0) for k, v in metrics(record).items()],
            params=[Param(_key(k), str(v)[:6000]) for k, v in _params(record).items()],
            tags=[RunTag(k, v) for k, v in tags.items()],
        )
        # A run that is still going is a torn upload, which is done again.
        done = record.status in ("done", "skipped")
        self.client.set_terminated(run, "FINISHED" if done else "FAILED")

    def _datasets(self, execution: str, records: Iterable[TrialRecord]) -> None:
        """Name the data sets of trials as inputs of the execution, each once."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = {}
        for record in records:
            digest = str(record.data.facts.get("sha256", ""))[:36] or "unknown"
            key = (execution, record.cell.dataset, digest)
            if key not in self._inputs:
                source = json.dumps({"source": record.data.source})
                data = Dataset(record.cell.dataset, digest, "inversion-bench", source)
                inputs[key] = DatasetInput(data, [InputTag("mlflow.data.context", "training")])
        if inputs:
            self.client.log_inputs(execution, list(inputs.values()))
            self._inputs |= set(inputs)

    def _artifact(self, run: str, name: str, data: bytes, folder: str | None = None) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_bytes(data)
            self.client.log_artifact(run, str(path), folder)


def _key(name: str) -> str:
    """A name as MLflow takes it."""
    return _BAD.sub("_", name)[:250]


def _tags(record: TrialRecord) -> dict[str, str]:
    tags = {
        "kind": "trial",
        "trial_id": record.trial_id,
        "status": record.status,
        "created": record.created_utc,
        "protocol_version": record.protocol_version,
        "sector": record.data.sector,
        "goal": record.goal,
        "access": record.access,
        "control": record.control or "none",
        "defense_family": record.defense.family,
        "attack_family": record.attack.family,
        "budget": str(record.budget.queries_cap or "unlimited"),
        "flags": ",".join(record.flags),
    }
    commit = (record.env.get("git") or {}).get("commit")
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def _params(record: TrialRecord) -> dict[str, Any]:
    params = {**record.cell.model_dump(), **_flat("target", record.target.params)}
    params |= _flat("attack", record.attack.params)
    for i, layer in enumerate(record.defense.layers):
        params |= _flat(f"defense.{i}", layer)
    return params


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
