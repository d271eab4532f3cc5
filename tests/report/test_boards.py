from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from built import FACES, adapting, built, row, scored
from scipy import stats as scipy_stats

from bench.contract.record import PrivacyAudit, TrialRecord
from bench.report import boards, frame
from bench.report.closure import BoardKey
from tests.report import fake_records as fake

DIABETES = ("medical", "diabetes", "mlp", "attribute")


@pytest.fixture(scope="module")
def suite() -> boards.Boards:
    return boards.build(frame.build(fake.build(), "smoke"))


def test_boards_are_those_with_trials_from_least_to_most_access(suite: boards.Boards) -> None:
    assert [key[1:5] for key, _ in suite] == [
        ("faces", "cnn", "class_representative", "weights"),
        ("faces", "mlp", "class_representative", "labels"),
        ("faces", "mlp", "class_representative", "scores"),
        ("faces", "mlp", "class_representative", "weights"),
        ("diabetes", "mlp", "attribute", "labels"),
        ("diabetes", "mlp", "attribute", "scores"),
        ("diabetes", "mlp", "attribute", "weights"),
        ("baskets", "mlp", "output_reconstruction", "labels"),
        ("baskets", "mlp", "output_reconstruction", "scores"),
    ]


def test_rows_stand_from_least_to_most_leakage(suite: boards.Boards) -> None:
    for _, rows in suite:
        assert rows["L_raw"].is_monotonic_increasing


def test_worst_case_takes_weaker_attacks_too_and_no_baseline() -> None:
    found = built(
        scored("none", "brep", [0.8, 0.7]),
        scored("none", "yang", [0.3, 0.2]),
        scored("none", "latent[loss=ce]", [0.5, 0.4]),
        scored("none", "public_mean", [0.99, 0.99]),
    )
    for access in ("labels", "scores", "weights"):
        worst = row(found, "none", access)
        assert worst["worst_attack"] == "brep"
        assert worst["L"] == pytest.approx(0.75)
    assert found.baselines["attack"].tolist() == ["public_mean"]


def test_a_stronger_attack_does_not_reach_a_board_with_less_access() -> None:
    found = built(scored("none", "brep", [0.1]), scored("none", "latent[loss=ce]", [0.9]))
    assert row(found, "none", "labels")["L"] == pytest.approx(0.1)
    assert row(found, "none", "weights")["L"] == pytest.approx(0.9)


def test_worst_attack_is_by_mean_not_by_the_luckiest_seed() -> None:
    found = built(scored("none", "mirror", [0.0, 0.9]), scored("none", "yang", [0.5, 0.6]))
    assert row(found, "none", "scores")["worst_attack"] == "yang"


def test_label_only_rests_on_label_attacks_on_the_scores_board(suite: boards.Boards) -> None:
    found = row(suite, "label_only", "scores")
    assert found["worst_attack"] == "brep"
    assert "no_effect" not in found["flags"]
    assert found["L"] == pytest.approx(row(suite, "none", "labels")["L"])


@pytest.mark.parametrize("defense", ["label_only", "top_k[k=3]"])
def test_a_release_defense_has_no_effect_on_weights(suite: boards.Boards, defense: str) -> None:
    found, none = row(suite, defense, "weights"), row(suite, "none", "weights")
    assert "no_effect" in found["flags"]
    assert (found["L"], found["worst_attack"]) == (none["L"], none["worst_attack"])
    assert found["verdict"] == "" and np.isnan(found["dL_p"])


def test_without_effect_weaker_attacks_hit_the_undefended_model_too() -> None:
    # The defense halves the scores attack; with the weights in hand it can be run undefended.
    found = built(
        scored("none", "yang", [0.9, 0.9]),
        scored("none", "miface", [0.3, 0.3]),
        scored("top_k[k=3]", "yang", [0.4, 0.4]),
        scored("top_k[k=3]", "miface", [0.3, 0.3]),
    )
    assert row(found, "top_k[k=3]", "scores")["L"] == pytest.approx(0.4)
    assert row(found, "top_k[k=3]", "weights")["L"] == pytest.approx(0.9)


def test_without_an_undefended_row_a_row_without_effect_keeps_its_own_trials() -> None:
    found = built(scored("top_k[k=3]", "miface", [0.3, 0.4]))
    only = row(found, "top_k[k=3]", "weights")
    assert only["L"] == pytest.approx(0.35)
    assert "no_effect" in only["flags"]
    assert [kind for kind, _ in found.notes[BoardKey(*FACES, "weights")]] == ["no_reference"]


def test_interval_is_the_t_interval_of_the_worst_attack() -> None:
    leaks = [0.45, 0.62, 0.5]
    found = row(built(scored("none", "brep", leaks)), "none", "labels")
    low, high = scipy_stats.t.interval(0.95, 2, loc=np.mean(leaks), scale=scipy_stats.sem(leaks))
    assert (found["L_lo"], found["L_hi"]) == pytest.approx((low, high), abs=0.03)
    assert found["n_seeds"] == 3


def test_shown_leakage_is_clipped_after_averaging() -> None:
    found = row(built(scored("none", "brep", [-0.3, 0.3, -0.3])), "none", "labels")
    assert found["L_raw"] == pytest.approx(-0.1)
    assert (found["L"], found["L_lo"]) == (0, 0)
    assert found["L_hi"] == pytest.approx(-0.1 + 4.302653 * 0.2)


def test_one_seed_has_no_interval_no_rank_and_no_verdict(suite: boards.Boards) -> None:
    found = row(suite, "freezing", "weights", ("face", "faces", "cnn", "class_representative"))
    assert found["n_seeds"] == 1
    assert found["L"] > 0
    assert found[["L_lo", "L_hi", "rank", "dL_lo"]].isna().all()
    assert found["verdict"] == ""


def test_differences_are_paired_and_holm_adjusted_within_the_board() -> None:
    none = [0.8, 0.7, 0.9, 0.75]
    freezing, dropout = [0.5, 0.42, 0.61, 0.5], [0.78, 0.71, 0.86, 0.76]
    found = built(
        scored("none", "brep", none),
        adapting(scored("freezing", "brep", freezing)),
        adapting(scored("dropout", "brep", dropout)),
    )
    p = [scipy_stats.ttest_rel(other, none).pvalue for other in (freezing, dropout)]
    assert row(found, "freezing", "labels")["dL_p"] == pytest.approx(2 * p[0])
    assert row(found, "dropout", "labels")["dL_p"] == pytest.approx(max(2 * p[0], p[1]))
    assert row(found, "freezing", "labels")["verdict"] == "less"
    assert row(found, "dropout", "labels")["verdict"] == "unclear"
    assert row(found, "freezing", "labels")["dL"] == pytest.approx(-0.28)


def test_a_sure_difference_below_the_practical_margin_is_no_claim() -> None:
    found = built(
        scored("none", "brep", [0.60, 0.70, 0.80]),
        adapting(scored("dropout", "brep", [0.57, 0.67, 0.771])),
    )
    dropout = row(found, "dropout", "labels")
    assert dropout["dL_p"] < 0.05 and dropout["dL_hi"] < 0
    assert dropout["verdict"] == "unclear"


def test_pairs_are_matched_by_seed() -> None:
    found = built(
        scored("none", "brep", [0.2, 0.9, 0.5]), scored("freezing", "brep", [0.1, 0.8, None])
    )
    freezing = row(found, "freezing", "labels")
    assert freezing["dL"] == pytest.approx(-0.1)
    assert freezing["n_seeds"] == 2


def test_no_headroom_leaves_leakage_empty_and_names_the_strongest_by_score() -> None:
    found = built(scored("none", "mirror", [None, None]), scored("none", "yang", [None, None]))
    only = row(found, "none", "scores")
    assert np.isnan(only["L"])
    assert only["worst_attack"] == "yang"  # the larger score of the two
    assert "no_headroom" in only["flags"] and "weak_attack" not in only["flags"]
    assert [kind for kind, _ in found.notes[BoardKey(*FACES, "scores")]] == ["no_headroom"]


def test_an_attribute_that_is_mostly_known_is_flagged() -> None:
    def flagged(seeds: int) -> str:
        records = [
            r.model_copy(update={"flags": ["little_headroom"]}) if r.cell.seed < seeds else r
            for r in fake.build(3, ("diabetes",))
        ]
        return row(built(records), "none", "labels", DIABETES)["flags"]

    assert "little_headroom" in flagged(2)
    assert "little_headroom" not in flagged(1)


def test_flags_of_the_suite(suite: boards.Boards) -> None:
    assert row(suite, "none", "weights")["flags"] == ("provisional",)
    assert row(suite, "dropout", "weights")["flags"] == (
        "provisional",
        "missing",
    )
    assert row(suite, "freezing", "labels")["flags"] == (
        "provisional",
        "non_adaptive",
    )
    assert row(suite, "top_k[k=3]", "weights")["flags"] == (
        "provisional",
        "no_effect",
    )


def test_ten_seeds_are_not_provisional() -> None:
    leaks: list[float | None] = [0.5 + seed / 50 for seed in range(10)]
    assert row(built(scored("none", "brep", leaks)), "none", "labels")["flags"] == ()


def test_a_weak_attack_is_flagged_on_the_whole_board() -> None:
    found = built(scored("none", "brep", [0.40, 0.44]), scored("freezing", "brep", [0.1, 0.2]))
    assert all("weak_attack" in flags for flags in found.rows["flags"])
    (kind, sentence), *_ = found.notes[BoardKey(*FACES, "labels")]
    assert kind == "weak_attack" and "L = 0.42" in sentence


def test_a_straw_man_is_an_undefended_utility_below_the_plain_baseline() -> None:
    def with_reference(gap: float) -> boards.Boards:
        records = scored("none", "brep", [0.6, 0.7])
        return built(
            [
                r.model_copy(
                    update={
                        "utility": r.utility.model_copy(update={"reference": r.utility.value + gap})
                    }
                )
                for r in records
                if r.utility
            ]
        )

    assert "straw_man" in row(with_reference(0.03), "none", "labels")["flags"]
    assert "straw_man" not in row(with_reference(0.01), "none", "labels")["flags"]


def test_a_lower_bound_takes_no_place() -> None:
    plain = built(scored("none", "brep", [0.8, 0.7, 0.9]), scored("dropout", "brep", [0, 0.1, 0]))
    alone = row(plain, "dropout", "labels")
    assert (
        alone["flags"]
        == (
            "provisional",
            "non_adaptive",
        )
        and alone["verdict"] == ""
    )
    assert np.isnan(alone["rank"]) and np.isnan(alone["front"]) and np.isnan(alone["dL_p"])
    assert row(plain, "none", "labels")[["rank", "front"]].tolist() == [1, 1]


def test_with_the_weights_a_layer_on_the_answers_is_bypassed() -> None:
    def stacked(attack: str) -> list[TrialRecord]:
        return [
            r.model_copy(
                update={"defense": r.defense.model_copy(update={"stages": ["training", "release"]})}
            )
            for r in adapting(scored("dropout", attack, [0.1, 0.2, 0.1]))
        ]

    found = built(
        scored("none", "latent[loss=ce]", [0.8, 0.7, 0.9]),
        stacked("latent[loss=ce]"),
        scored("none", "brep", [0.8, 0.7, 0.9]),
        stacked("brep"),
    )
    assert "bypassed" in row(found, "dropout", "weights")["flags"]
    assert np.isnan(row(found, "dropout", "weights")["rank"])
    assert "bypassed" not in row(found, "dropout", "labels")["flags"]


def test_an_adaptive_attack_counts_under_any_of_its_variants() -> None:
    adaptive = row(built(scored("freezing", "latent[loss=ce]", [0.5])), "freezing", "weights")
    plain = row(built(scored("freezing", "miface", [0.5])), "freezing", "weights")
    assert "non_adaptive" not in adaptive["flags"]
    assert "non_adaptive" in plain["flags"]


def test_a_failed_adaptive_attack_did_not_run() -> None:
    failed = [
        r.model_copy(update=fake.broken("failed", "ValueError", "No."))
        for r in scored("freezing", "latent[loss=ce]", [0.5])
    ]
    found = row(built(failed, scored("freezing", "miface", [0.5])), "freezing", "weights")
    assert "non_adaptive" in found["flags"] and "missing" in found["flags"]


def test_a_seed_without_a_record_is_missing() -> None:
    found = built(scored("none", "brep", [0.6, 0.7]), scored("freezing", "brep", [0.5]))
    assert "missing" in row(found, "freezing", "labels")["flags"]
    assert "missing" not in row(found, "none", "labels")["flags"]


def test_equal_seeds_are_flagged_because_the_interval_has_no_width() -> None:
    found = row(built(scored("none", "brep", [0.6, 0.6, 0.6])), "none", "labels")
    assert "no_spread" in found["flags"]


def test_dirty_trials_mark_their_row() -> None:
    found = built(scored("none", "brep", [0.6], flags=["dirty"]))
    assert "dirty" in row(found, "none", "labels")["flags"]


def test_a_row_whose_trials_all_failed_stays_on_the_board() -> None:
    failed = [
        r.model_copy(update=fake.broken("crashed", "WorkerCrashed", "Gone."))
        for r in scored("freezing", "brep", [0.5, 0.5])
    ]
    found = row(built(failed, scored("none", "brep", [0.6, 0.7])), "freezing", "labels")
    assert np.isnan(found["L"]) and found["n_seeds"] == 0 and found["worst_attack"] == ""
    assert "missing" in found["flags"]


def test_a_board_whose_own_attacks_all_failed_says_so() -> None:
    failed = [
        r.model_copy(update=fake.broken("timeout", "Timeout", "Slow."))
        for r in scored("none", "latent[loss=ce]", [0.5])
    ]
    found = built(failed, scored("none", "brep", [0.6]))
    assert (
        "missing",
        "No attack with access to weights finished: the board rests on weaker attacks.",
    ) in found.notes[BoardKey(*FACES, "weights")]


def test_more_information_that_looks_safer_before_closure_is_noted() -> None:
    found = built(scored("none", "brep", [0.6, 0.7]), scored("none", "yang", [0.3, 0.4]))
    (kind, sentence), *_ = found.notes[BoardKey(*FACES, "scores")]
    assert kind == "monotonicity" and "none (0.35 against 0.65)" in sentence
    assert row(found, "none", "scores")["L"] == pytest.approx(0.65)
    assert found.notes[BoardKey(*FACES, "labels")] == []


def test_utility_is_per_target_not_per_trial() -> None:
    # Seed 1 has three trials, seed 0 one: each target counts once.
    records = [
        fake.trial("faces", "mlp", "none", attack, seed)
        for attack, seed in (("brep", 0), ("brep", 1), ("yang", 1), ("mirror", 1))
    ]
    values = {r.cell.seed: r.utility.value for r in records if r.utility}
    found = row(boards.build(frame.build(records, "smoke")), "none", "labels")
    assert found["utility"] == pytest.approx(sum(values.values()) / 2)


def test_epsilon_is_the_largest_spent(suite: boards.Boards) -> None:
    assert row(suite, "dp_sgd[epsilon=1]", "weights")["epsilon"] == pytest.approx(0.996)
    assert np.isnan(row(suite, "none", "weights")["epsilon"])


def test_baselines_alone_make_no_board() -> None:
    found = built(scored("none", "public_mean", [0.0]))
    assert list(found) == [] and len(found.baselines) == 1


def test_boards_are_a_pure_function_of_the_frame() -> None:
    table = frame.build(fake.build(2), "smoke")
    before = table.copy()
    first, second = boards.build(table), boards.build(table)
    assert table.equals(before)
    pd.testing.assert_frame_equal(first.rows, second.rows)


def test_a_claim_that_canaries_refute_on_most_seeds_is_flagged() -> None:
    def flagged(lower: list[float]) -> bool:
        found = []
        for plain in fake.build(3):
            record = plain
            if plain.privacy is not None:
                audit = PrivacyAudit(
                    canaries=200,
                    guesses=100,
                    right=90,
                    epsilon_lower=lower[plain.cell.seed],
                    epsilon=1.0,
                )
                record = plain.model_copy(update={"privacy_audit": audit})
            found.append(record)
        rows = boards.build(frame.build(found, "s")).rows
        marked = frame.flagged(rows, "broken_privacy")
        assert not marked[rows["epsilon"].isna()].any()
        return bool(marked.any())

    assert flagged([1.5, 1.2, 0.3]) and not flagged([1.5, 0.2, 0.3])


def test_front_and_seeds_needed(suite: boards.Boards) -> None:
    shown = suite.rows[~frame.flagged(suite.rows, "no_effect")]
    assert shown["front"].dropna().between(0, 1).all()
    assert suite.rows.loc[frame.flagged(suite.rows, "no_effect"), "front"].isna().all()
    for _, rows in suite:
        competing = rows["front"].dropna()
        assert competing.empty or competing.sum() >= 1 - 1e-9  # some row is on it in every draw
    assert (suite.rows["seeds_needed"].dropna() >= 2).all()
    assert row(suite, "none", "weights")["train_s"] == pytest.approx(1.5)
