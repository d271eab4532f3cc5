"""Options of one attack or defense, searched on the selection seeds (PROTOCOL 3.4, 3.7)."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.spaces import Space, Words, composed, space_of
from bench.contract.errors import UserError, require
from bench.contract.packages import require_package

if TYPE_CHECKING:
    import pandas as pd


BUDGET = 0.03
"""Mean utility that a setting of a defense may lose (PROTOCOL 3.7)."""
_EXACT = 1e-9  # the dust of a difference of means
_OVER = 10.0  # above every L, so that a setting over the budget never beats one within it
_NOT_TEXT = frozenset({"null", "true", "false", "nan", "inf"})  # what Hydra reads otherwise


@dataclass(frozen=True)
class Tried:
    """One setting that was run on the selection seeds.

    Attributes:
        setting: the options that were searched.
        value: L; of an attack the mean, of a defense that of the strongest attack. None: no L.
        utility: mean usefulness of the deployment; None: not measured.
        loss: mean utility lost against the undefended target; None for an attack.
        problem: why there is no L.
    """

    setting: Mapping[str, Any]
    value: float | None
    utility: float | None
    loss: float | None
    problem: str = ""


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        group: ``attack`` or ``defense``.
        name: the option that was tuned.
        tried: every different setting in the order in which it was first run.
        seeds: the selection seeds, the only ones that ran.
        planned_seeds: how many seeds the suite has.
        best: the setting that was chosen; None: no setting has an L.
        over_budget: no setting of a defense keeps the utility budget; the least loss was chosen.
        words: overrides that run the chosen setting on seeds of another base seed, which chose
            nothing, and say how many were tried.
        skipped: options without a range to search, which stayed as they are.
        file: where the search is recorded.
    """

    group: str
    name: str
    tried: tuple[Tried, ...]
    seeds: tuple[int, ...]
    planned_seeds: int
    best: Tried | None
    over_budget: bool
    words: tuple[str, ...]
    skipped: tuple[str, ...]
    file: Path

    @property
    def bias(self) -> str:
        """Which way the figure of the chosen setting is off, in words."""
        if self.group == "attack":
            return "upwards, because the seeds that chose the setting measured it"
        return "upwards by the choice of the worst attack, downwards by that of the setting"

    @property
    def line(self) -> str:
        """The chosen setting as an override."""
        return "" if self.best is None else sweep_word(self.group, self.name, self.best.setting)


def tune(
    group: str,
    name: str,
    against: Sequence[str],
    *,
    trials: int = 20,
    space: Space | None = None,
    tune_seed: int = 0,
    words: Words = (),
    config_dir: Path | None = None,
) -> Tuning:
    """Search the options of one attack or defense on the selection seeds.

    Every setting goes through :func:`bench.api.run`, so that it is stored and not computed twice.
    The first is the default, where it lies in the space. The same arguments try the same settings.

    Args:
        group: which of the two is tuned: ``attack`` or ``defense``.
        name: its option.
        against: the options of the other side.
        trials: how many times a setting is asked for; one asked for twice counts once.
        space: values to search, by option; None: a range around each default.
        tune_seed: seed of the sampler.
        words: further overrides.
        config_dir: a folder with a user's own options.

    Raises:
        UserError: Optuna is missing, or an argument or override is wrong.
    """
    optuna = _optuna()
    require(trials >= 1, f"trials is {trials}; give a whole number of at least 1.")
    require(tune_seed >= 0, f"tune_seed is {tune_seed}; give a whole number of at least 0.")
    prefix = f"{group}.{name}.sweep="
    require(
        not any(word.lstrip("+").startswith(prefix) for word in words),
        f"'{prefix}' is what is searched for; give space='{{OPTION: [VALUES]}}' instead.",
    )
    require(
        group == "attack" or name != "none",
        "The defense 'none' has no option that could be tuned; name another.",
    )
    label = f"label=tune-{group}-{name}-{'-'.join(against)}"
    side = [name] if group == "attack" else ["none", name]
    pair = {group: side, "defense" if group == "attack" else "attack": list(against)}
    lists = [f"{axis}=[{','.join(names)}]" for axis, names in pair.items()]
    # What stands later wins: a user may set the label or the tracking, but not what is searched.
    quiet = ["controls=[]", "tracking=none", label]
    grid = composed([*quiet, *words, *lists], config_dir)
    fixed, defaults, ranges, skipped = space_of(grid, group, name, space or {}, config_dir)
    chosen = math.ceil(grid.settings.seeds / 3)
    common = [*quiet, *words, *lists, f"seeds={chosen}"]

    study = optuna.create_study(
        direction="maximize" if group == "attack" else "minimize",
        sampler=optuna.samplers.TPESampler(seed=tune_seed),
    )
    first = {key: ranges[key].mark(defaults[key]) for key in ranges if key in defaults}
    if len(first) == len(ranges) and None not in first.values():
        study.enqueue_trial(first)
    seen: dict[str, Tried] = {}
    for _ in range(trials):
        trial = study.ask()
        setting = {**fixed, **{key: ranges[key].ask(trial, key) for key in ranges}}
        key = json.dumps(setting, sort_keys=True)
        if key not in seen:
            seen[key] = _try(group, name, setting, common, config_dir, first=not seen)
        goal = _objective(group, seen[key])
        if goal is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, goal)
    tried = tuple(seen.values())
    best = _best(group, tried)
    ready = [*words, *lists]
    if best is not None:
        ready.append(sweep_word(group, name, best.setting))
        # Boards report on all seeds: those that chose the setting are not to be among them.
        ready.append(f"base_seed={grid.settings.base_seed + 1}")
        ready.append(f"tuned=[{{group:{group},name:{name},settings:{len(tried)}}}]")
    file = grid.settings.report_dir / grid.settings.label / "tuning.json"
    tuning = Tuning(
        group=group,
        name=name,
        tried=tried,
        seeds=tuple(range(chosen)),
        planned_seeds=grid.settings.seeds,
        best=best,
        over_budget=best is not None and (best.loss or 0) > BUDGET + _EXACT,
        words=tuple(ready),
        skipped=skipped,
        file=file,
    )
    _write(tuning, trials, tune_seed)
    return tuning


def sweep_word(group: str, name: str, setting: Mapping[str, Any]) -> str:
    """A setting as the override that makes it the option's only row."""
    inner = ",".join(f"{key}:{_literal(value)}" for key, value in setting.items())
    return f"{group}.{name}.sweep=[{{{inner}}}]"


def _literal(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_literal, value))}]"
    plain = not isinstance(value, str) or (
        re.fullmatch(r"[A-Za-z_]\w*", value) and value.lower() not in _NOT_TEXT
    )
    return str(value) if plain else "'" + value.replace("'", "\\'") + "'"


def _optuna() -> Any:
    require_package("optuna", "tune", "Tuning")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _try(
    group: str,
    name: str,
    setting: Mapping[str, Any],
    common: Words,
    config_dir: Path | None,
    first: bool,
) -> Tried:
    """Run one setting on the selection seeds."""
    from bench.api.runs import run

    try:
        words = [*common, sweep_word(group, name, setting)]
        results = run(words, config_dir, report=False)
    except UserError as error:
        if first:  # nothing says yet that only this setting is wrong
            raise
        return Tried(setting, None, None, None, str(error))
    summary = results.summary
    if summary is not None and summary.interrupted:
        raise KeyboardInterrupt
    require(summary is None or summary.state == "ended", summary.reason if summary else "")
    problem = next(iter(summary.reasons), "") if summary else ""
    return _measured(group, name, setting, results.trials(), problem)


def _measured(
    group: str, name: str, setting: Mapping[str, Any], frame: pd.DataFrame, problem: str
) -> Tried:
    from bench.report.useful import per_seed

    frame = frame[frame["control"] == ""]
    # Baselines and the undefended target run beside the rows that are judged.
    named = frame[group].str.partition("[")[0] == name
    other = frame["goal"].notna() if group == "defense" else named
    rows = frame[named & other]
    utility = rows["utility"].mean()
    loss = None
    if group == "defense":
        pairs = per_seed(frame)[1]
        paired = pairs[pairs["defense"].str.partition("[")[0] == name]
        loss = None if paired.empty else float(-paired["dU"].mean())
    value = None
    if len(rows) and rows["L"].notna().all() and (group == "attack" or loss is not None):
        if group == "attack":
            value = float(rows["L"].mean())
        else:
            means = rows.groupby(["dataset", "model", "goal", "attack"])["L"].mean()
            value = float(means.groupby(["dataset", "model", "goal"]).max().mean())
    return Tried(
        setting,
        value,
        None if math.isnan(utility) else float(utility),
        loss,
        "" if value is not None else problem or "no L was measured",
    )


def _objective(group: str, tried: Tried) -> float | None:
    """What the sampler is told: L, but of a defense over the budget its loss, above every L."""
    if tried.value is None or group == "attack":
        return tried.value
    assert tried.loss is not None
    return tried.value if tried.loss <= BUDGET + _EXACT else _OVER + tried.loss


def _best(group: str, tried: Sequence[Tried]) -> Tried | None:
    judged = [(goal, t) for t in tried if (goal := _objective(group, t)) is not None]
    if not judged:
        return None
    pick = max if group == "attack" else min
    return pick(judged, key=lambda pair: pair[0])[1]


def _write(tuning: Tuning, trials: int, tune_seed: int) -> None:
    """Record the budget that was spent beside what it tuning."""
    record = {
        "group": tuning.group,
        "name": tuning.name,
        "trials": trials,
        "settings": len(tuning.tried),
        "tune_seed": tune_seed,
        "selection_seeds": list(tuning.seeds),
        "seeds": tuning.planned_seeds,
        "over_budget": tuning.over_budget,
        "best": None if tuning.best is None else dict(tuning.best.setting),
        "tried": [dataclasses.asdict(tried) for tried in tuning.tried],
    }
    tuning.file.parent.mkdir(parents=True, exist_ok=True)
    tuning.file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
