from __future__ import annotations

import hashlib

import pytest
import torch

from bench.contract import UserError
from bench.models.controls import CANARY, Canary, RandomLabels, Temperature, Untrained
from bench.models.mlp import Mlp
from bench.models.training import initial, train
from tests.models.records import table

PINNED = "017236cb34dd410c019f0932f292955584c2f90a582340328c73f3a332dd3244"


def _logits(layers, seed: int = 0):
    splits = table()
    network, report = train(Mlp(epochs=3), layers, splits, seed, "cpu")
    with torch.no_grad():
        return network(splits.test.x), report


def test_untrained_is_the_initial_network() -> None:
    splits = table()
    logits, report = _logits([Untrained()])
    with torch.no_grad():
        fresh = initial(Mlp(epochs=3), [], splits, 0, "cpu").eval()(splits.test.x)
    assert torch.equal(logits, fresh)
    assert (report.epochs, report.steps) == (0, 0)


def test_random_labels_keep_records_and_class_counts() -> None:
    splits = table()
    seen = {}

    class Spy(RandomLabels):
        def recipe(self, recipe):
            return recipe

        def sanitize(self, train, context):
            seen["split"] = super().sanitize(train, context)
            return seen["split"]

    train(Mlp(epochs=1), [Spy()], splits, 0, "cpu")
    shuffled = seen["split"]
    assert torch.equal(shuffled.x, splits.train.x)
    assert torch.equal(shuffled.y.bincount(), splits.train.y.bincount())
    assert not torch.equal(shuffled.y, splits.train.y)


def test_temperature_flattens_scores_and_keeps_labels() -> None:
    plain, _ = _logits([])
    flat, _ = _logits([Temperature(4.0)])
    assert torch.allclose(flat * 4, plain, atol=1e-5)
    assert torch.equal(flat.argmax(1), plain.argmax(1))


def test_the_canary_is_frozen() -> None:
    assert hashlib.sha256(CANARY.read_bytes()).hexdigest() == PINNED
    one, two = (Canary().build((1, 32, 32), 40, seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(UserError, match="canary takes 1024 pixels of 40 people"):
        Canary().build((1, 32, 32), 20, 0)
