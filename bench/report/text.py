"""Numbers and sentences as people read them, the same in HTML and Markdown."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from bench.report.frame import UNDEFENDED, dicts

ABSENT = "\N{EN DASH}"
KEEPS = 0.02
"""Utility loss that the headline calls kept."""

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


def estimate(row: Any, name: str, digits: int = 2, signed: bool = False) -> str:
    """``mean [low, high]`` of the columns ``name``, ``name_lo`` and ``name_hi`` of a row."""
    ends = interval(row[f"{name}_lo"], row[f"{name}_hi"], digits, signed)
    return f"{number(row[name], digits, signed)} {ends}".rstrip()


def words(name: str) -> str:
    """An identifier as words: ``class_representative`` is ``class representative``."""
    return name.replace("_", " ")


def natural(name: str) -> list[tuple[int, float, str]]:
    """Sort key that puts ``epsilon=3`` before ``epsilon=10``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(0, float(p), "") if i % 2 else (1, 0.0, p) for i, p in enumerate(parts)]


def headline(rows: pd.DataFrame) -> str:
    """What a board says, in two or three sentences."""
    if not rows["L"].notna().any():
        return "Nothing was measured here."
    metric = words(str(rows["utility_metric"].dropna().iloc[0])) if _known(rows) else "utility"
    said = []
    undefended = rows[(rows["defense"] == UNDEFENDED) & rows["L"].notna()]
    for row in dicts(undefended):
        said.append(
            f"Undefended, the strongest attack reaches L = {estimate(row, 'L')} "
            f"at {metric} {number(row['utility'], 3)}."
        )
    raised = {flag for flags in rows["flags"] for flag in flags.split(";")}
    if "void" in raised:
        said.append("A control failed: no figure here means anything until it is mended.")
        return " ".join(said)
    if "weak_attack" in raised:
        said.append("The attacks are too weak here to tell defenses apart.")
        return " ".join(said)
    idle = rows["flags"].str.split(";").map(lambda flags: "no_effect" in flags)
    acting = rows[(rows["defense"] != UNDEFENDED) & ~idle & rows["L"].notna()]
    if acting.empty:
        said.append("No defense was measured that acts at this access.")
        return " ".join(said)
    best = acting.iloc[0]
    tied = int((acting["rank"] == best["rank"]).sum()) - 1
    others = f", not told apart from {tied} other{'s' * (tied > 1)}" if tied > 0 else ""
    said.append(
        f"Least leakage: {best['defense']}, L = {estimate(best, 'L')} "
        f"at {metric} {number(best['utility'], 3)}{others}."
    )
    keeping = acting[acting["dU_lo"] >= -KEEPS]
    if not acting["dU_lo"].notna().any():
        return " ".join(said)
    if keeping.empty:
        said.append(f"None is shown to keep {metric} within {KEEPS:.2f} of undefended.")
    elif keeping.iloc[0]["defense"] == best["defense"]:
        said.append(f"It is shown to keep {metric} within {KEEPS:.2f} of undefended.")
    else:
        kept = keeping.iloc[0]
        doubt = "" if kept["verdict"] == "less" else ", not clearly less than undefended"
        said.append(
            f"Least leakage shown to keep {metric} within {KEEPS:.2f} of undefended: "
            f"{kept['defense']}, L = {estimate(kept, 'L')}{doubt}."
        )
    return " ".join(said)


def brief(rows: pd.DataFrame) -> str:
    """What a board says, in one sentence."""
    if not rows["L"].notna().any():
        return "Nothing was measured here."
    flags = rows["flags"].str.split(";")
    if flags.map(lambda f: "void" in f).any():
        return "Void: a control failed."
    plain = rows[(rows["defense"] == UNDEFENDED) & rows["L"].notna()]
    start = f"Undefended L = {estimate(plain.iloc[0], 'L')}" if len(plain) else "No reference"
    if flags.map(lambda f: "weak_attack" in f).any():
        return f"{start}: the attacks are too weak here to judge defenses."
    idle = flags.map(lambda f: "no_effect" in f)
    kept = rows[(rows["defense"] != UNDEFENDED) & ~idle & (rows["dU_lo"] >= -KEEPS)]
    kept = kept[kept["L"].notna()]
    metric = words(str(rows["utility_metric"].dropna().iloc[0])) if _known(rows) else "utility"
    if kept.empty:
        return f"{start}; no defense is shown to keep {metric} within {KEEPS:.2f}."
    best = kept.iloc[0]
    told = {"less": "less than undefended", "more": "more than undefended"}
    verdict = told.get(best["verdict"], "not shown to differ")
    return (
        f"{start}; least among defenses shown to keep {metric} within {KEEPS:.2f}: "
        f"{best['defense']}, L = {estimate(best, 'L')} ({verdict})."
    )


def _known(rows: pd.DataFrame) -> bool:
    return bool(rows["utility_metric"].notna().any())
