"""A deleted record from the change of a linear model's parameters (Bertran et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from attacks.common.networks import inside
from bench.contract import Attack, Exposure, Knowledge, NonNegative, Reconstruction, require


@dataclass(frozen=True)
class HRec(Attack):
    """The deleted record is the Hessian of the training loss times the change of the parameters.

    Of the paper the abstract was read, and what others write of its method and figures, not its
    algorithm; what follows was derived here. Before the deletion the gradient of the penalised loss
    over all records is 0, and after it that over all others. So the gradient of the deleted
    record's loss, at the parameters after, equals the change of the gradient over all records
    between the two models, which the attacker estimates from public records. Their labels cancel::

        G = n / m * sum_i (f_after(x_i) - f_before(x_i)) (x_i, 1) + penalty * (change, 0)

    over m public records, with predictions f (probabilities of classes, or the number). For small
    changes that is the Hessian times the change. Of one linear layer, G is ``a (x, 1)`` for the
    deleted record x, so a can be read off the intercept. All n records in the place of the public
    ones give x exactly; m public ones of d columns leave an error of about ``sqrt(d / m)`` of the
    record's distance from the mean, in the metric of the covariance. A large penalty is known
    exactly, so it helps the attacker. Noise that is drawn anew for each training hides G.

    Attributes:
        access: ``deletions``.
        penalty: ``alpha`` of the owner's training, which is taken to be published. A defense's
            weight decay is read from its options and added.
    """

    access: Literal["deletions"] = "deletions"
    penalty: NonNegative = 1.0

    goal = "deleted_record"
    modalities = frozenset({"table"})
    tasks = ("classification", "regression")
    needs = frozenset({"optimum"})
    knowledge = frozenset({"K2", "K4"})
    paper = "Bertran et al., NeurIPS 2024 (arXiv 2405.20272)"
    adaptive_to = ("weight_decay",)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One record per deletion ``[n, d]``, and of classes its label.

        Raises:
            UserError: the network is more than one linear layer on the record.
        """
        classes = knowledge.task == "classification"
        head = inside(exposure.network()).head
        before = torch.cat([head.weight, head.bias[:, None]], 1).detach().double()
        deleted = exposure.deletions()
        require(
            set(deleted) == {"head.weight", "head.bias"}
            and before.shape[1] == knowledge.public.x[0].numel() + 1,
            f"HRec attacks one linear layer on the record; this network has {', '.join(deleted)}.",
        )
        after = torch.cat([deleted["head.weight"], deleted["head.bias"][..., None]], 2).double()
        x = knowledge.public.x.to(device).flatten(1).double()
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        # How many records the owner has is not published: as many as the attacker, say.
        decay = _decay(knowledge.defense) * (1.0 if classes else 0.5)
        weights = torch.ones_like(x[0])
        weights[-1] = 0.0  # the intercept has no penalty
        penalty = (self.penalty / len(x) + decay) * weights

        def answer(network: Tensor) -> Tensor:
            out = x @ network.T
            return out.softmax(1) if classes else out

        grads = torch.stack(
            [
                (answer(now) - answer(before)).T @ x / len(x)
                + penalty * (now - before)
                # Decay is a penalty on the mean loss: the deleted record took its share along.
                - decay / len(x) * weights * now
                for now in after
            ]
        )
        factor = grads[:, :, -1:]  # a; of classes p - 1 < 0 for the record's own alone
        found = (factor * grads[:, :, :-1]).sum(1) / factor.square().sum(1).clamp_min(1e-30)
        labels = factor[:, :, 0].argmin(1) if classes else None
        return Reconstruction(found.float(), labels=labels)


def _decay(defense: Sequence[Mapping[str, Any]]) -> float:
    """Strength of the weight decay among the layers of a defense."""
    named = [layer for layer in defense if str(layer["_target_"]).endswith(".WeightDecay")]
    return float(sum(layer["strength"] for layer in named))
