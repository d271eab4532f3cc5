"""What the page of a defense or an attack says first: one verdict, and a picture of all boards."""

from __future__ import annotations

import math
from typing import Any

from bench.report.boards import BoardKey
from bench.report.closure import by_board
from bench.report.frame import UNDEFENDED, dicts
from bench.report.site import cells
from bench.report.site.suite import Suite
from bench.report.text import KEEPS, estimate, leakage, number

Row = dict[str, Any]


def defense(suite: Suite, family: str) -> Row:
    """A sentence on a family of defenses, and a line for each board where it acts.

    A line of the picture goes from the undefended leakage to that with the family's chosen setting.
    """
    choices = {key: choice for (key, name), choice in suite.chosen.items() if name == family}
    acting = [key for key, choice in choices.items() if not choice.idle]
    lines = [
        _line(suite, key, choices[key].row)
        | {
            "cost": estimate(choices[key].row, "dU", 2, signed=True),
            "setting": suite.parts("defense", choices[key].row["defense"])[1],
        }
        for key in acting
    ]
    return {"verdict": _defense_verdict(suite, family, acting, len(choices)), "lines": lines}


def _defense_verdict(suite: Suite, family: str, acting: list[BoardKey], boards: int) -> str:
    rows: dict[BoardKey, list[Row]] = {}
    for key, _, row in suite.standing.get(family, []):
        rows.setdefault(key, []).append(row)
    if not rows:
        return "No attack on it was recorded."
    if family == UNDEFENDED:
        known = [row["L"] for key in rows for row in rows[key] if math.isfinite(row["L"])]
        if not known:
            return "Every other row is compared with it."
        return (
            "Every other row is compared with it. Undefended, leakage L lies between "
            f"{number(min(known))} and {number(max(known))} on {len(rows)} boards."
        )
    less = [key for key in acting if any(row["verdict"] == "less" for row in rows[key])]
    kept = [
        key
        for key in less
        if any(row["verdict"] == "less" and row["dU_lo"] >= -KEEPS for row in rows[key])
    ]
    if not acting:
        return f"It has no effect on any of the {boards} boards: it acts at no access they expose."
    start = (
        f"Shown to leak less than no defense on {len(less)} of {len(acting)} boards where it acts"
        if less
        else f"On none of the {len(acting)} boards where it acts is it shown to leak less than no "
        "defense"
    )
    cost = f"; on {len(kept)} of them with a loss of utility of at most {KEEPS}." if less else "."
    idle = boards - len(acting)
    return start + cost + (f" On {idle} more boards it has no effect." if idle else "")


def attack(suite: Suite, family: str) -> Row:
    """A sentence on a family of attacks, and a line for each board of its access.

    A line of the picture goes from the leakage to this attack, without a defense, to that to the
    strongest attack of the board.
    """
    lines = []
    table = suite.boards.attacks
    own_rows = table[
        (table["defense"] == UNDEFENDED)
        & (table["attack"].map(suite.attack_family) == family)
        & (table["attack_access"] == table["access"])
        & table["L"].notna()
    ]
    for key, rows in by_board(own_rows).items():
        if math.isinf(key.budget):
            best = max(dicts(rows), key=lambda row: row["L"])
            setting = suite.parts("attack", best["attack"])[1]
            lines.append(_line(suite, key, best) | {"setting": setting})
    worst = suite.breaking.get(family, {})
    broken = sum(len(rows) for rows in worst.values())
    every = sum(len(rows) for boards in suite.breaking.values() for rows in boards.values())
    if worst:
        verdict = (
            f"It goes furthest of all attacks against {broken} of {every} rows, on {len(worst)} "
            f"of {len(suite.ids)} boards."
        )
    elif lines:
        verdict = "On every board, against every defense, another attack goes further."
    else:
        verdict = "It is what leakage is measured from, or no trial of it has ended."
    if lines:
        top = max(lines, key=lambda line: line["at"])
        verdict += f" Without a defense it reaches L = {top['text']} at most, on “{top['name']}”."
    return {"verdict": verdict, "lines": lines}


def _line(suite: Suite, key: BoardKey, row: Row) -> Row:
    """Where a row lies between 0 and 1, and where the undefended one does."""
    known = math.isfinite(row["L_lo"]) and math.isfinite(row["L_hi"])
    plain = suite.undefended.get(key)
    return {
        "id": suite.ids[key],
        "name": suite.place(key),
        "at": cells.percent(row["L"]) if math.isfinite(row["L"]) else 0,
        "low": cells.percent(row["L_lo"]) if known else None,
        "high": cells.percent(row["L_hi"]) if known else None,
        "plain": None if plain is None else cells.percent(plain["L"]),
        "text": leakage(row),
    }
