"""Budgets and rates: what an account is answered, and when."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.contract import Gateway, Monitor, Stream, Traffic, generator
from bench.data.traffic import benign
from defenses.common.accounts import by_account
from defenses.query_budget import QueryBudget
from defenses.rate_limit import RateLimit
from tests.models.records import table

NOTHING = torch.zeros(0)
SPLITS = table()
MONTH = benign(SPLITS.test, SPLITS.card, 200, 0)


def asks(times: list[float], account: int = 0) -> Traffic:
    time = torch.tensor(times, dtype=torch.float64)
    return Traffic(torch.zeros(len(time), 1), torch.full((len(time),), account), time)


def part(traffic: Traffic, rows: torch.Tensor | slice) -> Traffic:
    return Traffic(traffic.x[rows], traffic.account[rows], traffic.time[rows])


def test_rows_are_found_account_by_account_in_their_order() -> None:
    places = [(name, rows.tolist()) for name, rows in by_account(torch.tensor([7, 2, 7, 2, 9]))]
    assert places == [(2, [1, 3]), (7, [0, 2]), (9, [4])]
    assert list(by_account(torch.zeros(0, dtype=torch.long))) == []


def test_a_budget_is_per_account_and_month() -> None:
    monitor = QueryBudget(queries=2).watch({})
    day = 86400.0
    one = asks([1.0, 2.0, 29 * day, 31 * day, 32 * day, 59 * day])
    assert monitor.admit(one, NOTHING).admitted.tolist() == [True, True, False, True, True, False]
    assert monitor.admit(asks([1.0], 5), NOTHING).admitted.tolist() == [True]
    assert monitor.admit(asks([59.5 * day, 61 * day]), NOTHING).admitted.tolist() == [False, True]
    assert not monitor.detects


def test_whoever_stays_within_the_limits_is_neither_refused_nor_held_back() -> None:
    # Ten at once every minute is the limit by the minute, and 14,400 a day.
    times = [60.0 * minute + 0.1 * i for minute in range(200) for i in range(10)]
    verdict = RateLimit(per_minute=10, per_day=None).watch({}).admit(asks(times), NOTHING)
    assert verdict.wait is not None
    assert bool(verdict.admitted.all()) and float(verdict.wait.max()) == 0.0
    most = int(MONTH.account.bincount().max())
    assert bool(QueryBudget(queries=most).watch({}).admit(MONTH, NOTHING).admitted.all())
    assert not bool(QueryBudget(queries=most - 1).watch({}).admit(MONTH, NOTHING).admitted.all())


def test_a_burst_waits_for_its_tokens() -> None:
    # Three tokens, one more every 20 s: by hand. The client waits for each answer.
    verdict = RateLimit(per_minute=3, per_day=None).watch({}).admit(asks([0.0] * 6), NOTHING)
    assert verdict.wait is not None
    assert verdict.wait.tolist() == pytest.approx([0, 0, 0, 20, 20, 20])
    both = RateLimit(per_minute=3, per_day=4).watch({}).admit(asks([0.0] * 6), NOTHING)
    assert both.wait is not None
    # The fourth waits for the minute's bucket; the day's gains a token every 6 hours.
    assert both.wait.tolist() == pytest.approx([0, 0, 0, 20, 21580, 21600])


def simulated(times: list[float], size: int, period: float) -> list[float]:
    """A bucket of tokens, step by step: the definition."""
    tokens, last, late, waits = float(size), 0.0, 0.0, []
    for time in times:
        now = time + late
        tokens = min(size, tokens + (now - last) * size / period)
        wait = max(0.0, (1 - tokens) * period / size)
        tokens = tokens + wait * size / period - 1
        last = now + wait
        late += wait
        waits.append(wait)
    return waits


def test_virtual_scheduling_is_a_bucket_of_tokens() -> None:
    gaps = -torch.log(torch.rand(400, generator=generator(0), dtype=torch.float64)) * 4.0
    times = gaps.cumsum(0).tolist()
    verdict = RateLimit(per_minute=12, per_day=None).watch({}).admit(asks(times), NOTHING)
    assert verdict.wait is not None and float(verdict.wait.max()) > 0
    assert verdict.wait.tolist() == pytest.approx(simulated(times, 12, 60.0), abs=1e-6)


@pytest.mark.parametrize(
    "defense",
    [QueryBudget(queries=30), QueryBudget(queries=30, days=3.0), RateLimit(4, 20)],
    ids=["month", "days", "rate"],
)
def test_accounts_together_are_treated_as_each_alone(defense: Any) -> None:
    together = defense.watch({}).admit(MONTH, NOTHING)
    alone: Monitor = defense.watch({})
    for account in range(200):
        rows = MONTH.account == account
        verdict = alone.admit(part(MONTH, rows), NOTHING)
        assert torch.equal(verdict.admitted, together.admitted[rows])
        if together.wait is not None:
            assert torch.equal(verdict.wait, together.wait[rows])
    mixed = torch.randperm(len(MONTH), generator=generator(1))
    mixed = mixed[MONTH.time[mixed].argsort(stable=True)]
    verdict = defense.watch({}).admit(part(MONTH, mixed), NOTHING)
    assert torch.equal(verdict.admitted, together.admitted[mixed])
    acted = ~together.admitted if together.wait is None else together.wait > 0
    assert bool(acted.any()) and not bool(acted.all())


def test_a_budget_counts_alike_in_one_call_and_in_many() -> None:
    whole = QueryBudget(queries=30).watch({}).admit(MONTH, NOTHING).admitted
    monitor = QueryBudget(queries=30).watch({})
    calls = torch.arange(len(MONTH)).split(7)
    pieces = [monitor.admit(part(MONTH, rows), NOTHING).admitted for rows in calls]
    assert torch.equal(torch.cat(pieces), whole)


def campaign(defense: Any, batch: int, queries: int = 300, **stream: Any) -> tuple[Gateway, int]:
    gate = Gateway([defense.watch({})], Stream(**stream))
    x = torch.zeros(queries, 1)
    answered = sum(
        int(gate.serve(rows, lambda r: r.expand(-1, 2))[1].sum()) for rows in x.split(batch)
    )
    return gate, answered


def test_a_client_waits_as_long_in_one_call_as_in_many() -> None:
    defense = RateLimit(per_minute=10, per_day=100)
    once, answered = campaign(defense, 300)
    often, also = campaign(defense, 1)
    assert answered == also == 300
    assert often.clock == pytest.approx(once.clock)
    assert once.clock == pytest.approx(2 * 86400, rel=0.01)  # 100 at once, 100 a day after


def test_a_slow_answer_ends_a_campaign() -> None:
    gate, answered = campaign(RateLimit(per_minute=None, per_day=10), 5, days=3.0)
    assert 30 <= answered <= 50 and not gate.open


def test_ten_accounts_have_ten_budgets() -> None:
    gate, answered = campaign(QueryBudget(queries=20), 300, accounts=10)
    assert answered == 200
    assert [refusal[2] for refusal in gate.refusals] == [False] * 10


def test_nothing_at_zero() -> None:
    for defense in (QueryBudget(queries=None), RateLimit(None, None)):
        gate, answered = campaign(defense, 300)
        assert answered == 300 and gate.clock == 300.0
