"""One content, three views: text for a terminal, Markdown, and HTML that prints on A4."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bench.contract.errors import UserError
from bench.report.columns import lay_out, pasted

_WHOLE = 23
"""Names shorter than this stay on one line."""


@dataclass(frozen=True)
class Drawn:
    """A cell with a figure: its text, and the interval to draw on [0, 1] against a bar."""

    text: str
    value: float
    lo: float
    hi: float
    bar: float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """A table; a cell is text or :class:`Drawn`."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class Points:
    """A list, numbered where order matters."""

    items: Sequence[str]
    ordered: bool = False


@dataclass(frozen=True)
class Code:
    """A command to paste, as it stands."""

    text: str


Block = str | Table | Points | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """What is to be said.

    Attributes:
        title: of the page. eyebrow: what kind of page it is.
        verdict: a few words, the decision first; ``tone`` is ``good``, ``warn`` or ``bad``.
        lead: one or two sentences under it.
        facts: name and value, shown at the top.
        sections: everything else.
        foot: the last line.
    """

    title: str
    eyebrow: str
    verdict: str
    tone: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    foot: str = ""


def text(document: Document, width: int = 100) -> str:
    """For a terminal: the verdict, the lead, the facts, then the sections.

    Args:
        document: what is to be said.
        width: most letters of a line; only a name that is longer stays whole.
    """
    out = [document.verdict, *_wrapped(document.lead, width), ""]
    longest = max((len(name) for name, _ in document.facts), default=0) + 2
    for name, value in document.facts:
        out += _wrapped(value, width, f"  {name:<{longest}}", " " * (longest + 2))
    out += [""] if document.facts else []
    for section in document.sections:
        out.append(section.title)
        for block in section.blocks:
            out += _lines(block, width)
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def _wrapped(said: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        said,
        width,
        initial_indent=first,
        subsequent_indent=rest or first,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _lines(block: Block, width: int) -> list[str]:
    if isinstance(block, str):
        return _wrapped(block, width, "  ")
    if isinstance(block, Code):
        return [pasted(block.text, width, "    ")]
    if isinstance(block, Points):
        marks = [f"  {i}. " if block.ordered else "  - " for i in range(1, len(block.items) + 1)]
        return [
            line
            for mark, item in zip(marks, block.items, strict=True)
            for line in _wrapped(item, width, mark, " " * len(mark))
        ]
    cells = [[str(c) for c in row] for row in (block.head, *block.rows)]
    return lay_out(cells, width, indent="  ")[0]


def markdown(document: Document, level: int = 1) -> str:
    """For a repository or a model card; headings start at ``level``."""
    sharp = "#" * level
    out = [f"{sharp} {document.title}", ""]
    if document.verdict:
        out += [f"**{document.verdict}** {document.lead}".strip(), ""]
    if document.facts:
        out += [*(f"- {name}: {_plain(value)}" for name, value in document.facts), ""]
    for section in document.sections:
        out += [f"{sharp}# {section.title}", ""]
        for block in section.blocks:
            out += [*_marked(block), ""]
    if document.foot:
        out += [f"*{document.foot}*", ""]
    return "\n".join(out)


def _marked(block: Block) -> list[str]:
    if isinstance(block, str):
        return [_plain(block)]
    if isinstance(block, Code):
        return ["```sh", block.text, "```"]
    if isinstance(block, Points):
        return [
            f"{f'{i}.' if block.ordered else '-'} {_plain(item)}"
            for i, item in enumerate(block.items, 1)
        ]
    rows = [block.head, ["---"] * len(block.head), *block.rows]
    table = [
        f"| {' | '.join(_plain(str(c)).replace('|', chr(92) + '|') for c in row)} |" for row in rows
    ]
    return [*([f"{block.caption}", ""] if block.caption else []), *table]


def _plain(said: str) -> str:
    """Names such as ``dp_sgd`` must not turn into emphasis, nor HTML into elements."""
    return " ".join(said.split()).replace("_", "\\_").replace("*", "\\*").replace("<", "&lt;")


def html(document: Document) -> str:
    """One self-contained page; every value is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kinds = {"str": str, "Table": Table, "Points": Points, "Drawn": Drawn, "Code": Code}

    def kind(value: Any) -> str:
        return next((name for name, of in kinds.items() if isinstance(value, of)), "str")

    environment.filters["kind"] = kind
    environment.filters["soft"] = _soft
    environment.filters["percent"] = lambda v: f"{100 * min(1.0, max(0.0, v)):.2f}"
    return environment.get_template("document.html.j2").render(page=document)


def _soft(said: object) -> Markup:
    """Escaped, with leave to break a long name or a hash where it reads well."""
    if len(str(said)) < _WHOLE:
        return Markup(escape(said))
    text = re.sub(r"(\[(?=[a-z])|[,_;](?=\S))|(\w{16})(?=\w{8})", "\\1\\2\0", str(said))
    return Markup("<wbr>").join(text.split("\0"))


def save(path: Path, content: str) -> None:
    """Write a file whole.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"'{path}' cannot be written: {error.strerror or error}; name another place."
        ) from error
