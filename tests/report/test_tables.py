from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.exchange import recheck
from bench.report import audits, boards, families, frame, listing, tables
from bench.report.closure import BOARD
from tests.report import fake_records as fake
from tests.report.built import built, scored


@pytest.fixture(scope="module")
def table() -> object:
    return frame.build(fake.build(), "smoke")


def test_trials_csv(table) -> None:  # type: ignore[no-untyped-def]
    text = tables.trials_csv(table)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0])[:23] == frame.STABLE
    assert tuple(rows[0])[23:] == ("flags", "error")
    assert len(rows) == len(table)
    assert "\r" not in text
    timeout = next(row for row in rows if row["status"] == "timeout")
    assert timeout["error"] == "Timeout: The attack ran longer than its limit of 60 s."
    assert timeout["L"] == timeout["score"] == timeout["queries"] == timeout["attack_s"] == ""


def test_trials_parquet_is_the_csv_with_types(table) -> None:  # type: ignore[no-untyped-def]
    data = tables.trials_parquet(table)
    assert data == tables.trials_parquet(table.copy())
    found = pd.read_parquet(io.BytesIO(data))
    written = pd.read_csv(io.StringIO(tables.trials_csv(table)), keep_default_na=False)
    assert list(found.columns)[: len(written.columns)] == list(written.columns)
    assert {"control", "options", "data_sha", "environment"} <= set(found.columns)
    assert json.loads(found["options"][0]).keys() == {"model", "defense", "attack"}
    assert found["trial_id"].tolist() == written["trial_id"].tolist()
    assert found["seed"].dtype.kind == "i" and found["L"].dtype == "float64"
    assert str(found["queries"].dtype) == "Int64"
    pd.testing.assert_series_equal(found["L"], table["L"])


def test_numbers_have_six_digits_and_counts_are_whole() -> None:
    record = fake.trial("faces", "mlp", "none", "brep", 0)
    assert record.score is not None
    record = record.model_copy(
        update={
            "score": record.score.model_copy(update={"L": 1 / 3}),
            "budget": record.budget.model_copy(update={"queries": 12_345_678}),
        }
    )
    (row,) = csv.DictReader(io.StringIO(tables.trials_csv(frame.build([record], "smoke"))))
    assert (row["L"], row["queries"]) == ("0.333333", "12345678")


def test_leaderboard_csv(table) -> None:  # type: ignore[no-untyped-def]
    found = boards.build(table)
    rows = list(csv.DictReader(io.StringIO(tables.leaderboard_csv(found, "smoke"))))
    assert list(rows[0]) == [
        "suite",
        "sector",
        "dataset",
        "model",
        "goal",
        "access",
        "defense",
        "n_seeds",
        "utility",
        "utility_lo",
        "utility_hi",
        "utility_raw_lo",
        "utility_raw_hi",
        "worst_attack",
        "L",
        "L_lo",
        "L_hi",
        "M",
        "M_lo",
        "M_hi",
        "M_most",
        "epsilon",
        "advantage",
        "audit",
        "epsilon_lower",
        "epsilon_most",
        "flags",
        "rank",
        "front",
        "L_raw",
        "L_raw_lo",
        "L_raw_hi",
        "L_without",
        "L_without_raw",
        "dL",
        "dL_lo",
        "dL_hi",
        "dL_p",
        "dL_flip",
        "verdict",
        "dU",
        "dU_lo",
        "dU_hi",
        "seeds_needed",
        "train_s",
        "utility_metric",
        "against",
        "settings",
    ]
    assert len(rows) == len(found.rows)
    assert all(0 <= float(row["L"]) <= 1 for row in rows)
    single = next(row for row in rows if row["model"] == "cnn")
    assert single["n_seeds"] == "1" and single["L_lo"] == "" and single["L"] != ""


def test_leaderboard_md_has_a_sentence_and_a_table_per_board(table) -> None:  # type: ignore[no-untyped-def]
    text = tables.leaderboard_md(boards.build(table), families.tuned(table), "smoke")
    assert text.count("\n## ") == 9
    assert text.count("| # | defense |") == 9
    assert "## faces, mlp: class representative with access to weights\n\nUndefended, the" in text
    line = next(x for x in text.splitlines() if x.startswith("| 1 | dp_sgd"))
    assert "dp_sgd\\[epsilon=1\\] | 0." in line and " | 1.00 | 2 | 3 | " in line


def test_markdown_has_the_places_and_the_order_of_the_page(table) -> None:  # type: ignore[no-untyped-def]
    made = boards.build(table)
    text = tables.leaderboard_md(made, families.tuned(table), "smoke")
    for (_, rows), part in zip(made, text.split("\n## ")[1:], strict=True):
        block = next(block for block in part.split("\n\n") if block.startswith("| # "))
        cells = [re.split(r"(?<!\\)\|", line) for line in block.splitlines()[2:]]
        listed = [(row["places"], row["defense"]) for row in listing.ordered(rows)]
        shown = [(c[1].strip(), c[2].strip().replace("\\", "")) for c in cells]
        assert shown == listed


def test_no_interval_of_leakage_is_empty_in_markdown(table) -> None:  # type: ignore[no-untyped-def]
    made = boards.build(table)
    rows = made.rows.assign(L=0.0, L_lo=0.0, L_hi=0.0183)
    text = tables.leaderboard_md(replace(made, rows=rows), families.tuned(table).iloc[:0], "smoke")
    assert text.count("| ≤ 0.02 |") == len(rows)
    assert "L ≤ 0.02" in text and "L = 0.00" not in text


def test_every_column_of_a_leaderboard_has_a_sentence(table) -> None:  # type: ignore[no-untyped-def]
    made = boards.build(table)
    rows = made.rows.assign(budget=5.0, trials_lost=1, certain_share=0.1)
    written = csv.DictReader(io.StringIO(tables.leaderboard_csv(replace(made, rows=rows), "s")))
    meaning = {
        row["column"]: row["meaning"] for row in csv.DictReader(io.StringIO(tables.columns_csv()))
    }
    assert written.fieldnames == list(meaning)
    assert all(sentence.endswith(".") for sentence in meaning.values())


def test_clipped_columns_have_unclipped_ones_beside_them() -> None:
    found = scored("none", "brep", [-0.4, -0.2, -0.3])
    rows = list(csv.DictReader(io.StringIO(tables.leaderboard_csv(built(found), "s"))))
    assert {(row["L"], row["L_lo"], row["L_raw"]) for row in rows} == {("0", "0", "-0.3")}
    assert all(float(row["L_raw_lo"]) < -0.4 and row["L_raw_hi"] == row["L_hi"] for row in rows)


def test_the_file_of_a_board_has_its_rows_alone(table) -> None:  # type: ignore[no-untyped-def]
    made = boards.build(table)
    whole = list(csv.DictReader(io.StringIO(tables.leaderboard_csv(made, "s"))))
    parts = [
        row
        for key, _ in made
        for row in csv.DictReader(io.StringIO(tables.board_csv(made, key, "s")))
    ]
    assert parts == whole


def test_markdown_cells_cannot_break_the_table() -> None:
    record = fake.trial("faces", "mlp", "none", "brep", 0)
    hostile = record.cell.model_copy(update={"defense": "a|b<script>`*\n| c"})
    record = record.model_copy(update={"cell": hostile})
    table = frame.build([record], "smoke")
    text = tables.leaderboard_md(boards.build(table), families.tuned(table), "smoke")
    assert "| a\\|b\\<script\\>\\`\\* \\| c |" in text


def head(columns: tuple[str, ...]) -> str:
    """First line of a file of a suite without budgets of queries."""
    return ",".join(name.removeprefix("loss_") for name in columns if name != "budget") + "\n"


def test_a_suite_without_boards_has_files_with_headers_only() -> None:
    table = frame.build([fake.trial("faces", "mlp", "none", "public_mean", 0)], "s")
    found, tuned = boards.build(table), families.tuned(table)
    assert tables.leaderboard_csv(found, "s") == head(tables.LEADERBOARD)
    assert tables.leaderboard_md(found, tuned, "s").startswith("# Inversion Bench: s")
    assert tables.csv(tuned, "s") == head(("suite", *families.COLUMNS))
    assert tables.csv(audits.build(table), "s") == head(("suite", *audits.COLUMNS))


def test_leaderboard_md_has_the_tuned_rows_where_a_defense_has_several_settings(table) -> None:  # type: ignore[no-untyped-def]
    text = tables.leaderboard_md(boards.build(table), families.tuned(table), "smoke")
    assert text.count("### Tuned") == 8  # dp_sgd acts on every board; one has a single seed
    assert "chosen (least worst-case leakage" in text and "on the same seeds" in text
    place = "output reconstruction with access to labels"
    board = next(part for part in text.split("\n## ") if place in part)
    tuned = board.split("### Tuned")[1]
    assert tuned.count("\n| ") == 2 + len(
        families.tuned(table)
        .groupby(BOARD)
        .get_group(("retail", "baskets", "mlp", "output_reconstruction", "labels", math.inf))
    )


def test_tuned_csv(table) -> None:  # type: ignore[no-untyped-def]
    text = tables.csv(families.tuned(table), "smoke")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.startswith(head(("suite", *families.COLUMNS)))
    assert {row["budget"] for row in rows} == {"0.03"}
    assert len(rows) == len(families.tuned(table))


def test_markdown_says_what_is_proven_of_the_member_gap(table) -> None:  # type: ignore[no-untyped-def]
    found = boards.build(table)
    text = tables.leaderboard_md(found, families.tuned(table), "smoke")
    proven = found.rows["M_most"].notna().sum()
    assert 0 < proven == sum(", at most " in line for line in text.splitlines() if line[:2] == "| ")


@given(st.text(max_size=6), st.sampled_from(["", "'", "''", "=", "+", "-", "@", "\t", "\r", "＝"]))
def test_no_text_is_a_formula_and_every_text_is_read_as_it_was(text: str, start: str) -> None:
    cell = start + text
    written = tables.inert(cell)
    assert tables.meant(written) == cell
    if written[:1] in tuple("=+-@\t\r＝"):
        float(written)  # a number


def test_a_csv_holds_no_formula_and_its_numbers_stay() -> None:
    names = ["=HYPERLINK(1)", "@x", "+cmd|' /C calc'!A0", "-2+3", "none"]
    flags = [("=f",), (), (), (), ()]
    made = pd.DataFrame({"defense": names, "dU": [-0.3, 0.5, math.nan, 1, 2], "flags": flags})
    made["text"] = ["-0.3", "+4", "-inf", "'=1", "-"]
    text = tables.csv(made.assign(budget=math.inf), "@suite")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["defense"] for row in rows] == [*(f"'{n}" for n in names[:4]), "none"]
    assert [tables.meant(row["defense"]) for row in rows] == names
    assert [row["dU"] for row in rows] == ["-0.3", "0.5", "", "1", "2"]
    assert [row["text"] for row in rows] == ["-0.3", "+4", "-inf", "''=1", "'-"]
    assert rows[0]["suite"] == "'@suite"
    assert rows[0]["flags"] == "'=f"
    assert recheck.drift(text.encode(), text) == []
