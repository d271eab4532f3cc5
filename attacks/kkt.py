"""Training records from the optimality conditions that trained weights satisfy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.draws import dealt
from attacks.common.latent import last_fifth, require_classes
from attacks.common.networks import inside
from attacks.common.relaxation import prior_of, relax, unrelax
from bench.contract import (
    Attack,
    DivergedError,
    Exposure,
    Knowledge,
    Reconstruction,
    generator,
    require,
)
from bench.contract.columns import Layout
from bench.contract.options import Count, Fraction, NonNegative, Positive


@dataclass(frozen=True)
class KKT(Attack):
    """Records whose weighted gradients add up to the weights of the network.

    A network that gradient descent has fitted well moves towards a point that satisfies the
    conditions of Karush, Kuhn and Tucker of a maximum-margin problem: its parameters are
    ``sum_i lambda_i grad margin(x_i)``, a sum over training records with ``lambda_i >= 0``. Haim,
    Vardi, Yehudai, Shamir and Irani (NeurIPS 2022) look for records and lambdas by gradient descent
    on the squared distance of the two sides. Buzaglo et al. (NeurIPS 2023) take as the margin the
    logit of the record's class minus the next largest, and observe that weight decay makes
    reconstruction easier: where it ends, the parameters are a sum of that form exactly, with the
    gradient of the loss in the place of the margin's. Of both papers the abstracts and the authors'
    published code were read, of the second also the introduction.

    What is theirs: the objective, the margin, candidates in equal numbers for every class, more
    candidates than records, and a rectifier whose derivative is a sigmoid, so that candidates also
    feel which neurons they switch on. What is ours:

    - Candidates are relaxed rows of a table or of a basket and start from public records. Theirs
      are pictures that start from noise.
    - A log prior of the public marginals is added, weighted by the share of the weights that the
      candidates explain; ``prior_weight`` 0 is without.
    - A lambda is the exponential of a free number. Theirs are held above a least value by a
      penalty, so that no candidate dies out. Here candidates may die out, and only the share
      ``kept`` with the greatest lambdas is returned. So nothing that is known of the training set
      chooses what is returned.
    - Adam takes the place of descent with momentum.

    Layers that ``freezing`` fixed never met a private record. They are left out of the sum, and
    candidates pass through them (K4). This is the idea of Oz et al. (2024, abstract and summaries
    read), who attack a head on a public network. They rebuild what enters the head, and then invert
    the public network; here the record itself is searched for.

    Where it works: few members for each class and many steps, as in the papers, where training in
    full batches from a small initialisation brings the loss near 0. Adult with 40 members, 2,000
    full batches of descent: ``nearer_member`` was .84 (mean of 8 seeds, standard deviation .10)
    undefended, .82 with weight decay .001, .75 with ``freezing``, and .52 for public records. The
    initial weights of such a network are no sum of gradients; being random, they disturb little.

    Where it does not: with many members the condition has many solutions. Returned records then
    lean towards members, but none of them is one: .65 with 400 members (2 seeds), and .84 and .89
    on Location-30 with 501 members and the usual recipe, at a distance of .17 to the nearest member
    and .18 to the nearest held-out record. 60 epochs of Adam over 40 members of Adult gave .64
    (3 seeds). On Location-30 ``freezing`` of the one hidden block, which leaves only the head to
    read, left .56 and .61. An untrained network gives .48 (6 seeds).

    Attributes:
        access: ``weights``.
        candidates: records per class that are searched for.
        kept: share of all candidates that is returned, those with the greatest lambdas.
        form: ``margin``: the gradient of the margin to the next class; ``loss``: that of the
            cross-entropy, up to its size.
        steps: of Adam.
        step_size: of Adam; it falls to 0 by a half cosine.
        sharpness: slope of the sigmoid that is the rectifier's derivative.
        sure: probability of each value of the public records that candidates start from.
        prior_weight: weight of the log prior, a mean over columns; 0: none.
    """

    access: Literal["weights"] = "weights"
    candidates: Count = 32
    kept: Annotated[float, Gt(0), Le(1)] = 0.25
    form: Literal["margin", "loss"] = "margin"
    steps: Count = 600
    step_size: Positive = 0.05
    sharpness: Positive = 20.0
    sure: Fraction = 0.95
    prior_weight: NonNegative = 0.1

    goal = "training_instance"
    modalities = frozenset({"table", "basket"})
    needs = frozenset({"descent"})
    adaptive_to = ("freezing",)
    knowledge = frozenset({"K2", "K4"})
    paper = (
        "Haim et al., NeurIPS 2022 (arXiv 2206.07758); Buzaglo et al., NeurIPS 2023 "
        "(arXiv 2307.01827); after them for tables and baskets"
    )

    def doubled(self) -> KKT:
        """Twice the steps."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Valid records ``[kept * classes * candidates, d]``, the greatest lambda first.

        ``info``: why it stopped, the convergence figure, and the share of the squared weights that
        the sum leaves unexplained (``residual``).

        Raises:
            UserError: a defense has frozen all parameters.
            DivergedError: the search produced NaN or Inf.
        """
        classes = require_classes(knowledge, device).repeat_interleave(self.candidates)
        public = knowledge.public.x.to(device)
        layout = Layout.of(knowledge.card, public)
        network = exposure.network()
        weights = _trained(network, knowledge.defense)
        size = sum(w.detach().square().sum() for w in weights)
        _smooth(network, self.sharpness)

        def explained(z: Tensor, scale: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            """Relaxed records, and the sum of their gradients, weighted by ``scale``."""
            x = relax(layout, z)
            logits = network(x)
            pull = scale.unsqueeze(1) * self._pull(logits, classes)
            return x, torch.autograd.grad(logits, weights, pull, create_graph=True)

        drawn = dealt(len(public), len(classes), generator(seed))
        start = layout.project(public[drawn.to(device)])
        z = unrelax(layout, start, self.sure).requires_grad_()
        first = _fit(weights, explained(z, torch.ones(len(z), device=device))[1])
        log_scale = torch.full((len(z),), first, device=device).log().requires_grad_()
        prior = prior_of(layout, public)
        optimiser = torch.optim.Adam([z, log_scale], self.step_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        trace = []
        for _ in range(self.steps):
            x, sums = explained(z, log_scale.exp())
            gaps = [
                (w.detach() - total).square().sum() for w, total in zip(weights, sums, strict=True)
            ]
            residual = torch.stack(gaps).sum() / size
            trust = self.prior_weight * (1 - residual.detach()).clamp_min(0)
            loss = len(z) * residual - trust * prior(x).sum()
            z.grad, log_scale.grad = torch.autograd.grad(loss, [z, log_scale])
            optimiser.step()
            schedule.step()
            trace.append(residual.detach())
        if not bool(torch.isfinite(z).all() and torch.isfinite(trace[-1])):
            raise DivergedError(
                f"The search produced NaN or Inf; lower step_size ({self.step_size})."
            )
        most = max(1, round(self.kept * len(z)))
        order = log_scale.detach().argsort(descending=True)[:most]
        records = layout.project(relax(layout, z.detach()[order]))
        info = {
            "stop_reason": "steps",
            "residual": float(trace[-1]),
            "improvement_last_fifth": last_fifth(-torch.stack(trace)),
        }
        return Reconstruction(records, info)

    def _pull(self, logits: Tensor, classes: Tensor) -> Tensor:
        """How the output of each candidate is weighted ``[m, n_classes]``: rows add up to 0."""
        own = F.one_hot(classes, logits.shape[1])
        others = logits.masked_fill(own.bool(), -torch.inf)
        if self.form == "margin":
            return (own - F.one_hot(others.argmax(1), logits.shape[1])).to(logits)
        # The gradient of the cross-entropy is this times the probability of the other classes.
        return own - others.softmax(1)


def _trained(exposed: nn.Module, defense: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """Parameters that private records trained, ready for gradients: all but the frozen blocks'."""
    network = inside(exposed)
    layers = [
        int(layer.get("layers") or 0)
        for layer in defense
        if layer["_target_"] == "defenses.freezing.Freezing"
    ]
    fixed = {
        id(p)
        for block in list(network.blocks)[: max(layers, default=0)]
        for p in block.parameters()
    }
    weights = [p.requires_grad_() for p in network.parameters() if id(p) not in fixed]
    require(bool(weights), "Nothing of the network was trained; attack another target.")
    return list(weights)


def _fit(weights: Sequence[Tensor], sums: Sequence[Tensor]) -> float:
    """The one lambda for all candidates that explains the weights best; above 0."""
    pairs = list(zip(weights, sums, strict=True))
    inner = sum(float((w * total).sum().detach()) for w, total in pairs)
    own = sum(float(total.square().sum().detach()) for total in sums)
    return max(inner / max(own, 1e-12), 1e-3)


def _smooth(module: nn.Module, sharpness: float) -> None:
    """Replace every rectifier by one whose derivative has a derivative."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, _SmoothSlope(sharpness))
        else:
            _smooth(child, sharpness)


class _SmoothSlope(nn.Module):
    """A rectifier with a sigmoid as its derivative."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Rectifier.apply(x, self.sharpness)  # type: ignore[no-untyped-call]
        return out


class _Rectifier(torch.autograd.Function):
    """Haim et al. keep the rectifier's values: only its derivative is made smooth."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sharpness: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.sharpness = sharpness
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * torch.sigmoid(ctx.sharpness * x), None
