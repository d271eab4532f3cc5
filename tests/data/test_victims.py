from __future__ import annotations

import pytest
import torch

from bench.contract import Splits, UserError
from bench.data.diabetes import Diabetes
from bench.data.victims import draw


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Diabetes().load(0, None)


def test_members_come_from_train_and_as_many_others_from_test(splits: Splits) -> None:
    victims = draw(splits, 3)
    smaller = min(len(splits.train), len(splits.test))
    assert len(victims.records) == 2 * smaller
    assert int(victims.member.sum()) == smaller
    person = victims.records.person
    assert torch.isin(person[victims.member], splits.train.person).all()
    assert torch.isin(person[~victims.member], splits.test.person).all()
    assert len(person.unique()) == len(person)


def test_records_stay_whole_and_are_mixed(splits: Splits) -> None:
    victims = draw(splits, 3)
    first = victims.records.take(victims.member)
    for i in range(0, len(first), 17):
        row = int((splits.train.person == first.person[i]).nonzero())
        assert torch.equal(splits.train.x[row], first.x[i])
        assert splits.train.y[row] == first.y[i]
        assert splits.train.s is not None and first.s is not None
        assert splits.train.s[row] == first.s[i]
    half = len(victims.member) // 2
    assert 0.35 < victims.member[:half].float().mean() < 0.65


def test_the_limit_is_per_side_and_the_seed_decides(splits: Splits) -> None:
    victims = draw(splits, 0, limit=10)
    assert len(victims.records) == 20
    assert int(victims.member.sum()) == 10
    assert torch.equal(victims.records.x, draw(splits, 0, limit=10).records.x)
    assert not torch.equal(victims.records.x, draw(splits, 1, limit=10).records.x)


def test_no_victims_is_an_error(splits: Splits) -> None:
    with pytest.raises(UserError, match="limit is 0"):
        draw(splits, 0, limit=0)
