from __future__ import annotations

import dataclasses

import pytest
from sklearn.linear_model import LogisticRegression

from bench.metrics import reference
from tests.models.records import images, table


def test_baselines_are_scored_on_the_test_split() -> None:
    splits = table()
    got = reference.fit(splits, 0)
    assert set(got) == {"logistic", "mlp"}
    plain = LogisticRegression().fit(splits.train.x.numpy(), splits.train.y.numpy())
    want = plain.score(splits.test.x.numpy(), splits.test.y.numpy())
    assert got["logistic"]["accuracy"] == pytest.approx(want)
    assert got["logistic"]["accuracy"] > 0.75
    assert got == reference.fit(splits, 0)


def test_baselines_read_images() -> None:
    assert reference.fit(images(), 0)["mlp"]["accuracy"] > 0.9


def test_a_class_without_training_records_is_never_predicted() -> None:
    splits = images()
    known = splits.train.y != 2
    got = reference.fit(dataclasses.replace(splits, train=splits.train.take(known)), 0)
    assert got["logistic"]["balanced_accuracy"] == pytest.approx(0.75, abs=0.05)
