"""Attribute inference by membership inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from attacks.common.candidates import (
    Asked,
    ask_each,
    ask_scores,
    break_ties,
    imputed,
    likelihood,
    plan,
    value_prior,
)
from attacks.common.draws import some
from attacks.common.error_models import log_loss, public_errors
from attacks.common.ranges import AtLeastTwo
from attacks.common.shadows import fitted
from bench.contract import Attack, Exposure, Knowledge, Reconstruction
from bench.contract.seeding import seed as derive

SURE = 1e-6
"""Nearest a probability may come to 0 or 1 before its logit is taken."""


def reference(name: str, seed: int) -> Any:
    """A model of scikit-learn that the attacker can train on public records, by its name."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if name == "logistic":
        return LogisticRegression(max_iter=2000)
    if name == "forest":
        return RandomForestClassifier(100, min_samples_leaf=3, n_jobs=1, random_state=seed)
    return MLPClassifier(random_state=seed)


@dataclass(frozen=True)
class Membership(Attack):
    """The value with which a victim's record looks most like a training record.

    Yeom et al. (CSF 2018, section 5) turn any membership adversary into one for attributes: ask
    it about the record completed with every value. Two membership signals:

    - ``threshold``: a record is a member if its loss is at most a threshold (Yeom et al., section
      3; they use the mean training loss, which the attacker does not know: here it is the mean
      loss of public records). Among the values so accepted the likeliest by the prior is
      answered; if none or all are, the prior decides alone.
    - ``calibrated``: ``logit p(y | x_v)`` of the target minus that of a reference model the
      attacker trains on public records: the likelihood of membership calibrated by the record's
      difficulty (Watson et al., ICLR 2022; the logit is that of LiRA, Carlini et al., S&P 2022).
      The score is ``prior(v) * exp`` of it. A value that suits the label anyway gains nothing; one
      that the target alone is sure of does.

    The prior is the marginal of public records (``threshold``), none (``calibrated``), or
    with ``impute`` the imputer.

    Attributes:
        access: ``scores``.
        signal: ``threshold`` or ``calibrated``.
        impute: take the imputer's probabilities for the prior.
        reference: of ``calibrated``: ``logistic``, ``forest`` or ``mlp``.
        most: most public records the reference is trained on; None: all.
    """

    access: Literal["scores"] = "scores"
    signal: Literal["threshold", "calibrated"] = "calibrated"
    impute: bool = False
    reference: Literal["logistic", "forest", "mlp"] = "logistic"
    most: AtLeastTwo | None = 5000

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K2", "K3", "K4", "K5"})
    paper = (
        "Yeom et al., CSF 2018, section 5; Watson et al., ICLR 2022 (difficulty calibration); "
        "Carlini et al., S&P 2022 (LiRA)"
    )

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Posterior ``[n, n_values]`` of every victim's value; see the base class.

        It is the prior of whom the budget does not allow to ask about.
        """
        threshold = self.signal == "threshold"
        asked = plan(exposure, knowledge, seed, public=threshold)
        n, n_values = len(asked.everyone), len(asked.sensitive.values)
        prior = imputed(knowledge) if self.impute else value_prior(knowledge).expand(n, -1)
        if not (threshold or self.impute):
            prior = torch.full_like(prior, 1 / n_values)
        answers, y = ask_scores(exposure, knowledge, asked), asked.partial.y
        if threshold:
            assert asked.public is not None
            errors = public_errors(exposure, knowledge.task, asked.public)
            limit = float(errors.mean()) if len(errors) else 0.0
            member = log_loss(answers, y) <= limit
            kept = torch.where(member.any(1, keepdim=True), member.double(), 1.0)
            # Those that are not accepted keep an order among themselves, below all others.
            values = (kept + 1e-6) * prior[asked.rows]
            info = {"threshold": limit, "accepted": _mean(member.double())}
        else:
            gain = _logit(likelihood(answers, y)) - self._reference(knowledge, asked, seed)
            values = torch.softmax(gain + (prior[asked.rows].log() if self.impute else 0.0), 1)
            info = {"mean_gain": _mean(gain)}
        values = asked.whole(values / values.sum(1, keepdim=True), prior)
        return Reconstruction(break_ties(values, seed), info)

    def _reference(self, knowledge: Knowledge, asked: Asked, seed: int) -> Tensor:
        """Logit of the true label by the reference, float64 ``[count, n_values]``; no query."""
        partial, n_values = asked.partial, len(asked.sensitive.values)
        public, n_classes = knowledge.public, knowledge.card.n_classes
        rows = some(len(public), self.most, derive(seed, membership="rows"))
        public = public.take(rows.to(public.x.device))
        if len(torch.unique(public.y)) < 2 or asked.count == 0:
            return partial.x.new_zeros(len(partial), n_values, dtype=torch.float64)
        model = reference(self.reference, derive(seed, membership="reference") % 2**32)
        own = partial.y.view(-1, 1, 1).expand(-1, n_values, 1)
        return _logit(ask_each(fitted(model, public, n_classes), asked).gather(2, own).squeeze(2))


def _mean(numbers: Tensor) -> float:
    return float(numbers.mean()) if numbers.numel() else 0.0


def _logit(p: Tensor) -> Tensor:
    return torch.logit(p.clamp(SURE, 1.0 - SURE))
