"""Tables fit the terminal, and nothing is cut off."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from bench.cli import cli
from bench.report.columns import lay_out, pasted
from tests.cli import deciding
from tests.cli.deciding import Call, caller
from tests.cli.test_json import verbs

WIDTHS = (80, 100, 140)
TEXTS = st.text(st.characters(blacklist_categories=["C", "Z"]) | st.just(" "), max_size=60)


@pytest.fixture
def call(monkeypatch, capsys) -> Call:
    return caller(monkeypatch, capsys)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(TEXTS, min_size=n, max_size=n), min_size=1, max_size=6)
    ),
    st.integers(30, 140),
)
@example([["\u0bbe"]], 30)  # a sign that takes no place of its own
@example([["", "\u2e80"], ["0" * 23 + "\u1100\u2e80", ""]], 30)  # letters of two places
def test_no_line_is_wider_and_no_letter_is_lost(rows: list[list[str]], width: int) -> None:
    lines, left_out = lay_out(rows, width)
    assert not left_out
    assert all(cell_len(line) <= width for line in lines)
    printed = sorted("".join(lines).replace(" ", ""))
    assert printed == sorted("".join("".join(row) for row in rows).replace(" ", ""))


def test_lesser_columns_go_first_and_are_named() -> None:
    rows = [
        ["name", "cost", "about"],
        ["a_long_name_of_a_defense", "one more pass " * 3, "x " * 90],
    ]
    assert lay_out(rows, 140, ("cost",))[1] == []
    lines, left_out = lay_out(rows, 60, ("cost",))
    assert left_out == ["cost"] and "one more pass" not in " ".join(lines)
    assert lines[1].startswith("a_long_name_of_a_defense  x x")


def test_names_stay_whole_where_sentences_can_give_way() -> None:
    rows = [["defense", "L", "reason"], ["k_anonymity[k=50]", "0.00 [0.00, 0.04]", "because " * 20]]
    for width in (45, 60, 80):
        assert "k_anonymity[k=50]" in "\n".join(lay_out(rows, width)[0])


def test_a_long_command_can_be_pasted() -> None:
    import shlex

    command = shlex.join(["invbench", "run", *(f"defense.d{i}.sweep={{a: [1]}}" for i in range(9))])
    text = pasted(command, 60, "  ")
    assert all(len(line) <= 60 for line in text.splitlines())
    assert shlex.split(text.replace("\\\n", " ")) == shlex.split(command)
    assert pasted("invbench ls", 60, "  ") == "  invbench ls"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("group", ["datasets", "models", "defenses", "attacks", "suites"])
def test_ls_fits_and_names_every_entry(call: Call, monkeypatch, group: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = call("ls", group)
    head, *plain = call("ls", group, "--plain")[1].splitlines()
    title = head.split("\t").index("title")
    assert code == 0 and all(len(line) <= width for line in out.splitlines())
    names = {line.split()[0] for line in out.splitlines() if re.match(r"\w", line)}
    assert {line.split("\t")[0] for line in plain} <= names
    words = out.split()
    assert all(line.split("\t")[title].split()[0] in words for line in plain)


def test_a_title_is_shown_where_there_is_one(call: Call, monkeypatch) -> None:
    from bench.api import upkeep

    entries = [{"name": "a_suite", "title": "A name for people", "about": "A sentence."}]
    monkeypatch.setattr(upkeep, "catalogue", lambda group, config_dir=None: entries)
    monkeypatch.setattr("bench.api.catalogue", upkeep.catalogue, raising=False)
    _, out, _ = call("ls", "suites")
    assert out.splitlines()[0].split() == ["suite", "title", "about"]
    assert out.splitlines()[1].startswith("a_suite  A name for people  A sentence.")


@pytest.mark.parametrize("width", WIDTHS)
def test_what_decides_fits(call: Call, monkeypatch, tmp_path: Path, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    pack = deciding.evidence(tmp_path)
    model = deciding.described(tmp_path, waivers=[])
    for words in (
        ("recommend", pack, "--access", "scores", "--tier", "T2"),
        ("gate", "default", model, "--today", "2026-04-01"),
        ("compare", pack, pack, "--all"),
        ("data", "list"),
        ("data", "verify", "diabetes"),
        ("ls", "attacks", "--for", "german"),
        ("ls", "--options", "dp_sgd"),
    ):
        _, out, err = call(*words)
        wide = [line for line in out.splitlines() if len(line) > width and " " in line.strip()]
        assert out and not wide, (words, err)


def test_the_help_of_every_verb_fits_80_columns_and_is_whole(call: Call) -> None:
    for name, command in [("", cli), *verbs(cli)]:
        context = click.Context(command, info_name=f"invbench {name}".strip(), terminal_width=80)
        text = command.get_help(context)
        wide = [line for line in text.splitlines() if len(line) > 80]
        assert not wide, name
        assert not [line for line in text.splitlines() if re.search(r"\w\.\.\.$", line)], name


def test_for_takes_a_bare_name(call: Call) -> None:
    bare, keyed, word = (
        call("ls", "attacks", *words)
        for words in (("--for", "german"), ("--for", "dataset=german"), ("dataset=german",))
    )
    assert bare == keyed == word and bare[0] == 0
    assert "\nattribute_map " in bare[1] and "\nnot miface: " in bare[1]
    code, _, err = call("ls", "datasets", "--for", "german")
    assert code == 2 and "models, defenses or attacks" in " ".join(err.split())
