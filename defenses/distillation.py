"""Release a student of the model that was trained on the private records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch

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
from defenses.common.descent import predict, training_accuracy


@dataclass(frozen=True)
class Distillation(TrainingDefense):
    """Train a teacher on the private records and release a student of its softened answers.

    Hinton, Vinyals and Dean (2015), section 2: the loss of the student is its cross-entropy with
    the answers of the teacher, both at ``temperature``, times the square of the temperature; no
    true label is used. Teacher and student have the same architecture. A student of public records
    never sees a private one; where they show other people, it learns the private classes from how
    strangers resemble them.

    Attributes:
        records: what the student is trained on: ``public`` or ``private`` records; null is no
            defense.
        temperature: temperature of both softmaxes. Values worth a sweep are 1, 2, 4 and 10.
        epochs: passes of the student; null means as many as the recipe of the model has.
    """

    records: Literal["public", "private"] | None = "public"
    temperature: Positive = 4.0
    epochs: Count | None = None

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    paper = "Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 2"
    cost = "a second training; public records"
    by_trainer: ClassVar[bool] = True
    zero: ClassVar[Mapping[str, Any]] = {"records": None}

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train a teacher, then ``network`` on its answers."""
        if self.records is None:
            return context.trainer.fit(network, train, recipe, context.seed)
        teacher_seed = derive(context.seed, part="teacher")
        teacher = context.trainer.build(context.card.width(context.task), teacher_seed)
        context.trainer.fit(teacher, train, recipe, teacher_seed)
        records = (context.public if self.records == "public" else train).to(context.device)
        soft = torch.softmax(predict(teacher, records.x) / self.temperature, 1)
        own = replace(
            recipe,
            epochs=self.epochs or recipe.epochs,
            temperature=self.temperature,
            validation=0.0,  # the softened answers are no labels to stop by
        )
        report = context.trainer.fit(network, replace(records, y=soft), own, context.seed)
        return replace(
            report,
            train_accuracy=training_accuracy(network, train, context),
            public_records=len(records) if self.records == "public" else 0,
        )
