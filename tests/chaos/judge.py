"""Whether a store holds what that of an undisturbed run holds: record for record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contract import UserError
from bench.engine.graph import KINDS
from bench.engine.store import Store

_PASSING = frozenset(
    {
        *("attempt", "created_utc", "env", "host", "label", "seal", "seconds", "times"),
        *("train_s", "attack_s", "score_s", "answer_ms", "peak_rss_mb", "infrastructure"),
    }
)
"""What differs between two runs of the same thing."""
_TELLING = ("type", "node")
"""What is compared of a failure: its message may hold a process number, its traceback lines."""

Snapshot = Mapping[str, Any]
"""Place in a store to what stands there, without what differs between two runs."""


def snapshot(root: Path) -> dict[str, Any]:
    """Everything that a store holds of nodes and trials; nothing where it cannot be opened."""
    try:
        store = Store(root)
    except UserError:
        return {}
    places: dict[str, Any] = {}
    for kind in (*KINDS, "trial"):
        done = store.ids(kind)
        for key in done:
            record = store.record(kind, key)
            # A damaged result counts as not there.
            if record is not None and store.intact(kind, key):
                places[f"{kind}/{key}"] = lasting(record)
        for key in set(store.failures(kind)) - done:
            record = store.failure(kind, key)
            if record is not None:
                places[f"failed/{kind}/{key}"] = lasting(record)
    return places


def set_aside(root: Path) -> set[str]:
    """Places of nodes whose damage was found and said.

    The trial that a node belongs to was joined before; the node is made again when a run needs it.
    """
    aside = root / "aside"
    places = set()
    for note in aside.rglob("*.json") if aside.is_dir() else ():
        parts = note.relative_to(aside).parts
        # Of a failure the attempts are set aside, one by one.
        kept = parts[:3] if parts[0] == "failed" else parts[:2]
        if "trial" not in kept:
            places.add("/".join(part.split(".")[0] for part in kept))
    return places


def lasting(value: Any) -> Any:
    """A record without what differs between two runs."""
    if isinstance(value, Mapping):
        if {"type", "message"} <= value.keys():
            return {name: value.get(name, "") for name in _TELLING}
        kept = {k: lasting(v) for k, v in value.items() if k not in _PASSING}
        if "flags" in kept:
            kept["flags"] = [flag for flag in kept["flags"] if flag != "dirty"]
        return kept
    if isinstance(value, list):
        return [lasting(part) for part in value]
    return value


@dataclass
class Verdict:
    """What went wrong in a round; each is a list of sentences."""

    lost: list[str] = field(default_factory=list)
    """Results that are not there at the end."""
    doubled: list[str] = field(default_factory=list)
    """Work done by two at once, and trials that stand twice in MLflow."""
    wrong: list[str] = field(default_factory=list)
    """Results that differ, failures that are no result, drivers that ended in a crash."""
    hung: list[str] = field(default_factory=list)
    """What did not end by itself in time."""

    def add(self, other: Verdict) -> None:
        """Take over what another one says."""
        for name in ("lost", "doubled", "wrong", "hung"):
            getattr(self, name).extend(getattr(other, name))

    def sentences(self) -> list[str]:
        """All of them."""
        return [*self.lost, *self.doubled, *self.wrong, *self.hung]

    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {name: len(getattr(self, name)) for name in ("lost", "doubled", "wrong", "hung")}


def compare(expected: Snapshot, actual: Snapshot) -> Verdict:
    """Hold a store against that of an undisturbed run."""
    verdict = Verdict()
    if expected and not actual:
        verdict.lost.append(f"the whole store: {len(expected)} results")
        return verdict
    for place in sorted(expected.keys() - actual.keys()):
        if f"failed/{place}" in actual:
            reason = actual[f"failed/{place}"]
            verdict.wrong.append(f"{place} stands as a failure: {_short(reason)}")
        else:
            verdict.lost.append(f"{place} is not there")
    for place in sorted(actual.keys() - expected.keys()):
        if place.removeprefix("failed/") not in expected:
            verdict.wrong.append(f"{place} should not be there: {_short(actual[place])}")
    for place in sorted(expected.keys() & actual.keys()):
        if differing := sorted(differences(expected[place], actual[place])):
            verdict.wrong.append(f"{place} differs in {', '.join(differing)}")
    return verdict


def differences(one: Any, other: Any, place: str = "") -> Iterable[str]:
    """Where two documents differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{place}.{key}".lstrip("."))
    elif one != other:
        yield place


def _short(record: Any) -> str:
    error = record.get("error") or {} if isinstance(record, Mapping) else {}
    status = record.get("status", "") if isinstance(record, Mapping) else ""
    return f"{status} {error.get('type', '')}".strip()
