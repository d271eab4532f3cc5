"""Records to one long table: every board, figure and file is a pure function of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from bench.contract.access import ACCESS_ORDER
from bench.contract.errors import require
from bench.contract.record import ELSEWHERE, ENVIRONMENT, Failure, TrialRecord
from bench.contract.stream import Stream
from bench.goals import goal_named
from bench.metrics import certainty
from bench.report import ceilings, comparable, coverage, single
from bench.report.facts import Facts, Gatherer

STABLE = (
    "trial_id",
    "suite",
    "sector",
    "dataset",
    "model",
    "defense",
    "attack",
    "goal",
    "access",
    "seed",
    "status",
    "utility_metric",
    "utility",
    "score_metric",
    "score",
    "s_base",
    "s_ceil",
    "L",
    "M",
    "epsilon",
    "queries",
    "train_s",
    "attack_s",
)
"""Columns of ``trials.csv`` that never move; ``flags`` and ``error`` follow them."""

ORDER = ("sector", "dataset", "model", "goal", "access", "defense", "attack", "seed")
CELL = ("dataset", "model", "defense", "attack", "seed")
SCENARIO = ["sector", "dataset", "model", "goal"]
UNDEFENDED = "none"
"""The row every defense is compared with."""
BASELINE = "none"
"""Access of an attack that sees no model."""
REGULARISED = "regularised"
"""Family of the row that utility is compared with where a grid has it, else with ``none``."""

_USUAL = asdict(Stream())
_STREAMED, _BUDGETED = (
    re.compile(rf"(?<=\[)(?:{option}=[^,\]]*,?)+|,{option}=[^,\]]*")
    for option in (r"stream\.\w+", "budget")
)
"""What a name says of the stream and of the budget, which have columns of their own."""
_CAP = re.compile(r"[\[,]budget=(\d+)[,\]]")

_Get = Callable[[TrialRecord], Any]


def _options(record: TrialRecord) -> str:
    """The options of model, defense and attack, as JSON."""
    parts = {
        "model": record.target.params,
        "defense": record.defense.layers,
        "attack": record.attack.params,
    }
    return json.dumps(parts, sort_keys=True)


SINGLE = "single_target"
"""Flag of a trial on a model that was given: there is one of it, whatever the seed."""
_KNOWN = ("file_sha256", "url")
_VICTIMS = 1000  # most that were attacked in runs whose records do not say how many
FIRST_SHOWN = (1, 7)
"""Schema from which on records declare only adaptivity that a pair of attacks shows."""


def _schema(record: TrialRecord) -> tuple[int, ...]:
    return tuple(int(part) for part in record.schema_version.split(".")[:2])


def _victims(record: TrialRecord) -> int | None:
    """How many members the score is of; records before schema 1.8 do not say it themselves."""
    if record.score is None:
        return None
    if record.score.victims:
        return record.score.victims
    facts, kind = record.data.facts, goal_named(record.goal).victims
    if kind == "classes":
        return len(facts.get("class_counts", ())) or None
    if kind == "clients":
        told = record.attack.params
        return int(told["records"]) // int(told["batch_size"]) if "batch_size" in told else None
    return (
        min(int(facts["n_train"]), _VICTIMS) if kind == "records" and "n_train" in facts else None
    )


def _refuted(record: TrialRecord) -> bool | None:
    """Whether canaries refute the claim; records before schema 1.8 say only what they show."""
    found = record.privacy_audit
    if found is None or found.refuted is not None or found.epsilon_lower is None:
        return found.refuted if found else None
    return found.epsilon_lower > found.epsilon


_TEXT: dict[str, _Get] = {
    "trial_id": lambda r: r.trial_id,
    "sector": lambda r: r.data.sector,
    "dataset": lambda r: r.cell.dataset,
    "model": lambda r: r.cell.model,
    "defense": lambda r: r.cell.defense,
    "attack": lambda r: r.cell.attack,
    "goal": lambda r: r.goal,
    "access": lambda r: r.access,
    "status": coverage.status,
    "utility_metric": lambda r: r.utility.metric if r.utility else "",
    "score_metric": lambda r: r.score.metric if r.score else "",
    "flags": lambda r: tuple(sorted(set(r.flags))),
    "error": lambda r: _sentence(r.error),
    "s_base_attack": lambda r: r.score.s_base_attack if r.score else "",
    "covers": lambda r: tuple(sorted(r.defense.covers)),
    "stages": lambda r: tuple(r.defense.stages),
    "adaptive_to": lambda r: tuple(sorted(r.attack.adaptive_to)),
    "unaudited": lambda r: r.privacy_audit.reason if r.privacy_audit else "",
    "claims": lambda r: tuple(sorted(r.defense.adaptive_attacks)),
    "old": lambda r: _schema(r) < FIRST_SHOWN,
    "standard": lambda r: tuple(sorted(r.attack.standard.items())),
    "member": lambda r: tuple(sorted(r.attack.member.items())),
    "control": lambda r: r.control,
    "values_sha": lambda r: r.attack.sha256,
    "target": lambda r: r.nodes.get("target", r.trial_id),
    "outcome": lambda r: r.nodes.get("attack", r.trial_id),
    "family": lambda r: r.defense.family or r.cell.defense.split("[", 1)[0],
    "settings": lambda r: r.defense.settings,
    "tunable": lambda r: r.defense.tunable,
    "attack_family": lambda r: r.attack.family or r.cell.attack.split("[", 1)[0],
    "attack_settings": lambda r: r.attack.settings,
    "stream": lambda r: _stream(r.attack.params.get("stream")),
    "data_sha": lambda r: str(r.data.facts.get("sha256", "")),
    "target_sha": lambda r: r.target.sha256,
    "known_as": lambda r: tuple(map(str, filter(None, map(r.target.given.get, _KNOWN)))),
    "created": lambda r: r.created_utc,
    "environment": lambda r: _environment(r.env),
    "options": _options,
    "unproven": ceilings.unproven,
    "single": lambda r: SINGLE in r.flags,
    "draws": lambda r: single.draws_of(r, QUADRATIC),
    "reproduction": lambda r: any(layer.get("reproduction") is True for layer in r.defense.layers),
}

_NUMBERS: dict[str, _Get] = {
    "utility": lambda r: r.utility.value if r.utility else None,
    "reference": lambda r: r.utility.reference if r.utility else None,
    "score": lambda r: r.score.value if r.score else None,
    "s_base": lambda r: r.score.s_base if r.score else None,
    "s_ceil": lambda r: r.score.s_ceil if r.score else None,
    "L": lambda r: r.score.L if r.score else None,
    "M": lambda r: r.score.M if r.score else None,
    "L_error": lambda r: r.score.L_error if r.score else None,
    "M_error": lambda r: r.score.M_error if r.score else None,
    "victims": _victims,
    "disjoint_table": lambda r: r.data.facts.get("disjoint_table"),
    "epsilon": lambda r: r.privacy.epsilon if r.privacy else None,
    "advantage": lambda r: r.privacy.advantage if r.privacy else None,
    "M_most": ceilings.of,
    "refuted": _refuted,
    "queries": lambda r: r.budget.queries,
    "train_s": lambda r: r.times.train_s,
    "attack_s": lambda r: r.times.attack_s,
    "answer_ms": lambda r: r.times.answer_ms,
    "steps": lambda r: _mean(r.attack.info.get("steps")),
    "permuted": lambda r: r.score.extra.get("permuted") if r.score else None,
    "chance": lambda r: r.score.extra.get("chance") if r.score else None,
    "heldout": lambda r: r.evaluator.get("committee_ceiling"),
    "oracle": lambda r: r.evaluator.get("committee_oracle"),
    "refused": lambda r: r.budget.refused,
    "accounts": lambda r: r.budget.accounts,
    "cover": lambda r: r.budget.cover,
    "detected": lambda r: r.audit.detected if r.audit else None,
    "stopped": lambda r: r.audit.stopped if r.audit else None,
    "answered_before": lambda r: r.audit.answered_before if r.audit else None,
    "blocked": lambda r: r.audit.blocked if r.audit else None,
    "customers": lambda r: r.audit.customers if r.audit else None,
    "n_params": lambda r: r.target.n_params,
    "public_records": lambda r: r.target.public_records,
    "epsilon_lower": lambda r: r.privacy_audit.epsilon_lower if r.privacy_audit else None,
    "epsilon_most": lambda r: r.privacy_audit.epsilon_most if r.privacy_audit else None,
}

EXTRA = (
    "accuracy",
    "majority_rate",
    "precision",
    "recall",
    "f1",
    "mcc",
    "g_mean",
    "ppv_top_10",
    "ppv_top_100",
    "ppv_top_10pct",
    *certainty.FIGURES,
)
"""Further metrics of an attack: those that papers report, and how sure it is of whom."""
BY_LABELS = ("accuracy", "balanced_accuracy")
"""Metrics of utility that need labels alone: nothing that is done to scores can change them."""
QUADRATIC = "quadratic_score"
"""1 - Brier score / 2, in [0, 1]: what those who get scores have of a classifier."""
UTILITY = ("mae", "rmse", "r2", "auroc")
"""Further metrics of usefulness that papers report; a column is named ``utility_`` and one."""


def _extra(name: str) -> _Get:
    return lambda r: r.score.extra.get(name) if r.score else None


def _quadratic(record: TrialRecord) -> float | None:
    """The quadratic score of a classifier; None where there is none or no record of it.

    Who answers labels alone forecasts each of them with certainty: then it is the accuracy.
    """
    useful = record.utility
    if useful is None or useful.metric not in BY_LABELS or "brier" not in useful.all:
        return None
    brier = useful.all["brier"]
    return useful.all.get("accuracy") if brier is None else 1 - brier / 2


def _useful(name: str) -> _Get:
    return lambda r: r.utility.all.get(name) if r.utility else None


_ALL_NUMBERS: dict[str, _Get] = {
    **_NUMBERS,
    **{name: _extra(name) for name in EXTRA},
    **{f"utility_{name}": _useful(name) for name in UTILITY},
    "quadratic": _quadratic,
}


def unstreamed(attack: str) -> str:
    """Name of an attack without how it sends its queries."""
    return _STREAMED.sub("", attack).replace("[]", "")


def bare_name(attack: str) -> str:
    """Name of an attack without how it sends its queries and how many it may send."""
    return _BUDGETED.sub("", unstreamed(attack)).replace("[]", "")


def _budget(record: TrialRecord) -> float:
    """Most queries the attack may send; of a trial that did not end only its name says so."""
    named = _CAP.search(record.cell.attack)
    cap = record.budget.queries_cap
    return float(cap) if cap is not None else float(named[1]) if named else math.inf


def _mean(value: Any) -> float | None:
    """A number, or the mean of a list of them."""
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(v, int | float) for v in numbers):
        return None
    return float(sum(numbers) / len(numbers))


def _stream(given: Mapping[str, Any] | None) -> str:
    """How the queries are sent, as far as it is not the usual way."""
    told = {key: value for key, value in (given or {}).items() if value != _USUAL.get(key)}
    return ", ".join(f"{key}={value}" for key, value in told.items())


def _environment(env: Mapping[str, Any]) -> str:
    """The facts of an environment that decide whether equal bits may be asked for, as JSON."""
    return json.dumps({k: env[k] for k in (*ENVIRONMENT, ELSEWHERE) if k in env}, sort_keys=True)


def _sentence(error: Failure | None) -> str:
    return " ".join(f"{error.type}: {error.message}".split()) if error else ""


def flags_of(row: Mapping[Any, Any]) -> tuple[str, ...]:
    """The flags of a row."""
    flags: tuple[str, ...] = row["flags"]
    return flags


def flagged(table: pd.DataFrame, flag: str) -> pd.Series[bool]:
    """Whether each row of a table has a flag."""
    return table["flags"].map(lambda flags: flag in flags).astype(bool)


def build(
    records: Iterable[TrialRecord], suite: str, planned: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The table of :func:`read` alone."""
    return read(records, suite, planned)[0]


def read(
    records: Iterable[TrialRecord], suite: str, planned: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, Facts]:
    """One row per trial, sorted by ``ORDER``, and what else the records say, in one pass.

    Numbers of trials that did not end are NaN. No record is kept: a hundred thousand of them may
    come from a file.

    Besides ``STABLE``, ``flags`` and ``error`` the table holds what boards need: ``reference``
    (utility of the plain baseline), ``victims`` (members that the score is of), ``disjoint_table``
    (number of the table, where it is one of several without a common person), ``advantage`` (most
    that the mechanism allows any test of membership), ``M_most`` (the largest M that it allows, or
    ``unproven``: why that is not known), ``reproduction`` (whether it repeats settings that the
    protocol refuses), ``budget`` (most queries of the attack; infinite where nothing limits it),
    ``s_base_attack``, ``covers``, ``adaptive_to``, ``claims`` and ``stages`` (tuples of names),
    ``old`` (whether adaptivity is only claimed), ``standard`` and ``member`` (pairs of a standard
    set with its size and with the attack's place in it), ``target`` and ``outcome`` (node
    identities), and what controls need: ``control`` (empty for a row of a board), ``values_sha``,
    ``environment`` (where the attack ran, as JSON), ``steps``, ``permuted``, ``chance``,
    ``heldout`` and ``oracle`` (of the judges), for a paper's figures the metrics of ``EXTRA`` (of
    whom attackers are certain, too) and ``UTILITY``, for users of scores ``quadratic`` (the
    quadratic score), for tuning ``family``,
    ``settings``, ``tunable``, ``attack_family`` and ``attack_settings`` (the option a row is a
    setting of, and how many the suite has), of watched deployments ``stream`` (how queries were
    sent, empty: as usual), ``refused``, ``accounts``, ``cover``, ``answered_before``, ``blocked``,
    ``customers`` and, as 0 or 1, ``detected`` and ``stopped`` (NaN where nobody watches), and for
    decisions ``n_params``, ``public_records``, ``refuted`` (0 or 1), ``epsilon_lower``,
    ``epsilon_most``, ``unaudited`` (why no canary was guessed about), ``data_sha``, ``target_sha``
    (of weights), ``known_as`` (file or address of a given model), ``created`` and ``answer_ms``.

    Args:
        records: trials in any order; of one trial recorded twice the latest record counts.
        suite: name of the suite they belong to.
        planned: identity to cell of every trial that was planned, as a manifest lists them; one
            without a record gets a row of status ``lost``. None: nothing is known of a plan.

    Raises:
        UserError: there is no record, a record's access or goal is unknown, the records differ in
            what they must share to stand on one board (:mod:`bench.report.comparable`), or one
            cell of the grid has two different records.
    """
    columns: dict[str, list[Any]] = {name: [] for name in (*_TEXT, *_ALL_NUMBERS)}
    kept: dict[Any, Any] = {}
    seeds: list[int] = []
    budgets: list[float] = []
    gatherer, guard, survey = Gatherer(), comparable.SharedFacts(), coverage.Survey(planned or {})
    for record in survey.through(records):
        gatherer.add(record)
        guard.add(record)
        seeds.append(record.cell.seed)
        budgets.append(_budget(record))
        for name, get in _TEXT.items():
            value = get(record)
            columns[name].append(kept.setdefault(value, value))  # nearly all repeat another's
        done = record.status == "done"
        for name, get in _ALL_NUMBERS.items():
            columns[name].append(get(record) if done else None)
    require(
        len(seeds) > 0,
        f"Suite '{suite}' has no trial records to report; "
        f"run it first with 'invbench run suite={suite}'.",
    )
    guard.check(suite)
    table = pd.DataFrame(
        {name: columns[name] for name in _TEXT}
        | {
            name: pd.Series(columns[name], dtype="float64") + 0.0  # turns -0.0 into 0.0
            for name in _ALL_NUMBERS
        }
    )
    table["suite"], table["seed"], table["budget"] = suite, seeds, budgets
    unplaced, deployed = survey.unplaced(), table[["dataset", "model", "defense"]]
    table["unplaced"] = [unplaced[place] for place in deployed.itertuples(index=False, name=None)]
    table["queries"] = table["queries"].astype("Int64")  # a count is never printed as 1e+06
    table = table.sort_values("created", kind="stable")
    table = table.drop_duplicates(["trial_id", *CELL], keep="last")
    _check(table, suite)
    table = table.sort_values(list(ORDER), ignore_index=True)
    rest = [name for name in ("flags", "error", *table.columns) if name not in STABLE]
    facts = replace(gatherer.facts(), coverage=survey.coverage())
    return table[[*STABLE, *dict.fromkeys(rest)]], facts


def dicts(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Rows as plain values: what ``to_dict("records")`` gives, of small tables in half the time."""
    names = list(table.columns)
    columns = [column.tolist() for _, column in table.items()]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _check(table: pd.DataFrame, suite: str) -> None:
    unknown = sorted(set(table["access"]) - set(ACCESS_ORDER))
    require(
        not unknown,
        f"Records of suite '{suite}' have access {', '.join(map(repr, unknown))}; "
        f"allowed: {', '.join(ACCESS_ORDER)}.",
    )
    for name in table["goal"].unique():
        goal_named(name)
    twice = table[table.duplicated(list(CELL))]
    if len(twice):
        first = twice.iloc[0]
        cell = "/".join(str(first[name]) for name in CELL)
        require(
            False,
            f"Suite '{suite}' has two different records of the trial {cell}; "
            "a board counts each trial once: report one execution of the suite.",
        )
