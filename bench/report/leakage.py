"""Leakage over seeds: every attack, the worst for each row, and its difference to ``none``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.goals import goal_named
from bench.report import claims, single, stats, worst_of
from bench.report.closure import BOARD, ROW, in_order, listed
from bench.report.frame import UNDEFENDED
from bench.report.useful import SERVED

SEED_COLUMNS = [
    *ROW,
    "attack",
    "seed",
    "L",
    "M",
    "M_error",
    "victims",
    "score",
    "utility",
    "recorded",
    "trial_id",
]
_FIGURES = ["L", "M", "score", "s_base", "s_ceil"]


def adapted(closed: pd.DataFrame) -> pd.DataFrame:
    """With ``adapts``: whether the attack says that it adapts to the defense (PROTOCOL 3.5).

    It names the option of the defense; all settings of that option count, and a stack is an option
    of its own. Of old records what they claim counts, and their boards say so.
    """
    defended = closed["defense"].str.split("[", n=1).str[0]
    shown = listed(defended, closed["adaptive_to"])
    return closed.assign(adapts=shown | claims.claimed(closed))


def attacks(closed: pd.DataFrame) -> pd.DataFrame:
    """One row per (board, defense, attack): means over seeds and how many trials there are."""
    by = [*ROW, "attack", "attack_access"]
    done = closed[closed["done"]]
    figures = single.over_people(stats.summarise(done, by, _FIGURES), done, by, ["L", "M"])
    figures = _exact(figures.set_index(by), done, by)
    effort = done.groupby(by)[["queries", "attack_s", "victims"]].mean().astype("float64")
    counts = closed.groupby(by).agg(
        n_done=("done", "sum"), n_planned=("done", "size"), adaptive=("adapts", "any")
    )
    table = counts.join([figures, effort]).reset_index()
    return in_order(table, ["defense", "attack"])


def _exact(figures: pd.DataFrame, done: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """With the interval of the number of people where they all agree on one target."""
    alone = done[done["single"].astype(bool) & (done["L_error"] == 0)]
    open_ended = figures.index[figures["L_lo"].isna()]
    for key, rows in alone.groupby(by):
        if key in open_ended:
            seeds = rows["L"].to_numpy(dtype=float)[None]
            units, base, top = rows[["victims", "s_base", "s_ceil"]].mean()
            ends = worst_of.of_one_target(seeds, [0.0], units, base, top)
            figures.loc[[key], ["L_lo", "L_hi"]] = ends
    return figures


def worst(closed: pd.DataFrame, attacks: pd.DataFrame) -> pd.DataFrame:
    """The strongest attack of each row: largest mean L, else (no headroom) largest score.

    ``L_lo`` and ``L_hi`` are the ends of the largest leakage of all attacks, whichever it is, cut
    to [0, 1]; ``L_raw_lo`` and ``L_raw_hi`` are not.
    ``non_adaptive`` and ``bypassed`` say that a row's leakage is only a lower bound: no attack that
    adapts to the defense finished, or attacks on answers met a layer that the weights go round.
    """
    rank = ["L", "score"]
    ordered = attacks.sort_values(
        [*rank, "attack"], ascending=[*[False] * len(rank), True], kind="stable"
    )
    rows = ordered.drop_duplicates(ROW)
    rows = rows.assign(
        worst_attack=rows["attack"].where(rows["n_done"] > 0, ""),
        n_seeds=rows["L_n"].where(rows["L_n"] > 0, rows["score_n"]).fillna(0).astype(int),
        no_headroom=rows["L_n"] < rows["score_n"],
    ).rename(columns={"attack": "picked"})
    ends = strongest(closed[closed["done"] & closed["L"].notna()])[[*ROW, *_ENDS]]
    rows = rows.drop(columns=["L_lo", "L_hi"]).merge(ends, on=ROW, how="left")
    shown = rows["L"].clip(0, 1)
    half = pd.concat([rows["L_hi"] - shown, shown - rows["L_lo"]], axis=1).max(axis=1)
    rows["seeds_needed"] = stats.seeds_for(half / stats.half_width(1.0, rows["L_n"]))
    rows = rows.merge(_without(ordered, rows), on=ROW, how="left")
    first = closed[closed["done"]].sort_values("seed", kind="stable")
    first = first.drop_duplicates([*ROW, "attack"])[[*ROW, "attack", "trial_id"]]
    rows = rows.merge(first.rename(columns={"attack": "picked"}), on=[*ROW, "picked"], how="left")
    rows["trial_id"] = rows["trial_id"].fillna("")
    trials = closed.assign(adapts=closed["adapts"] & closed["done"]).groupby(ROW)
    told = trials.agg(
        no_effect=("no_effect", "any"),
        all_done=("done", "sum"),
        adapts=("adapts", "any"),
        reproduction=("reproduction", "any"),
        single=("single", "any"),
        stages=("stages", "first"),
    )
    rows = rows.merge(told.reset_index(), on=ROW)
    adapted = rows["adapts"].astype(bool) | rows["no_effect"].astype(bool)
    rows["single"] = rows["single"].astype(bool)
    rows["seeds_needed"] = rows["seeds_needed"].mask(rows["single"])
    layered = rows["stages"].map(lambda stages: "training" in stages and len(stages) > 1)
    return rows.assign(
        non_adaptive=(rows["defense"] != UNDEFENDED) & ~adapted,
        bypassed=(rows["access"] == "weights") & layered,
    )


_ENDS = ["L_lo", "L_hi", "L_raw_lo", "L_raw_hi"]
_SCALE = ["victims", "s_base", "s_ceil", "square", "alone"]


def strongest(trials: pd.DataFrame) -> pd.DataFrame:
    """The largest leakage of every row, over all its attacks.

    Args:
        trials: finished, with ``L`` known.

    Returns:
        By row: the ``attack`` with the largest mean, that mean ``L``, ``L_n`` seeds, ``L_raw_lo``
        and ``L_raw_hi``, the ends of the largest of all attacks (:func:`worst_of.interval`), and
        ``L_lo`` and ``L_hi``, the same clipped to [0, 1].
    """
    table = []
    wide = trials.pivot(index=[*ROW, "attack"], columns="seed", values="L")
    squared = trials.assign(square=trials["L_error"] ** 2, alone=trials["single"].astype(bool))
    scale = squared.groupby([*ROW, "attack"])[_SCALE].mean()
    for key, rows in wide.groupby(level=ROW, sort=False):
        by_seed = rows.to_numpy(dtype=float)
        at = int(np.nanmean(by_seed, axis=1).argmax())
        paired = goal_named(str(key[ROW.index("goal")])).gains
        units, base, top, square, alone = scale.loc[rows.index].to_numpy(dtype=float).T
        if alone.any():
            ends = worst_of.of_one_target(by_seed, np.sqrt(square), units, base, top, paired)
        else:
            ends = worst_of.interval(by_seed, units, base, top, paired)
        seeds = int((~np.isnan(by_seed[at])).sum())
        ends = (*np.clip(ends, 0, 1), *ends)
        table.append((*key, rows.index[at][-1], np.nanmean(by_seed[at]), seeds, *ends))
    return pd.DataFrame(table, columns=[*ROW, "attack", "L", "L_n", *_ENDS])


def _without(ordered: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """``L_without``: leakage by the worst of the other attacks, all settings of the worst left out.

    ``L_without_raw`` is the same, unclipped.

    Args:
        ordered: attacks, the one to be chosen first.
        rows: the chosen ones, with ``picked``.
    """
    pairs = ordered.merge(rows[[*ROW, "picked"]], on=ROW)
    names = {name: name.split("[", 1)[0] for name in pairs["attack"].unique()}
    others = pairs[pairs["attack"].map(names) != pairs["picked"].map(names)]
    next_worst = others.drop_duplicates(ROW)[[*ROW, "L"]]
    return next_worst.rename(columns={"L": "L_without_raw"}).assign(
        L_without=next_worst["L"].clip(0, 1)
    )


def differences(closed: pd.DataFrame, rows: pd.DataFrame, useful: pd.DataFrame) -> pd.DataFrame:
    """What seeds say of the rows of a board against each other, each by its own worst attack.

    Args:
        closed: trials.
        rows: as :func:`worst` gives them.
        useful: utility of each deployment and seed, by access.

    Returns:
        By row: ``dL``, its paired difference to ``none`` with t interval over targets (none where
        all seeds share one), where an attack that does worse than without the model counts as 0 in
        every seed, ``dL_p`` (Holm's p
        within the board), ``dL_flip`` (exact sign-flip p of this row alone), ``rank`` and
        ``front``. Rows without effect repeat the undefended leakage: they are not tested and not
        on the front. Rows whose leakage is only a lower bound, and reproductions, take no place
        besides.
    """
    picked = rows[[*ROW, "worst_attack"]].rename(columns={"worst_attack": "attack"})
    seeds = closed[closed["done"]].merge(picked, on=[*ROW, "attack"])
    leak = _wide(rows, seeds, ROW, "L")
    # Who does worse than without the model goes without it, and then every seed gives 0.
    leak = leak.where((leak.mean(axis=1) > 0) | leak.isna().all(axis=1), leak * 0.0)
    use = _wide(rows, useful, SERVED, "utility")
    seen = sorted({*leak.columns, *use.columns})
    leaks, uses = (table.reindex(columns=seen).to_numpy(dtype=float) for table in (leak, use))

    none = rows[rows["defense"] == UNDEFENDED].reset_index()
    reference = rows[BOARD].merge(none[[*BOARD, "index"]], on=BOARD, how="left")["index"]
    gaps = np.full_like(leaks, np.nan)
    compared = reference.notna().to_numpy()
    gaps[compared] = leaks[compared] - leaks[reference[compared].astype(int)]
    row, seed = np.nonzero(~np.isnan(gaps))
    long = pd.DataFrame({"row": row, "dL": gaps[row, seed]})
    out = rows[ROW].join(stats.summarise(long, ["row"], ["dL"]).set_index("row"))
    # Seeds of one target share its people, whose luck in a difference nobody has kept.
    out.loc[rows["single"], ["dL_lo", "dL_hi"]] = np.nan
    acts = ~rows["no_effect"].to_numpy(dtype=bool)
    unplaced = rows["non_adaptive"] | rows["bypassed"] | rows["reproduction"].astype(bool)
    unplaced |= rows["single"]
    ranked = ~unplaced.to_numpy(dtype=bool)
    tested = acts & ranked & (rows["defense"] != UNDEFENDED).to_numpy()
    p = stats.paired_p(out["dL"], out["dL_sd"], out["dL_n"].fillna(0))
    out["dL_p"] = np.where(tested, p, np.nan)
    out["dL_p"] = out.groupby(BOARD)["dL_p"].transform(stats.holm)
    out["dL_flip"] = np.where(tested, stats.flip_p(gaps), np.nan)

    rank, front = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    numbered = rows.assign(at=range(len(rows)), mean=np.clip(rows["L"], 0, None))
    numbered = numbered.sort_values(["mean", "defense"], kind="stable")
    for _, board in numbered.groupby(BOARD)["at"]:
        at = board.to_numpy()
        at = at[ranked[at]]
        rank[at] = stats.tie_ranks(leaks[at])
        at = at[acts[at]]
        front[at] = stats.front_probability(uses[at], leaks[at])
    return out.assign(rank=rank, front=front)


def _wide(rows: pd.DataFrame, seeds: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """``value`` as ``[rows, seeds]``."""
    numbered = rows[by].assign(row=range(len(rows))).merge(seeds[[*by, "seed", value]], on=by)
    wide: pd.DataFrame = numbered.pivot(index="row", columns="seed", values=value)
    return wide.reindex(range(len(rows)))


def per_seed(closed: pd.DataFrame, useful: pd.DataFrame) -> pd.DataFrame:
    """Every finished trial of a board with the utility of the deployment it met.

    Returns:
        ``SEED_COLUMNS``.
    """
    done = closed[closed["done"]]
    done = done.rename(columns={"utility": "recorded"}).merge(
        useful[[*SERVED, "seed", "utility"]], on=[*SERVED, "seed"], how="left"
    )
    return in_order(done, ["defense", "attack", "seed"])[SEED_COLUMNS]
