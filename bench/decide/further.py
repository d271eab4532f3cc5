"""What would have to be run for an answer: commands to paste, each with the time it takes."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contract.access import Access, at_least
from bench.contract.errors import UserError
from bench.decide.candidates import SOUND, Candidate, Question
from bench.decide.evidence import Scenario, Source
from bench.decide.next_steps import more_seeds
from bench.decide.use import seconds
from bench.engine.conf import list_options
from bench.engine.durations import duration
from bench.exchange.pack import Pack
from bench.goals import goals
from bench.report.closure import COUNTED
from bench.report.frame import REGULARISED, UNDEFENDED

_GRID = frozenset(
    {"suite", "dataset", "model", "defense", "attack", "baseline", "base_seed", "victims", "seeds"}
    | {"face_network", "budgets", "streams", "controls", "control_seeds", "standard", "exclude"}
)
"""Settings that say what was measured. Others are of the machine that measured, or would run code
that a pack names."""
_ONE_BY_ONE = "one trial after another, by the recorded times"


@dataclass(frozen=True)
class Run:
    """How evidence was asked for.

    Attributes:
        words: overrides of the grid.
        config_dir: folder with a user's own options.
    """

    words: tuple[str, ...]
    config_dir: Path | None = None


@dataclass(frozen=True)
class ToRun:
    """A run that would tell more.

    Attributes:
        why: what it would tell.
        command: to be pasted into a shell.
        time: what it takes.
    """

    why: str
    command: str
    time: str


def run_of(pack: Pack, config_dir: Path | None = None) -> Run:
    """How a pack was asked for; of a pack from elsewhere only what names no code."""
    words = [str(word) for word in pack.manifest.get("overrides", ())]
    kept = [w for w in words if _root(w) in _GRID and "_target_" not in w and w.isprintable()]
    if not any(_root(word) == "suite" for word in kept):
        kept = [f"suite={pack.suite}", *kept]
    own = pack.manifest.get("config_dir")
    if config_dir is None and own and not pack.digest:
        config_dir = Path(own)
    return Run(tuple(kept), config_dir)


def _root(word: str) -> str:
    return re.split(r"[.=@]", word.lstrip("+~"), maxsplit=1)[0]


def command(run: Run, more: Sequence[str], **changes: str) -> str:
    """A run with some settings changed, as a command.

    Args:
        run: what it is a variation of.
        more: overrides of the user's own, which win.
        changes: settings and their values; of ``dataset``, ``model`` and ``defense`` a list of
            names, which leaves out what the run said of others.
    """
    words, given = [], {_key(word) for word in more}
    for word in run.words:
        key, group = _key(word), _root(word)
        if key in changes or key in given:
            continue
        named = re.findall(r"[^\[\],\s]+", changes.get(group, "")) if "." in key else []
        if group in changes and key.split(".")[1:2] and key.split(".")[1] not in named:
            continue
        words.append(word)
    words += [f"{key}={value}" for key, value in changes.items() if key not in given]
    where = [] if run.config_dir is None else ["--config-dir", str(run.config_dir)]
    return shlex.join(["invbench", "run", *where, *words, *more])


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def to_run(
    sources: Sequence[Source],
    asked: Question,
    rejected: Sequence[Candidate],
    runs: Mapping[str, Run],
    more: Sequence[str] = (),
) -> Iterator[ToRun]:
    """What would tell more where nothing qualifies; nothing is named of a model that was given.

    Args:
        sources: the evidence.
        asked: the question.
        rejected: every defense that was measured.
        runs: how the sources were asked for, by their names.
        more: overrides of the user's own.
    """
    of = asked.scenario
    if any(s.trials(of)["single"].any() for s in sources):
        return  # a campaign on one model is asked for in other words than a grid
    run = _run(runs, next(s for s in sources if len(s.trials(of))))
    measured = {m.goal: m for c in rejected for m in c.measured}
    few = any(m.n_seeds < asked.seeds for m in measured.values())
    for goal, access in asked.goals:
        if goal not in measured:
            yield from _goal(of, goal, access, _narrowed(sources, of, run), run, more)
        elif not few and all(
            "weak_attack" in m.flags for c in rejected for m in c.measured if m.goal == goal
        ):
            yield ToRun(
                f"The standard attacks on {_words(goal)}, as those that ran are too weak",
                command(run, more, standard="true", **_narrowed(sources, of, run)),
                "how long, 'invbench plan' says with the same words",
            )
    if any(goal not in measured for goal, _ in asked.goals):
        return
    yield from _seeds(sources, asked, rejected, few, run, more)
    yield from _attacks(sources, asked, rejected, runs, more)
    if not few and asked.access in COUNTED and all(math.isinf(m.budget) for m in measured.values()):
        spent = 2 * _a_seed(sources, of, {}) * _planned(sources, of, UNDEFENDED)
        yield ToRun(
            "The same with fewer queries, should a cap hold over all accounts of an attacker",
            command(run, more, budgets="[null,100,1000]", **_narrowed(sources, of, run)),
            f"at most about {duration(spent)}, {_ONE_BY_ONE}"
            if math.isfinite(spent)
            else "no time was recorded",
        )


def _run(runs: Mapping[str, Run], source: Source) -> Run:
    return runs.get(source.suite) or Run((f"suite={source.suite}",))


def _narrowed(
    sources: Sequence[Source], of: Scenario, run: Run, *defenses: str
) -> Mapping[str, str]:
    """The scenario alone, as settings; and of its defenses the options of these, if any are named.

    Empty where that cannot be said by names of options, or rules of the run name others.
    """
    if any(_root(word) == "exclude" for word in run.words):
        return {}
    axes = {"dataset": [of.dataset], "model": [of.model]}
    if defenses:
        infos = [s.facts.defenses for s in sources]
        bare = [REGULARISED] if any(REGULARISED in known for known in infos) else []
        of_these = [known[d].family or d for d in defenses for known in infos if d in known]
        axes["defense"] = [UNDEFENDED, *bare, *of_these]
    settings = {}
    for axis, names in axes.items():
        options = dict.fromkeys(name.partition("[")[0] for name in names)
        if not set(options) <= set(list_options(axis, run.config_dir)):
            return {}
        settings[axis] = f"[{','.join(options)}]"
    return settings


def _seeds(
    sources: Sequence[Source],
    asked: Question,
    rejected: Sequence[Candidate],
    few: bool,
    run: Run,
    more: Sequence[str],
) -> Iterator[ToRun]:
    lacking = []
    for c in rejected:
        needed, have = more_seeds(c, asked), min((m.n_seeds for m in c.measured), default=0)
        if needed is not None and needed > have:
            lacking.append((needed, have, c))
    of, planned = asked.scenario, 0
    if lacking:
        needed, have, c = min(lacking, key=lambda entry: entry[0])
        narrowed, planned = _narrowed(sources, of, run, c.defense), _planned(sources, of, c.defense)
        # Some seeds only choose the strongest attack: figures are of those that are left.
        wanted = max(needed, math.ceil(needed * planned / have)) if have else needed
        why = f"the means of {c.defense} keep every bar"
    elif few:
        narrowed, planned = _narrowed(sources, of, run), _planned(sources, of, UNDEFENDED)
        wanted, why = asked.seeds, "fewer tell little of any defense"
    if (not lacking and not few) or wanted <= planned:
        return
    a_seed = _a_seed(sources, of, narrowed)
    time = (
        f"about {duration(a_seed * (wanted - planned))} for the {wanted - planned} seeds that are "
        f"new, {_ONE_BY_ONE}; without this evidence's store, all {wanted} are"
        if math.isfinite(a_seed)
        else "no time was recorded"
    )
    yield ToRun(
        f"{wanted - planned} seeds more: {why}",
        command(run, more, seeds=str(wanted), **narrowed),
        time,
    )


def _planned(sources: Sequence[Source], of: Scenario, defense: str) -> int:
    """Seeds that were run of a defense."""
    tables = (s.trials(of) for s in sources)
    return max(table.loc[table["defense"] == defense, "seed"].nunique() for table in tables)


def _a_seed(sources: Sequence[Source], of: Scenario, narrowed: Mapping[str, str]) -> float:
    """Seconds of one seed of a narrowed grid, one trial after another; of all where it is empty."""
    spent = seconds(sources, of)
    bare = spent.get(UNDEFENDED, 0.0)
    options = re.findall(r"[^\[\],]+", narrowed.get("defense", ""))
    families = {
        name: info.family or name for s in sources for name, info in s.facts.defenses.items()
    }
    rest = [
        each - bare
        for name, each in spent.items()
        if name != UNDEFENDED and (not options or families.get(name) in options)
    ]
    return bare + math.fsum(rest)


def _attacks(
    sources: Sequence[Source],
    asked: Question,
    rejected: Sequence[Candidate],
    runs: Mapping[str, Run],
    more: Sequence[str],
) -> Iterator[ToRun]:
    """What must be met by defenses that only lack attacks, from where these attacks ran."""
    for c in rejected:
        rules = {rule for rule, _ in c.reasons}
        unmet = list(dict.fromkeys(attack for m in c.measured for attack in m.unmet))
        if "not_measured" not in rules or rules - SOUND - {"not_measured"} or not unmet:
            continue
        for source in sources:
            table = source.trials(asked.scenario)
            here = table[table["attack"].isin(unmet)]
            if here.empty:
                continue
            n_seeds = here["seed"].nunique()
            each = here.groupby("attack")["attack_s"].mean().sum()
            run = _run(runs, source)
            narrowed = _narrowed(sources, asked.scenario, run, c.defense)
            yield ToRun(
                f"{', '.join(unmet)} against {c.defense}",
                command(run, more, **narrowed),
                f"about {duration(each * n_seeds)} for these attacks, {_ONE_BY_ONE}",
            )
            return


def _goal(
    of: Scenario,
    goal: str,
    access: Access,
    narrowed: Mapping[str, str],
    run: Run,
    more: Sequence[str],
) -> Iterator[ToRun]:
    """The standard attacks for a goal that was not measured with this access or more."""
    sets = [s for s in goals()[goal].standard if s.modality == of.modality]
    fitting = [s for s in sets if s.access == access] or [
        s for s in sets if at_least(s.access, access)
    ]
    if not fitting:
        return
    names = dict.fromkeys(name for name, _ in fitting[0].members)
    settings = {
        "attack": f"[{','.join(names)}]",
        "attack@baseline": f"[{','.join(goals()[goal].baselines)}]",
        "standard": "true",
        **narrowed,
    }
    yield ToRun(
        f"{_words(goal).capitalize()} with {access}, which was not measured",
        command(run, more, **settings),
        "how long, 'invbench plan' says with the same words",
    )


def _words(goal: str) -> str:
    return goal.replace("_", " ")


def check_model(
    sources: Sequence[Source],
    runs: Mapping[str, Run],
    dataset: str,
    model: str,
    more: Sequence[str] = (),
) -> None:
    """Say how a model that the evidence lacks is measured.

    Raises:
        UserError: it lacks it, and there is such a model.
    """
    have = sorted({str(row.model) for s in sources for row in s.boards.rows.itertuples()})
    run = _run(runs, sources[0])
    if not model or model in have or model not in list_options("model", run.config_dir):
        return
    places = {(str(row.dataset), str(row.model)) for row in sources[0].boards.rows.itertuples()}
    like = [Scenario(*place, "", "") for place in sorted(places) if dataset in ("", place[0])]
    if not like:
        return
    of = max(like, key=lambda place: _a_seed(sources, place, {}))
    narrowed = _narrowed(sources, of, run)
    settings = {**(narrowed if dataset else {}), "model": f"[{model}]"}
    time = _a_seed(sources, of, {}) * _planned(sources, of, UNDEFENDED)
    raise UserError(
        f"The evidence has no model '{model}', only {', '.join(have)}. Where it fits such data, "
        f"which 'invbench ls models --for dataset={of.dataset}' says, measure it: "
        f"{command(run, more, **settings)} (about {duration(time)} by the times of {of.model} on "
        f"{of.dataset}, one trial after another)."
    )
