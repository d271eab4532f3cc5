"""An attempt to get a PASS that is not deserved: an honest case, and the means to change it."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from bench.contract import UserError
from bench.contract.record import TrialRecord
from bench.decide import candidates as rule
from bench.decide import deployed, evidence, gate
from bench.decide import policy as policies
from bench.decide.candidates import Question
from bench.decide.deployed import Deployed
from bench.decide.evidence import Source
from bench.decide.policy import Policy
from bench.decide.verdict import Judgement
from bench.engine.conf import config_dir
from tests.decide import made
from tests.decide.made import Row

RERUN = {"Other lab": "2026-03-10T00:00:00+00:00"}
RAN = {"name": "20260301T000000000-made", "started_utc": "2026-03-01T00:00:00+00:00"}
HONEST: Mapping[str, Any] = {
    "name": "scoring",
    "version": "1",
    "owner": "Risk team",
    "purpose": "Rank applications",
    "necessity": "Too many to read",
    "tier": "T2",
    "data": {
        "sources": ["loans of our branches"],
        "dataset": "loans",
        "sha256": made.DATA_SHA,
        "privacy_unit": "record",
        "categories": ["income"],
        "sector": "credit",
    },
    "exposure": {"access": "scores", "users": "our own staff"},
    "model": "mlp",
    "defense": {"name": "shield", "params": {"min_leaf": 50}},
    "artifact": {"sha256": made.weights("shield", 0)},
    "dp": {"epsilon": 2.0, "delta": 1e-5, "unit": "record", "sampling": "poisson"},
    "evidence": ["made"],
    "subgroups": "by age: alike",
    "monitoring": "volume by account",
    "incident_contact": "privacy@bank.com",
}


def honest_row(**changes: Any) -> Row:
    """The defense that passes."""
    fields = {"layer": {"min_leaf": 50}, **changes.pop("fields", {})}
    return Row(**{"ledger": made.ledger(), "fields": fields, **changes})


def honest_records(row: Row | None = None, seeds: int = 10, **changes: Any) -> list[TrialRecord]:
    """Its records, and those of the undefended target."""
    return made.records({"none": made.NONE, "shield": row or honest_row()}, seeds, **changes)


@functools.cache
def honest_source() -> Source:
    """Its evidence, which somebody else signed to have run again."""
    return replace(_read(honest_records()), reruns=RERUN)


def _read(records: Iterable[TrialRecord], plan: Mapping[str, Any] = RAN) -> Source:
    pack = replace(made.of_records(list(records), None, **plan), digest="made")
    return evidence.read([pack])[0]


@dataclass
class Attempt:
    """Everything that a verdict rests on, honest until it is changed."""

    model: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(dict(HONEST)))
    model_text: str = ""
    policy: dict[str, Any] | None = None
    policy_text: str = ""
    today: date = date(2026, 4, 1)
    sources: Callable[[], list[Source]] = lambda: [honest_source()]

    def judged(self) -> Judgement:
        """The gate's verdict; UserError: it refuses."""
        model, policy = self._model(), self._policy()
        weights = deployed.digest(model.artifact)
        with mock.patch.object(gate.candidates, "candidates", _once):
            return gate.judge(self.sources(), model, policy, self.today, weights)

    def _model(self) -> Deployed:
        return _of_text(deployed.load, self.model_text or yaml.safe_dump(self.model))

    def _policy(self) -> Policy:
        if self.policy is None and not self.policy_text:
            return policies.shipped()
        return _of_text(policies.load, self.policy_text or _dump(self.policy))


_rule = rule.candidates
_MADE: dict[str, Any] = {}


def _once(sources: list[Source], question: Question) -> Any:
    """What the decision rule finds, worked out once for the same evidence and question."""
    key = repr(([(id(s.boards), s.refuted) for s in sources], question))
    if key not in _MADE:
        _MADE[key] = sources, _rule(sources, question)
    return _MADE[key][1]


def _dump(policy: Mapping[str, Any] | None) -> str:
    return yaml.safe_dump(policy, sort_keys=False)


def _of_text(load: Callable[[Path], Any], text: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path)


@dataclass(frozen=True)
class Way:
    """One attempt: its name, what it changes, what must come of it and by which rule.

    ``verdict`` may be ``refused``: an error before anything is judged. The rule ``shown`` stands
    for a policy that may say so, and whose difference from the shipped one every verdict prints.
    """

    name: str
    verdict: str
    rule: str
    changes: tuple[Change, ...]


def way(name: str, verdict: str, rule: str, *changes: Change) -> Way:
    """A way by its name, the outcome and rule that it must meet, and its changes."""
    return Way(name, verdict, rule, changes)


def outcome(*changes: Change) -> tuple[str, set[str], str]:
    """What comes of an attempt.

    Returns:
        The verdict or ``refused``; the rules that are not waived; for people, the first sentence.
    """
    attempt = Attempt()
    for change in changes:
        change(attempt)
    try:
        judged = attempt.judged()
    except UserError as error:
        return "refused", set(), str(error)
    open_ = [f for f in judged.findings if f.waiver is None]
    shown = judged.differences[0] if judged.differences else ""
    return (
        judged.verdict,
        {f.rule for f in open_}
        | ({"shown"} if "NOT the shipped" in judged.policy.title else set()),
        open_[0].sentence if open_ else shown,
    )


Change = Callable[[Attempt], None]


def _put(tree: dict[str, Any], place: str, value: Any) -> None:
    *folders, last = place.split(".")
    for name in folders:
        tree = tree.setdefault(name, {})
    tree[last] = value


def says(place: str, value: Any) -> Change:
    """The description says something else at a place such as ``data.sector``."""
    return lambda attempt: _put(attempt.model, place, value)


def describes(text: str) -> Change:
    """The description has a further line."""

    def change(attempt: Attempt) -> None:
        attempt.model_text = yaml.safe_dump(attempt.model) + text

    return change


def rules(place: str, value: Any) -> Change:
    """The policy, still called default, says something else at a place."""

    def change(attempt: Attempt) -> None:
        attempt.policy = attempt.policy or yaml.safe_load(_shipped())
        _put(attempt.policy, place, value)

    return change


def rules_text(old: str, new: str) -> Change:
    """The policy's file has other text."""

    def change(attempt: Attempt) -> None:
        attempt.policy_text = _shipped().replace(old, new)
        assert attempt.policy_text != _shipped()

    return change


@functools.cache
def _shipped() -> str:
    return (config_dir() / "policy" / "default.yaml").read_text(encoding="utf-8")


def on(day: str) -> Change:
    """Judged on another day."""

    def change(attempt: Attempt) -> None:
        attempt.today = date.fromisoformat(day)

    return change


def known(**fields: Any) -> Change:
    """Other facts of the pack: notes, parts, who ran it again."""

    def change(attempt: Attempt) -> None:
        attempt.sources = lambda: [replace(honest_source(), **fields)]

    return change


def holds(make: Callable[[], Iterable[TrialRecord]], **plan: Any) -> Change:
    """The pack holds other records, and lists them unless ``plan`` says otherwise."""

    def change(attempt: Attempt) -> None:
        attempt.sources = lambda: [replace(_read(make(), {**RAN, **plan}), reruns=RERUN)]

    return change


def besides(make: Callable[[], Iterable[TrialRecord]]) -> Change:
    """A second pack of the same deployment, as honest as the first."""

    def change(attempt: Attempt) -> None:
        attempt.sources = lambda: [honest_source(), replace(_read(make()), reruns=RERUN)]

    return change
