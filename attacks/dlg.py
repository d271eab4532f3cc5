"""Deep leakage from gradients: dummy records whose gradient is the shared one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.common.federated import Federated, Observed, adaptations, matching, squared
from attacks.common.latent import best_restart, last_fifth
from attacks.common.lbfgs import Minimum, minimise
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.options import Count


@dataclass(frozen=True)
class Dlg(Federated, Attack):
    """DLG (Zhu, Liu, Han, NeurIPS 2019, algorithm 1) and iDLG (Zhao, Mopuri, Bilen 2020).

    Dummy records and dummy labels from a standard normal are moved by L-BFGS until the squared
    distance between their gradient and the shared one vanishes. All clients and restarts run in
    one batch, each with an L-BFGS of its own; a client's restart with the smallest distance is
    kept. The papers use a twice differentiable network (sigmoid); with ReLU the distance is not
    smooth and max pooling hides pixels, which the reconstruction shows.

    The squared distance is relative to the shared update's squared norm, which changes the scale
    of the objective, not its minimisers.

    Attributes:
        access: ``gradients``.
        labels: ``joint``: dummy labels are optimised with the records (DLG); ``inferred``: they
            are read off the head's gradient first (iDLG, there for one record; counted here for
            larger batches).
        steps: evaluations of the gradient, line search included; the papers take 300 iterations
            of L-BFGS with up to 20 inner steps each.
        history: pairs L-BFGS keeps.
        restarts: independent starts per client.
        rounds: rounds of the same clients averaged, against a defense's noise.
        mask: compare only the coordinates that are not zero in the shared update, against pruning.
    """

    access: Literal["gradients"] = "gradients"
    labels: Literal["joint", "inferred"] = "joint"
    steps: Count = 300
    history: Count = 50
    restarts: Count = 1
    rounds: Count = 1
    mask: bool = False

    goal = "gradient_reconstruction"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K2"})
    paper = "Zhu, Liu, Han, NeurIPS 2019, algorithm 1; Zhao, Mopuri, Bilen 2020, arXiv 2001.02610"

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """Pruning, where it matches the survivors; noise, where it averages rounds."""
        return adaptations(self.rounds, self.mask)

    def doubled(self) -> Dlg:
        """Twice the steps."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per victim ``[n, *shape]`` in [0, 1], client by client.

        ``info``: per client the distance, the steps and why it stopped (``tolerance``,
        ``stalled`` or ``steps``) of the chosen restart; ``failed`` records that were not finite
        and are the public mean; the convergence figure.
        """
        observed = Observed.of(exposure, knowledge, device, self.rounds)
        clients, batch = observed.federation.clients, observed.federation.batch_size
        k = observed.n_classes
        rng = generator(seed, device)
        size = self.restarts, clients, batch
        x = torch.randn(*size, *observed.shape, generator=rng, device=device)
        dummy = torch.randn(*size, k, generator=rng, device=device)
        known = observed.labels() if self.labels == "inferred" else None
        target = observed.target
        minima: list[tuple[Minimum, Tensor]] = []
        for part in observed.parts(self.restarts):
            rows = target[part].repeat(self.restarts, 1)
            start = x[:, part].flatten(0, 1)
            width = start[0].numel()
            loss_to = matching(squared, rows, self.mask)
            z = start.flatten(1)
            fixed = None
            if known is None:
                z = torch.cat([z, dummy[:, part].flatten(0, 1).flatten(1)], 1)
            else:
                fixed = F.one_hot(known[part], k).float().repeat(self.restarts, 1, 1)

            objective = _objective(observed, loss_to, width, fixed)
            end = minimise(objective, z, self.steps, self.history, tolerance=1e-14)
            minima.append((end, best_restart(-end.loss, self.restarts)))

        z = torch.cat([end.z[rows] for end, rows in minima])
        labels = known
        if labels is None:
            labels = z[:, width:].view(clients, batch, k).argmax(2)
        records, failed = observed.records(z[:, :width].view(clients, batch, *observed.shape))
        loss, steps, stalled = (
            torch.cat([getattr(end, key)[rows] for end, rows in minima])
            for key in ("loss", "steps", "stalled")
        )
        reasons = [
            "tolerance" if value <= 1e-14 else "stalled" if stuck else "steps"
            for value, stuck in zip(loss.tolist(), stalled.tolist(), strict=True)
        ]
        return Reconstruction(
            records,
            {
                "stop_reasons": reasons,
                "steps": steps.tolist(),
                "distance": loss.tolist(),
                "failed": failed,
                "improvement_last_fifth": last_fifth(minima[0][0].trace),
            },
            labels.flatten(),
        )


def _objective(
    observed: Observed, distance: Callable[[Tensor], Tensor], width: int, fixed: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """The distance of dummy records, and of their labels, to what was shared.

    Args:
        observed: what the clients shared.
        distance: from the dummy records' gradients, ``[rows]``.
        width: numbers of a client's records; its labels' follow them.
        fixed: labels ``[rows, batch_size, n_classes]``; None: they are optimised as well.
    """

    def objective(z: Tensor) -> Tensor:
        batch = observed.federation.batch_size
        images = z[:, :width].view(-1, batch, *observed.shape)
        labels = fixed
        if labels is None:
            labels = z[:, width:].view(-1, batch, observed.n_classes).softmax(2)
        return distance(observed.gradients(images, labels))

    return objective
