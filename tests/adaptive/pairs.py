"""The pairs that show adaptivity (PROTOCOL 3.5): a defense, an attack it stops, one it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attacks.analytic_gradient import AnalyticGradient
from attacks.attribute_map import AttributeMap
from attacks.basket_decoder import BasketDecoder
from attacks.class_decoder import ClassDecoder
from attacks.dlg import Dlg
from attacks.fishing import Fishing
from attacks.fjrmia import Fjrmia
from attacks.hrec import HRec
from attacks.imprint import Imprint
from attacks.inverting_gradients import InvertingGradients
from attacks.kkt import KKT
from attacks.latent_evolution import LatentEvolution
from attacks.linear_recommender import LinearRecommender
from attacks.miface import MIFace
from attacks.prior_inversion import PriorInversion
from attacks.score_classifier import ScoreClassifier
from attacks.shadow_attribute import ShadowAttribute
from attacks.student_inversion import StudentInversion
from attacks.trap_weights import TrapWeights
from attacks.yeom import Yeom
from bench.contract import Attack, Defense, Stream
from bench.models.mlp import Mlp
from bench.models.trees import RandomForest
from defenses.adversarial_training import AdversarialTraining
from defenses.bido import Bido
from defenses.clip_noise import ClipNoise
from defenses.confidence_cap import ConfidenceCap
from defenses.distillation import Distillation
from defenses.dp_sgd import DpSgd
from defenses.dropout import Dropout
from defenses.early_stopping import EarlyStopping
from defenses.freezing import Freezing
from defenses.gradient_pruning import GradientPruning
from defenses.gradient_quantisation import GradientQuantisation
from defenses.k_anonymity import KAnonymity
from defenses.label_only import LabelOnly
from defenses.label_smoothing import LabelSmoothing
from defenses.mid import Mid
from defenses.mixup import Mixup
from defenses.pate import Pate
from defenses.probe_audit import ProbeAudit
from defenses.pruning import Pruning
from defenses.purifier import Purifier
from defenses.query_budget import QueryBudget
from defenses.random_erasing import RandomErasing
from defenses.rate_limit import RateLimit
from defenses.regularised import Regularised
from defenses.reverse_sigmoid import ReverseSigmoid
from defenses.rounding import Rounding
from defenses.sanitized_finetuning import SanitizedFinetuning
from defenses.score_noise import ScoreNoise
from defenses.secure_aggregation import SecureAggregation
from defenses.temperature import Temperature
from defenses.top_k import TopK
from defenses.top_n import TopN
from defenses.trap_mid import TrapMid
from defenses.weight_decay import WeightDecay
from tests.adaptive.cases import Baskets, Deleted, Faces, Lists, Secrets, Tampered, Updates
from tests.adaptive.owned import Owned
from tests.adaptive.pair import Case, Pair
from tests.adaptive.photographed import WIDE, Photographed
from tests.adaptive.remembered import Remembered
from tests.adaptive.sold import Sold

# ---------------------------------------------------------------- class representatives
CLIMBER = MIFace(access="scores", alpha=20, step_size=20.0)
CLIMB = PriorInversion(access="scores", samples=100, steps=40, probes=16)
BOUNDARY = PriorInversion(access="labels", samples=200, steps=40, probes=16)
EVOLUTION = LatentEvolution(samples=100, steps=30, population=16)
LABEL_DECODER = ClassDecoder(access="labels", channels=32, epochs=60, lr=5e-3)
STUDENT = StudentInversion(
    access="labels", queries=1500, students=2, width=32, epochs=20, restarts=3, steps=80
)
SCORE_STUDENT = replace(STUDENT, access="scores")

STEEP, GENTLE = Faces(40.0), Faces(5.0)
RELEASES: dict[str, tuple[Any, Faces]] = {
    "confidence_cap": (ConfidenceCap(cap=0.17), STEEP),
    "label_only": (LabelOnly(), STEEP),
    "purifier": (Purifier(fit_steps=300), GENTLE),
    "reverse_sigmoid": (ReverseSigmoid(beta=0.9), STEEP),
    "rounding": (Rounding(decimals=0), STEEP),
    "temperature": (Temperature(temperature=0.02), STEEP),
    "top_k": (TopK(k=1), STEEP),
}


def _faces(attack: Attack, *names: str, **more: Any) -> list[Pair]:
    # A purifier is fitted anew for every seed, which costs more than the attack.
    seeds = {"purifier": (0,)}
    return [
        Pair(name, *_at(name, attack), seeds=seeds.get(name, (0, 1, 2)), **more)
        for name in names or RELEASES
    ]


def _at(name: str, attack: Attack) -> tuple[Defense, Attack, Attack, Case]:
    defense, case = RELEASES[name]
    return defense, CLIMBER, attack, case


FACES = [
    *_faces(BOUNDARY),
    *_faces(CLIMB, "confidence_cap", "purifier", "reverse_sigmoid", "rounding"),
    *_faces(CLIMB, "temperature", "top_k"),
    *_faces(EVOLUTION, "reverse_sigmoid", "top_k"),
    Pair("temperature", Temperature(temperature=0.05), CLIMBER, EVOLUTION, STEEP, low=0.6),
    *_faces(LABEL_DECODER),
    *_faces(STUDENT, "label_only"),
    *_faces(STUDENT, *[name for name in RELEASES if name != "label_only"], slow=True),
    *_faces(SCORE_STUDENT, slow=True),
    # The same attack, asking once and asking often.
    Pair(
        "score_noise",
        ScoreNoise(sigma=1.0, noise="fresh", argmax="charged"),
        PriorInversion(access="scores", samples=60, steps=25, probes=8),
        PriorInversion(access="scores", samples=60, steps=25, probes=8, repeats=64),
        GENTLE,
    ),
]

# ---------------------------------------------------------------- who asks
CROWD = Stream(accounts=10_000, per_account=15)
WATCHED = [
    Pair(name, defense, CLIMBER, CLIMBER, replace(STEEP, stream=CROWD), STEEP, seeds=(0,))
    for name, defense in (
        ("query_budget", QueryBudget(queries=100)),
        ("rate_limit", RateLimit(per_minute=None, per_day=20)),
        ("probe_audit", ProbeAudit(accounts=200, fpr=0.01)),
    )
]

# ---------------------------------------------------------------- attributes
FROM_LABELS = Secrets()
HOT = Secrets((0.9, 0.05, 0.05), (0.05, 0.9, 0.05), imputed=0.2)
ANSWERED = {
    "label_only": LabelOnly(),
    "rounding": Rounding(decimals=0),
    "top_k": TopK(k=1),
}
SECRETS = [
    *(
        Pair(name, defense, Yeom(), attack, FROM_LABELS)
        for name, defense in ANSWERED.items()
        for attack in (AttributeMap("labels"), Fjrmia())
    ),
    Pair("rounding", Rounding(decimals=0), Yeom(), AttributeMap(), FROM_LABELS),
    # The same attack, not told of the temperature and told.
    Pair(
        "temperature",
        Temperature(temperature=5.0),
        AttributeMap(),
        AttributeMap(),
        HOT,
        replace(HOT, told=False),
    ),
    *(
        Pair(
            name,
            defense,
            ScoreClassifier(trees=10),
            ScoreClassifier(trees=10),
            Secrets((0.97, 0.02, 0.01), (0.7, 0.2, 0.1), by_value=True),
            Secrets((0.97, 0.02, 0.01), (0.7, 0.2, 0.1), by_value=True, aware=False),
            seeds=(0,),
        )
        for name, defense in (
            ("purifier", Purifier(fit_steps=300)),
            ("reverse_sigmoid", ReverseSigmoid(beta=0.9)),
            ("temperature", Temperature(temperature=5.0)),
            ("top_k", TopK(k=1)),
        )
    ),
]

# ---------------------------------------------------------------- outputs
DECODER = BasketDecoder(epochs=15)
BASKETS = [
    Pair(
        name,
        defense,
        DECODER,
        DECODER if name != "label_only" else replace(DECODER, access="labels"),
        Baskets(),
        Baskets(aware=False),
        low=0.15,
        high=high,
        seeds=(0,),
    )
    for name, defense, high in (
        ("label_only", LabelOnly(), 0.25),
        ("reverse_sigmoid", ReverseSigmoid(beta=0.9), 0.5),
        ("rounding", Rounding(decimals=0), 0.25),
        ("score_noise", ScoreNoise(sigma=0.1), 0.2),
        ("temperature", Temperature(), 0.8),
        ("top_k", TopK(k=2), 0.6),
    )
] + [
    # Who solves for the basket needs scores; who learns from lists does not.
    Pair(
        "top_n",
        TopN(length=10),
        LinearRecommender(),
        replace(DECODER, access="labels"),
        Lists(),
        low=0.1,
        seeds=(0,),
    )
]

# ---------------------------------------------------------------- updates
MATCHING = Dlg(labels="inferred", steps=90, records=4)
COSINE = InvertingGradients(steps=100, tv=0.0, records=4)
SIGNS = InvertingGradients(steps=100, tv=1e-3, distance="sign", records=4)
SHARE, ERROR = Updates(), Updates(coarse=True)
PRUNED, NOISY = GradientPruning(removed=0.7), ClipNoise(clip_norm=None, noise_multiplier=0.1)
UPDATES = [
    Pair(name, defense, naive, adaptive, case, low=low, high=high, seeds=(0,))
    for name, defense, naive, adaptive, case, low, high in (
        ("gradient_pruning", PRUNED, MATCHING, replace(MATCHING, mask=True), SHARE, 0.1, 0.9),
        ("gradient_pruning", PRUNED, COSINE, replace(COSINE, mask=True), SHARE, 0.1, 0.9),
        ("gradient_pruning", PRUNED, MATCHING, AnalyticGradient(records=4), SHARE, 0.1, 0.9),
        ("clip_noise", NOISY, MATCHING, replace(MATCHING, rounds=64), SHARE, 0.1, 0.9),
        ("clip_noise", NOISY, COSINE, replace(COSINE, rounds=64), SHARE, 0.1, 0.9),
        ("gradient_quantisation", GradientQuantisation(), MATCHING, SIGNS, ERROR, 0.1, 0.3),
    )
]

# ---------------------------------------------------------------- updates, by a malicious server
GROUPED = SecureAggregation(clients=8)
HONEST = AnalyticGradient(batch_size=1, records=32)
IMPRINT = Imprint(batch_size=8, records=32, rounds=4)
TRAPS = TrapWeights(batch_size=8, records=32, rounds=16)
TAMPERED = [
    # Who is honest reads mixtures of a group; who sends other weights to each of it does not, nor
    # who parts its sum by cuts.
    *(
        Pair("secure_aggregation", GROUPED, HONEST, attack, Tampered(), seeds=(0,))
        for attack in (
            Imprint(batch_size=1, records=32, inconsistent=True),
            TrapWeights(batch_size=1, records=32, inconsistent=True),
            Fishing(batch_size=1, records=32),
        )
    ),
    # Pruning cuts the bins of all neurons; those of few neurons are what it keeps.
    Pair(
        "gradient_pruning",
        GradientPruning(removed=0.9),
        IMPRINT,
        replace(IMPRINT, bins=23),
        Tampered(256),
        low=0.1,
        high=0.9,
        seeds=(0,),
    ),
    # Few traps have all of a clipped update, and averaged rounds that agree overcome the noise.
    Pair(
        "clip_noise",
        ClipNoise(clip_norm=1.0, noise_multiplier=0.01),
        TRAPS,
        replace(TRAPS, neurons=2, gain=1.0, repeats=4),
        Tampered(64),
        low=0.1,
        high=0.5,
        seeds=(0,),
    ),
]

# ---------------------------------------------------------------- faces of a trained target
# Pixels follow every bend of a network. The mean of runs among faces does not, nor do students,
# who are smooth. The climb has 20 steps, where 5000 shorter ones end at the same people.
PIXELS = replace(CLIMBER, access="weights")
AMONG_FACES = PriorInversion(restarts=4, average=True, avoid=0.3, steps=60)
TAUGHT = replace(SCORE_STUDENT, queries=3000, width=128, restarts=4)
PHOTOGRAPHED = [
    Pair(name, defense, PIXELS, AMONG_FACES, Photographed(), None, 0.25, high, (0,))
    for name, defense, high in (
        ("clip_only", DpSgd(epsilon=None, noise_multiplier=0.0, batch_size=48, lr=0.2), 0.6),
        ("dp_sgd", DpSgd(epsilon=100.0, batch_size=48, lr=0.2), 0.45),
        ("distillation", Distillation(), 0.6),
        ("dropout", Dropout(rate=0.5), 0.6),
    )
]
# Targets behind these know about three quarters of other pictures of twelve people, or more.
TWELVE = Photographed(12, None, WIDE, components=10)
PHOTOGRAPHED += [
    Pair(name, defense, naive, adaptive, TWELVE, low=0.5, high=0.75, seeds=(3, 4))
    for naive, adaptive in ((PIXELS, AMONG_FACES), (CLIMBER, TAUGHT))
    for name, defense in (
        ("adversarial_training", AdversarialTraining(epsilon=0.04, steps=2)),
        ("freezing", Freezing()),
        ("random_erasing", RandomErasing(largest=0.8, smallest=0.4)),
        # On so few pixels, nobody is known when turned or mirrored, and a faint trigger is no trap.
        ("trap_mid", TrapMid(alpha=0.3, beta=0.5, crop=0.95, flip=False, rotation=5.0)),
    )
]

# ---------------------------------------------------------------- attributes of members
# The answer decides, and the imputer where it does not: whoever trusts what he is told.
TRUSTING = AttributeMap(weight=256.0)
SHADOWS = ShadowAttribute(shadows=8)
SMALL = Mlp(hidden=(24,), epochs=200, lr=1e-2, batch_size=100)
PRIVATE_SGD = DpSgd(epsilon=100.0, epochs=30, lr=0.4, batch_size=100)
FROZEN = Freezing(layers=1, epochs=60)
LONG = {
    "adversarial_training",
    "bido",
    "dp_rounded",
    "mid",
    "mixup",
    "pate",
    "pruning",
    "sanitized_finetuning",
}
OWNED = [
    Pair(name, defense, TRUSTING, SHADOWS, case, None, 0.2, high, (0,), name in LONG)
    for name, defense, case, high in (
        ("adversarial_training", AdversarialTraining(epsilon=1.0, steps=1), Owned(), 0.4),
        ("bido", Bido(input_weight=0.2, label_weight=0.05), Owned(), 0.6),
        ("clip_noise", ClipNoise(clip_norm=1.0, noise_multiplier=0.1), Owned(), 0.6),
        ("clip_only", replace(PRIVATE_SGD, epsilon=None, noise_multiplier=0.0), Owned(), 0.4),
        ("distillation", Distillation(epochs=14), Owned(), 0.4),
        ("dp_rounded", (PRIVATE_SGD, Rounding(decimals=2)), Owned(), 0.3),
        ("dp_sgd", PRIVATE_SGD, Owned(), 0.4),
        ("dropout", Dropout(rate=0.95), Owned(), 0.6),
        ("early_stopping", EarlyStopping(validation=0.3, patience=2), Owned(), 0.3),
        ("freezing", FROZEN, Owned(SMALL), 0.6),
        ("gradient_pruning", GradientPruning(removed=0.99), Owned(), 0.5),
        ("k_anonymity", KAnonymity(k=3), Owned(), 0.4),
        ("mid", Mid(beta=0.5), Owned(), 0.5),
        ("mixup", Mixup(alpha=32.0), Owned(), 0.6),
        ("pate", Pate(teachers=2, noise=0.5), Owned(), 0.4),
        ("pruning", Pruning(min_leaf=10), Owned(RandomForest(trees=20)), 0.5),
        ("regularised", Regularised(), Owned(), 0.6),
        ("sanitized_finetuning", SanitizedFinetuning(sanitizer="noise", std=0.85), Owned(), 0.4),
        ("weight_decay", WeightDecay(strength=0.05), Owned(), 0.6),
    )
]

TOP_1 = (FROZEN, TopK(k=1))
OWNED.append(
    Pair("frozen_top_1", TOP_1, TRUSTING, SHADOWS, Owned(SMALL), low=0.3, high=0.5, slow=True)
)
TRUSTING_LABELS = replace(TRUSTING, access="labels")
LABEL_SHADOWS = replace(SHADOWS, access="labels")
MIDDLE = Mlp(hidden=(40,), epochs=160, lr=1e-2, batch_size=100)
OWNED += [
    Pair(name, defense, TRUSTING_LABELS, LABEL_SHADOWS, case, low=0.1, high=0.3, seeds=(0,))
    for name, defense, case in (
        ("dp_sgd", replace(PRIVATE_SGD, lr=0.8), Owned()),
        ("dropout", Dropout(rate=0.9), Owned()),
        ("freezing", FROZEN, Owned(MIDDLE)),
        ("pate", Pate(teachers=2, noise=0.5), Owned()),
        ("weight_decay", WeightDecay(strength=0.02), Owned()),
    )
]

# ---------------------------------------------------------------- outputs of a trained target
SOLD = [
    Pair(name, defense, DECODER, DECODER, Sold(), Sold(aware=False), low, high, seeds=(0,))
    for name, defense, low, high in (
        ("clip_only", DpSgd(epsilon=None, noise_multiplier=0.0, lr=0.01), 0.2, 0.8),
        ("dp_sgd", DpSgd(epsilon=0.5), 0.2, 0.4),
        ("dropout", Dropout(rate=0.97), 0.3, 0.8),
        ("early_stopping", EarlyStopping(validation=0.5, patience=1), 0.3, 0.8),
        ("freezing", Freezing(epochs=1, lr=1e-6), 0.3, 0.8),
        ("label_smoothing", LabelSmoothing(alpha=-0.9, schedule="constant"), 0.3, 0.6),
        ("mid", Mid(beta=0.2), 0.2, 0.6),
        ("mixup", Mixup(alpha=64.0), 0.45, 0.8),
        ("weight_decay", WeightDecay(strength=0.1), 0.2, 0.8),
    )
]

DELETED = [
    # The same attack, not told of the decay and told.
    Pair("weight_decay", WeightDecay(1.0), HRec(), HRec(), Deleted(), Deleted(told=False))
]

# ---------------------------------------------------------------- training records by weights
# Frozen blocks whose weights are random are no sum of gradients; the same attack leaves them out.
REMEMBERED = [
    Pair(
        "freezing",
        Freezing(epochs=1, lr=1e-6),
        KKT(candidates=8, steps=200, prior_weight=0.03),
        KKT(candidates=8, steps=200, prior_weight=0.03),
        Remembered(),
        Remembered(told=False),
        low=0.4,
        high=0.5,
        seeds=(0, 1),
    )
]

PAIRS = [
    *FACES,
    *WATCHED,
    *SECRETS,
    *BASKETS,
    *UPDATES,
    *TAMPERED,
    *PHOTOGRAPHED,
    *OWNED,
    *SOLD,
    *DELETED,
    *REMEMBERED,
]
