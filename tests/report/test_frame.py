from __future__ import annotations

import math
import random

import pytest

from bench.contract.errors import UserError
from bench.contract.record import Audit
from bench.report import frame
from tests.report import fake_records as fake


def test_stable_columns_come_first_in_this_order() -> None:
    table = frame.build([fake.trial("faces", "mlp", "none", "brep", 0)], "smoke")
    assert list(table.columns[:25]) == [
        "trial_id",
        "suite",
        "sector",
        "dataset",
        "model",
        "defense",
        "attack",
        "goal",
        "access",
        "seed",
        "status",
        "utility_metric",
        "utility",
        "score_metric",
        "score",
        "s_base",
        "s_ceil",
        "L",
        "M",
        "epsilon",
        "queries",
        "train_s",
        "attack_s",
        "flags",
        "error",
    ]


def test_rows_are_sorted_whatever_the_order_of_the_records() -> None:
    records = fake.build(2)
    shuffled = records.copy()
    random.Random(0).shuffle(shuffled)
    table = frame.build(shuffled, "smoke")
    assert table.equals(frame.build(records, "smoke"))
    keys = table[list(frame.ORDER)].apply(tuple, axis=1).tolist()
    assert keys == sorted(keys)


def test_values_arrive() -> None:
    record = fake.trial("faces", "mlp", "dp_sgd[epsilon=8]", "yang", 1)
    row = frame.build([record], "smoke").iloc[0]
    assert record.score is not None and record.utility is not None
    assert (row["L"], row["M"], row["score"]) == (
        record.score.L,
        record.score.M,
        record.score.value,
    )
    assert row["utility"] == record.utility.value
    assert row["epsilon"] == pytest.approx(7.996)
    assert (row["queries"], row["suite"], row["sector"]) == (1000, "smoke", "face")


def test_families_and_their_settings_arrive() -> None:
    record = fake.trial("faces", "mlp", "dp_sgd[epsilon=8]", "latent[loss=ce]", 1)
    row = frame.build([record], "smoke").iloc[0]
    assert (row["family"], row["attack_family"]) == ("dp_sgd", "latent")
    defense = record.defense.model_copy(update={"family": "private", "settings": 5})
    attack = record.attack.model_copy(update={"family": "gan", "settings": 3})
    record = record.model_copy(update={"defense": defense, "attack": attack})
    row = frame.build([record], "smoke").iloc[0]
    names = ["family", "settings", "attack_family", "attack_settings"]
    assert row[names].tolist() == ["private", 5, "gan", 3]


def test_what_a_watcher_noticed_arrives() -> None:
    bare = fake.trial("faces", "mlp", "none", "brep", 0)
    seen = ["detected", "stopped", "answered_before", "blocked", "customers"]
    row = frame.build([bare], "smoke").iloc[0]
    assert row[seen].isna().all() and row["stream"] == ""
    audit = Audit(
        detected=True,
        stopped=False,
        answered_before=40,
        accounts_refused=2,
        blocked=0.01,
        customers=900,
    )
    stream = {"accounts": 10, "cover": 0.5, "per_account": None, "interval_s": 1.0, "days": 30.0}
    record = bare.model_copy(
        update={
            "audit": audit,
            "budget": bare.budget.model_copy(update={"refused": 7, "accounts": 3, "cover": 60}),
            "attack": bare.attack.model_copy(update={"params": {"stream": stream}}),
        }
    )
    row = frame.build([record], "smoke").iloc[0]
    assert row[seen].tolist() == [1, 0, 40, 0.01, 900]
    assert row[["refused", "accounts", "cover"]].tolist() == [7, 3, 60]
    assert row["stream"] == "accounts=10, cover=0.5"


def test_a_trial_that_did_not_finish_is_a_row_with_empty_numbers() -> None:
    # The target was trained and has a utility, yet only 'done' rows carry numbers.
    changes = fake.broken("oom", "MemoryError", "Out of\n memory.")
    whole = fake.trial("faces", "mlp", "none", "brep", 0)
    broken = whole.model_copy(update=changes | {"utility": whole.utility})
    row = frame.build([broken], "smoke").iloc[0]
    assert row["status"] == "oom"
    assert row["error"] == "MemoryError: Out of memory."
    numbers = ["utility", "score", "s_base", "s_ceil", "L", "M", "epsilon", "queries", "train_s"]
    assert row[numbers].isna().all()


def test_the_same_record_twice_counts_once_and_the_latest_wins() -> None:
    old = fake.trial("faces", "mlp", "none", "brep", 0)
    new = fake.trial(
        "faces", "mlp", "none", "brep", 0, created_utc="2026-02-01T00:00:00Z", flags=["dirty"]
    )
    for records in ([old, new], [new, old], [old, new, old]):
        table = frame.build(records, "smoke")
        assert table["flags"].tolist() == [("dirty",)]


def test_negative_zero_is_zero() -> None:
    record = fake.trial("faces", "mlp", "none", "brep", 0)
    assert record.score is not None
    record = record.model_copy(update={"score": record.score.model_copy(update={"L": -0.0})})
    assert math.copysign(1, frame.build([record], "smoke")["L"].iloc[0]) == 1


def test_no_record_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"Suite 'smoke' has no trial records.*run suite=smoke"):
        frame.build([], "smoke")


def test_two_records_of_one_cell_are_refused() -> None:
    one = fake.trial("faces", "mlp", "none", "brep", 0)
    two = one.model_copy(update={"trial_id": "other"})
    with pytest.raises(UserError, match="two different records of the trial faces/mlp/none/brep/0"):
        frame.build([one, two], "smoke")


def test_trials_of_different_protocols_are_refused() -> None:
    one = fake.trial("faces", "mlp", "none", "brep", 0)
    two = fake.trial("faces", "mlp", "none", "brep", 1, protocol_version="2.0")
    with pytest.raises(UserError, match=r"protocol version is 1\.0 in .* and 2\.0"):
        frame.build([one, two], "smoke")


def test_an_unknown_access_is_refused() -> None:
    record = fake.trial("faces", "mlp", "none", "brep", 0, access="telepathy")
    with pytest.raises(UserError, match="access 'telepathy'; allowed: none, labels"):
        frame.build([record], "smoke")
