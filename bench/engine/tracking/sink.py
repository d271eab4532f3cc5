"""MLflow as a sink: written by the driver only, idempotent, rebuildable from the store.

One experiment a suite, a parent run an execution, a child run a trial. What is still to be sent
stands in an outbox beside the store: a server that is away is tried again, and what is left at the
end is sent by the next run of the suite or by ``invbench sync``.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.errors import UserError, require
from bench.contract.record import TrialRecord
from bench.contract.secrets import in_one_line
from bench.engine.names import PICTURE
from bench.engine.store import Store
from bench.engine.tracking.outbox import FILE, Outbox
from bench.engine.tracking.reading import fetch
from bench.engine.tracking.server import reachable
from bench.engine.tracking.trials import Experiment, Sent, version

if TYPE_CHECKING:
    from bench.engine.graph import Node

__all__ = ["BackgroundSink", "fetch", "picture", "stored", "sync"]

_BATCH = 100
"""Trials whose records travel in one artifact."""
_PERIOD_S = 2.0
_LONGEST_PAUSE_S = 30.0
_PATIENCE_S = 15.0
"""So long a server that was there is waited for at the end."""
_HASTE_S = 4.0
"""So long it is waited for by a run that was stopped; what is left goes with the next one."""
_ROUNDS = 3


class _Sender:
    """Sends what waits in the outbox of a suite; it belongs to the thread that made it.

    Attributes:
        written: trials that it has sent.
    """

    def __init__(self, uri: str, manifest: Mapping[str, Any], store: Store) -> None:
        self.written = 0
        self._uri, self._manifest, self._store = uri, manifest, store
        self._outbox = Outbox(store.root, uri, manifest["suite"])
        self._manifests: dict[str, Mapping[str, Any]] = {manifest["name"]: manifest}
        self._experiment: Experiment | None = None
        self._began_ms = 0
        self._there: dict[str, Sent] | None = None
        self._mine: set[str] = set()

    @property
    def connected(self) -> bool:
        """Whether the server was ever reached."""
        return self._experiment is not None

    def put(self, versions: Mapping[str, str]) -> None:
        """Note trials of this execution to be sent."""
        self._outbox.put(self._manifest["name"], versions)

    def note(self, trials: Mapping[str, bool]) -> None:
        """Note trials by identity, true of those that have just ended: of the others those that
        the outbox has not seen.
        """
        fresh = [key for key, ended_now in trials.items() if ended_now]
        self.put(
            _versions(self._store, [*fresh, *self._outbox.unknown(trials.keys() - set(fresh))])
        )

    def compare(self, versions: Mapping[str, str]) -> None:
        """Note of trials what MLflow really has of them, whatever was noted before."""
        with self._outbox.sending():
            self._there = there = self._reached().trials()
            present = {
                trial
                for trial, wanted in versions.items()
                if trial in there and there[trial].ended and there[trial].holds(wanted)
            }
            self._outbox.sent(present)
            self._outbox.again(versions.keys() - present)

    def drain(self) -> None:
        """Send everything that waits; raises what the server does."""
        self._reached()
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            after = self._batch(after)

    def _batch(self, after: tuple[str, str]) -> tuple[str, str] | None:
        """Send the next trials of one execution; returns where it stopped, None at the end."""
        with self._outbox.sending():
            rows = self._outbox.waiting(after, _BATCH)
            if not rows:
                return None
            experiment = self._reached()
            execution = rows[0][1]
            keys = [trial for trial, asked_by in rows if asked_by == execution]
            if self._there is None:
                self._there = experiment.trials()
            records = [record for key in keys if (record := stored(self._store, key)) is not None]
            there = self._there
            lacking = [r for r in records if not _has(there.get(r.trial_id), r)]
            if lacking:
                self._there = None  # until it is certain what has become of them
                run = experiment.execution(execution, self._manifest_of(execution))
                outcome = experiment.send(
                    run, [(r, picture(self._store, r)) for r in lacking], there
                )
                there_now = [*outcome.sent, *outcome.overtaken]
                self._outbox.sent(there_now)
                self._mine.update(there_now)
                self.written += len(outcome.sent)
                for trial, error in outcome.refused.items():
                    self._outbox.refused(trial, in_one_line(error))
                if outcome.trouble is not None:
                    raise outcome.trouble
                if not outcome.refused and not outcome.overtaken:
                    self._there = there
            self._outbox.sent({r.trial_id for r in records} - {r.trial_id for r in lacking})
            return execution, keys[-1]

    def settle(self) -> None:
        """See that each trial that was sent has one run, which is whole."""
        for _ in range(_ROUNDS):
            if not self._mine:
                return
            with self._outbox.sending():
                there = self._reached().trials(self._began_ms)
            whole = {trial for trial, sent in there.items() if sent.ended}
            self._outbox.again(self._mine - whole)
            torn, self._mine = self._mine - whole, set()
            if torn:
                self._there = None
                self.drain()

    def finish(self, manifest: Mapping[str, Any], pages: Path | None) -> None:
        """End this execution, and earlier ones that were sent only now."""
        with self._outbox.sending():
            experiment = self._reached()
            for name, earlier in self._manifests.items():
                if name != manifest["name"] and earlier.get("state", "running") != "running":
                    experiment.finish(earlier, None)
            experiment.finish(manifest, pages)

    def left(self) -> str:
        """How many trials wait still, and why; empty if none does. Nobody adds any by now."""
        waiting = self._outbox.waiting()
        self._outbox.drop([key for key, _ in waiting if _record(self._store, key) is None])
        count, error = self._outbox.left()
        reason = f": {error}" if error else ""
        return f"{count} trials are not sent{reason}" if count else ""

    def close(self) -> None:
        """Let go of the outbox."""
        self._outbox.close()

    def _reached(self) -> Experiment:
        if self._experiment is None:
            self._began_ms = int(time.time() * 1000)
            self._experiment = Experiment(self._uri, self._manifest["suite"])
            self._outbox.meet(self._experiment.identity)
        return self._experiment

    def _manifest_of(self, execution: str) -> Mapping[str, Any] | None:
        if execution not in self._manifests:
            named = (m for m in self._store.executions() if m["name"] == execution)
            if (manifest := next(named, None)) is not None:
                self._manifests[execution] = manifest
        return self._manifests.get(execution)


def _has(sent: Sent | None, record: TrialRecord) -> bool:
    wanted = version(record.status, record.created_utc)
    return sent is not None and sent.ended and sent.holds(wanted)


class BackgroundSink:
    """Sends beside the run, in a thread of its own; a driver's listener.

    A server that fails does not stop the run and is tried again: ``problem`` says what is wrong
    with it now, or was at the end.
    """

    def __init__(self, uri: str, suite: str, manifest: Mapping[str, Any], store: Store) -> None:
        self.problem: str | None = None
        self.written = 0
        self._arguments = (uri, {**manifest, "suite": suite}, store.root)
        self._noted: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._end: tuple[Mapping[str, Any], Path | None] | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def node(self, node: Node, status: str, seconds: float) -> None:
        """Nodes are not tracked, trials are."""

    def tick(self, running: int) -> None:
        """Nothing to do."""

    def trial(self, key: str, status: str, fresh: bool) -> None:
        """Note a trial; the thread finds its record in the store."""
        with self._lock:
            self._noted[key] = fresh or self._noted.get(key, False)

    def close(self, manifest: Mapping[str, Any], pages: Path | None) -> None:
        """Wait until everything is sent, then end the execution; not long if it was stopped.

        Args:
            manifest: of the execution.
            pages: folder of its site; None: nothing has ended.
        """
        self._end = (manifest, pages)
        self._ending.set()
        self._thread.join(_HASTE_S if manifest.get("state") == "interrupted" else None)
        if self._thread.is_alive():
            self.problem = self.problem or "the run was stopped before everything was sent"

    def _work(self) -> None:
        try:
            uri, manifest, root = self._arguments
            sender = _Sender(uri, manifest, Store(root))
        except Exception as error:
            self.problem = in_one_line(error, 500)
            return
        pause, ended = 0.0, None
        try:
            while True:
                ended = ended or (time.monotonic() if self._ending.wait(pause) else None)
                try:
                    self._pass(sender)
                    self.problem, pause = None, _PERIOD_S
                    if ended:
                        self._finish(sender)
                        return
                except Exception as error:
                    # Whatever the server does, the run goes on; the store has everything.
                    self.problem = in_one_line(error, 500)
                    pause = min(max(1.0, 2 * pause), _LONGEST_PAUSE_S)
                    waited = time.monotonic() - (ended or time.monotonic())
                    if ended and (waited > _PATIENCE_S or not sender.connected):
                        return
                    if ended:
                        time.sleep(min(pause, 2.0))
        finally:
            self.written = sender.written
            sender.close()

    def _pass(self, sender: _Sender) -> None:
        with self._lock:
            noted = dict(self._noted)
        sender.note(noted)
        with self._lock:
            for trial, fresh in noted.items():
                if self._noted.get(trial) == fresh:
                    del self._noted[trial]
        sender.drain()

    def _finish(self, sender: _Sender) -> None:
        assert self._end is not None
        sender.settle()
        sender.finish(*self._end)
        self.problem = sender.left() or None


def sync(store: Store, uri: str, manifest: Mapping[str, Any], pages: Path | None) -> int:
    """Upload what MLflow lacks of one execution; returns the number of trials written.

    What an earlier run of the suite has left in the outbox goes with it.

    Args:
        store: where its records are.
        uri: tracking URI.
        manifest: of the execution.
        pages: folder of its site; None: nothing has ended.

    Raises:
        UserError: the server cannot be reached, or does not take some trials.
    """
    try:
        return _synced(store, uri, manifest, pages)
    except sqlite3.Error as error:
        raise UserError(
            f"'{store.root / FILE}' cannot be written ({in_one_line(error, 200)}); make room "
            f"there, or make the folder writable."
        ) from error


def _synced(store: Store, uri: str, manifest: Mapping[str, Any], pages: Path | None) -> int:
    sender = _Sender(uri, manifest, store)
    versions = _versions(store, manifest["trials"])

    def everything() -> None:
        sender.compare(versions)
        sender.drain()
        sender.settle()
        sender.finish(manifest, pages)

    try:
        with reachable(uri):
            sender.put(versions)
            _patiently(everything, sender)
        left = sender.left()
    finally:
        sender.close()
    require(not left, f"MLflow at '{uri}' did not take everything: {left}.")
    return sender.written


def _patiently(act: Callable[[], None], sender: _Sender) -> None:
    """Try again for a while if a server that was there does not answer."""
    began = time.monotonic()
    while True:
        try:
            act()
            return
        except Exception:
            if not sender.connected or time.monotonic() - began > _PATIENCE_S:
                raise
            time.sleep(1.0)


def stored(store: Store, key: str) -> TrialRecord | None:
    """A trial's record in the store: its result, else its last failure, else None.

    None too where its result is damaged: an earlier failure does not stand for it.
    """
    record = _record(store, key)
    return None if record is None else TrialRecord.model_validate(record)


def _record(store: Store, key: str) -> dict[str, Any] | None:
    return store.record("trial", key) if store.has("trial", key) else store.failure("trial", key)


def _versions(store: Store, keys: Iterable[str]) -> dict[str, str]:
    """What tells the records of trials from others of the same trials, of those in the store."""
    wanted = list(keys)
    records = dict(store.records("trial", wanted))
    absent = [key for key in wanted if key not in records and not store.has("trial", key)]
    records |= store.latest_failures("trial", absent)
    return {k: version(record["status"], record["created_utc"]) for k, record in records.items()}


def picture(store: Store, record: TrialRecord) -> bytes | None:
    """A trial's picture, where the data's card allows to show it."""
    return store.file("trial", record.trial_id, PICTURE) if record.data.publishable else None
