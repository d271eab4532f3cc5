"""The answer of the decision rule, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.decide.candidates import Candidate, Question

if TYPE_CHECKING:
    from bench.decide.further import ToRun


@dataclass(frozen=True)
class Decision:
    """What the rule says.

    Attributes:
        question: what was asked.
        metric: of utility, that ``bars.loss`` was compared in.
        chosen: the recommended defense; None: nothing qualifies.
        because: how it was told from those tied with it.
        runner_up: the next in the rule's order. why_not: what put it behind.
        undefended: whether a model without a defense is itself admissible; it is then chosen.
        admissible: all that qualify, in the rule's order.
        rejected: all that do not, least leakage first.
        nearest: of those that were measured well the one that breaks fewest bars, best only by the
            width of an interval; the most useful of them.
        missing: required goals without evidence, as sentences.
        steps: what to do next where nothing qualifies, in order.
        to_run: what would have to be run for another answer, as commands.
        caveats: what qualifies the answer, not-tested things last.
        digests: sha256 of the evidence, by suite.
        recorded: first and last day of it.
        verified: whether somebody else re-ran all of it.
        until: day until which the answer stands.
    """

    question: Question
    metric: str
    chosen: Candidate | None
    because: str
    runner_up: Candidate | None
    why_not: str
    undefended: bool
    admissible: tuple[Candidate, ...]
    rejected: tuple[Candidate, ...]
    missing: tuple[str, ...]
    nearest: Candidate | None = None
    steps: tuple[str, ...] = ()
    to_run: tuple[ToRun, ...] = ()
    caveats: tuple[str, ...] = ()
    digests: Mapping[str, str] | None = None
    recorded: tuple[str, str] = ("", "")
    verified: bool = False
    until: str = ""
