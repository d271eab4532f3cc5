"""Which trials count on a board: every attack with its access or less (PROTOCOL 3.4)."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

import pandas as pd

from bench.contract.access import ACCESS_ORDER
from bench.report import stats
from bench.report.coverage import LOST
from bench.report.frame import BASELINE, SCENARIO, UNDEFENDED

BoardKey = tuple[str, str, str, str, str]
K = TypeVar("K", bound=Hashable)
BOARD = [*SCENARIO, "access"]
ROW = [*BOARD, "defense"]
RANK = {access: rank for rank, access in enumerate(ACCESS_ORDER)}


def close(frame: pd.DataFrame) -> pd.DataFrame:
    """Trials of every board: ``access`` becomes the board's, ``attack_access`` the attack's own.

    Where a defense does not act at the board's access the attacker meets the undefended model
    and can run every weaker attack on that too: the row takes the trials of ``none`` as they are.
    ``selects`` and ``reports`` say whether a trial's seed chooses the worst attack and whether
    figures rest on it. A board has one split for all its rows, so that they stay paired; with too
    few seeds all do both (:func:`bench.report.stats.selection`). ``lost`` marks a trial without a
    record.
    """
    real = frame[frame["access"] != BASELINE]
    levels = real[BOARD].drop_duplicates()
    closed = real.rename(columns={"access": "attack_access"}).merge(levels, on=SCENARIO)
    rank, own = closed["access"].map(RANK), closed["attack_access"].map(RANK)
    closed = closed[own <= rank].assign(
        done=lambda t: t["status"] == "done", lost=lambda t: t["status"] == LOST
    )

    at_level = closed["access"] == closed["attack_access"]
    flagged = at_level & closed["flags"].str.contains("no_effect", regex=False)
    uncovered = (closed["covers"] != "") & ~listed(closed["access"], closed["covers"])
    idle = (flagged | uncovered) & (closed["defense"] != UNDEFENDED)
    idle_rows = closed.loc[idle, ROW].drop_duplicates()
    undefended = closed[closed["defense"] == UNDEFENDED].drop(columns="defense")
    copied = idle_rows.merge(undefended, on=BOARD)

    mark = closed[ROW].merge(idle_rows, how="left", indicator=True)["_merge"] == "both"
    closed = closed.assign(no_effect=mark.to_numpy())
    replaced = closed[ROW].merge(copied[ROW].drop_duplicates(), how="left", indicator=True)
    kept = closed[(replaced["_merge"] != "both").to_numpy()]
    closed = pd.concat([kept, copied.assign(no_effect=True)], ignore_index=True)
    closed = closed.merge(_split(closed), on=[*BOARD, "seed"], how="left")
    return closed.assign(**{x: closed[x].eq(True) for x in ("selects", "reports")})


def _split(closed: pd.DataFrame) -> pd.DataFrame:
    # A seed of which nothing is there neither chooses nor reports.
    there = closed[closed["status"] != LOST]
    seeds = there[[*BOARD, "seed"]].drop_duplicates().sort_values("seed")
    groups = seeds.groupby(BOARD)["seed"]
    chosen = groups.transform("size").map(stats.selection_size)
    first = groups.cumcount() < chosen
    return seeds.assign(selects=first | (chosen == 0), reports=~first)


def split_named(closed: pd.DataFrame) -> pd.DataFrame:
    """``selected_on`` and ``reported_on`` of every board, in words; empty where all do both.

    Args:
        closed: trials, as :func:`close` gives them.
    """
    seeds = closed[[*BOARD, "seed", "selects", "reports"]].drop_duplicates()
    return pd.DataFrame([
        {
            **dict(zip(BOARD, key, strict=True)),
            "selected_on": spans(board["seed"][board["selects"] & ~board["reports"]]),
            "reported_on": spans(board["seed"][board["reports"] & ~board["selects"]]),
        }
        for key, board in seeds.groupby(BOARD)
    ])  # fmt: skip


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
    return unique({key: "-".join(key[1:]) for key in boards}, "board")


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


def listed(names: pd.Series[str], lists: pd.Series[str]) -> pd.Series[bool]:
    """Whether each name stands in its ``;``-joined list (worked out once per distinct pair)."""
    pairs = pd.DataFrame({"name": names, "list": lists})
    unique = pairs.drop_duplicates()
    found = [
        name in text.split(";") for name, text in zip(unique["name"], unique["list"], strict=True)
    ]
    merged = pairs.merge(unique.assign(found=found), on=["name", "list"], how="left")
    return pd.Series(merged["found"].to_numpy(dtype=bool), index=pairs.index)


def in_order(table: pd.DataFrame, last: list[str]) -> pd.DataFrame:
    """Sorted by board (accesses from least to most), then by ``last``."""
    keys = [*SCENARIO, "_level", *last]
    table = table.assign(_level=table["access"].map(RANK))
    ordered: pd.DataFrame = table.sort_values(keys, kind="stable", ignore_index=True)
    return ordered.drop(columns="_level")
