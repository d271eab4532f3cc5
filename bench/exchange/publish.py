"""Results written as a site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.engine.conf import list_options
from bench.engine.provenance import provenance
from bench.exchange import signatures
from bench.exchange.pack import Pack
from bench.report import site
from bench.report.latex import Columns
from bench.report.site import Site


def write(
    results: Pack,
    out: Path,
    drawn: bool = False,
    config_dir: Path | None = None,
    signers: Path | None = None,
    columns: Columns = "1",
) -> Site:
    """Write the site of a pack.

    Args:
        results: records and where they come from.
        out: folder to write to.
        drawn: also draw each board for papers.
        config_dir: a user's own options; by default the folder of the run, if it is here.
        signers: file of allowed signers; None: the one that ``INVBENCH_SIGNERS`` names, if any.
        columns: where LaTeX tables are to stand, see :data:`bench.report.latex.LAYOUTS`.

    Raises:
        UserError: its records may not share boards, or the folder cannot be written.
    """
    folder = Path(results.manifest.get("config_dir") or "")
    own = config_dir or (folder if folder.is_absolute() and folder.is_dir() else None)
    about = {
        f"{kind}s/{name}": text
        for kind in ("defense", "attack")
        for name, text in list_options(kind, own).items()
    }
    history = {name: text for name, text in handled(results, signers).items() if text}
    return site.write(
        results.records,
        results.pictures,
        results.suite,
        out,
        provenance(results.manifest) | history,
        about,
        drawn,
        results.manifest["trials"],
        columns,
    )


def handled(results: Pack, signers: Path | None = None) -> dict[str, str]:
    """Who submitted, who verified and what joined, in sentences; empty where nobody did.

    What a pack merely says of itself, anybody could have typed: that is called a claim. Only a
    signature of an allowed signer is more.

    Args:
        results: one pack, or several together.
        signers: file of allowed signers; None: the one that ``INVBENCH_SIGNERS`` names, if any.

    Raises:
        UserError: there are signatures, and no ``ssh-keygen`` or no such file to check them by.
    """
    notes: Mapping[str, Mapping[str, Any]] = results.notes.get("parts") or {
        results.suite: results.notes
    }
    members = results.members or (results,) * len(notes)
    allowed = signatures.signers_file(signers)
    lines: dict[str, list[str]] = {"submitted": [], "verified": [], "joined by": []}
    for (suite, note), member in zip(notes.items(), members, strict=True):
        head = f"{suite}: " if len(notes) > 1 else ""
        signed = signatures.attestations(member, allowed)
        made, again = ([a for a in signed if a.role == role] for role in ("made", "ran again"))
        lines["submitted"] += [head + text for text in _submitter(note)]
        lines["submitted"] += [head + a.sentence for a in made]
        claims = [] if any(a.trusted for a in again) else _verifier(note)
        lines["verified"] += [head + text for text in claims]
        lines["verified"] += [f"{head}{a.sentence}: {a.outcome}" for a in again]
        for more in note.get("submissions", ()):
            who = "; ".join(_submitter(more)) or "somebody"
            checked = [f"checked {text}" for text in _verifier(more)]
            unmet = "".join(f"; {text}" for text in more.get("unmet", ()))
            lines["joined by"].append(
                f"{head}{more['joined']} trials of {more['suite']} (pack {more['digest'][:16]}), "
                f"{who}; {'; '.join(checked) or 'nobody ran a sample of it again'}{unmet}"
            )
    return {name: ". ".join(texts) for name, texts in lines.items()}


def _submitter(notes: Mapping[str, Any]) -> Iterator[str]:
    if notes.get("submitter"):
        yield f"by {notes['submitter']}" + (f" ({notes['note']})" if notes.get("note") else "")


def _verifier(notes: Mapping[str, Any]) -> list[str]:
    claim = notes.get("verification")
    if not claim:
        return []
    by, when, words = (str(claim.get(key, "")) for key in ("by", "utc", "said"))
    return [f"by {by} on {when[:10]} (claimed, not signed): {words}"]
