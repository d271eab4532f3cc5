"""``invbench redteam`` on a Python function: what it says, what it writes, and to whom."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.api.campaigns import order
from tests.cli.redteaming import SENSITIVE, Place, Said, memory, policy, revealing, secretive, texts
from tests.models.external import functions

FUNCTION = "tests.models.external.functions:answers"
LOOSE = ("--tau", "1", "--mu", "1", "--loss", "0.5")
TIGHT = ("--tau", "0.2", "--mu", "0.1", "--loss", "0.1")


class Counting:
    """A model that counts the records that it is asked."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.asked = 0

    def __call__(self, records: Any) -> Any:
        self.asked += len(records)
        return self.model(records)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.made(tmp_path_factory.mktemp("redteam"))


@pytest.fixture(scope="module")
def rules(place: Place) -> tuple[str, ...]:
    return "--policy", str(policy(place.folder))


@pytest.fixture(scope="module")
def leaky(place: Place, rules: tuple[str, ...]) -> Iterator[tuple[Said, Counting]]:
    """A campaign against a model that knows its members by heart."""
    model = Counting(memory(place.records()))
    functions.GIVEN["model"] = model
    said = place.redteam(FUNCTION, "--campaign=first", "--json", *rules, bars=TIGHT)
    yield said, model


@pytest.fixture
def model(place: Place) -> Counting:
    found = Counting(memory(place.records()))
    functions.GIVEN["model"] = found
    return found


@pytest.mark.slow
def test_a_model_that_leaks_breaks_the_bars(leaky: tuple[Said, Counting]) -> None:
    said, _ = leaky
    assert said.code == 1, said.err
    assert not said.data["keeps"]
    assert not said.data["unfinished"]
    assert any("above 0.2" in reason for reason in said.data["why_not"])
    rows = said.data["rows"]
    assert {"attack", "access", "L", "L_lo", "L_hi", "queries"} <= set(rows[0])
    assert [r["L"] for r in rows] == sorted((r["L"] for r in rows), reverse=True)
    assert rows[0]["L_lo"] > 0.5
    assert rows[0]["access"] == "scores"
    assert rows[0]["queries"] > 0


@pytest.mark.slow
def test_the_same_command_computes_nothing_and_other_bars_judge_anew(
    place: Place, rules: tuple[str, ...], leaky: tuple[Said, Counting], model: Counting
) -> None:
    before = Counter(path for path in texts(place.folder / "store") if path.suffix != ".log")
    said = place.redteam(FUNCTION, "--campaign=first", "--json", *rules, bars=LOOSE)
    assert said.code == 0, said.err
    assert said.data["keeps"]
    assert said.data["rows"] == leaky[0].data["rows"]
    assert model.asked <= 20  # the few that it is tried on before anything is planned
    new = set(texts(place.folder / "store")) - set(before)
    assert not [path for path in new if path.suffix == ".safetensors"]


@pytest.mark.slow
def test_what_is_written_and_for_whom(place: Place, leaky: tuple[Said, Counting]) -> None:
    shared, private = place.shared("first"), place.private("first")
    for name in ("redteam.json", "redteam.html", "redteam.md", "index.html"):
        assert (shared / name).is_file(), name
    assert json.loads((shared / "redteam.json").read_text())["rows"] == leaky[0].data["rows"]
    assert "Traceback" not in leaky[0].err
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "exposed.csv").stat().st_mode) == 0o600
    work = place.folder / "report" / "redteam-work" / "first"
    assert stat.S_IMODE(work.stat().st_mode) == 0o700


@pytest.mark.slow
def test_the_private_file_names_people_without_their_secret(
    place: Place, leaky: tuple[Said, Counting]
) -> None:
    table = pd.read_csv(place.private("first") / "exposed.csv")
    assert SENSITIVE not in table.columns
    assert "flu" not in set(table.astype(str).to_numpy().ravel())
    assert {"part", "attacked", "right", "certain", "confidence", "rarity"} <= set(table.columns)
    assert Counter(table["part"]) == {"members": 40, "holdout": 40}
    assert len(table) == leaky[0].data["exposed"]["victims"]
    order = table[["certain", "right", "confidence"]].to_numpy().tolist()
    assert order == sorted(order, reverse=True)
    incomes = {part: set(place.records(part)["income"].round(2)) for part in ("members", "holdout")}
    for part, rows in table.groupby("part"):
        assert set(rows["income"].round(2)) <= incomes[str(part)]


@pytest.mark.slow
def test_nothing_of_the_private_file_is_in_the_shared_folder(
    place: Place, leaky: tuple[Said, Counting]
) -> None:
    assert revealing(place, place.records().to_csv().encode())
    private = str(place.private("first")).encode()
    for path, content in texts(place.shared("first")).items():
        assert private not in content, path
        assert b"redteam-private" not in content, path
        assert not revealing(place, content), path


@pytest.mark.slow
def test_a_plan_runs_nothing(place: Place, model: Counting) -> None:
    said = place.redteam(FUNCTION, "--campaign=planned", "--plan")
    assert said.code == 0, said.err
    assert not said.out
    assert "planned" in said.err
    assert not place.shared("planned").exists()
    assert not (place.private("planned") / "exposed.csv").exists()
    assert model.asked <= 20


@pytest.mark.slow
def test_a_function_is_asked_anew_in_another_campaign(
    place: Place, rules: tuple[str, ...], leaky: tuple[Said, Counting]
) -> None:
    """Weights that a function reads may change without its code; and a comparison shows it."""
    model = Counting(secretive)
    functions.GIVEN["model"] = model
    said = place.redteam(
        FUNCTION, "--campaign=second", "--against=first", "--json", *rules, bars=TIGHT
    )
    assert model.asked > 100
    assert said.data["against"] == "first"
    strongest = leaky[0].data["rows"][0]["attack"]
    (change,) = [row for row in said.data["compared"] if row["attack"] == strongest]
    assert change["verdict"] == "less"
    page = (place.shared("second") / "redteam.html").read_text()
    assert "Since campaign first" in page


@pytest.mark.slow
def test_a_changed_model_that_leaks_more_is_told_so(
    place: Place, rules: tuple[str, ...], leaky: tuple[Said, Counting], model: Counting
) -> None:
    if not place.shared("second").exists():
        functions.GIVEN["model"] = secretive
        place.redteam(FUNCTION, "--campaign=second", *rules, bars=TIGHT)
        functions.GIVEN["model"] = model
    earlier = place.shared("second") / "redteam.json"
    said = place.redteam(
        FUNCTION, "--campaign=first", f"--against={earlier}", "--json", *rules, bars=TIGHT
    )
    assert said.data["against"] == "second"
    assert said.data["compared"][0]["verdict"] == "more"
    assert said.code == 1


@pytest.mark.slow
def test_python_finds_the_same_as_the_command_line(
    place: Place, rules: tuple[str, ...], leaky: tuple[Said, Counting], model: Counting
) -> None:
    from bench.api import attack

    words = place.words(FUNCTION)
    found = attack(
        FUNCTION,
        str(place.folder / "card.yaml"),
        [word for word in words if "=" in word and not word.startswith("--")],
        campaign="first",
        seeds=1,
        victims=40,
        bars={"tau": 0.2, "mu": 0.1, "loss": 0.1},
        policy=rules[1],
        **{part: place.folder / f"{part}.csv" for part in ("members", "holdout", "public")},
    )
    assert json.loads(json.dumps(list(found.rows))) == leaky[0].data["rows"]
    assert not found.keeps


@pytest.mark.slow
def test_without_members_nothing_is_said_of_them(place: Place, model: Counting) -> None:
    said = place.redteam(
        FUNCTION, "--campaign=nobody", "--json", parts=("holdout", "public"), controls="[]"
    )
    assert said.code == 1, said.err
    assert not said.data["members_known"]
    assert all(row["M"] is None for row in said.data["rows"])
    assert "without members" in (place.shared("nobody") / "redteam.md").read_text()
    assert set(pd.read_csv(place.private("nobody") / "exposed.csv")["part"]) == {"not known"}


@pytest.mark.slow
def test_it_is_not_kept_where_attacks_failed(
    place: Place, rules: tuple[str, ...], model: Counting
) -> None:
    class Breaks(Counting):
        def __call__(self, records: Any) -> Any:
            if self.asked > 2400:
                raise ValueError("no more today")
            return super().__call__(records)

    functions.GIVEN["model"] = Breaks(model.model)
    said = place.redteam(FUNCTION, "--campaign=broken", "--json", *rules, bars=LOOSE)
    assert said.code in (1, 2), said.err
    assert "no more today" in said.out + said.err
    if said.code == 1:
        assert said.data["unfinished"]
        assert not said.data["keeps"]
    functions.GIVEN["model"] = model
    again = place.redteam(FUNCTION, "--campaign=broken", "--json", *rules, bars=LOOSE)
    assert again.code == 0, again.err
    assert not again.data["unfinished"]


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("package.module:function", "function"),
        ("module:function", "function"),
        ("http://127.0.0.1:1/invocations", "url"),
    ],
)
def test_where_a_model_is_follows_from_how_it_is_named(model: str, part: str) -> None:
    assert order.place_of(model) == {part: model}


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a:b").write_bytes(b"")
    assert order.place_of(str(tmp_path / "a:b")) == {"path": str(tmp_path / "a:b")}


def test_a_card_may_lie_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "tables=mine"
    folder.mkdir()
    card = Place.made(folder, 5).folder / "card.yaml"
    words = order.data_words(order.Order("m:f", str(card)), tmp_path)
    assert words[0] == "dataset=table"
    assert "tables=mine" in words[1]


def test_scores_of_the_models_of_these_tests_are_what_they_say(place: Place) -> None:
    frame = place.records()
    assert np.abs(memory(frame)(frame) - 0.5).min() > 0.48
    changed = frame.assign(ill=np.where(frame["ill"] == "flu", "no", "flu"))
    assert (memory(frame)(changed) == secretive(changed)).all()
    assert (secretive(frame) == secretive(changed)).all()
