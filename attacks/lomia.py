"""Label-only model inversion attribute inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from attacks.common.candidates import ask_labels, break_ties, cases, plan
from attacks.common.draws import some
from attacks.common.learners import known_features
from bench.contract import Attack, Exposure, Knowledge, Reconstruction
from bench.contract.options import Count


@dataclass(frozen=True)
class LOMIA(Attack):
    """LOMIA: learn the sensitive attribute from the victims the target gives away by its labels.

    Mehnaz et al. (USENIX Security 2022, section 4.2): the victims for whom exactly one value makes
    the target predict the true label (case 1) get that value; an attack model fitted on them,
    from the known attributes and the true label to the value, is applied to every victim, also to
    those whom a budget does not allow to ask about. Like theirs it is an ensemble of trees. No
    auxiliary data is used.

    Attributes:
        access: ``labels``.
        trees: of the attack model, a random forest.
        most: most given-away victims it is fitted on; None: all. The paper sets no limit.
    """

    access: Literal["labels"] = "labels"
    trees: Count = 100
    most: Count | None = 5000

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K3"})
    paper = "Mehnaz et al., USENIX Security 2022, section 4.2"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Probability ``[n, n_values]`` of every value; see the base class.

        Where no victim is in case 1 the attack knows nothing: every value is equally likely.
        """
        asked = plan(exposure, knowledge, seed)
        right = (ask_labels(exposure, asked) == asked.partial.y.unsqueeze(1)).cpu()
        given_away = right.sum(1) == 1
        shape = len(asked.everyone), right.shape[1]
        values = torch.full(shape, 1.0 / shape[1], dtype=torch.float64)
        if bool(given_away.any()):
            x = known_features(knowledge.card, asked.everyone).cpu()
            rows = given_away.nonzero().squeeze(1)
            rows = rows[some(len(rows), self.most, seed)]
            present, codes = torch.unique(right[rows].int().argmax(1), return_inverse=True)
            known = x[asked.rows.cpu()[rows]]
            learned = torch.zeros_like(values)
            learned[:, present] = forest(known, codes, x, self.trees, seed % 2**32)
            # Add-one over the trees: a value no leaf has seen is unlikely, not impossible.
            values = (self.trees * learned + values) / (self.trees + 1)
        return Reconstruction(break_ties(values, seed), cases(right))


def forest(x: Tensor, codes: Tensor, apply: Tensor, trees: int, seed: int) -> Tensor:
    """What scikit-learn's random forest of fully grown trees says, to the last digit.

    Tree by tree, without the checks that the forest makes for each of them: on a few hundred
    records they take longer than the growing.

    Args:
        x: features float32 ``[n, d]``, finite.
        codes: classes int64 ``[n]``, each of 0, 1, ... at least once.
        apply: features float32 ``[m, d]``, finite.
        trees: how many.
        seed: below 2^32; decides the draws and the splits.

    Returns:
        Probabilities float64 ``[m, n_classes]``.
    """
    import sklearn
    from sklearn.tree import DecisionTreeClassifier

    known, wanted, n = x.numpy(), apply.numpy(), len(x)
    y = codes.double().numpy()
    total = np.zeros((len(wanted), int(codes.max()) + 1))
    with sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
        for state in np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=trees):
            drawn = np.random.RandomState(state).randint(0, n, n)
            weights = np.bincount(drawn, minlength=n).astype(np.float64)
            tree = DecisionTreeClassifier(max_features="sqrt", random_state=int(state))
            tree.fit(known, y, weights, check_input=False)
            total += tree.predict_proba(wanted, check_input=False)
    return torch.from_numpy(total / trees)
