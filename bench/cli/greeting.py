"""What ``invbench`` says alone: what it is, what is here, what to do next. It has to be quick."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench import __version__
from bench.cli.printing import paste, wrapped

if TYPE_CHECKING:
    from bench.api import Progress

_COLUMN = 28


def greet() -> None:
    """Greet, by the state of the folder in which the command is given."""
    from bench.contract.documents import read_yaml
    from bench.engine.conf import config_dir

    # Composing the settings takes a second; the defaults of these two stand in the file.
    settings = read_yaml(config_dir() / "config.yaml", "Settings")
    store, reports = Path(settings["store"]), Path(settings["report_dir"])
    wrapped(
        f"Inversion Bench {__version__} trains models behind defenses, attacks them, and says how "
        "much each defense keeps attackers from learning about the training data, and at what cost."
    )
    click.echo()
    run = _newest(store)
    page = _page(reports)
    if run is None:
        click.echo(f"Nothing has been run here yet (no run in '{store}').")
    else:
        _tell(run)
    if page is not None:
        click.echo(f"Report: {page}  (open it in a browser)")
    click.echo("\nNext:")
    for command, text in _steps(run, reports):
        _step(command, text)


def _tell(run: Progress) -> None:
    ended = f"{run.done + run.failed + run.skipped} of {run.planned} trials have ended"
    failed = f", {run.failed} failed" if run.failed else ""
    if run.unfinished:
        wrapped(f"The newest run, '{run.suite}', is not finished: {ended}{failed}. Go on with it:")
        paste(run.command, "  ")
    elif run.state == "running":
        wrapped(f"A run goes on: '{run.suite}', {ended}{failed}.")
    else:
        wrapped(f"The newest run, '{run.suite}': {ended}{failed}.")


def _steps(run: Progress | None, reports: Path) -> list[tuple[str, str]]:
    first = (
        (
            "invbench run suite=smoke",
            "compare nine defenses on three embedded data sets: 5 to 7 minutes on two cores, no "
            "data to fetch",
        )
        if run is None
        else ("invbench status", "what runs have done, with their commands")
    )
    return [
        first,
        (
            f"invbench recommend {_evidence(run, reports)} --access scores --tier T2",
            "which defense, where customers see scores and the data is of tier T2",
        ),
        ("invbench redteam --help", "attack a model that you have"),
        ("invbench ls", "what can be compared: data sets, models, defenses, attacks, suites"),
        ("invbench --help", "all verbs"),
    ]


def _evidence(run: Progress | None, reports: Path) -> str:
    """Evidence that is here, with the model and its data where it is of several."""
    for table in sorted((reports / "published").glob("*/leaderboard.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.get("access") == "scores":
                    place = f"--dataset {row['dataset']} --model {row['model']}"
                    return f"{table.parent} {place}"
    return "PACK" if run is None else run.suite


def _step(command: str, text: str) -> None:
    if len(command) < _COLUMN - 2:
        wrapped(text, f"  {command:<{_COLUMN - 2}}")
    else:
        paste(command, "  ")
        wrapped(text, " " * _COLUMN)


def _newest(store: Path) -> Progress | None:
    """The newest run of a store."""
    if not store.is_dir() or not any(store.iterdir()):
        return None
    from bench.api.history import progress
    from bench.engine.store import Store

    manifest = next(iter(Store(store).executions()), None)
    return None if manifest is None else progress(manifest)


def _page(reports: Path) -> Path | None:
    """The report that was written last."""
    pages = [path for path in reports.glob("*/index.html") if path.parent.name != "published"]
    return max(pages, key=lambda path: path.stat().st_mtime, default=None)
