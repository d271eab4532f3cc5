"""What the boards of a suite taught, in sentences whose every figure comes from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.contract.access import ACCESS
from bench.report.boards import BoardKey
from bench.report.closure import by_board
from bench.report.frame import REGULARISED, UNDEFENDED, dicts, flags_of
from bench.report.site import heat
from bench.report.site.suite import Suite
from bench.report.text import KEEPS, UNPLACED, ceiling, number

LEAKS = 0.05
"""Leakage above which, with all of its interval, a board is said to leak."""
MOST = 10
_NAMED = 4
_SETTLES_NOTHING = {"void", "weak_attack"}

Row = dict[str, Any]


def lessons(suite: Suite) -> list[str]:
    """At most ``MOST`` sentences, the plainest first; what the records do not show is left out."""
    tellers: Sequence[Callable[[Suite], Iterator[str]]] = (
        _undefended,
        _access,
        _kept,
        _first,
        _useless,
        _private,
        _adaptive,
        _bypassed,
        _members,
        _unsettled,
        _seeds,
    )
    return [sentence for teller in tellers for sentence in teller(suite)][:MOST]


def _undefended(suite: Suite) -> Iterator[str]:
    plain = [(key, row) for key, row in _plain(suite) if np.isfinite(row["L_lo"])]
    if not plain:
        return
    leaking = sum(row["L_lo"] > LEAKS for _, row in plain)
    key, most = max(plain, key=lambda pair: pair[1]["L"])
    yield (
        f"Without a defense, {_of(leaking, len(plain), 'board')} {_s(leaking, 'leaks', 'leak')}: "
        f"all of the interval of L lies above {LEAKS}. Most is learned on {_board(suite, key)}, "
        f"where L is {number(most['L'])}."
    )


def _access(suite: Suite) -> Iterator[str]:
    plain = {key: row["L"] for key, row in _plain(suite)}
    for less, more in (("labels", "scores"), ("scores", "weights")):
        pairs = [
            (leakage, plain[key._replace(access=more)])
            for key, leakage in plain.items()
            if key.access == less and key._replace(access=more) in plain
        ]
        if pairs:
            low, high = np.mean(pairs, axis=0)
            yield (
                f"An attacker who sees {ACCESS[more].title} in place of {ACCESS[less].title} "
                f"reaches L = {number(high)} in place of {number(low)}, on average over "
                f"{_n(len(pairs), 'undefended model')}."
            )


def _kept(suite: Suite) -> Iterator[str]:
    boards = list(_judged(suite))
    if not boards:
        return
    helping = [
        (key, {suite.family[row["defense"]] for row in _helping(suite, rows)})
        for key, rows in boards
    ]
    helped = [families for _, families in helping if families]
    yield (
        f"On {_of(len(helped), len(boards), 'board')} some defense is shown to leak less than no "
        f"defense and to cost at most {KEEPS} of utility."
    )
    often = Counter(family for families in helped for family in families).most_common()
    if often:
        listed = [f"{_name(suite, family)} on {_n(count, 'board')}" for family, count in often]
        yield f"Most often that is {_list(listed, 3)}."


def _first(suite: Suite) -> Iterator[str]:
    first = [
        suite.family[acting[0]["defense"]]
        for _, rows in _judged(suite)
        if (acting := [row for row in _acting(rows) if row["defense"] != row["against"]])
    ]
    if len(first) > 1:
        family, count = Counter(first).most_common(1)[0]
        several = len(set(first))
        yield (
            f"{_name(suite, family)} leaks least on all {len(first)} boards."
            if several == 1
            else f"No defense leaks least everywhere: {several} different ones do on "
            f"{len(first)} boards, {_name(suite, family)} on {count} of them."
        )


def _useless(suite: Suite) -> Iterator[str]:
    acting: set[str] = set()
    lessening: set[str] = set()
    for _, rows in _judged(suite):
        for row in _acting(rows):
            family = suite.family[row["defense"]]
            acting.add(family)
            if row["verdict"] == "less":
                lessening.add(family)
    idle = sorted(acting - lessening - {REGULARISED})
    if idle:
        listed = _list([_name(suite, family) for family in idle], _NAMED)
        yield (
            f"{_of(len(idle), len(acting - {REGULARISED}), 'defense')} {_s(len(idle), 'is', 'are')}"
            f" on no board shown to leak less than no defense: {listed}."
        )


def _private(suite: Suite) -> Iterator[str]:
    rows = [
        row
        for _, board in _judged(suite)
        for row in _acting(board)
        if np.isfinite([row["epsilon"], row["dU"], row["L_hi"]]).all()
    ]
    if rows:
        least, most = (f(row["epsilon"] for row in rows) for f in (min, max))
        spans = f"{least:.3g}" if least == most else f"{least:.3g} to {most:.3g}"
        worst = max(row["L_hi"] for row in rows)
        middle = float(np.median([row["dU"] for row in rows]))
        yield (
            f"Differential privacy at an epsilon of {spans} keeps the upper end of L at "
            f"{ceiling(worst)} or less and changes utility by {number(middle, signed=True)} in "
            f"the median of {_n(len(rows), 'row')}."
        )


def _adaptive(suite: Suite) -> Iterator[str]:
    attacks = by_board(suite.boards.attacks)
    gains = [
        (row["raw"], key, row)
        for key, rows in _judged(suite)
        for row in heat.pairs(rows, attacks[key])
    ]
    if gains:
        better = sum(gain > 0 for gain, *_ in gains)
        gain, key, row = max(gains, key=lambda found: found[0])
        most = (
            f"; by {number(gain)} of L where it helps most, against "
            f"{suite.called('defense', row['defense'])} on {_board(suite, key)}"
            if gain > 0
            else ""
        )
        yield (
            "Attacks that adapt to the defense learn more than those that ignore it in "
            f"{_of(better, len(gains), 'case')}{most}."
        )


def _bypassed(suite: Suite) -> Iterator[str]:
    rows = suite.boards.rows
    strong = rows[rows["access"] == "weights"]
    idle = sorted(
        {suite.family[row["defense"]] for row in dicts(strong) if "no_effect" in flags_of(row)}
    )
    if idle:
        listed = _list([_name(suite, family) for family in idle], _NAMED)
        yield (
            f"Against an attacker who holds the weights {_n(len(idle), 'defense')} "
            f"{_s(len(idle), 'does', 'do')} nothing at all: {listed}."
        )


def _members(suite: Suite) -> Iterator[str]:
    plain = [row for _, row in _plain(suite) if np.isfinite(row["M_lo"])]
    if plain:
        telling = sum(row["M_lo"] > 0 for row in plain)
        yield (
            f"On {_of(telling, len(plain), 'undefended board')} the attack does better on members "
            "of the training set than on other people (M above 0); elsewhere it is not shown that "
            "more leaks than what the model says of everybody."
        )


def _unsettled(suite: Suite) -> Iterator[str]:
    every = list(suite.boards)
    settled = sum(1 for _ in _judged(suite))
    if settled < len(every):
        yield (
            f"{_of(len(every) - settled, len(every), 'board')} "
            f"{_s(len(every) - settled, 'settles', 'settle')} nothing: a control failed or the "
            "attacks are too weak there."
        )


def _seeds(suite: Suite) -> Iterator[str]:
    rows = dicts(suite.boards.rows)
    few = sum("provisional" in flags_of(row) for row in rows)
    if few:
        yield (
            f"{_of(few, len(rows), 'row')} {_s(few, 'rests', 'rest')} on fewer than ten seeds "
            f"and {_s(few, 'is', 'are')} provisional."
        )


# ---------------------------------------------------------------- what sentences are made of
def _judged(suite: Suite) -> Iterator[tuple[BoardKey, pd.DataFrame]]:
    """Boards that can tell defenses apart."""
    for key, rows in suite.boards:
        flags = {flag for row in dicts(rows) for flag in flags_of(row)}
        if not _SETTLES_NOTHING & flags:
            yield key, rows


def _plain(suite: Suite) -> list[tuple[BoardKey, Row]]:
    """The undefended rows of boards without a limit of queries."""
    return [
        (key, suite.undefended[key])
        for key, _ in _judged(suite)
        if np.isinf(key.budget) and key in suite.undefended
    ]


def _acting(rows: pd.DataFrame) -> list[Row]:
    """Rows of defenses that take a place on a board, least leakage first."""
    return [
        row
        for row in dicts(rows)
        if row["defense"] != UNDEFENDED
        and not UNPLACED & {*flags_of(row)}
        and np.isfinite(row["L"])
    ]


def _helping(suite: Suite, rows: pd.DataFrame) -> list[Row]:
    return [
        row
        for row in _acting(rows)
        if row["verdict"] == "less"
        and row["dU_lo"] >= -KEEPS
        and suite.family[row["defense"]] != REGULARISED
    ]


def _board(suite: Suite, key: BoardKey) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{suite.place(key)}\N{RIGHT DOUBLE QUOTATION MARK}"


def _name(suite: Suite, family: str) -> str:
    return suite.names.title("defense", family)


def _n(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _of(count: int, total: int, noun: str) -> str:
    return f"{count} of {_n(total, noun)}"


def _s(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _list(texts: Iterable[str], most: int) -> str:
    every = list(texts)
    if len(every) > most:
        every = [*every[:most], f"{len(every) - most} more"]
    *before, last = every
    return f"{', '.join(before)} and {last}" if before else last
