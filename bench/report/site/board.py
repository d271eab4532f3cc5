"""What the page of one board shows, as plain values: no HTML here, no arithmetic in templates."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from bench.contract.access import ACCESS
from bench.goals import goal_named
from bench.report import attributes, certainty, families
from bench.report.boards import FLAGS, BoardKey
from bench.report.frame import UNDEFENDED, dicts, flags_of
from bench.report.listing import ordered, shared_flags
from bench.report.names import sees
from bench.report.site import cells, charts, details, heat
from bench.report.site.publication import Public
from bench.report.site.suite import Suite
from bench.report.text import (
    UNPLACED,
    at_most,
    estimate,
    headline,
    interval,
    number,
    told_by,
)

HIDDEN = ("provisional", "no_effect", "non_adaptive")
"""Flags whose rows a reader may hide."""

Row = dict[str, Any]


def page(
    suite: Suite, public: Public, key: BoardKey, rows: pd.DataFrame, attacks: pd.DataFrame
) -> Row:
    """Everything the template of one board needs."""
    boards = suite.boards
    mine = rows.assign(family=rows["defense"].map(suite.family))
    stages = suite.facts.defenses
    baselines = suite.baselines.get(key.scenario, boards.baselines.iloc[:0])
    checks = suite.checks.get(key.scenario, boards.controls.iloc[:0])
    certain = suite.certain.get(key, boards.certain.iloc[:0])
    trials = suite.trials[key.dataset, key.model]
    shared = shared_flags(rows)
    noted = {kind for kind, _ in boards.notes[key]}
    lines = _lines(mine, suite, shared)
    seeds = details.seeds(suite.seeds.get(key, boards.seeds.iloc[:0]), rows)
    metric, against = told_by(rows)
    card = suite.facts.cards[key.dataset]

    def named(group: str, name: str) -> str:
        return html.escape(suite.called(group, name, brief=True))

    return {
        "id": suite.ids[key],
        "title": suite.title(key),
        "sees": sees(key.access, key.budget),
        "about": {
            "modality": card.modality,
            "unit": card.privacy_unit,
            "source": card.source[:1].upper() + card.source[1:].rstrip("."),
        },
        "levels": _beside(suite, key, 4),
        "limits": _beside(suite, key, 5),
        "notes": [{"kind": kind, "text": text} for kind, text in boards.notes[key]],
        "headline": headline(rows, partial(suite.called, "defense")),
        "shared": [flag for flag in FLAGS if flag in shared - noted],
        "metric": metric,
        "against": against,
        "rows": lines,
        "hide": [f for f in HIDDEN if f not in shared and any(f in r["flags"] for r in lines)],
        "stages": sorted({s for d in rows["defense"] for s in stages[d].stages}),
        "family_names": sorted({f for f in mine["family"] if f != UNDEFENDED}),
        "plane": charts.plane(mine, metric, {d: stages[d].stages for d in rows["defense"]}, named),
        "heat": heat.table(rows, attacks),
        "pairs": heat.pairs(rows, attacks),
        "families": suite.families.get(key, []),
        "budgets": {"loss": number(families.BUDGET), "leak": number(families.TAU)},
        "tuning": suite.tuning.get(key),
        "asked": charts.asked(rows, attacks, named),
        "strip": charts.strip(seeds, [line["defense"] for line in lines], named),
        "gallery": details.gallery(rows, key, suite.pictures),
        "shows": f"From top to bottom, {goal_named(key.goal).words.pictures}",
        "certain": certainty.told(rows, certain),
        "surest": charts.certain(certainty.drawn(rows, certain), named),
        "told": attributes.told(rows, trials, suite.facts.gains),
        "controls": details.checks(suite, checks),
        "baselines": [
            {"attack": row["attack"], "score": number(row["score"])} for row in dicts(baselines)
        ],
        "unproven": sorted(set(mine["unproven"]) - {""}),
        "privacy": details.privacy(rows, key, trials, suite.facts),
        "costs": details.costs(rows, attacks, suite.training, suite.answering),
        "commands": details.commands(rows, suite.given, public.of.packs),
        "cite": public.cite(suite, key),
        "figures": [
            {"form": form.upper(), "file": f"{stem}.{form}"}
            for stem, _, form in (name.rpartition(".") for name in suite.figures)
            if stem == f"figures/{suite.ids[key]}"
        ],
    }


def _beside(suite: Suite, key: BoardKey, axis: int) -> list[Row]:
    """The boards of a scenario along its accesses (axis 4) or the budgets of one access (axis 5).

    Of another access that with the same budget is meant, or that without limit where there is none.
    """
    same = [other for other in suite.ids if other[:axis] == key[:axis]]
    places = dict.fromkeys(other[:axis] + other[axis : axis + 1] for other in same)
    out = []
    for place in places:
        there = [other for other in same if other[: axis + 1] == place]
        target = next((other for other in there if other.budget == key.budget), there[-1])
        out.append(
            {
                "sees": ACCESS[target.access].title,
                "budget": at_most(target.budget),
                "id": suite.ids[target],
                "here": target == key,
            }
        )
    return out


def _lines(rows: pd.DataFrame, suite: Suite, shared: set[str]) -> list[Row]:
    low = float(rows[["utility", "utility_lo"]].min().min())
    high = float(rows[["utility", "utility_hi"]].max().max())
    lines = [_line(row, suite, shared, (low, high)) for row in ordered(rows)]
    reference = next((line for line in lines if line["reference"]), None)
    for line in lines:
        line["marks"] = {
            name: reference[name]["at"] if reference and line is not reference else None
            for name in ("L", "U")
        }
    return lines


def _line(row: Mapping[Any, Any], suite: Suite, shared: set[str], span: tuple[float, float]) -> Row:
    ledger = suite.facts.ledgers.get((row["dataset"], row["model"], row["defense"]))
    front = row.get("front", math.nan)
    needed = row.get("seeds_needed", math.nan)
    flags = flags_of(row)
    return {
        "reference": row["defense"] == UNDEFENDED,
        "idle": not UNPLACED.isdisjoint(flags),
        "defense": row["defense"],
        "family": row["family"],
        "page": suite.defenses[row["family"]],
        "stages": " ".join(suite.facts.defenses[row["defense"]].stages),
        "rank": row["places"],
        "group": cells.key(row["rank"]),
        "settings": str(row["settings"]) if row["tunable"] else "fixed",
        "n_seeds": row["n_seeds"],
        "needed": f"{needed:.0f}" if needed > row["n_seeds"] else "",
        "worst_attack": row["worst_attack"],
        "attack_page": suite.attacks.get(suite.attack_family.get(row["worst_attack"], "")),
        "L": cells.leakage(row),
        "U": cells.drawn(row, "utility", 3, *span),
        "M": {
            "text": number(row["M"], signed=True),
            "interval": interval(row["M_lo"], row["M_hi"], signed=True),
            "most": cells.most(row),
        },
        "dL": number(row["dL"], signed=True),
        "dL_interval": interval(row["dL_lo"], row["dL_hi"], signed=True),
        "dL_p": number(row["dL_p"], 3) if math.isfinite(row["dL_p"]) else "",
        "dU": estimate(row, "dU", 3, signed=True),
        "verdict": row["verdict"],
        "front": f"{front:.0%}" if math.isfinite(front) else "",
        "epsilon": "" if not math.isfinite(row["epsilon"]) else number(row["epsilon"]),
        "most": number(row["advantage"]) if math.isfinite(row["advantage"]) else "",
        "basis": "" if ledger is None else f"{ledger.unit}, {ledger.accountant}",
        "tuned": "" if ledger is None else details.tuning_basis(ledger),
        "flags": flags,
        "shown": [flag for flag in flags if flag not in shared],
        "keys": {
            "defense": row["defense"],
            "attack": row["worst_attack"],
            "L": cells.key(row["L"]),
            "utility": cells.key(row["utility"]),
            "M": cells.key(row["M"]),
            "change": cells.key(row["dL"]),
            "front": cells.key(front),
            "epsilon": cells.key(row["epsilon"]),
            "seeds": cells.key(row["n_seeds"]),
            "settings": cells.key(row["settings"]),
        },
    }
