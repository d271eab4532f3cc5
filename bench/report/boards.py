"""Boards: one per (sector, data set, model, goal, access, budget), never one global number.

A defense's leakage on a board is the worst case over the closed set of attacks: every attack at
that access or weaker (PROTOCOL 3.4) that kept the budget of queries, where the board has one.
Everything here is a pure function of the frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from bench.report import certainty, controls, judgement, leakage, single, stats
from bench.report.closure import BOARD, ROW, BoardKey, by_board, close
from bench.report.frame import BASELINE, SCENARIO
from bench.report.judgement import FLAGS
from bench.report.useful import DEPLOYED, SERVED, bounded, metrics, per_seed, settings

__all__ = [
    "BOARD",
    "DEPLOYED",
    "FLAGS",
    "ROW",
    "BoardKey",
    "Boards",
    "build",
    "per_seed",
]

_ROW_COLUMNS = [
    *ROW,
    "n_seeds",
    "rank",
    "utility_metric",
    "utility",
    "utility_lo",
    "utility_hi",
    "utility_raw_lo",
    "utility_raw_hi",
    "worst_attack",
    "L",
    "L_lo",
    "L_hi",
    "L_raw",
    "L_raw_lo",
    "L_raw_hi",
    "M",
    "M_lo",
    "M_hi",
    "M_most",
    "dL",
    "dL_lo",
    "dL_hi",
    "dL_p",
    "verdict",
    "dU",
    "dU_lo",
    "dU_hi",
    "against",
    "epsilon",
    "advantage",
    "unproven",
    "audit",
    "epsilon_lower",
    "epsilon_most",
    "flags",
    "trial_id",
    "front",
    "seeds_needed",
    "train_s",
    "dL_flip",
    "L_without",
    "L_without_raw",
    "trials_planned",
    "trials_lost",
    "standard",
    "settings",
    "tunable",
    *certainty.COLUMNS,
]
_ATTACK_COLUMNS = [
    *ROW,
    "attack",
    "attack_access",
    "L",
    "L_lo",
    "L_hi",
    "L_n",
    "L_sd",
    "M",
    "M_lo",
    "M_hi",
    "score",
    "score_n",
    "s_base",
    "s_ceil",
    "queries",
    "attack_s",
    "n_done",
    "n_planned",
    "adaptive",
]
_BASELINE_COLUMNS = [*SCENARIO, "attack", "score"]
_CHECKED = [
    *SCENARIO,
    "access",
    "defense",
    "attack",
    "seed",
    "status",
    "control",
    "utility",
    "reference",
    "score",
    "L",
    "M",
    "L_error",
    "single",
    "permuted",
    "chance",
    "heldout",
    "oracle",
    "values_sha",
    "environment",
]


@dataclass(frozen=True)
class Boards:
    """All boards of a suite.

    The worst attack of a row is the one with the largest mean over all seeds. The interval of its
    leakage is that of the largest of all attacks, whichever it is.

    Attributes:
        rows: one row per (board, defense), board by board, least leakage first. ``L``, ``L_lo`` and
            ``L_hi`` are the mean of the worst attack and the ends of the worst case, clipped to
            [0, 1] after averaging; ``L_raw``, ``L_raw_lo`` and ``L_raw_hi`` are not. ``utility`` is
            what users with that access have, by ``utility_metric`` (:mod:`bench.report.useful`); of
            its interval, too, the unclipped ends are there. ``dL`` and ``dU`` are
            paired differences with t intervals, of leakage to ``none``, of utility to the row
            ``against``; ``settings`` is how many the row was chosen from, and ``tunable`` whether
            it has any to choose. ``dL_p`` is Holm's p within the board, ``dL_flip`` the exact
            sign-flip p of the row alone, and ``verdict`` is ``less``, ``more``, ``unclear`` or
            empty. ``rank`` is shared by rows that cannot be told apart, ``front`` is the
            probability of being on the Pareto front. ``M`` is the worst attack's, ``M_most`` the
            largest M that the training allows any attacker, or ``unproven`` says why that is not
            known, ``trial_id`` its lowest finished seed, ``n_seeds`` its finished seeds.
            ``L_without`` is what ``L`` would be without that attack in any setting,
            ``seeds_needed`` how many seeds to run for a half width of 0.05, should the spread stay,
            ``train_s`` the median training time in seconds. ``trials_planned`` were planned for the
            row, and of ``trials_lost`` there is no record. ``standard`` names the set of attacks
            that the row is to meet. ``certain_attack`` and so on are those of ``certain``, missing
            where no record says it. ``flags`` are joined with ``;``.
        attacks: one row per (board, defense, attack) with unclipped ``L``, ``attack_access``, what
            it cost, how many of its trials finished and whether it adapts to the defense; its
            interval is its own.
        seeds: one row per finished trial of a board, (board, defense, attack, seed): unclipped
            ``L``, ``M``, ``score``, the ``utility`` of the deployment and its ``trial_id``;
            ``M_error`` is the standard error of ``M`` over ``victims`` where there is one target
            only, and ``recorded`` the utility that its record states, whatever the access.
        baselines: one row per (scenario, attack without the model) with its mean ``score``.
        certain: of whom attackers are certain, :func:`bench.report.certainty.build`.
        controls: the checks of :func:`bench.report.controls.judge`.
        notes: what must be known about a board as a whole, ``(kind, sentence)`` by board key.
    """

    rows: pd.DataFrame
    attacks: pd.DataFrame
    seeds: pd.DataFrame
    baselines: pd.DataFrame
    certain: pd.DataFrame
    controls: pd.DataFrame
    notes: dict[BoardKey, list[tuple[str, str]]]

    def __iter__(self) -> Iterator[tuple[BoardKey, pd.DataFrame]]:
        """The boards in order: key and rows."""
        yield from by_board(self.rows).items()


def build(frame: pd.DataFrame) -> Boards:
    """The boards of a table of :func:`bench.report.frame.build`; none if nothing was attacked."""
    checks = controls.judge(frame[_CHECKED])  # cut for every scenario: narrow is quick
    frame = frame[frame["control"] == ""]
    # Every trial is on several boards: what only some of them show is looked up there.
    closed = leakage.adapted(close(frame.drop(columns=certainty.LOOKED_UP)))
    if closed.empty:
        rows, attacks, seeds = (
            pd.DataFrame(columns=names)
            for names in (_ROW_COLUMNS, _ATTACK_COLUMNS, leakage.SEED_COLUMNS)
        )
        certain = certainty.build(closed, frame)
        return Boards(rows, attacks, seeds, _baselines(frame), certain, checks, notes={})
    useful, pairs = per_seed(frame)
    attacks = leakage.attacks(closed)
    rows = leakage.worst(closed, attacks)
    rows = rows.merge(leakage.differences(closed, rows, useful), on=ROW, how="left")
    rows = rows.merge(_utilities(useful, pairs), on=SERVED, how="left")
    rows = rows.merge(_ceilings(closed), on=ROW, how="left").fillna({"unproven": ""})
    families = frame.drop_duplicates(DEPLOYED)[[*DEPLOYED, "family", "tunable"]]
    rows = rows.merge(families, on=DEPLOYED, how="left")
    acting = closed[~closed["no_effect"].astype(bool)]
    tried = settings(frame, acting, BOARD).reset_index()
    rows = rows.merge(tried, on=[*BOARD, "family"], how="left").fillna({"settings": 1})
    rows = judgement.judge(frame, closed, rows, checks)
    certain = certainty.build(closed, frame)
    rows = rows.merge(certain[[*ROW, *certainty.COLUMNS]], on=ROW, how="left")
    return Boards(
        rows=rows[_ROW_COLUMNS].astype({"settings": int}),
        attacks=attacks[_ATTACK_COLUMNS],
        seeds=leakage.per_seed(closed, useful),
        baselines=_baselines(frame),
        certain=certain,
        controls=checks,
        notes=judgement.notes(closed, attacks, rows, checks),
    )


def _ceilings(closed: pd.DataFrame) -> pd.DataFrame:
    """``M_most`` of every row, where it is known of all its trials, and why not (``unproven``)."""
    done = closed[closed["done"]]
    table = done.groupby(ROW)["M_most"].agg(["max", "count", "size"])
    most = table["max"].where(table["count"] == table["size"]).rename("M_most")
    told = done[done["unproven"] != ""].drop_duplicates(ROW)[[*ROW, "unproven"]]
    rows = most.reset_index().merge(told, on=ROW, how="left")
    return rows.assign(unproven=rows["unproven"].fillna(""))


def _utilities(seeds: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Utility of each deployment over seeds, its paired difference, and what it spent."""
    table = _summary(seeds, "utility").merge(_summary(pairs, "dU"), on=SERVED, how="left")
    spent = seeds.groupby(SERVED, as_index=False).agg(
        epsilon=("epsilon", "max"), advantage=("advantage", "max"), train_s=("train_s", "median")
    )
    against = pairs.groupby(SERVED, as_index=False)["against"].first()
    table = table.merge(against, on=SERVED, how="left").fillna({"against": ""})
    return bounded(table.merge(spent, on=SERVED).merge(metrics(seeds), on=SERVED))


def _summary(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Mean and interval of a figure over the seeds of each deployment."""
    return single.over_people(stats.summarise(rows, SERVED, [name]), rows, SERVED, [name])


def _baselines(frame: pd.DataFrame) -> pd.DataFrame:
    done = frame[(frame["access"] == BASELINE) & (frame["status"] == "done")]
    seeds = done.groupby([*SCENARIO, "attack", "seed"], as_index=False)["score"].mean()
    table = seeds.groupby([*SCENARIO, "attack"], as_index=False)["score"].mean()
    return pd.DataFrame(table[_BASELINE_COLUMNS])
