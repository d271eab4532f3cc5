"""Results written as a site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.decide import policy
from bench.decide.answers import answers
from bench.decide.evidence import Source
from bench.engine.conf import list_options
from bench.engine.provenance import provenance
from bench.exchange.handled import handled
from bench.exchange.pack import Pack
from bench.report import site
from bench.report.answers import Answers
from bench.report.boards import Boards
from bench.report.facts import Facts
from bench.report.latex import Columns
from bench.report.names import Names
from bench.report.site import Site
from bench.report.site.publication import Publication


def write(
    results: Pack,
    out: Path,
    drawn: bool = False,
    config_dir: Path | None = None,
    signers: Path | None = None,
    columns: Columns = "1",
    authors: Sequence[str] = (),
    licence: str = "",
    url: str = "",
) -> Site:
    """Write the site of a pack.

    Args:
        results: records and where they come from.
        out: folder to write to.
        drawn: also draw each board for papers.
        config_dir: a user's own options; by default the folder of the run, if it is here.
        signers: file of allowed signers; None: the one that ``INVBENCH_SIGNERS`` names, if any.
        columns: where LaTeX tables are to stand, see :data:`bench.report.latex.LAYOUTS`.
        authors: of the report; none: who submitted the pack, if it says so.
        licence: of its pages and figures.
        url: address at which the folder will be found.

    Raises:
        UserError: its records may not share boards, or the folder cannot be written.
    """
    folder = Path(results.manifest.get("config_dir") or "")
    own = config_dir or (folder if folder.is_absolute() and folder.is_dir() else None)
    names = Names(
        {
            (group, name): heading
            for group in ("dataset", "model", "defense", "attack")
            for name, heading in list_options(group, own).items()
        }
    )

    def answered(table: pd.DataFrame, facts: Facts, boards: Boards) -> Answers:
        source = Source(results.suite, table, facts, boards, results.digest, results.notes)
        return answers(source, policy.load("default"))

    history = {name: text for name, text in handled(results, signers).items() if text}
    return site.write(
        results.records,
        results.pictures,
        results.suite,
        out,
        provenance(results.manifest) | history,
        names,
        drawn,
        results.manifest["trials"],
        columns,
        answered,
        Publication(tuple(authors or _submitters(results)), licence, url, _packs(results)),
    )


def _submitters(results: Pack) -> list[str]:
    notes = results.notes.get("parts", {"": results.notes}).values()
    return list(dict.fromkeys(str(note["submitter"]) for note in notes if note.get("submitter")))


def _packs(results: Pack) -> dict[str, str]:
    """By trial, the pack that it is in; from here where that is below, else by its name."""
    here = Path.cwd()
    places: dict[str, str] = {}
    for member in results.members or (results,):
        if member.place:
            path = Path(member.place).absolute()
            shown = path.relative_to(here) if path.is_relative_to(here) else Path(path.name)
            places |= dict.fromkeys(member.manifest["trials"], shown.as_posix())
    return places
