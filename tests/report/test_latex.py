from __future__ import annotations

import re

import pytest

from bench.report import boards, frame, latex
from tests.report import fake_records as fake


@pytest.fixture(scope="module")
def found() -> boards.Boards:
    return boards.build(frame.build(fake.build(5), "smoke"))


@pytest.fixture(scope="module")
def text(found: boards.Boards) -> str:
    return latex.leaderboard_tex(found, "smoke")


def bodies(text: str) -> list[list[str]]:
    """The lines between the rules of every table."""
    return [
        part.strip().splitlines()
        for part in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, flags=re.DOTALL)
    ]


def cells(line: str) -> list[str]:
    assert line.endswith(r" \\")
    return re.split(r"(?<!\\)&", line.removesuffix(r"\\"))


def test_a_table_per_board_with_a_row_per_defense(text: str, found: boards.Boards) -> None:
    assert [len(body) for body in bodies(text)] == [len(rows) for _, rows in found]
    columns = re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", text)
    for spec, body in zip(columns, bodies(text), strict=True):
        assert {len(cells(line)) for line in body} == {len(spec)}


def test_environments_are_balanced_and_labels_unique(text: str) -> None:
    open_ = []
    for kind, name in re.findall(r"\\(begin|end)\{([\w*]+)\}", text):
        if kind == "begin":
            open_.append(name)
        else:
            assert open_.pop() == name
    assert not open_
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
    assert latex.tex("a_b & 50% {x} $y$ #1 ~^\\ \N{MINUS SIGN}1 \N{SNOWMAN}\n<b>") == (
        r"a\_b \& 50\% \{x\} \$y\$ \#1 \textasciitilde{}\textasciicircum{}\textbackslash{} "
        r"$-$1 ? \textless{}b\textgreater{}"
    )


def test_flags_are_marks_with_a_legend_and_shared_ones_are_said_once(text: str) -> None:
    table = next(p for p in text.split(r"\end{table*}") if "faces, mlp" in p and "weights" in p)
    assert table.count("All rows: Fewer than 10 seeds") == 1
    marked = re.search(r"freezing\$\^\{(.*?)\}\$", text)
    assert marked and f"${marked[1]}$ No attack that adapts" in text
    for mark in re.findall(r"\$\^\{(.*?)\}\$ &", table):
        assert all(f"${one}$ " in table for one in mark.split(","))


def test_the_caption_says_what_is_shown(text: str) -> None:
    caption = re.findall(r"\\caption\{(.*)\}", text)[1]
    for said in (
        "leakage",
        "training members",
        r"95\% intervals",
    ):
        assert said in caption


def test_long_boards_go_on_in_another_table(found: boards.Boards) -> None:
    key, rows = next(iter(found))
    many = latex._board(key, rows.loc[[rows.index[0]] * 100], "b")
    assert [len(bodies(part)[0]) for part in many] == [45, 45, 10]
    assert "(continued)" not in many[0] and "(continued)" in many[2] and "tab:b-3" in many[2]
