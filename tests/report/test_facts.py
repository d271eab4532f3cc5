from __future__ import annotations

import random

import pytest

from bench.contract.record import Failure
from bench.report import facts
from tests.report import fake_records as fake


def test_facts_do_not_depend_on_the_order_of_the_records() -> None:
    records = fake.build(2)
    shuffled = records.copy()
    random.Random(0).shuffle(shuffled)
    one, two = facts.gather(records), facts.gather(shuffled)
    assert one.gains.equals(two.gains)
    assert [getattr(one, n) for n in vars(one) if n != "gains"] == [
        getattr(two, n) for n in vars(two) if n != "gains"
    ]


def test_a_finished_trial_knows_its_data_better_than_a_failure() -> None:
    done = fake.trial("faces", "mlp", "none", "brep", 0)
    bare = done.data.model_copy(update={"source": "", "facts": {}, "publishable": False})
    failed = fake.trial("faces", "mlp", "none", "yang", 9).model_copy(
        update={"status": "failed", "data": bare, "error": Failure(type="E", message="m")}
    )
    for records in ([done, failed], [failed, done]):
        found = facts.gather(records)
        assert found.cards["faces"] == done.data
        assert found.showable == {"faces"}, "a failure says nothing about what may be shown"


def test_one_finished_trial_that_may_not_be_shown_hides_all() -> None:
    done = [fake.trial("faces", "mlp", "none", "brep", seed) for seed in (0, 1)]
    hidden = done[1].data.model_copy(update={"publishable": False})
    records = [done[0], done[1].model_copy(update={"data": hidden})]
    assert facts.gather(records).showable == frozenset()


def test_judges_are_averaged_over_seeds_and_ledgers_are_of_the_first_seed() -> None:
    records = [
        fake.trial("faces", "mlp", "dp_sgd[epsilon=8]", "yang", seed).model_copy(
            update={"evaluator": {"cnn_accuracy": 0.9 + seed / 10}}
        )
        for seed in (1, 0)
    ]
    found = facts.gather(records)
    assert found.judges["faces"]["cnn_accuracy"] == pytest.approx(0.95)
    assert found.ledgers["faces", "mlp", "dp_sgd[epsilon=8]"] == records[1].privacy


def test_subgroups_are_averaged_over_seeds() -> None:
    records = []
    for seed, gain in ((0, 0.1), (1, 0.3)):
        record = fake.trial("diabetes", "mlp", "none", "map[access=scores]", seed)
        assert record.score is not None
        score = record.score.model_copy(update={"group_gain": {"sex=1": gain}})
        records.append(record.model_copy(update={"score": score}))
    (row,) = facts.gather(records).gains.to_dict("records")
    assert (row["group"], row["gain"], row["gain_n"]) == ("sex=1", pytest.approx(0.2), 2)


def test_hosts_and_processors_are_told_and_what_is_empty_is_not() -> None:
    record = fake.trial("faces", "mlp", "none", "brep", 0)
    other = record.model_copy(update={"trial_id": "x", "env": {**record.env, "host": "two"}})
    found = facts.gather([record, other]).environments
    assert found["host"] == ("one", "two")
    assert found["processor"] == ("A CPU",)
    assert "driver" not in found
