"""What must be said of the rows of a board: flags, verdicts, and notes on boards as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.contract.names import words
from bench.goals import goal_named
from bench.report import canaries, controls, standards, stats
from bench.report.closure import BOARD, ROW, BoardKey, by_board, in_order
from bench.report.frame import BY_LABELS, SCENARIO, UNDEFENDED, flagged
from bench.report.text import allowed, ceiling

RANKED_SEEDS = 10
STRAW_MAN = 0.02
WEAK = 0.5

FLAGS = {
    "void": "A control failed that this board rests on: its numbers mean nothing until it is "
    "mended.",
    "broken_privacy": "Canaries show that training gives more away than the epsilon it claims, on "
    "most seeds: the implementation or its accounting is wrong.",
    "provisional": "Fewer than 10 seeds: the row may still change places.",
    "single_target": "One model that was given: seeds differ in attacks and in people attacked, "
    "not in the target. The interval is over people; the row takes no place among trained targets.",
    "no_effect": "The defense does not act at this access: an attacker who has it meets the "
    "undefended model, so the row repeats 'none'.",
    "no_headroom": "An attacker without the model already comes within 0.10 of the ceiling: "
    "leakage cannot be measured here.",
    "little_headroom": "Not worth inferring by the rule: without the model the attribute is "
    "guessed with an AUC above 0.85, or hardly anybody (or nearly everybody) has it, or there are "
    "fewer than 100 members.",
    "straw_man": "The undefended target is more than 0.02 below a plain scikit-learn baseline: "
    "its utility is no fair reference.",
    "weak_attack": "The attacks are too weak here to tell good defenses from bad ones: on the "
    "undefended target none reaches L = 0.5 (class representatives), or none is shown to beat the "
    "attacker without the model (other goals).",
    "nothing_shown": "One model that was given, and every attack of the board's standard set ran: "
    "none is shown to get anywhere. A model that leaks nothing looks the same as attacks that are "
    "too weak, so the upper end of the interval is what this board says.",
    "non_adaptive": "No attack that adapts to this defense ran against it: its leakage is only a "
    "lower bound, and it takes no place.",
    "below_standard": "Not every attack of the board's standard set finished against this defense: "
    "a stronger attack may be among the others.",
    "bypassed": "Who has the weights goes round this defense's layer on the answers, but attacks "
    "on answers met it: its leakage is only a lower bound, and it takes no place. See its training "
    "part alone.",
    "reproduction": "It repeats a paper with settings that the protocol refuses, to compare with "
    "the paper's own figures: it is no evidence for its defense, and it takes no place.",
    "missing": "Some planned trials did not finish or have no record: the worst case may be among "
    "them.",
    "no_spread": "All seeds gave the same leakage: the interval rests on the number of victims "
    "alone, which is not certainty.",
    "dirty": "Some trials ran from a modified working copy: no commit reproduces them.",
}
"""Row flags in the order they are shown, with what they mean."""


def judge(
    frame: pd.DataFrame, closed: pd.DataFrame, rows: pd.DataFrame, checks: pd.DataFrame
) -> pd.DataFrame:
    """Flags, verdicts, clipping and order."""
    undefended = frame[(frame["defense"] == UNDEFENDED) & (frame["status"] == "done")]
    shortfall = (
        undefended.assign(gap=undefended["utility"] - undefended["reference"])
        .groupby(["dataset", "model", "seed"])["gap"]
        .mean()
        .groupby(["dataset", "model"])
        .mean()
        .rename("gap")
        .reset_index()
    )
    seeds = frame.groupby(["dataset", "model"])["seed"].nunique().rename("seeds").reset_index()
    rows = rows.merge(shortfall, on=["dataset", "model"], how="left")
    rows = rows.merge(seeds, on=["dataset", "model"])
    reference = rows.loc[rows["defense"] == UNDEFENDED, [*BOARD, "L", "L_lo"]]
    names = {"L": "L_none", "L_lo": "L_lo_none"}
    rows = rows.merge(reference.rename(columns=names), on=BOARD, how="left")
    recognised = rows["goal"].map(lambda name: goal_named(name).recognised)
    low = np.where(recognised, rows["L_none"] < WEAK, ~(rows["L_lo_none"] > 0))

    done = closed[closed["done"]]
    facts = (
        done.assign(
            dirty=flagged(done, "dirty"),
            little=flagged(done, "little_headroom"),
        )
        .groupby(ROW)
        .agg(dirty=("dirty", "any"), little=("little", "mean"))
        .reset_index()
    )
    widths = closed.groupby(ROW).agg(
        n_attacks=("attack", "nunique"),
        trials_planned=("lost", "size"),
        trials_lost=("lost", "sum"),
        unplaced=("unplaced", "max"),
    )
    rows = rows.merge(canaries.audits(done, ROW), on=ROW, how="left")
    rows = rows.merge(facts, on=ROW, how="left").merge(widths.reset_index(), on=ROW)
    rows = rows.merge(standards.met(closed), on=ROW)
    whole = (rows["standard"] != "") & (rows["lacks"] == 0) & (rows["defense"] == UNDEFENDED)
    tried = rows["single"] & whole.groupby([rows[name] for name in BOARD]).transform("any")
    weak = rows["L_none"].notna() & low
    nothing = weak & tried & ~(rows["L_lo_none"] > 0)
    counted = ["trials_planned", "trials_lost"]
    rows[counted] = rows[counted].add(rows["unplaced"], axis=0)

    failed = controls.voiding(checks)
    void = rows[SCENARIO].merge(failed[SCENARIO].drop_duplicates(), how="left", indicator=True)
    raised = {
        "void": (void["_merge"] == "both").to_numpy(),
        "broken_privacy": rows["broken"] > 0.5,
        "provisional": (rows["n_seeds"] < RANKED_SEEDS) & ~rows["single"],
        "single_target": rows["single"],
        "no_effect": rows["no_effect"],
        "no_headroom": rows["no_headroom"],
        "little_headroom": rows["little"] > 0.5,
        "straw_man": (rows["gap"] < -STRAW_MAN) & ~rows["single"],
        "weak_attack": weak & ~nothing,
        "nothing_shown": nothing,
        "non_adaptive": rows["non_adaptive"],
        "below_standard": rows["lacks"] > 0,
        "bypassed": rows["bypassed"],
        "reproduction": rows["reproduction"].eq(True),
        "missing": (rows["all_done"] < rows["n_attacks"] * rows["seeds"])
        | (rows["trials_lost"] > 0),
        "no_spread": (rows["L_n"] >= 2) & (rows["L_sd"] == 0) & ~rows["single"],
        "dirty": rows["dirty"].eq(True),
    }
    table = np.column_stack([np.asarray(raised[name], dtype=bool) for name in FLAGS])
    flags = np.array(list(FLAGS))
    rows["flags"] = [tuple(flags[row].tolist()) for row in table]

    less, more = rows["dL_hi"] < 0, rows["dL_lo"] > 0
    sure = (rows["dL_p"] < stats.ALPHA) & (rows["dL"].abs() >= stats.MARGIN)
    rows["verdict"] = np.select(
        [rows["dL_p"].isna(), sure & less, sure & more], ["", "less", "more"], "unclear"
    )
    rows["L_raw"] = rows["L"]
    rows["L"] = rows["L"].clip(0, 1)
    return in_order(rows.assign(_useless=-rows["utility"]), ["L", "_useless", "defense"])


POPULATION = (
    "Every seed met people of its own, drawn at random from a large table: these intervals hold "
    "for the population that the table is of, not for one data set only."
)
UNTUNED = (
    "Utility is compared with an untuned network, 'none': whatever regularises it, defenses "
    "included, may look free or better. With the defense 'regularised' in the grid, utility is "
    "compared with a network that was tuned as often as defenses are."
)
GUARDED = (
    "Rows that act on answers or on who asks guard the untuned network 'none': what such a layer "
    "costs by itself is the difference to 'none'. Stacked on 'regularised' it guards the tuned "
    "network."
)
UNSEEN = (
    "Not all records of this board hold the Brier score, so utility is told by {metric}, which "
    "what is done to scores cannot change."
)
CLAIMED = (
    "The records of this board are from before adaptivity had to be shown: that an attack adapts "
    "to a defense is a claim here."
)


def notes(
    closed: pd.DataFrame, attacks: pd.DataFrame, rows: pd.DataFrame, checks: pd.DataFrame
) -> dict[BoardKey, list[tuple[str, str]]]:
    """What must be known about each board as a whole: ``(kind, sentence)`` by board key."""
    own = attacks["attack_access"] == attacks["access"]
    levels = [
        attacks[mask].groupby(ROW)["L"].max().rename(name)
        for name, mask in (("own", own), ("weaker", ~own))
    ]
    raw = pd.concat(levels, axis=1).dropna().reset_index()
    raw = raw[raw["weaker"] > raw["own"] + stats.MARGIN]
    idle = rows.loc[flagged(rows, "no_effect"), ROW]
    raw = raw.merge(idle, on=ROW, how="left", indicator=True)
    violations = dict(list(raw[raw["_merge"] == "left_only"].groupby(BOARD)))
    finished = attacks[own].groupby(BOARD)["n_done"].sum().to_dict()

    claimed = closed.groupby(BOARD)["old"].any().to_dict()
    tables = closed.groupby(BOARD)["disjoint_table"].nunique().to_dict()
    failed = dict(list(checks[checks["state"] == controls.FAIL].groupby(SCENARIO)))
    notes: dict[BoardKey, list[tuple[str, str]]] = {}
    for key, board in by_board(rows).items():
        found = _failed(failed[key.scenario]) if key.scenario in failed else []
        if flagged(board, "weak_attack").any():
            best = board.loc[board["defense"] == UNDEFENDED, "L_raw"].iloc[0]
            bar = (
                "below 0.50"
                if goal_named(board["goal"].iloc[0]).recognised
                else "not shown to be above 0"
            )
            found.append(
                (
                    "weak_attack",
                    "Attack too weak here: the strongest attack reaches only "
                    f"L = {best:.2f} on the undefended target, {bar}. Low leakage on "
                    f"this board is no evidence for a defense.{_more_seeds(board)}",
                )
            )
        if flagged(board, "nothing_shown").any():
            plain = board[board["defense"] == UNDEFENDED].iloc[0]
            found.append(("nothing_shown", _nothing_shown(key, plain, attacks)))
        for flag in ("no_headroom", "little_headroom", "straw_man"):
            if flagged(board, flag).any():
                found.append((flag, FLAGS[flag]))
        if UNDEFENDED not in set(
            board.loc[board["trials_lost"] < board["trials_planned"], "defense"]
        ):
            found.append(
                (
                    "no_reference",
                    "The undefended target was not attacked: there is nothing to compare with.",
                )
            )
        lacking = board[board["trials_lost"] > 0]
        if len(lacking):
            found.append(("missing", _lacking(lacking, len(board))))
        if not finished.get(key, 0):
            rest = "rests on weaker attacks" if board["L"].notna().any() else "is empty"
            found.append(
                (
                    "missing",
                    f"No attack with access to {allowed(key.access, key.budget)} finished: "
                    f"the board {rest}.",
                )
            )
        if claimed.get(key, False):
            found.append(("claimed", CLAIMED))
        if tables.get(key, 0) > 1:
            found.append(("population", POPULATION))
        short = board[flagged(board, "below_standard")]
        if len(short):
            found.append(("below_standard", _short(short, len(board))))
        if key in violations:
            table = violations[key]
            cases = [
                f"{name} ({mine:.2f} against {weaker:.2f})"
                for name, mine, weaker in zip(
                    table["defense"], table["own"], table["weaker"], strict=True
                )
            ]
            more = f" and {len(cases) - 4} more" if len(cases) > 4 else ""
            found.append(
                (
                    "monotonicity",
                    "Before the attack set is closed, attacks with "
                    f"{key.access} do worse than attacks that see less (check C6) against "
                    f"{', '.join(cases[:4])}{more}: they are under-tuned, and the worst "
                    "case carries the better figure over.",
                )
            )
        notes[key] = found + _compared(key.access, board)
    return notes


def _compared(access: str, board: pd.DataFrame) -> list[tuple[str, str]]:
    """What utility is told by and compared with, as far as that is less than it could be."""
    if len(board) < 2:
        return []
    found = []
    if (board["against"] == UNDEFENDED).any():
        found.append(("untuned", UNTUNED))
    elif board["stages"].map(lambda stages: bool(stages) and "training" not in stages).any():
        found.append(("guarded", GUARDED))
    by_labels = set(board["utility_metric"].dropna()) & set(BY_LABELS)
    if access == "scores" and by_labels:
        found.append(("utility", UNSEEN.format(metric=words(min(by_labels)))))
    return found


def _nothing_shown(key: BoardKey, plain: pd.Series[Any], attacks: pd.DataFrame) -> str:
    """What a board of one given model says on which no attack gets anywhere."""
    mine = attacks[(attacks["defense"] == UNDEFENDED) & (attacks["n_done"] > 0)]
    ran = sum(tuple(row) == tuple(key) for row in mine[BOARD].itertuples(index=False))
    return (
        f"No leakage is shown by {ran} attacks, all of {plain['standard']} among them. The upper "
        f"end of the interval is L = {ceiling(plain['L_hi'])}: a stronger attack may find "
        "something."
    )


def _lacking(rows: pd.DataFrame, of: int) -> str:
    """Which rows of a board rest on fewer trials than were planned, and on how many."""
    there = rows["trials_planned"] - rows["trials_lost"]
    cases = [
        f"{defense} ({n} of {planned})"
        for defense, n, planned in zip(rows["defense"], there, rows["trials_planned"], strict=True)
    ]
    more = f" and {len(cases) - 4} more" if len(cases) > 4 else ""
    return (
        f"{len(rows)} of {of} rows rest on fewer trials than were planned, because the others were "
        f"not run yet or were lost: {', '.join(cases[:4])}{more}. Their worst case may be among "
        "those."
    )


def _short(rows: pd.DataFrame, of: int) -> str:
    """Which rows of a board met less than the standard set, and what to do."""
    sets = ", ".join(sorted(set(rows["standard"])))
    return (
        f"{len(rows)} of {of} rows did not meet every attack of {sets}, the least that the worst "
        "case of this board should rest on: leakage may be larger than shown. Run the suite with "
        "standard=true, which adds what is missing."
    )


def _more_seeds(board: pd.DataFrame) -> str:
    """What to do where too few seeds may be the reason."""
    seeds = int(board["n_seeds"].max())
    if seeds >= RANKED_SEEDS:
        return ""
    only = "One seed has no interval" if seeds <= 1 else f"{seeds} seeds give a wide interval"
    return f" {only}: run it again with seeds={RANKED_SEEDS}, which computes the missing ones only."


def _failed(checks: pd.DataFrame) -> list[tuple[str, str]]:
    """A banner for every check that failed in a board's scenario."""
    return [
        (
            "void" if controls.CHECKS[row["check"]].voids else "control",
            ("Void: " if controls.CHECKS[row["check"]].voids else "")
            + f"control {row['code']} failed. {row['claim']}: {row['value']:.3g} ({row['of']}), "
            f"where {row['bar']} is asked.{_remedy(row['check'])}",
        )
        for row in checks.to_dict("records")
    ]


def _remedy(check: str) -> str:
    remedy = controls.CHECKS[check].remedy
    return f" {remedy}" if remedy else ""
