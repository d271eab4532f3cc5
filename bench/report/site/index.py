"""What the front page shows, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.contract.names import words
from bench.report import account
from bench.report.boards import BoardKey, Boards
from bench.report.frame import UNDEFENDED, dicts, flags_of
from bench.report.site import cells
from bench.report.site.board import Suite, title
from bench.report.text import ABSENT, WHAT, at_most, brief, natural, number

Row = dict[str, Any]


def page(suite: Suite) -> Row:
    """Everything the template of the front page needs."""
    return {
        "what": WHAT,
        "counts": account.counts(suite.frame, suite.given, suite.facts.coverage),
        "scale": [{"at": v, "text": f"{v / 100:.2f}"} for v in (0, 25, 50, 75, 100)],
        "overview": overview(suite.boards, suite.ids),
        "scenarios": _scenarios(suite),
    }


def overview(boards: Boards, ids: Mapping[BoardKey, str]) -> Row:
    """Worst-case leakage of every defense on every board."""
    found: dict[tuple[BoardKey, str], Row] = {}
    useful: dict[tuple[str, str, str], str] = {}
    for key, rows in boards:
        for row in dicts(rows):
            found[key, row["defense"]] = cells.heat(row["L"]) | {
                "told": f"worst attack: {row['worst_attack']}",
                "flags": flags_of(row),
            }
            place = (key.dataset, key.model, row["defense"])
            # One metric for all: that of the data set, which boards of scores need not show.
            if key.access != "scores" or place not in useful:
                useful[place] = number(row["utility"], 2)
    weak = {key for (key, _), cell in found.items() if "weak_attack" in cell["flags"]}
    groups: list[Row] = []
    for key in ids:
        _, dataset, model, goal, access, budget = key
        if not groups or (groups[-1]["dataset"], groups[-1]["model"]) != (dataset, model):
            groups.append({"dataset": dataset, "model": model, "goals": []})
        goals = groups[-1]["goals"]
        if not goals or goals[-1]["name"] != words(goal):
            goals.append({"name": words(goal), "levels": []})
        goals[-1]["levels"].append(
            {
                "access": access,
                "budget": at_most(budget),
                "key": key,
                "id": ids[key],
                "weak": key in weak,
            }
        )
    for group in groups:
        group["span"] = 1 + sum(len(goal["levels"]) for goal in group["goals"])
    defenses = sorted(
        {defense for _, defense in found}, key=lambda d: (d != UNDEFENDED, natural(d))
    )
    lines = [
        {
            "defense": defense,
            "groups": [
                {
                    "utility": useful.get((g["dataset"], g["model"], defense), ABSENT),
                    "cells": [
                        found.get((level["key"], defense))
                        for goal in g["goals"]
                        for level in goal["levels"]
                    ],
                }
                for g in groups
            ],
        }
        for defense in defenses
    ]
    return {"groups": groups, "lines": lines}


def _scenarios(suite: Suite) -> list[Row]:
    out: list[Row] = []
    for key, rows in suite.boards:
        sector, dataset, model, _, access, budget = key
        if not out or out[-1]["key"] != key.scenario:
            card = suite.facts.cards[dataset]
            out.append(
                {
                    "key": key.scenario,
                    "sector": sector,
                    "dataset": dataset,
                    "model": model,
                    "title": title(key, card),
                    "unit": card.privacy_unit,
                    "modality": card.modality,
                    "source": card.source[:1].upper() + card.source[1:].rstrip("."),
                    "boards": [],
                }
            )
        out[-1]["boards"].append(
            {
                "id": suite.ids[key],
                "access": access,
                "budget": at_most(budget),
                "brief": brief(rows),
                "kinds": [
                    words(kind) for kind, _ in suite.boards.notes[key] if kind != "monotonicity"
                ],
            }
        )
    return out
