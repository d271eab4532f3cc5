"""Which evidence decides: that of the model itself, and of a stand-in what that does not cover."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.contract.access import Access
from bench.decide import evidence
from bench.decide.evidence import Scenario, Source
from bench.decide.figures import Measured
from bench.report.frame import UNDEFENDED

if TYPE_CHECKING:
    from bench.decide.candidates import Candidate, Question

Rows = dict[str, list[Measured]]
ITSELF, STAND_IN = "the deployed model", "a stand-in"


def boards(sources: Sequence[Source], question: Question) -> dict[str, Rows]:
    """Every defense's rows for each goal that is asked about.

    Where the scenario has a board with the access, that decides, whatever it says. Only where it
    has none do rows of the stand-in fill the place, and what was found on the scenario with less
    access counts with them.
    """
    return {
        goal: _own(sources, question, goal, access) or _filled(sources, question, goal, access)
        for goal, access in question.goals
    }


def _own(sources: Sequence[Source], question: Question, goal: str, access: Access) -> Rows:
    rows = evidence.measured(sources, question.scenario, goal, access, question.query_cap)
    trained = question.trained_with
    # The defense is in the weights already: the model as it was given is the model with it.
    return {**rows, trained: rows[UNDEFENDED]} if trained and UNDEFENDED in rows else rows


def _filled(sources: Sequence[Source], question: Question, goal: str, access: Access) -> Rows:
    if question.stand_in is None:
        return {}
    of = question.scenario
    rows = evidence.measured(sources, question.stand_in, goal, access, question.query_cap)
    out = {}
    for defense, found in rows.items():
        less = [
            replace(w, model=of.model)
            for w in evidence.weaker(sources, of, goal, found[0].access, found[0].budget).get(
                question.row(defense), ()
            )
        ]
        out[defense] = [replace(m, weaker=(*m.weaker, *less)) for m in found]
    return out


def trained_with(
    sources: Sequence[Source], of: Scenario, stand_in: Scenario | None, defense: str
) -> str:
    """The defense, where it is in the weights of the model that was given already; else empty.

    That is one which the scenario has no row of, and which acts on a stand-in's training alone.
    """
    own = [s.trials(of) for s in sources]
    given = any(table["single"].any() for table in own)
    if stand_in is None or not given or any(defense in set(table["defense"]) for table in own):
        return ""
    known = [s.facts.defenses[defense] for s in sources if defense in s.facts.defenses]
    return defense if known and all(info.stages == ["training"] for info in known) else ""


def marked(found: Sequence[Candidate], names: Collection[str]) -> list[Candidate]:
    """The same candidates, whose rows say whether they are of the deployed model itself.

    Args:
        found: candidates.
        names: digests and addresses of the deployed model.
    """
    return [
        replace(
            c,
            measured=tuple(
                replace(m, itself=m.single and not m.known_as.isdisjoint(names)) for m in c.measured
            ),
        )
        for c in found
    ]


def scenario_of(m: Measured, of: Scenario) -> Scenario:
    """The scenario that a row is of, where the question is about another."""
    return replace(of, model=m.model or of.model)


def of_what(measured: Sequence[Measured], codes: Collection[str] = ()) -> str:
    """What figures are of: the deployed model, a stand-in, or for which goals a stand-in.

    Args:
        measured: rows.
        codes: of their goals, in the same order.
    """
    own = [m.itself for m in measured]
    if not any(own):
        return STAND_IN
    others = dict.fromkeys(c for c, itself in zip(codes, own, strict=True) if not itself)
    return f"{ITSELF}; {STAND_IN} for {', '.join(others)}" if others else ITSELF


def whose(m: Measured) -> str:
    """What the figures of one row are of."""
    return ITSELF if m.itself else STAND_IN
