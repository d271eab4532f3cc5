"""A malicious server fishes single records out of a large batch with the head alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from attacks.common.federated import Federated, Observed, cosine, squared
from attacks.common.head_gate import Gate, Measurement, counts, part
from attacks.common.latent import best_restart, last_fifth
from attacks.common.pixel_descent import descend
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.options import Count, CountOrZero, NonNegative, Positive

_SAME = 1e-3
"""Relative distance below which two records' features are said to be one record's."""
_NUMBERS = 2**25
"""Most numbers of dummy gradients held at once: 128 MiB a copy, and backward keeps a few."""


@dataclass(frozen=True)
class Fishing(Federated, Attack):
    """Wen, Geiping, Fowl, Goldblum, Goldstein, "Fishing for User Data", arXiv 2202.00580.

    The server changes the last layer only. Class fishing: the scores of all classes but one are
    high whatever the record, so that only records of that class reach the layers before the head;
    a class with one record in the batch gives that record's gradient. Feature fishing: the score
    of one class is a steep step of a feature, and only records on one side of the cut reach them.
    From cut to cut, each at the mean of what lies between two others, the difference of two rounds
    is in the end the gradient of a single record, however large the batch. Of every such record the
    features, which are what enters the head, are read exactly as well.

    A single record's gradient is then inverted. Where the first layer is fully connected and has a
    bias, the record is the ratio of their gradients. Elsewhere a dummy record minimises the squared
    distance of its features, one minus the cosine of its gradient (Geiping et al., NeurIPS 2020),
    and total variation, with the descent of ``inverting_gradients``.

    Architecture and all other layers stay as they are, and so it works on convolutions, with any
    activation and without a ReLU, unlike ``imprint`` and ``trap_weights``. Secure aggregation only
    makes the batch larger: the sum over a group is parted like a batch, and all clients are sent
    the same weights. The clients also take part in one honest round first, which shows what they
    share.

    It takes a round for each class in the batches, and for feature fishing two more and one for
    each further cut: fewer cuts than there are records. The counts that tell a single record must
    be exact: quantisation and pruning hide them, for the head's gradients are small beside the
    others, and so does noise after clipping. Noise without clipping has to be averaged out of the
    counts only (``repeats``); the gain lifts all other layers above it. Random layers such as
    dropout move records from bin to bin. Of layers that are fixed only the features are left. The
    first of several local steps moves all layers far: there the attack says so and returns the
    public mean.

    Written from the paper's abstract and the authors' code, not from its text. There a user has one
    class where features are fished; that differences of cuts do not depend on labels is our
    observation. So are the random mixture of features, the counts of all classes from one round,
    the features in the objective and the ratio.

    Attributes:
        access: ``malicious_server``.
        measurement: what is cut: ``feature``, the one that spreads most over public records (the
            authors' code has such a choice); ``mixture``, a random one of all features, which
            parts records that share a value.
        gain: slope of the step, in public standard deviations of what is cut; the authors' code has
            1,000 without that scale. Records within a few times its inverse cannot be parted.
        cuts: cuts of feature fishing, two of them at its ends; null: as many as it takes. 0: class
            fishing only.
        repeats: rounds of the same, averaged against noise.
        steps: evaluations of the gradient for each record.
        step_size: of Adam.
        tv: weight of the total variation.
        slopes: weight of the gradient's cosine beside the features.
        restarts: independent starts for each record.
    """

    access: Literal["malicious_server"] = "malicious_server"
    measurement: Measurement = "mixture"
    gain: Positive = 1e5
    cuts: CountOrZero | None = None
    repeats: Count = 1
    steps: Count = 500
    step_size: Positive = 0.1
    tv: NonNegative = 1e-2
    slopes: NonNegative = 0.1
    restarts: Count = 1

    goal = "gradient_reconstruction"
    modalities = frozenset({"image"})
    needs = frozenset({"descent"})
    knowledge = frozenset({"K2"})
    paper = "Wen, Geiping, Fowl, Goldblum, Goldstein, ICML 2022, arXiv 2202.00580"
    adaptive_to = ("secure_aggregation",)

    def doubled(self) -> Fishing:
        """Twice the steps."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image in [0, 1] per victim ``[n, *shape]``, client by client.

        ``info``: ``stop_reason`` is ``solved`` or why there is nothing to solve; ``fished`` single
        records of each client; ``rounds`` that took; ``failed`` the records that are the public
        mean; for single records that are optimised, their mean ``distance`` and the convergence
        figure.
        """
        observed = Observed.of(exposure, knowledge, device)
        reason = _hopeless(observed)
        if reason:
            records, labels = observed.guess(), observed.labels().flatten()
            return Reconstruction(records, {"stop_reason": reason, "failed": len(records)}, labels)
        rng = generator(seed)
        gate = Gate.of(exposure, observed, self.measurement, self.gain, rng)
        single, labels, rounds = self._fished(exposure, observed, gate)
        batch = observed.federation.batch_size
        fished = [len(one) for one in single]
        info: dict[str, Any] = {"stop_reason": "solved", "fished": fished, "rounds": rounds}
        x = observed.public.new_full((len(single), batch, *observed.shape), torch.nan)
        if sum(fished):
            images, found = self._inverted(observed, gate, torch.cat(single), rng)
            info |= found
            for client, part_ in enumerate(torch.split(images, fished)):
                x[client, : len(part_)] = part_
        records, info["failed"] = observed.records(x)
        return Reconstruction(records, info, labels.flatten())

    def _fished(
        self, exposure: Exposure, observed: Observed, gate: Gate
    ) -> tuple[list[Tensor], Tensor, int]:
        """Single records of every client ``[found, P]``, labels ``[clients, batch]``, rounds."""
        batch = observed.federation.batch_size
        closed, bias = gate.read(exposure, 0, gate.high, self.repeats)
        number = counts(bias, 0, batch)
        present = (number.amax(0) > 0).nonzero().flatten().tolist()
        rounds = 1 + len(present) - (0 in present)
        catches = {0: closed} | {
            c: gate.read(exposure, c, gate.high, self.repeats)[0] for c in present if c
        }
        cut: list[Tensor] = [closed[:0]] * len(closed)
        if self.cuts != 0 and bool((number > 1).any()):
            most = self.cuts or observed.federation.records + 1
            cut, used = part(gate, exposure, most, self.repeats)
            rounds += used
        single, labels = [], []
        for client, held in enumerate(number):
            sums = {c: -catches[c][client] for c in present if held[c]}
            caught, named = _named(gate, sums, held, cut[client])
            left = F.one_hot(torch.tensor(named, dtype=torch.int64), len(held)).sum(0)
            rest = (held.cpu() - left).clamp_min(0).long()
            named += torch.arange(len(held)).repeat_interleave(rest).tolist()
            single.append(caught[:batch])
            labels.append(named[:batch])
        # Where a defense hides how many records each class has, the honest round must do.
        counted = all(len(one) == batch for one in labels)
        known = torch.tensor(labels, device=closed.device) if counted else observed.labels()
        return single, known, rounds * self.repeats

    def _inverted(
        self, observed: Observed, gate: Gate, single: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, Any]]:
        """Images ``[n, *shape]`` of single records ``[n, P]``, and what the search reports."""
        layer, _, _ = observed.first_linear()
        if layer:
            ratio = _ratio(observed, gate, single, layer)
            return ratio.view(-1, *observed.shape), {}
        width = len(gate.direction) + 1
        size = max(1, _NUMBERS // (single.shape[1] * self.restarts))
        images, distances, traces = [], [], []
        for target in torch.split(single, size):
            shared = target.repeat(self.restarts, 1)
            start = torch.randn(len(shared), 1, *observed.shape, generator=rng).to(target)

            def apart(x: Tensor, shared: Tensor = shared) -> Tensor:
                dummy = gate.slopes(x)
                entering = squared(dummy[:, -width:-1], shared[:, -width:-1])
                return entering + self.slopes * cosine(dummy[:, :-width], shared[:, :-width])

            found = descend(start, apart, self.steps, self.step_size, self.tv, signed=True)
            rows = best_restart(-found.loss, self.restarts)
            images.append(found.images[rows, 0])
            distances.append(found.distance[rows])
            traces.append(found.trace)
        return torch.cat(images), {
            "distance": torch.cat(distances).tolist(),
            "improvement_last_fifth": last_fifth(torch.stack(traces).mean(0)),
        }


def _hopeless(observed: Observed) -> str:
    """Why there is nothing to fish; "" if there is."""
    if "head.weight" not in observed.update or "head.bias" not in observed.update:
        return "the head shares no weight or no bias"
    if observed.federation.local_steps > 1:
        return "the first of several local steps moves all layers far"
    return ""


def _named(
    gate: Gate, sums: dict[int, Tensor], held: Tensor, cut: Tensor
) -> tuple[Tensor, list[int]]:
    """Single records of one client ``[n, P]``, and their classes.

    Args:
        gate: what was sent.
        sums: of each class's records, ``[P]``.
        held: number of each class's records ``[n_classes]``.
        cut: single records from feature fishing ``[n, P]``; those that are a class's only record
            are known already, and the others belong to a class that still lacks one.
    """
    alone = [c for c in sums if held[c] == 1]
    caught = [sums[c] for c in alone]
    if len(cut) == 0:
        return (torch.stack(caught) if caught else cut), alone
    features = gate.features(cut)
    lone = torch.ones(len(cut), dtype=torch.bool, device=cut.device)
    if caught:
        known = gate.features(torch.stack(caught))
        apart = (features.unsqueeze(1) - known).norm(dim=2).amin(1)
        lone = apart > _SAME * features.norm(dim=1)
    cut, features = cut[lone], features[lone]
    slots = [c for c in sums for _ in range(int(held[c])) if held[c] > 1]
    named = [-1] * len(cut)
    if slots:
        means = gate.features(torch.stack([sums[c] for c in slots]))
        apart = torch.cdist(features, means).nan_to_num(1e30).clamp_max(1e30)
        rows, columns = linear_sum_assignment(apart.cpu().numpy())
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            named[row] = slots[column]
    kept = [row for row, c in enumerate(named) if c >= 0]
    return torch.stack([*caught, *cut[kept]]) if caught or kept else cut[:0], [
        *alone,
        *(named[row] for row in kept),
    ]


def _ratio(observed: Observed, gate: Gate, single: Tensor, layer: str) -> Tensor:
    """Inputs ``[n, d]`` of the first layer: its weight gradient over its bias gradient."""
    if layer == "head":
        return gate.features(single)
    place, parts = 0, {}
    for name, weight in observed.weights.items():
        if not name.startswith("head."):
            parts[name] = single[:, place : place + weight.numel()].view(-1, *weight.shape)
            place += weight.numel()
    dw, db = parts[f"{layer}.weight"], parts[f"{layer}.bias"]
    # The least-squares fit over neurons; where all are dead it is not finite.
    return torch.einsum("nj,njd->nd", db, dw) / db.square().sum(1, keepdim=True)
