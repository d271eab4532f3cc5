"""The one training loop, and the composition of training-time defenses around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.contract import (
    Card,
    FitReport,
    Model,
    Network,
    Recipe,
    Split,
    Splits,
    Step,
    Task,
    TrainingContext,
    TrainingDefense,
    clash,
    common_task,
    overrides,
    require,
    seeded,
)
from bench.contract import seed as derive
from bench.contract.task import loss, targets
from bench.models.fitting import Fitting, fitted

LARGE = 2**28
"""Bytes of weights from which on they are laid out for products with compressed rows."""


def share(network: Network, layers: Sequence[TrainingDefense], rng: torch.Generator) -> None:
    """Replace the gradient of a step by what a client with this batch would share."""
    parameters = {k: p for k, p in network.named_parameters() if p.grad is not None}
    update: Mapping[str, Tensor] = {k: p.grad for k, p in parameters.items() if p.grad is not None}
    for layer in layers:
        update = layer.share(update, rng)
    for name, parameter in parameters.items():
        parameter.grad = update[name]


@dataclass
class Loop:
    """Mini-batch training, or the model's own ``solve``: a :class:`bench.contract.Trainer`.

    Attributes:
        model: the architecture.
        card: the data's public description; gives the shape of a record.
        task: what the target predicts.
        device: torch device name.
        records: records trained on so far, each fit counted once.
        layers: defenses whose ``augment``, ``penalty`` and ``share`` act on every step, in order.
        together: trains instead of :meth:`alone`, with the same outcome; None: nobody does.
    """

    model: Model
    card: Card
    task: Task
    device: str
    records: int = 0
    layers: Sequence[TrainingDefense] = ()
    together: Callable[[Sequence[Fitting]], list[FitReport]] | None = None

    def context(self, public: Split, seed: int) -> TrainingContext:
        """What the defenses of a training by this loop may use."""
        return TrainingContext(self.card, self.task, public, self, seed, self.device)

    def build(self, width: int, seed: int) -> Network:
        """A fresh network of the target's architecture with ``width`` outputs."""
        return self.model.network(self.card, width, seed).to(self.device)

    def fit(self, network: Network, split: Split, recipe: Recipe, seed: int) -> FitReport:
        """Train the parameters of ``network`` that require gradients, in place.

        Raises:
            DivergedError: the loss became NaN or Inf.
        """
        return self.fit_all([(network, split, recipe, seed)])[0]

    def fit_all(self, fits: Sequence[tuple[Network, Split, Recipe, int]]) -> list[FitReport]:
        """The same of several networks; see :class:`bench.contract.Trainer`."""
        self.records += sum(len(split) for _, split, _, _ in fits)
        if type(self.model).solve is not Model.solve:
            return [self._solved(*one) for one in fits]
        fittings = [Fitting(self, *one) for one in fits]
        if self.together is not None:
            return self.together(fittings)
        return [self.alone(fitting) for fitting in fittings]

    def _solved(self, network: Network, split: Split, recipe: Recipe, seed: int) -> FitReport:
        x, y = split.x.to(self.device), targets(self.task, split).to(self.device)
        self.model.solve(network, x, y, recipe, seed)
        if self.model.counted:
            return FitReport(1, 0, math.nan, math.nan)
        final_loss, accuracy = fitted(network, self.task, x, y)
        return FitReport(1, 0, final_loss, accuracy)

    def alone(self, fitting: Fitting) -> FitReport:
        """Train one network by the steps of this loop.

        Raises:
            DivergedError: the loss became NaN or Inf.
        """
        network, recipe, x, y = fitting.network, fitting.recipe, fitting.x, fitting.y
        optimizer = recipe.optimizer_of(network)
        sharing = self.sharing
        loss_sum = torch.zeros((), device=self.device)
        network.train()
        with seeded(fitting.layer_seed, self.device):
            for epoch in range(recipe.epochs):
                optimizer.param_groups[0]["lr"] = recipe.lr_at(epoch)
                step = fitting.step(epoch)
                batches = torch.split(fitting.shuffled(), recipe.batch_size)
                loss_sum.zero_()
                for batch in batches:
                    optimizer.zero_grad()
                    error = self._error(network, x[batch], y[batch], step, recipe.temperature)
                    torch.autograd.backward(error)
                    if sharing:
                        share(network, sharing, fitting.noise)
                    optimizer.step()
                    loss_sum += error.detach() * len(batch)
                if fitting.ended(epoch, loss_sum.item(), len(batches)):
                    break
        return fitting.report()

    @property
    def sharing(self) -> list[TrainingDefense]:
        """The layers that act on what clients share."""
        return [layer for layer in self.layers if overrides(layer, "share")]

    def _error(
        self, network: Network, x: Tensor, y: Tensor, step: Step, temperature: float
    ) -> Tensor:
        """The loss of one step, with what the layers add to it."""
        for layer in self.layers:
            x, y = layer.augment(network, x, y, step)
        penalised = [layer for layer in self.layers if overrides(layer, "penalty")]
        if not penalised:
            outputs = network(x)
            if temperature == 1.0:
                return loss(self.task, outputs, y)
            return loss(self.task, outputs / temperature, y) * temperature**2
        hidden, outputs = network.trace(x)
        error = loss(self.task, outputs, y)
        for layer in penalised:
            error = error + layer.penalty(network, x, y, hidden, outputs, step)
        return error


def train(
    model: Model,
    layers: Sequence[TrainingDefense],
    splits: Splits,
    seed: int,
    device: str,
    watch: Callable[[float], None] | None = None,
    together: Callable[[Sequence[Fitting]], list[FitReport]] | None = None,
) -> tuple[Network, FitReport]:
    """Train a target behind the training part of a defense.

    A layer's ``share`` hook acts on the gradient of every private step, as if one client held the
    batch, so that the target pays for what its clients hide. The test split is never read.
    Initial weights and batch order follow from ``seed`` alone, so all defenses of a repeat share
    them (PROTOCOL 3.1).

    Args:
        model: architecture and undefended recipe.
        layers: training-time defenses, in order; each hook is applied in that order.
        splits: the data; ``train`` and ``public`` are used.
        seed: of this repeat's training.
        device: torch device name.
        watch: of :class:`bench.contract.TrainingContext`.
        together: of :class:`Loop`.

    Returns:
        The network in evaluation mode, and what training did.

    Raises:
        UserError: two layers replace the training loop, or one does and another changes its steps,
            or one needs what the model lacks, or the model cannot learn from such data.
        DivergedError: the loss became NaN or Inf.
    """
    reason = clash(layers)
    require(reason is None, f"{reason}.")
    for layer in layers:
        missing = ", ".join(sorted(layer.needs - model.offers))
        require(
            not missing,
            f"{type(layer).__name__} needs {missing}, which {type(model).__name__} does not "
            "offer; choose another model.",
        )

    loop = Loop(model, splits.card, task_of(model, splits.card), device, together=together)
    context = replace(loop.context(splits.public, seed), watch=watch)
    data, recipe = splits.train, model.recipe
    for layer in layers:
        data = layer.sanitize(data, context)
        recipe = layer.recipe(recipe)
    network = _adapted(layers, context)
    # Private records do not reach a hook before fit, so whatever was trained on is public.
    public_records = loop.records
    trainer = next((layer for layer in layers if overrides(layer, "fit")), None)
    if trainer is not None:
        report = trainer.fit(network, data, recipe, context)
    else:
        report = replace(loop, layers=layers).fit(network, data, recipe, seed)
    network.eval()
    return network, replace(report, public_records=report.public_records + public_records)


def task_of(model: Model, card: Card) -> Task:
    """What a model learns from such data.

    Raises:
        UserError: it can learn nothing from it.
    """
    task = common_task(card.tasks, model.tasks)
    require(
        task is not None,
        f"{type(model).__name__} does {' or '.join(model.tasks)}, data set '{card.name}' offers "
        f"{' or '.join(card.tasks)}; choose another model.",
    )
    assert task is not None
    return task


def _adapted(layers: Sequence[TrainingDefense], context: TrainingContext) -> Network:
    """The network after the ``adapt`` hooks, before any private record."""
    width = context.card.width(context.task)
    network = context.trainer.build(width, derive(context.seed, part="init"))
    for layer in layers:
        network = layer.adapt(network, context)
    return network


def initial(
    model: Model, layers: Sequence[TrainingDefense], splits: Splits, seed: int, device: str
) -> Network:
    """The network that :func:`train` starts from, in evaluation mode.

    Args:
        model: as in :func:`train`.
        layers: as in :func:`train`; their ``adapt`` hooks run in full, public pre-training
            included, and decide which parameters require gradients.
        splits: as in :func:`train`; only ``public`` is read.
        seed: as in :func:`train`.
        device: torch device name.
    """
    loop = Loop(model, splits.card, task_of(model, splits.card), device)
    return _adapted(layers, loop.context(splits.public, seed)).to(device).eval()


class _Untrained(Loop):
    """A loop that repeats what a defense does to an architecture, without any training."""

    def fit_all(self, fits: Sequence[tuple[Network, Split, Recipe, int]]) -> list[FitReport]:
        """Leave all networks as they are; their weights are loaded afterwards."""
        return [FitReport(epochs=0, steps=0, final_loss=0.0, train_accuracy=0.0) for _ in fits]


def restore(
    model: Model,
    layers: Sequence[TrainingDefense],
    splits: Splits,
    seed: int,
    weights: Mapping[str, Tensor],
    device: str,
) -> Network:
    """A trained target from its options and its weights, in evaluation mode.

    Its parameters require gradients where they did in training.

    Args:
        model: as in :func:`train`.
        layers: as in :func:`train`; their ``adapt`` hooks shape the network again.
        splits: as in :func:`train`.
        seed: as in :func:`train`.
        weights: the state dictionary of the network that :func:`train` returned.
        device: torch device name.

    Raises:
        RuntimeError: the weights do not fit, name by name and shape by shape.
    """
    loop = _Untrained(model, splits.card, task_of(model, splits.card), device)
    network = _adapted(layers, loop.context(splits.public, seed))
    state = dict(weights)
    large = sum(value.nbytes for value in state.values()) > LARGE
    if large:
        # A product with compressed rows copies a matrix that does not lie as it reads it.
        state = {k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in state.items()}
    network.load_state_dict(state, strict=True, assign=large)
    return network.to(device).eval()
