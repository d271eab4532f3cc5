"""The exact records of a batch from the gradient of a fully connected ReLU layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from attacks.common.federated import Federated, Observed
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.columns import Layout
from bench.contract.options import Count, Fraction, Share

_AGREES = 0.98
"""Share of its neurons on which gradient and activation of a recovered record agree, at least."""
_ROUND = 4096
"""Submatrices that are sampled between two looks at the directions they gave."""
_KEPT = 128
"""Directions kept from one round to the next, the sparsest first."""
_NUMBERS = 2**23
"""Most numbers of float64 that one step holds at once: 64 MiB."""
_RANK = 3e-6
"""A singular value below this share of the largest is rounding of float32."""


@dataclass(frozen=True)
class Spear(Federated, Attack):
    """Dimitrov et al., "SPEAR", NeurIPS 2024, arXiv 2403.03945.

    Let the first layer be ``Z = W X + b``, followed by a ReLU. Its weight gradient ``D X^T`` with
    ``D = dL/dZ`` has at most the rank of the batch size, so its singular value decomposition gives
    ``D = L Q`` with an unknown square Q. A neuron that a record does not activate has a zero in
    that record's column of D. If all of ``batch_size - 1`` sampled rows of L belong to such
    neurons of one record, their kernel is a column of Q, and L times it has many zeros. Such
    directions are gathered, the sparsest that are independent form Q, and the bias gradient, which
    is the sum of the columns of D, fixes their scales. Then single directions are exchanged while
    the agreement rises: a record is believed where the neurons it activates are those where its
    column of D is not zero. Sampling stops when all records are believed.

    The number of submatrices that are needed at least doubles with every record of a batch, and
    more than that where the records are alike and activate the same neurons. Several local steps
    on the same records change the scales and few activations, but their rounding costs a client now
    and then.

    The attack needs an exact update and a fully connected first layer that is followed by a ReLU:
    the default of ``model=mlp``, but not ``mlp3000`` (sigmoid), ``softmax`` or a convolution, where
    it says so and returns the public mean. Records that it does not recover are the public mean.

    Written from the paper's abstract and summaries of it, not from its text or code. The test of
    each half of a direction's zeros, its refinement on all of them, and the thresholds are our own.

    Attributes:
        access: ``gradients``.
        samples: most submatrices per client.
        tolerance: share of the root mean square of a direction below which a value is zero.
        sparsity: least share of zeros in a direction that is kept.
    """

    access: Literal["gradients"] = "gradients"
    samples: Count = 200_000
    tolerance: Fraction = 1e-3
    sparsity: Share = 0.05

    goal = "gradient_reconstruction"
    modalities = frozenset({"image", "table"})
    needs = frozenset({"descent"})
    knowledge = frozenset({"K2"})
    paper = "Dimitrov, Baader, Mueller, Vechev, NeurIPS 2024, arXiv 2403.03945"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One record per victim ``[n, *shape]``, client by client: images in [0, 1], valid rows.

        ``info``: ``stop_reason`` is ``solved``, or why not all records are recovered; ``layer`` the
        parameter read; ``failed`` the records that are the public mean; and for each client
        ``recovered`` records, ``score`` (share of neurons on which gradients and activations agree,
        0 without a complete Q), ``sampled`` submatrices and the ``rank`` of the update.
        """
        observed = Observed.of(exposure, knowledge, device)
        table = knowledge.card.modality == "table"
        layout = Layout.of(knowledge.card, observed.public) if table else None
        labels = observed.labels().flatten()
        layer, reason = _relu_layer(observed)
        count = observed.federation.clients, observed.federation.batch_size
        if not layer:
            records = observed.guess(layout)
            return Reconstruction(records, {"stop_reason": reason, "failed": len(records)}, labels)
        weight, bias = observed.update[f"{layer}.weight"], observed.update[f"{layer}.bias"]
        forward = _forward(observed, layer)
        rng = generator(seed)
        found = [
            self._client(torch.cat([dw, db.unsqueeze(1)], 1).double(), forward, count[1], rng)
            for dw, db in zip(weight, bias, strict=True)
        ]
        x = torch.stack([one.x for one in found]).to(observed.public.dtype)
        records, failed = observed.records(x.view(*count, *observed.shape), layout)
        reasons = [one.reason for one in found if one.reason]
        info = {
            "stop_reason": reasons[0] if reasons else "solved",
            "layer": layer,
            "failed": failed,
            "recovered": [one.recovered for one in found],
            "score": [one.score for one in found],
            "sampled": [one.sampled for one in found],
            "rank": [one.rank for one in found],
        }
        return Reconstruction(records, info, labels)

    def _client(self, update: Tensor, forward: Tensor, batch: int, rng: torch.Generator) -> _Client:
        """Records of one client from ``[m, d + 1]``, the weight gradient beside that of the bias.

        The bias is a pixel that is 1 in every record: with it as a last column, the scale of a
        direction is what makes that pixel 1.
        """
        client = _Client(update.new_full((batch, update.shape[1] - 1), torch.nan))
        if not bool(torch.isfinite(update).all()) or not bool(update.any()):
            client.reason = "an update is zero or not finite"
            return client
        left, size, right = torch.linalg.svd(update, full_matrices=False)
        client.rank = int((size > _RANK * size[0]).sum())
        rank = min(client.rank, batch)
        problem = _Problem(
            left[:, :rank], size[:rank, None] * right[:rank], forward, self.tolerance
        )
        pool = update.new_empty(0, rank)
        chosen, agreed = pool, update.new_zeros(rank)
        while client.sampled < self.samples and len(problem.live) >= rank:
            number = min(_ROUND, self.samples - client.sampled) if rank > 1 else 1
            client.sampled += number
            grown = problem.gather(pool, problem.sample(number, rng), self.sparsity)
            if torch.equal(grown, pool):
                continue
            pool = grown
            chosen = problem.basis(pool)
            if len(chosen) == rank:
                chosen, agreed = problem.exchange(chosen, pool)
            if rank == 1 or bool((agreed >= _AGREES).all()):
                break
        if len(chosen) == rank:
            client.score = float(agreed.mean())
            believed = agreed >= _AGREES
            client.recovered = int(believed.sum())
            client.x[:rank][believed] = problem.records(chosen)[believed]
        if client.rank > batch:
            client.reason = "the rank of an update exceeds the batch: it is not exact"
        elif client.recovered < batch:
            client.reason = (
                "the rank of an update is below the batch"
                if client.recovered == rank
                else "samples ran out"
                if rank > 1
                else "activations contradict the gradient"
            )
        if client.recovered == batch:
            client.reason = ""
        return client


@dataclass
class _Client:
    """What is known of one client: records ``[batch, d]``, NaN where they are not recovered."""

    x: Tensor
    recovered: int = 0
    score: float = 0.0
    sampled: int = 0
    rank: int = 0
    reason: str = ""


@dataclass
class _Problem:
    """The update ``L R`` of one client: find directions q of which ``L q`` is sparse.

    Attributes:
        left: L, ``[m, rank]``, orthonormal columns.
        right: R, ``[rank, d + 1]``.
        forward: the layer's weights beside its bias, ``[m, d + 1]``.
        tolerance: of a zero, as an option of the attack.
        live: the rows of L that are not zero, ``[live, rank]``.
        least: a smaller value of L times a unit vector is zero.
        inner: the layer's weights times the rows of R, ``[live, rank]``.
    """

    left: Tensor
    right: Tensor
    forward: Tensor
    tolerance: float
    live: Tensor = field(init=False)
    least: float = field(init=False)
    inner: Tensor = field(init=False)

    def __post_init__(self) -> None:
        # A neuron that no record activates is a row of zeros, which says nothing of a direction.
        rows = self.left.norm(dim=1)
        keep = rows > self.tolerance * rows.square().mean().sqrt()
        self.live = self.left[keep]
        self.least = self.tolerance / len(self.live) ** 0.5
        # Per neuron and coordinate of Q, so that activations need no record of full size.
        self.inner = self.forward[keep] @ self.right.T

    def sample(self, number: int, rng: torch.Generator) -> Tensor:
        """Kernels ``[number, rank]`` of submatrices of ``rank - 1`` random rows of L."""
        rows, rank = self.live.shape
        if rank == 1:
            return self.live.new_ones(number, 1)
        found = []
        for part in torch.split(torch.arange(number), max(1, _NUMBERS // (rows + rank**2))):
            # Drawn on the CPU, so that a seed means the same rows on every device.
            order = torch.rand(len(part), rows, generator=rng).topk(rank - 1).indices
            matrices = self.live[order.to(self.live.device)]
            found.append(torch.linalg.qr(matrices.mT, mode="complete").Q[..., -1])
        return torch.cat(found)

    def near(self, directions: Tensor) -> Tensor:
        """Where L times each of ``[n, rank]`` is zero, ``[n, live]``."""
        near: Tensor = (directions @ self.live.T).abs() < self.least
        return near

    def gather(self, pool: Tensor, sampled: Tensor, sparsity: float) -> Tensor:
        """The pool and the proper directions among those sampled, refined, each once."""
        if self.live.shape[1] == 1:
            return sampled[:1]
        parts = torch.split(sampled, max(1, _NUMBERS // max(self.live.shape)))
        sampled = torch.cat([self._proper(part, sparsity) for part in parts])
        fresh: list[Tensor] = []
        while len(sampled) and len(fresh) < _KEPT:
            best = self._refined(sampled[0])
            known = torch.stack([sampled[0], best])
            apart = ((sampled @ known.T).abs() < 1 - self.tolerance).all(1)
            apart[0] = False
            sampled = sampled[apart]
            fresh.append(best)
        if not fresh:
            return pool
        pool = torch.cat([pool, torch.stack(fresh)])
        share = self.near(pool).double().mean(1)
        pool = pool[share.argsort(descending=True, stable=True)]
        same = (pool @ pool.T).abs() > 1 - self.tolerance
        return pool[~same.tril(-1).any(1)][:_KEPT]

    def _proper(self, directions: Tensor, sparsity: float) -> Tensor:
        """Those with enough zeros, each half of which gives the direction, the sparsest first.

        A sum of columns is zero where all of them are, and on the few sampled rows that singled it
        out: without one of these its zeros have a larger kernel. The same holds of a sum that is
        zero wherever all records are active, which exists where the next layer is narrower than
        the batch and can have more zeros than a column.
        """
        near = self.near(directions).double()
        share = near.mean(1)
        order = share.argsort(descending=True, stable=True)
        order = order[: int((share >= sparsity).sum())]
        directions, near = directions[order], near[order]
        rank = self.live.shape[1]
        outer = (self.live.unsqueeze(2) * self.live.unsqueeze(1)).flatten(1)
        first = torch.arange(len(self.live), device=near.device) % 2
        for half in (first, 1 - first):
            gram = ((near * half) @ outer).view(-1, rank, rank)
            second = torch.linalg.eigvalsh(gram)[:, 1] if len(gram) else near.new_empty(0)
            single = second > (10 * self.tolerance) ** 2
            directions, near = directions[single], near[single]
        return directions

    def _refined(self, direction: Tensor) -> Tensor:
        """The direction that is nearest to zero on all rows where this one is zero.

        A kernel carries the rounding of a few rows, this one that of many.
        """
        rows = self.live[self.near(direction.unsqueeze(0))[0]]
        refined: Tensor = torch.linalg.eigh(rows.T @ rows).eigenvectors[:, 0]
        return refined

    def basis(self, pool: Tensor) -> Tensor:
        """The sparsest independent directions: a sum of columns has fewer zeros than each."""
        chosen: list[int] = []
        spanned = pool.new_empty(0, pool.shape[1])
        for row, direction in enumerate(pool):
            rest = direction - spanned.T @ (spanned @ direction)
            if float(rest.norm()) > 10 * self.tolerance:
                chosen.append(row)
                spanned = torch.linalg.qr(pool[chosen].T).Q.T
            if len(chosen) == pool.shape[1]:
                break
        return pool[chosen]

    def agreement(self, bases: Tensor, active: Tensor) -> Tensor:
        """Share of neurons ``[n, rank]`` where gradient and activation agree.

        Args:
            bases: columns of Q as rows, ``[n, rank, rank]``.
            active: where L times each of them is not zero, bool ``[n, rank, live]``.
        """
        agreed = []
        size = max(1, _NUMBERS // self.inner.numel())
        for part, on in zip(torch.split(bases, size), torch.split(active, size), strict=True):
            inverse, singular = torch.linalg.inv_ex(part.mT)
            scale = inverse @ self.right[:, -1]
            # Of what a neuron receives only the sign is asked for, so no record is scaled.
            z = (inverse * scale.sign().unsqueeze(2)) @ self.inner.T
            share = (on == (z > 0)).sum(2) / on.shape[2]
            share[(singular != 0) | (scale == 0).any(1)] = 0.0
            agreed.append(share.to(bases))
        return torch.cat(agreed)

    def exchange(self, chosen: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
        """Put directions of the pool in the place of others while the agreement rises."""
        active, active_pool = ~self.near(chosen), ~self.near(pool)
        agreed = self.agreement(chosen.unsqueeze(0), active.unsqueeze(0))[0]
        rank = len(chosen)
        places = torch.arange(rank, device=pool.device).repeat(len(pool))
        for _ in range(rank):
            if bool((agreed >= _AGREES).all()):
                break
            trials = _exchanged(chosen, pool, places)
            actives = _exchanged(active, active_pool, places)
            shares = self.agreement(trials, actives)
            best = int(shares.mean(1).argmax())
            if float(shares[best].mean()) <= float(agreed.mean()):
                break
            chosen, active, agreed = trials[best], actives[best], shares[best]
        return chosen, agreed

    def records(self, chosen: Tensor) -> Tensor:
        """The records ``[rank, d]`` of a complete Q; a row without a scale is not finite."""
        scaled = torch.linalg.inv_ex(chosen.T).inverse @ self.right
        records: Tensor = scaled[:, :-1] / scaled[:, -1:]
        return records


def _exchanged(rows: Tensor, others: Tensor, places: Tensor) -> Tensor:
    """``rows`` with each of ``others`` at each of its places, ``[len(places), *rows.shape]``."""
    trials = rows.repeat(len(places), 1, 1)
    trials[torch.arange(len(places), device=rows.device), places] = others.repeat_interleave(
        len(rows), 0
    )
    return trials


def _relu_layer(observed: Observed) -> tuple[str, str]:
    """Name of a shared fully connected first layer with a ReLU, or "" and the reason."""
    name, reason, after = observed.first_linear()
    if name and not isinstance(after, nn.ReLU):
        follows = "nothing" if after is None else type(after).__name__
        return "", f"the first layer is followed by {follows}, not by a ReLU"
    return name, reason


def _forward(observed: Observed, layer: str) -> Tensor:
    """The layer's weights beside its bias ``[m, d + 1]``, in float64."""
    weight, bias = observed.weights[f"{layer}.weight"], observed.weights[f"{layer}.bias"]
    return torch.cat([weight, bias.unsqueeze(1)], 1).double()
