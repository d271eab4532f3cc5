"""Differentially private stochastic gradient descent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt, Le

from bench.contract import (
    Count,
    DivergedError,
    FitReport,
    Fraction,
    Network,
    NonNegative,
    Positive,
    PrivacyLedger,
    Recipe,
    Split,
    TrainingContext,
    TrainingDefense,
    generator,
    require,
    seeded,
)
from bench.contract import seed as derive
from bench.contract.task import targets
from defenses.common.accounting import (
    MOST_EPSILON,
    advantage,
    allowed_delta,
    composed,
    least_noise,
    least_noise_for,
    quiet,
    spent,
)
from defenses.common.descent import training_accuracy

if TYPE_CHECKING:
    from defenses.common.private_steps import Units


def _between(value: Any) -> bool:
    """Whether something is a number above 0 and below 1."""
    return isinstance(value, int | float) and 0 < value < 1


@dataclass(frozen=True)
class DpSgd(TrainingDefense):
    """DP-SGD (Abadi et al. CCS 2016, algorithm 1) through Opacus.

    Batches are Poisson samples. The gradient of each unit is clipped to ``clip_norm``, and Gaussian
    noise of standard deviation ``noise_multiplier * clip_norm`` is added to their sum. The
    guarantee is per ``unit``, for data sets with one unit more or less. It has a recipe of its own,
    because a good private recipe is not a good plain one.

    Attributes:
        epsilon: the privacy budget; the noise is the least that keeps the PRV accountant at or
            below it. Null, with ``noise_multiplier`` and ``target`` null too, is plain training and
            no defense.
            Values worth a sweep are 1, 3, 8 and 50.
        noise_multiplier: the noise, given directly instead of ``epsilon``; 0 only clips and claims
            no privacy.
        target: ``{advantage: 0.1}``, with ``epsilon`` null: a risk instead of a budget. The noise
            is the least that keeps the greatest TPR - FPR of any test of membership, all
            ``tuning_runs`` included, at or below it (PROTOCOL 4.6); the ledger states the epsilon
            that this is at ``delta``. Of use where a risk was agreed on, and where rows of other
            batches, epochs or data are compared: equal epsilons may be unequal risks. Values worth
            a sweep are 0.1, 0.3 and 0.6.
        delta: failure probability; null means 1 / (10 n) for n units, which is the largest that is
            allowed.
        clip_norm: C, the largest norm of the gradient of one unit.
        clipping: ``flat`` clips the whole gradient to C. ``per_layer`` clips each of p parameter
            tensors to ``C / sqrt(p)`` (McMahan et al. ICLR 2018). With ``adaptive``, C starts at
            ``clip_norm`` and follows a quantile of the norms (Andrew et al. NeurIPS 2021); the
            noisy count that it follows is paid for within the same budget by more noise on the
            gradients. A step is proportional to C, so ``lr`` has to be larger where C shrinks. The
            ledger states where C started.
        quantile: share of gradients that an adaptive C leaves unclipped.
        unit: ``record``, or ``person``: all records of a person are drawn together and give one
            clipped gradient, their mean, and n is the number of people. Both are the same where
            every record has a person of its own.
        epochs: expected number of passes over the units.
        batch_size: units in a step; Opacus rounds it so that whole batches make an epoch, and the
            ledger states what was executed.
        lr: learning rate.
        optimizer: ``adam`` or ``sgd`` (momentum 0.9).
        poisson_sampling: must be true, because the accounting would not hold for another scheme.
        epsilon_total_basis: how the choice of these options was accounted for (PROTOCOL 4.3):
            ``single_run`` (fixed beforehand), ``public_tuning`` (on records that are private in no
            repeat), ``not_accounted``. The defaults were chosen on public splits of other repeats,
            which share records with the members of a re-split table, so they claim
            ``not_accounted``. ``tuning_runs`` above 1 makes it ``naive_composition``.
        reproduction: true for a row that repeats a paper: ``delta`` may then be larger than is
            allowed. Boards mark the row, and it is no evidence for the defense (PROTOCOL 4.2).
        tuning_runs: number of private trainings on these records that led to these options, this
            one included; above 1 the ledger states the epsilon of all of them together.
    """

    epsilon: Annotated[float, Gt(0), Le(MOST_EPSILON)] | None = 8.0
    noise_multiplier: NonNegative | None = None
    target: Mapping[str, float] | None = None
    delta: Fraction | None = None
    clip_norm: Positive = 1.0
    clipping: Literal["flat", "per_layer", "adaptive"] = "flat"
    quantile: Fraction = 0.5
    unit: Literal["record", "person"] = "record"
    epochs: Count = 30
    batch_size: Count = 64
    lr: Positive = 0.05
    optimizer: Literal["adam", "sgd"] = "sgd"
    poisson_sampling: bool = True
    epsilon_total_basis: Literal[
        "single_run", "public_tuning", "not_accounted", "naive_composition"
    ] = "not_accounted"
    tuning_runs: Count = 1
    reproduction: bool = False

    # A trusted curator clips and adds noise, so what single clients share is not protected.
    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"descent"})
    accounts: ClassVar[bool] = True
    cost = "a gradient per record or two backward passes; its own recipe"
    paper = (
        "Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, CCS 2016, algorithm 1; adaptive "
        "clipping: Andrew, Thakkar, McMahan, Ramaswamy, NeurIPS 2021, algorithm 1 and theorem 1"
    )
    zero: ClassVar[Mapping[str, Any]] = {"epsilon": None, "noise_multiplier": None, "target": None}

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [
            n for n in ("epsilon", "noise_multiplier", "target") if getattr(self, n) is not None
        ]
        require(
            len(given) <= 1,
            f"both {' and '.join(given)} are given; set one and leave the others null.",
        )
        require(
            self.target is None
            or (set(self.target) == {"advantage"} and _between(self.target["advantage"])),
            f"target is {self.target}; give {{advantage: A}}, with A above 0 and below 1.",
        )
        require(
            self.poisson_sampling,
            "poisson_sampling is false, but the accountant assumes Poisson batches: the epsilon "
            "would not hold; leave it true.",
        )
        require(
            self.tuning_runs == 1
            or self.epsilon_total_basis in ("not_accounted", "naive_composition"),
            f"tuning_runs is {self.tuning_runs}, but epsilon_total_basis is "
            f"'{self.epsilon_total_basis}', by which tuning cost nothing; leave one of them out.",
        )
        require(
            self.tuning_runs > 1 or self.epsilon_total_basis != "naive_composition",
            "epsilon_total_basis is 'naive_composition'; give tuning_runs, a number above 1.",
        )

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train privately in place; only the weight decay of ``recipe`` is used.

        Raises:
            UserError: delta above 1 / (10 n) in a row that is no reproduction, a batch larger than
                the data, a target that is an epsilon above 100, or a layer that mixes records
                (batch normalisation).
            DivergedError: the loss became NaN or Inf.
        """
        if self.epsilon is None and self.noise_multiplier is None and self.target is None:
            return super().fit(network, train, recipe, context)
        # To import Opacus takes seconds, so only a private training does it.
        from defenses.common.private_steps import Units

        units = Units.people(train.person) if self.unit == "person" else Units.records(len(train))
        n, told = units.count, self._counted(units.count)
        delta = allowed_delta("DpSgd.delta", self.delta, n, told, self.reproduction)
        require(
            self.batch_size <= units.count,
            f"DpSgd.batch_size is {self.batch_size}, but there are {told}; give at most {n}.",
        )
        with quiet():
            return self._fit(network, train, units, recipe, context, delta)

    def _counted(self, n: int) -> str:
        return f"{n} training records" if self.unit == "record" else f"{n} people in training"

    def _noise(self, sample_rate: float, steps: int, delta: float) -> float:
        if self.epsilon is not None:
            return least_noise(self.epsilon, delta, sample_rate, steps)
        if self.target is not None:
            most, runs = self.target["advantage"], self.tuning_runs
            sigma = least_noise_for(most, delta, sample_rate, runs * steps)
            budget = spent(sigma, sample_rate, steps, delta, "prv")
            require(
                budget <= MOST_EPSILON,
                f"DpSgd.target.advantage is {most}, an epsilon of {budget:.0f} here, above "
                f"{MOST_EPSILON:.0f}; give less.",
            )
            return sigma
        assert self.noise_multiplier is not None
        if self.noise_multiplier > 0:
            rough = spent(self.noise_multiplier, sample_rate, steps, delta, "rdp")
            require(
                rough <= 2 * MOST_EPSILON,
                f"DpSgd.noise_multiplier is {self.noise_multiplier}, which spends an epsilon of "
                f"{rough:.3g}; give more noise, or 0 to clip only.",
            )
        return self.noise_multiplier

    def _optimizer(self, network: Network, weight_decay: float) -> torch.optim.Optimizer:
        parameters = [p for p in network.parameters() if p.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=weight_decay)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=0.9, weight_decay=weight_decay)

    def _fit(
        self,
        network: Network,
        train: Split,
        units: Units,
        recipe: Recipe,
        context: TrainingContext,
        delta: float,
    ) -> FitReport:
        from defenses.common.private_steps import PrivateSteps, refuse_mixing, unit_loader

        refuse_mixing(network)
        device, seed = context.device, context.seed
        x, y = train.x.to(device), targets(context.task, train).to(device)
        rng = generator(derive(seed, part="poisson"))
        loader = unit_loader(units.count, self.batch_size, rng)
        # Opacus makes int(1 / rate) batches an epoch and accounts at the rate of that many.
        batches = int(1 / (1 / len(loader)))
        private = PrivateSteps(
            network,
            self._optimizer(network, recipe.weight_decay),
            loader,
            units,
            context.task,
            clipping=self.clipping,
            sigma=self._noise(1 / batches, self.epochs * batches, delta),
            clip_norm=self.clip_norm,
            quantile=self.quantile,
            rng=generator(derive(seed, part="noise"), device),
            watch=context.watch,
        )
        with seeded(derive(seed, part="layers"), device):
            for epoch in range(self.epochs):
                loss_sum, seen = torch.zeros((), device=device), 0
                for drawn in private.batches():
                    error, used = private.step(drawn.to(device), x, y)
                    loss_sum += error
                    seen += used
                final_loss = loss_sum.item() / max(seen, 1)
                if not math.isfinite(final_loss):
                    raise DivergedError(
                        f"The private training loss became {final_loss} in epoch {epoch + 1} of "
                        f"{self.epochs}; lower DpSgd.lr ({self.lr})."
                    )
        private.close()
        return FitReport(
            epochs=self.epochs,
            steps=sum(steps for _, _, steps in private.history),
            final_loss=final_loss,
            train_accuracy=training_accuracy(network, train, context),
            privacy=self._ledger(private.history, delta, units.count, private.empty),
        )

    def _ledger(
        self, history: list[tuple[float, float, int]], delta: float, n: int, empty: int
    ) -> PrivacyLedger | None:
        """What the engine's own history spent; None where there was no noise."""
        import opacus

        [(sigma, rate, steps)] = history
        if sigma == 0:
            return None
        epsilon = spent(sigma, rate, steps, delta, "prv")
        basis, total = self.epsilon_total_basis, None
        if self.tuning_runs > 1:
            basis = "naive_composition"
            total = composed(sigma, rate, steps, delta, self.tuning_runs)
        elif basis != "not_accounted":
            total = epsilon
        return PrivacyLedger(
            epsilon=epsilon,
            delta=delta,
            accountant="prv",
            epsilon_rdp=spent(sigma, rate, steps, delta, "rdp"),
            unit=self.unit,
            neighbour_relation="add_remove",
            sampling="poisson",
            sample_rate=rate,
            steps=steps,
            noise_multiplier=sigma,
            clip_norm=self.clip_norm,
            expected_batch=rate * n,
            empty_batches=empty,
            epsilon_total_basis=basis,
            epsilon_total=total,
            advantage=advantage(sigma, rate, steps * self.tuning_runs, delta),
            rng="seeded (not for release)",
            libraries={"opacus": opacus.__version__, "torch": torch.__version__},
        )
