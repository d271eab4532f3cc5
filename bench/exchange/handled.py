"""Who submitted results, who verified them and what joined them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.exchange import signatures
from bench.exchange.pack import Pack


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
