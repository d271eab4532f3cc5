from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from bench.contract import (
    DivergedError,
    Model,
    Network,
    Splits,
    TrainingDefense,
    generator,
)
from bench.data.baskets import Baskets
from bench.models.cnn import Cnn
from bench.models.controls import EarlyStopped, Overfit, RandomLabels, Temperature
from bench.models.fitting import Fitting, predict
from bench.models.meeting import Outcome, side_by_side
from bench.models.mlp import Mlp
from bench.models.recommenders import AutoEncoder, Ease
from bench.models.replicas import Training, fit, group_of, train_together
from bench.models.softmax import Softmax
from bench.models.training import Loop, task_of, train
from defenses.bido import Bido
from defenses.dp_sgd import DpSgd
from defenses.dropout import Dropout
from defenses.early_stopping import EarlyStopping
from defenses.regularised import Regularised
from defenses.weight_decay import WeightDecay
from tests.defenses.test_active import TRAINING, load
from tests.models.records import described, numbers, table

WEIGHTS, ANSWERS = 1e-3, 1e-3
"""Most by which weights differ, as a share of a tensor's norm, and raw outputs (PROTOCOL 3.1)."""

MLP = Mlp(hidden=(16,), epochs=4)
CASES: dict[str, tuple[Model, Splits]] = {
    "mlp": (MLP, described()),
    "deep mlp by momentum": (
        replace(MLP, hidden=(16, 8), activation="tanh", optimizer="sgd", schedule="cosine"),
        described(),
    ),
    "regression": (MLP, numbers()),
    "softmax": (Softmax(epochs=4), described()),
    "autoencoder": (
        AutoEncoder(epochs=4, hidden=8),
        Baskets(items=60, train=120, test=40, public=40).load(0, None),
    ),
}
LAYERS: dict[str, list[TrainingDefense]] = {
    "none": [],
    **{control.__name__: [control()] for control in (Overfit, RandomLabels, Temperature)},
    "stopped early among others": [EarlyStopped(0.3)],
    **{name: [layer] for name in TRAINING if isinstance(layer := load(name), TrainingDefense)},
}


def fits(model: Model, splits: Splits, layers: Sequence[TrainingDefense]) -> bool:
    task = task_of(model, splits.card)
    return group_of(model, layers) is not None and all(
        layer.needs <= model.offers
        and task in layer.tasks
        and splits.card.modality in layer.modalities
        and (splits.card.sensitive is not None or layer.hides[1:] != ("sensitive",))
        for layer in layers
    )


FEW = {"none", "weight_decay", "dropout", "gradient_pruning", "early_stopping"}
"""Enough of an architecture of which another stands for the rest."""
GROUPED = [
    (case, name)
    for case, (model, splits) in CASES.items()
    for name, layers in LAYERS.items()
    if fits(model, splits, layers) and (name in FEW or case in ("mlp", "autoencoder"))
]


def alike(a: Network, b: Network, x: torch.Tensor) -> bool:
    pairs = list(zip(a.state_dict().items(), b.state_dict().items(), strict=True))
    return torch.allclose(predict(a, x), predict(b, x), rtol=0, atol=ANSWERS) and all(
        name == other and float((v - w).norm()) <= WEIGHTS * float(v.norm())
        for (name, v), (other, w) in pairs
    )


def check(outcomes: Sequence[Outcome[Any]], trainings: Sequence[Training]) -> None:
    for outcome, one in zip(outcomes, trainings, strict=True):
        assert not isinstance(outcome.value, Exception), outcome.value
        network, report = outcome.value
        lone, expected = train(one.model, one.layers, one.splits, one.seed, "cpu")
        assert alike(network, lone, one.splits.test.x)
        assert not network.training
        counts = ("epochs", "steps", "public_records", "privacy")
        assert all(getattr(report, c) == getattr(expected, c) for c in counts)
        assert report.final_loss == pytest.approx(expected.final_loss, abs=1e-4)
        assert report.train_accuracy == pytest.approx(expected.train_accuracy, abs=0.02)


@pytest.mark.parametrize(("case", "name"), GROUPED, ids=str)
def test_a_target_of_a_group_is_what_it_is_alone(case: str, name: str) -> None:
    (model, splits), layers = CASES[case], LAYERS[name]
    trained: Any = model
    faster = replace(trained, lr=2e-3)
    trainings = [Training(m, layers, splits, seed) for seed, m in ((0, model), (1, faster))]
    outcomes = train_together(trainings, "cpu")
    assert all(outcome.replicas >= 2 for outcome in outcomes)
    check(outcomes, trainings)


def test_settings_that_differ_share_a_program() -> None:
    """Rate, decay and epochs; who is done leaves, and the others go on as they would have."""
    stacks: list[list[TrainingDefense]] = [
        [],
        [WeightDecay(0.01)],
        [WeightDecay(0.1), Overfit()],
        [EarlyStopped(0.3)],
    ]
    models: Any = [MLP, replace(MLP, lr=0.01), replace(MLP, schedule="cosine"), MLP]
    assert len({group_of(m, layers) for m, layers in zip(models, stacks, strict=True)}) == 1
    rows = zip(models, stacks, strict=True)
    trainings = [Training(m, layers, table(i), i) for i, (m, layers) in enumerate(rows)]
    outcomes = train_together(trainings, "cpu")
    assert [outcome.replicas for outcome in outcomes] == [4, 4, 4, 4]
    check(outcomes, trainings)


def test_each_stops_early_by_itself() -> None:
    model = replace(MLP, epochs=30, lr=0.03)
    layers = [EarlyStopping(validation=0.2, patience=2)]
    trainings = [Training(model, layers, table(seed), seed) for seed in range(5)]
    outcomes = train_together(trainings, "cpu")
    check(outcomes, trainings)
    assert len({o.value[1].epochs for o in outcomes if not isinstance(o.value, Exception)}) > 1


def test_one_that_diverges_is_alone_in_it() -> None:
    wild = replace(MLP, lr=1e30, optimizer="sgd")
    tame = replace(MLP, optimizer="sgd")
    trainings = [Training(m, [], table(), 0) for m in (tame, wild, tame)]
    outcomes = train_together(trainings, "cpu")
    assert [outcome.replicas for outcome in outcomes] == [3, 3, 3]
    assert isinstance(outcomes[1].value, DivergedError)
    check(outcomes[::2], trainings[::2])


def test_records_of_other_shapes_are_trained_apart() -> None:
    sizes = [Training(MLP, [], table(n=n), 0) for n in (96, 64, 96)]
    outcomes = train_together(sizes, "cpu")
    assert [outcome.replicas for outcome in outcomes] == [2, 1, 2]
    check(outcomes, sizes)


@pytest.mark.parametrize(
    ("model", "layers"),
    [(MLP, [Bido()]), (MLP, [DpSgd()]), (MLP, [Dropout(), Bido()]), (Cnn(), []), (Ease(), [])],
)
def test_what_gains_nothing_has_no_group(model: Model, layers: list[TrainingDefense]) -> None:
    assert group_of(model, layers) is None


def test_architectures_and_hooks_part_groups() -> None:
    wide = replace(MLP, hidden=(32,))
    pairs: list[tuple[Model, list[TrainingDefense]]] = [
        (MLP, []),
        (wide, []),
        (MLP, [Dropout()]),
        (MLP, [Regularised()]),
        (replace(MLP, batch_size=8), []),
    ]
    assert len({group_of(*pair) for pair in pairs}) == len(pairs)
    assert group_of(MLP, [Dropout(0.1)]) == group_of(replace(MLP, lr=0.1), [Dropout(0.8)])


def test_a_layer_that_draws_by_the_global_generator_draws_as_alone() -> None:
    class Jitter(TrainingDefense):
        def augment(self, network: Network, x: Any, y: Any, step: Any) -> Any:
            return x + 0.1 * torch.randn_like(x), y

    trainings = [Training(MLP, [Jitter(), Dropout()], table(seed), seed) for seed in range(3)]
    before = torch.get_rng_state()
    outcomes = train_together(trainings, "cpu")
    assert torch.equal(before, torch.get_rng_state())
    assert [outcome.replicas for outcome in outcomes] == [3, 3, 3]
    check(outcomes, trainings)


def fitting(seed: int) -> Fitting:
    splits = table(seed)
    loop = Loop(MLP, splits.card, "classification", "cpu")
    return Fitting(loop, loop.build(2, seed), splits.train, MLP.recipe, seed)


def test_side_by_side_only_one_runs_and_the_generators_are_its_own() -> None:
    running = 0

    def training(seed: int, together: Any) -> list[float]:
        nonlocal running
        drawn = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for _ in range(seed + 1):
                running += 1
                assert running == 1
                drawn.append(float(torch.rand(())))
                running -= 1
                together([fitting(seed)])
        if seed == 2:
            raise KeyError("told so")
        return drawn

    sizes = []

    def together_of(fittings: Sequence[Fitting]) -> list[Any]:
        sizes.append(len(fittings))
        return fit(fittings)

    outcomes = side_by_side([partial(training, seed) for seed in range(3)], together_of)
    assert sizes == [3, 2, 1]
    assert [o.replicas for o in outcomes] == [3, 3, 3]
    assert isinstance(outcomes[2].value, KeyError)
    assert outcomes[1].value == torch.rand(2, generator=generator(1)).tolist()
    assert all(outcome.seconds > 0 for outcome in outcomes)


def test_nobody_is_left_waiting_when_the_program_fails() -> None:
    def broken(fittings: Sequence[Fitting]) -> list[Any]:
        raise MemoryError

    with pytest.raises(MemoryError):
        side_by_side([lambda together: together([fitting(0)])] * 3, broken)
    for thread in threading.enumerate():
        if thread.name == "replica":
            thread.join(5)
            assert not thread.is_alive()


def test_frozen_weights_stay_and_the_sizes_of_batches_do_not_matter() -> None:
    splits = table()
    fittings = []
    for seed in range(2):
        one = fitting(seed)
        one.network.blocks.requires_grad_(False)
        small = replace(MLP.recipe, batch_size=7)
        fittings.append(Fitting(one.loop, one.network, splits.train, small, seed))
    before = [[p.clone() for p in f.network.blocks.parameters()] for f in fittings]
    answers = fit(fittings)
    assert [size for _, _, size in answers] == [2, 2]
    for f, old in zip(fittings, before, strict=True):
        assert all(map(torch.equal, f.network.blocks.parameters(), old))
        assert all(p.is_contiguous() and p.grad is None for p in f.network.parameters())


def test_the_networks_of_a_group_keep_weights_of_their_own() -> None:
    fittings = [fitting(seed) for seed in range(3)]
    fit(fittings)
    first, second = (f.network.head.weight for f in fittings[:2])
    kept = second.detach().clone()
    with torch.no_grad():
        first.zero_()
    assert torch.equal(second, kept)
    assert first.untyped_storage().nbytes() == first.nbytes
