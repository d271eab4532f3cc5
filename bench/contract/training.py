"""Interfaces of what is trained: models, their recipe, and the one training loop."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from bench.contract.access import ACCESS_ORDER, Access
from bench.contract.base import Component
from bench.contract.data import Card, Modality, Split
from bench.contract.ledger import PrivacyLedger
from bench.contract.task import Task

Optimizer = Literal["adam", "sgd"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the training records.
        batch_size: records in a step.
        lr: learning rate.
        optimizer: ``adam`` or ``sgd`` (momentum 0.9).
        weight_decay: L2 coefficient: ``weight_decay * w`` is added to the gradient of each w.
        schedule: ``constant`` or ``cosine``.
        validation: share of the training records, below 1, that is held out to decide when to stop;
            the weights of the best epoch are kept.
        patience: epochs without a better validation loss before training stops.
        min_leaf: least number of training records in a leaf of a tree.
        prune: complexity parameter of minimal cost-complexity pruning of a tree.
        temperature: divides the outputs before the loss, which is multiplied by its square: of
            students that learn softened answers.
    """

    epochs: int
    batch_size: int
    lr: float
    optimizer: Optimizer = "adam"
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    validation: float = 0.0
    patience: int = 0
    min_leaf: int = 1
    prune: float = 0.0
    temperature: float = 1.0

    def optimizer_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of those parameters of ``network`` that require gradients."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        # Adam and not AdamW: with either optimiser the decay is then the L2 penalty of Krogh and
        # Hertz, on one scale, and a decay of 0 changes nothing, not even in the last bit.
        if self.optimizer == "adam":
            return torch.optim.Adam(
                parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True
            )
        return torch.optim.SGD(
            parameters, lr=self.lr, momentum=0.9, weight_decay=self.weight_decay, fused=True
        )

    def lr_at(self, epoch: int) -> float:
        """The learning rate of an epoch; the first epoch is 0."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


class Network(nn.Module):
    """Hidden blocks and a linear head; ``forward`` returns raw outputs ``[n, width]``.

    Outputs are the logits of classes, the outcome of a regression, or the item scores of a
    recommender. Defenses act on this shape: dropout goes after each block, freezing fixes the first
    blocks. A softmax regression has no block. The block of a tree says which leaf a record falls
    into, and its head holds the values of the leaves. ``front`` is what a defense does to a record
    before the first block; it has no parameters.

    Attributes:
        facts: what was found out about a network that was given, as plain JSON values.
    """

    facts: Mapping[str, Any] = {}

    def __init__(self, blocks: nn.Sequential, head: nn.Linear) -> None:
        super().__init__()
        self.front: nn.Module = nn.Identity()
        self.blocks = blocks
        self.head = head

    def features(self, x: Tensor) -> Tensor:
        """Input of the head, ``[n, head.in_features]``."""
        return torch.flatten(self.blocks(self.front(x)), 1)

    def trace(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Output of each block, and the raw outputs, of one pass."""
        hidden, values = [], self.front(x)
        for block in self.blocks:
            values = block(values)
            hidden.append(values)
        outputs: Tensor = self.head(torch.flatten(values, 1))
        return hidden, outputs

    def forward(self, x: Tensor) -> Tensor:
        """Raw outputs ``[n, width]`` of records ``[n, *shape]``."""
        outputs: Tensor = self.head(self.features(x))
        return outputs


class Model(Component, ABC):
    """An architecture with its training recipe, or a model that somebody else trained."""

    given: ClassVar[bool] = False
    """Whether somebody else trained it: no defense can act on its training, and there is one of it
    whatever the seed."""
    modalities: ClassVar[frozenset[Modality]]
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    offers: ClassVar[frozenset[str]] = frozenset({"descent", "steps"})
    """What it offers: ``descent`` if it is differentiable and could be trained by gradient steps,
    ``steps`` if the shared loop trains it by them, ``blocks`` if it has hidden blocks of neurons,
    ``leaves`` if it is made of trees, ``shares`` if their leaves hold the shares of the classes
    among their training records, ``least_squares`` if it is a linear regression (its squared
    error is then a polynomial of the weights), ``optimum`` if the weights of its one linear layer
    are those of the least penalised loss, whatever the seed, ``skips`` if modules within its
    blocks add a submodule ``shortcut``."""
    stacks: ClassVar[bool] = False
    """Whether its networks are made of layers that several targets can be trained through at once
    (:mod:`bench.models.replicas`)."""
    reference: ClassVar[str]
    """Name of the plain baseline its undefended utility must come within 2 points of."""

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """The undefended training recipe."""

    @property
    def called(self) -> str | None:
        """Name of the model where its options give it one of its own.

        None: the name of its option is its name.
        """
        return None

    @property
    def exposes(self) -> Access:
        """The most that an attacker can be given of it."""
        return ACCESS_ORDER[-1]

    @property
    def counted(self) -> bool:
        """Whether somebody else counts what it is asked, so that nothing is asked in vain."""
        return False

    @property
    def alike(self) -> Model | None:
        """What an attacker trains who trains models like it; None: nobody knows what is like it."""
        return self

    def network(self, card: Card, width: int, seed: int) -> Network:
        """A freshly initialised network for the data that ``card`` describes; see :meth:`build`."""
        return self.build(card.shape, width, seed)

    @abstractmethod
    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A freshly initialised network; the same seed gives the same weights.

        Args:
            shape: of a record.
            width: number of outputs, :meth:`bench.contract.Card.width`.
            seed: of the initial weights.
        """

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """Fit ``network`` in place without gradient steps: in closed form, or by scikit-learn.

        A model that overrides it is trained by it wherever no defense brings its own loop. What it
        leaves in the state dictionary may have other shapes than :meth:`build` gave.

        Args:
            network: from :meth:`build`.
            x: records ``[n, *shape]``.
            target: :func:`bench.contract.task.targets`.
            recipe: of which ``weight_decay`` may have been raised by a defense.
            seed: of what is random.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class FitReport:
    """What training did.

    Attributes:
        epochs: passes over the data.
        steps: optimiser steps.
        final_loss: mean loss of the last epoch; NaN where it was not measured.
        train_accuracy: on the training records, after training, evaluation mode: share of right
            labels, share of the outcome's variance explained, or share of bought items among
            the best-scored ones; NaN where it was not measured.
        public_records: public records used by the defense.
        privacy: the ledger of a differentially private training.
    """

    epochs: int
    steps: int
    final_loss: float
    train_accuracy: float
    public_records: int = 0
    privacy: PrivacyLedger | None = None


class Trainer(Protocol):
    """The one training loop, as a defense sees it."""

    def build(self, width: int, seed: int) -> Network:
        """A fresh network of the target's architecture with ``width`` outputs."""

    def fit(self, network: Network, split: Split, recipe: Recipe, seed: int) -> FitReport:
        """Train the parameters of ``network`` that require gradients, in place.

        ``seed`` decides the order of batches only (its own generator), so two defenses with the
        same seed see the same batches.

        Raises:
            DivergedError: the loss became NaN or Inf.
        """

    def fit_all(self, fits: Sequence[tuple[Network, Split, Recipe, int]]) -> list[FitReport]:
        """The same of several networks that do not wait for each other: network, records, recipe
        and seed of each. Small ones are trained at once, which is faster.

        Raises:
            DivergedError: the loss of one of them became NaN or Inf.
        """


@dataclass(frozen=True)
class TrainingContext:
    """What a training-time defense may use. There is no test split in it, by design.

    Attributes:
        card: the public description of the data.
        task: what the target predicts.
        public: the public split.
        trainer: the shared training loop and architecture.
        seed: of training; the same for every defense in a repeat.
        device: torch device name.
        watch: what an audit has a private training call before each of its steps, when the
            gradients are those that it steps by, with the largest norm that one unit adds to them.
            It changes nothing and draws nothing; None where nobody watches.
    """

    card: Card
    task: Task
    public: Split
    trainer: Trainer
    seed: int
    device: str
    watch: Callable[[float], None] | None = None
