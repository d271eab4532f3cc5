"""Differentially private linear regression by noise on its objective."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench.contract import (
    Card,
    FitReport,
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
from bench.contract.task import agreement, loss
from defenses.common.accounting import advantage_of_budget


@dataclass(frozen=True)
class FunctionalMechanism(TrainingDefense):
    """Least squares on a noisy objective: the private dosing model of Fredrikson et al. 2014.

    Zhang et al. (VLDB 2012): the squared error ``sum_i (y_i - x_i w)^2`` is a polynomial of w. Its
    coefficients get Laplace noise of scale ``sensitivity / epsilon`` (algorithm 1), and the noisy
    polynomial is minimised. It gets a penalty of four standard deviations of the noise, and
    directions without a minimum are left out (section 6); both use only what is already private.
    The guarantee is pure epsilon-DP per record, for data sets that differ in the value of one
    record. To add or remove a record would need half the noise.

    Bounds are public: 0 and 1 for a category, and what the public split holds for a number and for
    the outcome. Records of members are clipped to them. Numbers become [0, 1] (section 3), a
    constant is added, which the paper leaves out, and all features are divided by the root of their
    number. The outcome is divided by its largest public size, so that with more and more noise the
    model falls back on the public mean and not on the middle of the range. The recipe, with its
    weight decay, is not used.

    Attributes:
        epsilon: the privacy budget; null is the plain model and no defense. Values worth a sweep
            are 0.25, 1, 5, 20 and 100.
        sensitivity: ``paper`` is ``2 (d + 1)^2`` for d features, the constant one of them (section
            4.2), as if each could be 1. ``tight`` is ``2 (1 + B)^2``, where B is the largest
            possible sum of the scaled features of a record: only one column of a category is not 0.
            The guarantee is the same, with much less noise.
    """

    epsilon: Positive | None = 1.0
    sensitivity: Literal["tight", "paper"] = "tight"

    # The curator is trusted, as in DP-SGD: no client shares an update.
    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"least_squares"})
    tasks = ("regression",)
    modalities = frozenset({"table"})
    paper = (
        "Zhang, Zhang, Xiao, Yang, Winslett, VLDB 2012, algorithm 1 and sections 4.2 and 6; "
        "Fredrikson et al., USENIX Security 2014, section 5"
    )
    accounts: ClassVar[bool] = True
    cost = "one solve; ridge regression only"
    zero: ClassVar[Mapping[str, Any]] = {"epsilon": None}

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Solve in float64, in place.

        Raises:
            UserError: the public outcomes are all 0.
        """
        if self.epsilon is None:
            return super().fit(network, train, recipe, context)
        scale = Scale.of(context.card, context.public)
        x, y = scale(train.x, train.y)
        bound = scale.sensitivity if self.sensitivity == "tight" else 2.0 * (x.shape[1] + 1) ** 2
        spread = bound / self.epsilon
        # On the CPU: the same noise, and the same solution, wherever the rest is trained.
        rng = generator(derive(context.seed, part="noise"))
        scale.install(network, minimiser(*noisy(*coefficients(x, y), spread, rng), spread))
        network.eval()
        device = context.device
        with torch.no_grad():
            outputs = network(train.x.to(device))
        return FitReport(
            epochs=1,
            steps=0,
            final_loss=float(loss(context.task, outputs, train.y.to(device))),
            train_accuracy=agreement(context.task, outputs, train.y.to(device)),
            public_records=len(context.public),
            privacy=self._ledger(bound, len(train)),
        )

    def _ledger(self, bound: float, n: int) -> PrivacyLedger:
        assert self.epsilon is not None
        return PrivacyLedger(
            epsilon=self.epsilon,
            delta=0.0,
            accountant="functional_mechanism",
            epsilon_rdp=self.epsilon,  # at delta 0 there is no other
            unit="record",
            neighbour_relation="replace_one",
            sampling="full_batch",
            sample_rate=1.0,
            steps=1,
            noise_multiplier=1 / self.epsilon,
            clip_norm=bound,
            expected_batch=float(n),
            empty_batches=0,
            epsilon_total_basis="single_run",
            advantage=advantage_of_budget(self.epsilon, 0.0),
            rng="seeded (not for release)",
            libraries={"torch": torch.__version__},
        )


@dataclass(frozen=True)
class Scale:
    """Public bounds, and what follows from them.

    Attributes:
        low: least value of each column, float64 ``[d]``.
        span: greatest minus least, ``[d]``.
        size: largest absolute outcome.
        columns: columns of the table before encoding: at most that many scaled ones are not 0.
    """

    low: Tensor
    span: Tensor
    size: float
    columns: int

    @classmethod
    def of(cls, card: Card, public: Split) -> Scale:
        """From the table's description and its public records.

        Raises:
            UserError: the public outcomes are all 0.
        """
        x = public.x.flatten(1).double().cpu()
        low, high = x.amin(0), x.amax(0)
        width = 0
        for field in card.fields:
            start, stop = field.columns
            width += stop - start
            if field.kind == "category":
                low[start:stop], high[start:stop] = 0.0, 1.0
        size = float(public.y.abs().max())
        require(
            size > 0,
            "FunctionalMechanism takes the bounds of the outcome from the public records, whose "
            "outcomes are all 0; use other data.",
        )
        return cls(low, high - low, size, len(card.fields) + x.shape[1] - width)

    @property
    def root(self) -> float:
        """Root of the number of features, the constant included."""
        return math.sqrt(len(self.low) + 1)

    @property
    def most(self) -> float:
        """B: the most that a record's scaled features, the constant included, add up to."""
        return (self.columns + 1) / self.root

    @property
    def sensitivity(self) -> float:
        """L1 distance of the coefficients of two data sets that differ in one record, at most.

        A record's coefficients add up to ``(|y| + sum_j |x_j|)^2`` in absolute value.
        """
        return 2.0 * (1.0 + self.most) ** 2

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled features ``[n, d + 1]`` of records ``[n, d]``, and outcomes in [-1, 1].

        The constant is last. Whatever comes in, the features of a record are in ``[0, 1 / root]``
        and add up to ``most`` or less.
        """
        shifted = x.flatten(1).double().cpu() - self.low
        # A number that never varies in public is taken as it is there.
        shares = (shifted / self.span.clamp_min(1e-12)).clamp(0.0, 1.0) * (self.span > 0)
        shares = shares * (self.columns / shares.sum(1, keepdim=True)).clamp(max=1.0)
        features = torch.cat([shares, torch.ones(len(x), 1, dtype=torch.float64)], 1) / self.root
        return features, (y.double().cpu() / self.size).clamp(-1.0, 1.0)

    def install(self, network: Network, w: Tensor) -> None:
        """Put the solution ``[d + 1]`` of the scaled problem into ``network``."""
        varies = self.span > 0
        weight = torch.where(varies, w[:-1] / self.span.clamp_min(1e-12), 0.0)
        bias = w[-1] - weight @ self.low
        with torch.no_grad():
            network.head.weight.copy_(weight.unsqueeze(0) * self.size / self.root)
            network.head.bias.copy_(bias.unsqueeze(0) * self.size / self.root)


def coefficients(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients of the squared error as a polynomial of w.

    Its constant does not move the minimum and is not computed, though the sensitivity counts it.

    Args:
        x: features ``[n, d]``.
        y: outcomes ``[n]``.

    Returns:
        Of ``w_j w_k``, upper triangular ``[d, d]`` (each product once), and of ``w_j`` ``[d]``.
    """
    gram = x.T @ x
    return gram.triu() + gram.triu(1), -2.0 * (x.T @ y)


def noisy(
    quadratic: Tensor, linear: Tensor, spread: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Laplace noise of scale ``spread`` on every coefficient (Zhang et al. 2012, algorithm 1)."""
    d = len(linear)

    def laplace(*shape: int) -> Tensor:
        one, other = (
            torch.empty(shape, dtype=torch.float64).exponential_(generator=rng) for _ in range(2)
        )
        return spread * (one - other)

    return quadratic + laplace(d, d).triu(), linear + laplace(d)


def minimiser(quadratic: Tensor, linear: Tensor, spread: float) -> Tensor:
    """Where ``w' M w + a w`` is least, made to exist as in Zhang et al. 2012, section 6.

    ``M`` gets a penalty of four standard deviations of the noise on its diagonal (6.1); directions
    whose eigenvalue is not positive even so are left out (6.2).

    Args:
        quadratic: upper triangular ``[d, d]``, of :func:`coefficients`.
        linear: ``[d]``.
        spread: scale of the noise on both; its standard deviation is the root of 2 times that.
    """
    d = len(linear)
    m = (quadratic + quadratic.T) / 2 + 4 * math.sqrt(2) * spread * torch.eye(d, dtype=linear.dtype)
    values, vectors = torch.linalg.eigh(m)
    # Relative: a direction in which no record differs is 0 up to rounding, without any noise.
    kept = values > 1e-12 * values.abs().max()
    inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
    solution: Tensor = vectors @ (inverse * (vectors.T @ (-linear / 2)))
    return solution
