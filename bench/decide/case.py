"""What the gate's rules look at: a description, its evidence and what the decision rule found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from bench.contract.ledger import PrivacyLedger
from bench.decide.candidates import Candidate, Question
from bench.decide.deployed import Deployed, Role, SignOff
from bench.decide.evidence import Scenario, Source
from bench.decide.policy import Policy


@dataclass(frozen=True)
class Case:
    """A model before the gate.

    Attributes:
        named: all evidence that the description names.
        sources: that of it which is about the scenario.
        model: the description. policy: bars and rules. today: the day of judgement.
        names: digests of the released model, or its address; empty: unknown.
        question: what is asked of the evidence.
        candidate: the model's defense, as the evidence has it.
        missing: goals of which nothing is known, in sentences.
        declined: goals that the description calls irrelevant.
        ledger: of differential privacy, if there is one.
        trials: rows of the defense, controls left out. filling: those of a stand-in that count.
        signed: sign-offs that count, by role.
        unsigned: why others do not, in sentences.
    """

    named: tuple[Source, ...]
    sources: tuple[Source, ...]
    model: Deployed
    policy: Policy
    today: date
    names: tuple[str, ...]
    question: Question
    candidate: Candidate
    missing: tuple[str, ...]
    declined: tuple[str, ...]
    ledger: PrivacyLedger | None
    trials: pd.DataFrame
    filling: pd.DataFrame
    signed: Mapping[Role, SignOff]
    unsigned: tuple[str, ...]

    @property
    def scenario(self) -> Scenario:
        """What is deployed, in the evidence's words."""
        return self.question.scenario

    @property
    def row(self) -> str:
        """The row of the scenario that the defense is judged by."""
        return self.question.row(self.candidate.defense)

    @property
    def first(self) -> date:
        """Day of the oldest trial."""
        return recorded(self.sources)[0]

    @property
    def first_moment(self) -> datetime:
        """When the oldest trial was recorded."""
        return min(datetime.fromisoformat(s.facts.first) for s in self.sources)

    @property
    def last(self) -> date:
        """Day of the newest trial."""
        return recorded(self.sources)[1]


def recorded(sources: Sequence[Source]) -> tuple[date, date]:
    """Days of the oldest and of the newest trial."""
    times = [
        datetime.fromisoformat(text) for s in sources for text in (s.facts.first, s.facts.last)
    ]
    return min(times).date(), max(times).date()
