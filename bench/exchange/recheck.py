"""What a pack says, worked out again from its own records: no model is trained for it."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.contract.record import SCHEMA_VERSION, Scored, TrialRecord
from bench.goals import goal_named
from bench.metrics.leakage import leakage, member_gap
from bench.report import stats
from bench.report.boards import Boards
from bench.report.closure import BOARD, ROW
from bench.report.frame import BASELINE, SINGLE, flagged
from bench.report.tables import meant

EXACT = 1e-9
"""Most by which the figures of one trial differ by rounding alone."""
_PRINTED = 1e-5  # figures are written with six digits
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DRAWN = {"front": 0.02}  # drawn at random: another version of numpy may draw otherwise


class Claim(NamedTuple):
    """What a record states that others can contradict; a hundredth of its size.

    Attributes:
        trial: identity of the trial.
        cell: where it stands in the grid, as text.
        board: data set, model and goal, which share a zero of the leakage scale.
        attack: name of the attack.
        seed: number of the repeat.
        baseline: whether it is of an attacker without the model.
        single: whether its model was given, so that its members may be unknown.
        status: how it ended.
        schema: version of the record.
        protocol: version of the rules that it follows.
        score: its figures, without the metrics beside them; None: it has none.
    """

    trial: str
    cell: str
    board: tuple[str, str, str]
    attack: str
    seed: int
    baseline: bool
    single: bool
    status: str
    schema: str
    protocol: str
    score: Scored | None


def claim(record: TrialRecord) -> Claim:
    """What a record states that others can contradict."""
    cell, score = record.cell, record.score
    return Claim(
        record.trial_id,
        cell.key(),
        (cell.dataset, cell.model, record.goal),
        cell.attack,
        cell.seed,
        record.access == BASELINE,
        SINGLE in record.flags,
        record.status,
        record.schema_version,
        record.protocol_version,
        None if score is None else score.model_copy(update={"extra": {}}),
    )


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


def sums(claims: Sequence[Claim]) -> Sums:
    """Work out L, M and the success without the model of every record."""
    bases: dict[tuple[str, str, str, str, int], Scored] = {}
    named: dict[tuple[str, str, str], set[str]] = {}
    for made in claims:
        if made.score is not None:
            named.setdefault(made.board, set()).add(made.score.s_base_attack)
            if made.baseline:
                bases[*made.board, made.attack, made.seed] = made.score
    checked = alone = 0
    wrong: list[str] = []
    major = SCHEMA_VERSION.split(".")[0]
    for made in claims:
        score, where = made.score, f"{made.cell} ({made.trial[:12]})"
        if made.schema.split(".")[0] != major:
            wrong.append(f"{where} has record schema {made.schema}, not {major}.x")
        if (made.status == "done") != (score is not None):
            wrong.append(f"{where} is '{made.status}' and has {'a' if score else 'no'} score")
        if score is None:
            continue
        checked += 1
        follows = leakage(score.value, score.s_base, score.s_ceil)
        if not equal(score.L, follows):
            wrong.append(
                f"{where}: L is {_said(score.L)}, but s = {_said(score.value)}, "
                f"s_base = {_said(score.s_base)} and s_ceil = {_said(score.s_ceil)} give "
                f"{_said(follows)}"
            )
        # What is known without a model depends on what the model is asked, as labels or lists.
        base = bases.get((*made.board, score.s_base_attack, made.seed))
        if base is None:
            alone += 1
            continue
        if not equal(score.s_base, base.value):
            wrong.append(
                f"{where}: s_base is {_said(score.s_base)}, but '{score.s_base_attack}' reached "
                f"{_said(base.value)}"
            )
        # Only what some trial is measured from is a zero of the scale: papers report more.
        others = {
            name: found.value
            for name in named[made.board]
            if (found := bases.get((*made.board, name, made.seed)))
        }
        most = max(others, key=lambda name: others[name])
        if others[most] > score.s_base + EXACT:
            wrong.append(
                f"{where}: s_base is {_said(score.s_base)} by '{score.s_base_attack}', but without "
                f"the model '{most}' reached {_said(others[most])}"
            )
        gap = member_gap(goal_named(made.board[2]).gains, score, base)
        # Whom a model was trained on that was given, nobody may know.
        unknown = score.M is None and made.single
        if not unknown and not equal(score.M, gap):
            wrong.append(
                f"{where}: M is {_said(score.M)}, but its members and non-members give {_said(gap)}"
            )
    return Sums(checked, alone, tuple(wrong))


def listed(claims: Iterable[Claim], trials: Mapping[str, str]) -> list[str]:
    """Where records are not those that the manifest lists, each once.

    Returns:
        A sentence for every record that is not listed, listed as something else or there twice,
        and for every listed trial that has no record.
    """
    seen: set[str] = set()
    wrong = []
    for made in claims:
        where = f"{made.cell} ({made.trial[:12]})"
        cell = trials.get(made.trial)
        if cell is None:
            wrong.append(f"{where} is not among the trials that its manifest lists")
        elif cell != made.cell:
            wrong.append(f"{where} is {cell} in its manifest")
        if made.trial in seen:
            wrong.append(f"{where} is there twice")
        seen.add(made.trial)
    wrong += [
        f"{cell} ({key[:12]}) has no record" for key, cell in trials.items() if key not in seen
    ]
    return wrong


def drift(given: bytes, built: str, name: str = "leaderboard.csv") -> list[str]:
    """Where a stated table differs from the one that its records give.

    Args:
        given: the table as it is in the pack.
        built: the table made now; numbers may differ in the last printed digit.
        name: how sentences name it.

    Returns:
        A sentence for each figure that differs, and for each row or column only one of them has.
    """
    theirs, ours = (_rows(text) for text in (given.decode("utf-8", "replace"), built))
    out = [
        f"{name} has a row {' / '.join(k)} that its records do not give"
        for k in theirs
        if k not in ours
    ]
    out += [
        f"{name} lacks the row {' / '.join(k)} that its records give"
        for k in ours
        if k not in theirs
    ]
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


def prose(given: bytes, built: str, name: str = "leaderboard.md") -> list[str]:
    """Where a stated text differs from the one that its records give.

    Args:
        given: the text as it is in the pack.
        built: the text made now; numbers may differ by one in the last printed digit.
        name: how sentences name it.

    Returns:
        A sentence for the first line that differs; empty where none does.
    """
    theirs, ours = given.decode("utf-8", "replace").splitlines(), built.splitlines()
    for at, (one, other) in enumerate(itertools.zip_longest(theirs, ours, fillvalue=""), 1):
        if not _same_line(one, other):
            return [f"{name}, line {at} is '{_short(one)}', the records give '{_short(other)}'"]
    return []


def _same_line(one: str, other: str) -> bool:
    if one == other:
        return True
    words, numbers = (([*f(one)], [*f(other)]) for f in (_NUMBER.split, _NUMBER.findall))
    return words[0] == words[1] and all(
        abs(float(a) - float(b)) <= 1.01 * 10.0 ** -len(a.partition(".")[2]) and "." in a
        for a, b in zip(*numbers, strict=True)
        if a != b
    )


def _short(line: str) -> str:
    return line if len(line) <= 100 else f"{line[:100]}..."


def sample(table: pd.DataFrame, n: int, seed: int) -> list[str]:
    """Identities of trials to run again, spread over the boards and within a board over its rows.

    Trials that were ``skipped`` may be drawn too: that they cannot be run is a claim like any
    other. Rows without an effect repeat those of ``none`` and come last.

    Args:
        table: trials that can be run, as :func:`bench.report.frame.build` gives them.
        n: how many, at most.
        seed: which; the same seed gives the same trials.
    """
    rng = np.random.default_rng(seed)
    rows = table[(table["control"] == "") & (table["access"] != BASELINE)]
    rows = rows[rows["status"].isin(["done", "skipped"])].sort_values("trial_id")
    idle = flagged(rows, "no_effect")
    boards = []
    for _, group in rows.groupby(BOARD, sort=True):
        turns = [
            _in_turn([list(row["trial_id"]) for _, row in part.groupby("defense", sort=True)], rng)
            for part in (group[~idle[group.index]], group[idle[group.index]])
        ]
        boards.append([*turns[0], *turns[1]])
    return _in_turn(boards, rng, shuffled=True)[:n]


def _in_turn(lists: list[list[str]], rng: np.random.Generator, shuffled: bool = False) -> list[str]:
    """One of each list, then the next of each, in an order by chance."""
    for names in lists:
        if not shuffled:
            rng.shuffle(names)
    rng.shuffle(lists)
    return [name for turn in itertools.zip_longest(*lists) for name in turn if name is not None]


Ends = Mapping[str, tuple[float, float]]
"""Ends of an interval by the figure: ``L`` (``s`` without headroom), ``M`` and ``utility``."""


def predicted(made: Boards) -> Mapping[tuple[str, ...], Ends]:
    """Where one more seed of each row and attack should fall, 19 times out of 20.

    The interval of the mean over ``n`` seeds, ``t sd / sqrt(n)`` to each side, widened to the
    prediction interval of one seed: ``t sd sqrt(1 + 1/n)``, that is ``sqrt(n + 1)`` as wide.

    Returns:
        Ends by (board, defense, attack); what has fewer than two seeds is left out.
    """
    figures = ["L", "s", "M", "utility"]
    # A record states its utility by the metric of the data set, whatever its board shows.
    seeds = made.seeds.drop(columns="utility")
    seeds = seeds.rename(columns={"score": "s", "recorded": "utility"})
    seeds = seeds.astype(dict.fromkeys(figures, "float64"))
    table = stats.summarise(seeds, [*ROW, "attack"], figures)
    out: dict[tuple[str, ...], dict[str, tuple[float, float]]] = {}
    for row in table.to_dict("records"):
        key = tuple(str(row[name]) for name in (*ROW, "attack"))
        for name in figures:
            if row[f"{name}_n"] >= 2:
                half = (row[f"{name}_hi"] - row[name]) * math.sqrt(row[f"{name}_n"] + 1)
                out.setdefault(key, {})[name] = (row[name] - half, row[name] + half)
    return out


def place(record: TrialRecord) -> tuple[str, ...]:
    """The key of :func:`predicted` for a trial; on the board without limit are all of them."""
    cell = record.cell
    return (
        record.data.sector,
        cell.dataset,
        cell.model,
        record.goal,
        record.access,
        str(math.inf),
        cell.defense,
        cell.attack,
    )


def _rows(text: str) -> dict[tuple[str, ...], dict[str, str]]:
    """Rows of a leaderboard by board and defense."""
    found = csv.DictReader(io.StringIO(text))
    rows = [{name: meant(cell or "") for name, cell in row.items() if name} for row in found]
    return {tuple(row.get(name, "") for name in ROW): row for row in rows}


def _alike(one: str, other: str, slack: float) -> bool:
    if one == other:
        return True
    try:
        return math.isclose(float(one), float(other), rel_tol=_PRINTED, abs_tol=slack)
    except ValueError:
        return False


def equal(one: float | None, other: float | None) -> bool:
    """Whether two figures are one, rounding aside; none is equal to none."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= EXACT


def _said(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
