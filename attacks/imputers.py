"""What an attacker without the model knows of a sensitive attribute (access A0)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor
from torch.nn.functional import one_hot

from bench.contract import Card, Knowledge, Prior, Split, generator, require
from bench.contract.seeding import seed as derive

WINNERS = ("random_forest", "logistic", "gradient_boosting", "marginal")
"""What the ``winner`` tensor of :class:`Imputer` counts into."""


def known_features(card: Card, split: Split) -> Tensor:
    """What is known of a record: all but the sensitive columns, and the true label one-hot (K3).

    Args:
        card: of a table.
        split: ``n`` records; what their sensitive columns hold is not read.

    Returns:
        float32 ``[n, d - width of the sensitive columns + n_classes]``.
    """
    assert card.sensitive is not None
    start, stop = card.sensitive.columns
    label = one_hot(split.y, card.n_classes).to(split.x)
    return torch.cat([split.x[:, :start], split.x[:, stop:], label], 1)


def macro_auc(truth: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> float:
    """AUC of a column per value, one-vs-rest, averaged; for two values that is the AUC."""
    present = np.unique(truth)
    return float(np.mean([roc_auc_score(truth == v, scores[:, v]) for v in present]))


@dataclass(frozen=True)
class Imputer(Prior):
    """Imputation: the best of three classifiers from the known attributes to the sensitive one.

    The bar every attribute attack must clear (Jayaraman and Evans, CCS 2022, section 3: an attack
    that does not beat imputation has learned nothing from the model). The classifier is chosen by
    cross-validated AUC on the attacker's public records.

    Attributes:
        n_aux: public records the attacker uses, drawn at random; None means all.
        folds: of the cross-validation.
        trees: in the forest, and boosting rounds.
    """

    n_aux: int | None = None
    folds: int = 3
    trees: int = 100

    def __post_init__(self) -> None:
        require(
            self.n_aux is None or self.n_aux >= 2,
            f"imputer: n_aux is {self.n_aux}; allowed: 2 or more public records, or null for all.",
        )
        require(self.folds >= 2, f"imputer: folds is {self.folds}; allowed: 2 or more.")
        require(self.trees >= 1, f"imputer: trees is {self.trees}; allowed: 1 or more.")

    def fit(self, knowledge: Knowledge, seed: int, device: str) -> dict[str, Tensor]:
        """Fit on the public split and impute the victims.

        Args:
            knowledge: ``public`` with ``s``, and ``partial``.
            seed: decides the subsample, the folds and the trees.
            device: unused; scikit-learn runs on the CPU.

        Returns:
            ``probabilities`` float64 ``[n_victims, n_values]``, rows sum to 1;
            ``value_prior`` float64 ``[n_values]``, shares among the public records (add-one);
            ``winner`` int64, index into :data:`WINNERS`;
            ``cv_auc`` float64 ``[3]``, cross-validated AUC of each classifier (NaN where the
            public records hold one value or a value too rare to fold).

        Raises:
            UserError: the data set has no sensitive attribute.
        """
        card, public, partial = knowledge.card, knowledge.public, knowledge.partial
        sensitive = card.sensitive
        require(
            sensitive is not None and public.s is not None and partial is not None,
            f"Data set '{card.name}' declares no sensitive attribute; the imputer needs one. "
            "Choose a data set whose goals name 'attribute'.",
        )
        assert sensitive is not None and public.s is not None and partial is not None
        if self.n_aux is not None:
            rows = torch.randperm(len(public), generator=generator(derive(seed, imputer="rows")))
            public = public.take(rows[: self.n_aux].to(public.x.device))
        assert public.s is not None
        n_values = len(sensitive.values)
        count = torch.bincount(public.s.cpu(), minlength=n_values).double()
        value_prior = (count + 1) / (count + 1).sum()

        x, s = known_features(card, public).cpu().numpy(), public.s.cpu().numpy()
        victims = known_features(card, partial).cpu().numpy()
        winner, auc = 3, np.full(3, np.nan)
        probabilities = value_prior.repeat(len(victims), 1)
        present = np.unique(s)
        if len(present) > 1:
            models = self._models(derive(seed, imputer="models"))
            if int(count[count > 0].min()) >= self.folds:
                fold = StratifiedKFold(self.folds, shuffle=True, random_state=seed)
                codes = np.searchsorted(present, s)
                for i, model in enumerate(models):
                    out = cross_val_predict(model, x, codes, cv=fold, method="predict_proba")
                    auc[i] = macro_auc(codes, out)
                winner = int(auc.argmax())
            else:
                winner = WINNERS.index("logistic")
            guess = clone(models[winner]).fit(x, s).predict_proba(victims)
            probabilities = torch.zeros(len(victims), n_values, dtype=torch.float64)
            probabilities[:, torch.from_numpy(present)] = torch.from_numpy(guess).double()
            # A value that this sample never pairs with such a record is unlikely, not impossible.
            probabilities = (len(s) * probabilities + value_prior) / (len(s) + 1)
        return {
            "probabilities": probabilities,
            "value_prior": value_prior,
            "winner": torch.tensor(winner),
            "cv_auc": torch.from_numpy(auc),
        }

    def _models(self, seed: int) -> tuple[BaseEstimator, ...]:
        return (
            RandomForestClassifier(
                self.trees, min_samples_leaf=3, n_jobs=1, random_state=seed
            ),
            LogisticRegression(C=0.1, max_iter=2000),
            GradientBoostingClassifier(
                n_estimators=self.trees, learning_rate=0.05, max_depth=3, subsample=0.5,
                max_features="sqrt", random_state=seed,
            ),
        )  # fmt: skip
