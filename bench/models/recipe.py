"""Training options that every model shares."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contract import Count, Model, Positive, Recipe, require
from bench.contract.training import Optimizer, Schedule


@dataclass(frozen=True)
class Trained(Model):
    """A model that is trained by gradient steps; its options spell out its recipe.

    Undefended training is plain on purpose: no weight decay, no dropout, no early stopping. Those
    are defenses, with rows of their own.

    Attributes:
        epochs: passes over the training records.
        batch_size: records in a step.
        lr: learning rate.
        optimizer: ``adam`` or ``sgd`` (momentum 0.9).
        schedule: whether the learning rate is ``constant`` or falls along a ``cosine``.
    """

    epochs: Count = 60
    batch_size: Count = 32
    lr: Positive = 1e-3
    optimizer: Optimizer = "adam"
    schedule: Schedule = "constant"

    @property
    def recipe(self) -> Recipe:
        """The undefended training recipe."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            optimizer=self.optimizer,
            schedule=self.schedule,
        )

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The shape of a record that must be an image: channels, height, width.

        Raises:
            UserError: the records are no images.
        """
        require(
            len(shape) == 3,
            f"{type(self).__name__} needs images [channels, height, width], the records have "
            f"shape {list(shape)}; use model=mlp.",
        )
        channels, height, width = shape
        return channels, height, width


@dataclass(frozen=True)
class Solved(Model):
    """A model that is fitted in one pass by ``solve``, without gradient steps."""

    @property
    def recipe(self) -> Recipe:
        """A recipe that says nothing, since there are no steps."""
        return Recipe(epochs=1, batch_size=1, lr=1.0)
