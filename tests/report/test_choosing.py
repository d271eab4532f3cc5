"""The worst attack is chosen and reported on all seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from built import adapting, built, row, scored
from scipy import stats as scipy_stats

from bench.report import boards, frame
from tests.report import fake_records as fake

NOISY: list[float | None] = [0.9, 0.1, 0.4, 0.5, 0.3]
STEADY: list[float | None] = [0.2, 0.2, 0.6, 0.7, 0.4]


def test_the_worst_attack_has_the_largest_mean_over_all_seeds() -> None:
    only = row(
        built(scored("none", "brep", NOISY), scored("none", "mirror", STEADY)), "none", "scores"
    )
    assert (only["worst_attack"], only["n_seeds"]) == ("brep", 5)
    assert (only["L"], only["L_raw"]) == pytest.approx((0.44, 0.44))


def test_another_attack_widens_the_interval_of_the_worst_case() -> None:
    alone = row(built(scored("none", "brep", NOISY)), "none", "labels")
    both = built(scored("none", "brep", NOISY), scored("none", "mirror", [0.4, 0.8, 0.1, 0.6, 0.2]))
    assert alone["worst_attack"] == row(both, "none", "scores")["worst_attack"] == "brep"
    assert row(both, "none", "scores")["L_hi"] > alone["L_hi"]


def test_differences_are_paired_each_side_by_its_own_attack() -> None:
    found = built(
        scored("none", "brep", NOISY),
        scored("none", "mirror", STEADY),
        adapting(scored("freezing", "brep", [0.0, 0.0, 0.9, 0.9, 0.9])),
        adapting(scored("freezing", "mirror", [0.3, 0.3, 0.1, 0.3, 0.2])),
    )
    freezing = row(found, "freezing", "scores")
    assert freezing["worst_attack"] == "brep"
    gaps = np.array([-0.9, -0.1, 0.5, 0.4, 0.6])
    assert freezing["dL"] == pytest.approx(gaps.mean())
    assert freezing["dL_p"] == pytest.approx(scipy_stats.ttest_1samp(gaps, 0).pvalue)
    assert freezing["dL_flip"] == pytest.approx(26 / 32)
    assert np.isnan(row(found, "none", "scores")["dL_flip"])


def test_without_its_worst_attack_a_row_rests_on_the_next_in_any_setting() -> None:
    found = built(
        scored("none", "latent[loss=logit]", [0.9, 0.9, 0.8, 0.8, 0.8]),
        scored("none", "latent[loss=ce]", [0.8, 0.8, 0.7, 0.7, 0.7]),
        scored("none", "miface", [0.3, 0.3, 0.1, 0.2, 0.3]),
    )
    only = row(found, "none", "weights")
    assert (only["L"], only["L_without"]) == pytest.approx((0.84, 0.24))
    assert np.isnan(row(built(scored("none", "brep", NOISY)), "none", "labels")["L_without"])


def test_seeds_hold_every_finished_trial() -> None:
    found = built(scored("none", "brep", NOISY), scored("none", "mirror", STEADY))
    seeds = found.seeds[found.seeds["access"] == "scores"]
    assert len(seeds) == 10 and len(found.seeds) == 15  # the labels board has one attack
    brep = seeds[seeds["attack"] == "brep"]
    assert brep["L"].mean() == pytest.approx(row(found, "none", "scores")["L"])
    assert seeds["utility"].notna().all()


def test_every_figure_of_a_row_is_that_of_its_attack_in_the_table_of_attacks() -> None:
    found = boards.build(frame.build(fake.build(6), "smoke"))
    rows = found.rows.rename(columns={"worst_attack": "attack"})
    both = rows.merge(found.attacks, on=[*boards.ROW, "attack"], suffixes=("", "_attack"))
    assert len(both) == (rows["attack"] != "").sum()
    pd.testing.assert_series_equal(both["L_raw"], both["L_attack"], check_names=False)
