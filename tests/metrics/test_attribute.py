from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    matthews_corrcoef,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from torch import Tensor

from bench.contract import (
    Card,
    Column,
    DivergedError,
    Reconstruction,
    Sensitive,
    Split,
    Splits,
    Truth,
    UserError,
    Victims,
    generator,
)
from bench.metrics.attribute import contrast, estimate, score


def truth(s: Tensor, member: Tensor, n_values: int = 2) -> Truth:
    values = tuple(map(str, range(n_values)))
    codes = tuple(tuple(row) for row in torch.eye(n_values).tolist())
    card = Card(
        "toy",
        "credit",
        "table",
        (n_values,),
        ("a", "b"),
        "record",
        "",
        "",
        True,
        Sensitive("secret", values, (0, n_values), codes),
    )
    records = Split(torch.zeros(len(s), n_values), torch.zeros_like(s), torch.arange(len(s)), s)
    return Truth(Splits(card, records, records, records), Victims(records, member), None, {})


def world(n: int = 400, n_values: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = generator(seed)
    return torch.randint(n_values, (n,), generator=g), torch.arange(n) % 2 == 0


@pytest.mark.parametrize("n_values", [2, 4])
def test_the_truth_scores_the_ceiling_and_its_opposite_zero(n_values: int) -> None:
    s, member = world(n_values=n_values)
    perfect = torch.eye(n_values)[s]
    out = score(Reconstruction(perfect), truth(s, member, n_values))
    assert out.value == out.members == out.nonmembers == out.ceiling == 1.0
    assert out.extra["mcc"] == out.extra["g_mean"] == out.extra["accuracy"] == 1.0
    assert out.extra["ppv_top_10"] == 1.0
    assert score(Reconstruction(-perfect), truth(s, member, n_values)).value == 0.0


@pytest.mark.parametrize("n_values", [2, 3])
def test_a_constant_score_is_chance(n_values: int) -> None:
    s, member = world(n_values=n_values)
    out = score(Reconstruction(torch.ones(len(s), n_values)), truth(s, member, n_values))
    assert out.value == out.nonmembers == 0.5
    assert out.extra["mcc"] == 0.0


def test_two_values_give_the_plain_auc_on_each_side() -> None:
    s, member = world()
    p = torch.rand(len(s), generator=generator(1)) + 0.3 * s * member
    out = score(Reconstruction(torch.stack([1 - p, p], 1)), truth(s, member))
    assert out.members == pytest.approx(roc_auc_score(s[member], p[member]))
    assert out.nonmembers == pytest.approx(roc_auc_score(s[~member], p[~member]))
    assert out.value == out.members > out.nonmembers


def test_several_values_give_the_macro_auc_of_the_posterior() -> None:
    s, member = world(n_values=3)
    p = torch.softmax(torch.randn(len(s), 3, generator=generator(1)) + torch.eye(3)[s], 1)
    expected = roc_auc_score(s[member], p[member], multi_class="ovr")
    out = score(Reconstruction(p), truth(s, member, 3))
    assert out.value == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_values=st.integers(2, 4))
def test_neither_the_order_of_victims_nor_a_constant_per_victim_matters(
    seed: int, n_values: int
) -> None:
    s, member = world(120, n_values, seed)
    g = generator(seed)
    values = torch.randn(120, n_values, generator=g, dtype=torch.float64)
    order = torch.randperm(120, generator=g)
    shift = torch.randn(120, 1, generator=g, dtype=torch.float64)
    a = score(Reconstruction(values), truth(s, member, n_values))
    b = score(Reconstruction((values + shift)[order]), truth(s[order], member[order], n_values))
    assert a.value == pytest.approx(b.value, abs=1e-6)
    assert a.extra == pytest.approx(b.extra, abs=1e-6)
    assert 0 <= a.value <= 1


def test_ties_at_the_cut_count_by_expectation() -> None:
    likely = torch.tensor([9.0, 5, 5, 5, 5, *[1] * 25])
    s = torch.tensor([1, 1, 0, 0, 0, *[1] * 25])
    values = torch.stack([torch.zeros(60), likely.repeat(2)], 1)
    out = score(Reconstruction(values), truth(s.repeat(2), torch.arange(60) < 30))
    assert out.extra["ppv_top_10pct"] == pytest.approx((1 + 2 * 0.25) / 3)


@pytest.mark.parametrize("n_values", [2, 5])
@pytest.mark.parametrize("levels", [2, 9, None])
def test_every_figure_equals_what_scikit_learn_gives(n_values: int, levels: int | None) -> None:
    n, g = 1600, generator(n_values)
    s, member = torch.randint(n_values, (n,), generator=g), torch.arange(n) % 2 == 0
    y, kind = torch.randint(2, (n,), generator=g), torch.randint(20, (n,), generator=g)
    values = (
        torch.rand(n, n_values, generator=g, dtype=torch.float64) + 0.1 * torch.eye(n_values)[s]
    )
    if levels is not None:  # many ties
        values = (levels * values).round()
    made = truth(s, member, n_values)
    names = tuple(f"k{i}" for i in range(20))
    column = Column("kind", "category", (n_values, n_values + 20), names)
    card = dataclasses.replace(made.splits.card, fields=(column,))
    x = torch.cat([torch.eye(n_values)[s], torch.eye(20)[kind]], 1)
    records = Split(x, y, torch.arange(n), s)
    out = score(
        Reconstruction(values),
        Truth(Splits(card, records, records, records), Victims(records, member), None, {}),
    )

    contrasts, said = contrast(values).numpy(), values.argmax(1).numpy()
    judged = range(n_values) if n_values > 2 else [1]

    def auc(inside: Tensor) -> float:
        rows = inside.numpy()
        found = [roc_auc_score(s.numpy()[rows] == v, contrasts[rows, v]) for v in judged]
        return float(np.mean(found))

    groups = {f"class={name}": y == i for i, name in enumerate(card.class_names)}
    groups |= {f"kind={name}": kind == i for i, name in enumerate(names)}
    large = {k: member & of for k, of in groups.items() if int((member & of).sum()) >= 50}
    wanted = {f"auc[{name}]": auc(inside) for name, inside in large.items()}
    assert {k: v for k, v in out.extra.items() if "[" in k} == pytest.approx(wanted, abs=1e-12)
    assert 2 < len(wanted) < 22
    assert out.members == pytest.approx(auc(member), abs=1e-12)
    assert out.nonmembers == pytest.approx(auc(~member), abs=1e-12)

    ours, guess, scores = s.numpy()[member], said[member], contrasts[member]
    curves = [roc_curve(ours == v, scores[:, v], drop_intermediate=False) for v in judged]
    recalls = recall_score(ours, guess, average=None)
    plain = {
        "mcc": matthews_corrcoef(ours, guess),
        "g_mean": recalls.prod() ** (1 / n_values),
        "accuracy": (ours == guess).mean(),
        "tpr_at_fpr_1e-2": np.mean([true[false <= 0.01].max() for false, true, _ in curves]),
    }
    if n_values == 2:
        found = precision_recall_fscore_support(ours, guess, average="binary")
        plain |= dict(zip(("precision", "recall", "f1"), found[:3], strict=True))
    assert {k: out.extra[k] for k in plain} == pytest.approx(plain, abs=1e-12)


def test_true_positive_rate_needs_enough_negatives() -> None:
    s, member = world(400)
    assert "tpr_at_fpr_1e-2" not in score(Reconstruction(torch.eye(2)[s]), truth(s, member)).extra
    s, member = world(2000)
    p = torch.eye(2)[s]
    assert score(Reconstruction(p), truth(s, member)).extra["tpr_at_fpr_1e-2"] == 1.0
    p[:] = 0.5
    assert score(Reconstruction(p), truth(s, member)).extra["tpr_at_fpr_1e-2"] == 0.0


def test_accuracy_stands_beside_the_majority_rate() -> None:
    s = torch.tensor([0, 0, 0, 1] * 20)
    member = torch.arange(80) < 40
    said = torch.zeros(80, 2)
    said[:, 0] = 1.0
    extra = score(Reconstruction(said), truth(s, member)).extra
    assert extra["accuracy"] == extra["majority_rate"] == 0.75
    assert extra["g_mean"] == 0.0


def test_outcomes_allow_the_score_to_be_computed_again() -> None:
    s, member = world(100, 3)
    values = torch.randn(100, 3, generator=generator(2))
    out = score(Reconstruction(values), truth(s, member, 3)).outcomes
    assert {len(v) for v in out.values()} == {100}
    assert torch.equal(out["truth"], s) and torch.equal(out["member"], member)
    assert torch.allclose(out["score"], contrast(values.double()))
    assert torch.equal(out["guess"], values.argmax(1))


def test_what_cannot_be_scored_is_refused() -> None:
    s, member = world(40)
    with pytest.raises(UserError, match="shape"):
        score(Reconstruction(torch.zeros(40, 3)), truth(s, member))
    with pytest.raises(DivergedError):
        score(Reconstruction(torch.full((40, 2), torch.nan)), truth(s, member))
    with pytest.raises(UserError, match="same sensitive value"):
        score(Reconstruction(torch.zeros(40, 2)), truth(torch.zeros_like(s), member))


def _numbers(n: int = 200) -> tuple[Truth, Tensor]:
    """A numeric secret in column 0, candidates at -1, 0, 1."""
    x = torch.empty(n, 2).normal_(generator=generator(4))
    grid = ((-1.0,), (0.0,), (1.0,))
    secret = Sensitive("age", ("-1", "0", "1"), (0, 1), grid, numeric=True)
    card = Card("toy", "credit", "table", (2,), ("a", "b"), "record", "", "", True, secret)
    s = (x[:, :1] - torch.tensor(grid).T).abs().argmin(1)
    records = Split(x, torch.zeros(n, dtype=torch.long), torch.arange(n), s)
    victims = Victims(records, torch.arange(n) % 2 == 0)
    return Truth(Splits(card, records, records, records), victims, None, {}), x[:, 0]


def test_a_number_is_judged_by_the_error_of_its_estimate() -> None:
    made, true = _numbers()
    nearest = torch.eye(3)[made.victims.records.s]  # type: ignore[union-attr,index]
    out = score(Reconstruction(nearest), made)
    member = made.victims.member  # type: ignore[union-attr]
    error = (true.clamp(-1, 1).round() - true).square()[member].mean()
    spread = (true.mean() - true).square()[member].mean()
    assert out.metric == "mse_skill"
    assert out.value == pytest.approx(1 - float(error / spread), abs=1e-6)
    nothing = score(Reconstruction(torch.full((len(true), 3), 1 / 3)), made)
    assert nothing.value == pytest.approx(0.0, abs=0.05)
    worst = score(Reconstruction(torch.eye(3)[(true < 0).long() * 2]), made)
    assert worst.value == 0.0 and worst.extra["skill_members"] < -1


def test_an_estimate_of_a_number_is_as_sure_as_its_distribution_is_narrow() -> None:
    made, _ = _numbers()
    n = len(made.splits.train)
    rows = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.9, 0.1]], dtype=torch.float64)
    out = score(Reconstruction(rows.repeat(n // 2, 1)), made)
    assert out.outcomes["confidence"][:2].tolist() == pytest.approx([0.0, 0.9])
    assert out.extra["precision_top_100pct"] == out.extra["within_0.319"]
    scored = score(Reconstruction(3 * rows.repeat(n // 2, 1)), made)
    assert "confidence" not in scored.outcomes and "certain_share" not in scored.extra


def test_a_distribution_is_read_by_its_mean_and_a_score_by_its_best() -> None:
    made, _ = _numbers()
    sensitive = made.splits.card.sensitive
    assert sensitive is not None
    rows = torch.tensor([[0.5, 0.0, 0.5], [0.1, 0.1, 0.8], [-1.0, 3.0, 2.0]], dtype=torch.float64)
    assert estimate(rows, sensitive).tolist() == pytest.approx([0.0, 0.7, 0.0])


def test_subgroups_of_fifty_are_scored_apart() -> None:
    s, member = world(400)
    made = truth(s, member)
    y = (torch.arange(400) >= 380).long()
    records = Split(torch.zeros(400, 2), y, torch.arange(400), s)
    card = made.splits.card
    made = Truth(Splits(card, records, records, records), Victims(records, member), None, {})
    perfect = torch.eye(2)[s].double()
    perfect[y == 1] *= -1
    out = score(Reconstruction(perfect), made)
    assert out.extra["auc[class=a]"] == 1.0
    assert "auc[class=b]" not in out.extra  # ten members


def test_precision_and_recall_of_the_last_value() -> None:
    s = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).repeat(20)
    member = torch.ones(160, dtype=torch.bool)
    member[80:] = False
    said = torch.tensor([1, 1, 0, 0, 1, 0, 0, 0]).repeat(20)
    out = score(Reconstruction(torch.eye(2)[said]), truth(s, member))
    assert out.extra["precision"] == pytest.approx(2 / 3)
    assert out.extra["recall"] == pytest.approx(1 / 2)
    assert out.extra["f1"] == pytest.approx(4 / 7)
