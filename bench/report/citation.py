"""How a board or a whole suite is cited."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from urllib.parse import quote

from bench.report.latex import escaped

_DIGITS = 12
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
_IN_URL = ":/?#[]@!$&'()*+,;=-._~%"


def bibtex(
    title: str,
    version: str,
    date: dt.date,
    authors: Sequence[str],
    url: str | None,
    digest: str,
) -> str:
    """An entry for BibTeX, in UTF-8, of a board or of a whole suite.

    Args:
        title: what it is called.
        version: of the suite or of the pack.
        date: when it was published.
        authors: people as ``First Last`` or ``Last, First``; a group as ``{The Group}``.
        url: where it stands; None: nowhere yet.
        digest: of the records, in full: it tells whether two people cite the same figures.
    """
    words = re.findall(r"[a-z0-9]+", title.lower())
    edition = f"version {_value(version)}, records {_value(digest[:_DIGITS])}"
    fields = {
        "title": f"{{{{{_value(title)}}}}}",
        "author": f"{{{' and '.join(map(_author, authors))}}}" if authors else "",
        "year": f"{{{date.year}}}",
        "month": _MONTHS[3 * date.month - 3 : 3 * date.month],
        "version": f"{{{_value(version)}}}",
        "note": f"{{Inversion Bench, {edition}}}",
        "url": f"{{{quote(url, safe=_IN_URL)}}}" if url else "",
        "digest": f"{{{_value(digest)}}}",
    }
    key = "-".join(["invbench", *words[:4], digest[:8]])
    lines = [f"  {name} = {value}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"]) + "\n"


def _author(person: str) -> str:
    """A person, or a group in braces, whose name BibTeX takes as it is."""
    group = re.fullmatch(r"\{(.*)\}", person)
    if group or re.search(r"\sand\s", person):
        return f"{{{_value(group[1] if group else person)}}}"
    return _value(person)


def _value(text: str) -> str:
    """Text in a field: BibTeX counts braces even where LaTeX shows them."""
    shown = escaped(text)
    return shown.replace(r"\{", r"\textbraceleft{}").replace(r"\}", r"\textbraceright{}")
