"""Controls: do the boards rest on anything? See PROTOCOL 3.6.

Every check is a pure function of the frame and gives one row: what was measured, what it should
have been, and whether it held. :data:`CHECKS` says which voids the scenario's boards if it fails.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.contract import likeness
from bench.contract.likeness import differences
from bench.goals import goal_named
from bench.report import stats, worst_of
from bench.report.frame import BASELINE, SCENARIO, UNDEFENDED

CONVERGED = 0.02
"""Most that doubling an attack's steps may add to its success (C7)."""
HELDOUT, ORACLE = 0.95, 0.85
"""Least the committee must reach on held-out pictures and on class means (C5)."""
SHORTFALL = 0.02
"""Most that an undefended target may lack to scikit-learn (C10)."""


@dataclass(frozen=True)
class Check:
    """What must hold of a board's trials.

    Attributes:
        code: the protocol's number of it.
        claim: what must hold.
        voids: whether boards mean nothing if it fails.
        remedy: what a user can do then, in a sentence; empty: there is no usual reason.
    """

    code: str
    claim: str
    voids: bool
    remedy: str = ""


CHECKS = {
    "untrained": Check("C1", "Attacks find nothing in a target that was never trained", voids=True),
    "shuffled": Check(
        "C1", "Attacks find nothing in a model whose answers are shuffled", voids=True
    ),
    "random_labels": Check(
        "C1", "Attacks find nothing in a target trained on shuffled labels", voids=True
    ),
    "overfit": Check(
        "C3", "What is said of members shows more the longer the target is trained", voids=False
    ),
    "permuted": Check(
        "C1", "Judged against another class, reconstructions are at chance", voids=True
    ),
    "baselines": Check("C4", "Attackers without the model are at chance", voids=True),
    "evaluators": Check(
        "C5",
        "The judges know real pictures of the private people",
        voids=True,
        remedy="The judges cannot tell these people apart: give them more pictures of each person, "
        "pictures of more pixels, or fewer people; then run it again.",
    ),
    "doubled": Check(
        "C7",
        "Twice the steps would not find more",
        voids=False,
        remedy="Raise the number of steps of that attack.",
    ),
    "canary": Check(
        "C8", "Attacks are as strong on the frozen canary as when it was stored", voids=False
    ),
    "utility": Check(
        "C10",
        "The undefended target is as useful as a plain baseline",
        voids=False,
        remedy="Train the model longer, or compare defenses of another model.",
    ),
    "repeat": Check("C11", "Trained and attacked again, the result is the same", voids=True),
    "zero": Check("D0", "A defense of no strength changes nothing", voids=True),
    "temperature": Check("O4", "Flattened scores do not make the target safer", voids=True),
}
"""Checks in the order they are shown; those of :data:`bench.contract.record.CONTROLS` need trials
of their own, the others judge those of the boards."""
VOIDING = frozenset(name for name, check in CHECKS.items() if check.voids)
"""Checks whose failure leaves a board without meaning; the others weaken it."""

_SHOWN = 3
"""Differences of environments that a result names."""

COLUMNS = [*SCENARIO, "check", "code", "claim", "of", "value", "lo", "hi", "bar", "state"]
PASS, FAIL, UNKNOWN = "pass", "fail", "unknown"

CheckResult = dict[str, Any]


def judge(frame: pd.DataFrame) -> pd.DataFrame:
    """Every check of every scenario, one row each, in a fixed order.

    ``of`` names the attack or defense with the worst ``value``; ``state`` is ``pass``, ``fail`` or
    ``unknown`` (too few seeds, or a control that did not finish). Checks that were not asked for
    are absent.
    """
    results: list[CheckResult] = []
    for key, rows in frame.groupby(SCENARIO, sort=True):
        place = dict(zip(SCENARIO, key, strict=True))
        for result in _scenario(rows):
            check = CHECKS[result["check"]]
            results.append({**place, "code": check.code, "claim": check.claim, **result})
    if not results:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.DataFrame(results)
    order = {name: place for place, name in enumerate(CHECKS)}
    table = table.assign(place=table["check"].map(order))
    return table.sort_values([*SCENARIO, "place"], kind="stable", ignore_index=True)[COLUMNS]


def voiding(checks: pd.DataFrame) -> pd.DataFrame:
    """Those of :func:`judge` that failed and leave the boards of their scenario without meaning."""
    return checks[(checks["state"] == FAIL) & checks["check"].isin(VOIDING)]


def _scenario(rows: pd.DataFrame) -> Iterator[CheckResult]:
    done = rows[rows["status"] == "done"]
    board = done[done["control"] == ""]
    undefended = board[(board["defense"] == UNDEFENDED) & (board["access"] != BASELINE)]
    for name in ("untrained", "shuffled", "random_labels"):
        mine = rows[rows["control"] == name]
        if len(mine):
            yield _nothing(name, done[done["control"] == name], "L", planned=len(mine))
    if undefended["permuted"].notna().any():
        above = undefended.assign(over=undefended["permuted"] - undefended["chance"])
        yield _nothing("permuted", above, "over")
    blind = board[(board["access"] == BASELINE) & board["chance"].notna()]
    if len(blind):
        yield _nothing("baselines", blind.assign(over=blind["score"] - blind["chance"]), "over")
    if (
        board["goal"].map(lambda name: goal_named(name).recognised).any()
        and board["heldout"].notna().any()
    ):
        yield _evaluators(board)
    if board["reference"].notna().any() and (board["defense"] == UNDEFENDED).any():
        yield _utility(board[board["defense"] == UNDEFENDED])
    for name, check in (
        ("doubled", _doubled),
        ("repeat", _repeat),
        ("zero", _zero),
        ("temperature", _temperature),
        ("canary", _canary),
        ("overfit", _overfit(done)),
    ):
        mine = rows[rows["control"] == name]
        if len(mine):
            yield check(done[done["control"] == name], undefended, len(mine))


def _result(
    check: str,
    state: str,
    of: str,
    value: float,
    bar: str,
    lo: float = math.nan,
    hi: float = math.nan,
) -> CheckResult:
    return {
        "check": check,
        "of": of,
        "value": value,
        "lo": lo,
        "hi": hi,
        "bar": bar,
        "state": state,
    }


def _worst(table: pd.DataFrame, column: str) -> pd.Series[Any]:
    return table.iloc[int(table[column].argmax())]


def _of_worst(
    check: str,
    state: str,
    table: pd.DataFrame,
    telling: pd.Series[bool],
    by: str,
    column: str,
    bar: str,
) -> CheckResult:
    """The result at the row with the most of a column, among the telling rows if there are any."""
    worst = _worst(table[telling] if telling.any() else table, column)
    lo, hi = worst[f"{column}_lo"], worst[f"{column}_hi"]
    return _result(check, state, str(worst[by]), worst[column], bar, lo, hi)


def _nothing(check: str, trials: pd.DataFrame, column: str, planned: int = 0) -> CheckResult:
    """Fails if some attack is above 0 by more than the margin and by Holm's p over attacks."""
    bar = f"at most {stats.MARGIN:.2f}, or an interval that reaches 0"
    trials = trials.dropna(subset=column)
    if trials.empty or len(trials) < planned:
        return _result(check, UNKNOWN, "not finished", math.nan, bar)
    table = stats.summarise(trials, ["attack"], [column])
    mean, sd, n = (table[f"{column}{end}"] for end in ("", "_sd", "_n"))
    if column == "L" and trials["single"].any():
        least = _least(trials, table["attack"])
        above, known = (least > 0).to_numpy(), (n >= 2) & least.notna()
    else:
        # Seeds that all give the same wrong answer are no luck, however few.
        p = pd.Series(stats.paired_p(mean, sd, n)).mask((sd == 0) & (mean > 0), 0.0)
        above, known = stats.holm(p) < stats.ALPHA, n >= 2
    sure = (mean > stats.MARGIN) & above
    state = FAIL if sure.any() else PASS if known.all() else UNKNOWN
    return _of_worst(check, state, table, sure, "attack", column, bar)


def _least(trials: pd.DataFrame, attacks: pd.Series[str]) -> pd.Series[float]:
    """Lower end of each attack's mean, all at once, where seeds share one target."""
    wide = trials.pivot(index="attack", columns="seed", values="L").reindex(attacks)
    squares = trials.assign(square=trials["L_error"] ** 2).groupby("attack")["square"]
    errors = np.sqrt(squares.mean().reindex(attacks))
    mean, over_victims, over_seeds, n = worst_of.one_target(wide.to_numpy(dtype=float), errors)
    tail = stats.ALPHA / 2 / len(attacks)
    return pd.Series(mean - stats.reach(over_victims, over_seeds, n, tail))


def _evaluators(board: pd.DataFrame) -> CheckResult:
    seeds = board.groupby("seed")[["heldout", "oracle"]].first().mean()
    good = seeds["heldout"] >= HELDOUT and seeds["oracle"] >= ORACLE
    bar = f"committee at least {HELDOUT} on held-out pictures, {ORACLE} on class means"
    of = f"class means {seeds['oracle']:.2f}"
    return _result("evaluators", PASS if good else FAIL, of, float(seeds["heldout"]), bar)


def _utility(undefended: pd.DataFrame) -> CheckResult:
    seeds = undefended.groupby("seed")[["utility", "reference"]].first().dropna()
    gap = float((seeds["utility"] - seeds["reference"]).mean())
    bar = f"at least {-SHORTFALL:.2f}"
    return _result("utility", PASS if gap >= -SHORTFALL else FAIL, UNDEFENDED, gap, bar)


def _inner(name: str) -> str:
    """What a control is a control of: ``miface`` for ``doubled[miface]``."""
    return name.partition("[")[2].removesuffix("]")


def _doubled(mine: pd.DataFrame, undefended: pd.DataFrame, planned: int) -> CheckResult:
    bar = f"at most {CONVERGED:.2f} more success, or an interval that reaches 0"
    pairs = mine.assign(attack=mine["attack"].map(_inner)).merge(
        undefended, on=["attack", "seed"], suffixes=("", "_once")
    )
    if len(pairs) < planned:
        return _result("doubled", UNKNOWN, "not finished", math.nan, bar)
    pairs = pairs.assign(gain=pairs["score"] - pairs["score_once"])
    table = stats.summarise(pairs, ["attack"], ["gain"])
    short = (table["gain"] > CONVERGED) & ((table["gain_lo"] > 0) | table["gain_lo"].isna())
    state = FAIL if short.any() else PASS
    return _of_worst("doubled", state, table, short, "attack", "gain", bar)


def _same(check: str, pairs: pd.DataFrame, name: str, planned: int) -> CheckResult:
    """The same again: bit for bit in an equal environment, else within the tolerance."""
    if len(pairs) < planned:
        return _result(check, UNKNOWN, "not finished", math.nan, "0 differ")
    wrong: list[str] = []
    exact = 0
    apart: dict[str, None] = {}
    for pair in pairs.to_dict("records"):
        old, new = (json.loads(pair[f"environment{end}"]) for end in ("_ref", ""))
        bits = likeness.asks_for_bits(old, new)
        exact += bits
        if not bits:
            apart |= dict.fromkeys(differences(old, new) or [f"device: {new['device']}"])
        equal = pair["values_sha"] == pair["values_sha_ref"] and (
            pair["utility"] == pair["utility_ref"]
        )
        if not equal and (bits or likeness.beyond(_gaps(pair))):
            wrong.append(_inner(pair[name]))
    bar = f"0 differ: {exact} compared bit for bit"
    if apart:
        more = f" and {len(apart) - _SHOWN} more" if len(apart) > _SHOWN else ""
        bar += (
            f", {len(pairs) - exact} by a tolerance of {likeness.TOLERANCE:g} in L, M and utility, "
            f"as environments are not known to be equal ({'; '.join([*apart][:_SHOWN])}{more})"
        )
    of = ", ".join(sorted({*wrong})) or f"{len(pairs)} compared"
    return _result(check, FAIL if wrong else PASS, of, float(len(wrong)), bar)


def _gaps(pair: Mapping[Any, Any]) -> dict[str, float]:
    """Differences of the figures of a pair of trials."""
    columns = {"L": "L", "s": "score", "M": "M", "utility": "utility"}
    old, new = (
        {name: pair[f"{column}{end}"] for name, column in columns.items()} for end in ("_ref", "")
    )
    return likeness.gaps(old, new)


def _repeat(mine: pd.DataFrame, undefended: pd.DataFrame, planned: int) -> CheckResult:
    pairs = mine.assign(first=mine["attack"].map(_inner)).merge(
        undefended, left_on=["first", "seed"], right_on=["attack", "seed"], suffixes=("", "_ref")
    )
    return _same("repeat", pairs, "attack", planned)


def _zero(mine: pd.DataFrame, undefended: pd.DataFrame, planned: int) -> CheckResult:
    pairs = mine.merge(undefended, on=["attack", "seed"], suffixes=("", "_ref"))
    return _same("zero", pairs, "defense", planned)


def _temperature(mine: pd.DataFrame, undefended: pd.DataFrame, planned: int) -> CheckResult:
    bar = f"the strongest attack of each access loses at most {stats.MARGIN:.2f}"
    levels = []
    for access, flat in mine.groupby("access"):
        plain = undefended[undefended["access"] == access]
        best = [t.groupby("attack")["L"].mean() for t in (flat, plain)]
        if any(b.dropna().empty for b in best):
            continue
        seeds = [
            t[t["attack"] == b.idxmax()].set_index("seed")["L"]
            for t, b in zip((flat, plain), best, strict=True)
        ]
        loss = (seeds[1] - seeds[0]).dropna().rename("loss").reset_index()
        levels.append(stats.summarise(loss.assign(access=access), ["access"], ["loss"]))
    if not levels or len(mine) < planned:
        return _result("temperature", UNKNOWN, "not finished", math.nan, bar)
    table = pd.concat(levels, ignore_index=True)
    weaker = (table["loss"] > stats.MARGIN) & (table["loss_lo"] > 0)
    state = FAIL if weaker.any() else PASS
    return _of_worst("temperature", state, table, weaker, "access", "loss", bar)


def _overfit(done: pd.DataFrame) -> Callable[[pd.DataFrame, pd.DataFrame, int], CheckResult]:
    """Against the same attacks on targets that were stopped early."""

    def judge(mine: pd.DataFrame, undefended: pd.DataFrame, planned: int) -> CheckResult:
        bar = "some attack's M above 0 by its interval, and above the early-stopped target's"
        early = done[done["control"] == "early_stopped"]
        pairs = mine.merge(early, on=["attack", "seed"], suffixes=("", "_early"))
        pairs = pairs.dropna(subset=["M", "M_early"])
        if len(pairs) < planned or pairs["seed"].nunique() < 2:
            return _result("overfit", UNKNOWN, "not finished", math.nan, bar)
        pairs = pairs.assign(more=pairs["M"] - pairs["M_early"])
        table = stats.summarise(pairs, ["attack"], ["M", "more"])
        shown = (table["M_lo"] > 0) & (table["more"] > 0)
        state = PASS if shown.any() else FAIL
        return _of_worst("overfit", state, table, shown, "attack", "M", bar)

    return judge


@cache
def stored() -> Mapping[str, Mapping[str, float]]:
    """Success on the canary as it was stored: attack to ``success`` and standard error ``se``."""
    path = Path(__file__).with_name("canary.json")
    table: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return table


def _canary(mine: pd.DataFrame, undefended: pd.DataFrame, planned: int) -> CheckResult:
    bar = "within 3 standard errors of the stored success"
    known = mine[mine["attack"].isin(list(stored()))]
    if known.empty:
        return _result("canary", UNKNOWN, "no attack has a stored success", math.nan, bar)
    off = [
        abs(row["score"] - stored()[row["attack"]]["success"])
        / max(stored()[row["attack"]]["se"], 1e-9)
        for row in known.to_dict("records")
    ]
    table = known.assign(off=off)
    worst = _worst(table, "off")
    state = FAIL if worst["off"] > 3 else PASS if len(mine) == planned else UNKNOWN
    return _result("canary", state, str(worst["attack"]), float(worst["off"]), bar)
