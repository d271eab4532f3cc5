from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import boards, frame, text
from bench.report.closure import BoardKey
from tests.report import fake_records as fake


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (0.126, {}, "0.13"),
        (-0.5, {}, "−0.50"),
        (0.5, {"signed": True}, "+0.50"),
        (-0.001, {"signed": True}, "0.00"),
        (float("nan"), {}, "–"),
        (None, {}, "–"),
        (float("inf"), {}, "–"),
        (3.0, {"digits": 0}, "3"),
    ],
)
def test_numbers(value: float | None, options: dict[str, int], expected: str) -> None:
    assert text.number(value, **options) == expected


def test_an_interval_without_ends_is_empty() -> None:
    assert text.interval(float("nan"), float("nan")) == ""
    assert text.interval(0.1, 0.256) == "[0.10, 0.26]"


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((0.94, 0.91, 0.97), ("0.94", "[0.91, 0.97]")),
        ((0.0, 0.0, 0.0183), ("≤ 0.02", "")),
        ((0.0, 0.0, 0.02), ("≤ 0.02", "")),
        ((0.004, 0.001, 0.004), ("≤ 0.01", "")),
        ((0.0, 0.0, 0.0), ("≤ 0.01", "")),
        ((-0.3, -0.4, -0.2), ("≤ 0.01", "")),
        ((0.0, 0.0, 1.0), ("≤ 1.00", "")),
        ((0.0051, 0.0, 0.014), ("0.01", "[0.00, 0.01]")),
        ((0.0, float("nan"), float("nan")), ("0.00", "")),
        ((float("nan"), float("nan"), float("nan")), ("–", "")),
    ],
)
def test_leakage_that_is_not_seen_is_an_upper_bound(
    figures: tuple[float, float, float], expected: tuple[str, str]
) -> None:
    assert text.bounded(*figures) == expected


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.integers(1, 4))
def test_no_interval_of_leakage_is_empty_and_no_bound_lies_below_the_end(
    raw: float, below: float, above: float, digits: int
) -> None:
    mean, low, high = (min(1.0, max(0.0, raw + d)) for d in (0, -below, above))
    shown, ends = text.bounded(mean, low, high, digits)
    zero = text.number(0.0, digits)
    assert ends != f"[{zero}, {zero}]" and shown != zero
    if not ends:
        assert float(shown.removeprefix("≤ ")) >= high - 1e-9


def test_a_bound_in_a_sentence_has_one_sign() -> None:
    assert text.leaks("≤ 0.02") == "L ≤ 0.02"
    assert text.leaks("0.94 [0.91, 0.97]") == "L = 0.94 [0.91, 0.97]"


def test_headline_gives_a_bound_where_no_leakage_is_seen() -> None:
    rows = flagged("provisional").assign(L=0.0, L_lo=0.0, L_hi=0.031)
    for said in (text.headline(rows), text.brief(rows)):
        assert "L ≤ 0.04" in said and "L = " not in said


def test_sentences_call_a_defense_as_they_are_told() -> None:
    for tell in (text.headline, text.brief):
        said = tell(flagged("provisional"), lambda name: f"<{name}>")
        assert "<freezing>, L = 0." in said and " freezing" not in said


def test_a_least_leakage_that_is_not_shown_to_be_less_is_said_to_be_unclear() -> None:
    rows = flagged("provisional")
    unclear = rows.assign(verdict=rows["verdict"].replace("less", "unclear"))
    for told, doubted in ((unclear, True), (rows.assign(verdict=""), False)):
        least = text.headline(told).partition("Least leakage: ")[2].partition(". ")[0]
        assert ("not clearly less" in least) == doubted


@pytest.mark.parametrize(
    ("name", "words"),
    [("ndcg_at_20", "NDCG@20"), ("balanced_accuracy", "balanced accuracy")],
)
def test_metrics_are_called_as_people_do(name: str, words: str) -> None:
    assert text.measure(name) == words


def test_natural_order_of_variants() -> None:
    names = ["dp[epsilon=10]", "dp[epsilon=3]", "dp", "a", "dp[epsilon=0.5]"]
    assert sorted(names, key=text.natural) == [
        "a",
        "dp",
        "dp[epsilon=0.5]",
        "dp[epsilon=3]",
        "dp[epsilon=10]",
    ]


def headlines(seeds: int) -> dict[tuple[str, ...], str]:
    found = boards.build(frame.build(fake.build(seeds, ("faces",)), "smoke"))
    return {key[1:5]: text.headline(rows) for key, rows in found}


def test_headline_names_the_least_leaking_and_the_least_leaking_that_keeps_utility() -> None:
    said = headlines(3)["faces", "mlp", "class_representative", "weights"]
    assert said.startswith("Undefended, the strongest attack reaches L = 0.9")
    assert "Least leakage: dp_sgd[epsilon=1], L = 0." in said
    assert "shown to keep accuracy within 0.02 of undefended: freezing" in said


def test_headline_does_not_recommend_a_row_without_effect() -> None:
    records = [
        fake.trial("faces", "mlp", defense, "latent[loss=logit]", seed)
        for defense in ("none", "top_k[k=3]")
        for seed in range(2)
    ]
    ((_, rows),) = boards.build(frame.build(records, "smoke"))
    assert text.headline(rows).endswith(
        "No defense that acts at this access met an attack that adapts to it."
    )


def test_headline_of_a_board_without_a_figure() -> None:
    broken = fake.broken("oom", "MemoryError", "Too large.")
    record = fake.trial("faces", "mlp", "none", "brep", 0, **broken)
    ((_, rows),) = boards.build(frame.build([record], "smoke"))
    assert text.headline(rows) == "Nothing was measured here."


def test_headline_claims_no_kept_utility_from_one_seed() -> None:
    assert "shown to keep" not in headlines(1)["faces", "mlp", "class_representative", "weights"]


def flagged(flag: str) -> pd.DataFrame:
    """A board of several defenses whose every row has a flag."""
    found = boards.build(frame.build(fake.build(3, ("faces",)), "smoke"))
    rows = dict(iter(found))[BoardKey("face", "faces", "mlp", "class_representative", "weights")]
    return rows.assign(flags=rows["flags"].map(lambda flags: (flag, *flags)))


@pytest.mark.parametrize("flag", ["void", "weak_attack"])
def test_no_defense_is_named_where_figures_tell_nothing(flag: str) -> None:
    for said in (text.headline(flagged(flag)), text.brief(flagged(flag))):
        assert "dp_sgd" not in said and "freezing" not in said


def test_brief_names_the_least_leaking_that_keeps_utility_and_says_whether_it_differs() -> None:
    rows = flagged("provisional")
    kept = rows[rows["defense"] == "freezing"].iloc[0]
    told = "less than undefended" if kept["verdict"] == "less" else "not shown to differ"
    said = text.brief(rows)
    assert said.startswith("Undefended L = 0.9") and said.endswith(f"({told}).")
    assert "shown to keep accuracy within 0.02: freezing, L = 0." in said


def test_headline_names_the_most_useful_of_those_that_cannot_be_told_apart() -> None:
    rows = flagged("provisional")
    defended = rows[rows["defense"] != "none"].iloc[:3]
    best = defended.loc[defended["utility"].idxmax()]
    assert best["defense"] != defended["defense"].iloc[0]
    alone = rows.assign(rank=range(1, len(rows) + 1))
    assert "not told apart" not in text.headline(alone)
    tied = rows.assign(rank=alone["rank"].where(alone.index > rows.index[2], 1))
    assert f"{best['defense']}, L" in text.headline(tied)
    assert "the most useful of 3 that are not told apart" in text.headline(tied)
