"""DP-SGD by person, by layer and with a clipping norm that adapts; what tuning costs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from opacus.accountants import PRVAccountant, RDPAccountant
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from bench.contract import Split, Splits, UserError, generator, seed
from bench.models.cnn import Cnn
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.common.accounting import composed, spent
from defenses.common.private_steps import AdaptiveClip, PrivateSteps, Units, refuse_weights
from defenses.dp_sgd import DpSgd
from tests.models.records import images, table

MODEL = Mlp(hidden=(8,), epochs=2)
CLIP_ONLY = DpSgd(epsilon=None, noise_multiplier=0.0, epochs=1, batch_size=8, lr=1.0, clip_norm=0.3)


def owned(splits: Splits, person: Tensor) -> Splits:
    return dataclasses.replace(splits, train=dataclasses.replace(splits.train, person=person))


def gradients(split: Split) -> list[list[Tensor]]:
    """Of every record, one tensor per parameter, at the initial weights."""
    start = MODEL.build((6,), 2, seed(0, part="init"))
    per_record = []
    for i in range(len(split)):
        start.zero_grad()
        cross_entropy(start(split.x[i : i + 1]), split.y[i : i + 1]).backward()
        per_record.append([p.grad.clone() for p in start.parameters() if p.grad is not None])
    return per_record


def norm(parts: list[Tensor]) -> float:
    return float(torch.cat([p.flatten() for p in parts]).norm())


def moved(network: nn.Module) -> list[Tensor]:
    start = MODEL.build((6,), 2, seed(0, part="init"))
    pairs = zip(start.parameters(), network.parameters(), strict=True)
    return [(a - b).detach() for a, b in pairs]


def close(actual: list[Tensor], wanted: list[Tensor]) -> None:
    for a, b in zip(actual, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- people
def test_a_person_gives_one_clipped_gradient_whatever_the_number_of_records() -> None:
    # One full batch: eight people with 1, 2, ... 8 records, in mixed order.
    person = torch.repeat_interleave(torch.arange(8) * 5, torch.arange(1, 9))
    person = person[torch.randperm(36, generator=generator(0))]
    splits = owned(table(n=36), person)
    defense = dataclasses.replace(CLIP_ONLY, unit="person")
    network, report = train(MODEL, [defense], splits, 0, "cpu")
    assert report.steps == 1
    single = gradients(splits.train)
    want = [torch.zeros_like(p) for p in single[0]]
    clipped = 0
    for one in person.unique():
        rows = [single[i] for i in (person == one).nonzero().squeeze(1).tolist()]
        mean = [torch.stack(parts).mean(0) for parts in zip(*rows, strict=True)]
        scale = min(1.0, 0.3 / norm(mean))
        clipped += scale < 1.0
        want = [total + scale * g / 8 for total, g in zip(want, mean, strict=True)]
    assert clipped > 0, "the test must clip something"
    close(moved(network), want)


def test_the_ledger_counts_people() -> None:
    splits = owned(table(), torch.arange(96) // 4)
    defense = DpSgd(unit="person", batch_size=8, epochs=2)
    _, report = train(MODEL, [defense], splits, 0, "cpu")
    ledger = report.privacy
    assert ledger is not None and ledger.unit == "person"
    assert (ledger.sample_rate, ledger.steps) == (pytest.approx(1 / 3), 6)
    assert ledger.delta == pytest.approx(1 / 240) and ledger.expected_batch == pytest.approx(8)
    with pytest.raises(UserError, match="batch_size is 64, but there are 24 people"):
        train(MODEL, [DpSgd(unit="person")], splits, 0, "cpu")
    with pytest.raises(UserError, match="for 24 people in training"):
        train(MODEL, [dataclasses.replace(defense, delta=0.01)], splits, 0, "cpu")


def test_people_of_one_record_are_records() -> None:
    splits = owned(table(), torch.randperm(96, generator=generator(1)))
    one, report = train(MODEL, [DpSgd(epochs=2)], splits, 0, "cpu")
    two, by_person = train(MODEL, [DpSgd(epochs=2, unit="person")], splits, 0, "cpu")
    assert torch.equal(one.head.weight, two.head.weight)
    assert report.privacy is not None and by_person.privacy is not None
    assert dataclasses.replace(by_person.privacy, unit="record") == report.privacy


@pytest.mark.parametrize("clipping", ["flat", "per_layer", "adaptive"])
def test_pictures_train_by_person_in_every_way_and_empty_batches_are_stepped(clipping: Any) -> None:
    splits = images(people=4)
    defense = DpSgd(unit="person", clipping=clipping, batch_size=1, epochs=3)
    model = Cnn(channels=(8, 8), epochs=1)
    network, report = train(model, [defense], splits, 0, "cpu")
    again, _ = train(model, [defense], splits, 0, "cpu")
    assert torch.equal(network.head.weight, again.head.weight)
    assert report.privacy is not None
    assert report.privacy.steps == 12 and 0 < report.privacy.empty_batches < 12
    assert all(p.grad is None and p.isfinite().all() for p in network.parameters())
    assert all(not hasattr(p, "grad_sample") for p in network.parameters())


# ---------------------------------------------------------------- layers
def test_per_layer_clips_every_tensor_and_keeps_the_joint_norm() -> None:
    splits = table(n=8)
    defense = dataclasses.replace(CLIP_ONLY, clipping="per_layer")
    network, _ = train(MODEL, [defense], splits, 0, "cpu")
    bound = 0.3 / math.sqrt(4)  # weight and bias of two layers
    want = [torch.zeros_like(p) for p in gradients(splits.train)[0]]
    for single in gradients(splits.train):
        scaled = [g * min(1.0, bound / float(g.norm())) for g in single]
        assert norm(scaled) <= 0.3 * 1.0001
        want = [total + g / 8 for total, g in zip(want, scaled, strict=True)]
    close(moved(network), want)


def steps(n: int = 96, batch: int = 32, **options: Any) -> tuple[PrivateSteps, Splits]:
    splits = table(n=n)
    network = MODEL.build((6,), 2, 0)
    loader = DataLoader(TensorDataset(torch.arange(n)), batch_size=batch, generator=generator(0))
    options = {"clipping": "flat", "sigma": 0.0, "clip_norm": 1.0, "quantile": 0.5} | options
    private = PrivateSteps(
        network,
        torch.optim.SGD(network.parameters(), lr=0.0),
        loader,
        Units.records(n),
        "classification",
        rng=generator(1),
        **options,
    )
    return private, splits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("clipping", "width"), [("flat", 1.0), ("per_layer", 1.0)])
def test_noise_on_an_empty_batch_has_the_standard_deviation_that_was_paid_for(
    clipping: str, width: float
) -> None:
    private, splits = steps(clipping=clipping, sigma=2.0, clip_norm=3.0)
    nobody = torch.zeros(0, dtype=torch.int64)
    seen = []
    for _ in range(60):
        private.step(nobody, splits.train.x, splits.train.y)
        seen.append(torch.cat([p.grad.flatten() for p in private._optimizer.params]))
    assert float(torch.cat(seen).std()) * 32 == pytest.approx(2.0 * 3.0 * width, rel=0.03)
    assert private.empty == 60 and private.history == [(2.0, pytest.approx(1 / 3), 60)]


# ---------------------------------------------------------------- adaptive norm
@pytest.mark.filterwarnings("ignore")
def test_the_adaptive_norm_finds_the_quantile() -> None:
    # Weights stand still (lr 0): the norm must settle where 70% of the gradients are shorter.
    private, splits = steps(
        n=96, batch=96, clipping="adaptive", sigma=0.01, clip_norm=50.0, quantile=0.7
    )
    everyone = torch.arange(96)
    for _ in range(300):
        private.step(everyone, splits.train.x, splits.train.y)
    start = MODEL.build((6,), 2, 0)
    norms = []
    for i in range(96):
        start.zero_grad()
        cross_entropy(start(splits.train.x[i : i + 1]), splits.train.y[i : i + 1]).backward()
        norms.append(norm([p.grad for p in start.parameters() if p.grad is not None]))
    shorter = float((torch.tensor(norms) <= private.clip_norm).float().mean())
    assert 0.6 <= shorter <= 0.8


def adaptive(sigma: float, count_std: float, expected: int, quantile: float = 0.5) -> AdaptiveClip:
    parameter = nn.Parameter(torch.zeros(2000))
    return AdaptiveClip(
        torch.optim.SGD([parameter], lr=0.0),
        noise_multiplier=sigma,
        max_grad_norm=1.0,
        target_unclipped_quantile=quantile,
        clipbound_learning_rate=0.2,
        max_clipbound=1e6,
        min_clipbound=1e-6,
        unclipped_num_std=count_std,
        expected_batch_size=expected,
        generator=generator(0),
    )


def test_gradients_and_count_spend_together_what_the_accountant_is_told() -> None:
    # Theorem 1: z^-2 = z_gradients^-2 + (2 sigma_count)^-2.
    clip = adaptive(1.5, 2.0, 10)
    clip.params[0].grad_sample = torch.zeros(0, 2000)
    clip.pre_step()
    std = float(clip.params[0].grad.std()) * 10
    assert std == pytest.approx((1.5**-2 - 4.0**-2) ** -0.5, rel=0.05)
    assert std > 1.5 and clip.noise_multiplier == 1.5


def test_one_record_moves_the_count_by_a_half_and_the_batch_size_stays_private() -> None:
    # What the norm depends on, but for noise: a record adds 1/2 or -1/2 over the expected size.
    def moved_by(sample_size: int, unclipped: float) -> float:
        clip = adaptive(1.0, 1.0, 20)
        clip.sample_size, clip.unclipped_num = sample_size, torch.tensor(unclipped)
        clip.update_max_grad_norm()
        return -math.log(clip.max_grad_norm) / 0.2

    base = moved_by(10, 4.0)
    assert moved_by(11, 5.0) - base == pytest.approx(0.5 / 20, abs=1e-6)  # one more, unclipped
    assert moved_by(11, 4.0) - base == pytest.approx(-0.5 / 20, abs=1e-6)  # one more, clipped
    assert moved_by(0, 0.0) == pytest.approx(0.0, abs=1e-6)  # nobody: no division by 0


def test_adaptive_clipping_is_active_and_within_the_same_budget() -> None:
    splits = table()
    flat, _ = train(MODEL, [DpSgd(epochs=2)], splits, 0, "cpu")
    network, report = train(MODEL, [DpSgd(epochs=2, clipping="adaptive")], splits, 0, "cpu")
    assert report.privacy is not None and 7.9 < report.privacy.epsilon <= 8.0
    assert not torch.equal(flat.head.weight, network.head.weight)


# ---------------------------------------------------------------- accounting
@pytest.mark.filterwarnings("ignore:Optimal order is the")
@pytest.mark.parametrize("clipping", ["flat", "per_layer", "adaptive"])
def test_the_ledger_is_what_opacus_says_of_sigma_q_and_t(clipping: Any) -> None:
    defense = DpSgd(epsilon=None, noise_multiplier=2.0, epochs=3, batch_size=24, clipping=clipping)
    _, report = train(MODEL, [defense], table(), 0, "cpu")
    ledger = report.privacy
    assert ledger is not None
    by_hand = []
    for accountant in (PRVAccountant(), RDPAccountant()):
        for _ in range(3 * 4):  # T = epochs x batches, q = 24 / 96
            accountant.step(noise_multiplier=2.0, sample_rate=0.25)
        by_hand.append(accountant.get_epsilon(1 / 960))
    assert [ledger.epsilon, ledger.epsilon_rdp] == pytest.approx(by_hand, abs=1e-6)
    assert (ledger.epsilon_total_basis, ledger.epsilon_total) == ("not_accounted", None)


@pytest.mark.filterwarnings("ignore:Optimal order is the")
@pytest.mark.parametrize("steps", [(0.6, 0.2, 200), (1.3, 0.01, 3000), (8.0, 0.5, 1)])
def test_every_digit_is_what_opacus_says(steps: tuple[float, float, int]) -> None:
    for name, accountant in (("prv", PRVAccountant()), ("rdp", RDPAccountant())):
        accountant.history = [steps]
        assert spent(*steps, 1e-4, name) == accountant.get_epsilon(1e-4)


def test_tuning_is_composed_with_the_same_accountant() -> None:
    defense = DpSgd(epsilon=None, noise_multiplier=2.0, epochs=1, tuning_runs=5)
    _, report = train(MODEL, [defense], table(), 0, "cpu")
    ledger = report.privacy
    assert ledger is not None and ledger.epsilon_total_basis == "naive_composition"
    accountant = PRVAccountant()
    accountant.history = [(2.0, ledger.sample_rate, 5 * ledger.steps)]
    assert ledger.epsilon_total == pytest.approx(accountant.get_epsilon(ledger.delta), abs=1e-6)
    assert ledger.epsilon < ledger.epsilon_total < 5 * ledger.epsilon
    # Fixed beforehand: nothing to add. Beyond what PRV can hold: the RDP bound.
    fixed = dataclasses.replace(defense, tuning_runs=1, epsilon_total_basis="single_run")
    privacy = train(MODEL, [fixed], table(), 0, "cpu")[1].privacy
    assert privacy is not None and privacy.epsilon_total == privacy.epsilon
    assert composed(0.5, 0.5, 50, 1e-3, 40) == spent(0.5, 0.5, 2000, 1e-3, "rdp") > 200


# ---------------------------------------------------------------- refusals
def test_a_weighted_loader_is_refused() -> None:
    data = TensorDataset(torch.arange(20))
    weighted = DataLoader(data, sampler=WeightedRandomSampler([1.0] * 20, 5))
    with pytest.raises(UserError, match=r"WeightedRandomSampler.*opacus issue 813"):
        refuse_weights(weighted)
    with pytest.raises(UserError, match="RandomSampler"):
        refuse_weights(DataLoader(data, sampler=RandomSampler(data, replacement=True)))
    refuse_weights(DataLoader(data))
    refuse_weights(DataLoader(data, shuffle=True))
    network = MODEL.build((6,), 2, 0)
    with pytest.raises(UserError, match="drawn with the same chance"):
        PrivateSteps(
            network,
            torch.optim.SGD(network.parameters(), lr=0.1),
            weighted,
            Units.records(20),
            "classification",
            clipping="flat",
            sigma=1.0,
            clip_norm=1.0,
            quantile=0.5,
            rng=generator(0),
        )


@pytest.mark.parametrize(
    "options",
    [
        {"tuning_runs": 3, "epsilon_total_basis": "single_run"},
        {"epsilon_total_basis": "naive_composition"},
    ],
)
def test_tuning_that_costs_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="tuning_runs"):
        DpSgd(**options)
