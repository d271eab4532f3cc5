from __future__ import annotations

import dataclasses
from statistics import NormalDist
from typing import Any

import pytest
import torch
from opacus.accountants import PRVAccountant, RDPAccountant
from torch import nn
from torch.nn.functional import cross_entropy

from bench.contract import FitReport, Network, TrainingContext, UserError, generator, seed
from bench.contract.identity import canonical
from bench.engine.components import build, normalise
from bench.engine.config import expand
from bench.models.cnn import Cnn
from bench.models.fitting import predict
from bench.models.mlp import Mlp
from bench.models.softmax import Softmax
from bench.models.training import Loop, train
from defenses.common.accounting import advantage, least_noise, least_noise_for
from defenses.dp_sgd import DpSgd
from defenses.freezing import Freezing
from tests.models.records import images, table

MODEL = Mlp(hidden=(8,), epochs=2)


def fit(defense: DpSgd, n: int = 96, repeat: int = 0, **options: Any) -> tuple[Network, FitReport]:
    return train(MODEL, [dataclasses.replace(defense, **options)], table(n=n), repeat, "cpu")


def test_the_ledger_is_what_the_accountants_say_of_the_executed_run() -> None:
    # 96 records in batches of 40: Opacus makes 3 batches an epoch, so q is 1/3 and not 40/96.
    _, report = fit(DpSgd(epochs=4, batch_size=40))
    ledger = report.privacy
    assert ledger is not None
    assert ledger.sample_rate == pytest.approx(1 / 3)
    assert ledger.steps == report.steps == 12
    assert ledger.expected_batch == pytest.approx(32)
    assert ledger.delta == pytest.approx(1 / 960)
    for accountant, epsilon in (
        (PRVAccountant(), ledger.epsilon),
        (RDPAccountant(), ledger.epsilon_rdp),
    ):
        accountant.history = [(ledger.noise_multiplier, 1 / 3, 12)]
        assert epsilon == pytest.approx(accountant.get_epsilon(1 / 960), abs=1e-6)
    assert 7.9 < ledger.epsilon <= 8.0 < ledger.epsilon_rdp
    assert (ledger.accountant, ledger.unit, ledger.neighbour_relation, ledger.sampling) == (
        "prv",
        "record",
        "add_remove",
        "poisson",
    )
    assert ledger.rng == "seeded (not for release)"
    assert ledger.clip_norm == 1.0
    assert set(ledger.libraries) == {"opacus", "torch"}


@pytest.mark.filterwarnings("ignore:Optimal order is the")
def test_least_noise_stays_just_within_the_budget() -> None:
    sigmas = []
    for epsilon in (50.0, 8.0, 1.0):
        accountant = PRVAccountant()
        sigmas.append(least_noise(epsilon, 1e-3, 0.2, 20))
        accountant.history = [(sigmas[-1], 0.2, 20)]
        assert 0.99 * epsilon <= accountant.get_epsilon(1e-3) <= epsilon
    assert sigmas == sorted(sigmas), "a smaller budget needs more noise"


@pytest.mark.parametrize(("most", "sample_rate", "steps"), [(0.1, 1 / 7, 210), (0.6, 0.02, 300)])
def test_the_noise_for_a_risk_is_the_least_that_keeps_it(
    most: float, sample_rate: float, steps: int
) -> None:
    sigma = least_noise_for(most, 1e-4, sample_rate, steps)
    assert 0.98 * most <= advantage(sigma, sample_rate, steps, 1e-4) <= most
    assert advantage(0.95 * sigma, sample_rate, steps, 1e-4) > most
    less = least_noise_for(most / 2, 1e-4, sample_rate, steps)
    assert less > sigma, "a smaller risk needs more noise"


def test_the_noise_for_a_risk_is_that_of_a_gaussian_in_closed_form() -> None:
    # One step on everybody: the advantage is 2 Phi(1 / (2 sigma)) - 1.
    sigma = 1 / (2 * NormalDist().inv_cdf((1 + 0.3) / 2))
    assert sigma <= least_noise_for(0.3, 1e-3, 1.0, 1) < 1.03 * sigma


def test_a_target_is_trained_to_and_the_ledger_states_the_epsilon_that_it_is() -> None:
    defense = DpSgd(epsilon=None, target={"advantage": 0.3}, epochs=3, batch_size=32)
    _, report = fit(defense)
    ledger = report.privacy
    assert ledger is not None and ledger.advantage is not None
    assert 0.29 < ledger.advantage <= 0.3
    accountant = PRVAccountant()
    accountant.history = [(ledger.noise_multiplier, ledger.sample_rate, ledger.steps)]
    assert ledger.epsilon == pytest.approx(accountant.get_epsilon(ledger.delta), abs=1e-6)
    _, tuned = fit(defense, tuning_runs=4)
    assert tuned.privacy is not None and tuned.privacy.advantage is not None
    assert tuned.privacy.advantage <= 0.3, "of all four trainings"
    assert tuned.privacy.noise_multiplier > ledger.noise_multiplier
    with pytest.raises(UserError, match=r"advantage is 0\.99999.* (above 100|no noise was found)"):
        fit(defense, target={"advantage": 0.99999})


def test_a_target_names_the_rows_of_a_sweep() -> None:
    given = {"dp_sgd": {"_target_": "defenses.dp_sgd.DpSgd", "epsilon": None}}
    swept: Any = {"target": [{"advantage": 0.1}, {"advantage": 0.3}]}
    rows = expand("defense", "dp_sgd", {"dp_sgd": {**given["dp_sgd"], "sweep": swept}})
    assert [row.name for row in rows] == [
        "dp_sgd[target.advantage=0.1]",
        "dp_sgd[target.advantage=0.3]",
    ]
    built = [build(row.layers[0], row.name) for row in rows]
    assert [b.target for b in built] == [{"advantage": 0.1}, {"advantage": 0.3}]
    told = [canonical(normalise(row.layers[0], row.name)) for row in rows]
    assert told[0] != told[1]


def test_a_reproduction_keeps_a_larger_delta() -> None:
    _, report = fit(DpSgd(delta=0.01, epochs=1, reproduction=True))
    assert report.privacy is not None and report.privacy.delta == 0.01
    with pytest.raises(UserError, match="reproduction: true"):
        fit(DpSgd(delta=0.01, epochs=1))


def test_the_seed_decides_batches_and_noise() -> None:
    defense = DpSgd(epochs=1)
    first, report = fit(defense)
    torch.manual_seed(5)
    again, report_again = fit(defense)
    other, _ = fit(defense, repeat=1)
    assert torch.equal(first.head.weight, again.head.weight) and report == report_again
    assert not torch.equal(first.head.weight, other.head.weight)


def test_one_step_clips_each_record_by_itself() -> None:
    # One full batch, no noise: the step must be lr times the mean of separately clipped gradients.
    splits = table(n=32)
    defense = DpSgd(
        epsilon=None, noise_multiplier=0.0, epochs=1, batch_size=32, lr=1.0, clip_norm=0.5
    )
    network, report = train(MODEL, [defense], splits, 0, "cpu")
    assert report.privacy is None, "clipping without noise gives no guarantee"
    start = MODEL.build((6,), 2, seed(0, part="init"))
    want = [torch.zeros_like(p) for p in start.parameters()]
    clipped = 0
    for i in range(32):
        start.zero_grad()
        cross_entropy(start(splits.train.x[i : i + 1]), splits.train.y[i : i + 1]).backward()
        grads = [p.grad.clone() for p in start.parameters() if p.grad is not None]
        norm = torch.sqrt(sum((g.square().sum() for g in grads), torch.zeros(())))
        clipped += int(norm > 0.5)
        scale = min(1.0, 0.5 / float(norm)) / 32
        want = [total + scale * g for total, g in zip(want, grads, strict=True)]
    assert clipped > 0, "the test must clip something"
    for before, after, step in zip(start.parameters(), network.parameters(), want, strict=True):
        torch.testing.assert_close(after.detach(), before.detach() - step, rtol=1e-4, atol=1e-5)


def test_empty_batches_are_stepped_on_noise_and_counted() -> None:
    # One step at an expected batch of one record: with the seeds where the batch is empty, what
    # moved the weights can only be noise, and the accountant must have seen the step.
    defense = DpSgd(epsilon=None, noise_multiplier=2.0, epochs=1, batch_size=1, lr=1.0)
    _, report = fit(defense, n=24)
    assert report.privacy is not None
    assert 3 <= report.privacy.empty_batches <= 16  # e^-1 of 24 is about 9
    assert report.privacy.steps == 24
    # The same noise with gradients clipped to nothing: all 24 steps must be in the weights.
    model = Softmax(epochs=1)
    tiny = dataclasses.replace(defense, noise_multiplier=1e9, clip_norm=1e-9)
    network, _ = train(model, [tiny], table(n=24), 0, "cpu")
    noise = generator(seed(0, part="noise"))
    weight = model.build((6,), 2, seed(0, part="init")).head.weight.detach().clone()
    velocity = torch.zeros_like(weight)
    for _ in range(24):
        velocity = 0.9 * velocity + torch.normal(0.0, 1.0, (2, 6), generator=noise)
        torch.normal(0.0, 1.0, (2,), generator=noise)  # of the bias
        weight -= velocity
    torch.testing.assert_close(network.head.weight.detach(), weight, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", [Softmax(epochs=1), MODEL, Cnn(channels=(8, 8), epochs=1)])
def test_every_architecture_trains_privately_and_is_left_clean(model: Any) -> None:
    splits = images(people=8)
    network, report = train(model, [DpSgd(epochs=1, batch_size=32)], splits, 0, "cpu")
    assert report.privacy is not None and report.privacy.epsilon <= 8.0
    assert type(network) is Network and not network.training
    assert all(p.grad is None and not hasattr(p, "grad_sample") for p in network.parameters())
    x = splits.test.x[:2].clone().requires_grad_(True)
    network(x).sum().backward()  # no hook of Opacus may be left
    assert x.grad is not None
    assert predict(network, splits.test.x).shape == (64, 8)


def test_frozen_blocks_stay_and_the_rest_trains_privately() -> None:
    splits = images(people=8)
    model = Cnn(channels=(8, 8), epochs=1)
    layers = [Freezing(layers=1, epochs=1), DpSgd(epochs=1, batch_size=32)]
    private, report = train(model, layers, splits, 0, "cpu")
    public, _ = train(model, layers[:1], splits, 0, "cpu")
    assert report.privacy is not None and report.public_records == len(splits.public)
    for a, b in zip(private.blocks[0].parameters(), public.blocks[0].parameters(), strict=True):
        assert torch.equal(a, b)
    moved = zip(private.blocks[1].parameters(), public.blocks[1].parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in moved)


@pytest.mark.parametrize(
    "options",
    [
        {"noise_multiplier": 1.0},
        {"target": {"advantage": 0.1}},
        {"poisson_sampling": False},
        {"epsilon": 101.0},
        {"target": {"advantage": 0.0}, "epsilon": None},
        {"target": {"advantage": 1.0}, "epsilon": None},
        {"target": {"epsilon": 1.0}, "epsilon": None},
        {"target": {}, "epsilon": None},
        {"target": {"advantage": "little"}, "epsilon": None},
        {"target": {"advantage": float("nan")}, "epsilon": None},
        {"target": {"advantage": 0.1}, "epsilon": None, "noise_multiplier": 1.0},
    ],
)
def test_options_that_promise_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        DpSgd(**options)


def test_what_only_the_data_can_tell_is_refused_too() -> None:
    with pytest.raises(UserError, match=r"above 1 / \(10 n\) = 0\.00104 for 96"):
        fit(DpSgd(delta=0.01))
    with pytest.raises(UserError, match="give more noise, or 0 to clip only"):
        fit(DpSgd(epsilon=None, noise_multiplier=0.01))
    with pytest.raises(UserError, match="batch_size is 97, but there are 96"):
        fit(DpSgd(batch_size=97))
    _, report = fit(DpSgd(delta=1e-5, epochs=1))
    assert report.privacy is not None and report.privacy.delta == 1e-5


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_normalisation_is_refused_even_frozen(frozen: bool) -> None:
    splits = table()
    loop = Loop(MODEL, splits.card, "classification", "cpu")
    network = loop.build(2, 0)
    norm = nn.BatchNorm1d(8)
    norm.requires_grad_(not frozen)
    network.blocks.append(norm)
    context = TrainingContext(splits.card, "classification", splits.public, loop, 0, "cpu")
    with pytest.raises(UserError, match="cannot train BatchNorm1d"):
        DpSgd().fit(network, splits.train, MODEL.recipe, context)
