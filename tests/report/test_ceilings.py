"""The most that a private training lets an attacker gain, against closed forms and attackers."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from bench.contract import PrivacyLedger
from bench.contract.record import TrialRecord
from bench.report import boards, ceilings, frame, site
from tests.report.fake_records import build, trial

P = np.linspace(0, 1, 501)
DELTA = 1e-4
PURE = ((1.0, 0.0),)


def gaussian(mu: float) -> Any:
    """What a Gaussian mechanism of shift ``mu`` keeps (Balle and Wang, ICML 2018, theorem 8)."""
    return tuple(
        (e, float(norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu)))
        for e in np.linspace(0, 4 * mu + mu**2 / 2, 61)
    )


def test_without_a_budget_nothing_is_gained() -> None:
    assert np.allclose(ceilings.success(((0.0, 0.0),), P, 4), P)
    assert ceilings.most_gap(((0.0, 0.0),), 4) == pytest.approx(0, abs=1e-12)


def test_a_larger_budget_allows_more_and_never_more_than_everything() -> None:
    before = P
    for epsilon in (0.1, 0.5, 1.0, 3.0, 8.0, 50.0, 1000.0):
        for steps in (1, 2, 4):
            now = ceilings.success(((epsilon, DELTA),), P, steps)
            assert (now >= P).all() and (now <= 1).all() and (np.diff(now) >= -1e-12).all()
            if steps == 1:
                assert (now >= before - 1e-12).all()
                before = now
    gaps = [ceilings.most_gap(((e, DELTA),), k) for k in (1, 2, 4) for e in (0.1, 1.0, 8.0, 50.0)]
    assert all(0 < gap <= 1 for gap in gaps)
    assert all(np.diff(np.reshape(gaps, (3, 4)), axis=a).min() >= 0 for a in (0, 1))


@pytest.mark.parametrize("mu", [0.2, 1.0, 2.0])
def test_the_trade_off_of_a_gaussian_is_its_closed_form(mu: float) -> None:
    base = P[1:-1]
    closed = norm.cdf(norm.ppf(base) + mu)
    found = ceilings.success(gaussian(mu), base)
    assert (found >= closed - 1e-12).all(), "a bound must not lie below what is reached"
    assert np.abs(found - closed).max() < 3e-3
    for steps in (1, 2, 4):
        reached = 2 * norm.cdf(steps * mu / 2) - 1
        assert reached - 1e-12 <= ceilings.most_gap(gaussian(mu), steps) < reached + 3e-3


@pytest.mark.parametrize("guarantees", [PURE, ((3.0, 1e-3), (0.0, 0.3)), gaussian(0.7)])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_largest_gap_is_that_of_a_fine_grid(guarantees: Any, steps: int) -> None:
    fine = np.concatenate([np.linspace(0, 1, 20001), np.geomspace(1e-9, 1e-3, 2001)])
    grid = float((ceilings.success(guarantees, fine, steps) - fine).max())
    assert grid - 1e-12 <= ceilings.most_gap(guarantees, steps) < grid + 1e-4


def test_randomised_response_reaches_the_bound() -> None:
    # It tells a bit truly with probability e^eps / (1 + e^eps): the bit is what was replaced.
    right = math.e / (1 + math.e)
    assert float(ceilings.success(PURE, 1 - right)) == pytest.approx(right)
    assert ceilings.most_gap(PURE, 1) == pytest.approx(right - (1 - right))


def test_the_best_attacker_on_a_gaussian_sum_reaches_the_ceiling_and_never_passes_it() -> None:
    # Records are +1 or -1 and their noisy sum is released, all but the victim's being known. Of a
    # victim who was drawn the sum holds the record, of another it holds somebody else's instead.
    rng, sigma, draws = np.random.default_rng(0), 4.0, 200_000
    noise = rng.normal(0, sigma, (2, draws))
    for threshold in (-1.0, 0.0, 1.5):
        drawn, other = (1 + noise[0] > threshold).mean(), (-1 + noise[1] > threshold).mean()
        error = 4 / math.sqrt(draws)
        limit = float(ceilings.success(gaussian(1 / sigma), other, 2))
        assert limit - error - 2e-3 < drawn < limit + error
    gap = (1 + noise[0] > 0).mean() - (-1 + noise[1] > 0).mean()
    most = ceilings.most_gap(gaussian(1 / sigma), 2)
    assert most - 0.01 < gap < most + 0.005


def test_pairs_of_members_stay_below_the_ceiling_of_an_auc() -> None:
    # Two records, one of each value, push the released sum in the direction that tells who is who.
    rng, draws = np.random.default_rng(1), 100_000
    for sigma in (1.0, 3.0, 10.0):
        members = (2 + rng.normal(0, sigma, draws) > 0).mean()
        assert members - 0.5 < ceilings.most_gap(gaussian(1 / sigma), 4) + 4 / math.sqrt(draws)
        assert members > float(ceilings.success(gaussian(1 / sigma), 0.5, 1)), "more than one step"


def _private(ledger: dict[str, Any] | None = None, **changes: Any) -> TrialRecord:
    record = trial("diabetes", "mlp", "dp_sgd[epsilon=1]", "map[access=scores]", 0, **changes)
    assert record.privacy is not None
    told: PrivacyLedger = dataclasses.replace(record.privacy, **(ledger or {}))
    return record.model_copy(update={"privacy": told})


def _about(record: TrialRecord, **facts: Any) -> TrialRecord:
    return record.model_copy(update={"data": record.data.model_copy(update=facts)})


def test_an_auc_of_members_is_bounded_by_what_four_neighbours_allow() -> None:
    record = _private()
    assert ceilings.of(record) == ceilings.most_gap(((0.996, 1e-4),), 4)
    told = ceilings.of(_private({"advantage": 0.13}))
    assert told is not None and told < ceilings.of(record)  # type: ignore[operator]
    assert told <= 4 * 0.13
    replaced = ceilings.of(_private({"advantage": 0.13, "neighbour_relation": "replace_one"}))
    assert replaced is not None and replaced < told
    tuned = ceilings.of(
        _private({"epsilon_total": 3.0, "epsilon_total_basis": "naive_composition"})
    )
    assert tuned is not None and tuned > ceilings.of(record)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (_private({"unit": "person"}), "several records"),
        (_about(_private(), privacy_unit="person"), "several records"),
        (
            _about(
                _private(),
                facts={"split_protocol": "members: the paper's training file a; the rest cut"},
            ),
            "drawn at random",
        ),
        (_about(_private(), facts={"fixed_split": True}), "drawn at random"),
        (_private(access="deletions", goal="deleted_record"), "several trainings"),
        (_private(access="gradients", goal="gradient_reconstruction"), "before the noise"),
        (_private(goal="training_instance"), "all members"),
        (_private(goal="class_representative"), "a person with several pictures"),
    ],
)
def test_where_nothing_is_proven_a_sentence_says_why(record: TrialRecord, word: str) -> None:
    assert ceilings.of(record) is None
    assert word in ceilings.unproven(record)


def test_the_error_of_a_number_has_no_ceiling() -> None:
    record = _private()
    assert record.score is not None
    number = record.score.model_copy(update={"metric": "mse_skill"})
    assert ceilings.of(record.model_copy(update={"score": number})) is None


def test_boards_show_ceilings_of_private_rows_that_act_alone() -> None:
    rows = boards.build(frame.build(build(), "smoke")).rows
    here = rows[rows["dataset"] == "diabetes"]
    private = here["defense"].str.startswith("dp_sgd")
    assert here.loc[private, "M_most"].between(0.5, 1).all()
    assert here.loc[~private, "M_most"].isna().all()
    assert (here["unproven"] == "").all()
    faces = rows[(rows["dataset"] == "faces") & rows["defense"].str.startswith("dp_sgd")]
    assert faces["M_most"].isna().all() and (faces["unproven"] != "").all()


def test_a_row_that_lacks_one_ledger_has_no_ceiling() -> None:
    records = build(datasets=("diabetes",))
    lost = next(i for i, r in enumerate(records) if r.privacy and r.access == "scores")
    records[lost] = records[lost].model_copy(update={"privacy": None})
    rows = boards.build(frame.build(records, "smoke")).rows.set_index(["access", "defense"])
    name = records[lost].cell.defense
    assert math.isnan(rows.loc[("scores", name), "M_most"])
    assert rows.loc[("labels", name), "M_most"] > 0


def test_a_board_draws_what_is_proven_beside_what_was_measured(tmp_path: Path) -> None:
    site.write(build(datasets=("diabetes",)), {}, "smoke", tmp_path, {})
    page = (tmp_path / "boards/diabetes-mlp-attribute-scores.html").read_text(encoding="utf-8")
    lines = {
        name: line for line in page.split("<tr ") if (name := _named(line)) in ("dropout", "dp_sgd")
    }
    most = ceilings.most_gap(((0.996, 1e-4),), 4)
    assert f'class="most" d="M{100 * most:.1f} ' in page
    assert 'class="most"' in lines["dp_sgd"] and 'class="most"' not in lines["dropout"]
    assert "Of L nothing of the kind is proven" in page
    bare = [r for r in build(datasets=("diabetes",)) if r.privacy is None]
    site.write(bare, {}, "smoke", tmp_path / "bare", {})
    page = (tmp_path / "bare/boards/diabetes-mlp-attribute-scores.html").read_text("utf-8")
    assert "Of L nothing of the kind is proven" not in page and 'class="most"' not in page


def _named(line: str) -> str:
    found = re.search(r'data-f="([^"]*)"', line)
    return found.group(1) if found else ""
