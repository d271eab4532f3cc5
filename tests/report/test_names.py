"""What people call the things that records name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contract.access import ACCESS, ACCESS_ORDER
from bench.contract.names import Heading
from bench.engine.conf import list_options
from bench.goals import goals
from bench.report.closure import BoardKey
from bench.report.names import Names, question, sees, settings
from tests.report import fake_records as fake

GROUPS = ("dataset", "model", "defense", "attack", "suite")
NAMES = Names(
    {
        ("dataset", "german"): Heading("German credit", "Applicants for a loan"),
        ("model", "mlp"): Heading("Neural network", "A perceptron"),
        ("model", "ease"): Heading("EASE recommender", "Items"),
        ("defense", "dp_sgd"): Heading("Differentially private training (DP-SGD)", "Noise"),
    }
)


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_has_a_title_of_its_own_that_fits_a_table(group: str) -> None:
    headings = list_options(group)
    titles = [heading.title for heading in headings.values()]
    assert all(heading.sentence for heading in headings.values())
    assert all(2 < len(title) <= 52 and "_" not in title for title in titles), titles
    assert len(set(titles)) == len(titles)


def test_every_goal_and_access_has_a_title() -> None:
    assert set(ACCESS) == set(ACCESS_ORDER)
    assert all(goal.words.title and "?" in goal.words.question for goal in goals().values())


@pytest.mark.parametrize(
    ("text", "title", "sentence"),
    [
        ("# A title\n# What it is\nx:\n", "A title", "What it is"),
        ("# @package _global_\n# A title\n# What it is\n", "A title", "What it is"),
        ("# What it is\nx:\n", "My option", "What it is"),
        ("# What it is\n#\n# and more\n", "My option", "What it is"),
        ("x:\n# What it is not\n", "My option", ""),
    ],
)
def test_an_option_is_called_as_its_file_begins(
    tmp_path: Path, text: str, title: str, sentence: str
) -> None:
    (tmp_path / "defense").mkdir()
    (tmp_path / "defense" / "my_option.yaml").write_text(text)
    assert list_options("defense", tmp_path)["my_option"] == Heading(title, sentence)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("epsilon=3", ["epsilon 3"]),
        ("epsilon=8,unit=person", ["epsilon 8", "unit person"]),
        ("access=labels,weight=4", ["weight 4"]),
        ("budget=1000", []),
        ("target.advantage=0.1", ["advantage 0.1"]),
        ("impute=true,decimals=null", ["impute", "no decimals"]),
        ("attributes=[age,sex],k=2", ["attributes [age,sex]", "k 2"]),
    ],
)
def test_settings_in_words(text: str, words: list[str]) -> None:
    assert list(settings(text)) == words


def test_rows_are_called_by_their_option_and_settings() -> None:
    full = "Differentially private training (DP-SGD), epsilon 3"
    assert NAMES.row("defense", "dp_sgd[epsilon=3]") == full
    assert NAMES.row("defense", "dp_sgd[epsilon=3]", brief=True) == "DP-SGD, epsilon 3"
    assert NAMES.row("defense", "their_own[a=1]") == "Their own, a 1"
    assert NAMES.row("defense", "renamed", "dp_sgd", brief=True) == "DP-SGD"


def test_a_board_asks_in_words_that_the_records_give() -> None:
    [record, *_] = fake.build(1, ("diabetes",))
    card = record.data.model_copy(
        update={"option": "german", "asked_about": "whether an applicant has a checking account"}
    )
    key = BoardKey("credit", "german", "mlp", "attribute", "scores", float("inf"))
    assert NAMES.board(key, card) == (
        "Credit scoring (German credit, neural network): can someone learn whether an applicant "
        "has a checking account?"
    )
    own = card.model_copy(update={"option": "table", "asked_about": "", "sensitive": "has_illness"})
    assert NAMES.dataset("Kiel 2024", own) == "Kiel 2024", "a name that its owner gave stays"
    assert question("attribute", own) == "Can someone learn a person's has illness?"
    hidden = own.model_copy(update={"asked_about": "***"})
    assert question("attribute", hidden) == question("attribute", own)
    assert NAMES.target("german", "ease", card) == "German credit, EASE recommender"


def test_what_an_attacker_sees() -> None:
    assert sees("weights", float("inf")) == "Attacker sees the weights"
    assert sees("scores", 1000.0) == "Attacker sees scores, at most 1,000 queries"
