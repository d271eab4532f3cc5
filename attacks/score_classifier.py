"""Learned attribute inference from what a deployment answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.common.candidates import attacked, break_ties
from attacks.common.draws import some
from attacks.common.learners import WINNERS, Learner, known_features
from attacks.common.ranges import AtLeastTwo
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, Task, require
from bench.contract.options import Count
from bench.contract.seeding import seed as derive

LEAST = 50
"""Answered public records from which it learns what an answer tells."""


@dataclass(frozen=True)
class ScoreClassifier(Attack):
    """Learn the attribute from the known ones and the target's answer, and apply it to the victims.

    The black-box attribute inference of the Adversarial Robustness Toolbox, in the setting of Zhao
    et al. (EuroS&P 2021): the attacker has seen what the target answered for the
    victims' complete records (K6). An attack model is fitted on public records, from their known
    attributes, true label and the answer they get to the attribute, and applied to the victims.
    Theirs is a neural network; here the best of a forest, a linear model and boosted trees
    by cross-validated AUC, the imputer's learners, so that imputation is this attack without the
    answer.

    The answer for the complete record is more than the other attacks know: it tells the value of
    whoever is asked about, member or not, wherever the target uses the attribute (exactly, where
    it is a linear regression). What it gains over imputation is a leak of the question, which
    no training-time defense is meant to stop; compare it with its own gain on non-members.

    A budget for fewer than 50 public records is not spent: so few answers teach less than all
    public records without one, from which the attack then learns.

    At ``labels`` the answer is the predicted class, as it is in the toolbox.

    Attributes:
        access: ``scores`` or ``labels`` (of classes).
        folds: of the cross-validation.
        trees: in the forest, and boosting rounds.
        most: most public records it asks about and learns from; None: all.
    """

    access: Literal["scores", "labels"] = "scores"
    folds: AtLeastTwo = 3
    trees: Count = 100
    most: AtLeastTwo | None = 5000

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K2", "K3", "K6"})
    paper = (
        "Nicolae et al., arXiv 1807.01069 (Adversarial Robustness Toolbox, black-box attribute "
        "inference); Zhao et al., EuroS&P 2021"
    )

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """Releases whose scores it learns to read as they are answered."""
        names = ("purifier", "reverse_sigmoid", "temperature", "top_k")
        return names if self.access == "scores" else ()

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """Labels exist for classes only."""
        return ("classification", "regression") if self.access == "scores" else ("classification",)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Probability ``[n, n_values]`` of every value; see the base class.

        Raises:
            UserError: the attacker was not told the answers for the victims.
        """
        sensitive, partial = attacked(knowledge)
        card, public, observed = knowledge.card, knowledge.public, knowledge.observed
        require(
            observed is not None and public.s is not None,
            "score_classifier: it needs the answers for the victims' complete records (K6) and "
            "public records with the sensitive attribute.",
        )
        assert observed is not None
        rows = some(len(public), self.most, derive(seed, score_classifier="rows"))
        enough = min(LEAST, len(rows))
        answered = exposure.affords(enough)
        if answered and exposure.left is not None:
            rows = rows[: exposure.left]
        public = public.take(rows.to(public.x.device))
        ours, theirs = known_features(card, public), known_features(card, partial)
        if answered:
            ask = exposure.scores if self.access == "scores" else exposure.labels
            ours = self._with(ours, ask(public.x), card.n_classes)
            theirs = self._with(theirs, observed, card.n_classes)
        learned = Learner(self.folds, self.trees).learn(
            sensitive, ours, public, theirs, derive(seed, score_classifier="models")
        )
        return Reconstruction(
            break_ties(learned.probabilities, seed), {"winner": WINNERS[learned.winner]}
        )

    def _with(self, known: Tensor, answers: Tensor, n_classes: int) -> Tensor:
        """Known attributes ``[n, d]`` with the answers beside them."""
        if self.access == "labels":
            answers = F.one_hot(answers, n_classes)
        return torch.cat([known, torch.nan_to_num(answers.to(known))], 1)
