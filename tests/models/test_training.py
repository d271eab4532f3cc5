from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contract import (
    DivergedError,
    FitReport,
    Network,
    Recipe,
    Split,
    Step,
    TrainingContext,
    TrainingDefense,
    UserError,
    seed,
)
from bench.contract.task import distribution
from bench.models.cnn import Cnn
from bench.models.fitting import predict
from bench.models.mlp import Mlp
from bench.models.softmax import Softmax
from bench.models.training import Loop, initial, restore, train
from defenses.dropout import Dropout
from defenses.freezing import Freezing
from tests.models.records import images, table

MLP = Mlp(hidden=(64,), epochs=40, lr=0.01)


def same(a: Network, b: Network) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(k == m and torch.equal(v, w) for (k, v), (m, w) in pairs)


def test_training_fits_and_reports_what_it_did() -> None:
    splits = table()
    network, report = train(MLP, [], splits, 0, "cpu")
    assert (report.epochs, report.steps) == (40, 40 * 3)
    assert report.train_accuracy > 0.9
    assert report.public_records == 0 and report.privacy is None
    logits = predict(network, splits.train.x)
    assert report.train_accuracy == pytest.approx(
        float((logits.argmax(1) == splits.train.y).float().mean())
    )
    assert not network.training


@pytest.mark.parametrize("model", [Softmax(epochs=3), Mlp(epochs=3), Cnn(epochs=3)])
def test_the_seed_alone_decides_the_target(model: Any) -> None:
    splits = images()
    first, report = train(model, [], splits, 1, "cpu")
    torch.manual_seed(99)
    again, report_again = train(model, [], splits, 1, "cpu")
    other, _ = train(model, [], splits, 2, "cpu")
    assert same(first, again) and report == report_again
    assert not same(first, other)


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    train(MLP, [], table(), 0, "cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_the_test_split_is_never_touched() -> None:
    class Untouchable:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"training read test.{name}")

    splits = dataclasses.replace(table(), test=Untouchable())  # type: ignore[arg-type]
    train(MLP, [], splits, 0, "cpu")


def test_divergence_is_an_error() -> None:
    with pytest.raises(DivergedError, match="lower the learning rate"):
        train(Mlp(lr=1e30, optimizer="sgd"), [], table(), 0, "cpu")


def test_a_stochastic_layer_does_not_move_the_batches() -> None:
    class Draw(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.rand(3)
            return x

    class Drawing(TrainingDefense):
        def adapt(self, network: Network, context: TrainingContext) -> Network:
            network.blocks.append(Draw())
            return network

    plain, _ = train(MLP, [], table(), 0, "cpu")
    drawn, _ = train(MLP, [Drawing()], table(), 0, "cpu")
    assert same(plain, drawn)


def test_adam_and_sgd_and_both_schedules_differ() -> None:
    models = [
        Softmax(epochs=5, optimizer=optimizer, schedule=schedule)  # type: ignore[arg-type]
        for optimizer in ("adam", "sgd")
        for schedule in ("constant", "cosine")
    ]
    weights = {
        tuple(train(model, [], table(), 0, "cpu")[0].head.weight.flatten().tolist())
        for model in models
    }
    assert len(weights) == 4


class Blend(TrainingDefense):
    """Moves every target by ``weight`` towards the uniform distribution."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.seen: list[tuple[float, tuple[int, ...], str]] = []

    def augment(self, network: Network, x: Tensor, y: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        self.seen.append((step.progress, tuple(x.shape), str(y.dtype)))
        soft = distribution(y, step.n_classes)
        return x, (1 - self.weight) * soft + self.weight / step.n_classes


class Shrink(TrainingDefense):
    """Penalises the squared outputs and looks at what it is given."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def penalty(
        self, network: Network, x: Tensor, y: Tensor, hidden: Any, outputs: Tensor, step: Step
    ) -> Tensor:
        assert len(hidden) == len(network.blocks) and hidden[-1].requires_grad
        assert torch.equal(network.head(hidden[-1].flatten(1)), outputs)
        return self.weight * outputs.square().mean()


def test_layers_change_targets_and_loss_of_every_step() -> None:
    first, second = Blend(0.5), Blend(0.0)
    blended, report = train(MLP, [first, second], table(), 0, "cpu")
    assert not same(blended, train(MLP, [], table(), 0, "cpu")[0])
    assert len(first.seen) == report.steps == len(second.seen)
    assert {kind for _, _, kind in first.seen} == {"torch.int64"}
    assert {kind for _, _, kind in second.seen} == {"torch.float32"}, "layers act in order"
    progress = [p for p, _, _ in first.seen]
    assert progress[0] == 0 and progress == sorted(progress) and progress[-1] < 1

    small, _ = train(MLP, [Shrink(3.0)], table(), 0, "cpu")
    plain, _ = train(MLP, [], table(), 0, "cpu")
    x = table().test.x
    assert small(x).square().mean() < 0.5 * plain(x).square().mean()
    assert same(plain, train(MLP, [Shrink(0.0)], table(), 0, "cpu")[0])


def test_public_records_are_trained_on_without_the_layers() -> None:
    class Pretraining(TrainingDefense):
        def adapt(self, network: Network, context: TrainingContext) -> Network:
            source = context.trainer.build(context.card.n_classes, 0)
            context.trainer.fit(source, context.public, Recipe(1, 8, 0.1), 0)
            return network

    spy = Blend(0.1)
    _, report = train(MLP, [Pretraining(), spy], table(), 0, "cpu")
    assert len(spy.seen) == report.steps


class Stopping(TrainingDefense):
    def __init__(self, validation: float, patience: int) -> None:
        self.validation, self.patience = validation, patience

    def recipe(self, recipe: Recipe) -> Recipe:
        return dataclasses.replace(recipe, validation=self.validation, patience=self.patience)


def test_training_stops_when_held_out_records_say_so_and_keeps_the_best_weights() -> None:
    long = Mlp(hidden=(32,), epochs=60, lr=0.05)
    _, report = train(long, [Stopping(0.3, 2)], table(), 0, "cpu")
    assert 2 < report.epochs < 60
    _, patient = train(long, [Stopping(0.3, 1000)], table(), 0, "cpu")
    assert patient.epochs == 60
    # The weights of the best epoch are those of a run that ends right there.
    best = report.epochs - 2
    ended, _ = train(
        dataclasses.replace(long, epochs=best), [Stopping(0.3, 1000)], table(), 0, "cpu"
    )
    assert same(ended, train(long, [Stopping(0.3, 2)], table(), 0, "cpu")[0])


class Spy(TrainingDefense):
    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    def sanitize(self, train: Split, context: TrainingContext) -> Split:
        self.calls.append(f"{self.name}.sanitize")
        return train.take(torch.arange(len(train) // 2))

    def recipe(self, recipe: Recipe) -> Recipe:
        self.calls.append(f"{self.name}.recipe")
        return dataclasses.replace(recipe, epochs=recipe.epochs + 1)

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        self.calls.append(f"{self.name}.adapt")
        assert not hasattr(context, "test") and not hasattr(context, "splits")
        return network


class Fitting(TrainingDefense):
    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        report = context.trainer.fit(network, train, recipe, context.seed)
        return dataclasses.replace(report, steps=len(train), epochs=recipe.epochs)


def test_hooks_compose_in_order() -> None:
    calls: list[str] = []
    model = Softmax(epochs=1)
    _, report = train(model, [Spy("a", calls), Spy("b", calls), Fitting()], table(), 0, "cpu")
    hooks = [c.split(".") for c in calls]
    for hook in ("sanitize", "recipe", "adapt"):
        assert [name for name, h in hooks if h == hook] == ["a", "b"]
    assert report.epochs == 3  # both recipes applied
    assert report.steps == 96 // 4  # both halvings applied


def test_two_training_loops_are_refused() -> None:
    with pytest.raises(UserError, match="Fitting and Fitting each replace the training loop"):
        train(MLP, [Fitting(), Fitting()], table(), 0, "cpu")


def test_a_defense_that_needs_blocks_refuses_a_model_without() -> None:
    class Needy(TrainingDefense):
        needs = frozenset({"blocks"})

    with pytest.raises(UserError, match="Needy needs blocks, which Softmax does not offer"):
        train(Softmax(), [Needy()], table(), 0, "cpu")


def test_public_records_are_counted_and_private_ones_are_not() -> None:
    class Pretraining(TrainingDefense):
        def adapt(self, network: Network, context: TrainingContext) -> Network:
            context.trainer.fit(network, context.public, Recipe(1, 32, 0.01), context.seed)
            return network

    splits = table()
    _, report = train(MLP, [Pretraining()], splits, 0, "cpu")
    assert report.public_records == len(splits.public)


def test_only_parameters_that_require_gradients_move() -> None:
    splits = table()
    loop = Loop(MLP, splits.card, "classification", "cpu")
    network = loop.build(2, seed(0, part="init"))
    fixed = [p.clone() for p in network.blocks.parameters()]
    free = network.head.weight.clone()
    network.blocks.requires_grad_(False)
    loop.fit(network, splits.train, Recipe(2, 32, 0.01, weight_decay=0.1), 0)
    assert all(torch.equal(a, b) for a, b in zip(fixed, network.blocks.parameters(), strict=True))
    assert not torch.equal(free, network.head.weight)


@dataclasses.dataclass(frozen=True)
class Halving(TrainingDefense):
    def share(self, update: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        return {name: value / 2 for name, value in update.items()}


def test_what_is_shared_is_what_the_target_is_trained_with() -> None:
    # Two full-batch SGD steps: half the gradient is half the learning rate.
    model = Softmax(epochs=2, batch_size=96, optimizer="sgd", lr=0.2)
    shared, _ = train(model, [Halving()], table(), 0, "cpu")
    slower, _ = train(dataclasses.replace(model, lr=0.1), [], table(), 0, "cpu")
    torch.testing.assert_close(shared.head.weight, slower.head.weight)


def test_public_pre_training_is_not_shared() -> None:
    class Pretraining(TrainingDefense):
        def adapt(self, network: Network, context: TrainingContext) -> Network:
            context.trainer.fit(network, context.public, Recipe(1, 32, 0.1, "sgd"), context.seed)
            return network

    model = Softmax(epochs=1, lr=1e-30)
    plain, _ = train(model, [Pretraining()], table(), 0, "cpu")
    shared, _ = train(model, [Pretraining(), Halving()], table(), 0, "cpu")
    assert same(plain, shared)


def test_a_defense_of_shared_updates_needs_the_common_loop() -> None:
    with pytest.raises(UserError, match="Halving changes the steps"):
        train(MLP, [Halving(), Fitting()], table(), 0, "cpu")


def test_the_initial_network_is_what_training_starts_from() -> None:
    splits = images()
    model = Mlp(hidden=(16, 8), epochs=1, lr=1e-30, optimizer="sgd")
    layers = [Freezing(layers=1, epochs=1), Dropout(rate=0.1)]
    start = initial(model, layers, splits, 3, "cpu")
    trained, _ = train(model, layers, splits, 3, "cpu")
    assert same(start, trained) and not start.training
    restored = restore(model, layers, splits, 3, trained.state_dict(), "cpu")
    flags = [p.requires_grad for p in start.parameters()]
    assert flags == [False, False, True, True, True, True]
    assert flags == [p.requires_grad for p in restored.parameters()]
