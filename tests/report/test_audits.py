from __future__ import annotations

from typing import Any

import pytest

from bench.contract.record import Audit, Budget, TrialRecord
from bench.report import audits, frame
from tests.report import fake_records as fake


def campaign(seed: int, answered: int | None = None, **changes: Any) -> TrialRecord:
    """A trial behind a watcher: ``answered`` queries before the first refusal, of 1000."""
    record = fake.trial("faces", "mlp", "dropout", "yang", seed, **changes)
    refused = 0 if answered is None else 1000 - answered
    audit = Audit(
        detected=answered is not None,
        stopped=answered is not None,
        answered_before=answered,
        accounts_refused=int(answered is not None),
        blocked=0.01 * seed,
        customers=1000,
    )
    budget = Budget(queries=1000, refused=refused, accounts=1)
    return record.model_copy(update={"audit": audit, "budget": budget})


def row(*records: TrialRecord) -> dict[Any, Any]:
    (found,) = audits.build(frame.build(records, "s")).to_dict("records")
    return found


def test_where_nobody_watches_there_is_no_table() -> None:
    table = audits.build(frame.build(fake.build(1), "s"))
    assert table.empty and list(table.columns) == audits.COLUMNS and audits.shown(table) == []


def test_a_campaign_that_was_never_refused_is_censored_not_dropped() -> None:
    # Kaplan-Meier by hand: 1 -> 3/4 at 10, 2/4 at 30; dropping the two would say 10 or 20.
    found = row(campaign(0, 10), campaign(1, 30), campaign(2), campaign(3))
    assert (found["detected"], found["campaigns"], found["answered"]) == (0.5, 4, 30)
    later = row(campaign(0, 10), campaign(1), campaign(2), campaign(3))
    assert (later["answered_most"], later["answered"]) == (
        1000,
        pytest.approx(float("nan"), nan_ok=True),
    )


def test_the_median_is_written_as_what_is_known() -> None:
    def written(*records: TrialRecord) -> str:
        return str(audits.shown(audits.build(frame.build(records, "s")))[0]["answered"])

    assert written(campaign(0, 10), campaign(1, 30), campaign(2, 20)) == "20"
    assert written(campaign(0, 10), campaign(1), campaign(2)) == "> 1,000"
    assert written(campaign(0), campaign(1)) == "never"


def test_false_blocks_are_pooled_over_seeds_with_the_exact_interval() -> None:
    # 0 + 10 + 20 of 3000; the interval is R's binom.test(30, 3000).
    found = row(campaign(0), campaign(1), campaign(2))
    assert (found["blocked"], found["customers"]) == (0.01, 3000)
    assert found["blocked_lo"] == pytest.approx(0.006757, abs=2e-6)
    assert found["blocked_hi"] == pytest.approx(0.014247, abs=2e-6)


def test_a_deployment_counts_its_customers_once_whatever_attacks_it() -> None:
    one = [campaign(0), campaign(1)]
    cells = [
        r.model_copy(
            update={
                "cell": r.cell.model_copy(update={"attack": "brep"}),
                "trial_id": f"{r.trial_id}-b",
            }
        )
        for r in one
    ]
    table = audits.build(frame.build([*one, *cells], "s"))
    assert table["customers"].tolist() == [2000, 2000]


def test_nobody_blocked_of_nobody_is_unknown() -> None:
    alone = campaign(0)
    assert alone.audit is not None
    alone = alone.model_copy(update={"audit": alone.audit.model_copy(update={"customers": 0})})
    assert audits.shown(audits.build(frame.build([alone], "s")))[0]["blocked"] == "\N{EN DASH}"


def test_leakage_is_compared_with_the_same_attack_and_seed_on_none() -> None:
    bare = [
        fake.trial("faces", "mlp", "none", attack, seed)
        for attack in ("yang", "brep")
        for seed in range(3)
    ]
    watched = [campaign(seed, 10) for seed in range(3)]
    found = row(*bare, *watched)
    leaks = [
        [r.score.L for r in records if r.score and r.score.L is not None]
        for records in (bare[:3], watched)
    ]
    assert found["L_none"] == pytest.approx(sum(leaks[0]) / 3)
    assert found["dL"] == pytest.approx((sum(leaks[1]) - sum(leaks[0])) / 3)
    assert found["dL_lo"] < found["dL"] < found["dL_hi"]


def test_a_stream_is_told_apart() -> None:
    plain = campaign(0)
    params = {"stream": {"accounts": 10, "cover": 0.5}}
    slow = plain.model_copy(
        update={
            "cell": plain.cell.model_copy(update={"attack": "yang[stream.accounts=10]"}),
            "trial_id": "slow",
            "attack": plain.attack.model_copy(update={"params": params}),
        }
    )
    shown = audits.shown(audits.build(frame.build([plain, slow], "s")))
    assert [r["stream"] for r in shown] == ["one account", "accounts=10, cover=0.5"]
    assert [r["attack"] for r in shown] == ["yang", "yang"]
    name = "a[stream.accounts=10,access=scores,stream.cover=0.5]"
    assert frame.bare_name(name) == "a[access=scores]"
    assert frame.bare_name("a[stream.accounts=1,stream.cover=0.5]") == "a"


def test_who_hides_is_compared_with_the_same_attack_where_nobody_watches() -> None:
    bare = [fake.trial("faces", "mlp", "none", "yang", seed) for seed in range(2)]
    name = "yang[stream.accounts=10]"
    hidden = [
        r.model_copy(update={"cell": r.cell.model_copy(update={"attack": name})})
        for r in (campaign(seed) for seed in range(2))
    ]
    leaks = [r.score.L for r in bare if r.score and r.score.L is not None]
    assert row(*bare, *hidden)["L_none"] == pytest.approx(sum(leaks) / 2)


def test_failures_controls_and_attacks_without_the_model_are_no_campaigns() -> None:
    broken = campaign(1, **fake.broken("oom", "MemoryError", "Out of memory."))
    control = campaign(2).model_copy(update={"control": "zero"})
    blind = campaign(3, access="none")
    blind = blind.model_copy(update={"cell": blind.cell.model_copy(update={"attack": "guess"})})
    assert row(campaign(0), broken, control, blind)["campaigns"] == 1
