"""What a pack says, worked out again from its own records: no model is trained for it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from bench.contract import Goal, Score
from bench.contract.record import SCHEMA_VERSION, Scored, TrialRecord
from bench.metrics.leakage import leakage, member_gap
from bench.report.boards import Boards
from bench.report.closure import BOARD, ROW
from bench.report.frame import BASELINE

_EXACT = 1e-9
_PRINTED = 1e-5  # figures are written with six digits
_DRAWN = {"front": 0.02}  # drawn at random: another version of numpy may draw otherwise


@dataclass(frozen=True)
class Sums:
    """Figures of records worked out again.

    Attributes:
        checked: how many records have a score.
        alone: how many of them name a baseline whose own trial is not there, so that the success
            without the model and the member gap could not be worked out.
        wrong: a sentence for everything that does not follow.
    """

    checked: int
    alone: int
    wrong: tuple[str, ...]


def sums(records: Iterable[TrialRecord]) -> Sums:
    """Work out L, M and the success without the model of every record.

    Args:
        records: may be iterated twice.
    """
    bases: dict[tuple[str, str, str, int], Scored] = {}
    for record in records:
        if record.access == BASELINE and record.score is not None:
            cell = record.cell
            bases[cell.dataset, record.goal, cell.attack, cell.seed] = record.score
    checked = alone = 0
    wrong: list[str] = []
    major = SCHEMA_VERSION.split(".")[0]
    for record in records:
        cell, score = record.cell, record.score
        where = f"{cell.key()} ({record.trial_id[:12]})"
        if record.schema_version.split(".")[0] != major:
            wrong.append(f"{where} has record schema {record.schema_version}, not {major}.x")
        if (record.status == "done") != (score is not None):
            wrong.append(f"{where} is '{record.status}' and has {'a' if score else 'no'} score")
        if score is None:
            continue
        checked += 1
        follows = leakage(score.value, score.s_base, score.s_ceil)
        if not _equal(score.L, follows):
            wrong.append(
                f"{where}: L is {_said(score.L)}, but s = {_said(score.value)}, "
                f"s_base = {_said(score.s_base)} and s_ceil = {_said(score.s_ceil)} give "
                f"{_said(follows)}"
            )
        base = bases.get((cell.dataset, record.goal, score.s_base_attack, cell.seed))
        if base is None:
            alone += 1
            continue
        if not _equal(score.s_base, base.value):
            wrong.append(
                f"{where}: s_base is {_said(score.s_base)}, but '{score.s_base_attack}' reached "
                f"{_said(base.value)}"
            )
        gap = member_gap(cast(Goal, record.goal), _score(score), _score(base))
        if not _equal(score.M, gap):
            wrong.append(
                f"{where}: M is {_said(score.M)}, but its members and non-members give {_said(gap)}"
            )
    return Sums(checked, alone, tuple(wrong))


def drift(stated: bytes, built: str, name: str = "leaderboard.csv") -> list[str]:
    """Where a stated table differs from the one that its records give.

    Args:
        stated: the table as it is in the pack.
        built: the table made now; numbers may differ in the last printed digit.
        name: how sentences name it.

    Returns:
        A sentence for each figure that differs, and for each row or column only one of them has.
    """
    theirs, ours = (_rows(text) for text in (stated.decode("utf-8", "replace"), built))
    out = [f"{name} has a row {' / '.join(k)} that its records do not give"
           for k in theirs if k not in ours]  # fmt: skip
    out += [f"{name} lacks the row {' / '.join(k)} that its records give"
            for k in ours if k not in theirs]  # fmt: skip
    for key in ours:
        for column, value in ours[key].items():
            said = theirs.get(key, {}).get(column)
            if key in theirs and said is None:
                out.append(f"{name} lacks the column {column}")
            elif said is not None and not _alike(said, value, _DRAWN.get(column, _PRINTED)):
                out.append(
                    f"{name}, {' / '.join(key)}: {column} is {said or 'empty'}, the records give "
                    f"{value or 'nothing'}"
                )
    return list(dict.fromkeys(out))


def sample(frame: pd.DataFrame, n: int, seed: int) -> list[str]:
    """Identities of trials to run again, spread over the boards.

    Args:
        frame: trials that can be run, as :func:`bench.report.frame.build` gives them.
        n: how many, at most.
        seed: which; the same seed gives the same trials.
    """
    rng = np.random.default_rng(seed)
    rows = frame[(frame["control"] == "") & (frame["access"] != BASELINE)]
    rows = rows[rows["status"] == "done"].sort_values("trial_id")
    boards = [list(group["trial_id"]) for _, group in rows.groupby(BOARD, sort=True)]
    for trials in boards:
        rng.shuffle(trials)
    rng.shuffle(boards)
    turns = max((len(trials) for trials in boards), default=0)
    picked = [trials[turn] for turn in range(turns) for trials in boards if turn < len(trials)]
    return picked[:n]


def predicted(boards: Boards) -> Mapping[tuple[str, ...], tuple[float, float]]:
    """Where one more seed of each row and attack should fall, 19 times out of 20.

    The interval of the mean over ``n`` seeds, ``t sd / sqrt(n)`` to each side, widened to the
    prediction interval of one seed: ``t sd sqrt(1 + 1/n)``, that is ``sqrt(n + 1)`` as wide.

    Returns:
        Ends by (board, defense, attack); rows of fewer than two seeds are left out.
    """
    table = boards.attacks
    table = table[table["attack_access"] == table["access"]].dropna(subset=["L_lo", "L_hi"])
    return {
        (*(str(row[name]) for name in ROW), str(row["attack"])): (
            row["L"] - (row["L"] - row["L_lo"]) * math.sqrt(row["L_n"] + 1),
            row["L"] + (row["L_hi"] - row["L"]) * math.sqrt(row["L_n"] + 1),
        )
        for row in table.to_dict("records")
    }


def place(record: TrialRecord) -> tuple[str, ...]:
    """The key of :func:`predicted` for a trial."""
    cell = record.cell
    return (
        record.data.sector, cell.dataset, cell.model, record.goal, record.access, cell.defense,
        cell.attack,
    )  # fmt: skip


def _score(scored: Scored) -> Score:
    return Score(
        metric=scored.metric, value=scored.value, members=scored.members,
        nonmembers=scored.nonmembers, ceiling=scored.s_ceil,
    )  # fmt: skip


def _rows(text: str) -> dict[tuple[str, ...], dict[str, str]]:
    """Rows of a leaderboard by board and defense."""
    found = csv.DictReader(io.StringIO(text))
    return {tuple(row.get(name) or "" for name in ROW): dict(row) for row in found}


def _alike(one: str, other: str, slack: float) -> bool:
    if one == other:
        return True
    try:
        return math.isclose(float(one), float(other), rel_tol=_PRINTED, abs_tol=slack)
    except ValueError:
        return False


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _EXACT


def _said(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
