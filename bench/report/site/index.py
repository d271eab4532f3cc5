"""What the front page shows, as plain values."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.contract.access import ACCESS, ACCESS_ORDER
from bench.contract.names import words
from bench.goals import goal_named
from bench.report import account
from bench.report.answers import Answer, Answers
from bench.report.frame import REGULARISED, UNDEFENDED
from bench.report.names import sector, sees
from bench.report.site.lessons import lessons
from bench.report.site.overview import overview
from bench.report.site.suite import Suite
from bench.report.text import brief

Row = dict[str, Any]

DEPLOYED = {
    "table": "a model that scores people",
    "image": "a classifier of pictures",
    "basket": "a recommender or a model of purchases",
    "federated": "a model trained across clients",
}
"""What a reader may deploy, by the kind of records; federated training is a kind of its own."""


def page(suite: Suite, answers: Answers) -> Row:
    """Everything the template of the front page needs."""
    return {
        "counts": account.counts(suite.frame, suite.given, suite.facts.coverage),
        "families": {
            "defenses": len({*suite.family.values()} - {UNDEFENDED, REGULARISED}),
            "attacks": suite.attacking,
        },
        "ask": _asked(suite, answers),
        "overview": overview(suite),
        "lessons": lessons(suite),
        "scenarios": _scenarios(suite),
    }


# ---------------------------------------------------------------- which defense
def _asked(suite: Suite, answers: Answers) -> Row:
    """The three choices and what is answered to each."""
    each = [_answer(suite, answer) for answer in answers.each]
    kinds = {answer["kind"] for answer in each}
    known = {answer["access"] for answer in each}
    return {
        "policy": answers.policy,
        "kinds": {kind: text for kind, text in DEPLOYED.items() if kind in kinds},
        "accesses": {name: ACCESS[name].title for name in ACCESS_ORDER if name in known},
        "tiers": answers.tiers,
        "answers": each,
    }


def _answer(suite: Suite, answer: Answer) -> Row:
    chosen = answer.chosen
    bare = chosen is not None and suite.family[chosen.defense] in (UNDEFENDED, REGULARISED)
    return {
        "kind": "federated" if answer.federated else answer.modality,
        "access": answer.access,
        "tier": answer.tier,
        "target": suite.target(answer.dataset, answer.model),
        "chosen": chosen,
        "bare": bare,
        "page": "" if chosen is None else suite.defenses[suite.family[chosen.defense]],
        "reason": suite.spelled(answer.reason),
        "runner_up": answer.runner_up,
        "behind": suite.spelled(answer.behind),
        "boards": [
            {
                "id": board,
                "title": goal_named(key.goal).words.title,
            }
            for key, board in suite.ids.items()
            if (key.dataset, key.model) == (answer.dataset, answer.model)
            and (key.goal, key.access) in answer.goals
            and key.budget == float("inf")
        ],
    }


# ---------------------------------------------------------------- the boards
def _scenarios(suite: Suite) -> list[Row]:
    scenarios: list[Row] = []
    for key, rows in suite.boards:
        if not scenarios or scenarios[-1]["key"] != key.scenario:
            card = suite.facts.cards[key.dataset]
            scenarios.append(
                {
                    "key": key.scenario,
                    "sector": sector(key.sector),
                    "title": suite.title(key),
                    "unit": card.privacy_unit,
                    "modality": card.modality,
                    "source": card.source[:1].upper() + card.source[1:].rstrip("."),
                    "boards": [],
                }
            )
        scenarios[-1]["boards"].append(
            {
                "id": suite.ids[key],
                "sees": sees(key.access, key.budget),
                "brief": brief(rows, partial(suite.called, "defense")),
                "kinds": [
                    words(kind) for kind, _ in suite.boards.notes[key] if kind != "monotonicity"
                ],
            }
        )
    return scenarios
