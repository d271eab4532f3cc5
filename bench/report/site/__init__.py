"""A static site of a suite's boards: it opens from disk and needs no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from bench.contract.errors import require
from bench.contract.packages import require_package
from bench.contract.record import TrialRecord
from bench.report import answers, audits, boards, families, figures, frame, tables
from bench.report.answers import Answers, Ask
from bench.report.boards import FLAGS
from bench.report.closure import by_board, slugs, unique
from bench.report.coverage import LOST
from bench.report.facts import Facts
from bench.report.latex import Columns
from bench.report.names import Names
from bench.report.site import board, components, files, index, methods, render
from bench.report.site import publication as published
from bench.report.site.publication import Public, Publication
from bench.report.site.suite import Suite, choose
from bench.report.site.tuning import summaries, tuning

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Site:
    """A site that was written.

    Attributes:
        page: its front page.
        boards: what it shows.
        trials: how many trials it rests on.
        lacking: what was planned and is not there, in a sentence; empty: everything is there.
    """

    page: Path
    boards: boards.Boards
    trials: int
    lacking: str


def write(
    records: Iterable[TrialRecord],
    galleries: Mapping[str, bytes],
    suite: str,
    out: Path,
    provenance: Mapping[str, Any],
    names: Names | None = None,
    drawn: bool = False,
    planned: Mapping[str, str] | None = None,
    columns: Columns = "1",
    ask: Ask = answers.none,
    publication: Publication | None = None,
) -> Site:
    """Write the site and its tables.

    ``index.html``, ``methods.html``, a page per board, defense and attack, what they draw with in
    ``assets``, and to be downloaded ``leaderboard.csv``, ``.md`` and ``.tex``, ``trials.csv`` and
    ``.parquet``, ``tuned.csv`` (the setting that a tuner would pick of every defense) and
    ``audit.csv`` (who was noticed); the last two have their header alone where there is nothing
    to say. ``site.json`` lists the files: those of an older report that are not among them are
    removed.

    Equal arguments give equal bytes, whatever the order of the records, but for ``changes.html``,
    ``feed.xml`` and ``boards.json``: they say what changed since the report that was there before.
    Each file is replaced whole or not at all.

    Args:
        records: trials of one suite, read once.
        galleries: PNG strips by trial identity, truth above reconstruction; shown only for data
            whose records say they are publishable.
        suite: name of the suite.
        out: folder to write to, made if it is missing.
        provenance: what to print about the run: ``command``, ``planned``, ``skipped`` (each with
            ``what``, ``reason``, ``count``), ``git_commit`` and anything else worth knowing.
        names: what people call options; None: nothing is known of them.
        drawn: also draw each board for papers, as ``figures/BOARD.svg``, ``.pdf`` and ``.png``.
        planned: identity to cell of every planned trial; those without a record are stated, and
            flag the rows they belong to. None: nothing is known of a plan.
        columns: where LaTeX tables are to stand, see :data:`bench.report.latex.LAYOUTS`.
        ask: works out which defense each deployment should take.
        publication: who publishes the report and where; None: nothing is said of it.

    Raises:
        UserError: there is nothing to report, the records do not belong on one board, or the
            folder cannot be written, or a package is not installed.
    """
    require_packages(drawn)
    table, facts = frame.read(records, suite, planned)
    lacking = facts.coverage.sentence
    found = boards.build(table)
    tuned, audited = families.tuned(table), audits.build(table)
    pictures, images = _pictures(facts, table, galleries)
    drawings = figures.files(found, table) if drawn else {}
    paper = {f"figures/{name}": data for name, data in drawings.items()}
    whole = _suite(suite, table, facts, found, tuned, pictures, provenance, paper, names or Names())
    titles = {key: whole.title(key) for key in whole.ids}
    downloads = _tables(table, found, tuned, audited, suite, lacking)
    public = published.public(publication or Publication(), facts.last, downloads["trials.csv"])
    made: dict[str, str | bytes] = {
        "assets/plotly.min.js": render.plotly(),
        "assets/site.js": render.script(),
        "assets/style.css": render.style(),
        **images,
        **paper,
        **downloads,
        "trials.parquet": tables.trials_parquet(table),
        "leaderboard.tex": tables.leaderboard_tex(found, suite, lacking, columns, titles),
        **dict(_published(whole, public, published.last(out))),
        **dict(pages(whole, public, tuned, audited, ask(table, facts, found))),
    }
    files.put(
        out,
        {
            name: data if isinstance(data, bytes) else data.encode("utf-8", "backslashreplace")
            for name, data in made.items()
        },
    )
    return Site(out / "index.html", found, int((table["status"] != LOST).sum()), lacking)


def require_packages(drawn: bool = False) -> None:
    """Look for what :func:`write` needs, before hours of work that end with it.

    Args:
        drawn: whether boards are drawn for papers too.

    Raises:
        UserError: a package is not installed.
    """
    for package in ("plotly", *(("matplotlib",) if drawn else ())):
        require_package(package, "site", "Writing a report")


def _published(
    suite: Suite, public: Public, before: Mapping[str, Any]
) -> Iterable[tuple[str, str]]:
    """What makes the report something to cite: badges, what changed, a feed, a list of boards."""
    boards_now = published.listed(suite, public.version, before)
    titles = {name: told["title"] for name, told in boards_now["boards"].items()}
    changes = [published.summary(change, titles) for change in boards_now["changes"]]
    shared = {"suite": suite.name, "changes": changes, "root": "", "version": public.version}
    yield published.LIST, json.dumps(boards_now, indent=1, ensure_ascii=False) + "\n"
    yield "changes.html", render.page("changes.html", {**shared, "least": published.MOVED})
    feed = {"updated": suite.facts.last, "authors": public.of.authors, "url": public.of.url}
    yield "feed.xml", render.page("feed.xml", {**shared, **feed})
    for key, rows in suite.boards:
        yield f"boards/{suite.ids[key]}.svg", render.page("badge.svg", published.badge(rows))


def pages(
    suite: Suite, public: Public, tuned: pd.DataFrame, audited: pd.DataFrame, answered: Answers
) -> Iterable[tuple[str, str]]:
    """Name and text of every page and of the tables beside boards.

    The front page is last: it leads to pages that are there.
    """

    def label(group: str, name: str, brief: bool = False) -> Markup:
        return render.label(*suite.parts(group, name, brief), name)

    shared = {
        "suite": suite.name,
        "meaning": families.FLAGS | FLAGS,
        "label": label,
        "called": suite.called,
        "version": public.version,
    }
    attacks = by_board(suite.boards.attacks)
    seeds = by_board(suite.boards.seeds)
    for key, rows in suite.boards:
        values = board.page(suite, public, key, rows, attacks[key])
        yield (
            f"boards/{suite.ids[key]}.html",
            render.page("board.html", {**shared, **values, "root": "../"}),
        )
        finished = seeds.get(key, suite.boards.seeds.iloc[:0])
        yield f"boards/{suite.ids[key]}.csv", tables.board_csv(suite.boards, key, suite.name)
        for name, table in (("attacks", attacks[key]), ("seeds", finished)):
            yield f"boards/{suite.ids[key]}-{name}.csv", tables.csv(table, suite.name)
    for kind, known, view in (
        ("defenses", suite.defenses, components.defense),
        ("attacks", suite.attacks, components.attack),
    ):
        for family, name in known.items():
            values = view(suite, family)
            text = render.page(f"{kind}.html", {**shared, **values, "root": "../"})
            yield f"{kind}/{name}.html", text
    yield (
        "methods.html",
        render.page("methods.html", {**shared, **methods.page(suite, tuned, audited), "root": ""}),
    )
    lists = {kind: components.listed(suite, kind) for kind in ("defenses", "attacks")}
    values = {
        **shared,
        **index.page(suite, answered),
        **lists,
        "cite": public.cite(suite),
        "root": "",
    }
    yield "index.html", render.page("index.html", {**values, "root": ""})


def _suite(
    name: str,
    table: pd.DataFrame,
    facts: Facts,
    found: boards.Boards,
    tuned: pd.DataFrame,
    pictures: Mapping[tuple[str, ...], Mapping[str, Any]],
    given: Mapping[str, Any],
    paper: Iterable[str],
    names: Names,
) -> Suite:
    trials = table[table["control"] == ""]
    family = dict(zip(trials["defense"], trials["family"], strict=True))
    attack_family = dict(zip(trials["attack"], trials["attack_family"], strict=True))
    drawn = by_board(families.curves(found, table))
    several = {key: bool(rows["family"].duplicated().any()) for key, rows in drawn.items()}
    return Suite(
        name=name,
        frame=table,
        facts=facts,
        boards=found,
        given=given,
        tuning=tuning(several, tuned),
        families=summaries(families.summaries(found, table, tuned)) if len(tuned) else {},
        pictures={key: dict(value) for key, value in pictures.items()},
        ids=slugs(key for key, _ in found),
        defenses=_slugs(family.values()),
        attacks=_slugs(attack_family.values()),
        family=family,
        attack_family=attack_family,
        figures=tuple(paper),
        names=names,
        chosen=choose(found, family, tuned),
    )


def _slugs(names: Iterable[str]) -> dict[str, str]:
    return unique({name: name for name in sorted(names)}, "unnamed")


def _tables(
    table: pd.DataFrame,
    found: boards.Boards,
    tuned: pd.DataFrame,
    audited: pd.DataFrame,
    suite: str,
    lacking: str,
) -> dict[str, str]:
    return {
        "trials.csv": tables.trials_csv(table),
        "columns.csv": tables.columns_csv(),
        "leaderboard.csv": tables.leaderboard_csv(found, suite),
        "leaderboard.md": tables.leaderboard_md(found, tuned, suite, lacking),
        "tuned.csv": tables.csv(tuned, suite),
        "audit.csv": tables.csv(audited, suite),
    }


def _pictures(
    facts: Facts, table: pd.DataFrame, galleries: Mapping[str, bytes]
) -> tuple[dict[tuple[str, ...], dict[str, Any]], dict[str, bytes]]:
    """The lowest seed's picture of each (data set, model, defense, attack), and its files."""
    trials = table[table["trial_id"].isin(list(galleries))]
    trials = trials[trials["dataset"].isin(list(facts.showable))].sort_values("seed")
    shown: dict[tuple[str, ...], dict[str, Any]] = {}
    kept: dict[str, bytes] = {}
    for row in trials.drop_duplicates(["dataset", "model", "defense", "attack"]).to_dict("records"):
        data = galleries[row["trial_id"]]
        require(
            data.startswith(_PNG) and len(data) > 24,
            f"The picture of trial {row['trial_id']} is no PNG file; re-run the trial.",
        )
        name = f"pictures/{hashlib.sha256(data).hexdigest()[:20]}.png"
        kept[name] = data
        shown[row["dataset"], row["model"], row["defense"], row["attack"]] = {
            "file": name,
            "seed": row["seed"],
            "width": int.from_bytes(data[16:20], "big"),
            "height": int.from_bytes(data[20:24], "big"),
        }
    return shown, dict(sorted(kept.items()))
