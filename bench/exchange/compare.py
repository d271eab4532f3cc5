"""What moved between two results of the same boards, and what of it is more than luck."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import comb
from scipy.stats import t as student

from bench.contract.record import TrialRecord
from bench.exchange import recheck
from bench.report import comparable, stats
from bench.report.boards import Boards
from bench.report.boards import build as build_boards
from bench.report.closure import BOARD, ROW, BoardKey
from bench.report.frame import flagged, read
from bench.report.tables import limited
from bench.report.text import estimate, number

MEASURES = ("L", "M", "U")
"""Leakage by the worst attack, its member gap, and utility."""

_LACKS = "lacks trials"
"""What is said of a row of which a side lacks planned trials, instead of a verdict."""

FailOn = Literal["worse", "any", "never"]

BLOCKING = frozenset({"protocol", "schema", "data", "measure", "usefulness"})
"""Facts that two results must share before their figures mean the same."""

_UP = {"L": "leaks more", "M": "leaks more", "U": "more useful"}
_DOWN = {"L": "leaks less", "M": "leaks less", "U": "less useful"}
_FAMILY = {"L": "leakage", "M": "leakage", "U": "utility"}
_MOVED = [
    *ROW,
    "measure",
    "A",
    "A_lo",
    "A_hi",
    "A_n",
    "B",
    "B_lo",
    "B_hi",
    "B_n",
    "diff",
    "lo",
    "hi",
    "p",
    "by",
    "verdict",
]


@dataclass(frozen=True)
class Comparison:
    """Two results, A and B.

    Attributes:
        obstacles: sentences that say why figures of the two do not mean the same; empty if they do.
        notes: sentences on what else changed that figures may rest on.
        moves: one row per (board, defense, measure) that both have: unclipped means ``A`` and
            ``B`` with t intervals over ``A_n`` and ``B_n`` seeds, ``diff`` (B minus A) with its
            interval ``lo``, ``hi``, Holm's ``p`` within the board, how it was tested (``by``:
            ``paired``, ``independent`` or ``same trials``) and the ``verdict``: ``same``,
            ``unclear``, ``leaks more``, ``leaks less``, ``more useful``, ``less useful`` or, where
            a side lacks trials that were planned for the row, ``lacks trials``.
        changed: rows and attacks that only one of the two has, rows that lack planned trials, and
            other rows with another worst attack: ``board``, ``defense``, ``what``, ``A``, ``B``.
    """

    obstacles: tuple[str, ...]
    notes: tuple[str, ...]
    moves: pd.DataFrame
    changed: pd.DataFrame

    def fails(self, on: FailOn) -> bool:
        """Whether something moved that is asked for.

        Args:
            on: ``worse``: a row leaks more, or nobody can tell, since a side lacks trials;
                ``any``: a row moved either way, came, went or has another worst attack, too;
                ``never``.
        """
        if on == "never":
            return False
        if on == "worse":
            lacking = self.changed["what"].eq(_LACKS).any()
            return bool(lacking or (self.moves["verdict"] == "leaks more").any())
        return bool((~self.moves["verdict"].isin(["same", "unclear"])).any() or len(self.changed))

    def sentence(self) -> str:
        """The outcome in one sentence."""
        leak = self.moves[self.moves["measure"] == "L"]
        useful = self.moves[self.moves["measure"] == "U"]
        counts = leak["verdict"].value_counts()
        parts = [
            f"{counts.get(name, 0)} {words}"
            for name, words in (
                ("leaks more", "leak more"),
                ("leaks less", "leak less"),
                ("same", "stay the same"),
                ("unclear", "are unclear"),
            )
        ]
        members = self.moves[self.moves["measure"] == "M"]["verdict"].eq("leaks more").sum()
        if members:
            parts.append(f"{members} leak more about members")
        less = int(useful["verdict"].eq("less useful").sum())
        if less:
            parts.append(f"{less} are less useful")
        kinds = self.changed["what"].value_counts()
        parts += [f"{what}: {n}" for what, n in kinds.items()]
        rows, boards = len(leak), len(leak[BOARD].drop_duplicates())
        return (
            f"{rows} row{'s' * (rows != 1)} on {boards} board{'s' * (boards != 1)} compared: "
            f"{', '.join(parts)}."
        )


def compare(
    a: Iterable[TrialRecord],
    b: Iterable[TrialRecord],
    margin: float = stats.MARGIN,
    planned: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Comparison:
    """What moved from A to B.

    Args:
        a: records of a suite; may be iterated again.
        b: records of the same suite, or of one that shares boards with it.
        margin: smallest difference that matters.
        planned: identity to cell of the trials that A and B planned; empty: nothing is known.

    Raises:
        UserError: one of them has no records, or its rows may not share a board.
    """
    found = comparable.between(a, b)
    sides_read = [
        read(records, name, trials)
        for records, name, trials in ((a, "A", planned[0]), (b, "B", planned[1]))
    ]
    frames = [table for table, _ in sides_read]
    lacking = [
        f"{name}: {facts.coverage.sentence}"
        for name, (_, facts) in zip("AB", sides_read, strict=True)
        if facts.coverage.lost
    ]
    one, other = (build_boards(frame) for frame in frames)
    sides = [_seeds(made, frame) for made, frame in zip((one, other), frames, strict=True)]
    return Comparison(
        tuple(comparable.told([d for d in found if d.fact in BLOCKING])),
        (
            *lacking,
            *comparable.told([d for d in found if d.fact not in BLOCKING], most=len(found)),
            *_contradicted(a, b),
        ),
        _judged(moves(sides[0], sides[1], margin), one, other),
        _changed(one, other),
    )


def _judged(table: pd.DataFrame, a: Boards, b: Boards) -> pd.DataFrame:
    """No verdict on rows of which a side lacks trials: not the defense has moved."""
    keys = _lacking(a).keys() | _lacking(b).keys()
    rows = pd.Series(_keys(table, ROW), index=table.index, dtype=object)
    return table.assign(verdict=table["verdict"].mask(rows.isin(keys), _LACKS))


def _lacking(made: Boards) -> dict[tuple[Any, ...], str]:
    """Rows that lack planned trials: how many are there, in words."""
    rows = made.rows[made.rows["trials_lost"] > 0]
    there = rows["trials_planned"] - rows["trials_lost"]
    return {
        key: f"{n} of {planned} trials"
        for key, n, planned in zip(_keys(rows, ROW), there, rows["trials_planned"], strict=True)
    }


def _contradicted(a: Iterable[TrialRecord], b: Iterable[TrialRecord]) -> list[str]:
    """A sentence where trials of one identity have different figures."""
    known = {r.trial_id: r.score for r in a if r.score is not None}
    unlike = [
        (r.cell.key(), known[r.trial_id], r.score)
        for r in b
        if r.score is not None
        and r.trial_id in known
        and not all(
            recheck.equal(getattr(known[r.trial_id], x), getattr(r.score, x))
            for x in ("value", "L", "M")
        )
    ]
    if not unlike:
        return []
    cell, old, new = unlike[0]
    more = f" (and {len(unlike) - 1} more like it)" if len(unlike) > 1 else ""
    return [
        f"the trial {cell} is in both under one identity and has other figures: s = "
        f"{old.value:.4g}, L = {number(old.L)} in A and s = {new.value:.4g}, L = {number(new.L)} "
        f"in B{more}: another machine, or one of them is wrong: 'invbench verify' both"
    ]


def _seeds(made: Boards, frame: pd.DataFrame) -> pd.DataFrame:
    """One row per (board, defense, measure, seed): ``value``, ``trial_id`` and ``target``.

    Leakage only of rows with an effect: the others repeat that of ``none``.
    """
    acts = made.rows[~flagged(made.rows, "no_effect")]
    picked = acts[[*ROW, "worst_attack"]].rename(columns={"worst_attack": "attack"})
    leak = made.seeds.merge(picked, on=[*ROW, "attack"])
    used = made.seeds.drop_duplicates([*ROW, "seed"])
    parts = [
        table.rename(columns={column: "value"})
        .assign(measure=name)[[*ROW, "measure", "seed", "value", "trial_id"]]
        .dropna(subset="value")
        for name, column, table in (("L", "L", leak), ("M", "M", leak), ("U", "utility", used))
    ]
    targets = frame.drop_duplicates("trial_id").set_index("trial_id")["target"]
    table = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    return table.assign(
        target=table["trial_id"].map(targets), value=table["value"].astype("float64")
    )


def moves(a: pd.DataFrame, b: pd.DataFrame, margin: float = stats.MARGIN) -> pd.DataFrame:
    """Differences B minus A of everything that both measured.

    Seeds are paired where both sides attacked the very same targets; else the two are independent
    samples with variances of their own (Welch). Holm's correction is over all leakage figures (L
    and M) of a board, and over its utilities.

    Args:
        a: one row per (board, defense, ``measure``, ``seed``) with ``value``, ``trial_id`` and
            ``target``, the identity of the attacked target.
        b: the same of the other side.
        margin: smallest difference that matters.

    Returns:
        As :class:`Comparison` says.
    """
    by = [*ROW, "measure"]
    one, other = (
        stats.summarise(side.rename(columns={"value": name}), by, [name])
        for side, name in ((a, "A"), (b, "B"))
    )
    table = one.merge(other, on=by)
    both = a.merge(b, on=[*by, "seed"], suffixes=("_a", "_b"))
    both = both[both["target_a"] == both["target_b"]]
    both = both.assign(gap=both["value_b"] - both["value_a"])
    # A trial that only says it is the same, and scored differently, has moved.
    both["same"] = (both["trial_id_a"] == both["trial_id_b"]) & (both["gap"].abs() <= recheck.EXACT)
    pairs = stats.summarise(both, by, ["gap"])
    alike = both.groupby(by, as_index=False)["same"].all()
    table = table.merge(pairs, on=by, how="left").merge(alike, on=by, how="left")

    fewer = table[["A_n", "B_n"]].min(axis=1)
    covered = table["gap_n"].eq(fewer) & fewer.gt(0)
    repeated = covered & table["same"].eq(True) & table["A_n"].eq(table["B_n"])
    paired = covered & (table["gap_n"] >= 2)
    diff, lo, hi, p = _welch(table)
    p_paired = stats.paired_p(table["gap"], table["gap_sd"], table["gap_n"].fillna(0))
    use = paired.to_numpy()
    table["diff"] = np.where(use, table["gap"], diff)
    table["lo"] = np.where(use, table["gap_lo"], lo)
    table["hi"] = np.where(use, table["gap_hi"], hi)
    table["p"] = np.where(use, p_paired, p)
    table.loc[repeated, ["diff", "lo", "hi", "p"]] = 0.0, 0.0, 0.0, 1.0
    table["by"] = np.select([repeated, paired], ["same trials", "paired"], "independent")
    family = table["measure"].map(_FAMILY)
    table["p"] = table.groupby([*BOARD, family])["p"].transform(stats.holm)
    table["verdict"] = _verdicts(table, margin)
    order = {name: at for at, name in enumerate(MEASURES)}
    table = table.assign(_at=table["measure"].map(order)).sort_values([*ROW, "_at"], kind="stable")
    return table[_MOVED].reset_index(drop=True)


def _welch(table: pd.DataFrame) -> tuple[NDArray[np.float64], ...]:
    """Difference of two means with its 95% interval and p; NaN where a side has one seed."""
    v_a, v_b = (table[f"{x}_sd"] ** 2 / table[f"{x}_n"].where(table[f"{x}_n"] > 1) for x in "AB")
    diff = (table["B"] - table["A"]).to_numpy(dtype=float)
    variance = (v_a + v_b).to_numpy(dtype=float)
    parts = v_a**2 / (table["A_n"] - 1) + v_b**2 / (table["B_n"] - 1)
    flat = variance == 0
    freedom = np.divide(variance**2, parts, out=np.ones_like(diff), where=~flat)
    error = np.sqrt(variance)
    score = np.divide(np.abs(diff), error, out=np.zeros_like(diff), where=~flat)
    p = 2 * student.sf(score, freedom)
    # No spread on either side: the exact permutation test takes the place of t.
    exact = np.minimum(1.0, 2.0 / comb(table["A_n"] + table["B_n"], table["A_n"]))
    p = np.where(flat, np.where(diff == 0, 1.0, exact), p)
    width = student.ppf(1 - stats.ALPHA / 2, freedom) * error
    return diff, diff - width, diff + width, p


def _verdicts(table: pd.DataFrame, margin: float) -> NDArray[Any]:
    """What each difference says; leakage below 0 is none, so moves down there do not matter."""
    leak = (table["measure"] == "L").to_numpy()
    ends = {
        name: np.where(leak, table[name].clip(0, 1), table[name])
        for name in ("A", "B", "A_lo", "B_lo", "A_hi", "B_hi")
    }
    shown = np.where(leak, ends["B"] - ends["A"], table["diff"])
    sure = (table["p"] < stats.ALPHA) & (np.abs(shown) >= margin)
    together = np.maximum(ends["A_hi"], ends["B_hi"]) - np.minimum(ends["A_lo"], ends["B_lo"])
    same = ((table["lo"] > -margin) & (table["hi"] < margin)) | (leak & (together < margin))
    up, down = table["measure"].map(_UP), table["measure"].map(_DOWN)
    return np.select([sure & (shown > 0), sure & (shown < 0), same], [up, down, "same"], "unclear")


def _changed(a: Boards, b: Boards) -> pd.DataFrame:
    """What only one side has, and worst attacks that changed."""
    found: list[dict[str, str]] = []

    def note(key: tuple[Any, ...], what: str, old: str, new: str) -> None:
        at = len(BOARD)
        found.append(
            {
                "board": BoardKey(*key[:at]).path,
                "defense": "".join(key[at:]),
                "what": what,
                "A": old,
                "B": new,
            }
        )

    boards = [set(_keys(x.rows, BOARD)) for x in (a, b)]
    for side, words in ((0, "boards vanished"), (1, "boards new")):
        for key in sorted(boards[side] - boards[1 - side]):
            note(key, words, *(("present", "") if side == 0 else ("", "present")))
    shared = boards[0] & boards[1]
    rows = [dict(zip(_keys(x.rows, ROW), x.rows["worst_attack"], strict=True)) for x in (a, b)]
    for side, words in ((0, "rows vanished"), (1, "rows new")):
        for key in sorted(set(rows[side]) - set(rows[1 - side])):
            if key[: len(BOARD)] in shared:
                worst = rows[side][key]
                note(key, words, *((worst, "") if side == 0 else ("", worst)))
    attacks = [set(_keys(x.attacks, [*BOARD, "attack"])) for x in (a, b)]
    for side, words in ((0, "attacks vanished"), (1, "attacks new")):
        for key in sorted(attacks[side] - attacks[1 - side]):
            if key[: len(BOARD)] in shared:
                note(key[:-1], words, *((key[-1], "") if side == 0 else ("", key[-1])))
    lacking = [_lacking(x) for x in (a, b)]
    for key in sorted(set(rows[0]) & set(rows[1])):
        if key in lacking[0] or key in lacking[1]:
            note(key, _LACKS, *(side.get(key, "all trials") for side in lacking))
        elif rows[0][key] != rows[1][key]:
            note(key, "worst attacks changed", rows[0][key], rows[1][key])
    return pd.DataFrame(found, columns=["board", "defense", "what", "A", "B"])


def _keys(table: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    return list(table[columns].itertuples(index=False, name=None))


def data(found: Comparison) -> dict[str, Any]:
    """Everything as plain data; missing numbers are None."""
    moved = limited(found.moves)
    return {
        "obstacles": list(found.obstacles),
        "notes": list(found.notes),
        "sentence": found.sentence(),
        "moves": json.loads(moved.to_json(orient="records", double_precision=10)),
        "changed": found.changed.to_dict("records"),
    }


def lines(found: Comparison, every: bool = False) -> list[list[str]]:
    """What moved as rows of text, a header first.

    Args:
        found: the comparison.
        every: also rows that stayed the same.
    """
    out = [["board", "defense", "", "A", "B", "B - A", "p", "verdict"]]
    table = found.moves if every else found.moves[found.moves["verdict"] != "same"]
    for row in table.to_dict("records"):
        digits = 3 if row["measure"] == "U" else 2
        row |= {"diff_lo": row["lo"], "diff_hi": row["hi"]}
        a, b, diff = (estimate(row, x, digits, x == "diff") for x in ("A", "B", "diff"))
        p = "<.001" if row["p"] < 0.001 else number(row["p"], 3)
        board = BoardKey(*(row[name] for name in BOARD)).path
        out.append([board, str(row["defense"]), row["measure"], a, b, diff, p, row["verdict"]])
    return out


def markdown(found: Comparison, every: bool = False) -> str:
    """The comparison as Markdown."""
    parts = [f"**{found.sentence()}**"]
    parts += [f"> **not comparable**: {line}" for line in found.obstacles]
    parts += [f"> {line}" for line in found.notes]
    for head, *rows in (lines(found, every), _came(found)):
        if rows:
            cells = [
                [c.replace("|", "\\|") for c in row] for row in [head, ["---"] * len(head), *rows]
            ]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in cells))
    return "\n\n".join(parts) + "\n"


def _came(found: Comparison) -> list[list[str]]:
    return [["board", "defense", "what", "A", "B"], *found.changed.to_numpy().tolist()]
