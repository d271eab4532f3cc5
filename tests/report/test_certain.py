"""Members known for certain, on pages and in files."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pandas as pd
import pytest

from bench.contract.record import TrialRecord
from bench.metrics.certainty import FIGURES, PRECISION, TOP
from bench.report import boards, certainty, families, frame, site, tables
from bench.report.site import charts
from tests.report import fake_records as fake

PAGE = "boards/diabetes-mlp-attribute-scores.html"
SECTION = 'id="certain"'


def knowing(share: float, first: float = 1.0) -> dict[str, float]:
    """Figures of an attack that is certain of a share of the members."""
    tops = {
        name: max(first * (1 - top / 200), 0.5) for name, top in zip(PRECISION, TOP, strict=True)
    }
    by_rarity = {f"rarity_certain_{fifth}": share * fifth / 3 for fifth in range(1, 6)}
    aucs = {f"rarity_auc_{fifth}": 0.5 + fifth / 20 for fifth in range(1, 6)}
    return {**tops, **by_rarity, **aucs, "certain_share": share, "certain_share_nonmembers": 0.0}


def records(told: bool = True, seeds: int = 3) -> list[TrialRecord]:
    """The attack with the largest mean is certain of nobody; another one is, of ever fewer."""
    out = []
    for record in fake.build(seeds, ("diabetes",)):
        if record.score is not None and told:
            known = {
                "imputer": knowing(0.01, 0.8),
                "map[access=labels]": knowing(0.03 + 0.01 * record.cell.seed),
            }.get(record.cell.attack, knowing(0.0, 0.7))
            score = record.score.model_copy(update={"extra": known})
            out.append(record.model_copy(update={"score": score}))
        else:
            out.append(record)
    return out


@pytest.fixture(scope="module")
def made() -> boards.Boards:
    return boards.build(frame.build(records(), "fake"))


def board(made: boards.Boards, access: str = "scores"):  # type: ignore[no-untyped-def]
    (found,) = ((key, rows) for key, rows in made if key.access == access)
    return found[1], made.certain[made.certain["access"] == access]


def test_the_attack_that_is_certain_of_most_is_shown_not_that_of_the_largest_mean(
    made: boards.Boards,
) -> None:
    rows, certain = board(made)
    none = rows[rows["defense"] == "none"].iloc[0]
    assert none["worst_attack"] == "map[access=scores]"
    assert none["certain_attack"] == "map[access=labels]"
    assert none["certain_share"] == pytest.approx(0.04)
    assert none["certain_max"] == pytest.approx(0.05)
    assert none["certain_base"] == pytest.approx(0.01)
    told = certainty.told(rows, certain)
    assert told[0]["defense"] == "none"
    assert (told[0]["share"], told[0]["most"], told[0]["base"]) == ("4.0 %", "5.0 %", "1.0 %")
    assert told[0]["rare"] == ("0.75", "0.75") and told[0]["measure"] == "AUC"


def test_rows_without_effect_are_left_out(made: boards.Boards) -> None:
    rows, certain = board(made, "weights")
    assert "top_k[k=3]" not in {row["defense"] for row in certainty.told(rows, certain)}


def test_the_figure_has_a_curve_without_the_model_one_undefended_and_the_best_defenses(
    made: boards.Boards,
) -> None:
    rows, certain = board(made)
    curves = certainty.drawn(rows, certain)
    assert [name for name, _, _ in curves[-2:]] == ["none", ""]
    assert 1 <= len(curves) - 2 <= certainty.DEFENSES
    figure = charts.certain(curves, lambda _, name: name)
    assert figure is not None
    assert all(line["x"] == list(TOP) for line in figure["data"])
    assert figure["data"][-1]["y"][0] == pytest.approx(0.8 * 0.995)
    assert charts.certain([], lambda _, name: name) is None


def test_pages_and_files_of_new_records_say_it(tmp_path: Path) -> None:
    site.write(records(), {}, "fake", tmp_path, fake.PROVENANCE)
    page = (tmp_path / PAGE).read_text()
    assert SECTION in page and 'id="certain-data"' in page and "4.0 %" in page
    (row, *_) = [
        row
        for row in csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text()))
        if (row["access"], row["defense"]) == ("scores", "none")
    ]
    assert float(row["certain_share"]) == pytest.approx(0.04)
    assert row["certain_attack"] == "map[access=labels]"
    assert (
        "| none | map\\[access=labels\\] | 4.0 % | 5.0 % | 1.0 % |"
        in (tmp_path / "leaderboard.md").read_text()
    )
    assert "0.040 (0.010)" in (tmp_path / "leaderboard.tex").read_text()


def test_old_records_have_no_such_section_and_no_such_columns(tmp_path: Path) -> None:
    site.write(records(told=False), {}, "fake", tmp_path, fake.PROVENANCE)
    assert SECTION not in (tmp_path / PAGE).read_text()
    header = (tmp_path / "leaderboard.csv").read_text().splitlines()[0].split(",")
    assert not {*certainty.COLUMNS} & {*header}
    for name in ("leaderboard.md", "leaderboard.tex"):
        assert "ertain" not in (tmp_path / name).read_text()


def test_where_only_some_attacks_say_it_the_others_count_for_nothing() -> None:
    mixed = [
        record if record.cell.attack != "imputer" else old
        for record, old in zip(records(), records(told=False), strict=True)
    ]
    made = boards.build(frame.build(mixed, "fake"))
    rows, certain = board(made)
    assert math.isnan(rows["certain_base"].iloc[0])
    assert "" not in {name for name, _, _ in certainty.drawn(rows, certain)}
    assert certainty.told(rows, certain)[0]["base"] == "\N{EN DASH}"


def test_fifths_that_are_too_small_to_be_judged_are_not_shown() -> None:
    small = []
    for record in records(seeds=1):
        score = record.score
        if score is not None:
            kept = {k: v for k, v in score.extra.items() if not k.startswith("rarity_auc")}
            small.append(
                record.model_copy(update={"score": score.model_copy(update={"extra": kept})})
            )
    rows, certain = board(boards.build(frame.build(small, "fake")))
    assert {row["measure"] for row in certainty.told(rows, certain)} == {""}


def test_the_table_of_trials_has_every_figure() -> None:
    table = frame.build(records(seeds=1), "fake")
    found = pd.read_parquet(io.BytesIO(tables.trials_parquet(table)))
    assert {*FIGURES} <= {*found.columns}
    assert found["certain_share"].max() == pytest.approx(0.03)


def test_markdown_follows_from_the_records_it_is_of(made: boards.Boards) -> None:
    table = frame.build(list(reversed(records())), "fake")
    again = boards.build(table)
    tuned = families.tuned(table)
    first = tables.leaderboard_md(made, tuned, "fake")
    assert first == tables.leaderboard_md(again, tuned, "fake")
