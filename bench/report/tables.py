"""Boards and trials as CSV, Parquet and Markdown; the same input gives the same bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.contract.names import words
from bench.metrics.certainty import FIGURES
from bench.report import certainty
from bench.report.boards import BoardKey, Boards
from bench.report.closure import ROW, by_board
from bench.report.families import why
from bench.report.frame import STABLE, dicts
from bench.report.latex import leaderboard_tex
from bench.report.text import WHAT, allowed, estimate, headline, member_gap, number, told_by

__all__ = [
    "LEADERBOARD",
    "csv",
    "leaderboard_csv",
    "leaderboard_md",
    "leaderboard_tex",
    "trials_csv",
    "trials_parquet",
]

LEADERBOARD = (
    "suite",
    *ROW,
    "n_seeds",
    "utility",
    "utility_lo",
    "utility_hi",
    "worst_attack",
    "L",
    "L_lo",
    "L_hi",
    "M",
    "M_lo",
    "M_hi",
    "M_most",
    "epsilon",
    "advantage",
    "audit",
    "epsilon_lower",
    "epsilon_most",
    "flags",
    "rank",
    "front",
    "L_raw",
    "L_without",
    "dL",
    "dL_lo",
    "dL_hi",
    "dL_p",
    "dL_flip",
    "verdict",
    "dU",
    "dU_lo",
    "dU_hi",
    "seeds_needed",
    "train_s",
    "utility_metric",
    "against",
    "settings",
)
"""Columns of ``leaderboard.csv``; ``budget`` only where some board has one."""
COMPLETE = (
    "control",
    "budget",
    "stream",
    "family",
    "attack_family",
    "options",
    "data_sha",
    "target_sha",
    "environment",
    *FIGURES,
)
"""Further columns of ``trials.parquet``."""
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a cell begins with that Excel or LibreOffice computes (OWASP: CSV injection)."""
_NUMBER = re.compile(r"[+-](?:\d+\.?\d*(?:[eE][+-]?\d+)?|inf|nan)")
LACKING = ("trials_planned", "trials_lost")
"""Further columns where trials that were planned have no record."""


def trials_csv(frame: pd.DataFrame) -> str:
    """Every trial, raw and unclipped; numbers of trials that did not end are empty."""
    return _written(frame[[*STABLE, "flags", "error"]])


def trials_parquet(frame: pd.DataFrame) -> bytes:
    """The rows of :func:`trials_csv` with their types and full precision, and all that tells them.

    Besides the columns of the CSV: ``control``, ``budget`` (most queries, infinite without limit),
    ``stream``, the ``family`` of the defense and of the attack, ``options`` (of model, defense and
    attack, as JSON), digests of the data and of the target's weights, the ``environment``, and of
    whom the attacker is certain (:mod:`bench.metrics.certainty`; missing in older records).
    """
    written: bytes = _as_files(frame[[*STABLE, "flags", "error", *COMPLETE]]).to_parquet(
        engine="pyarrow", index=False
    )
    return written


def leaderboard_csv(boards: Boards, suite: str) -> str:
    """Every row of every board.

    With the columns ``LACKING`` where a row lacks planned trials, and with those that say of how
    many attackers are certain where that is known of some row.
    """
    lacking = LACKING if (boards.rows["trials_lost"] > 0).any() else ()
    certain = certainty.COLUMNS if certainty.known(boards.rows) else ()
    return _written(limited(boards.rows.assign(suite=suite)[[*LEADERBOARD, *certain, *lacking]]))


def limited(table: pd.DataFrame) -> pd.DataFrame:
    """With whole numbers as ``budget``, missing without limit; without it where none has one."""
    finite = table["budget"].replace(math.inf, math.nan)
    if finite.isna().all():
        return table.drop(columns="budget")
    return table.assign(budget=finite.astype("Int64"))


def csv(table: pd.DataFrame, suite: str) -> str:
    """A table of the report, after the name of the suite.

    Where a column of it is the loss that a tuner may spend, that is ``budget`` in the file, and
    the budget of queries, which few suites have, is ``query_budget``.
    """
    named = limited(table.assign(suite=suite)[["suite", *table.columns]])
    if "loss_budget" in named:
        named = named.rename(columns={"budget": "query_budget", "loss_budget": "budget"})
    return _written(named)


def leaderboard_md(boards: Boards, tuned: pd.DataFrame, suite: str, lacking: str = "") -> str:
    """Every board as a Markdown table after one sentence that says what it shows.

    Args:
        boards: of the suite.
        tuned: as :func:`bench.report.families.tuned` gives it; shown where a defense has several
            settings.
        suite: its name.
        lacking: what was planned and is not there, in a sentence; empty: everything is there.
    """
    picked, sure = by_board(tuned), by_board(boards.certain)
    parts = [
        f"# Inversion Bench: {_md(suite)}",
        " ".join(WHAT),
        (
            "L: leakage, 0 (the model taught the attacker nothing) to 1 (as good as the records); "
            "M: the part that is about training members (at most: proven for any attack); "
            "brackets: 95% intervals over seeds, for the data set that is named: other people may "
            "differ by more."
        ),
    ]
    parts += [f"> **missing**: {_md(lacking)}."] if lacking else []
    for key, rows in boards:
        parts.append(
            f"## {_md(key.dataset)}, {_md(key.model)}: "
            f"{_md(words(key.goal))} with access to "
            f"{_md(allowed(key.access, key.budget))}"
        )
        parts.append(_md(headline(rows)))
        parts += [f"> **{kind}**: {_md(note)}" for kind, note in boards.notes[key]]
        metric, against = told_by(rows)
        lines = [
            f"| # | defense | L | {metric} | against {against} | M | worst attack | epsilon "
            "| settings | seeds | flags |",
            "| ---: | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |",
        ]
        lines += [_line(row) for row in dicts(rows)]
        parts.append("\n".join(lines))
        parts += _certain(key, rows, sure)
        if key in picked and (picked[key]["settings"] > 1).any():
            parts += ["### Tuned", _md(why(picked[key])), _tuned(picked[key], against)]
    return "\n\n".join(parts) + "\n"


def _certain(key: BoardKey, rows: pd.DataFrame, sure: Mapping[BoardKey, pd.DataFrame]) -> list[str]:
    """Heading and table of how many attackers are certain of; nothing where that is not known."""
    told = certainty.told(rows, sure[key]) if key in sure else []
    if not told:
        return []
    lines = [
        "| defense | attack | certain | most in one seed | certain without the model "
        "| precision of the surest 1 % | without the model |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in told:
        cells = (_md(row["defense"]), _md(row["attack"]), row["share"], row["most"], row["base"])
        lines.append(f"| {' | '.join([*cells, *row['top_1']])} |")
    return ["### Members known for certain", "\n".join(lines)]


def _tuned(rows: pd.DataFrame, against: str) -> str:
    lines = [
        f"| defense | setting | L | utility | against {against} | worst attack | settings "
        "| attacks | seeds | flags |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for row in dicts(rows):
        cells = (
            _md(row["family"]),
            _md(row["defense"]),
            estimate(row, "L"),
            estimate(row, "utility", 3),
            estimate(row, "dU", 3, signed=True),
            _md(row["attack"]),
            str(row["settings"]),
            str(row["attacks"]),
            str(row["n_seeds"]),
            _md(", ".join(row["flags"])),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _line(row: dict[Any, Any]) -> str:
    cells = (
        number(row["rank"], 0),
        _md(row["defense"]),
        estimate(row, "L"),
        estimate(row, "utility", 3),
        "" if row["defense"] == row["against"] else estimate(row, "dU", 3, signed=True),
        member_gap(row),
        _md(row["worst_attack"]),
        number(row["epsilon"]),
        str(row["settings"]) if row["tunable"] else "fixed",
        str(row["n_seeds"]),
        _md(", ".join(row["flags"])),
    )
    return f"| {' | '.join(cells)} |"


def _written(table: pd.DataFrame) -> str:
    """The only CSV that is written: no text of it is a formula where a spreadsheet opens it."""
    table = _as_files(table)
    texts = table.select_dtypes(["object", "string", "category"]).astype(object)
    harmless = texts.map(lambda cell: inert(cell) if isinstance(cell, str) else cell)
    table = table.assign(**{str(name): column for name, column in harmless.items()})
    return str(table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def inert(cell: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe goes before it.

    So do texts that begin with apostrophes and go on as a formula would, so that :func:`meant` can
    tell what was written. Numbers stay as they are.
    """
    return f"'{cell}" if cell.lstrip("'")[:1] in _FORMULA and not _NUMBER.fullmatch(cell) else cell


def meant(cell: str) -> str:
    """What :func:`inert` was given."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in _FORMULA else cell


def _as_files(table: pd.DataFrame) -> pd.DataFrame:
    """With flags as files hold them: in one text, apart by ``;``."""
    return table.assign(flags=table["flags"].map(";".join)) if "flags" in table else table


def _md(text: str) -> str:
    """Text that a Markdown renderer shows as it is, in one line."""
    return re.sub(r"([\\`*|<>&\[\]])", r"\\\1", " ".join(str(text).split()))
