"""The worst attack is chosen on the first third of the seeds and reported on the rest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from built import adapting, built, row, scored
from scipy import stats as scipy_stats

from bench.report import boards, frame
from tests.report import fake_records as fake

NOISY: list[float | None] = [0.9, 0.1, 0.4, 0.5, 0.3]
STEADY: list[float | None] = [0.2, 0.2, 0.6, 0.7, 0.5]


def test_the_first_third_chooses_and_the_rest_reports() -> None:
    # brep is worst on seeds 0 and 1 (.5 against .2), mirror on all five (.44) and on the rest.
    found = built(scored("none", "brep", NOISY), scored("none", "mirror", STEADY))
    only = row(found, "none", "scores")
    assert only["worst_attack"] == "brep"
    assert (only["L"], only["L_raw"]) == pytest.approx((0.4, 0.4))
    assert (only["n_seeds"], only["n_reported"]) == (5, 3)
    assert (only["selected_on"], only["reported_on"]) == ("0-1", "2-4")
    low, high = scipy_stats.t.interval(0.95, 2, loc=0.4, scale=scipy_stats.sem([0.4, 0.5, 0.3]))
    assert (only["L_lo"], only["L_hi"]) == pytest.approx((low, high))


def test_under_five_seeds_all_choose_and_report() -> None:
    found = built(scored("none", "brep", NOISY[:4]), scored("none", "mirror", STEADY[:4]))
    only = row(found, "none", "scores")
    assert (only["worst_attack"], only["n_reported"]) == ("brep", 4)
    assert (only["selected_on"], only["reported_on"]) == ("", "")
    assert only["L"] == pytest.approx(0.475)


def test_differences_are_of_the_seeds_that_report_each_by_its_own_attack() -> None:
    found = built(
        scored("none", "brep", NOISY),
        scored("none", "mirror", STEADY),
        adapting(scored("freezing", "brep", [0.0, 0.0, 0.9, 0.9, 0.9])),
        adapting(scored("freezing", "mirror", [0.3, 0.3, 0.1, 0.3, 0.2])),
    )
    freezing = row(found, "freezing", "scores")
    assert freezing["worst_attack"] == "mirror"
    gaps = np.array([0.1 - 0.4, 0.3 - 0.5, 0.2 - 0.3])
    assert freezing["dL"] == pytest.approx(gaps.mean())
    assert freezing["dL_p"] == pytest.approx(scipy_stats.ttest_1samp(gaps, 0).pvalue)
    assert freezing["dL_flip"] == pytest.approx(2 / 8)
    assert np.isnan(row(found, "none", "scores")["dL_flip"])


def test_without_its_worst_attack_a_row_rests_on_the_next_in_any_setting() -> None:
    found = built(
        scored("none", "latent[loss=logit]", [0.9, 0.9, 0.8, 0.8, 0.8]),
        scored("none", "latent[loss=ce]", [0.8, 0.8, 0.7, 0.7, 0.7]),
        scored("none", "miface", [0.3, 0.3, 0.1, 0.2, 0.3]),
    )
    only = row(found, "none", "weights")
    assert (only["L"], only["L_without"]) == pytest.approx((0.8, 0.2))
    assert np.isnan(row(built(scored("none", "brep", NOISY)), "none", "labels")["L_without"])


def test_a_row_that_finished_no_seed_that_chooses_has_to_choose_by_the_others() -> None:
    failed = [
        r.model_copy(update=fake.broken("timeout", "Timeout", "Slow.")) if r.cell.seed < 2 else r
        for r in scored("freezing", "brep", NOISY)
    ]
    found = row(built(scored("none", "brep", NOISY), failed), "freezing", "labels")
    assert found["L"] == pytest.approx(0.4) and "missing" in found["flags"]


def test_seeds_hold_every_finished_trial_and_say_which_report() -> None:
    found = built(scored("none", "brep", NOISY), scored("none", "mirror", STEADY))
    seeds = found.seeds[found.seeds["access"] == "scores"]
    assert len(seeds) == 10 and len(found.seeds) == 15  # the labels board has one attack
    assert seeds.loc[seeds["reported"], "seed"].tolist() == [2, 3, 4] * 2
    brep = seeds[(seeds["attack"] == "brep") & seeds["reported"]]
    assert brep["L"].mean() == pytest.approx(row(found, "none", "scores")["L"])
    assert seeds["utility"].notna().all()


def test_every_figure_of_a_row_is_that_of_its_attack_in_the_table_of_attacks() -> None:
    found = boards.build(frame.build(fake.build(6), "smoke"))
    rows = found.rows.rename(columns={"worst_attack": "attack"})
    both = rows.merge(found.attacks, on=[*boards.ROW, "attack"], suffixes=("", "_attack"))
    assert len(both) == (rows["attack"] != "").sum()
    pd.testing.assert_series_equal(both["L_raw"], both["L_attack"], check_names=False)
