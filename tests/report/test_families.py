from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.report import boards, families, frame
from tests.report import fake_records as fake

SCENES = ["sector", "dataset", "model", "goal", "access"]


def noise(
    worlds: int = 1,
    settings: int = 6,
    attacks: int = 3,
    seeds: int = 9,
    sd: float = 0.1,
    utility: float = 0.8,
) -> pd.DataFrame:
    """Trials of equally good settings and equally strong attacks: only luck tells them apart."""
    rng = np.random.default_rng(0)
    defenses = ["none", *(f"d[s={i}]" for i in range(settings))]
    index = pd.MultiIndex.from_product(
        [
            [f"w{i:03}" for i in range(worlds)],
            defenses,
            [f"a{i}" for i in range(attacks)],
            range(seeds),
        ],
        names=["dataset", "defense", "attack", "seed"],
    )
    table = index.to_frame(index=False)
    nothing = [()] * len(table)
    return table.assign(
        sector="s",
        model="m",
        goal="attribute",
        access="scores",
        status="done",
        flags="",
        budget=np.inf,
        control="",
        unplaced=0,
        reproduction=False,
        utility=utility,
        covers=nothing,
        adaptive_to=nothing,
        utility_metric="accuracy",
        single=False,
        draws=nothing,
        L_error=np.nan,
        quadratic=np.nan,
        settings=1,
        tunable=True,
        stages=nothing,
        epsilon=np.nan,
        advantage=np.nan,
        victims=500.0,
        s_base=0.0,
        s_ceil=1.0,
        train_s=1.0,
        family=table["defense"].str.split("[").str[0],
        L=0.5 + sd * rng.standard_normal(len(table)),
    )


def set_where(table: pd.DataFrame, column: str, value: object, **where: object) -> pd.DataFrame:
    mask = pd.Series(True, index=table.index)
    for name, wanted in where.items():
        mask &= table[name] == wanted
    assert mask.any()
    return table.assign(**{column: table[column].mask(mask, value)})


def pick(table: pd.DataFrame, family: str = "d") -> pd.Series:
    (row,) = families.tuned(table).query("family == @family").to_dict("records")
    return pd.Series(row)


def test_with_pure_noise_a_tuned_row_is_unbiased_where_the_naive_best_is_not() -> None:
    table = noise(worlds=300, attacks=1)
    found = families.tuned(table).query("family == 'd'")["L_raw"]
    error = found.std() / np.sqrt(len(found))
    assert len(found) == 300
    assert abs(found.mean() - 0.5) < 3 * error
    settings = table[table["defense"] != "none"].groupby(["dataset", "defense"])["L"].mean()
    assert settings.groupby("dataset").min().mean() < 0.5 - 10 * error


def test_with_pure_noise_the_worst_attack_errs_against_the_defense_and_its_interval_covers() -> (
    None
):
    found = families.tuned(noise(worlds=300, settings=1, attacks=6)).query("family == 'd'")
    assert 0.5 < found["L_raw"].mean() < 0.58
    assert found["L_lo"].le(0.5).mean() > 0.93 and found["L_hi"].ge(0.5).mean() > 0.97


def test_reported_seeds_never_choose() -> None:
    table = noise()
    before = pick(table)
    changed = table.assign(L=table["L"].where(table["seed"] < 3, -table["L"]))
    after = pick(changed)
    assert before["defense"] == after["defense"]


def test_selection_seeds_are_never_reported() -> None:
    table = noise(settings=1, attacks=1)
    moved = table.assign(L=table["L"].where(table["seed"] >= 3, 7.0))
    names = ["L", "L_lo", "L_hi", "L_raw", "utility", "dU", "n_seeds"]
    assert pick(moved)[names].equals(pick(table)[names])


@pytest.mark.parametrize(
    ("seeds", "selected", "reported"), [(5, "0-1", "2-4"), (6, "0-1", "2-5"), (10, "0-3", "4-9")]
)
def test_the_first_third_rounded_up_selects(seeds: int, selected: str, reported: str) -> None:
    row = pick(noise(seeds=seeds))
    assert (row["selected_on"], row["reported_on"]) == (selected, reported)
    assert row["n_seeds"] == seeds - (seeds + 2) // 3


def test_under_five_seeds_all_choose_and_report_and_the_row_says_so() -> None:
    row = pick(noise(seeds=4))
    assert (row["selected_on"], row["reported_on"], row["n_seeds"]) == ("", "", 4)
    assert row["flags"] == ("unsplit",)


def test_a_single_seed_chooses_nothing() -> None:
    table = families.tuned(noise(seeds=1))
    assert table.empty and list(table.columns) == families.COLUMNS


def test_the_least_worst_case_within_the_budget_is_picked() -> None:
    table = noise(settings=3, attacks=2, sd=0)
    # s=0 is best against a0 alone, s=1 in the worst case, s=2 would be but costs too much.
    for name, attack, leak in (
        ("d[s=0]", "a0", 0.0),
        ("d[s=0]", "a1", 0.9),
        ("d[s=1]", "a0", 0.3),
        ("d[s=1]", "a1", 0.4),
        ("d[s=2]", "a0", 0.1),
        ("d[s=2]", "a1", 0.1),
    ):
        table = set_where(table, "L", leak, defense=name, attack=attack)
    table = set_where(table, "utility", 0.77, defense="d[s=1]")  # exactly the budget
    table = set_where(table, "utility", 0.76, defense="d[s=2]")
    row = pick(table)
    assert (row["defense"], row["attack"], row["flags"]) == ("d[s=1]", "a1", ())
    assert (row["L"], row["dU"], row["loss"]) == pytest.approx((0.4, -0.03, 0.03))
    assert (row["settings"], row["attacks"]) == (3, 2)


def test_where_none_keeps_the_budget_the_least_loss_is_picked_and_marked() -> None:
    table = noise(settings=2, attacks=1, sd=0)
    table = set_where(table, "utility", 0.7, defense="d[s=0]")
    table = set_where(table, "utility", 0.6, defense="d[s=1]")
    table = set_where(table, "L", 0.0, defense="d[s=1]")
    row = pick(table)
    assert (row["defense"], row["flags"]) == ("d[s=0]", ("over_budget",))


def test_unequal_tuning_is_flagged() -> None:
    lone = noise(settings=1).query("defense != 'none'").assign(defense="e", family="e")
    weakly = noise().query("defense != 'none' and attack != 'a2'")
    weakly = weakly.assign(defense=weakly["defense"].str.replace("d[", "f["), family="f")
    table = families.tuned(pd.concat([noise(), lone, weakly], ignore_index=True))
    flags = table.set_index("family")["flags"].to_dict()
    assert flags == {
        "none": (),
        "d": (),
        "e": ("unequal_tuning",),
        "f": ("unequal_tuning",),
    }


def test_a_trial_that_did_not_finish_is_said() -> None:
    table = noise(settings=1)
    lost = (table["defense"] == "d[s=0]") & (table["attack"] == "a1") & (table["seed"] == 5)
    table.loc[lost, "status"] = "oom"
    assert pick(table)["flags"] == ("missing",)


def test_a_setting_that_does_not_act_is_no_setting() -> None:
    table = noise(settings=3, sd=0)
    table = table.assign(
        covers=table["defense"].map(lambda name: ("weights",) if name == "d[s=0]" else ())
    )
    table = set_where(table, "L", 0.1, defense="d[s=0]")
    row = pick(table)
    assert (row["settings"], row["L"]) == (2, 0.5)


def test_without_an_undefended_target_nothing_can_be_chosen() -> None:
    assert families.tuned(noise().query("defense != 'none'")).empty


def test_controls_are_no_settings() -> None:
    table = noise(settings=3)
    control = table.query("defense == 'd[s=0]'").assign(defense="d[s=9]", control="zero", L=-9.0)
    assert pick(pd.concat([table, control], ignore_index=True)).equals(pick(table))


def test_the_order_of_the_trials_does_not_matter() -> None:
    table = noise(worlds=3)
    shuffled = families.tuned(table.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(shuffled, families.tuned(table))


def test_curves_repeat_the_board_and_follow_utility() -> None:
    table = frame.build(fake.build(), "smoke")
    found = boards.build(table)
    curves = families.curves(found, table)
    assert not frame.flagged(curves, "no_effect").any()
    board = curves.query("dataset == 'faces' and model == 'mlp' and access == 'weights'")
    points = board.query("family == 'dp_sgd'")
    assert points["defense"].tolist() == ["dp_sgd[epsilon=1]", "dp_sgd[epsilon=8]"]
    rows = found.rows.set_index([*SCENES, "defense"])["L"]
    same = board.set_index([*SCENES, "defense"])["L"]
    assert same.equals(rows.loc[same.index])


def test_every_board_of_a_suite_has_its_tuned_rows() -> None:
    table = frame.build(fake.build(), "smoke")
    tuned = families.tuned(table)
    assert len(tuned.groupby(SCENES)) == 8  # one board's model has a single seed
    assert set(tuned["family"]) == {name.split("[")[0] for name in fake.DEFENSES}
    assert "label_only" not in set(tuned.query("access == 'labels'")["family"])
    assert (tuned["n_seeds"] <= 3).all() and tuned["L"].between(0, 1).all()


# ---------------------------------------------------------------- summaries
def summed(tau: float = 0.20) -> pd.Series:
    """``d`` has three settings (utility, L): (.8, .6), (.7, .15) and (.6, .1); none (.9, .8)."""
    records = []
    for defense, utility, leak in (
        ("none", 0.9, 0.8),
        ("freezing", 0.8, 0.6),
        ("dp_sgd[epsilon=8]", 0.7, 0.15),
        ("dp_sgd[epsilon=1]", 0.6, 0.1),
    ):
        for seed in range(6):
            record = fake.trial("faces", "mlp", defense, "brep", seed)
            assert record.score is not None and record.utility is not None
            luck = 0.01 * (-1) ** seed
            records.append(
                record.model_copy(
                    update={
                        "score": record.score.model_copy(update={"L": leak + luck}),
                        "utility": record.utility.model_copy(update={"value": utility}),
                        "defense": record.defense.model_copy(
                            update={"family": "none" if defense == "none" else "d"}
                        ),
                    }
                )
            )
    table = frame.build(records, "s")
    found = boards.build(table)
    tuned = families.tuned(table, budget=0.1)
    rows = families.summaries(found, table, tuned, tau).set_index("family")
    assert rows.columns.tolist() == [n for n in families.SUMMARIES if n != "family"]
    assert rows.loc["none", "hypervolume"] == 0
    return rows.loc["d"]


def test_summaries_by_hand() -> None:
    row = summed()
    assert row["L_at_loss_defense"] == "freezing"
    assert row["L_at_loss"] == pytest.approx(0.6)
    assert (row["U_at_L_defense"], row["U_at_L"]) == ("dp_sgd[epsilon=8]", pytest.approx(0.7))
    assert row["U_at_L_L"] == pytest.approx(0.15)
    # Utility from .6 to .9 becomes 0 to 1, leakage is divided by .8: rectangles 2/3 wide from
    # .6 to .8, 1/3 wide from .15 to .6, and none at .6 of utility.
    area = 2 / 3 * 0.2 / 0.8 + 1 / 3 * 0.45 / 0.8
    assert row["hypervolume"] == pytest.approx(area)
    assert (row["hypervolume_lo"], row["hypervolume_hi"]) == pytest.approx((area, area))


def test_where_no_setting_leaks_so_little_there_is_no_utility() -> None:
    row = summed(tau=0.05)
    assert row["U_at_L_defense"] == "" and np.isnan(row["U_at_L"])


def test_summaries_of_a_suite_are_one_row_a_family_that_acts() -> None:
    table = frame.build(fake.build(5), "smoke")
    found, tuned = boards.build(table), families.tuned(table)
    rows = families.summaries(found, table, tuned)
    assert not rows.duplicated([*SCENES, "family"]).any()
    acting = found.rows[~frame.flagged(found.rows, "no_effect")]
    assert len(rows) == len(
        acting.assign(f=acting["defense"].str.split("[").str[0]).groupby([*SCENES, "f"])
    )
    assert rows["hypervolume"].dropna().ge(0).all()
    within = tuned[~frame.flagged(tuned, "over_budget")]
    assert rows["L_at_loss"].notna().sum() == len(within)


def test_a_loss_whose_interval_reaches_beyond_the_budget_is_said() -> None:
    table = noise(settings=1, attacks=1)
    uneven = {seed: 0.8 - 0.02 - 0.02 * (-1) ** seed for seed in range(9)}
    mine = table["defense"] != "none"
    table = table.assign(utility=table["utility"].mask(mine, table["seed"].map(uneven)))
    assert pick(table)["flags"] == ("loss_unproven",)
