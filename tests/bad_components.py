"""Components that break their contract, each in one way, and sound ones beside them.

``tests/conf_bad`` holds an option for each; ``tests/cli/test_check.py`` says what is to be found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench.contract import (
    Exposure,
    Knowledge,
    Monitor,
    Network,
    Query,
    Recipe,
    Reconstruction,
    ReleaseDefense,
    ServeDefense,
    Splits,
    Traffic,
    TrainingDefense,
    Verdict,
    generator,
)
from bench.contract.data import duplicates_across
from tests.toys import ToyAttack, ToyModel, ToyTable


# ---------------------------------------------------------------- data sets
@dataclass(frozen=True)
class Table(ToyTable):
    """A table that keeps its contract, or breaks it as ``does`` says."""

    does: Literal["work", "raise", "nan", "lie", "miscount", "stay", "mislabel", "global"] = "work"
    fixed_split: bool = False

    def load(self, seed: int, data_root: Path | None) -> Splits:
        if self.does == "raise":
            raise OSError("the disk\nis full")
        stays = self.fixed_split or self.does == "stay"
        splits = super().load(0 if stays else seed, data_root)
        labels = torch.cat([splits.train.y, splits.test.y])
        facts = {
            **splits.facts,
            "class_counts": torch.bincount(labels, minlength=2).tolist(),
            "duplicates_across_splits": duplicates_across(splits),
            "split_protocol": "three thirds of a random sample",
        }
        splits = replace(splits, facts=facts)
        if self.does == "nan":
            splits.train.x[0, 1] = torch.nan
        if self.does == "global":
            splits.train.x[0, 1] = torch.rand(())
        if self.does == "lie":
            splits = replace(splits, card=replace(splits.card, class_names=("a", "b", "c")))
        if self.does == "miscount":
            splits = replace(splits, facts={**facts, "class_counts": [1, 1]})
        if self.does == "mislabel":
            assert splits.train.s is not None
            splits.train.s[:5] = 1 - splits.train.s[:5]
        return splits


# ---------------------------------------------------------------- models
class _Centred(nn.Module):
    """Subtracts the mean of the batch, in evaluation mode too."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class _Broken(nn.Module):
    """Answers NaN."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.nan


@dataclass(frozen=True)
class Weak(ToyModel):
    """A model that does as ``does`` says."""

    does: Literal["no_network", "nan", "batch", "unseeded", "one_shape", "frozen", "constant"] = (
        "no_network"
    )

    def build(self, shape: tuple[int, ...], n_classes: int, seed: int) -> Network:
        if self.does == "no_network":
            return nn.Linear(shape[0], n_classes)  # type: ignore[return-value]
        if self.does == "unseeded":
            return Network(nn.Sequential(), nn.Linear(shape[0], n_classes))
        network = super().build((7,) if self.does == "one_shape" else shape, n_classes, seed)
        if self.does in ("nan", "batch"):
            network.blocks.append(_Broken() if self.does == "nan" else _Centred())
        if self.does == "frozen":
            network.requires_grad_(False)
        return network

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.epochs, 32, 0.0 if self.does == "constant" else 0.1)


# ---------------------------------------------------------------- defenses
_Release = Literal[
    "work",
    "sum",
    "scale",
    "shift",
    "negative",
    "tie",
    "nan",
    "shape",
    "batch",
    "raise",
    "global",
    "nothing",
    "zero",
]


@dataclass(frozen=True)
class Answers(ReleaseDefense):
    """Halves the distance to the uniform answer, or breaks its contract as ``does`` says."""

    does: _Release = "work"
    weight: float = 0.5

    paper = "none"
    cost = "nothing"
    zero: ClassVar[dict[str, float]] = {"weight": 1.0}

    def release(self, scores: Tensor, query: Query) -> Tensor:
        if self.does == "raise":
            raise ValueError("no answer\ntoday")
        if self.weight == 1.0 and self.does != "zero":
            return scores
        even = torch.full_like(scores, 1 / scores.shape[1])
        best = scores.topk(2, dim=1).values
        close = (best[:, 0] - best[:, 1] < 0.3).unsqueeze(1)
        answers = {
            "sum": lambda: scores + 0.1 / scores.shape[1],
            "scale": lambda: 2 * scores,
            "shift": lambda: scores - 5,
            "negative": lambda: 3 * scores - 2 * even,
            "tie": lambda: torch.where(close, even, scores),
            "nan": lambda: torch.where(scores == 0, torch.nan, 0.5 * (scores + even)),
            "shape": lambda: scores[:, :1],
            "batch": lambda: 0.9 * scores + 0.1 * scores.mean(0),
            "global": lambda: torch.softmax(scores.log() * (1.5 + torch.rand(())), 1),
            "nothing": lambda: scores,
        }
        return answers.get(self.does, lambda: 0.5 * (scores + even))()


@dataclass(frozen=True)
class Idle(TrainingDefense):
    """Leaves everything as it is."""

    paper = "none"
    cost = "nothing"


class _Closed(Monitor):
    """Refuses everybody."""

    def admit(self, traffic: Traffic, answers: Tensor) -> Verdict:
        return Verdict(torch.zeros(len(traffic), dtype=torch.bool))


@dataclass(frozen=True)
class Shop(ServeDefense):
    """Is closed."""

    paper = "none"
    cost = "every customer"

    def watch(self, fitted: Mapping[str, Tensor]) -> Monitor:
        return _Closed()


# ---------------------------------------------------------------- attacks
@dataclass(frozen=True)
class Guess(ToyAttack):
    """Asks for every candidate; ``how`` says which word of its contract it breaks."""

    how: Literal[
        "work",
        "nan",
        "shape",
        "dtype",
        "tuple",
        "raise",
        "undeclared",
        "unseeded",
        "reseeds",
        "spends",
        "lifts",
        "forgets",
        "exit",
    ] = "work"

    adaptive_to = ()

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        if self.how == "raise":
            raise ValueError("nothing\nfound")
        if self.how == "exit":
            raise SystemExit(3)
        if self.how == "undeclared":
            knowledge.public.x.mean()
        if self.how == "reseeds":
            torch.manual_seed(seed)
        if self.how == "lifts":
            exposure.budget = None
        if self.how == "spends":
            partial = knowledge.partial
            assert partial is not None
            for record in [*partial.x, *partial.x]:
                exposure.scores(record.unsqueeze(0))
        found = super().run(exposure, knowledge, seed, device).values
        if self.how == "forgets":
            exposure.meter.queries = 1
        if self.how == "unseeded":
            found = found + torch.rand(found.shape)
        changed = {
            "nan": lambda: found * torch.nan,
            "shape": lambda: found[:, :1],
            "dtype": lambda: found.argsort(1),
        }
        if self.how == "tuple":
            return (found,)  # type: ignore[return-value]
        noise = 1e-6 * torch.rand(found.shape, generator=generator(seed))
        return Reconstruction(changed.get(self.how, lambda: found + noise)())


@dataclass(frozen=True)
class Boastful(Guess):
    """Declares knowledge that it never reads."""

    knowledge = frozenset({"K2", "K3"})


@dataclass(frozen=True)
class Vain(Guess):
    """Says that it adapts to a defense that does not exist."""

    adaptive_to = ("raunding",)


@dataclass(frozen=True)
class Blind(Guess):
    """Says that it adapts to a defense, and meets none."""

    access: Literal["none", "scores"] = "none"  # type: ignore[assignment]

    adaptive_to = ("rounding",)
