"""Which trials count on a board: every attack with its access or less (PROTOCOL 3.4)."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from bench.contract.access import ACCESS_ORDER, at_least
from bench.report.coverage import LOST
from bench.report.frame import BASELINE, SCENARIO, UNDEFENDED, flagged

K = TypeVar("K", bound=Hashable)


class BoardKey(NamedTuple):
    """What a board is of; ``budget``: most queries an attack may send, infinite without limit."""

    sector: str
    dataset: str
    model: str
    goal: str
    access: str
    budget: float = math.inf

    @property
    def scenario(self) -> tuple[str, str, str, str]:
        """Values of :data:`bench.report.frame.SCENARIO`."""
        return self[:4]

    @property
    def path(self) -> str:
        """The board in one word, such as ``faces/mlp/attribute/scores/1000 queries``."""
        limit = [] if math.isinf(self.budget) else [f"{self.budget:.0f} queries"]
        return "/".join([self.dataset, self.model, self.goal, self.access, *limit])


LEVEL = [*SCENARIO, "access"]
BOARD = [*BoardKey._fields]
ROW = [*BOARD, "defense"]
COUNTED = ("labels", "scores")
"""Accesses at which queries can be counted: who has more needs none."""
RANK = {access: rank for rank, access in enumerate(ACCESS_ORDER)}


def close(frame: pd.DataFrame) -> pd.DataFrame:
    """Trials of every board: ``access`` becomes the board's, ``attack_access`` the attack's own.

    ``budget``, too, becomes the board's: beside the board without limit stands one for every
    budget of the scenario (:func:`_budgeted`), and the attack's own is ``cap``.

    Where a defense does not act at the board's access the attacker meets the undefended model
    and can run every weaker attack on that too: the row takes the trials of ``none`` as they are.
    ``lost`` marks a trial without a record.
    """
    real = frame[frame["access"] != BASELINE]
    levels = real[LEVEL].drop_duplicates()
    closed = real.rename(columns={"access": "attack_access", "budget": "cap"})
    closed = closed.merge(levels, on=SCENARIO)
    offers = {(a, b) for a in ACCESS_ORDER for b in ACCESS_ORDER if at_least(a, b)}
    pairs = zip(closed["access"], closed["attack_access"], strict=True)
    closed = closed[np.array([pair in offers for pair in pairs], dtype=bool)].assign(
        done=lambda t: t["status"] == "done", lost=lambda t: t["status"] == LOST
    )

    at_level = closed["access"] == closed["attack_access"]
    marked = at_level & flagged(closed, "no_effect")
    uncovered = closed["covers"].astype(bool) & ~listed(closed["access"], closed["covers"])
    idle = (marked | uncovered) & (closed["defense"] != UNDEFENDED)
    row = [*LEVEL, "defense"]
    idle_rows = closed.loc[idle, row].drop_duplicates()
    undefended = closed[closed["defense"] == UNDEFENDED].drop(columns="defense")
    copied = idle_rows.merge(undefended, on=LEVEL)

    mark = closed[row].merge(idle_rows, how="left", indicator=True)["_merge"] == "both"
    closed = closed.assign(no_effect=mark.to_numpy())
    replaced = closed[row].merge(copied[row].drop_duplicates(), how="left", indicator=True)
    kept = closed[(replaced["_merge"] != "both").to_numpy()]
    closed = pd.concat([kept, copied.assign(no_effect=True)], ignore_index=True)
    return _budgeted(closed)


def _budgeted(closed: pd.DataFrame) -> pd.DataFrame:
    """Trials of the boards without limit and of those of each budget of a scenario.

    Whatever its own cap, an attack counts within a budget that it kept against a defense in every
    seed: a mean over the seeds in which it happened to ask little would say nothing. What never
    finished has kept its cap. So every attack of a board is on those of larger budgets too, with
    the same trials.
    """
    asking = closed["attack_access"].isin(COUNTED) & np.isfinite(closed["cap"])
    caps = closed.loc[asking, [*SCENARIO, "cap"]].rename(columns={"cap": "budget"})
    boards = closed.assign(budget=math.inf)
    if caps.empty:
        return boards
    counted = closed[closed["access"].isin(COUNTED)].astype({"queries": "float64"})
    sent = counted.groupby([*LEVEL, "defense", "attack"])["queries"].transform("max")
    kept = counted.assign(kept=np.fmin(counted["cap"], sent), queries=closed["queries"])
    within = kept.merge(caps.drop_duplicates(), on=SCENARIO)
    within = within[within["kept"] <= within["budget"]].drop(columns="kept")
    return pd.concat([boards, within], ignore_index=True)


def spans(seeds: Iterable[int]) -> str:
    """Seeds as people write them: ``0-2, 5``."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def slugs(boards: Iterable[BoardKey]) -> dict[BoardKey, str]:
    """A readable, unique name of each board for files and labels; equal ones are numbered."""
    return unique({key: key.path for key in boards}, "board")


def by_board(table: pd.DataFrame) -> dict[BoardKey, pd.DataFrame]:
    """Rows of every board, in the order in which the boards come."""
    groups: Any = table.groupby(BOARD, sort=False)
    return {BoardKey(*key): rows for key, rows in groups}


def unique(texts: Mapping[K, str], fallback: str) -> dict[K, str]:
    """A slug of every text; equal ones are numbered in the given order."""
    out: dict[K, str] = {}
    taken: set[str] = set()
    for key, text in texts.items():
        slug = re.sub(r"[^a-z0-9]+", "-", text.lower())[:100].strip("-") or fallback
        name, number = slug, 1
        while name in taken:
            number += 1
            name = f"{slug}-{number}"
        taken.add(name)
        out[key] = name
    return out


def listed(names: pd.Series[str], lists: pd.Series[Any]) -> pd.Series[bool]:
    """Whether each name stands in its tuple (worked out once per distinct pair)."""
    pairs = pd.DataFrame({"name": names, "list": lists})
    unique = pairs.drop_duplicates()
    found = [name in names for name, names in zip(unique["name"], unique["list"], strict=True)]
    merged = pairs.merge(unique.assign(found=found), on=["name", "list"], how="left")
    return pd.Series(merged["found"].to_numpy(dtype=bool), index=pairs.index)


def in_order(table: pd.DataFrame, last: list[str]) -> pd.DataFrame:
    """Sorted by board (accesses and budgets from least to most), then by ``last``."""
    keys = [*SCENARIO, "_level", "budget", *last]
    table = table.assign(_level=table["access"].map(RANK))
    ordered: pd.DataFrame = table.sort_values(keys, kind="stable", ignore_index=True)
    return ordered.drop(columns="_level")
