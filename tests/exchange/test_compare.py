"""What moved: hand-worked figures, error rate and power by simulation, and what is only in one."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from bench.contract.record import TrialRecord
from bench.exchange import compare
from tests.report import fake_records as fake


def _table(values: np.ndarray, target: str, measure: str = "L", board: int = 0) -> pd.DataFrame:
    """Seeds ``[rows, seeds]`` of one board as ``moves`` takes them; targets named per cell."""
    rows, seeds = np.indices(values.shape)
    return pd.DataFrame(
        {
            "sector": "s",
            "dataset": f"d{board}",
            "model": "m",
            "goal": "g",
            "access": "scores",
            "budget": np.inf,
            "defense": [f"r{r}" for r in rows.ravel()],
            "measure": measure,
            "seed": seeds.ravel(),
            "value": values.ravel(),
            "trial_id": [
                f"{target}/{board}/{r}/{s}"
                for r, s in zip(rows.ravel(), seeds.ravel(), strict=True)
            ],
            "target": [
                f"{target[0]}/{board}/{r}/{s}"
                for r, s in zip(rows.ravel(), seeds.ravel(), strict=True)
            ],
        }
    )


def test_pairs_as_worked_by_hand() -> None:
    """Same targets: a paired t test on 0.1, 0.2, 0.3, whose mean 0.2 has standard error 0.0577."""
    a = _table(np.array([[0.2, 0.3, 0.4]]), "t")
    b = _table(np.array([[0.3, 0.5, 0.7]]), "t2")
    [row] = compare.moves(a, b).to_dict("records")
    assert row["by"] == "paired"
    assert row["diff"] == pytest.approx(0.2)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (row["lo"], row["hi"]) == pytest.approx((0.2 - half, 0.2 + half))
    assert row["p"] == pytest.approx(scipy_stats.ttest_1samp([0.1, 0.2, 0.3], 0).pvalue)
    assert row["verdict"] == "unclear"


def test_other_targets_are_independent_samples() -> None:
    x, y = np.array([[0.2, 0.3, 0.4, 0.1]]), np.array([[0.3, 0.5, 0.9]])
    [row] = compare.moves(_table(x, "t"), _table(y, "u")).to_dict("records")
    welch = scipy_stats.ttest_ind(y[0], x[0], equal_var=False)
    assert row["by"] == "independent"
    assert row["p"] == pytest.approx(welch.pvalue)
    ends = welch.confidence_interval()
    assert (row["lo"], row["hi"]) == pytest.approx((ends.low, ends.high))


def test_verdicts() -> None:
    wobble = np.array([-0.01, 0.0, 0.01, 0.0, -0.005, 0.005])

    def verdict(old: float, new: float, spread: float = 1.0, measure: str = "L") -> str:
        a = _table(old + wobble[None] * spread, "t", measure)
        b = _table(new + wobble[None, ::-1] * spread, "t2", measure)
        return str(compare.moves(a, b)["verdict"].iloc[0])

    assert verdict(0.2, 0.4) == "leaks more"
    assert verdict(0.4, 0.2) == "leaks less"
    assert verdict(0.3, 0.3) == "same"
    assert verdict(0.3, 0.33) == "same"  # significant, but of no practical size
    assert verdict(0.3, 0.33, spread=20) == "unclear"
    assert verdict(-0.5, -0.1) == "same"  # neither leaks
    assert verdict(-0.3, 0.2) == "leaks more"
    assert verdict(0.2, 0.4, measure="M") == "leaks more"
    assert verdict(0.9, 0.7, measure="U") == "less useful"
    assert verdict(0.7, 0.9, measure="U") == "more useful"


def test_one_trial_with_other_figures_has_moved() -> None:
    a = _table(np.array([[0.2, 0.2, 0.3, 0.2, 0.3, 0.2]]), "t")
    b = a.assign(value=a["value"] + [0.3, 0.31, 0.3, 0.29, 0.3, 0.31])
    [row] = compare.moves(a, b).to_dict("records")
    assert (row["by"], row["verdict"]) == ("paired", "leaks more")
    records = fake.build(3, ("baskets",))
    assert compare.compare(records, records).notes == ()
    other = [
        r.model_copy(update={"score": r.score.model_copy(update={"L": 0.9})})
        if r.score and r.cell.key() == "baskets/mlp/none/yang/0"
        else r
        for r in records
    ]
    [note] = compare.compare(records, other).notes
    assert note.startswith("the trial baskets/mlp/none/yang/0 is in both under one identity")


def test_nothing_moves_between_a_result_and_itself() -> None:
    records = fake.build(5)
    found = compare.compare(records, records)
    assert set(found.moves["verdict"]) == {"same"}
    assert set(found.moves["by"]) == {"same trials"}
    assert found.changed.empty
    assert not found.fails("any")


def test_the_same_trials_are_the_same_even_once_and_one_other_seed_says_nothing() -> None:
    a = _table(np.array([[0.4]]), "t")
    assert compare.moves(a, a)[["by", "verdict"]].to_numpy().tolist() == [["same trials", "same"]]
    b = _table(np.array([[0.9]]), "u")
    [row] = compare.moves(a, b).to_dict("records")
    assert row["verdict"] == "unclear"
    assert math.isnan(row["p"])


def test_holm_is_over_the_leakage_figures_of_a_board() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.3, 0.05, (2, 3, 6))
    apart = compare.moves(_table(a, "t"), _table(b, "u"))
    raw = [scipy_stats.ttest_ind(y, x, equal_var=False).pvalue for x, y in zip(a, b, strict=True)]
    order = np.argsort(raw)
    stepped = np.minimum(1, np.maximum.accumulate(np.array([3, 2, 1]) * np.array(raw)[order]))
    assert apart["p"].to_numpy()[order] == pytest.approx(stepped)
    both = compare.moves(
        pd.concat([_table(a, "t"), _table(a, "t", "M"), _table(a, "t", "U")]),
        pd.concat([_table(b, "u"), _table(b, "u", "M"), _table(b, "u", "U")]),
    )
    least = both.groupby("measure")["p"].min()
    assert least["L"] == pytest.approx(min(1, 6 * min(raw)))
    assert least["U"] == pytest.approx(min(1, 3 * min(raw)))


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [3, 7])
def test_error_rate_and_power(paired: bool, seeds: int) -> None:
    """1,000 boards of five rows: null boards cry wolf in 5 % at most, moved rows are found."""
    rng = np.random.default_rng(seeds + 10 * paired)
    boards, rows, luck, noise = 1000, 5, 0.08, 0.03

    def seen(target: str, shift: float, shared: np.ndarray | None) -> tuple[pd.DataFrame, Any]:
        base = rng.normal(0.4, luck, (boards, 1, seeds)) if shared is None else shared
        values = base + rng.normal(0, noise, (boards, rows, seeds))
        values[:, 0] += shift
        flat = values.reshape(boards * rows, seeds)
        table = _table(flat, target)
        number = table["defense"].str[1:].astype(int)
        return table.assign(
            dataset=(number // rows).map("d{}".format), defense=(number % rows).map("r{}".format)
        ), base

    a, shared = seen("t", 0.0, None)
    null, _ = seen("t2" if paired else "u", 0.0, shared if paired else None)
    moved, _ = seen("t2" if paired else "u", 0.25, shared if paired else None)

    # Without a margin all that protects is the test: its rate is the nominal one.
    bare = compare.moves(a, null, margin=0.0)
    wrong = bare["verdict"].isin(["leaks more", "leaks less"]).groupby(bare["dataset"]).any().mean()
    assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / boards), wrong
    assert (bare["by"] == ("paired" if paired else "independent")).all()
    kept = compare.moves(a, null)
    assert (
        kept["verdict"].isin(["leaks more", "leaks less"]).groupby(kept["dataset"]).any().mean()
        <= wrong
    )

    found = compare.moves(a, moved)
    row = found[found["defense"] == "r0"]
    power = (row["verdict"] == "leaks more").mean()
    assert (
        power
        > {(True, 7): 0.99, (False, 7): 0.85, (True, 3): 0.25, (False, 3): 0.05}[paired, seeds]
    )
    assert (row["verdict"] == "leaks less").mean() == 0


def test_a_result_against_itself_has_not_moved() -> None:
    records = fake.build(seeds=3, datasets=("diabetes",))
    found = compare.compare(records, records)
    assert found.obstacles == found.notes == ()
    assert set(found.moves["by"]) == {"same trials"}
    assert set(found.moves["verdict"]) == {"same"}
    assert found.changed.empty
    assert not found.fails("any")
    assert "0 leak more" in found.sentence()


def _stronger(record: TrialRecord) -> TrialRecord:
    score = record.score
    if score is None or record.cell.attack != "neuron" or record.cell.defense != "none":
        return record
    more = score.model_copy(update={"L": (score.L or 0) + 0.4})
    return record.model_copy(update={"score": more, "trial_id": f"{record.trial_id}-new"})


def test_what_leaks_more_and_why() -> None:
    records = fake.build(seeds=6, datasets=("diabetes",))
    found = compare.compare(records, [_stronger(r) for r in records])
    row = found.moves[(found.moves["verdict"] == "leaks more")]
    assert row[["access", "defense", "measure", "by"]].to_numpy().tolist() == [
        ["weights", "none", "L", "paired"]
    ]
    assert row["diff"].iloc[0] > 0.25
    assert found.fails("worse")
    assert found.fails("any")
    assert not found.fails("never")
    assert "1 leak more" in found.sentence()
    back = compare.compare([_stronger(r) for r in records], records)
    assert not back.fails("worse")
    assert back.fails("any")


def test_what_came_and_went() -> None:
    records = fake.build(seeds=2, datasets=("diabetes", "baskets"))
    fewer = [
        r
        for r in records
        if r.cell.dataset == "diabetes"
        and r.cell.defense != "dropout"
        and r.cell.attack != "neuron"
    ]
    found = compare.compare(records, fewer)
    changed = {(row.what, row.defense) for row in found.changed.itertuples()}
    assert ("rows vanished", "dropout") in changed
    assert ("attacks vanished", "") in changed or ("boards vanished", "") in changed
    assert any(row.board.startswith("baskets/") for row in found.changed.itertuples())
    came = compare.compare(fewer, records)
    assert {row.what for row in came.changed.itertuples()} == {
        what.replace("vanished", "new") for what, _ in changed
    }


@pytest.mark.parametrize(
    ("change", "blocks", "words"),
    [
        ({"protocol_version": "2.0"}, True, "protocol version is 1.0 in A: "),
        ({"data": {"facts": {"sha256": "0" * 64}}}, True, "data (sha256)"),
        ({"attack": {"params": {"steps": 9}}}, False, "settings of the attack"),
        ({"nodes": {"data": "x"}}, False, "data split"),
    ],
)
def test_what_differs_besides_the_figures_is_said(
    change: dict[str, Any], blocks: bool, words: str
) -> None:
    records = [
        r.model_copy(update={"nodes": {**r.nodes, "data": f"data-{r.cell.seed}"}})
        for r in fake.build(seeds=2, datasets=("diabetes",))
    ]

    def changed(r: TrialRecord) -> TrialRecord:
        update: dict[str, Any] = {}
        for name, value in change.items():
            old = getattr(r, name)
            if name == "nodes":
                update[name] = {**old, "data": f"{value['data']}-{r.cell.seed}"}
            else:
                update[name] = old.model_copy(update=value) if isinstance(value, dict) else value
        return r.model_copy(update=update)

    found = compare.compare(records, [changed(r) for r in records])
    assert bool(found.obstacles) is blocks
    assert words in " ".join(found.obstacles if blocks else found.notes)


def test_json_and_markdown_hold_it_all() -> None:
    records = fake.build(seeds=6, datasets=("diabetes",))
    found = compare.compare(records, [_stronger(r) for r in records])
    told = json.loads(json.dumps(compare.data(found), allow_nan=False))
    assert len(told["moves"]) == len(found.moves)
    assert told["sentence"] == found.sentence()
    text = compare.markdown(found)
    assert "leaks more" in text
    assert "| L |" in text
    assert " same |" not in text
    assert " same |" in compare.markdown(found, every=True)
