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
from bench.report.closure import by_board
from bench.report.families import why
from bench.report.frame import STABLE, dicts
from bench.report.latex import leaderboard_tex
from bench.report.listing import ordered
from bench.report.text import (
    AT_MOST,
    WHAT,
    allowed,
    estimate,
    headline,
    leakage,
    member_gap,
    number,
    told_by,
)

__all__ = [
    "LEADERBOARD",
    "MEANING",
    "board_csv",
    "columns_csv",
    "csv",
    "leaderboard_csv",
    "leaderboard_md",
    "leaderboard_tex",
    "trials_csv",
    "trials_parquet",
]

MEANING = {
    "suite": "Name of the suite that was run.",
    "sector": "Field of the data set, such as credit or face.",
    "dataset": "Name of the data set.",
    "model": "Name of the model that was attacked.",
    "goal": "What attackers try to learn; PROTOCOL 2 defines the goals.",
    "access": "What the attacker sees of the model.",
    "budget": "Most queries that an attack may ask on this board; empty: no limit. The column is "
    "absent where no board has a limit.",
    "defense": "The defense with those of its options that are not the default.",
    "n_seeds": "Finished seeds of the worst attack; a seed is a target on a split of its own.",
    "utility": "Mean utility over seeds as users with this access have it, by utility_metric.",
    "utility_lo": "Lower end of the 95 % t interval of utility, within what the metric can be.",
    "utility_hi": "Upper end of that interval.",
    "utility_raw_lo": "utility_lo before it is cut to what the metric can be.",
    "utility_raw_hi": "utility_hi before it is cut.",
    "worst_attack": "The attack with the largest mean leakage over all seeds, of all attacks with "
    "this access or less.",
    "L": "Leakage to the worst attack: its mean over seeds, cut to [0, 1]. 0: the model taught the "
    "attacker nothing; 1: as good as having the records.",
    "L_lo": "Lower end of the 95 % interval of the largest leakage of all attacks, cut to [0, 1].",
    "L_hi": "Upper end of that interval, cut to [0, 1].",
    "M": "The part of the leakage that is about members of the training data; 0: none.",
    "M_lo": "Lower end of the 95 % interval of M.",
    "M_hi": "Upper end of the 95 % interval of M.",
    "M_most": "Proven bound: on average no attack can have a larger M. Empty: nothing is proven.",
    "epsilon": "Epsilon of differential privacy that the training states; empty: it states none.",
    "advantage": "Largest advantage that the training allows any test of membership.",
    "audit": "What an audit by canaries says of the stated epsilon: refuted, not refuted, no test "
    "or not audited; empty: no epsilon is stated.",
    "epsilon_lower": "What the true epsilon certainly exceeds by that audit, at 95 % confidence: "
    "the largest over seeds.",
    "epsilon_most": "What epsilon_lower would be, were every guess of the audit right.",
    "flags": "What limits what the row says, joined with ';'.",
    "rank": "First of the places that the row shares with all rows of the same rank: they cannot "
    "be told apart. Empty: the row takes no place.",
    "front": "Probability that the row is on the Pareto front of utility and leakage.",
    "L_raw": "L before it is cut to [0, 1]; below 0, the attack did worse than without the model.",
    "L_raw_lo": "L_lo before it is cut.",
    "L_raw_hi": "L_hi before it is cut.",
    "L_without": "L if no setting of the worst attack had been run.",
    "L_without_raw": "L_without before it is cut to [0, 1].",
    "dL": "Mean paired difference of L to the row 'none', on the same seeds.",
    "dL_lo": "Lower end of its 95 % t interval.",
    "dL_hi": "Upper end of its 95 % t interval.",
    "dL_p": "Its p value, corrected by Holm's method for all rows of the board.",
    "dL_flip": "Its p value by the exact sign-flip permutation test, of this row alone.",
    "verdict": "Whether L is shown to differ from that of 'none': less, more or unclear; empty: "
    "not tested.",
    "dU": "Mean paired difference of utility to the row that 'against' names, on the same seeds.",
    "dU_lo": "Lower end of its 95 % t interval.",
    "dU_hi": "Upper end of its 95 % t interval.",
    "seeds_needed": "Seeds for a half width of 0.05 of the interval of L, if the spread stays.",
    "train_s": "Median time of training in seconds.",
    "utility_metric": "Metric of utility on this board.",
    "against": "Row that utility is compared with.",
    "settings": "How many settings of the defense the row was chosen from.",
    "certain_attack": "The attack that knows the secrets of the most members for certain.",
    "certain_share": "Share of the members whose secret it knows for certain: mean over seeds.",
    "certain_max": "Largest such share in one seed.",
    "certain_base": "Mean such share of the attacker without the model.",
    "trials_planned": "Trials that were planned for the row.",
    "trials_lost": "Planned trials of the row that have no record.",
}
"""Columns of ``leaderboard.csv`` and what they hold, in their order."""
LACKING = ("trials_planned", "trials_lost")
"""Further columns where trials that were planned have no record."""
LEADERBOARD = tuple(name for name in MEANING if name not in (*certainty.COLUMNS, *LACKING))
"""Columns that every ``leaderboard.csv`` has; but ``budget`` only where some board has one."""
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
    many attackers are certain where that is known of some row. ``MEANING`` says what they hold.
    """
    return _rows_csv(boards.rows, suite)


def board_csv(boards: Boards, key: BoardKey, suite: str) -> str:
    """The rows of one board, with the columns of :func:`leaderboard_csv` that it needs."""
    return _rows_csv(by_board(boards.rows)[key], suite)


def columns_csv() -> str:
    """A sentence for each column of ``leaderboard.csv`` and of the files of single boards."""
    return _written(pd.DataFrame({"column": [*MEANING], "meaning": [*MEANING.values()]}))


def _rows_csv(rows: pd.DataFrame, suite: str) -> str:
    lacking = LACKING if (rows["trials_lost"] > 0).any() else ()
    certain = certainty.COLUMNS if certainty.known(rows) else ()
    return _written(limited(rows.assign(suite=suite)[[*LEADERBOARD, *certain, *lacking]]))


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
            f"differ by more; {AT_MOST}: no leakage is seen, and the interval ends there; #: "
            "places, shared by rows that cannot be told apart."
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
        lines += [_line(row) for row in ordered(rows)]
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
            leakage(row),
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
        row["places"],
        _md(row["defense"]),
        leakage(row),
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
