"""Training options that every model shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.contract import Model, Recipe, require


@dataclass(frozen=True)
class Trained(Model):
    """A model whose recipe is spelled out in its options.

    Undefended training is plain by design: no weight decay, no dropout, no early stopping. Those
    are defenses, with their own rows.

    Attributes:
        epochs: passes over the training records, at least 1.
        batch_size: records per step, at least 1.
        lr: learning rate, above 0.
        optimizer: ``adam`` or ``sgd`` (momentum 0.9).
        schedule: ``constant`` or ``cosine``.
    """

    epochs: int = 60
    batch_size: int = 32
    lr: float = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        name = type(self).__name__
        require(self.epochs >= 1, f"{name}.epochs is {self.epochs}; give at least 1.")
        require(self.batch_size >= 1, f"{name}.batch_size is {self.batch_size}; give at least 1.")
        require(self.lr > 0, f"{name}.lr is {self.lr}; give a number above 0.")
        require(
            self.optimizer in ("adam", "sgd"),
            f"{name}.optimizer is '{self.optimizer}'; allowed: adam, sgd.",
        )
        require(
            self.schedule in ("constant", "cosine"),
            f"{name}.schedule is '{self.schedule}'; allowed: constant, cosine.",
        )

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
