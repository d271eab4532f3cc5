"""Basket recovery from what a classifier or a recommender answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from torch import Tensor
from torch.nn import functional as F

from attacks.common import item_decoders as decoders
from attacks.common.draws import some
from attacks.common.item_decoders import Encoder, Guess, Pairs, basket_size, mean_f1
from attacks.common.segments import popularity
from bench.contract import (
    Attack,
    Exposure,
    Knowledge,
    Reconstruction,
    Split,
    generator,
    require,
)
from bench.contract.options import Count, Fraction, NonNegative, Positive
from bench.contract.seeding import seed as derive

LEAST = 4
"""Answered baskets that a decoder needs: some are held out to choose it."""
_RELEASED = ("reverse_sigmoid", "rounding", "score_noise", "temperature", "top_k")
_TRAINED = (
    "clip_only",
    "dp_sgd",
    "dropout",
    "early_stopping",
    "freezing",
    "label_smoothing",
    "mid",
    "mixup",
    "weight_decay",
)


@dataclass(frozen=True)
class BasketDecoder(Attack):
    """Decode a basket from its answer, with a decoder trained on the attacker's own baskets.

    Yang, Zhang, Chang and Liang (CCS 2019, sections 3.2 and 4): the deployment is asked about the
    auxiliary records, an inverse network is trained from answers back to records on exactly the
    truncated, rounded, label-only or listed answers that this deployment gives, and is applied to
    the victims' answers. Its loss is binary cross-entropy per item. The queries are ordinary
    baskets, one each.

    A classifier's scores enter as ``max(log p + c, 0)``, with the published label beside them,
    which the label-aware baseline holds too. A recommender's scores enter standardised, and its
    list as which items it shows and how far up. Where a list hides what was bought (Calandrino et
    al., IEEE S&P 2011, infer purchases from such lists over time), the absence of an item that
    such a list would show speaks for it; and where no listed item was ever in a public basket, no
    victim's is guessed.

    Baskets are few and sparse, so ridge regression and popularity are fitted beside the network.
    The decoder with the best F1 on a held-out part of the attacker's own baskets attacks:
    popularity, ridge with one of its penalties, network, or the mean of network and best ridge.

    Attributes:
        access: ``scores`` or ``labels``.
        hidden: units of the network's hidden layer.
        epochs: most passes of the network over the baskets.
        patience: passes without a better validation loss before it stops.
        lr: Adam's learning rate.
        weight_decay: decoupled L2 coefficient of the network.
        ridge: L2 coefficients of the ridge regressions, in records.
        holdout: share of the public baskets that stops the network and chooses the decoder.
    """

    access: Literal["scores", "labels"] = "scores"
    hidden: Count = 128
    epochs: Count = 60
    patience: Count = 4
    lr: Positive = 3e-3
    weight_decay: NonNegative = 1e-2
    ridge: Annotated[tuple[Positive, ...], MinLen(1)] = (1e-4, 0.1, 3.0, 30.0, 100.0)
    holdout: Fraction = 0.25

    goal = "output_reconstruction"
    modalities = frozenset({"basket"})
    tasks = ("classification", "recommendation")
    knowledge = frozenset({"K2", "K6"})
    paper = "Yang, Zhang, Chang, Liang, CCS 2019, sections 3.2 and 4 (arXiv 1902.08552)"

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """Defenses whose answers its decoder learns as they are: labels, lists, changed scores."""
        if self.access == "labels":
            return ("label_only", "top_n")
        return (*_RELEASED, *_TRAINED)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """A score per item ``[n, n_items]``; see the base class.

        A budget that is too small for all public baskets is spent on some of them, drawn by the
        seed; where it is too small to train a decoder, the result is the popularity.

        ``info``: the decoder chosen, each one's F1 on the held-out baskets, the network's epochs,
        and whether listed items were ruled out.
        """
        public, observed = knowledge.public, knowledge.observed
        require(
            observed is not None and len(public) >= LEAST,
            f"basket_decoder: it needs the victims' answers and at least {LEAST} public baskets "
            f"({len(public)} given).",
        )
        assert observed is not None
        asked = public
        if not exposure.affords(len(public)):
            drawn = some(len(public), exposure.left, derive(seed, step="budget"))
            asked = public.take(drawn.to(public.x.device))
        if len(asked) < LEAST:
            z = _labels(knowledge, len(observed)).to(public.x)
            return Reconstruction(_popular(knowledge, public)(z), {"decoder": "popularity"})
        answers = exposure.scores(asked.x) if self.access == "scores" else exposure.labels(asked.x)
        encode, victims = _reader(knowledge, answers, observed)
        ours = Pairs(encode(answers, asked.y), asked.x)

        order = torch.randperm(len(asked), generator=generator(derive(seed, step="holdout")))
        order = order.to(public.x.device)
        cut = max(1, round(self.holdout * len(asked)))
        held, rest = ours.take(order[:cut]), ours.take(order[cut:])
        k = basket_size(public.x)

        def f1(guess: Guess) -> float:
            return mean_f1(guess(held.z), held.x, k)

        net_seed = derive(seed, step="network")
        options = self.hidden, self.epochs, self.patience, self.lr, self.weight_decay
        net, epochs = decoders.network(rest, held, *options, net_seed)
        ridges = decoders.ridges(rest, self.ridge)
        f1_of = {penalty: f1(guess) for penalty, guess in ridges.items()}
        penalty = max(f1_of, key=lambda p: f1_of[p])
        trial = _decoders(_popular(knowledge, asked.take(order[cut:])), ridges[penalty], net)
        quality = {name: f1(guess) for name, guess in trial.items()}
        best = max(quality, key=lambda name: quality[name])

        if best in ("network", "mean"):
            options = self.hidden, epochs, self.patience, self.lr, self.weight_decay
            net, _ = decoders.network(ours, None, *options, net_seed)
        # Popularity costs no query: it is that of all public baskets.
        final = _decoders(_popular(knowledge, public), decoders.ridge(ours, penalty), net)
        values = final[best](victims)
        hidden = _never_bought(answers, asked.x)
        if hidden:
            values = values - (values.max() - values.min() + 1) * _listed(observed, values)
        return Reconstruction(
            values,
            {
                "decoder": best,
                "ridge": penalty,
                "epochs": epochs,
                "holdout_f1": quality,
                "listed_ruled_out": hidden,
            },
        )


def _reader(
    knowledge: Knowledge, answers: Tensor, observed: Tensor
) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """How answers and labels become features, and the victims' features."""
    card = knowledge.card
    if knowledge.task == "recommendation":
        raw: Encoder = (
            decoders.standardised(lambda scores: scores, answers)
            if answers.is_floating_point()
            else decoders.shown(card.shape[0])
        )
        return (lambda answers, _: raw(answers)), raw(observed)

    scores = decoders.probabilities(answers, card.n_classes)

    def encode(answers: Tensor, y: Tensor) -> Tensor:
        z = scores(answers)
        return torch.cat([z, F.one_hot(y, card.n_classes).to(z)], 1)

    return encode, encode(observed, _published(knowledge))


def _published(knowledge: Knowledge) -> Tensor:
    """The victims' published labels, int64 ``[n]``."""
    labels = knowledge.victim_labels
    require(labels is not None, "basket_decoder: it needs the victims' published labels.")
    assert labels is not None
    return labels


def _labels(knowledge: Knowledge, n: int) -> Tensor:
    """What :func:`_popular` reads of ``n`` victims' features: their labels, where there are any."""
    if knowledge.task == "recommendation":
        return torch.zeros(n, 1)
    return F.one_hot(_published(knowledge), knowledge.card.n_classes)


def _popular(knowledge: Knowledge, known: Split) -> Guess:
    """What is popular among known baskets, of a classifier among those of the same label.

    The label is read off the last features.
    """
    if knowledge.task == "recommendation":
        share = known.x.mean(0)
        return lambda z: share.expand(len(z), -1).contiguous()
    n_classes = knowledge.card.n_classes
    table = popularity(known.x, known.y, n_classes)
    return lambda z: table[z[:, -n_classes:].argmax(1)]


def _decoders(popular: Guess, ridge: Guess, network: Guess) -> dict[str, Guess]:
    return {
        "popularity": popular,
        "ridge": ridge,
        "network": network,
        "mean": lambda z: (ridge(z) + network(z)) / 2,
    }


def _listed(lists: Tensor, like: Tensor) -> Tensor:
    """1 where an item stands in its row's list int64 ``[n, k]``, else 0, shaped as ``like``."""
    n_items = like.shape[1]
    return decoders.shown(n_items)(lists)[:, :n_items].to(like)


def _never_bought(answers: Tensor, x: Tensor) -> bool:
    """Whether the answers are lists of which no item was ever in the basket they are about."""
    if answers.is_floating_point() or answers.dim() != 2:
        return False
    return not bool((_listed(answers, x) * x).any())
