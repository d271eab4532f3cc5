"""The gate before a deployment: accounts, cover, the clock, refusals and the trail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bench.contract import (
    Exposure,
    Gateway,
    Monitor,
    Stream,
    Traffic,
    UserError,
    Verdict,
    generator,
)
from bench.contract.serving import Trail, digest, refusal

ACCESS = ("labels", "scores")


@dataclass
class Limit(Monitor):
    """Refuses every account after ``most`` queries, and holds each one back ``wait`` seconds."""

    most: int
    wait: float = 0.0
    detects: bool = False

    def __post_init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.asked: list[Tensor] = []

    def admit(self, traffic: Traffic, answers: Tensor) -> Verdict:
        account = int(traffic.account[0])
        before = self.seen.get(account, 0)
        rank = before + torch.arange(len(traffic))
        self.seen[account] = before + len(traffic)
        self.asked.append(traffic.x)
        return Verdict(rank < self.most, torch.full((len(traffic),), self.wait).double())


def records(n: int, first: int = 0) -> Tensor:
    return torch.arange(first, first + n, dtype=torch.float32).view(-1, 1).expand(-1, 3).clone()


def scores(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0], 10 - x[:, 0]], 1)


def exposure(gate: Gateway) -> Exposure:
    return Exposure("scores", scores, lambda x: scores(x).argmax(1), gate=gate)


def test_without_a_monitor_everything_is_answered_and_kept_in_the_trail() -> None:
    gate = Gateway()
    shown = exposure(gate)
    assert torch.equal(shown.scores(records(4)), scores(records(4)))
    assert torch.equal(shown.labels(records(2)), torch.tensor([1, 1]))
    trail = gate.trail.columns()
    assert trail["time"].tolist() == [1, 2, 3, 4, 5, 6]
    assert trail["label"].tolist() == [1, 1, 1, 1, 1, 1]
    assert trail["confidence"][:4].tolist() == [10, 9, 8, 7]
    assert trail["confidence"][4:].isnan().all(), "a label says nothing of confidence"
    assert torch.equal(trail["digest"][:2], trail["digest"][4:])
    assert shown.open and not gate.refusals and gate.used == 1 and gate.clock == 6


def test_of_a_batch_the_first_are_answered_and_the_rest_say_nothing() -> None:
    gate = Gateway([Limit(3)])
    shown = exposure(gate)
    out = shown.scores(records(5))
    assert torch.equal(out[:3], scores(records(3)))
    assert out[3:].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert not shown.open and shown.meter.refused == 2 and shown.meter.queries == 5
    assert shown.labels(records(2, 9)).tolist() == [0, 0], "nothing is answered any more"
    assert gate.refusals == [(0, 3, False)]
    assert gate.trail.columns()["label"].tolist() == [1, 1, 1, -1], "he stops at a refusal"


def test_a_refused_attacker_goes_on_with_his_next_account() -> None:
    gate = Gateway([Limit(3, detects=True)], Stream(accounts=3))
    out = exposure(gate).scores(records(10))
    assert torch.equal(out[:9], scores(records(9)))
    assert out[9].tolist() == [0.5, 0.5]
    assert gate.refusals == [(0, 3, True), (1, 3, True), (2, 3, True)]
    assert gate.trail.columns()["account"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert gate.used == 3


def test_few_queries_from_each_of_many_accounts_are_never_refused() -> None:
    gate = Gateway([Limit(3)], Stream(accounts=4, per_account=2))
    shown = exposure(gate)
    assert torch.equal(shown.scores(records(5)), scores(records(5)))
    assert torch.equal(shown.scores(records(3, 5)), scores(records(3, 5)))
    assert not shown.open and not gate.refusals
    assert gate.trail.columns()["account"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("cover", "natural"), [(0.5, 8), (0.75, 24), (0.2, 2)])
def test_cover_traffic_hides_an_attack_and_costs_queries(cover: float, natural: int) -> None:
    limit = Limit(1000)
    gate = Gateway([limit], Stream(cover=cover), records(5, 100))
    shown = exposure(gate)
    assert torch.equal(shown.scores(records(8)), scores(records(8))), "answers in order"
    assert gate.covered == natural and shown.meter.queries == 8
    sent = torch.cat(limit.asked)[:, 0]
    own = (sent < 100).nonzero().squeeze(1)
    assert sent[own].tolist() == list(range(8))
    assert int(own.diff().max()) <= 1 + math.ceil(cover / (1 - cover)), "it is spread evenly"
    assert set(sent[sent >= 100].tolist()) <= set(range(100, 105))


def test_cover_is_owed_over_small_batches() -> None:
    gate = Gateway([Limit(1000)], Stream(cover=0.2), records(5, 100))
    shown = exposure(gate)
    for i in range(8):
        shown.scores(records(1, i))
    assert gate.covered == 2


def test_a_monitor_that_holds_back_ends_a_campaign_by_time() -> None:
    gate = Gateway([Limit(1000, wait=86400.0)], Stream(days=2.0))
    shown = exposure(gate)
    for i in range(5):
        shown.scores(records(1, i))
    assert shown.meter.refused == 4 and not shown.open
    assert gate.clock == 2 * 86400 and not gate.refusals


def test_waits_within_a_batch_end_a_campaign_too() -> None:
    gate = Gateway([Limit(1000, wait=86400.0)], Stream(days=2.0))
    shown = exposure(gate)
    shown.scores(records(5))
    assert shown.meter.refused == 4


def test_records_with_the_same_digest_are_the_same() -> None:
    x = torch.randn(2000, 7, generator=generator(0))
    found = digest(x)
    assert len(torch.unique(found)) == len(x)
    assert torch.equal(digest(x[3:5]), found[3:5]), "a batch does not matter"
    near = x.clone()
    near[:, 3] = torch.nextafter(near[:, 3], torch.tensor(9.0))
    assert not (digest(near) == found).any()
    assert len(torch.unique(digest(torch.eye(16) * 1e-3))) == 16


def test_a_refusal_says_nothing() -> None:
    assert refusal(torch.zeros(2, dtype=torch.long)).tolist() == [0, 0]
    assert refusal(torch.zeros(1, 3, dtype=torch.long)).tolist() == [[-1, -1, -1]]
    assert refusal(torch.rand(1, 4)).tolist() == [[0.25] * 4]
    assert Trail().columns() == {}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"accounts": 0}, "accounts is 0"),
        ({"per_account": 0}, "per_account is 0"),
        ({"cover": 1.0}, "cover is 1.0"),
        ({"interval_s": 0.0}, "interval_s is 0.0"),
        ({"days": -1.0}, "days is -1.0"),
    ],
)
def test_a_stream_that_cannot_be(options: dict[str, float], word: str) -> None:
    with pytest.raises(UserError, match=word):
        Stream(**options)  # type: ignore[arg-type]
