"""Attribute inference whose trust in the target is learned on shadow models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from attacks.common.candidates import (
    Asked,
    ask_each,
    ask_labels,
    ask_scores,
    break_ties,
    imputed,
    likelihood,
    plan,
    undone,
)
from attacks.common.conditional_logit import Choice, choose
from attacks.common.draws import some
from attacks.common.learners import Learner, known_features
from attacks.common.ranges import AtLeastTwo
from attacks.common.shadows import (
    STRENGTHS,
    Answers,
    Kind,
    imitated,
    member_halves,
    released,
    train,
)
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, ReleaseDefense, Split
from bench.contract.options import Count, NonNegative, Positive
from bench.contract.seeding import seed as derive

FEWEST = 20
"""Public records below which nothing can be learned about an answer."""
MODELS = ((1,), (2,), (1, 2))
"""What may stand beside the imputer: the confidence, the membership signal, or both."""


@dataclass(frozen=True)
class ShadowAttribute(Attack):
    """Imputation plus the target's answers, weighted as shadow models show they deserve.

    The attacker trains shadow models, each on a random half of his public records, as the
    membership attack LiRA does (Carlini et al., S&P 2022). Of a shadow's members he knows the
    sensitive value, so he can see how far its answers about their candidate values help beside an
    imputer. From this he learns the score ``p(v | known, y) * exp(a * c_v + b * g_v)`` of the
    victims, a conditional logit over the candidate values ``v`` with two features:

    - ``c_v``, the logarithm of the smoothed confidence of the true label, as in ``attribute_map``
      (the attack of Jayaraman and Evans, CCS 2022, section 4.1, whose weight is fixed);
    - ``g_v``, the logit of that confidence minus its mean over the shadows that were not trained
      on the record: what the target says beyond what everybody would.

    The weights are not negative. They are penalised, and both are 0 unless cross-validation over
    public records shows that the answers reliably help; then the imputer's posterior is returned
    as it is. The imputer's probabilities of public records are held-out ones, because an imputer is
    too sure of the records it has learned from.

    The attacker does not know the owner's architecture or training recipe. He trains models of
    one kind at several strengths of regularisation, and keeps the strength at which the shadows'
    answers about members come nearest to the target's about the victims: in how far the confidence
    moves from value to value, and in how large it is. Where even there it moves more than twice or
    less than half as far, the second feature is left out; a feature that varies more among the
    victims' values than it did when its weight was learned is scaled down to that.
    This only resembles a defense in training: no step of it, such as the noise of DP-SGD, is
    repeated. A release layer that is not fitted on the owner's records is applied to the shadows'
    answers as well; every other layer is not, and is named in ``info``.

    Only records of victims are asked about.

    Attributes:
        access: ``scores`` or ``labels``.
        shadow: kind of the shadow models: ``mlp``, ``logistic``, ``forest`` or ``boosting``.
        shadows: number of shadow models, at least 4: each record is a member of about half of them.
        smoothing: of the confidence, in the share of an uninformative answer mixed into it.
        ridge: penalty on the squared weights of standardised features.
        trees: of the imputer that is fitted anew for held-out public records.
        most: most public records that are used; None: all.
    """

    access: Literal["scores", "labels"] = "scores"
    shadow: Kind = "mlp"
    shadows: Annotated[int, Ge(4)] = 8
    smoothing: Positive = 0.05
    ridge: NonNegative = 0.001
    trees: Count = 100
    most: AtLeastTwo | None = 2000

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K2", "K3", "K4", "K5"})
    paper = (
        "Carlini et al., S&P 2022 (LiRA: shadow models and the logit); "
        "Jayaraman and Evans, CCS 2022, section 4.1 (imputer times confidence)"
    )

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Posterior ``[n, n_values]`` of every victim's value; see the base class.

        It is the imputer's of whom the budget does not allow to ask about.
        """
        asked, prior = plan(exposure, knowledge, seed), imputed(knowledge)
        n_classes = knowledge.card.n_classes
        if self.access == "scores":
            answers = ask_scores(exposure, knowledge, asked)
        else:
            answers = _one_hot(ask_labels(exposure, asked), n_classes)
        layers, unknown = imitated(knowledge.defense)
        info: dict[str, Any] = {"not_imitated": unknown}
        public = knowledge.public
        rows = some(len(public), self.most, derive(seed, shadow="rows"))
        public = public.take(rows.to(public.x.device))
        if asked.count == 0 or not _enough(public):
            info |= {"weight_confidence": 0.0, "weight_membership": 0.0}
            return Reconstruction(break_ties(prior, seed), info)

        inside = member_halves(len(public), self.shadows, derive(seed, shadow="halves"))
        inside = inside.to(public.x.device)
        everyone = torch.arange(len(public), device=public.x.device)
        known = replace(asked, everyone=public, order=everyone, count=len(public))
        mine = likelihood(answers, asked.partial.y)
        blind = self._held_out(knowledge, public, seed)
        wanted = _manner(mine, prior[asked.rows])
        strength, models, told = self._nearest(
            knowledge, layers, known, inside, blind, wanted, seed
        )
        moves = _manner(told, blind.expand_as(told), inside)[0]
        like = 0.5 <= wanted[0] / max(moves, 1e-12) <= 2.0
        choice, spread = self._learn(public, inside, told, blind, MODELS if like else MODELS[:1])
        info |= {
            "strength": strength,
            "weight_confidence": float(choice.weights[1]),
            "weight_membership": float(choice.weights[2]),
            "held_out_gain": choice.gain,
        }
        if not choice.weights[1:].any():
            return Reconstruction(break_ties(prior, seed), info)
        aside = self._told(knowledge, layers, models, asked, seed)
        added = self._features(mine, self._logit(aside).mean(0))
        # Evidence larger than any that was tried out is held back to the size of that.
        held_back = (spread / _spread(added).clamp_min(1e-12)).clamp_max(1.0)
        weights = torch.from_numpy(choice.weights[1:]).to(added) * held_back
        score = prior[asked.rows].log() + (added * weights).sum(2)
        return Reconstruction(break_ties(asked.whole(torch.softmax(score, 1), prior), seed), info)

    def _nearest(
        self,
        knowledge: Knowledge,
        layers: list[ReleaseDefense],
        known: Asked,
        inside: Tensor,
        blind: Tensor,
        wanted: tuple[float, float],
        seed: int,
    ) -> tuple[float, list[Answers], Tensor]:
        """The strength at which shadows answer most like the target, its shadows, what they say."""
        found: list[tuple[float, list[Answers], Tensor]] = []
        for strength in STRENGTHS[self.shadow]:
            models = train(
                self.shadow,
                strength,
                known.everyone,
                inside,
                knowledge.card.n_classes,
                derive(seed, shadow="models"),
            )
            told = self._told(knowledge, layers, models, known, seed)
            found.append((strength, models, told))

        def distance(one: tuple[float, list[Answers], Tensor]) -> float:
            manner = _manner(one[2], blind.expand_as(one[2]), inside)
            return abs(manner[0] - wanted[0]) + abs(manner[1] - wanted[1])

        return min(found, key=distance)

    def _told(
        self,
        knowledge: Knowledge,
        layers: list[ReleaseDefense],
        models: list[Answers],
        asked: Asked,
        seed: int,
    ) -> Tensor:
        """Confidence of the true label by every shadow behind the release layers.

        Returns:
            float64 ``[shadows, count, n_values]``.
        """

        def behind(model: Answers) -> Answers:
            def ask(x: Tensor) -> Tensor:
                p = released(layers, model(x), x, derive(seed, shadow="release"))
                if self.access == "scores":
                    return undone(p, knowledge.defense)
                return _one_hot(p.argmax(1), p.shape[1])

            return ask

        y = asked.partial.y
        return torch.stack([likelihood(ask_each(behind(m), asked), y) for m in models])

    def _logit(self, p: Tensor) -> Tensor:
        """Logit of a smoothed confidence: a label answers 0 or 1, which has none."""
        least = self.smoothing / 2 if self.access == "labels" else 1e-3
        return torch.logit(p.clamp(least, 1.0 - least))

    def _features(self, p: Tensor, others: Tensor) -> Tensor:
        """``c_v`` and ``g_v``, float64 ``[n, n_values, 2]``.

        Args:
            p: confidences ``[n, n_values]``.
            others: mean logit of the shadows that were not trained on the record.
        """
        both = torch.stack([(p + self.smoothing).log(), self._logit(p) - others], 2)
        # An answer that is the same for every value says nothing, whatever the shadows say.
        return both * (p.amax(1) > p.amin(1)).view(-1, 1, 1)

    def _learn(
        self,
        public: Split,
        inside: Tensor,
        told: Tensor,
        blind: Tensor,
        models: tuple[tuple[int, ...], ...],
    ) -> tuple[Choice, Tensor]:
        """Weights of the features, from every shadow's own members, and the features' spread."""
        logits = self._logit(told)
        held_out = blind.log().to(told)
        features, truth, groups = [], [], []
        assert public.s is not None
        for i, members in enumerate(inside):
            others = ~inside
            others[i] = False
            usable = members & others.any(0)
            count = others.sum(0).clamp_min(1).view(-1, 1)
            mean = (logits * others.to(logits).unsqueeze(2)).sum(0) / count.to(logits)
            added = self._features(told[i], mean)
            features.append(torch.cat([held_out.unsqueeze(2), added], 2)[usable])
            truth.append(public.s[usable])
            groups.append(public.person[usable])
        together = torch.cat(features)
        choice = choose(
            together.cpu().numpy(),
            torch.cat(truth).cpu().numpy(),
            torch.cat(groups).cpu().numpy(),
            models,
            self.ridge,
        )
        return choice, _spread(together[:, :, 1:])

    def _held_out(self, knowledge: Knowledge, public: Split, seed: int) -> Tensor:
        """The imputer's probabilities of public records it was not fitted on, by person."""
        sensitive = knowledge.card.sensitive
        assert sensitive is not None
        x = known_features(knowledge.card, public)
        _, person = torch.unique(public.person.cpu(), return_inverse=True)
        fold = (some(int(person.max()) + 1, None, derive(seed, shadow="folds")) % 3)[person]
        out = x.new_zeros(len(public), len(sensitive.values), dtype=torch.float64)
        for k in range(3):
            rest, apply = (fold != k).nonzero().squeeze(1), (fold == k).nonzero().squeeze(1)
            if len(apply) and len(rest):
                learned = Learner(3, self.trees).learn(
                    sensitive, x[rest], public.take(rest), x[apply], derive(seed, shadow=str(k))
                )
                out[apply] = learned.probabilities.to(out)
        return out.clamp_min(1e-9)


def _enough(public: Split) -> bool:
    """Whether a conditional logit can be learned from these records."""
    return (
        public.s is not None
        and len(torch.unique(public.person)) >= FEWEST
        and len(torch.unique(public.s)) > 1
        and len(torch.unique(public.y)) > 1
    )


def _manner(p: Tensor, prior: Tensor, rows: Tensor | None = None) -> tuple[float, float]:
    """How far the confidence moves from value to value, and how large it is, on average.

    Args:
        p: confidences ``[..., n_values]``.
        prior: the imputer's probabilities, of the same shape.
        rows: which of them count.
    """
    if rows is not None:
        p, prior = p[rows], prior[rows]
    return float((p.amax(-1) - p.amin(-1)).mean()), float((p * prior).sum(-1).mean())


def _spread(features: Tensor) -> Tensor:
    """Standard deviation of each feature among the values of a record, ``[k]``."""
    return (features - features.mean(1, keepdim=True)).square().mean((0, 1)).sqrt()


def _one_hot(labels: Tensor, n_classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, n_classes).double()
