"""A suite's newest run, read from MLflow alone."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contract.errors import UserError
from bench.contract.record import TrialRecord
from bench.engine.names import PICTURE, RECORD
from bench.engine.seal import digest_of, unsealed
from bench.engine.store import FAULTS
from bench.engine.tracking.server import connect, reachable
from bench.engine.tracking.trials import BUNDLE, MANIFEST, Sent, place, ranked, searched, sent_of

_LARGEST = 2**26
"""Bytes of a record from which on it is none."""
_BUNDLE = re.compile(rf"([0-9a-f]{{32}})/({BUNDLE}/[0-9a-f]{{32}}\.zip)")


def fetch(uri: str, suite: str) -> tuple[list[TrialRecord], dict[str, bytes], dict[str, Any]]:
    """Records, pictures and manifest of a suite's newest finished execution, from MLflow alone.

    Raises:
        UserError: the server cannot be reached, or does not know the suite.
    """
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
        artifacts = _Artifacts(client, Path(folder))
        manifest = _manifest(client, artifacts, experiment.experiment_id, missing)
        records: dict[str, TrialRecord] = {}
        pictures: dict[str, bytes] = {}
        # Bundle by bundle, so that each is downloaded and opened once.
        for run in sorted(_runs(client, experiment.experiment_id, manifest["trials"]), key=_bundle):
            key = run.sent.trial
            try:
                records[key], picture = artifacts.trial(run)
            except (ValueError, OSError, MlflowException, zipfile.BadZipFile) as error:
                FAULTS[Path("mlflow", run.sent.run, RECORD)] = (
                    f"{error}; delete this run in MLflow, then 'invbench sync' uploads it again"
                )
                continue
            if picture is not None:
                pictures[key] = picture
    return [records[k] for k in manifest["trials"] if k in records], pictures, manifest


@dataclass(frozen=True)
class _Run:
    """The run of a trial, its bundle (None in a run of before) and whether it has a picture."""

    sent: Sent
    bundle: str | None
    pictured: bool


def _bundle(run: _Run) -> str:
    return run.bundle or ""


def _runs(client: Any, experiment: str, wanted: Container[str]) -> list[_Run]:
    """The run of each trial that is wanted, of those whose upload was finished."""
    runs: dict[str, list[_Run]] = defaultdict(list)
    for run in searched(client, experiment, "tags.kind = 'trial'"):
        sent, tags = sent_of(run), run.data.tags
        # A run of before says by its status that it is whole.
        if sent.trial in wanted and sent.status and (sent.ended or BUNDLE not in tags):
            pictured = tags.get("picture") == "true"
            runs[sent.trial].append(_Run(sent, tags.get(BUNDLE), pictured))
    first = [ranked(run.sent for run in several)[0] for several in runs.values()]
    return [run for best in first for run in runs[best.trial] if run.sent is best]


def _manifest(
    client: Any, artifacts: _Artifacts, experiment: str, missing: UserError
) -> dict[str, Any]:
    """The manifest of the newest execution that has ended."""
    runs = client.search_runs(
        [experiment],
        "tags.kind = 'execution' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not runs:
        raise missing
    [run] = runs
    name = run.data.tags["execution"]
    try:
        manifest, _ = unsealed(artifacts.read(run.info.run_id, MANIFEST), place(name))
    except ValueError as error:
        raise UserError(
            f"'{MANIFEST}' of run '{name}' in MLflow cannot be used ({error}); 'invbench sync "
            f"label={run.data.tags['suite']}' uploads it again from the store."
        ) from error
    return manifest


class _Artifacts:
    """Reads artifacts; a bundle is downloaded once where its trials follow each other."""

    def __init__(self, client: Any, folder: Path) -> None:
        self._client, self._folder = client, folder
        self._open: tuple[str, zipfile.ZipFile] | None = None

    def read(self, run: str, name: str) -> bytes:
        """An artifact of a run."""
        path = Path(self._client.download_artifacts(run, name, str(self._folder)))
        data = path.read_bytes()
        if path.is_relative_to(self._folder):
            path.unlink()
        return data

    def trial(self, run: _Run) -> tuple[TrialRecord, bytes | None]:
        """The record of a trial, and its picture if it has one.

        Raises:
            ValueError: they are not what was uploaded.
        """
        key = run.sent.trial
        data = self.read(run.sent.run, RECORD) if run.bundle is None else self._member(run)
        record, digests = unsealed(data, place(key))
        picture = None
        if run.pictured:
            picture = self.read(run.sent.run, PICTURE)
            if digest_of(picture) != digests.get(PICTURE):
                raise ValueError(f"'{PICTURE}' is not what was uploaded")
        return TrialRecord.model_validate(record), picture

    def _member(self, run: _Run) -> bytes:
        assert run.bundle is not None
        if self._open is None or self._open[0] != run.bundle:
            named = _BUNDLE.fullmatch(run.bundle)
            if named is None:
                raise ValueError(f"the tag '{BUNDLE}' names no artifact")
            archive = zipfile.ZipFile(io.BytesIO(self.read(named[1], named[2])))
            self._open = (run.bundle, archive)
        try:
            member = self._open[1].getinfo(f"{run.sent.trial}.json")
        except KeyError as error:
            raise ValueError("the artifact that it names has no such record") from error
        if member.file_size > _LARGEST:
            raise ValueError(f"a record of {member.file_size} bytes is none")
        return self._open[1].read(member)
