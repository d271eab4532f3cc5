"""White-box attribute inference from the record counts of decision trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from attacks.common.candidates import all_victims, ask_each, break_ties, likelihood, value_prior
from attacks.common.networks import Leaves, inside
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, Sensitive

CELLS = 2**22
"""Records times trees that are followed at once."""


@dataclass(frozen=True)
class TreeCounts(Attack):
    """The white-box estimator with counts of Fredrikson, Jha and Ristenpart.

    CCS 2015, section 4, the estimator they call WBWC: the attacker knows every path of the tree and
    how many training records took it. With ``p_i`` a path's share of them, ``phi_i(v)`` whether a
    record with the value ``v`` can take it, and ``S`` the paths open to what is known of the
    victim,

    ``score(v) = prior(v) * sum_{i in S} p_i phi_i(v) / sum_i p_i phi_i(v)``;

    the sum below runs over all paths. All but the sensitive attribute being known, the sum above
    is the share of the one leaf that the completed record falls into. The prior is the marginal,
    of public records. The estimator does not read the true label; with ``label`` the leaf's share
    is that of its records of the victim's class, ``p_i`` times the target's ``p(y | x_v)``: the
    same estimator of a joint distribution that includes the label.

    Of several trees the score is the mean of their normalised scores; of a tree that was grown on
    a bootstrap sample the different records of the sample are counted.

    Attributes:
        access: ``weights``.
        label: count the records of the victim's class only.
    """

    access: Literal["weights"] = "weights"
    label: bool = False

    goal = "attribute"
    modalities = frozenset({"table"})
    needs = frozenset({"leaves"})
    knowledge = frozenset({"K2", "K3"})
    paper = "Fredrikson, Jha and Ristenpart, CCS 2015, section 4 (white-box with counts)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Posterior ``[n, n_values]`` of every victim's value; see the base class."""
        asked = all_victims(knowledge)
        network = exposure.network()
        leaves = cast(Leaves, inside(network).blocks[0])
        below = reachable(leaves, asked.sensitive)
        prior = value_prior(knowledge)

        def posterior(x: Tensor) -> Tensor:
            """Of records completed with every value, one after the other."""
            share = counts(leaves, x).view(-1, len(prior), below.shape[0])
            each = prior.view(1, -1, 1) * share / below.T
            return (each / each.sum(1, keepdim=True).clamp_min(1e-300)).mean(2).flatten()

        rows = max(1, CELLS // (len(below) * len(prior))) * len(prior)
        with torch.no_grad():
            score = ask_each(
                lambda x: torch.cat([posterior(part) for part in torch.split(x, rows)]), asked
            )
            if self.label:
                scores = ask_each(lambda x: torch.softmax(network(x), 1), asked)
                score = score * likelihood(scores, asked.partial.y)
        score = (score + 1e-12 * prior) / (score + 1e-12 * prior).sum(1, keepdim=True)
        return Reconstruction(
            break_ties(score, seed),
            {"trees": len(below), "leaves": int((leaves.leaf >= 0).sum())},
        )


def reachable(leaves: Leaves, sensitive: Sensitive) -> Tensor:
    """Training records in all leaves that a record of each value can reach.

    Args:
        leaves: the block of a tree model.
        sensitive: the attribute.

    Returns:
        float64 ``[trees, n_values]``, at least 1.
    """
    start, stop = sensitive.columns
    feature, threshold, left, right = (
        getattr(leaves, k) for k in ("feature", "threshold", "left", "right")
    )
    codes = threshold.new_tensor(sensitive.codes).T
    asks = (feature >= start) & (feature < stop)
    # [trees, n_values, nodes]: which way a record goes at a node that asks for the attribute.
    value = codes[(feature - start).clamp(0, stop - start - 1)].movedim(2, 1)
    low = ~asks.unsqueeze(1) | (value <= threshold.unsqueeze(1))
    high = ~asks.unsqueeze(1) | ~(value <= threshold.unsqueeze(1))
    inner = (left >= 0).unsqueeze(1)
    at = torch.zeros_like(low)
    at[:, :, 0] = True
    total = torch.zeros(at.shape[:2], dtype=torch.float64, device=at.device)
    while bool(at.any()):
        total += (at & ~inner).double().mul(leaves.counts.double().unsqueeze(1)).sum(2)
        after = torch.zeros(at.shape, dtype=torch.int8, device=at.device)
        for way, child in ((low, left), (high, right)):
            where = child.clamp_min(0).unsqueeze(1).expand(at.shape)
            after.scatter_add_(2, where, (at & inner & way).to(torch.int8))
        at = after > 0
    return total.clamp_min(1.0)


def counts(leaves: Leaves, x: Tensor) -> Tensor:
    """Training records in the leaf that each record falls into, float64 ``[n, trees]``."""
    trees = torch.arange(len(leaves.feature), device=x.device)
    at = torch.zeros(len(x), len(trees), dtype=torch.long, device=x.device)
    while True:
        left = leaves.left[trees, at]
        inner = left >= 0
        if not bool(inner.any()):
            return leaves.counts[trees, at].double()
        below = x.gather(1, leaves.feature[trees, at].clamp_min(0)) <= leaves.threshold[trees, at]
        at = torch.where(inner, torch.where(below, left, leaves.right[trees, at]), at)
