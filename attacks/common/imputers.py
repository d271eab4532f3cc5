"""What an attacker without the model knows of a sensitive attribute (access A0)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.candidates import attacked, value_shares
from attacks.common.draws import some
from attacks.common.learners import Learner, known_features
from attacks.common.ranges import AtLeastTwo
from bench.contract import Knowledge, Prior
from bench.contract.options import Count
from bench.contract.seeding import seed as derive


@dataclass(frozen=True)
class Imputer(Prior):
    """Imputation: the best of three learners from the known attributes to the sensitive one.

    The bar every attribute attack must clear (Jayaraman and Evans, CCS 2022, section 3: an attack
    that does not beat imputation has learned nothing from the model). The learner is chosen on
    the attacker's public records, by cross-validated AUC; for a number, of which a posterior over
    the grid of candidates is made, by the variance it explains.

    Attributes:
        n_aux: public records the attacker uses, drawn at random; None means all.
        folds: of the cross-validation.
        trees: in the forest, and boosting rounds.
        most: most records it learns from, whatever ``n_aux``: time grows with them, and from
            thousands on the imputer hardly improves. None: no limit.
    """

    knowledge = frozenset({"K2", "K3"})

    n_aux: AtLeastTwo | None = None
    folds: AtLeastTwo = 3
    trees: Count = 100
    most: AtLeastTwo | None = 5000

    def fit(self, knowledge: Knowledge, seed: int, device: str) -> dict[str, Tensor]:
        """Fit on the public split and impute the victims.

        Args:
            knowledge: ``public`` with ``s``, and ``partial``.
            seed: decides the subsample, the folds and the trees.
            device: unused; scikit-learn runs on the CPU.

        Returns:
            ``probabilities`` float64 ``[n_victims, n_values]``, rows sum to 1;
            ``value_prior`` float64 ``[n_values]``, shares among the public records (add-one);
            ``winner`` int64, index into :data:`attacks.common.learners.WINNERS`;
            ``cv`` float64 ``[3]``, cross-validated score of each learner (NaN where the
            public records hold one value or a value too rare to fold).

        Raises:
            UserError: the data set has no sensitive attribute.
        """
        card, public = knowledge.card, knowledge.public
        sensitive, partial = attacked(knowledge)
        sizes = [size for size in (self.n_aux, self.most) if size is not None]
        if sizes and min(sizes) < len(public):
            rows = some(len(public), min(sizes), derive(seed, imputer="rows"))
            public = public.take(rows.to(public.x.device))
        prior = value_shares(card, public).cpu()
        learned = Learner(self.folds, self.trees).learn(
            sensitive,
            known_features(card, public),
            public,
            known_features(card, partial),
            derive(seed, imputer="models"),
        )
        return {
            "probabilities": learned.probabilities,
            "value_prior": prior,
            "winner": torch.tensor(learned.winner),
            "cv": torch.from_numpy(learned.cv),
        }
