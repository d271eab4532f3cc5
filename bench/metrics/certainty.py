"""How sure is the attacker of each victim, and of whom is it right (PROTOCOL 2.3)?

A mean near chance can hide a few victims whose secret is known for certain. Everything here is
arithmetic on the outcomes of a judge, in NumPy: whoever reads results need not load PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.metrics.roc import Bools, Floats, Ints

if TYPE_CHECKING:
    from torch import Tensor

TOP = (1, 5, 10, 25, 50, 100)
"""Percentages of the victims, most certain first, of whom the precision is told."""
FIFTHS = range(1, 6)
"""Groups of victims by rarity: 1 is the commonest fifth, 5 the rarest."""
PRECISION = tuple(f"precision_top_{percent}pct" for percent in TOP)
SHARE, OTHERS = "certain_share", "certain_share_nonmembers"
BY_RARITY = tuple(
    f"rarity_{what}_{fifth}" for what in ("auc", "precision", "certain") for fifth in FIFTHS
)
FIGURES = (*PRECISION, SHARE, OTHERS, *BY_RARITY)
"""Names of all figures in the ``extra`` of a score."""

WRONG = 0.05
"""Largest share of wrong guesses among victims that count as certain."""
LUCK = 10
"""Who knows nothing must be wrong at least this many times as often about the same value."""
DOUBT = 0.05
"""How likely a share of wrong guesses of twice the bar may still be, by the exact binomial."""
TOLERANCE = 0.319
"""Public standard deviations within which a number is right (TabLeak's tolerance)."""
_NOBODY = -1


@dataclass(frozen=True)
class AtRisk:
    """Victims one by one, in the order of the outcomes.

    Attributes:
        member: whether the target was trained on them, bool ``[n]``.
        confidence: how sure the attacker is of its guess ``[n]``, larger is surer, at least 0. Of a
            category the score of the best-scored value minus that of the next, which lies in
            [0, 1] where scores are probabilities; of a number the probability that the attacker
            itself gives to being right, in [0, 1].
        guess: the value that is named ``[n]``: int64 codes of a category, float64 of a number. It
            is the best-scored one, and for who is ``certain`` the one that is certain.
        right: whether the guess is right, bool ``[n]``.
        certain: whether the victim is among those who count as certain, bool ``[n]``.
        rarity: how unusual the victim is among public records ``[n]``, as :func:`rarity` has it;
            None where the outcomes do not say.
    """

    member: Bools
    confidence: Floats
    guess: npt.NDArray[Any]
    right: Bools
    certain: Bools
    rarity: Floats | None


def victims_at_risk(outcomes: Mapping[str, Tensor | npt.NDArray[Any]]) -> AtRisk | None:
    """Who is at risk, from the outcomes of a score.

    Members and non-members are judged apart: who is certain depends on the others of their side.

    Args:
        outcomes: of :class:`bench.contract.Score`, by name; those of the judge of attributes hold
            ``member``, ``truth``, ``guess`` and ``person`` ``[n]``, and of a category ``score``
            ``[n, n_values]``, of a number ``confidence`` ``[n]`` in [0, 1].

    Returns:
        None where the outcomes do not say how sure the attacker is: other goals rebuild records and
        give no confidence, and neither does an estimate of a number without a distribution.
    """
    told = {name: np.asarray(values) for name, values in outcomes.items()}
    if not {"member", "truth", "guess", "score"} <= told.keys():
        return None
    score, truth, guess = told["score"], told["truth"], told["guess"]
    person = told.get("person", np.arange(len(truth)))
    member = told["member"].astype(bool)
    certain = np.zeros(len(member), dtype=bool)
    sides = [side for side in (member, ~member) if side.any()]
    if score.ndim == 2:
        confidence, guess = margin(score), guess.copy()
        for side in sides:
            value = certain_values(score[side], truth[side], person[side])
            certain[side] = value != _NOBODY
            guess[side] = np.where(value != _NOBODY, value, guess[side])
        right = guess == truth
    elif "confidence" in told:
        confidence, right = told["confidence"], np.abs(guess - truth) <= TOLERANCE
        for side in sides:
            chance = _constant(truth[side])
            certain[side] = longest(confidence[side], right[side], chance, person[side])
    else:
        return None
    return AtRisk(member, confidence, guess, right, certain, told.get("rarity"))


def figures(outcomes: Mapping[str, Tensor | npt.NDArray[Any]]) -> dict[str, float]:
    """What is told of the members of a trial: some of ``FIGURES``, each in [0, 1].

    ``precision_top_1pct`` and so on are of the best-scored values (:func:`precision`).
    ``certain_share`` is the share that counts as certain; ``certain_share_nonmembers`` is that of
    the non-members. ``rarity_certain_1`` to ``rarity_certain_5`` are the shares within the fifths
    by rarity, and for a number ``rarity_precision_*`` the shares of right guesses; a fifth without
    anybody is left out.
    """
    found = victims_at_risk(outcomes)
    if found is None or not found.member.any():
        return {}
    ours = found.member
    guessed = np.asarray(outcomes["guess"])[ours]
    truth = np.asarray(outcomes["truth"])[ours]
    number = np.asarray(outcomes["score"]).ndim == 1
    right = found.right[ours] if number else guessed == truth
    tops = precision(found.confidence[ours], right, [percent / 100 for percent in TOP])
    out = dict(zip(PRECISION, tops, strict=True)) | {SHARE: float(found.certain[ours].mean())}
    if not ours.all():
        out[OTHERS] = float(found.certain[~ours].mean())
    if found.rarity is not None:
        fifths = fifth_of(found.rarity[ours])
        for fifth in FIFTHS:
            inside = fifths == fifth
            if inside.any():
                out[f"rarity_certain_{fifth}"] = float(found.certain[ours][inside].mean())
                if number:
                    out[f"rarity_precision_{fifth}"] = float(right[inside].mean())
    return out


def margin(scores: Floats) -> Floats:
    """How far the best-scored value lies above the next ``[n]``, at least 0, in the attack's unit.

    Args:
        scores: the excess of each value over the mean of the others ``[n, m]``, ``m`` above 1; they
            are ``m / (m - 1)`` times as far apart as the scores that the attack gave.
    """
    m = scores.shape[1]
    best = np.partition(scores, m - 2, axis=1)
    gap: Floats = (best[:, -1] - best[:, -2]) * (m - 1) / m
    return gap


def precision(confidence: Floats, right: Bools, shares: list[float]) -> list[float]:
    """Share of right guesses among the most certain victims, ties at the cut by expectation.

    Args:
        confidence: ``[n]``.
        right: ``[n]``.
        shares: of the victims, in (0, 1]; at least one victim is taken.

    Returns:
        One precision in [0, 1] for each share.
    """
    named, true, _ = _cuts(confidence, right)
    # From nobody to the first cut, too, every one of the tied counts for the same.
    named, true = (np.concatenate([[0], column]) for column in (named, true))
    taken = np.maximum(1.0, np.multiply(shares, len(right)))
    out: list[float] = (np.interp(taken, named, true) / taken).tolist()
    return out


def longest(confidence: Floats, right: Bools, chance: float, person: Ints | None = None) -> Bools:
    """Who counts as certain: the largest group of the most confidently named that passes the bar.

    Of a group at most 5 % may be named wrongly, and at most a tenth of the share that is named
    wrongly where everybody is named the same. That bar cannot be luck: were twice as many wrong,
    so few errors would have a probability of at most 5 % (Clopper and Pearson's one-sided bound).
    Half of the victims are right by chance: 29 must be named without an error, .97 of them: 498.
    Records of one person tell the same twice. So people are counted, each once, and as named
    wrongly where one record is.

    Args:
        confidence: ``[n]``; those who are tied count together or not at all.
        right: ``[n]``.
        chance: share of the victims who are named rightly when all are named the same, in [0, 1].
        person: to whom each victim's record belongs ``[n]``; None: each to another one.

    Returns:
        Bool ``[n]``; nobody where no group passes.
    """
    from scipy.special import betainc  # readers of results do not wait for it

    named, true, least = _cuts(confidence, right, person)
    wrong = min(WRONG, (1 - chance) / LUCK)
    cuts = np.flatnonzero((true > 0) & (named - true <= wrong * named + 1e-9))
    if wrong <= 0 or not len(cuts):
        return np.zeros(len(right), dtype=bool)
    by_luck = betainc(true[cuts], named[cuts] - true[cuts] + 1, 1 - 2 * wrong)
    passing = cuts[by_luck <= DOUBT]
    return confidence >= (least[passing[-1]] if len(passing) else np.inf)


def _cuts(
    confidence: Floats, right: Bools, person: Ints | None = None
) -> tuple[Ints, Ints, Floats]:
    """Where the order of victims ``[n]`` may be cut, the surest first: not among those tied.

    Returns:
        For each cut how many people are above it, how many of them are right in all records above
        it, and the least confidence among them.
    """
    order = np.argsort(-confidence)
    ordered, wrong = confidence[order], ~right[order]
    last: Ints = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    new = np.ones(len(order), dtype=bool)
    if person is not None:
        whose = person[order]
        new, wrong = _first(whose, new), _first(whose, wrong)
    named, false = (np.cumsum(flags, dtype=np.int64)[last] for flags in (new, wrong))
    return named, named - false, ordered[last]


def _first(person: Ints, flags: Bools) -> Bools:
    """The first flag of each person alone, bool ``[n]``."""
    at = np.flatnonzero(flags)
    first = np.zeros(len(flags), dtype=bool)
    first[at[np.unique(person[at], return_index=True)[1]]] = True
    return first


def certain_values(scores: Floats, truth: Ints, person: Ints | None = None) -> Ints:
    """The value that each victim certainly has by the attack ``[n]``, -1 where none is certain.

    Every value is judged by itself, as :func:`longest` says, over all victims in the order of their
    scores for it. So who names the commonest value of everybody is certain of nobody.

    Args:
        scores: the excess of each value over the mean of the others ``[n, m]``.
        truth: ``[n]``, in ``[0, m)``.
        person: as in :func:`longest`.
    """
    held = [truth == value for value in range(scores.shape[1])]
    named = [longest(scores[:, v], has, float(has.mean()), person) for v, has in enumerate(held)]
    sure = np.stack(named, 1)
    best = np.where(sure, scores, -np.inf).argmax(1)
    return np.where(sure.any(1), best, _NOBODY)


def rarity(x: Tensor, public: Tensor, hidden: tuple[int, int] = (0, 0)) -> Tensor:
    """How unusual each record is: its squared distance to the mean public record ``[n]``.

    In public standard deviations of every column, so that a rare value of a category (where the
    distance is the chi-square distance), an extreme number and an unusual picture all count. A
    column that never varies among ``k`` public records has a variance of 1 / k.

    Args:
        x: records ``[n, *shape]``.
        public: public records ``[k, *shape]``.
        hidden: first encoded column that does not count, and the one after the last: the secret.
    """
    x, public = x.flatten(1), public.flatten(1)
    mean = public.mean(0)
    # Not var(): this takes a third of the time, and digits lost to a large mean do not matter here.
    spread = public.square().mean(0) - mean.square()
    weight = 1 / spread.clamp_min(1 / len(public))
    weight[slice(*hidden)] = 0
    return (x - mean).square() @ weight


def fifth_of(rarity: Floats) -> Ints:
    """The fifth of each victim by rarity, 1 to 5 ``[n]``; who is tied is in the same fifth."""
    ordered = np.sort(rarity)
    below = np.searchsorted(ordered, rarity, "left")
    up_to = np.searchsorted(ordered, rarity, "right")
    return 1 + (5 * (below + up_to)) // (2 * len(rarity))


def _constant(truth: Floats) -> float:
    """Share of numbers ``[n]`` that the best single estimate for everybody gets right."""
    ordered = np.sort(truth)
    within = np.searchsorted(ordered, ordered + 2 * TOLERANCE, "right") - np.arange(len(ordered))
    return float(within.max() / len(ordered))
