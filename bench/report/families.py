"""Defenses as families of settings: the curve over them, and the setting a tuner would pick.

The least of several noisy worst cases is too good to be true. The setting of a tuned row is
therefore chosen on some seeds and reported on the others (PROTOCOL 3.7). Below five seeds all of
them do both, and a row says so.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.report import leakage, stats
from bench.report.boards import Boards
from bench.report.closure import BOARD, ROW, close, in_order, spans
from bench.report.coverage import LOST
from bench.report.frame import REGULARISED, UNDEFENDED, bare_name, flagged
from bench.report.useful import SERVED, bounded, metrics, per_seed
from bench.report.useful import settings as settings_of

BUDGET = 0.03
"""Utility a tuner may spend."""
TAU = 0.20
"""Leakage up to which the most useful setting is sought."""
FEWEST_SEEDS = 2
_EXACT = 1e-9  # 0.80 - 0.77 is no more than 0.03
_OF = [*BOARD, "family"]

FLAGS = {
    "unsplit": "Too few seeds to split: the setting is chosen on the seeds that it is reported "
    "on, so the least leakage looks lower than it is.",
    "over_budget": "No setting keeps the utility within the budget on the selection seeds; this "
    "one loses least.",
    "loss_unproven": "On the seeds reported, the interval of the utility loss reaches beyond the "
    "budget: it is not shown to be kept.",
    "unequal_tuning": "Fewer settings of this defense were tried than of the most tuned one on "
    "the board, although it has options to tune, or fewer attacks ran against it than against "
    "others.",
    "missing": "Some planned trials of this setting did not finish or have no record: the worst "
    "case may be among them.",
}
"""Flags of tuned rows in the order they are shown, with what they mean."""

COLUMNS = [
    *_OF,
    "defense",
    "attack",
    "settings",
    "attacks",
    "loss_budget",
    "selected_on",
    "reported_on",
    "n_seeds",
    "loss",
    "utility",
    "utility_lo",
    "utility_hi",
    "dU",
    "dU_lo",
    "dU_hi",
    "L",
    "L_lo",
    "L_hi",
    "L_raw",
    "flags",
]

SUMMARIES = [
    *_OF,
    "L_at_loss",
    "L_at_loss_lo",
    "L_at_loss_hi",
    "L_at_loss_defense",
    "U_at_L",
    "U_at_L_lo",
    "U_at_L_hi",
    "U_at_L_L",
    "U_at_L_defense",
    "hypervolume",
    "hypervolume_lo",
    "hypervolume_hi",
]


def curves(boards: Boards, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of all boards with their ``family``, each family in order of utility.

    Rows without effect are left out: they repeat the undefended leakage.
    """
    rows = boards.rows.assign(family=_families(boards.rows["defense"], frame))
    rows = rows[~flagged(rows, "no_effect")]
    return in_order(rows, ["family", "utility", "L", "defense"])


def tuned(frame: pd.DataFrame, budget: float = BUDGET) -> pd.DataFrame:
    """The tuned setting of every family on every board with enough seeds.

    On the selection seeds (:func:`bench.report.stats.selection`) each setting has its utility loss
    by its own layers (:func:`bench.report.useful.per_seed`) and its worst attack in the closed set.
    Picked is the least worst case among the settings that lose at most ``budget`` on average; where
    there is none, the setting that loses least. Whether the loss is shown to be within the budget,
    by its interval, is judged on the seeds reported (``loss_unproven``): the few that select could
    hardly show it.

    Args:
        frame: as :func:`bench.report.frame.build` gives it.
        budget: mean utility loss that a setting may have on the selection seeds.

    Returns:
        ``COLUMNS``, a row per (board, family) whose defense acts there: ``none``, then by leakage;
        reproductions are left out. ``defense`` is what was picked, ``settings`` and ``attacks`` how
        many were tried, ``loss`` is that of the selection seeds, by its own layers. All else is of
        the other seeds: ``attack`` is the strongest there, ``n_seeds`` how many of its trials
        finished, ``utility`` and ``dU`` (paired difference to the baseline of utility) have t
        intervals, ``L`` that of the worst case (:func:`bench.report.worst_of.interval`), clipped to
        [0, 1] after averaging; ``L_raw`` is not. ``flags`` are joined with ``;``. Empty where fewer
        than two seeds, or no ``none``, leave nothing to choose by.
    """
    frame = frame[frame["control"] == ""]
    closed = close(frame)
    there = closed["seed"].where(~closed["lost"].astype(bool))
    many = there.groupby([closed[name] for name in BOARD]).transform("nunique") >= FEWEST_SEEDS
    closed = closed[many]
    # A seed of which nothing is there neither chooses nor reports.
    seeds = _split(closed[closed["status"] != LOST])
    closed = closed[~closed["no_effect"].astype(bool) & ~closed["reproduction"].astype(bool)]
    finished = closed[closed["done"] & closed["L"].notna()].merge(seeds, on=[*BOARD, "seed"])
    useful = per_seed(frame)[1].merge(seeds, on=["dataset", "model", "access", "seed"])
    chosen = _choose(finished[finished["selects"]], useful[useful["selects"]], budget)
    if chosen.empty:
        return pd.DataFrame(columns=COLUMNS)

    rest = finished[finished["reports"]].merge(chosen[ROW], on=ROW)
    table = chosen.merge(leakage.strongest(rest), on=ROW, how="left")
    spent = stats.summarise(useful[useful["reports"]], ROW, ["utility", "dU", "own"])
    spent = bounded(spent.merge(metrics(useful), on=SERVED, how="left"))
    table = table.merge(spent, on=ROW, how="left").merge(_counts(closed, frame), on=_OF)
    table = table.merge(_run(closed), on=ROW).merge(_split_named(seeds), on=BOARD)
    table = table.merge(_tunable(frame), on="family")
    dust = table[["loss", "dU", "dU_lo", "dU_hi", "own_lo"]]
    table[dust.columns] = dust.mask(dust.abs() < _EXACT, 0.0)
    table["n_seeds"] = table["L_n"].fillna(0).astype(int)
    table["attack"] = table["attack"].fillna("")
    table["L_raw"] = table["L"]
    table["L"] = table["L"].clip(0, 1)
    table["loss_budget"] = budget
    table["flags"] = _flags(table)
    table["defended"] = table["family"] != UNDEFENDED
    return in_order(table, ["defended", "L_raw", "family"])[COLUMNS]


def summaries(
    boards: Boards, frame: pd.DataFrame, tuned: pd.DataFrame, tau: float = TAU
) -> pd.DataFrame:
    """Every family of every board in three numbers (PROTOCOL 3.7).

    Args:
        boards: of the suite.
        frame: its trials.
        tuned: as :func:`tuned` gives it: its rows within the budget are ``L_at_loss``.
        tau: leakage that ``U_at_L`` may have.

    Returns:
        ``SUMMARIES``, a row per (board, family) that acts there, in order of the board.
        ``L_at_loss``: the least leakage at a utility loss within the budget of ``tuned``, with
        ``L_at_loss_defense``. ``U_at_L``: the utility of the setting that is most useful among
        those that leak at most ``tau``, both on the selection seeds; utility and its leakage
        there, ``U_at_L_L``, are reported on the others. Both are NaN, and the setting empty, where
        no setting qualifies. ``hypervolume``: area of the union of the rectangles between the
        settings and the reference point, per reporting seed, then mean and t interval. The axes
        run from the board's least mean utility to its greatest (what a majority vote would reach
        is not recorded) and from 0 to the mean leakage of ``none``; the reference point is the
        least utility at the leakage of ``none`` in that seed, so that ``none`` has 0. It grows
        with the number of settings and also counts useless regions: a secondary figure.
    """
    known = boards.rows.assign(family=_families(boards.rows["defense"], frame))
    known = known[~flagged(known, "no_effect") & ~flagged(known, "reproduction")]
    picked = known[[*_OF, "defense", "worst_attack"]]
    seeds = boards.seeds.rename(columns={"attack": "worst_attack"})
    seeds = picked.merge(seeds, on=[*ROW, "worst_attack"]).dropna(subset=["L", "utility"])
    seeds = seeds.merge(_split(boards.seeds), on=[*BOARD, "seed"])
    reported = seeds[seeds["reports"]]
    least = tuned[~flagged(tuned, "over_budget")]
    names = {
        "defense": "L_at_loss_defense",
        "L": "L_at_loss",
        "L_lo": "L_at_loss_lo",
        "L_hi": "L_at_loss_hi",
    }
    table = (
        known[_OF]
        .drop_duplicates()
        .merge(least[[*_OF, *names]].rename(columns=names), on=_OF, how="left")
    )
    for more in (_most_useful(seeds, reported, tau), _hypervolume(reported)):
        table = table.merge(more, on=_OF, how="left")
    for name in ("L_at_loss_defense", "U_at_L_defense"):
        table[name] = table[name].astype(object).where(table[name].notna(), "")
    return table[SUMMARIES]


def _most_useful(seeds: pd.DataFrame, reported: pd.DataFrame, tau: float) -> pd.DataFrame:
    means = (
        seeds[seeds["selects"]].groupby([*_OF, "defense"])[["L", "utility"]].mean().reset_index()
    )
    fit = means[means["L"] <= tau + _EXACT].sort_values(
        ["utility", "L", "defense"], ascending=[False, True, True], kind="stable"
    )
    best = fit.drop_duplicates(_OF)[[*_OF, "defense"]]
    found = stats.summarise(reported.merge(best, on=[*_OF, "defense"]), _OF, ["utility", "L"])
    names = {
        "defense": "U_at_L_defense",
        "utility": "U_at_L",
        "utility_lo": "U_at_L_lo",
        "utility_hi": "U_at_L_hi",
        "L": "U_at_L_L",
    }
    table = best.merge(found, on=_OF, how="left").rename(columns=names)
    table["U_at_L_L"] = table["U_at_L_L"].clip(0, 1)
    return table[[*_OF, *names.values()]]


def _hypervolume(reported: pd.DataFrame) -> pd.DataFrame:
    means = (
        reported.groupby([*BOARD, "defense"])["utility"].mean().groupby(BOARD).agg(["min", "max"])
    )
    none = reported[reported["defense"] == UNDEFENDED]
    corner = none[[*BOARD, "seed", "L"]].rename(columns={"L": "L_ref"})
    points = reported.merge(corner, on=[*BOARD, "seed"]).merge(means.reset_index(), on=BOARD)
    scale = none.groupby(BOARD)["L"].mean().rename("scale").reset_index()
    points = points.merge(scale, on=BOARD)
    points = points[(points["max"] - points["min"] > _EXACT) & (points["scale"] > _EXACT)]
    # A seed that lacks a setting has a smaller union for no merit or fault of the family.
    settings = points.groupby(_OF)["defense"].transform("nunique")
    points = points[points.groupby([*_OF, "seed"])["defense"].transform("nunique") == settings]
    points = points.assign(
        across=((points["utility"] - points["min"]) / (points["max"] - points["min"])).clip(
            lower=0
        ),
        low=points["L"].clip(lower=0).clip(upper=points["L_ref"].clip(lower=0)),
    ).sort_values([*_OF, "seed", "low"], kind="stable")
    groups = points.groupby([*_OF, "seed"])
    top = groups["low"].shift(-1).fillna(points["L_ref"].clip(lower=0))
    area = groups["across"].cummax() * (top - points["low"]) / points["scale"]
    seeds = area.groupby([points[name] for name in [*_OF, "seed"]]).sum()
    return stats.summarise(seeds.rename("hypervolume").reset_index(), _OF, ["hypervolume"])


def why(tuned: pd.DataFrame) -> str:
    """How the tuned rows of one board were found, or why there are none."""
    if tuned.empty:
        return (
            f"No setting is picked: that takes at least {FEWEST_SEEDS} seeds, some to "
            "choose on and others to report on, and an undefended target to compare with."
        )
    first = tuned.iloc[0]
    if not first["selected_on"]:
        return (
            "Too few seeds to split: the setting is chosen (least worst-case leakage that costs "
            f"at most {first['loss_budget']:.2f} of utility) and reported on the same seeds, so "
            "the least leakage looks lower than it is. Settings and attacks: how many were tried."
        )
    return (
        f"Setting chosen on seeds {first['selected_on']} (least worst-case leakage that costs at "
        f"most {first['loss_budget']:.2f} of utility there); all figures reported on seeds "
        f"{first['reported_on']}. Settings and attacks: how many were tried."
    )


def _split(trials: pd.DataFrame) -> pd.DataFrame:
    """Which seeds of every board choose a setting (``selects``) and which report it (``reports``).

    All rows of a board have one split, so that they stay paired; with too few seeds all do both
    (:func:`bench.report.stats.selection_size`).
    """
    seeds = trials[[*BOARD, "seed"]].drop_duplicates().sort_values("seed")
    groups = seeds.groupby(BOARD)["seed"]
    chosen = groups.transform("size").map(stats.selection_size)
    first = groups.cumcount() < chosen
    return seeds.assign(selects=first | (chosen == 0), reports=~first)


def _split_named(seeds: pd.DataFrame) -> pd.DataFrame:
    """``selected_on`` and ``reported_on`` of every board, in words; empty where all do both."""
    return pd.DataFrame(
        [
            {
                **dict(zip(BOARD, key, strict=True)),
                "selected_on": spans(board["seed"][board["selects"] & ~board["reports"]]),
                "reported_on": spans(board["seed"][board["reports"] & ~board["selects"]]),
            }
            for key, board in seeds.groupby(BOARD)
        ]
    )


def _families(defenses: pd.Series[str], frame: pd.DataFrame) -> pd.Series[str]:
    named = frame.drop_duplicates("defense").set_index("defense")["family"]
    return defenses.map(named)


def _choose(selection: pd.DataFrame, useful: pd.DataFrame, budget: float) -> pd.DataFrame:
    """A setting for each (board, family), by the worst case on the selection seeds alone."""
    means = selection.groupby([*ROW, "family", "attack"])["L"].mean().reset_index()
    worst = means.sort_values(["L", "attack"], ascending=[False, True], kind="stable")
    worst = worst.drop_duplicates(ROW)
    loss = (-useful.groupby(ROW)["own"].mean()).rename("loss").reset_index()
    settings = worst.merge(loss, on=ROW)
    over = settings["loss"] > budget + _EXACT
    settings = settings.assign(over=over, by=settings["L"].mask(over, settings["loss"]))
    settings = settings.sort_values(["over", "by", "loss", "L", "defense"], kind="stable")
    chosen: pd.DataFrame = settings.drop_duplicates(_OF).drop(columns=["attack", "L", "by"])
    return chosen


def _counts(closed: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    return settings_of(frame, closed, BOARD).reset_index()


def _tunable(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby("family")["tunable"].any().reset_index()


def _run(closed: pd.DataFrame) -> pd.DataFrame:
    """Attacks that ran against each setting, and how many of its trials did not finish."""
    done = closed[closed["done"]]
    # Ways to hide from who watches are no further attacks: nobody else needs them.
    attacks = done["attack"].map(bare_name).groupby([done[name] for name in ROW]).nunique()
    attacks = attacks.rename("attacks")
    lost = (
        (~closed["done"].astype(bool) | (closed["unplaced"] > 0))
        .groupby([closed[name] for name in ROW])
        .sum()
    )
    return pd.concat([attacks, lost.rename("lost")], axis=1).dropna().astype(int).reset_index()


def _flags(table: pd.DataFrame) -> list[tuple[str, ...]]:
    real = table["family"] != UNDEFENDED
    # Fewer settings for the baseline of utility would flatter every defense.
    bare = table["family"].isin([UNDEFENDED, REGULARISED])
    groups = table.assign(settings=table["settings"].where(real)).groupby(BOARD)
    fewer = (table["settings"] < groups["settings"].transform("max")) & real & table["tunable"]
    fewer |= (table["attacks"] < groups["attacks"].transform("max")) & real
    raised = {
        "unsplit": (table["selected_on"] == "") & ~bare,
        "over_budget": table["over"],
        "loss_unproven": ~(table["own_lo"] >= -table["loss_budget"] - _EXACT)
        & ~bare
        & ~table["over"],
        "unequal_tuning": fewer,
        "missing": table["lost"] > 0,
    }
    marks = np.column_stack([np.asarray(raised[name], dtype=bool) for name in FLAGS])
    names = np.array(list(FLAGS))
    return [tuple(names[row].tolist()) for row in marks]
