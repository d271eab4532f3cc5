"""What the gate says of a model, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import pandas as pd

from bench.contract.ledger import PrivacyLedger
from bench.decide import covered
from bench.decide.candidates import Candidate, Question
from bench.decide.deployed import ROLES, Deployed, Role, SignOff, Waiver
from bench.decide.evidence import Scenario
from bench.decide.policy import Policy
from bench.decide.rulebook import Severity
from bench.goals import goals

Verdict = Literal["PASS", "CONDITIONAL", "BLOCK"]


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold."""

    rule: str
    severity: Severity
    sentence: str
    waiver: Waiver | None = None


@dataclass(frozen=True)
class Judgement:
    """What the gate says of a model.

    Attributes:
        verdict: BLOCK if any finding blocks, else CONDITIONAL if one is not waived, else PASS.
        findings: what does not hold, blocking ones first, waived ones last.
        model: what was judged. policy: by which rules. today: on which day.
        scenario: in the evidence's words.
        question: bars and goals.
        candidate: the model's defense, as the evidence has it.
        others: the other defenses of the scenario.
        metric: of utility.
        ledger: of differential privacy, if there is one.
        audit_lower: largest lower bound of epsilon that canaries gave.
        audit: what canaries say of the claim, in words.
        weights: digest of the released weights or file, or an address.
        suites: names of the evidence.
        evidence_digest: sha256 over all records of the evidence.
        recorded: day of the oldest trial. evidence_first: its moment (RFC 3339).
        valid_until: last day of the result.
        releases: benchmark version and protocol of the evidence.
        gains: by subgroup, the worst attack's gain over its baseline.
        limits: what must be known of the figures.
        untested: what the evidence says nothing about.
        signed: sign-offs that count, by role. unsigned: why others do not, in sentences.
        differences: keys by which the policy differs from the shipped one, with both values.
        pia_id: names what was judged; unlike waivers and sign-offs, anything else changes it.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    model: Deployed
    policy: Policy
    today: date
    scenario: Scenario
    question: Question
    candidate: Candidate
    others: tuple[Candidate, ...]
    metric: str
    ledger: PrivacyLedger | None
    audit_lower: float | None
    audit: str
    weights: str
    suites: tuple[str, ...]
    evidence_digest: str
    recorded: date
    valid_until: date
    releases: str
    gains: pd.DataFrame
    limits: tuple[str, ...]
    untested: tuple[str, ...]
    signed: Mapping[Role, SignOff]
    unsigned: tuple[str, ...]
    differences: tuple[str, ...]
    pia_id: str
    evidence_first: str

    @property
    def waived(self) -> tuple[Finding, ...]:
        """Findings that a waiver lets pass."""
        return tuple(f for f in self.findings if f.waiver is not None)

    @property
    def address(self) -> str:
        """Of the released model, where it is known by nothing else."""
        artifact = self.model.artifact
        return "" if artifact is None else artifact.url or ""

    @property
    def evidence_of(self) -> str:
        """What the figures are of: the deployed model itself, or a stand-in."""
        measured = self.candidate.measured
        return covered.of_what(measured, [goals()[m.goal].words.code for m in measured])

    @property
    def status(self) -> str:
        """Of the assessment: draft, approved, waived or expired."""
        if self.today > self.valid_until:
            return "expired"
        if self.verdict != "PASS" or any(role not in self.signed for role in ROLES):
            return "draft"
        return "waived" if self.waived else "approved"
