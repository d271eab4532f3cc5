"""Where work is started: plan, run, evaluate."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.errors import require

if TYPE_CHECKING:
    from bench.api.in_memory import Results, RunSummary
    from bench.contract import Component
    from bench.engine.config import Grid
    from bench.engine.driving.work import Work
    from bench.engine.execution import Execution
    from bench.engine.graph import Plan

Words = Sequence[str]


@dataclass(frozen=True)
class Forecast:
    """What a run would do.

    Attributes:
        grid: the composed suite.
        plan: its nodes and trials, and what is left out.
        work: what the store lacks of it.
        seconds: what the remaining nodes took by earlier records, one after the other.
        unknown: nodes of which no earlier record tells how long they take.
        slots: how many nodes run at once.
    """

    grid: Grid
    plan: Plan
    work: Work
    seconds: float
    unknown: int
    slots: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of nodes, in the order in which they run."""
        from bench.engine.graph import KINDS

        return KINDS


def plan(words: Words = (), config_dir: Path | None = None) -> Forecast:
    """What a run would do, without doing it.

    Raises:
        UserError: an override or option is wrong, or nothing is left to run.
    """
    from bench.engine.backends import slots_of
    from bench.engine.driving.pace import expected, history
    from bench.engine.driving.work import remaining
    from bench.engine.execution import prepare
    from bench.engine.store import Store

    grid, planned = prepare(words, config_dir)
    store = Store(grid.settings.store)
    work = remaining(planned, store, grid.settings.rerun)
    todo = [planned.nodes[key] for key in work.todo]
    seconds, unknown = expected(todo, history(store)) if todo else (0.0, 0)
    return Forecast(grid, planned, work, seconds, unknown, slots_of(grid.settings))


def run(words: Words = (), config_dir: Path | None = None, report: bool = True) -> Results:
    """Run a suite: train, attack, record, write the report.

    What is recorded already is not computed again. May be called from any thread; in the main
    thread a polite kill (SIGTERM) stops it as Ctrl-C does, and what is recorded is kept.

    Args:
        words: overrides.
        config_dir: a folder with a user's own options.
        report: whether to write the site; a search runs many grids that nobody reads.

    Raises:
        UserError: an override or option is wrong, or nothing is left to run.
    """
    from bench.engine.execution import prepare

    grid, planned = prepare(words, config_dir)
    place = grid.settings.report_dir / grid.settings.label if report else None
    return run_planned(grid, planned, config_dir, place)


def run_planned(grid: Grid, planned: Plan, config_dir: Path | None, report: Path | None) -> Results:
    """Run a plan of a composed grid.

    Args:
        grid: with its settings.
        planned: what to run.
        config_dir: a folder with a user's own options.
        report: folder of the site to write; None: none is written.

    Raises:
        UserError: the back end or the store cannot be used, or a package is not installed.
    """
    from bench.api.in_memory import Results
    from bench.api.publish import write
    from bench.engine.execution import execute
    from bench.engine.store import Store
    from bench.exchange.pack import Pack
    from bench.exchange.records import Records
    from bench.exchange.sources import pictures
    from bench.report.site import require_packages

    if report is not None:
        require_packages()
    done = execute(grid, planned, config_dir)
    outcome = done.outcome
    records = Records(outcome.read) if report is not None else outcome.records
    pack = Pack(
        grid.settings.label,
        records,
        done.manifest,
        pictures(Store(grid.settings.store), records),
    )
    site = (
        write(pack, report, config_dir=config_dir)
        if outcome.statuses and report is not None
        else None
    )
    untracked = ""
    if done.sink is not None:
        done.sink.close(done.manifest, site.page.parent if site else None)
        untracked = done.sink.problem or ""
    return Results(pack, _summary(done, untracked), site)


def _summary(done: Execution, untracked: str) -> RunSummary:
    from bench.api.in_memory import RunSummary

    outcome = done.outcome
    return RunSummary(
        label=done.grid.settings.label,
        trials=len(done.plan.trials),
        ended=dict(Counter(outcome.statuses.values())),
        computed=dict(outcome.computed),
        cached=outcome.cached,
        left_out=done.plan.skipped,
        reasons=dict(outcome.reasons.most_common()),
        set_aside=tuple(outcome.set_aside),
        state=outcome.state,
        reason=outcome.reason,
        elsewhere=outcome.elsewhere,
        losses=dict(outcome.losses.most_common()),
        machines=dict(outcome.machines),
        left_open=dict(outcome.left_open),
        untracked=untracked,
        wall_s=done.wall_s,
        log=done.log,
    )


def evaluate(
    attack: Any,
    defense: Any = "none",
    dataset: Any = "diabetes",
    model: Any = "mlp",
    *,
    prior: Component | None = None,
    seeds: int = 1,
    words: Words = (),
    config_dir: Path | None = None,
    store: Path | None = None,
) -> Results:
    """Run attacks on deployments that are given as objects, in this process.

    Args:
        attack: an object of a class that subclasses :class:`bench.contract.Attack`, the name of an
            option, or several of these.
        defense: the same of a defense; ``none`` is the undefended target.
        dataset: the same of a data set.
        model: the same of a model.
        prior: what the attacks that are given as objects learn from; None: what the option of the
            same class names, if there is one.
        seeds: independently split and trained targets.
        words: further overrides, such as ``data_root=DIR`` or ``victims=200``.
        config_dir: a folder with a user's own options.
        store: where to keep results, so that another call finds them; None: nowhere.

    Returns:
        Its trials and boards: ``evaluate(...).trials()``.

    Raises:
        UserError: something is no component, nothing fits together, or results of a class that
            does not stand at the top of a module in a file were to be kept.
    """
    from bench.engine.config import compose_grid
    from bench.engine.lend import kept, lent, option, packages_of
    from bench.engine.plan import make_plan

    given = {
        "dataset": _listed(dataset),
        "model": _listed(model),
        "defense": _listed(defense),
        "attack": _listed(attack),
    }
    objects = [part for parts in given.values() for part in parts if not isinstance(part, str)]
    objects += [] if prior is None else [prior]
    homeless = next((part for part in objects if not kept(part)), None)
    require(
        store is None or homeless is None,
        f"The code of {type(homeless).__name__} has no file of its own, so that its results cannot "
        "be told from those of its next version; leave out store=, or write the class to a module.",
    )
    named = {group: [p for p in parts if isinstance(p, str)] for group, parts in given.items()}
    choices = [f"{group}=[{','.join(names)}]" for group, names in named.items() if names]
    quiet = ["controls=[]", "backend=local", "tracking=none", f"seeds={seeds}"]
    with tempfile.TemporaryDirectory() as folder, lent(objects):
        place = f"store='{store or folder}'"
        grid = compose_grid([*quiet, *choices, place, *words], config_dir)
        own = {
            group: tuple(
                option(part, group, _prior(part, prior, config_dir) if group == "attack" else None)
                for part in parts
                if not isinstance(part, str)
            )
            for group, parts in given.items()
        }
        options = {
            group: (rows if named.get(group) else ()) + own.get(group, ())
            for group, rows in grid.options.items()
            if group in given
        }
        plugins = [*grid.settings.plugins, *packages_of(objects)]
        settings = grid.settings.model_copy(update={"plugins": plugins})
        grid = replace(grid, settings=settings, options={**grid.options, **options})
        results = run_planned(grid, make_plan(grid), config_dir, report=None)
    return results


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _prior(attack: Component, prior: Component | None, config_dir: Path | None) -> Any:
    """What an attack learns from: as given, or as the option of its class says."""
    from bench.engine.components import build
    from bench.engine.conf import option_of_class
    from bench.engine.lend import name_of

    if prior is not None:
        return prior
    option = option_of_class("attack", name_of(type(attack)), config_dir)
    config = option.get("prior") if option else None
    return build(config, f"attack {type(attack).__name__}, prior") if config else None
