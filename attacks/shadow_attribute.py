"""Attribute inference whose trust in the target is learned on shadow models."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from attacks.common.candidates import (
    all_victims,
    ask_each,
    ask_labels,
    ask_scores,
    break_ties,
    imputed,
    likelihood,
    plan,
    undone,
)
from attacks.common.completed import Draws, Moments, draw, log_ratio, members, moments
from attacks.common.conditional_logit import Floats, Ints, choose
from attacks.common.draws import some
from attacks.common.learners import auc_of_places, places_of
from attacks.common.ranges import AtLeastTwo
from attacks.common.shadows import STRENGTHS, Kind, imitated, stand_in
from bench.contract import (
    Attack,
    DivergedError,
    Exposure,
    Knowledge,
    Reconstruction,
    Sensitive,
    Split,
    TrainLike,
    UserError,
)
from bench.contract.options import NonNegative, Positive
from bench.contract.seeding import seed as derive

FEWEST = 20
"""Public records, and victims, below which nothing is learned about an answer."""
MODELS = ((1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3))
"""Which of the features may stand beside the imputer together."""
NAMES = ("confidence", "membership", "ratio")
"""What the features are called in ``info``."""
_MODELLED = (
    "adversarial_training",
    "bido",
    "clip_noise",
    "clip_only",
    "distillation",
    "dp_rounded",
    "dp_sgd",
    "dropout",
    "early_stopping",
    "freezing",
    "frozen_top_1",
    "gradient_pruning",
    "k_anonymity",
    "mid",
    "mixup",
    "pate",
    "pruning",
    "regularised",
    "sanitized_finetuning",
    "weight_decay",
)
_MODELLED_BY_LABELS = ("dp_sgd", "dropout", "freezing", "pate", "weight_decay")
"""Defenses in which shadows that are made in the same way tell what the target remembers."""
GROUPS = 20
"""Groups of people of whom one at a time is left out, to see how sure a gain is."""


@dataclass(frozen=True)
class ShadowAttribute(Attack):
    """Imputation plus the target's answers, weighted as shadow models show they deserve.

    The attacker trains shadow models as the online membership attack LiRA does (Carlini et al.,
    S&P 2022). Each is trained on public records and on half of the *victims*, whose partial records
    are completed with values drawn from the imputer. So of every victim there are shadows that were
    trained on him with one value, with another, and not at all, and their answers about all his
    candidate values show what the target's would look like in each case. The score of value ``v``
    is ``p(v | known, y) * exp(a * c_v + b * g_v + d * r_v)`` with

    - ``c_v``, the logarithm of the smoothed confidence of the true label, as in ``attribute_map``
      (the attack of Jayaraman and Evans, CCS 2022, section 4.1, whose weight is fixed);
    - ``g_v``, the logit of that confidence minus its mean over the shadows that were not trained
      on the victim;
    - ``r_v``, the logarithm of the ratio of LiRA: of the density of all his logits where he was
      trained on with ``v``, to that where he was not, both normal. Their means and covariances are
      the victim's own, shrunk towards those of all.

    The weights ``a, b, d`` are learned by letting every shadow be the target in turn, of which the
    values of the members are known: a penalised conditional logit with weights that are not
    negative. They are used only if, for people on whom they were not learned, both the likelihood
    and the metric of the goal (AUC, or the squared error of a number) gain by more than two
    standard errors over people; and the less sure that gain, the smaller they are made. Otherwise
    the imputer's posterior is returned as it is. Because a shadow's values are drawn from the
    imputer, what a model knows of the population gets no weight, only what it remembers.

    With ``shadow=owner`` the shadows are made as the target was: architecture, recipe, number of
    records and the whole defense, training and release (K7). With another kind, or where a defense
    cannot work with the attacker's records, they are models of scikit-learn behind those release
    layers that need no fitting. Of several strengths of regularisation the one is kept
    at which their answers are most like the target's: in how far the confidence moves from value to
    value, and in how large it is. Where it moves more than twice or less than half as far, only
    ``c_v`` is used. A feature that varies more among the target's answers than among a shadow's is
    scaled down to that.

    Who is in which shadow rests on the public records alone, so the shadows of one repeat are the
    same by scores and by labels, and for all defenses with which the target is trained alike.

    Time: the shadows' training is nearly all of it. Of German credit an MLP takes .08 s a shadow,
    with DP-SGD .4 s, on one core. A process that has trained them for one attack has them for the
    next.

    Only records of victims are asked about.

    Attributes:
        access: ``scores`` or ``labels``.
        shadow: ``owner``, or the kind of the stand-ins: ``mlp``, ``logistic``, ``forest`` or
            ``boosting``.
        shadows: number of shadow models, at least 4. With 16 instead of 32 the undefended German
            MLP leaks .37 instead of .40.
        smoothing: of the confidence, in the share of an uninformative answer mixed into it.
        ridge: penalty on the squared weights of standardised features.
        most: most public records that are used; None: all.
    """

    access: Literal["scores", "labels"] = "scores"
    shadow: Kind | Literal["owner"] = "owner"
    shadows: Annotated[int, Ge(4)] = 32
    smoothing: Positive = 0.05
    ridge: NonNegative = 0.001
    most: AtLeastTwo | None = 2000

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K2", "K3", "K4", "K5", "K7"})
    paper = (
        "Carlini et al., S&P 2022 (LiRA, online: shadow models and the ratio of densities); "
        "Jayaraman and Evans, CCS 2022, section 4.1 (imputer times confidence)"
    )

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the owner's own way of training shows to whom it is known (K7)."""
        if self.shadow != "owner":
            return ()
        return _MODELLED if self.access == "scores" else _MODELLED_BY_LABELS

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Posterior ``[n, n_values]`` of every victim's value; see the base class.

        It is the imputer's of whom the budget does not allow to ask about.
        """
        asked, prior = plan(exposure, knowledge, seed), imputed(knowledge)
        if self.access == "scores":
            answers = ask_scores(exposure, knowledge, asked)
        else:
            answers = _one_hot(ask_labels(exposure, asked), knowledge.card.n_classes)
        mine = likelihood(answers, asked.partial.y)
        silent = _silent(mine, exposure.meter.refused > 0, knowledge.card.n_classes)
        common = _common_seed(knowledge.public)
        rows = some(len(knowledge.public), self.most, derive(common, shadow="rows"))
        public = knowledge.public.take(rows.to(knowledge.public.x.device))
        none = {f"weight_{name}": 0.0 for name in NAMES}
        if bool(silent.all()) or not _enough(public, asked.everyone):
            return Reconstruction(break_ties(prior, seed), none)

        known = derive(common, shadow="draws")
        draws = draw(prior, len(public), self.shadows, knowledge.train_size, known)
        wanted = _manner(mine, prior[asked.rows])
        told, info = self._shadows(knowledge, public, draws, wanted, common)
        seen = moments(self._logit(told), draws.values).take(asked.rows)
        added = self._features(mine, seen)
        weights, spread = self._learn(asked.sensitive, told, draws.values, prior, wanted, info)
        if not weights.any():
            return Reconstruction(break_ties(prior, seed), info)
        # Evidence larger than any that was tried out is held back to the size of that.
        held_back = (spread / _spread(added).clamp_min(1e-12)).clamp_max(1.0)
        more = (added * (weights * held_back)).sum(2) * ~silent.unsqueeze(1)
        values = torch.softmax(prior[asked.rows].log() + more, 1)
        return Reconstruction(break_ties(asked.whole(values, prior), seed), info)

    def _shadows(
        self,
        knowledge: Knowledge,
        public: Split,
        draws: Draws,
        wanted: tuple[float, float],
        seed: int,
    ) -> tuple[Tensor, dict[str, Any]]:
        """What the shadows say of all victims, and what kind of shadows they are."""
        if self.shadow == "owner" and knowledge.train_like is not None:
            try:
                told = self._told(knowledge, knowledge.train_like, public, draws, seed)
                return told, {"shadow": "owner", "not_imitated": []}
            except (UserError, DivergedError):
                pass  # The defense cannot work with what the attacker holds.
        kind: Kind = "mlp" if self.shadow == "owner" else self.shadow
        layers, unknown = imitated(knowledge.defense)
        prior = imputed(knowledge)
        found: list[tuple[float, float, Tensor]] = []
        for strength in STRENGTHS[kind]:
            like = stand_in(kind, strength, knowledge.card.n_classes, layers)
            told = self._told(knowledge, like, public, draws, seed)
            manner = _manner(told, prior.expand_as(told))
            distance = abs(manner[0] - wanted[0]) + abs(manner[1] - wanted[1])
            found.append((distance, strength, told))
        _, strength, told = min(found, key=lambda one: one[0])
        return told, {"shadow": kind, "strength": strength, "not_imitated": unknown}

    def _told(
        self, knowledge: Knowledge, like: TrainLike, public: Split, draws: Draws, seed: int
    ) -> Tensor:
        """Confidence of the true label by every shadow, float64 ``[shadows, n, n_values]``."""
        victims, said = all_victims(knowledge), []
        wanted = (
            (
                members(victims.sensitive, victims.everyone, public, values, rows),
                public.take((~rows).to(public.x.device)),
                derive(seed, shadow=f"model {k}"),
            )
            for k, (values, rows) in enumerate(zip(draws.values, draws.public, strict=True))
        )
        for scores, labels in like(wanted):
            if self.access == "scores":
                answers = undone(ask_each(scores, victims), knowledge.defense)
            else:
                answers = _one_hot(ask_each(labels, victims), knowledge.card.n_classes)
            said.append(likelihood(answers, victims.everyone.y))
        return torch.stack(said)

    def _logit(self, p: Tensor) -> Tensor:
        """Logit of a smoothed confidence: a label answers 0 or 1, which has none."""
        least = self.smoothing / 2 if self.access == "labels" else 1e-3
        return torch.logit(p.clamp(least, 1.0 - least))

    def _features(self, p: Tensor, seen: Moments) -> Tensor:
        """``c_v``, ``g_v`` and ``r_v`` of confidences ``[n, n_values]``: ``[n, n_values, 3]``."""
        logits = self._logit(p)
        return torch.stack(
            [(p + self.smoothing).log(), logits - seen.out, log_ratio(logits, seen)], 2
        )

    def _learn(
        self,
        sensitive: Sensitive,
        told: Tensor,
        values: Tensor,
        prior: Tensor,
        wanted: tuple[float, float],
        info: dict[str, Any],
    ) -> tuple[Tensor, Tensor]:
        """Weights of the features from every shadow's own members, and the features' spread.

        What was found is added to ``info``.
        """
        logits, log_prior = self._logit(told), prior.log().unsqueeze(2)
        features, truth, who, spread = [], [], [], []
        for k, own in enumerate(values.to(prior.device)):
            others = torch.arange(len(values)) != k
            added = self._features(told[k], moments(logits[others], values[others]))
            inside = own >= 0
            features.append(torch.cat([log_prior, added], 2)[inside])
            truth.append(own[inside])
            who.append(inside.nonzero().squeeze(1))
            spread.append(_spread(added))
        ratio = wanted[0] / max(_manner(told, prior.expand_as(told))[0], 1e-12)
        s, people = torch.cat(truth).cpu().numpy(), torch.cat(who).cpu().numpy()
        choice = choose(
            torch.cat(features).cpu().numpy(),
            s,
            people,
            MODELS if 0.5 <= ratio <= 2.0 else MODELS[:1],
            self.ridge,
        )
        gain, error = _gain(sensitive, choice.scores, torch.cat(features)[:, :, 0], s, people)
        sure = gain > 2.0 * error
        weights = torch.from_numpy(choice.weights[1:]) * (1 - (error / gain) ** 2 if sure else 0.0)
        info |= {f"weight_{n}": float(w) for n, w in zip(NAMES, weights, strict=True)}
        info |= {"held_out_gain": gain, "held_out_error": error}
        return weights.to(prior.device), torch.stack(spread).mean(0)


def _common_seed(public: Split) -> int:
    """A seed that rests on which records are public: whole numbers, the same on every machine."""
    people = public.person.cpu().numpy().astype("<i8").tobytes()
    return int.from_bytes(hashlib.sha256(people).digest()[:4], "big") >> 1


def _enough(public: Split, victims: Split) -> bool:
    """Whether a conditional logit can be learned from these records."""
    return (
        public.s is not None
        and min(len(torch.unique(public.person)), len(victims)) >= FEWEST
        and len(torch.unique(public.y)) > 1
    )


def _silent(p: Tensor, refused: bool, n_classes: int) -> Tensor:
    """Whose answers say nothing, bool ``[n]``: they are the same for every value, and a refusal.

    Answers that are the same for every value can say something: what a label that does not move
    should have done, shadows know. But not those of a target that always answers so.

    Args:
        p: confidences ``[n, n_values]``.
        refused: whether queries were refused: then any answer that does not move may be one.
        n_classes: of the target; what refuses scores answers them all alike.
    """
    same = p.amax(1) - p.amin(1) < 1e-9
    if refused or bool(same.all()):
        return same
    return same & ((p - 1 / n_classes).abs() < 1e-6).all(1)


def _manner(p: Tensor, prior: Tensor) -> tuple[float, float]:
    """How far the confidence moves from value to value, and how large it is, on average.

    Args:
        p: confidences ``[..., n_values]``.
        prior: the imputer's probabilities, of the same shape.
    """
    return float((p.amax(-1) - p.amin(-1)).mean()), float((p * prior).sum(-1).mean())


def _spread(features: Tensor) -> Tensor:
    """Standard deviation of each feature among the values of a record, ``[k]``."""
    return (features - features.mean(1, keepdim=True)).square().mean((0, 1)).sqrt()


def _gain(
    sensitive: Sensitive, scores: Floats, alone: Tensor, truth: Ints, people: Ints
) -> tuple[float, float]:
    """How much more the metric of the goal is than that of the imputer, and its standard error.

    The error is that of the jackknife over groups of people.

    Args:
        sensitive: the attribute.
        scores: held-out ``[n, n_values]``.
        alone: the imputer's.
        truth: ``[n]``.
        people: whose record each is, ``[n]``.
    """
    from scipy.special import softmax

    guess = np.stack([softmax(scores, 1), softmax(alone.cpu().numpy(), 1)])
    group = np.random.default_rng(0).permutation(people.max() + 1)[people] % GROUPS
    codes = np.array(sensitive.codes)[:, 0]
    places = [] if sensitive.numeric else [places_of(p) for p in guess]

    def more(rows: Ints) -> float:
        if sensitive.numeric:
            off = [np.square(p[rows] @ codes - codes[truth[rows]]).mean() for p in guess]
            return float(1.0 - off[0] / max(off[1], 1e-12))
        if len(np.unique(truth[rows])) < 2:
            return 0.0
        found, blind = (auc_of_places(truth[rows], p[rows]) for p in places)
        return found - blind

    parts = np.array([more(np.flatnonzero(group != g)) for g in range(GROUPS)])
    error = np.sqrt((GROUPS - 1) / GROUPS * np.square(parts - parts.mean()).sum())
    return more(np.arange(len(truth))), float(error)


def _one_hot(labels: Tensor, n_classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, n_classes).double()
