"""How useful a deployment is to those who have the access of a board, and compared with what.

Users of labels see labels, users of scores see scores. What a defense does to the scores of a
classifier costs its users nothing by a metric of labels. So boards of scores show the quadratic
score (PROTOCOL 2.5), and every other board the metric of the data set.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.report.frame import BASELINE, BY_LABELS, QUADRATIC, REGULARISED, UNDEFENDED
from bench.report.single import spread

DEPLOYED = ["dataset", "model", "defense"]
SERVED = [*DEPLOYED, "access"]
"""A deployment as users with an access have it."""
_TARGETS = ["dataset", "model"]
_BOUNDED = ("accuracy", "balanced_accuracy", "auroc", QUADRATIC)


def per_seed(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each deployment is worth with each seed, to users of each access.

    Returns:
        By ``SERVED`` and seed: ``utility``, ``utility_metric``, ``epsilon``, ``advantage`` and
        ``train_s``; and the same where the row that utility is compared with has that seed too,
        with its name, ``against``, and ``dU``, the paired difference to it. That row is the
        regularised baseline where there is one, else ``none``. ``own`` is what the layers of a
        row change by themselves: of one that acts on answers or on who asks the difference to
        ``none``, whose network it guards, of any other ``dU``.
    """
    done = frame[(frame["status"] == "done") & frame["utility"].notna()]
    values = ["utility", "quadratic", "epsilon", "advantage", "train_s"]
    groups = done.groupby([*DEPLOYED, "seed"])
    named = ["utility_metric", "stages", "single", "draws"]
    own = groups[values].mean().join(groups[named].first()).reset_index()
    accesses = [access for access in frame["access"].unique() if access != BASELINE]
    each = [seen(own, access).assign(access=access) for access in accesses]
    seeds = pd.concat(each or [own.iloc[:0].assign(access="")], ignore_index=True)
    seeds = seeds.drop(columns="quadratic")
    seeds = seeds.assign(utility_error=[spread(draws) for draws in seeds["draws"]])
    renamed = {"utility": "utility_ref", "draws": "draws_ref"}
    reference = compared(seeds).rename(columns=renamed)
    pairs = seeds.merge(reference, on=[*_TARGETS, "access", "seed"])
    both = zip(pairs["draws"], pairs["draws_ref"], strict=True)
    pairs = pairs.assign(
        dU=pairs["utility"] - pairs["utility_ref"],
        dU_error=[spread(mine, other) for mine, other in both],
    )
    place = [*_TARGETS, "access", "seed"]
    bare = seeds.loc[seeds["defense"] == UNDEFENDED, [*place, "utility"]]
    guarded = pairs.merge(bare, on=place, how="left", suffixes=("", "_none"))
    change = guarded["utility"] - guarded["utility_none"]
    after = pairs["stages"].map(lambda stages: bool(stages) and "training" not in stages)
    return seeds, pairs.assign(own=change.where(after.astype(bool), pairs["dU"]))


def seen(table: pd.DataFrame, access: str) -> pd.DataFrame:
    """The table with ``utility`` and ``utility_metric`` as users with an access have them.

    Rows of one target are told in one metric: where a record lacks the quadratic score, all of
    them keep the metric of the data set. ``draws`` becomes that of the metric alone.
    """
    if access != "scores":
        return drawn(table)
    whole = table["quadratic"].notna().groupby([table[name] for name in _TARGETS]).transform("all")
    scored = whole.astype(bool) & table["utility_metric"].isin(BY_LABELS)
    return drawn(
        table.assign(
            utility=table["quadratic"].where(scored, table["utility"]),
            utility_metric=table["utility_metric"].mask(scored, QUADRATIC),
        )
    )


def drawn(table: pd.DataFrame, metric: str = "") -> pd.DataFrame:
    """With ``draws`` by one metric: ``metric``, or what the row is told in."""
    pairs = zip(table["draws"], table["utility_metric"], strict=True)
    return table.assign(draws=[dict(draws).get(metric or own, ()) for draws, own in pairs])


def compared(seeds: pd.DataFrame) -> pd.DataFrame:
    """The rows that utility is compared with.

    Args:
        seeds: with ``SERVED``, ``seed`` and ``utility``.

    Returns:
        By data set, model, access and seed: ``utility``, ``draws`` and ``against``, the name of the
        row.
    """
    bare = seeds["defense"].str.split("[", n=1).str[0]
    known = seeds.assign(against=seeds["defense"])[bare.isin([REGULARISED, UNDEFENDED])]
    # One row for all seeds, so that they stay paired: "none" comes before "regularised".
    last = known.groupby(_TARGETS)["against"].transform("max")
    columns = [*_TARGETS, "access", "seed", "utility", "draws", "against"]
    return known.loc[known["against"] == last, columns]


def settings(frame: pd.DataFrame, rows: pd.DataFrame, of: list[str]) -> pd.Series[int]:
    """How many settings of its defense each row was chosen from.

    A search beforehand, or one that the defense makes itself, left one row of many settings: its
    records tell of more settings than there are rows.

    Args:
        frame: all trials.
        rows: those that count, with ``family`` and ``defense``.
        of: what settings are chosen for, such as a board.

    Returns:
        By ``of`` and ``family``.
    """
    told = frame.groupby("family").agg(told=("settings", "max"), rows=("defense", "nunique"))
    searched = told["told"].where(told["told"] > told["rows"], 1)
    here = rows.groupby([*of, "family"])["defense"].nunique()
    most = searched.loc[here.index.get_level_values("family")].to_numpy()
    return pd.Series(np.maximum(here, most), here.index, dtype=int, name="settings")


def metrics(seeds: pd.DataFrame) -> pd.DataFrame:
    """``utility_metric`` by ``SERVED``, of rows of :func:`per_seed`."""
    return pd.DataFrame(seeds.groupby(SERVED, as_index=False)["utility_metric"].first())


def bounded(table: pd.DataFrame) -> pd.DataFrame:
    """With the interval of utility cut to [0, 1] where ``utility_metric`` cannot leave it.

    ``utility_raw_lo`` and ``utility_raw_hi`` are its ends as they were.
    """
    ends = ["utility_lo", "utility_hi"]
    within = table["utility_metric"].isin(_BOUNDED)
    raw = {"utility_raw_lo": table["utility_lo"], "utility_raw_hi": table["utility_hi"]}
    return table.assign(**raw, **table[ends].where(~within, table[ends].clip(0, 1), axis=0))
