"""Private aggregation of teacher ensembles (PATE)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from bench.contract import (
    Count,
    FitReport,
    Fraction,
    Network,
    Positive,
    PrivacyLedger,
    Recipe,
    Split,
    TrainingContext,
    TrainingDefense,
    generator,
    require,
)
from bench.contract import seed as derive
from defenses.common.accounting import advantage_of_budget, allowed_delta
from defenses.common.descent import predict, training_accuracy


@dataclass(frozen=True)
class Pate(TrainingDefense):
    """Teachers of disjoint private records vote with noise on public ones; a student learns that.

    The label is the noisy maximum of the votes, with Laplace noise of scale ``noise`` (LNMax,
    Papernot et al., ICLR 2017) or Gaussian noise of that standard deviation (GNMax, Papernot et
    al., ICLR 2018). The student is trained on the labelled public records alone, by the model's
    recipe; the semi-supervised students of the papers are not built. Where public records show
    other people, teachers vote on whom a stranger resembles.

    The epsilon of the ledger does not depend on the data. To replace one record changes the vote of
    one teacher, which moves the histogram by 2 in L1 and by sqrt(2) in L2. Records are dealt to
    teachers by position, so the other teachers keep their records.

    Attributes:
        teachers: number of teachers; null is no ensemble and no defense.
        mechanism: ``gaussian`` or ``laplace``.
        noise: scale of the noise on the votes for each class. Values worth a sweep are 1, 2, 5 and
            20.
        queries: number of public records that are labelled, drawn at random; null means all of
            them.
        delta: failure probability; null means 1 / (10 n), which is the largest that is allowed.
        epsilon_total_basis: how the choice of these options was accounted for, as in ``dp_sgd``.
    """

    teachers: Annotated[int, Ge(2)] | None = 10
    mechanism: Literal["gaussian", "laplace"] = "gaussian"
    noise: Positive = 2.0
    queries: Count | None = 200
    delta: Fraction | None = None
    epsilon_total_basis: Literal["single_run", "public_tuning", "not_accounted"] = "not_accounted"

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    paper = (
        "Papernot, Abadi, Erlingsson, Goodfellow, Talwar, ICLR 2017 (arXiv 1610.05755); Papernot, "
        "Song, Mironov, Raghunathan, Talwar, Erlingsson, ICLR 2018 (arXiv 1802.08908)"
    )
    accounts: ClassVar[bool] = True
    cost = "a training for every teacher; public records"
    by_trainer: ClassVar[bool] = True
    zero: ClassVar[Mapping[str, Any]] = {"teachers": None}

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train the teachers, let them vote, train ``network`` on the votes.

        Raises:
            UserError: fewer records than teachers, or ``delta`` above 1 / (10 n).
        """
        if self.teachers is None:
            return context.trainer.fit(network, train, recipe, context.seed)
        n = len(train)
        require(
            n >= self.teachers,
            f"Pate.teachers is {self.teachers}, but '{context.card.name}' has {n} training "
            "records; give at most as many.",
        )
        delta = allowed_delta("Pate.delta", self.delta, n, f"{n} training records")
        teacher_seed = derive(context.seed, part="teachers")
        asked = torch.randperm(len(context.public), generator=generator(teacher_seed))[
            : self.queries
        ]
        public = context.public.take(asked.to(context.public.x.device)).to(context.device)
        labels = self.aggregate(
            self._votes(train, public.x, recipe, context, teacher_seed), teacher_seed
        )
        report = context.trainer.fit(network, replace(public, y=labels), recipe, context.seed)
        return replace(
            report,
            train_accuracy=training_accuracy(network, train, context),
            public_records=len(public),
            privacy=self._ledger(len(public), n, delta),
        )

    def _votes(
        self, train: Split, x: Tensor, recipe: Recipe, context: TrainingContext, seed: int
    ) -> Tensor:
        """Teachers that vote for each class, ``[m, n_classes]``."""
        assert self.teachers is not None
        width = context.card.width(context.task)
        votes = torch.zeros(len(x), width, device=context.device)
        dealt = torch.randperm(len(train), generator=generator(derive(seed, part="dealt")))
        fits = []
        for i, part in enumerate(torch.tensor_split(dealt, self.teachers)):
            start = derive(seed, teacher=i)
            records = train.take(part.to(train.x.device))
            fits.append((context.trainer.build(width, start), records, recipe, start))
        context.trainer.fit_all(fits)
        for teacher, *_ in fits:
            votes += F.one_hot(predict(teacher, x).argmax(1), width)
        return votes

    def aggregate(self, votes: Tensor, seed: int) -> Tensor:
        """The class with most votes after the noise, int64 ``[m]``."""
        rng = generator(derive(seed, part="noise"), str(votes.device))
        if self.mechanism == "gaussian":
            drawn = torch.randn(votes.shape, generator=rng, device=votes.device)
        else:
            one, two = torch.rand((2, *votes.shape), generator=rng, device=votes.device)
            # The difference of two exponentials is Laplace; 1 - u is above 0.
            drawn = torch.log1p(-one) - torch.log1p(-two)
        return (votes + self.noise * drawn).argmax(1)

    def epsilon(self, answered: int, delta: float) -> float:
        """The budget of ``answered`` labels, by Renyi differential privacy.

        One label is ``(a, a / noise^2)`` for GNMax (ICLR 2018, proposition 8) and
        ``(a, 2 a / noise^2)`` for LNMax (2 / noise pure, by Bun and Steinke, TCC 2016, proposition
        3.3), all orders ``a > 1``; ``r a + ln(1 / delta) / (a - 1)`` is least at
        ``r + 2 sqrt(r ln(1 / delta))``. Pure budgets of LNMax add up to a bound of their own.
        """
        each = 1.0 if self.mechanism == "gaussian" else 2.0
        rate = answered * each / self.noise**2
        budget = rate + 2 * math.sqrt(rate * math.log(1 / delta))
        pure = math.inf if self.mechanism == "gaussian" else 2 * answered / self.noise
        return min(budget, pure)

    def _ledger(self, answered: int, n: int, delta: float) -> PrivacyLedger:
        sensitivity = math.sqrt(2) if self.mechanism == "gaussian" else 2.0
        spent = self.epsilon(answered, delta)
        return PrivacyLedger(
            epsilon=spent,
            delta=delta,
            accountant="rdp",
            epsilon_rdp=spent,
            unit="record",
            neighbour_relation="replace_one",
            sampling="full_batch",
            sample_rate=1.0,
            steps=answered,
            noise_multiplier=self.noise / sensitivity,
            clip_norm=sensitivity,
            expected_batch=float(n),
            empty_batches=0,
            epsilon_total_basis=self.epsilon_total_basis,
            advantage=advantage_of_budget(spent, delta),
            rng="seeded (not for release)",
            libraries={"torch": torch.__version__},
            epsilon_total=None if self.epsilon_total_basis == "not_accounted" else spent,
        )
