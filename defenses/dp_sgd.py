"""Differentially private stochastic gradient descent."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bench.contract import (
    DivergedError,
    FitReport,
    Network,
    PrivacyLedger,
    Recipe,
    Split,
    Task,
    TrainingContext,
    TrainingDefense,
    UserError,
    generator,
    require,
)
from bench.contract import seed as derive
from bench.contract.task import agreement, loss, targets

_MOST_EPSILON = 100.0
"""Beyond it a budget promises nothing and the PRV accountant's grid no longer fits in memory."""


@dataclass(frozen=True)
class DpSgd(TrainingDefense):
    """DP-SGD (Abadi et al. CCS 2016, algorithm 1) through Opacus.

    Poisson batches, per-record gradients clipped to ``clip_norm``, Gaussian noise of standard
    deviation ``noise_multiplier * clip_norm`` on their sum. The guarantee is per record under
    add/remove adjacency. It brings its own recipe: a good private recipe is not a good plain one.

    Attributes:
        epsilon: target budget, above 0 and at most 100; the noise is the least that keeps the PRV
            accountant at or below it. None with ``noise_multiplier`` None is plain training (no
            defense).
        noise_multiplier: the noise given directly instead; 0 clips only and claims no privacy.
        delta: failure probability; None means 1 / (10 n), the most that is allowed.
        clip_norm: C, the most one record's gradient may weigh.
        epochs: expected passes over the records.
        batch_size: records per step; Opacus rounds it so that whole batches make an epoch, and
            the ledger states what was executed.
        lr: learning rate.
        optimizer: ``adam`` or ``sgd`` (momentum 0.9).
        poisson_sampling: true; another scheme would void the accounting and is refused.
        epsilon_total_basis: how the choice of these options was accounted for (PROTOCOL 4.3):
            ``single_run`` (fixed beforehand), ``public_tuning`` (on records that are private in
            no repeat), ``not_accounted``. The defaults were chosen on public splits of other
            repeats, which share records with the members of a re-split table, so they claim the
            last.
    """

    epsilon: float | None = 8.0
    noise_multiplier: float | None = None
    delta: float | None = None
    clip_norm: float = 1.0
    epochs: int = 30
    batch_size: int = 64
    lr: float = 0.05
    optimizer: Literal["adam", "sgd"] = "sgd"
    poisson_sampling: bool = True
    epsilon_total_basis: Literal["single_run", "public_tuning", "not_accounted"] = "not_accounted"

    # A trusted curator clips and adds noise: what single clients share with it is not protected.
    covers = frozenset({"labels", "scores", "weights"})
    needs = frozenset({"descent"})
    adaptive_attacks = ("prior_inversion", "attribute_map", "basket_decoder")
    paper = "Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, CCS 2016, algorithm 1"
    zero: ClassVar[Mapping[str, Any]] = {"epsilon": None, "noise_multiplier": None}

    def __post_init__(self) -> None:
        require(
            self.epsilon is None or 0.0 < self.epsilon <= _MOST_EPSILON,
            f"DpSgd.epsilon is {self.epsilon}; give a number above 0 and at most "
            f"{_MOST_EPSILON:g}, or null (with noise_multiplier 0 gradients are clipped only).",
        )
        require(
            self.noise_multiplier is None or 0.0 <= self.noise_multiplier < math.inf,
            f"DpSgd.noise_multiplier is {self.noise_multiplier}; give a finite number of at "
            "least 0.",
        )
        require(
            self.epsilon is None or self.noise_multiplier is None,
            "DpSgd has both epsilon and noise_multiplier; set one and leave the other null.",
        )
        require(
            self.poisson_sampling,
            "DpSgd.poisson_sampling is false, but its accountant assumes Poisson batches: the "
            "epsilon would not hold; leave it true.",
        )
        require(
            self.delta is None or 0.0 < self.delta < 1.0,
            f"DpSgd.delta is {self.delta}; give a number between 0 and 1 / (10 n), or null.",
        )
        require(self.clip_norm > 0, f"DpSgd.clip_norm is {self.clip_norm}; give more than 0.")
        require(
            self.epochs >= 1 and self.batch_size >= 1 and self.lr > 0,
            f"DpSgd has epochs={self.epochs}, batch_size={self.batch_size}, lr={self.lr}; "
            "give at least 1, at least 1 and more than 0.",
        )
        require(
            self.optimizer in ("adam", "sgd"),
            f"DpSgd.optimizer is '{self.optimizer}'; allowed: adam, sgd.",
        )
        bases = ("single_run", "public_tuning", "not_accounted")
        require(
            self.epsilon_total_basis in bases,
            f"DpSgd.epsilon_total_basis is '{self.epsilon_total_basis}'; allowed: "
            f"{', '.join(bases)}.",
        )

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train privately in place; only the weight decay of ``recipe`` is used.

        Raises:
            UserError: delta above 1 / (10 n), a batch larger than the data, or a layer that mixes
                records (batch normalisation).
            DivergedError: the loss became NaN or Inf.
        """
        if self.epsilon is None and self.noise_multiplier is None:
            return super().fit(network, train, recipe, context)
        delta = self._delta(len(train))
        require(
            self.batch_size <= len(train),
            f"DpSgd.batch_size is {self.batch_size}, but there are {len(train)} training "
            f"records; give at most {len(train)}.",
        )
        with _quiet():
            return self._fit(network, train, recipe, context, delta)

    def _delta(self, n: int) -> float:
        most = 1.0 / (10 * n)
        require(
            self.delta is None or self.delta <= most,
            f"DpSgd.delta is {self.delta}, above 1 / (10 n) = {most:.3g} for {n} training "
            "records; give less, or null for the most allowed.",
        )
        return most if self.delta is None else self.delta

    def _noise(self, sample_rate: float, steps: int, delta: float) -> float:
        if self.epsilon is not None:
            return least_noise(self.epsilon, delta, sample_rate, steps)
        assert self.noise_multiplier is not None
        if self.noise_multiplier > 0:
            rough = spent(self.noise_multiplier, sample_rate, steps, delta, "rdp")
            require(
                rough <= 2 * _MOST_EPSILON,
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
        recipe: Recipe,
        context: TrainingContext,
        delta: float,
    ) -> FitReport:
        import opacus

        _refuse_mixing(network)
        device, seed = context.device, context.seed
        x, y = train.x.to(device), targets(context.task, train).to(device)
        plain_loader = DataLoader(
            TensorDataset(torch.arange(len(x))),
            batch_size=self.batch_size,
            generator=generator(derive(seed, part="poisson")),
        )
        # Opacus makes int(1 / rate) batches an epoch and accounts at the rate of that many.
        batches = int(1 / (1 / len(plain_loader)))
        sigma = self._noise(1 / batches, self.epochs * batches, delta)
        engine = opacus.PrivacyEngine(accountant="prv")
        # Ghost clipping: the same clipped sum from two backward passes, without a gradient per
        # record, ten times faster on wide linear layers.
        module, optimizer, criterion, loader = engine.make_private(
            module=network.train(),
            optimizer=self._optimizer(network, recipe.weight_decay),
            data_loader=plain_loader,
            noise_multiplier=sigma,
            max_grad_norm=self.clip_norm,
            grad_sample_mode="ghost",
            criterion=_Criterion(context.task),
            noise_generator=generator(derive(seed, part="noise"), device),
        )
        cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
        empty = 0
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(derive(seed, part="layers"))
            for epoch in range(self.epochs):
                loss_sum, seen = torch.zeros((), device=device), 0
                for (batch,) in loader:
                    optimizer.zero_grad()
                    if len(batch):
                        error = criterion(module(x[batch]), y[batch])
                        error.backward()
                        loss_sum += error.detach() * len(batch)
                        seen += len(batch)
                    else:
                        # Skipping would reveal the emptiness and escape the accountant: step on
                        # noise alone (opacus issue 161).
                        empty += 1
                        for parameter in optimizer.params:
                            parameter.grad = torch.zeros_like(parameter)
                    optimizer.step()
                final_loss = loss_sum.item() / max(seen, 1)
                if not math.isfinite(final_loss):
                    raise DivergedError(
                        f"The private training loss became {final_loss} in epoch {epoch + 1} of "
                        f"{self.epochs}; lower DpSgd.lr ({self.lr})."
                    )
        module.to_standard_module()
        optimizer.zero_grad(set_to_none=True)
        network.eval()
        with torch.no_grad():
            outputs = torch.cat([network(part) for part in torch.split(x, 1024)])
        ledger = self._ledger(engine.accountant.history, delta, len(x), empty)
        return FitReport(
            epochs=self.epochs,
            steps=sum(steps for _, _, steps in engine.accountant.history),
            final_loss=final_loss,
            train_accuracy=agreement(context.task, outputs, y),
            privacy=ledger,
        )

    def _ledger(
        self, history: list[tuple[float, float, int]], delta: float, n: int, empty: int
    ) -> PrivacyLedger | None:
        """What the engine's own history spent; None where there was no noise."""
        import opacus

        [(sigma, rate, steps)] = history
        if sigma == 0:
            return None
        return PrivacyLedger(
            epsilon=spent(sigma, rate, steps, delta, "prv"),
            delta=delta,
            accountant="prv",
            epsilon_rdp=spent(sigma, rate, steps, delta, "rdp"),
            unit="record",
            neighbour_relation="add_remove",
            sampling="poisson",
            sample_rate=rate,
            steps=steps,
            noise_multiplier=sigma,
            clip_norm=self.clip_norm,
            expected_batch=rate * n,
            empty_batches=empty,
            epsilon_total_basis=self.epsilon_total_basis,
            rng="seeded (not for release)",
            libraries={"opacus": opacus.__version__, "torch": torch.__version__},
        )


class _Criterion(torch.nn.Module):
    """The task's loss; Opacus asks for it record by record by setting ``reduction``."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.reduction = "mean"

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The mean, or one number a record."""
        return loss(self.task, outputs, target, self.reduction)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what is by design: seeded noise, inputs without gradient, accountants' ranges."""
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        # The RDP figure is an upper bound over any range of orders.
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield


def _refuse_mixing(network: Network) -> None:
    """Refuse layers that mix records, frozen ones included: their statistics are private too."""
    from opacus.validators import ModuleValidator

    names = {
        type(m).__name__
        for m in network.modules()
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    }
    require(
        not names,
        f"DpSgd cannot train {', '.join(sorted(names))}: a batch statistic mixes records; use "
        "group normalisation.",
    )
    errors = ModuleValidator.validate(network.train())
    require(not errors, f"DpSgd cannot train this network: {'; '.join(map(str, errors))}.")


@lru_cache(maxsize=256)
def spent(sigma: float, sample_rate: float, steps: int, delta: float, accountant: str) -> float:
    """Epsilon of ``steps`` Poisson-subsampled Gaussian steps, by Opacus's ``prv`` or ``rdp``.

    An evaluation takes tenths of a second, so it is kept for the repeats of a suite.
    """
    from opacus.accountants import create_accountant

    account = create_accountant(mechanism=accountant)
    account.history = [(sigma, sample_rate, steps)]
    with _quiet():
        return float(account.get_epsilon(delta))


def least_noise(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The noise multiplier whose PRV epsilon is at most 1% below ``epsilon`` and never above.

    Opacus's own search takes some twelve PRV evaluations; a secant on log-log axes takes four.

    Args:
        epsilon: target budget, above 0.
        delta: failure probability.
        sample_rate: Poisson inclusion probability.
        steps: noisy steps.

    Raises:
        UserError: no noise reaches the budget.
    """

    def excess(log_sigma: float) -> float:
        used = spent(math.exp(log_sigma), sample_rate, steps, delta, "prv")
        return math.log(used / (0.995 * epsilon))

    # Start: the mu of Gaussian DP at this budget, epsilon = mu^2 / 2 + mu sqrt(2 ln 1/delta), and
    # the central limit mu = q sqrt(T (exp(1 / sigma^2) - 1)) solved for sigma.
    tail = 2 * math.log(1 / delta)
    mu = math.sqrt(tail + 2 * epsilon) - math.sqrt(tail)
    a = -0.5 * math.log(math.log1p(mu**2 / (sample_rate**2 * steps)))
    at_a = excess(a)
    b = a + at_a / 1.25  # epsilon falls about as sigma^-1.25
    at_b = excess(b)
    for _ in range(12):
        if abs(at_b) <= 0.005:
            return math.exp(b)
        if at_a == at_b:
            break
        a, b, at_a = b, b - at_b * (b - a) / (at_b - at_a), at_b
        at_b = excess(b)
    raise UserError(
        f"DpSgd.epsilon is {epsilon}, for which no noise was found at {steps} steps and sample "
        f"rate {sample_rate:.3g} (the last try spent {epsilon * math.exp(at_b):.3g}); give another "
        "epsilon or fewer epochs."
    )
