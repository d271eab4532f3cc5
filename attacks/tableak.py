"""TabLeak: the records of a table from what a federated client shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from attacks.common.federated import Federated, Observed
from attacks.common.latent import last_fifth
from attacks.common.relaxation import TOLERANCE, relax
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.columns import Layout
from bench.contract.options import Count, Positive


@dataclass(frozen=True)
class TabLeak(Federated, Attack):
    """Vero, Balunovic, Dimitrov, Vechev, ICML 2023 (arXiv 2210.01785), sections 4.1 and 4.2.

    Categories are relaxed to the softmax of free parameters, numbers to a sigmoid between their
    bounds, so that every step is at a legal record. From uniform starts in [-1, 1], Adam on the
    sign of the gradient minimises one minus the cosine to the shared update. An ensemble of
    independent starts is pooled: each member's records are matched to those of the member with
    the lowest loss (Hungarian, on the share of columns that differ), every column takes the
    median over the ensemble, and categories their largest value. How much the ensemble disagrees
    tells the attacker how good the result is (section 4.3).

    Published settings: 30 starts, 1,500 steps, step size 0.06, temperature 1, ``median`` pooling;
    the labels known, or restored first, as is done here: they are read off the head's gradient.
    The bounds are those of the public records. Several local steps are simulated (section 5).
    The option files take fewer starts and steps than the paper.

    Attributes:
        access: ``gradients``.
        distance: ``cosine`` (the paper's); ``squared``; ``sign``: share of the dummy gradient
            whose sign is contradicted, against one-bit quantisation.
        steps: evaluations of the gradient.
        step_size: of Adam.
        signed: whether Adam sees the gradient's sign only.
        restarts: members of the ensemble.
        pooling: of categories: ``median`` or ``mean`` of their softmax; numbers take the median.
        temperature: of the softmax at the first step.
        cooling: factor on the temperature per step, at most 1, down to a hundredth.
        rounds: rounds of the same clients averaged, against a defense's noise.
        mask: compare only the coordinates that are not zero in the shared update, against pruning.
    """

    access: Literal["gradients"] = "gradients"
    distance: Literal["cosine", "squared", "sign"] = "cosine"
    steps: Count = 1500
    step_size: Positive = 0.06
    signed: bool = True
    restarts: Count = 30
    pooling: Literal["median", "mean"] = "median"
    temperature: Positive = 1.0
    cooling: Annotated[float, Gt(0), Le(1)] = 1.0
    rounds: Count = 1
    mask: bool = False

    goal = "gradient_reconstruction"
    modalities = frozenset({"table"})
    needs = frozenset({"descent"})
    knowledge = frozenset({"K2"})
    paper = "Vero, Balunovic, Dimitrov, Vechev, ICML 2023, sections 4.1 and 4.2"

    def doubled(self) -> TabLeak:
        """Twice the steps."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One valid record per victim ``[n, d]``, client by client.

        ``info``: per client the matching distance of the ensemble's best member and the
        ensemble's entropy per category, 0 (all agree) to 1; ``failed`` records whose update was
        not finite and that are the public mean; the convergence figure.
        """
        observed = Observed.of(exposure, knowledge, device, self.rounds)
        layout = Layout.of(knowledge.card, observed.public)
        labels = observed.labels()
        size = self.restarts, observed.federation.clients, observed.federation.batch_size
        rng = generator(seed, device)
        start = 2 * torch.rand(*size, layout.width, generator=rng, device=device) - 1
        target, hot = observed.target, F.one_hot(labels, observed.n_classes).float()
        pooled, distances, entropies, traces = [], [], [], []
        for part in observed.parts(self.restarts):
            labels_of_part = hot[part].repeat(self.restarts, 1, 1)
            dummies = start[:, part].flatten(0, 1)
            apart = observed.distance(self.distance, self.mask, part, labels_of_part)
            x, distance, trace = self._search(layout, dummies, apart)
            x = x.view(self.restarts, len(part), *x.shape[1:])
            distance = distance.view(self.restarts, len(part)).nan_to_num(torch.inf)
            x = _aligned(layout, x, distance)
            entropies.append(_entropy(layout, x))
            pooled.append(self._pool(layout, x))
            distances.append(distance.amin(0))
            traces.append(trace)
        x = torch.cat(pooled)
        lost = ~torch.isfinite(target).all(1)
        x[lost] = torch.nan
        records, failed = observed.records(x, layout)
        return Reconstruction(
            records,
            {
                "stop_reason": "steps",
                "steps": self.steps,
                "distance": torch.cat(distances).nan_to_num(posinf=1.0).tolist(),
                "entropy": torch.cat(entropies).tolist(),
                "failed": failed,
                "improvement_last_fifth": last_fifth(torch.stack(traces).mean(0)),
            },
            labels.flatten(),
        )

    def _search(
        self, layout: Layout, start: Tensor, apart: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Relaxed records of every row, their distances, and the trace of the mean distance."""
        z = start.clone().requires_grad_()
        # Rows are independent under Adam: it works coordinate by coordinate.
        optimizer = torch.optim.Adam([z], lr=self.step_size, fused=True)
        trace = []

        def temperature(step: int) -> float:
            return self.temperature * max(self.cooling**step, 0.01)

        for step in range(self.steps):
            x = relax(layout, z, temperature(step))
            distance = apart(x)
            (slope,) = torch.autograd.grad(distance.sum(), z)
            slope = slope.nan_to_num(0.0)
            z.grad = slope.sign() if self.signed else slope
            optimizer.step()
            trace.append(distance.detach().nan_to_num(1.0).mean())
        x = relax(layout, z.detach(), temperature(self.steps - 1))
        with torch.no_grad():
            return x, apart(x), torch.stack(trace)

    def _pool(self, layout: Layout, x: Tensor) -> Tensor:
        """Records ``[clients, batch, d]`` of an aligned ensemble ``[restarts, ...]``."""
        middle = x.median(0).values
        if self.pooling == "mean":
            middle = layout.join(
                layout.grouped(x.mean(0)), x.mean(0)[..., layout.flags], middle[..., layout.numbers]
            )
        return layout.project(middle)


def _aligned(layout: Layout, x: Tensor, distance: Tensor) -> Tensor:
    """Each member's records in the order of the best member's, client by client.

    Args:
        layout: of the records.
        x: ``[restarts, clients, batch, d]``.
        distance: ``[restarts, clients]``.
    """
    restarts, clients, batch, _ = x.shape
    if batch == 1 or restarts == 1:
        return x
    anchor = x[distance.argmin(0), torch.arange(clients, device=x.device)]
    same = layout.right(x.unsqueeze(2), anchor.unsqueeze(2).unsqueeze(0), TOLERANCE)
    cost = -same.double().mean(-1).cpu().numpy()  # [restarts, clients, anchor's, member's]
    order = [[linear_sum_assignment(pair)[1] for pair in member] for member in cost]
    index = torch.tensor([[row.tolist() for row in member] for member in order], device=x.device)
    return x.gather(2, index.unsqueeze(-1).expand_as(x))


def _entropy(layout: Layout, x: Tensor) -> Tensor:
    """Mean entropy ``[clients]`` of the ensemble's categories and flags, relative to uniform."""
    mean = x.mean(0)
    groups, on = layout.grouped(mean), mean[..., layout.flags]
    sizes = torch.isfinite(groups).sum(-1).clamp_min(2)
    of_groups = torch.special.entr(groups.clamp_min(0.0)).sum(-1) / sizes.log()
    flags = (torch.special.entr(on) + torch.special.entr(1 - on)) / torch.log(on.new_tensor(2.0))
    both = torch.cat([of_groups, flags], -1)
    return both.mean((-2, -1)) if both.shape[-1] else both.new_zeros(len(both))
