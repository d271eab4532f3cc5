"""Write boards as a site, and close a run's tracking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.contract.record import TrialRecord
from bench.engine.execution import Execution, provenance
from bench.engine.store import Store
from bench.engine.tracking import picture

if TYPE_CHECKING:
    from bench.exchange.pack import Pack
    from bench.report.site import Site


def publish(done: Execution) -> Site | None:
    """The report of a run, and its end in MLflow; None: nothing has ended."""
    from bench.exchange.pack import Pack
    from bench.report.boards import summary

    settings, manifest, records = done.grid.settings, done.manifest, done.outcome.records
    site: Site | None = None
    if records:
        shown = pictures(Store(settings.store), records)
        found = Pack(settings.suite, records, manifest, shown)
        site = write(found, settings.report_dir / settings.suite)
    if done.sink is not None:
        done.sink.close(manifest, summary(site.boards) if site else {})
        if done.sink.problem:
            click.echo(
                f"MLflow did not take the run ({done.sink.problem}); the store has everything: "
                f"'invbench sync suite={settings.suite}' uploads it later.",
                err=True,
            )
    return site


def write(found: Pack, out: Path, drawn: bool = False, config_dir: Path | None = None) -> Site:
    """Write the site of a pack.

    Args:
        found: records and where they come from.
        out: folder to write to.
        drawn: also draw each board for papers.
        config_dir: a user's own options; by default the folder of the run, if it is here.

    Raises:
        UserError: its records may not share boards, or the folder cannot be written.
    """
    from bench.engine.config import list_options
    from bench.report import site

    folder = Path(found.manifest.get("config_dir") or "")
    own = config_dir or (folder if folder.is_absolute() and folder.is_dir() else None)
    about = {
        f"{kind}s/{name}": text
        for kind in ("defense", "attack")
        for name, text in list_options(kind, own).items()
    }
    given = provenance(found.manifest) | {k: v for k, v in _said_since(found).items() if v}
    return site.write(
        found.records, found.pictures, found.suite, out, given, about, drawn,
        found.manifest["trials"],
    )  # fmt: skip


def pictures(store: Store, records: Iterable[TrialRecord]) -> dict[str, bytes]:
    """Pictures that may be shown, by trial."""
    found = {r.trial_id: picture(store, r) for r in records}
    return {key: data for key, data in found.items() if data is not None}


def _said_since(found: Pack) -> dict[str, str]:
    """Who submitted and who verified what, in sentences; empty where nobody did."""
    parts: Mapping[str, Mapping[str, Any]] = found.notes.get("parts") or {found.suite: found.notes}
    several = len(parts) > 1
    out: dict[str, list[str]] = {"submitted": [], "verified": [], "joined by": []}
    for suite, notes in parts.items():
        of = f"{suite}: " if several else ""
        out["submitted"] += [of + text for text in _submitter(notes)]
        out["verified"] += [of + text for text in _verifier(notes)]
        for more in notes.get("submissions", ()):
            who = "; ".join(_submitter(more)) or "somebody"
            checked = [f"checked {text}" for text in _verifier(more)]
            unmet = "".join(f"; {text}" for text in more.get("unmet", ()))
            out["joined by"].append(
                f"{of}{more['joined']} trials of {more['suite']} (pack {more['digest'][:16]}), "
                f"{who}; {'; '.join(checked) or 'nobody ran a sample of it again'}{unmet}"
            )
    return {name: ". ".join(lines) for name, lines in out.items()}


def _submitter(notes: Mapping[str, Any]) -> Iterator[str]:
    if notes.get("submitter"):
        yield f"by {notes['submitter']}" + (f" ({notes['note']})" if notes.get("note") else "")


def _verifier(notes: Mapping[str, Any]) -> Iterator[str]:
    said = notes.get("verification")
    if said:
        yield f"by {said['by']} on {said['utc'][:10]}: {said['said']}"
