"""Release a student of the model that was trained on the private records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import (
    Count,
    FitReport,
    Network,
    Positive,
    Recipe,
    Split,
    TrainingContext,
    TrainingDefense,
)
from bench.contract import seed as derive
from defenses.common import adaptive
from defenses.common.descent import descend, predict, training_accuracy


@dataclass(frozen=True)
class Distillation(TrainingDefense):
    """Train a teacher on the private records and release a student of its softened answers.

    Hinton, Vinyals and Dean (2015), section 2: the student's cross-entropy with the teacher's
    answers, both at ``temperature``, times its square; no true label enters. Teacher and student
    have one architecture. On public records the student never sees a private one; where they show
    other people, it learns the private classes from how strangers resemble them.

    Attributes:
        records: the student's: ``public`` or ``private``; None is no distillation (no defense).
        temperature: of the softmax, above 0.
        epochs: the student's passes; None: as many as the model's recipe.
    """

    records: Literal["public", "private"] | None = "public"
    temperature: Positive = 4.0
    epochs: Count | None = None

    covers = frozenset({"labels", "scores", "weights"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    adaptive_attacks = adaptive.GENERATIVE
    paper = "Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 2"
    cost = "a second training; public records"
    zero: ClassVar[Mapping[str, Any]] = {"records": None}

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train a teacher, then ``network`` on its answers."""
        if self.records is None:
            return context.trainer.fit(network, train, recipe, context.seed)
        own = derive(context.seed, part="teacher")
        teacher = context.trainer.build(context.card.width(context.task), own)
        context.trainer.fit(teacher, train, recipe, own)
        x = (context.public if self.records == "public" else train).x.to(context.device)
        soft = torch.softmax(predict(teacher, x) / self.temperature, 1)

        def error(batch: Tensor) -> Tensor:
            answers = network(x[batch]) / self.temperature
            return F.cross_entropy(answers, soft[batch]) * self.temperature**2

        recipe = replace(recipe, epochs=self.epochs or recipe.epochs)
        steps, loss = descend(network, recipe, len(x), context.seed, context.device, error)
        return FitReport(
            epochs=recipe.epochs,
            steps=steps,
            final_loss=loss,
            train_accuracy=training_accuracy(network, train, context),
            public_records=len(x) if self.records == "public" else 0,
        )
