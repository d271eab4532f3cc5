"""Basket recovery from what a classifier answered: an inverse network and simpler decoders."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.segments import popularity
from bench.contract import (
    Access,
    Attack,
    Card,
    Exposure,
    Knowledge,
    Reconstruction,
    generator,
    require,
)
from bench.contract.seeding import seed as derive

MAX_SHIFT = 50.0
"""Yang et al.'s c: log scores below -c are cut."""

Guess = Callable[[Tensor, Tensor], Tensor]
"""A fitted decoder: features ``[n, f]`` and labels ``[n]`` to item scores ``[n, n_items]``."""


@dataclass(frozen=True)
class BasketDecoder(Attack):
    """Decode a basket from its answer, with a decoder trained on the attacker's own baskets.

    Yang, Zhang, Chang and Liang (CCS 2019, sections 3.2 and 4): the deployment is asked about the
    auxiliary records, an inverse network is trained from answers back to records on exactly the
    truncated, rounded or label-only answers that this deployment gives, and is applied to the
    victims' answers. Its input is ``max(log p + c, 0)``, its loss binary cross-entropy per item.
    The queries are ordinary baskets, one each.

    Baskets are few and sparse, so ridge regression and the published label's popularity are
    fitted beside the network. The decoder with the best F1 on a held-out part of the attacker's
    own baskets attacks: popularity, ridge, network, or the mean of the last two. Every decoder
    reads the published label, which the label-aware baseline holds too.

    Attributes:
        access: ``scores`` or ``labels``.
        hidden: units of the network's hidden layer.
        epochs: most passes of the network over the baskets.
        patience: passes without a better validation loss before it stops.
        lr: Adam's learning rate.
        weight_decay: decoupled L2 coefficient of the network.
        ridge: L2 coefficient of the ridge regression, in records.
        holdout: share of the public baskets that stops the network and chooses the decoder.
    """

    access: Access = "scores"
    hidden: int = 128
    epochs: int = 60
    patience: int = 4
    lr: float = 3e-3
    weight_decay: float = 1e-2
    ridge: float = 30.0
    holdout: float = 0.25

    goal = "output_reconstruction"
    modalities = frozenset({"basket"})
    accesses = ("scores", "labels")
    knowledge = frozenset({"K2", "K4"})
    paper = "Yang, Zhang, Chang, Liang, CCS 2019, sections 3.2 and 4 (arXiv 1902.08552)"
    adaptive_to = ("rounding", "top_k", "label_only")

    def __post_init__(self) -> None:
        require(
            self.access in self.accesses,
            f"basket_decoder: access is '{self.access}'; allowed: scores, labels.",
        )
        for key in ("hidden", "epochs", "patience"):
            value = getattr(self, key)
            require(value >= 1, f"basket_decoder: {key} is {value}; allowed: 1 or more.")
        for key in ("lr", "ridge"):
            value = getattr(self, key)
            require(value > 0, f"basket_decoder: {key} is {value}; allowed: above 0.")
        require(
            self.weight_decay >= 0,
            f"basket_decoder: weight_decay is {self.weight_decay}; allowed: 0 or more.",
        )
        require(
            0 < self.holdout < 1,
            f"basket_decoder: holdout is {self.holdout}; allowed: between 0 and 1.",
        )

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """A score per item ``[n, n_items]``; see the base class.

        ``info``: the decoder chosen, each one's F1 on the held-out baskets, the network's epochs.
        """
        card, public = knowledge.card, knowledge.public
        observed, labels = knowledge.observed, knowledge.victim_labels
        require(
            observed is not None and labels is not None and len(public) >= 4,
            "basket_decoder: it needs the victims' answers, their published labels and at least "
            f"4 public baskets ({len(public)} given).",
        )
        assert observed is not None and labels is not None
        answers = (
            exposure.scores(public.x) if self.access == "scores" else exposure.labels(public.x)
        )
        encode = _encoder(answers, card.n_classes)
        ours = _Baskets(encode(answers), public.y, public.x, card)

        order = torch.randperm(len(public), generator=generator(derive(seed, step="holdout")))
        cut = max(1, round(self.holdout * len(public)))
        held, rest = ours.take(order[:cut]), ours.take(order[cut:])
        network, epochs = self._network(rest, held, derive(seed, step="network"), self.epochs)
        k = basket_size(public.x)
        trial = _decoders(_popularity(rest), self._ridge(rest), network)
        f1 = {name: mean_f1(guess(held.z, held.y), held.x, k) for name, guess in trial.items()}
        best = max(f1, key=lambda name: f1[name])

        again, _ = self._network(ours, None, derive(seed, step="network"), epochs)
        decoders = _decoders(_popularity(ours), self._ridge(ours), again)
        values = decoders[best](encode(observed), labels)
        return Reconstruction(values, {"decoder": best, "epochs": epochs, "holdout_f1": f1})

    def _ridge(self, ours: _Baskets) -> Guess:
        """Least squares with an L2 penalty from features, label and 1 to every item."""
        one, n_classes = _with_label, ours.card.n_classes
        a = F.pad(one(ours.z, ours.y, n_classes), (0, 1), value=1.0).double()
        penalty = self.ridge * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
        weight = torch.linalg.solve(a.T @ a + penalty, a.T @ ours.x.double()).float()
        return lambda z, y: F.pad(one(z, y, n_classes), (0, 1), value=1.0) @ weight

    def _network(
        self, ours: _Baskets, held: _Baskets | None, seed: int, epochs: int
    ) -> tuple[Guess, int]:
        """The inverse network, and how many passes it was trained.

        With ``held`` it stops at the best validation loss; without, after ``epochs``.
        """
        n_classes = ours.card.n_classes
        a = _with_label(ours.z, ours.y, n_classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hidden = nn.Linear(a.shape[1], self.hidden)
            items = nn.Linear(self.hidden, ours.x.shape[1])
        net = nn.Sequential(hidden, nn.ReLU(), items).to(a.device)
        with torch.no_grad():
            items.bias.copy_(torch.logit(ours.x.mean(0), eps=1e-3))
        adam = torch.optim.AdamW(net.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        order = generator(seed)
        best, best_epoch, weights = math.inf, 0, copy.deepcopy(net.state_dict())
        epoch = 0
        while epoch < epochs and epoch - best_epoch < self.patience:
            epoch += 1
            for rows in torch.randperm(len(a), generator=order).to(a.device).split(128):
                adam.zero_grad(set_to_none=True)
                F.binary_cross_entropy_with_logits(net(a[rows]), ours.x[rows]).backward()
                adam.step()
            if held is None:
                best_epoch = epoch
                continue
            with torch.no_grad():
                logits = net(_with_label(held.z, held.y, n_classes))
                loss = float(F.binary_cross_entropy_with_logits(logits, held.x))
            if loss < best:
                best, best_epoch, weights = loss, epoch, copy.deepcopy(net.state_dict())
        if held is not None:
            net.load_state_dict(weights)

        def guess(z: Tensor, y: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.sigmoid(net(_with_label(z, y, n_classes)))

        return guess, max(1, best_epoch)


@dataclass(frozen=True)
class _Baskets:
    """Features of answers ``z``, published labels ``y`` and the baskets ``x`` they belong to."""

    z: Tensor
    y: Tensor
    x: Tensor
    card: Card

    def take(self, index: Tensor) -> _Baskets:
        index = index.to(self.x.device)
        return _Baskets(self.z[index], self.y[index], self.x[index], self.card)


def _popularity(ours: _Baskets) -> Guess:
    table = popularity(ours.x, ours.y, ours.card.n_classes)
    return lambda z, y: table[y]


def _decoders(popular: Guess, ridge: Guess, network: Guess) -> dict[str, Guess]:
    return {
        "popularity": popular,
        "ridge": ridge,
        "network": network,
        "mean": lambda z, y: (ridge(z, y) + network(z, y)) / 2,
    }


def _with_label(z: Tensor, y: Tensor, n_classes: int) -> Tensor:
    return torch.cat([z, F.one_hot(y, n_classes).to(z)], 1)


def _encoder(answers: Tensor, n_classes: int) -> Callable[[Tensor], Tensor]:
    """Features of answers: one-hot labels, or shifted log scores standardised like ``answers``.

    The shift puts a withheld score (0) one unit of log below the least score ever answered, so
    that it stands apart without drowning the differences among the others.
    """
    if not answers.is_floating_point():
        return lambda labels: F.one_hot(labels, n_classes).float()
    answered = answers[answers > 0]
    shift = MAX_SHIFT if len(answered) == 0 else 1.0 - math.log(float(answered.min()))
    shift = min(MAX_SHIFT, shift)

    def raw(scores: Tensor) -> Tensor:
        return (scores.clamp_min(1e-30).log() + shift).clamp_min(0.0)

    mean, deviation = raw(answers).mean(0), raw(answers).std(0).clamp_min(1e-3)
    return lambda scores: (raw(scores) - mean) / deviation


def basket_size(x: Tensor) -> int:
    """The number of items to guess: the rounded mean size of baskets ``[n, n_items]``."""
    return min(x.shape[1], max(1, round(float(x.sum(1).mean()))))


def mean_f1(scores: Tensor, x: Tensor, k: int) -> float:
    """Mean F1 of the ``k`` best-scored items against baskets ``x``, both ``[n, n_items]``."""
    hits = x.gather(1, scores.topk(k, 1).indices).sum(1)
    return float((2 * hits / (x.sum(1) + k)).mean())
