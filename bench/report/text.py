"""Numbers and sentences as people read them, the same in HTML and Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from bench.contract.names import words
from bench.report.frame import UNDEFENDED, dicts, flags_of

ABSENT = "\N{EN DASH}"
AT_MOST = "\N{LESS-THAN OR EQUAL TO}"
UNPLACED = {"no_effect", "non_adaptive", "bypassed", "reproduction"}
"""Flags of rows that say nothing for their defense: pale, and out of what a board says."""
KEEPS = 0.02
"""Utility loss that the headline calls kept."""

_METRICS = {"within_20pct": "share within 20 %"}
Row = dict[str, Any]

WHAT = (
    "Every defense guards the same targets, every applicable model inversion attack is run "
    "against it, and what it costs in usefulness is measured on held-out data.",
    "A figure on a board is the worst case over all attacks open to an adversary with that "
    "access, averaged over independently split and trained targets.",
)


def number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """``value`` with a true minus sign and no negative zero; a dash where it is missing."""
    if value is None or not math.isfinite(value):
        return ABSENT
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")


def interval(low: float, high: float, digits: int = 2, signed: bool = False) -> str:
    """``[low, high]``; empty where there is no interval."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, digits, signed)}, {number(high, digits, signed)}]"


def bounded(mean: float, low: float, high: float, digits: int = 2) -> tuple[str, str]:
    """A figure that is never negative by nature, such as leakage, and its interval.

    Where the mean is 0 as it is printed, the interval can only say how much the figure may be:
    ``("≤ 0.02", "")``. An interval that is cut off at 0 would look like certainty.
    """
    if math.isfinite(high) and round(mean, digits) <= 0:
        return f"{AT_MOST} {ceiling(high, digits)}", ""
    return number(mean, digits), interval(low, high, digits)


def ceiling(high: float, digits: int = 2) -> str:
    """An upper end, rounded up: what is printed is no less than it, and never 0."""
    steps = math.ceil(round(high * 10**digits, 6))
    return number(max(steps, 1) / 10**digits, digits)


def leakage(row: Any, name: str = "L", digits: int = 2) -> str:
    """``0.94 [0.91, 0.97]``, or ``≤ 0.02`` where no leakage is seen: see :func:`bounded`."""
    ends = (row[f"{name}_lo"], row[f"{name}_hi"])
    return " ".join(bounded(row[name], *ends, digits)).rstrip()


def leaks(figure: str) -> str:
    """A figure of :func:`leakage` in a sentence: ``L = 0.94 [0.91, 0.97]`` or ``L ≤ 0.02``."""
    return f"L {figure}" if figure.startswith(AT_MOST) else f"L = {figure}"


def member_gap(row: Row) -> str:
    """M of a row with its interval and, where it is proven, the most that it can be on average."""
    most = row.get("M_most", math.nan)
    told = f", at most {number(most)}" if math.isfinite(most) else ""
    return estimate(row, "M", signed=True) + told


def estimate(row: Any, name: str, digits: int = 2, signed: bool = False) -> str:
    """``mean [low, high]`` of the columns ``name``, ``name_lo`` and ``name_hi`` of a row."""
    ends = interval(row[f"{name}_lo"], row[f"{name}_hi"], digits, signed)
    return f"{number(row[name], digits, signed)} {ends}".rstrip()


def at_most(budget: float) -> str:
    """A budget as words: ``at most 1,000 queries``; empty where there is no limit."""
    if math.isinf(budget):
        return ""
    return f"at most {budget:,.0f} quer{'y' if budget == 1 else 'ies'}"


def allowed(access: str, budget: float) -> str:
    """What the attacker of a board has: ``scores, at most 1,000 queries``."""
    return ", ".join(filter(None, (access, at_most(budget))))


def natural(name: str) -> list[tuple[int, float, str]]:
    """Sort key that puts ``epsilon=3`` before ``epsilon=10``, and ``k`` beside ``K``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name.casefold())
    return [(0, float(p), "") if i % 2 else (1, 0.0, p) for i, p in enumerate(parts)]


def resting(rows: pd.DataFrame) -> str:
    """Which standard set of attacks a board rests on at least; empty: it does not."""
    short = any("below_standard" in flags for flags in rows["flags"])
    sets = [] if short else sorted({name for name in rows["standard"] if name})
    return f"The worst case is over at least {' and '.join(sets)}." if sets else ""


def headline(rows: pd.DataFrame, called: Callable[[str], str] = str) -> str:
    """What a board says, in a few sentences.

    Args:
        rows: of the board.
        called: how sentences call a defense, by the name of its row.
    """
    return " ".join(filter(None, [_headline(rows, called), resting(rows)]))


def _headline(rows: pd.DataFrame, called: Callable[[str], str]) -> str:
    every, measured, raised = _plain(rows)
    if not measured:
        return "Nothing was measured here."
    metric, plain = _metric(every), _without(every)
    said = [
        f"Undefended, the strongest attack reaches {leaks(leakage(row))} "
        f"at {metric} {number(row['utility'], 3)}."
        for row in measured
        if row["defense"] == UNDEFENDED
    ]
    if "void" in raised:
        said.append("A control failed: no figure here means anything until it is mended.")
        return " ".join(said)
    if "weak_attack" in raised:
        said.append("The attacks are too weak here to tell defenses apart.")
        return " ".join(said)
    acting = _acting(measured)
    if not acting:
        said.append("No defense that acts at this access met an attack that adapts to it.")
        return " ".join(said)
    best, tied = _least(acting)
    others = f", the most useful of {tied} that are not told apart" if tied > 1 else ""
    said.append(
        f"Least leakage: {called(best['defense'])}, {leaks(leakage(best))} "
        f"at {metric} {number(best['utility'], 3)}{others}{_doubt(best)}."
    )
    useful = [row for row in acting if row["dU_lo"] >= -KEEPS]
    kept = _least(useful)[0] if useful else None
    if all(math.isnan(row["dU_lo"]) for row in acting):
        return " ".join(said)
    if kept is None:
        said.append(f"None is shown to keep {metric} within {KEEPS:.2f} of {plain}.")
    elif kept["defense"] == best["defense"]:
        said.append(f"It is shown to keep {metric} within {KEEPS:.2f} of {plain}.")
    else:
        said.append(
            f"Least leakage shown to keep {metric} within {KEEPS:.2f} of {plain}: "
            f"{called(kept['defense'])}, {leaks(leakage(kept))}{_doubt(kept)}."
        )
    return " ".join(said)


def measure(name: str) -> str:
    """A metric of utility in words: ``ndcg_at_20`` is ``NDCG@20``."""
    listed = re.fullmatch(r"([a-z]+)_at_(\d+)", name)
    return f"{listed[1].upper()}@{listed[2]}" if listed else _METRICS.get(name, words(name))


def told_by(rows: pd.DataFrame) -> tuple[str, str]:
    """By which metric the utility of a board is told, and the row it is compared with."""
    every = dicts(rows)
    return _metric(every), _against(every)


def brief(rows: pd.DataFrame, called: Callable[[str], str] = str) -> str:
    """What a board says, in one sentence; arguments as for :func:`headline`."""
    every, measured, raised = _plain(rows)
    if not measured:
        return "Nothing was measured here."
    if "void" in raised:
        return "Void: a control failed."
    plain = next((row for row in measured if row["defense"] == UNDEFENDED), None)
    start = "No reference" if plain is None else f"Undefended {leaks(leakage(plain))}"
    if "weak_attack" in raised:
        return f"{start}: the attacks are too weak here to judge defenses."
    useful = [row for row in _acting(measured) if row["dU_lo"] >= -KEEPS]
    metric = _metric(every)
    if not useful:
        return f"{start}; no defense is shown to keep {metric} within {KEEPS:.2f}."
    best, _ = _least(useful)
    told = {"less": "less than undefended", "more": "more than undefended"}
    verdict = told.get(best["verdict"], "not shown to differ")
    return (
        f"{start}; least among defenses shown to keep {metric} within {KEEPS:.2f}: "
        f"{called(best['defense'])}, {leaks(leakage(best))} ({verdict})."
    )


def _doubt(row: Row) -> str:
    return "" if row["verdict"] in ("less", "") else ", not clearly less than undefended"


def _least(rows: list[Row]) -> tuple[Row, int]:
    """The most useful of the rows that share place and verdict of the first, and their number."""
    first = (rows[0]["rank"], rows[0]["verdict"])
    tied = [row for row in rows if (row["rank"], row["verdict"]) == first] or rows[:1]
    return max(tied, key=lambda row: row["utility"]), len(tied)


def _plain(rows: pd.DataFrame) -> tuple[list[Row], list[Row], set[str]]:
    """Rows of a board as plain values, those of them that were measured, and all their flags."""
    every = dicts(rows)
    raised = {flag for row in every for flag in flags_of(row)}
    return every, [row for row in every if pd.notna(row["L"])], raised


def _acting(measured: list[Row]) -> list[Row]:
    """Defenses that act at the access of their board and take a place on it."""
    return [
        row
        for row in measured
        if row["defense"] not in (UNDEFENDED, row["against"]) and not UNPLACED & {*flags_of(row)}
    ]


def _against(every: list[Row]) -> str:
    return next((str(row["against"]) for row in every if row["against"]), UNDEFENDED)


def _without(every: list[Row]) -> str:
    """What utility is compared with, in words."""
    against = _against(every)
    return "undefended" if against == UNDEFENDED else f"the {against} model"


def _metric(every: list[Row]) -> str:
    known = (row["utility_metric"] for row in every if pd.notna(row["utility_metric"]))
    return measure(str(next(known, "utility")))
