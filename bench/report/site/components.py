"""What the pages of one defense and of one attack show, as plain values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.contract.access import ACCESS_ORDER
from bench.contract.record import AttackInfo
from bench.goals import goal_named
from bench.report.boards import FLAGS, BoardKey
from bench.report.closure import by_board
from bench.report.frame import BASELINE, UNDEFENDED, dicts, flags_of
from bench.report.listing import places
from bench.report.names import sees
from bench.report.site import cells, verdicts
from bench.report.site.suite import Suite
from bench.report.text import estimate, measure, natural, number

KNOWLEDGE = {
    "K0": "class names and the kind of input",
    "K1": "public records of other people",
    "K2": "public records of the same kind",
    "K3": "the victim's other attributes",
    "K4": "the defense and its parameters",
    "K5": "shadow models",
    "K6": "what the deployment answered for the victim",
    "K7": "how the target was made",
}
UNMETERED = {"K0", "K5"}
"""What is published, and what an attack makes itself: nobody sees whether it was read."""

Row = dict[str, Any]

_FARES = ["defense", "attack", "L", "L_lo", "L_hi"]


def defense(suite: Suite, family: str) -> Row:
    """Everything the template of one defense needs."""
    names = _members(suite.family, family)
    infos = [suite.facts.defenses[name] for name in names]
    standing: dict[BoardKey, list[Row]] = {}
    for key, tied, row in suite.standing.get(family, []):
        standing.setdefault(key, []).append(_row(suite, row, tied))
    raised = {f for rows in standing.values() for row in rows for f in row["flags"]}
    spent = [place for place in {*suite.training, *suite.answering} if place[2] in names]
    known = any(place in suite.answering for place in spent)
    return {
        "name": family,
        "title": suite.names.title("defense", family),
        "about": suite.names.sentence("defense", family),
        "picture": verdicts.defense(suite, family),
        "paper": _join(info.paper for info in infos),
        "traits": _traits(
            {
                "acts in": _each(i.stages for i in infos),
                "covers": [a for a in ACCESS_ORDER if any(a in i.covers for i in infos)],
            }
        ),
        "settings": [
            {"name": name, "options": _options(suite.facts.defenses[name].layers)} for name in names
        ],
        "boards": [
            {"board": _place(suite, key)}
            | _said_once(sorted(rows, key=lambda row: natural(row["defense"])))
            for key, rows in standing.items()
        ],
        "costs": [
            {
                "scenario": suite.target(dataset, model),
                "defense": name,
                "training": cells.times(suite.training, (dataset, model), name),
                "answers": cells.times(suite.answering, (dataset, model), name) if known else (),
            }
            for dataset, model, name in sorted(spent, key=lambda p: (p[:2], natural(p[2]), p))
        ],
        "flags": [flag for flag in FLAGS if flag in raised],
    }


def attack(suite: Suite, family: str) -> Row:
    """Everything the template of one attack needs."""
    names = _members(suite.attack_family, family)
    infos = [suite.facts.attacks[name] for name in names]
    frame = suite.frame
    trials = frame.loc[frame["attack"].isin(names) & (frame["control"] == ""), ["goal", "access"]]
    table = suite.boards.attacks
    # Boards with a budget have some of the trials of that without limit.
    own = table[
        table["attack"].isin(names)
        & (table["attack_access"] == table["access"])
        & np.isinf(table["budget"].astype(float))
    ]
    fares = by_board(own)
    worst = suite.breaking.get(family, {})
    acting = Counter(
        key for of in suite.breaking.values() for key, rows in of.items() for _ in rows
    )
    found = set(trials["access"])
    return {
        "name": family,
        "title": suite.names.title("attack", family),
        "about": suite.names.sentence("attack", family),
        "picture": verdicts.attack(suite, family),
        "paper": _join(info.paper for info in infos),
        "traits": _traits(
            {
                "goal": [goal_named(goal).words.title for goal in sorted(trials["goal"].unique())],
                "needs access to": [a for a in ACCESS_ORDER if a in found and a != BASELINE],
                "without the model": ["what leakage is measured from"] if BASELINE in found else [],
                "knows": [
                    f"{c}: {KNOWLEDGE[c]}" if c in KNOWLEDGE else c
                    for c in _each(i.knowledge for i in infos)
                ],
                "knowledge": _used(infos),
                "adapts to": _each(i.adaptive_to for i in infos),
            }
        ),
        "settings": [
            {"name": name, "options": _options([suite.facts.attacks[name].params])}
            for name in names
        ],
        "worst": [
            {
                "board": _place(suite, key),
                "of": acting[key],
                "rows": [
                    {
                        "defense": row["defense"],
                        "L": cells.heat(row["L"]),
                        "page": suite.defenses[suite.family[row["defense"]]],
                    }
                    for row in sorted(worst[key], key=lambda r: natural(r["defense"]))
                ],
            }
            for key in suite.ids
            if key in worst
        ],
        "boards": [
            {"board": _place(suite, key)} | _fares(suite, fares[key])
            for key in suite.ids
            if key in fares
        ],
        "scores": [
            {
                "scenario": suite.scenario(row),
                "attack": row["attack"],
                "score": number(row["score"]),
            }
            for row in dicts(suite.boards.baselines)
            if row["attack"] in names
        ],
    }


def listed(suite: Suite, kind: str) -> list[Row]:
    """All defenses or attacks with their pages, for an index."""
    pages, member = (
        (suite.defenses, suite.family)
        if kind == "defenses"
        else (suite.attacks, suite.attack_family)
    )
    return [
        {
            "name": family,
            "page": f"{kind}/{page}.html",
            "title": suite.names.title(kind.removesuffix("s"), family),
            "about": suite.names.sentence(kind.removesuffix("s"), family),
            "settings": len(_members(member, family)),
        }
        for family, page in sorted(pages.items(), key=lambda i: (i[0] != UNDEFENDED, natural(i[0])))
    ]


def _members(families: Mapping[str, str], family: str) -> list[str]:
    return sorted((name for name, of in families.items() if of == family), key=natural)


def _place(suite: Suite, key: BoardKey) -> Row:
    return {
        "id": suite.ids[key],
        "access": key.access,
        "name": f"{suite.title(key)} {sees(key.access, key.budget)}",
    }


def _useful(row: Row) -> str:
    """Utility with its metric, since boards of one defense differ in it."""
    known = isinstance(row["utility_metric"], str)
    return (
        f"{estimate(row, 'utility', 3)} {measure(row['utility_metric']) if known else ''}".rstrip()
    )


def _row(suite: Suite, row: Row, tied: int) -> Row:
    flags = flags_of(row)
    return {
        "defense": row["defense"],
        "page": suite.defenses[suite.family[row["defense"]]],
        "idle": "no_effect" in flags,
        "rank": places(row["rank"], tied),
        "L": cells.leakage(row),
        "dL": estimate(row, "dL", signed=True),
        "verdict": row["verdict"],
        "utility": _useful(row),
        "attack": row["worst_attack"],
        "attack_page": suite.attacks.get(suite.attack_family.get(row["worst_attack"], "")),
        "flags": [flag for flag in flags if flag != "provisional"],
        "n_seeds": row["n_seeds"],
    }


def _said_once(rows: list[Row]) -> Row:
    """The rows, and apart from them the flags that all of them have."""
    shared = set.intersection(*(set(row["flags"]) for row in rows))
    for row in rows:
        row["flags"] = [flag for flag in row["flags"] if flag not in shared]
    return {"rows": rows, "shared": [flag for flag in FLAGS if flag in shared]}


def _fares(suite: Suite, mine: pd.DataFrame) -> Row:
    """One board's leakage under this attack: a line per defense, a column per setting."""
    columns = sorted(mine["attack"].unique(), key=natural)
    found = {(row["defense"], row["attack"]): row for row in dicts(mine[_FARES])}
    names = sorted(mine["defense"].unique(), key=lambda d: (d != UNDEFENDED, natural(d)))
    lines = []
    for name in names:
        row = [found.get((name, column)) for column in columns]
        lines.append(
            {
                "defense": name,
                "page": suite.defenses[suite.family[name]],
                "cells": [
                    None if c is None else cells.heat(c["L"]) | {"told": estimate(c, "L")}
                    for c in row
                ],
            }
        )
    effort = mine.groupby("attack")[["queries", "attack_s"]].mean()
    return {
        "columns": columns,
        "lines": lines,
        "queries": [cells.count(effort["queries"][name]) for name in columns],
        "seconds": [cells.duration(effort["attack_s"][name]) for name in columns],
    }


def _options(layers: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Layers as (what it is, its options)."""
    return [
        {
            "target": str(layer.get("_target_", "")),
            "values": [
                (name, value if isinstance(value, str) else json.dumps(value, default=str))
                for name, value in sorted(layer.items())
                if name != "_target_"
            ],
        }
        for layer in layers
    ]


def _traits(found: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, ", ".join(values)) for name, values in found.items() if values]


def _each(lists: Iterable[Sequence[str]]) -> list[str]:
    return sorted({value for values in lists for value in values})


def _used(infos: Sequence[AttackInfo]) -> list[str]:
    """What the settings of an attack declare and what they read, as far as records say so."""
    declared, read = (
        _each(getattr(i, name) for i in infos) for name in ("knowledge", "knowledge_read")
    )
    if not read:
        return []
    unread = [code for code in declared if code not in {*read, *UNMETERED}]
    said = f"declares {', '.join(declared)}; read {', '.join(read)}"
    return [f"{said}; {' and '.join(unread)} declared and not read" if unread else said]


def _join(papers: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(paper for paper in papers if paper))
