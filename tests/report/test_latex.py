from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from bench.report import boards, frame, latex, listing
from tests.report import fake_records as fake

PACKS = sorted((Path(__file__).parents[2] / "results" / "published").glob("*/pack.json"))
ACM = (
    r"\PassOptionsToPackage{expansion=false}{microtype}"
    r"\documentclass[sigconf,nonacm]{acmart}\title{T}\author{A}"
)
ARTICLES = {
    "1": [
        r"\documentclass[a4paper]{article}",
        r"\documentclass[11pt,a4paper]{article}\usepackage[margin=1in]{geometry}",
    ],
    "2": [
        r"\documentclass[twocolumn]{article}\setlength\textwidth{506pt}\setlength\columnsep{24pt}",
        r"\documentclass[conference]{IEEEtran}",
        ACM,
    ],
    "page": [
        r"\documentclass[twocolumn]{article}\setlength\textwidth{506pt}\setlength\columnsep{24pt}",
        r"\documentclass[conference]{IEEEtran}",
        ACM,
    ],
}
"""Styles of papers, by where the tables are to stand."""


@pytest.fixture(scope="module")
def made() -> boards.Boards:
    return boards.build(frame.build(fake.build(5), "smoke"))


@pytest.fixture(scope="module")
def text(made: boards.Boards) -> str:
    return latex.leaderboard_tex(made, "smoke")


def bodies(text: str) -> list[list[str]]:
    """The lines between the rules of every table."""
    return [
        part.strip().splitlines()
        for part in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, flags=re.DOTALL)
    ]


def cells(line: str) -> list[str]:
    assert line.endswith(r" \\")
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))]


def shown(cell: str) -> str:
    """A name as it is read: without its marks and without where its lines may end."""
    plain = re.sub(r"\\textsuperscript\{\w\}|\\allowbreak |\\penalty5000 ", "", cell)
    return plain.replace("\\", "")


@pytest.mark.parametrize("columns", get_args(latex.Columns))
def test_a_table_per_board_with_a_row_per_defense(
    made: boards.Boards, columns: latex.Columns
) -> None:
    text = latex.leaderboard_tex(made, "smoke", columns=columns)
    assert [len(body) for body in bodies(text)] == [len(rows) for _, rows in made]
    heads = re.findall(r"\\toprule\n(.*)", text)
    for head, body in zip(heads, bodies(text), strict=True):
        assert {len(cells(line)) for line in body} == {len(cells(head))}


def test_rows_have_the_places_and_the_order_of_the_page(text: str, made: boards.Boards) -> None:
    for body, (_, rows) in zip(bodies(text), made, strict=True):
        page = listing.ordered(rows)
        assert page[0]["defense"] == "none"
        assert [cells(line)[0] for line in body] == [latex.tex(row["places"]) for row in page]
        assert [shown(cells(line)[1]) for line in body] == [row["defense"] for row in page]


def test_environments_are_balanced_and_labels_unique(text: str) -> None:
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{([\w*]+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels)) == 9
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0


def test_only_characters_that_pdflatex_knows(text: str) -> None:
    assert text.isascii()
    # Outside the first line, a comment, no special character stands by itself.
    assert not re.search(r"(?<!\\)[#%~]", text.split("\n", 1)[1])
    assert not re.search(r"(?<!\\)_", text)


def test_names_are_escaped() -> None:
    assert latex.tex("a_b & 50% {x} $y$ #1 ~^\\ \N{MINUS SIGN}1 \N{SNOWMAN}\n<b> ≤ é") == (
        r"a\_b \& 50\% \{x\} \$y\$ \#1 \textasciitilde{}\textasciicircum{}\textbackslash{} "
        r"$-$1 ? \textless{}b\textgreater{} $\le$ é"
    )


def test_a_name_is_whole_but_for_where_its_lines_may_end() -> None:
    for name in ("dp_sgd[epsilon=8,unit=person]", "a" * 100, "[x]", "naïve.thing", "-1"):
        assert shown(latex.name(name)) == name
        assert shown(latex.prose(f"See {name}, too.")) == f"See {name}, too."


def test_flags_are_marks_with_a_legend_and_shared_ones_are_said_once(text: str) -> None:
    table = next(p for p in text.split(r"\end{table}") if "faces, mlp" in p and "weights" in p)
    assert table.count("All rows: Fewer than 10 seeds") == 1
    row = next(line for line in text.splitlines() if line.startswith("--") and "freez" in line)
    for mark in re.findall(r"textsuperscript\{(\w)\}", row):
        assert rf"\textsuperscript{{{mark}}}No attack that adapts" in text
    for mark in re.findall(r"textsuperscript\{(\w)\}[^\n]*&", table):
        assert re.search(rf"^\\(par.*)?textsuperscript\{{{mark}\}}[A-Z]", table, re.MULTILINE)


def test_notes_of_the_board_are_those_of_its_page(text: str, made: boards.Boards) -> None:
    tables = text.split(r"\clearpage")
    for (key, _), table in zip(made, tables, strict=False):
        for _, note in made.notes[key]:
            assert latex.prose(note) in table


def test_the_caption_says_what_is_shown(text: str) -> None:
    caption = re.findall(r"\\caption(.*)", text)[1]
    for part in (
        "faces, mlp",
        "access to labels. 5 seeds",
        "leakage",
        "training members",
        r"95\% intervals",
    ):
        assert part in caption


def test_a_title_that_is_given_stands_in_the_caption(made: boards.Boards) -> None:
    key = next(iter(made))[0]
    text = latex.leaderboard_tex(made, "smoke", titles={key: "Can a face be seen?"})
    assert r"{Can a face be seen? The attacker has access to " in text


def test_long_boards_go_on_in_another_table(made: boards.Boards) -> None:
    _, rows = next(iter(made))
    many = rows.loc[[rows.index[0]] * 150].assign(
        defense=["none", *(f"d{i}" for i in range(1, 150))]
    )
    text = latex.leaderboard_tex(replace(made, rows=many), "smoke")
    assert sum(map(len, bodies(text))) == 150
    assert len(bodies(text)) > 2
    assert text.count("(continued)") == len(bodies(text)) - 1
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels[1] == f"{labels[0]}-2"


def printed(folder: Path, head: str, body: str) -> str:
    """The log of pdflatex for a paper of that style with these tables."""
    title = r"\maketitle" if r"\title" in head else ""
    paper = [head, r"\usepackage{booktabs,tabularx}", r"\begin{document}", title, body]
    (folder / "paper.tex").write_text("\n".join([*paper, r"\end{document}"]), encoding="utf-8")
    run = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(run, cwd=folder, capture_output=True, timeout=120, check=False)
    log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")
    missing = re.search(r"^! LaTeX Error: File `(.*?)' not found|^! Font .*not load", log, re.M)
    if missing:
        pytest.skip(f"This LaTeX lacks a part of the style: {missing[0]}")
    assert done.returncode == 0, log[-3000:]
    return log


def overfull(log: str) -> list[str]:
    """Lines that are more than 1 pt too wide, and tables that do not fit on a page."""
    wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide", log)
    return [w for w in wide if float(w) > 1] + re.findall(r"Float too large for page by.*", log)


typeset = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed: nothing can be typeset"
)
styles = pytest.mark.parametrize(
    ("columns", "head"), [(columns, head) for columns in ARTICLES for head in ARTICLES[columns]]
)


@typeset
@styles
def test_hostile_names_and_notes_fit(
    made: boards.Boards, tmp_path: Path, columns: latex.Columns, head: str
) -> None:
    long = [
        "W" * 90,
        "a_very_long_name_of_a_defense[with=many,options=1e-05,and=" + "x" * 60 + "]",
        "[" * 40,
        "%&_#{}~^\\$",
        "".join(chr(c) for c in range(0x20, 0x250)),
    ]
    names = [long[i % 5] + str(i) if i else "none" for i in range(len(made.rows))]
    rows = made.rows.assign(
        defense=names,
        worst_attack=names[::-1],
        flags=[tuple(boards.FLAGS)[: i % 9] for i in range(len(names))],
    )
    notes = {key: [("missing", " ".join(long)), *kinds] for key, kinds in made.notes.items()}
    hostile = replace(made, rows=rows, notes=notes)
    titles = dict.fromkeys(notes, f"Is {long[1]} or {'W' * 60} safe?")
    body = latex.leaderboard_tex(hostile, "smoke", columns=columns, titles=titles)
    assert [line for line in overfull(printed(tmp_path, head, body)) if "Float" not in line] == []


@typeset
@pytest.mark.skipif(not PACKS, reason="results/published holds no pack yet")
@styles
def test_published_boards_fit(
    published: list[boards.Boards], tmp_path: Path, columns: latex.Columns, head: str
) -> None:
    body = "".join(latex.leaderboard_tex(made, "s", columns=columns) for made in published)
    assert overfull(printed(tmp_path, head, body)) == []


@pytest.fixture(scope="module")
def published() -> list[boards.Boards]:
    from bench.exchange import pack

    packs = [pack.read(path.parent) for path in PACKS]
    return [boards.build(frame.build(read.records, read.suite)) for read in packs]
