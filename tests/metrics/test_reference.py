from __future__ import annotations

import dataclasses

import pytest
from sklearn.linear_model import LogisticRegression

from bench.metrics import reference
from tests.models.records import images, numbers, table


def test_baselines_are_scored_on_the_test_split() -> None:
    splits = table()
    got = {
        n: reference.fit(splits, "classification", n, 0)
        for n in ("logistic", "mlp", "tree", "forest", "boosting")
    }
    plain = LogisticRegression().fit(splits.train.x.numpy(), splits.train.y.numpy())
    want = plain.score(splits.test.x.numpy(), splits.test.y.numpy())
    assert got["logistic"]["accuracy"] == pytest.approx(want)
    assert all(metrics["accuracy"] > 0.65 for metrics in got.values())
    assert got["mlp"] == reference.fit(splits, "classification", "mlp", 0)


def test_baselines_read_images() -> None:
    assert reference.fit(images(), "classification", "mlp", 0)["accuracy"] > 0.9


def test_a_class_without_training_records_is_never_predicted() -> None:
    splits = images()
    known = splits.train.y != 2
    fewer = dataclasses.replace(splits, train=splits.train.take(known))
    got = reference.fit(fewer, "classification", "logistic", 0)
    assert got["balanced_accuracy"] == pytest.approx(0.75, abs=0.05)


def test_a_number_is_predicted() -> None:
    splits = numbers()
    got = reference.fit(splits, "regression", "least_squares", 0)
    assert got["r2"] > 0.9 and 0 < got["mae"] < got["rmse"]
    assert reference.fit(splits, "regression", "logistic", 0) == {}
