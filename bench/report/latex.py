"""Boards as LaTeX tables for papers: plain pdflatex and ``booktabs``; the same bytes each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.contract.names import words
from bench.report import certainty
from bench.report.boards import FLAGS, BoardKey, Boards
from bench.report.closure import slugs
from bench.report.frame import dicts, flags_of
from bench.report.text import allowed, estimate, number, resting

ROWS = 45
"""Rows that fit on a page; longer boards go on in another table."""
_MARKS = (r"\dagger", r"\ddagger", r"\S", r"\P", r"\|", r"\ast")
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
}
_HEAD = (
    r"\#",
    "Defense",
    "$L$",
    "Utility",
    "$M$",
    r"$\varepsilon$",
    "Worst attack",
    "Front",
    "Seeds",
)
_CERTAIN = "Certain"
"""A further column where it is known of how many members attackers are certain."""


def leaderboard_tex(boards: Boards, suite: str, lacking: str = "") -> str:
    """Every board as a ``table*``, with its flags as marks and what they mean below it.

    A flag that all rows of a board share is said once. Needs the package ``booktabs``.

    Args:
        boards: of the suite.
        suite: its name.
        lacking: what was planned and is not there, in a sentence; empty: everything is there.
    """
    parts = [f"% Inversion Bench: {_plain(suite)}. Needs the package booktabs."]
    parts += [f"% {_plain(lacking)}."] if lacking else []
    labels = slugs(key for key, _ in boards)
    for key, rows in boards:
        said = [tex(text) for kind, text in boards.notes[key] if kind == "missing"]
        parts += _board(key, rows, labels[key], said)
    return "\n\n".join(parts) + "\n"


def tex(text: object) -> str:
    """Text that LaTeX sets as it is; characters that pdflatex does not know become ``?``."""
    return "".join(
        _SPECIAL.get(c, c if c.isprintable() and ord(c) < 0x180 else "?") for c in _plain(text)
    )


def _plain(text: object) -> str:
    return " ".join(str(text).split())


def _board(key: BoardKey, rows: pd.DataFrame, label: str, said: Sequence[str] = ()) -> list[str]:
    raised = [set(flags_of(row)) for row in dicts(rows)]
    shared = set.intersection(*raised)
    seen = [flag for flag in FLAGS if flag in set.union(*raised) - shared]
    marks = {flag: _MARKS[i % len(_MARKS)] * (1 + i // len(_MARKS)) for i, flag in enumerate(seen)}
    legend = [f"All rows: {tex(FLAGS[flag])}" for flag in FLAGS if flag in shared]
    legend += [f"${mark}$ {tex(FLAGS[flag])}" for flag, mark in marks.items()] + [*said]
    certain = certainty.known(rows)
    lines = [_row(row, marks, certain) for row in dicts(rows)]
    chunks = [lines[at : at + ROWS] for at in range(0, len(lines), ROWS)]
    return [
        _table(
            chunk, _caption(key, rows, i), f"tab:{label}" + f"-{i + 1}" * (i > 0), legend, certain
        )
        for i, chunk in enumerate(chunks)
    ]


def _table(lines: list[str], caption: str, label: str, legend: list[str], certain: bool) -> str:
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{caption}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{@{{}}rlccclllr{'r' * certain}@{{}}}}",
            r"\toprule",
            " & ".join([*_HEAD, *[_CERTAIN] * certain]) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            *([r"\par\smallskip\raggedright " + " ".join(legend)] if legend else []),
            r"\end{table*}",
        ]
    )


def _caption(key: BoardKey, rows: pd.DataFrame, part: int) -> str:
    standard = f" {resting(rows)}".rstrip()
    return tex(
        f"{key.dataset}, {key.model}: {words(key.goal)} with access to "
        f"{allowed(key.access, key.budget)}{' (continued)' if part else ''}. "
    ) + (
        "$L$: leakage to the worst attack, 0 (the model taught the attacker nothing) to 1 (as good "
        "as the records); $M$: the part that is about training members; brackets: 95\\% "
        "intervals over seeds, of $L$ for the largest of all attacks. Rows of one rank cannot be "
        "told apart. Front: probability of being on the Pareto front of utility and leakage."
        f"{_sure(rows)}{tex(standard)}"
    )


def _sure(rows: pd.DataFrame) -> str:
    return (
        " Certain: share of the members whose secret some attack knows for certain; in brackets: "
        "without the model."
        if certainty.known(rows)
        else ""
    )


def _row(row: Mapping[Any, Any], marks: Mapping[str, str], certain: bool) -> str:
    raised = [marks[flag] for flag in flags_of(row) if flag in marks]
    told = f"$^{{{','.join(raised)}}}$" if raised else ""
    cells = (
        number(row["rank"], 0),
        row["defense"],
        estimate(row, "L"),
        estimate(row, "utility", 3),
        estimate(row, "M", signed=True),
        number(row["epsilon"]),
        row["worst_attack"],
        number(row["front"]),
        row["n_seeds"],
        *[f"{number(row['certain_share'], 3)} ({number(row['certain_base'], 3)})"] * certain,
    )
    shown = [tex(cell) for cell in cells]
    shown[1] += told
    return " & ".join(shown) + r" \\"
