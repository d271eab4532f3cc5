from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from bench.contract import Outcome, generator
from bench.metrics.utility import regression, utility

KEYS = {"accuracy", "balanced_accuracy", "auroc", "log_loss", "ece15", "brier"}


def answers(n: int = 200, k: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = generator(0)
    y = torch.randint(0, k, (n,), generator=rng)
    logits = torch.randn(n, k, generator=rng)
    logits[torch.arange(n), y] += 1.0
    return logits.softmax(1), y


def test_agrees_with_scikit_learn() -> None:
    scores, y = answers()
    got = utility(scores.argmax(1), scores, y, 4)
    assert set(got) == KEYS
    p = scores.double().numpy()
    p /= p.sum(1, keepdims=True)
    assert got["accuracy"] == pytest.approx(float((p.argmax(1) == y.numpy()).mean()))
    assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, p.argmax(1)))
    assert got["log_loss"] == pytest.approx(log_loss(y, p))
    want = np.mean([roc_auc_score(y == c, scores[:, c].double()) for c in range(4)])
    assert got["auroc"] == pytest.approx(want)
    assert got["brier"] == pytest.approx(float(((p - np.eye(4)[y]) ** 2).sum(1).mean()))


def test_calibration_error_by_hand() -> None:
    # Bins of width 1/15: 0.95 (two records, one right) and 0.70 (one record, right).
    scores = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.30, 0.70]])
    got = utility(scores.argmax(1), scores, torch.tensor([0, 1, 1]), 2)
    assert got["ece15"] == pytest.approx((2 / 3) * abs(0.5 - 0.95) + (1 / 3) * abs(1 - 0.70))


def test_ties_count_half() -> None:
    scores = torch.full((6, 2), 0.5)
    assert utility(torch.zeros(6).long(), scores, torch.tensor([0, 1] * 3), 2)["auroc"] == 0.5


def test_labels_alone_give_no_score_metric() -> None:
    scores, y = answers()
    got = utility(scores.argmax(1), None, y, 4)
    assert {k for k, v in got.items() if v is None} == {"auroc", "log_loss", "ece15", "brier"}
    assert got["accuracy"] == utility(scores.argmax(1), scores, y, 4)["accuracy"]


def test_accuracy_is_of_the_released_labels() -> None:
    scores, y = answers()
    assert utility(y, scores, y, 4)["accuracy"] == 1.0


@pytest.mark.parametrize(
    "released",
    [
        torch.zeros(5, 3),
        torch.tensor([[1.0, 0.0, 0.0]]).repeat(5, 1),
        torch.tensor([[0.4, 0.0, 0.0]]).repeat(5, 1),
        torch.tensor([[0.3, 0.3, 0.3]]).repeat(5, 1),
        torch.tensor([[1e-40, 0.0, 0.0]]).repeat(5, 1),
    ],
)
def test_truncated_and_rounded_scores_stay_finite(released: torch.Tensor) -> None:
    got = utility(released.argmax(1), released, torch.tensor([0, 1, 2, 1, 0]), 3)
    assert all(v is not None and math.isfinite(v) for v in got.values())


def test_kept_scores_are_renormalised() -> None:
    full = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.8, 0.0]])
    y = torch.tensor([0, 1])
    assert utility(y, full, y, 3)["log_loss"] == utility(y, full * 0.4, y, 3)["log_loss"]


def test_absent_classes_are_left_out() -> None:
    scores, y = answers()
    present = y < 3
    got = utility(scores.argmax(1)[present], scores[present], y[present], 4)
    assert got["balanced_accuracy"] == pytest.approx(
        np.mean([(scores.argmax(1)[y == c] == c).float().mean() for c in range(3)])
    )
    assert got["auroc"] is not None
    one = utility(torch.zeros(3).long(), scores[:3], torch.zeros(3).long(), 4)
    assert one["auroc"] is None and one["accuracy"] == 1.0


def test_two_classes_have_a_distance_and_a_shift() -> None:
    scores, y = answers(k=2)
    got = utility(scores.argmax(1), scores, y, 2)
    assert set(got) == KEYS | {"ks", "rate_shift"}
    p = scores[:, 1].double().numpy()
    cuts = np.unique(p)
    rates = [[(p[y.numpy() == c] >= cut).mean() for cut in cuts] for c in (0, 1)]
    assert got["ks"] == pytest.approx(float(np.max(np.subtract(rates[1], rates[0]))))
    assert got["rate_shift"] == pytest.approx(
        float((scores.argmax(1) == 1).double().mean() - y.double().mean())
    )
    assert utility(scores.argmax(1), None, y, 2)["ks"] is None


def test_a_dose_is_scored_in_its_unit() -> None:
    outcome = Outcome("dose", "mg", mean=6.0, scale=1.0, power=2.0)
    y = torch.tensor([0.0, 0.0, 0.0, 1.0])
    found = torch.tensor([0.0, 0.5, 1.0, 1.0])  # 36, 42.25, 49, 49 for 36, 36, 36, 49
    got = regression(found, y, outcome)
    assert got["within_20pct"] == 0.75
    assert got["mae"] == pytest.approx((6.25 + 13) / 4)
    assert got["rmse"] == pytest.approx(((6.25**2 + 13**2) / 4) ** 0.5)
