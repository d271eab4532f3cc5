from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch import Tensor

from bench.contract import Reconstruction, generator
from bench.metrics import attribute, certainty
from tests.metrics.test_attribute import truth, world

TOPS = [1.0] * len(certainty.PRECISION)


def told(values: Tensor, s: Tensor, member: Tensor | None = None) -> dict[str, float]:
    """What the judge says of an attack on members ``s`` (all victims where nobody is named)."""
    if member is None:  # as many non-members, of whom the attacker says the same
        values, s, member = values.repeat(2, 1), s.repeat(2), torch.arange(2 * len(s)) < len(s)
    out = attribute.score(Reconstruction(values), truth(s, member, values.shape[1]))
    return {name: out.extra[name] for name in certainty.FIGURES if name in out.extra}


def tops(figures: dict[str, float]) -> list[float]:
    return [figures[name] for name in certainty.PRECISION]


@pytest.mark.parametrize("n_values", [2, 4])
def test_who_knows_everything_is_certain_of_everybody(n_values: int) -> None:
    s, member = world(n_values=n_values)
    figures = told(torch.eye(n_values)[s], s, member)
    assert tops(figures) == TOPS
    assert figures["certain_share"] == figures["certain_share_nonmembers"] == 1.0


@pytest.mark.parametrize("ties", [True, False])
def test_who_names_the_commonest_value_of_everybody_is_certain_of_nobody(ties: bool) -> None:
    s = (torch.arange(1000) % 100 < 3).long()
    p = 0.03 + (0 if ties else 1e-9 * torch.rand(1000, generator=generator(0), dtype=torch.float64))
    p = torch.as_tensor(p, dtype=torch.float64).expand(1000)
    figures = told(torch.stack([1 - p, p], 1), s)
    assert figures["certain_share"] == 0.0
    assert figures["precision_top_100pct"] == pytest.approx(0.97)
    if ties:
        assert tops(figures) == pytest.approx([0.97] * len(TOPS))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("common", [0.5, 0.8, 0.97])
def test_who_knows_nothing_is_certain_of_nobody(common: float, seed: int) -> None:
    g = generator(seed)
    s = (torch.rand(1000, generator=g) > common).long()
    p = torch.rand(1000, generator=g, dtype=torch.float64)
    assert told(torch.stack([1 - p, p], 1), s)["certain_share"] == 0.0


@pytest.mark.parametrize("each", [5, 20])
def test_records_of_one_person_are_no_more_certain_than_one(each: int) -> None:
    """What is said of a person is said of all their records, and all share the secret."""
    people, runs, sure = 1000 // each, 400, 0
    person = np.repeat(np.arange(people), each)
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        secret, score = rng.integers(2, size=people), rng.random(people)
        right = secret[person] == 1
        sure += certainty.longest(score[person], right, float(right.mean()), person).any()
        if not seed:
            assert certainty.longest(score[person], score[person] > 0.3, 0.5, person).any()
    assert sure == 0


def test_a_person_is_named_wrongly_where_one_record_is() -> None:
    person = np.repeat(np.arange(40), 2)
    right = np.arange(80) % 2 == 0
    sure = np.ones(80)
    assert not certainty.longest(sure, right, 0.5, person).any()
    assert certainty.longest(sure, np.ones(80, bool), 0.5, person).all()
    assert not certainty.longest(sure[:56], np.ones(56, bool), 0.5, person[:56]).any()
    assert certainty.longest(sure[:56], np.ones(56, bool), 0.5).all()


def test_a_few_who_are_known_for_certain_stand_out_of_a_mean_near_chance() -> None:
    n, known = 2000, 60
    g = generator(3)
    s = torch.arange(n) % 2
    p = 0.5 + 0.1 * (torch.rand(n, generator=g, dtype=torch.float64) - 0.5)
    # The surest of the others is wrong on either side, so that no luck lengthens the groups.
    p[known], p[known + 1] = 0.56, 0.44
    p[:known] = s[:known].double()
    values, member = torch.stack([1 - p, p], 1).repeat(2, 1), torch.arange(2 * n) < n
    out = attribute.score(Reconstruction(values), truth(s.repeat(2), member))
    assert 0.48 < out.value < 0.56
    assert out.extra["certain_share"] == known / n == 0.03
    assert out.extra["precision_top_1pct"] == 1.0
    assert 0.75 < out.extra["precision_top_5pct"] < 0.9
    assert 0.45 < out.extra["precision_top_100pct"] < 0.6
    found = certainty.victims_at_risk(out.outcomes)
    assert found is not None
    assert np.flatnonzero(found.certain & found.member).tolist() == list(range(known))
    assert found.right[found.certain].all()
    least = found.confidence[:known].min()
    assert (found.confidence[known:n] < least).all()


def test_precision_among_the_tied_is_that_of_all_of_them() -> None:
    confidence = np.array([3.0, 2, 2, 2, 2, 1, 1, 1, 1, 1])
    right = np.array([1, 1, 0, 0, 0, 1, 1, 1, 1, 1], dtype=bool)
    got = certainty.precision(confidence, right, [0.01, 0.1, 0.3, 1.0])
    assert got == pytest.approx([1.0, 1.0, (1 + 2 * 0.25) / 3, 0.7])


@pytest.mark.parametrize("n", [1, 5, 28])
def test_few_victims_are_too_few_to_be_certain_of(n: int) -> None:
    # As many of the other value, about whom nothing is known.
    confidence = np.r_[np.ones(n), np.zeros(n)]
    right = np.r_[np.ones(n, bool), np.zeros(n, bool)]
    assert not certainty.longest(confidence, right, 0.5).any()
    assert certainty.precision(confidence, right, [0.01]) == [1.0]


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("errors", [0, 1, 4])
def test_a_group_counts_exactly_where_the_bound_of_clopper_and_pearson_does(
    chance: float, errors: int
) -> None:
    wrong = min(0.05, (1 - chance) / 10)

    def passes(n: int) -> bool:
        bound = beta.ppf(0.05, n - errors, errors + 1)
        return bool(errors <= wrong * n and bound >= 1 - 2 * wrong)

    for n in range(errors + 1, 1200, 7):
        right = np.arange(n) >= errors
        named = certainty.longest(np.ones(n), right, chance)
        assert named.all() == named.any() == passes(n)


def test_a_value_is_certain_by_its_own_scores_whatever_the_attack_adds_to_all_of_it() -> None:
    s = torch.arange(400) % 2
    values = torch.stack([1.0 - s, s + 0.0], 1) + torch.tensor([10.0, 0.0])
    figures = told(values, s)
    assert figures["certain_share"] == 1.0
    assert figures["precision_top_100pct"] == 0.5  # its best-scored value is always the first
    out = attribute.score(
        Reconstruction(values.repeat(2, 1)), truth(s.repeat(2), torch.arange(800) < 400)
    )
    found = certainty.victims_at_risk(out.outcomes)
    assert found is not None and found.right.all()


def test_confidence_is_the_lead_of_the_best_scored_value() -> None:
    values = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]], dtype=torch.float64)
    got = certainty.margin(attribute.contrast(values).numpy())
    assert got == pytest.approx([0.5, 0.0])


def test_a_rare_value_and_an_extreme_number_make_a_record_unusual() -> None:
    g = generator(0)
    rare = (torch.arange(1000) % 50 == 0).float()
    public = torch.stack([rare, 1 - rare, torch.randn(1000, generator=g)], 1)
    records = torch.tensor([[0.0, 1, 0], [1.0, 0, 0], [0.0, 1, 4]])
    far = certainty.rarity(records, public)
    assert far[0] < far[2] < far[1]
    # The secret's own columns do not count.
    assert certainty.rarity(records, public, (0, 2)).argmax() == 2
    pictures, others = torch.zeros(2, 1, 4, 4), torch.rand(50, 1, 4, 4, generator=g)
    pictures[1] += others.mean(0)
    assert certainty.rarity(pictures, others).argmin() == 1


def test_fifths_do_not_depend_on_the_order_of_who_is_tied() -> None:
    assert certainty.fifth_of(np.arange(10.0)).tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert set(certainty.fifth_of(np.zeros(7))) == {3}


def test_outliers_that_leak_more_are_seen_in_the_rarest_fifth() -> None:
    n, g = 1000, generator(1)
    s, member = torch.arange(n) % 2, torch.arange(n) % 4 < 2
    made = truth(s, member)
    x = torch.cat([torch.eye(2)[s], torch.randn(n, 1, generator=g)], 1)
    records = type(made.splits.public)(x, made.splits.public.y, made.splits.public.person, s)
    card = type(made.splits.card)(
        *("toy", "credit", "table", (3,), ("a", "b"), "record", "", "", True),
        sensitive=made.splits.card.sensitive,
    )
    splits = type(made.splits)(card, records, records, records)
    odd = x[:, 2].abs() > 1.5
    p = torch.where(odd, s.double(), torch.rand(n, generator=g, dtype=torch.float64))
    victims = type(made.victims)(records, member)  # type: ignore[misc]
    out = attribute.score(
        Reconstruction(torch.stack([1 - p, p], 1)), type(made)(splits, victims, None, {})
    )
    aucs = [out.extra[f"rarity_auc_{fifth}"] for fifth in certainty.FIFTHS]
    shares = [out.extra[f"rarity_certain_{fifth}"] for fifth in certainty.FIFTHS]
    assert aucs[4] > 0.8 > max(aucs[:4]) and shares[4] > max(shares[:4])
    assert np.mean(shares) == pytest.approx(out.extra["certain_share"])


def test_goals_that_give_no_confidence_have_nobody_at_risk() -> None:
    rebuilt = {"member": torch.ones(3).bool(), "success": torch.ones(3).bool()}
    assert certainty.victims_at_risk(rebuilt) is None
    assert certainty.figures(rebuilt) == {}


def test_a_number_is_certain_where_its_distribution_is_narrow_and_right() -> None:
    true = np.linspace(-2, 2, 200)
    outcomes = {
        "member": np.ones(200, bool),
        "truth": true,
        "guess": np.where(np.arange(200) < 40, true, 0.0),
        "score": np.zeros(200),
        "confidence": np.where(np.arange(200) < 40, 0.9, 0.2),
    }
    assert certainty.figures(outcomes)["certain_share"] == 40 / 200
    # Who says the mean of everybody, however surely, knows nobody.
    everybody = {**outcomes, "guess": np.zeros(200), "confidence": np.ones(200)}
    assert certainty.figures(everybody)["certain_share"] == 0.0
    without = {name: column for name, column in outcomes.items() if name != "confidence"}
    assert certainty.victims_at_risk(without) is None


def test_it_loads_neither_torch_nor_scipy() -> None:
    code = "import sys, bench.metrics.certainty; print({'torch', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
