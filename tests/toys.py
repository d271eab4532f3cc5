"""Components that do next to nothing, or misbehave on purpose: what the harness is tested with."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.contract import (
    Attack,
    Card,
    Dataset,
    DivergedError,
    Exposure,
    Knowledge,
    Model,
    Network,
    Prior,
    Query,
    Recipe,
    Reconstruction,
    ReleaseDefense,
    Sensitive,
    Split,
    Splits,
    TrainingDefense,
    generator,
    require,
    seeded,
)


@dataclass(frozen=True)
class ToyTable(Dataset):
    """A binary label and a binary sensitive attribute that shows in it."""

    rows: int = 120
    needs_file: str | None = None

    sector: ClassVar[str] = "credit"
    modality = "table"
    goals = ("attribute",)
    utility_metric = "accuracy"
    embedded = True

    @property
    def n_classes(self) -> int:
        return 2

    def missing(self, data_root: Path | None) -> str | None:
        if self.needs_file is None or (
            data_root is not None and (data_root / self.needs_file).exists()
        ):
            return None
        return f"'{self.needs_file}' is missing; get it from nowhere and set data_root=."

    def load(self, seed: int, data_root: Path | None) -> Splits:
        rng = generator(seed)
        n = self.rows
        s = torch.randint(0, 2, (n,), generator=rng)
        x = torch.randn(n, 3, generator=rng)
        y = ((x[:, 1] + 2.0 * s - 1.0 + 0.5 * torch.randn(n, generator=rng)) > 0).long()
        x[:, 0] = s.float()
        card = Card(
            name="toy",
            sector="credit",
            modality="table",
            shape=(3,),
            class_names=("no", "yes"),
            privacy_unit="record",
            source="made up",
            terms="none",
            publishable=True,
            sensitive=Sensitive("s", ("a", "b"), (0, 1), ((0.0,), (1.0,))),
            columns=("s", "u", "v"),
        )
        person = torch.arange(n)
        full = Split(x, y, person, s)
        third = n // 3
        parts = [full.take(torch.arange(i * third, (i + 1) * third)) for i in range(3)]
        return Splits(card, *parts, facts={"sha256": "0" * 64, "n_rows": n})


@dataclass(frozen=True)
class ToyModel(Model):
    """Logistic regression."""

    epochs: int = 5

    modalities = frozenset({"table"})
    offers = frozenset()
    reference = "logistic"

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.epochs, 32, 0.1)

    def build(self, shape: tuple[int, ...], n_classes: int, seed: int) -> Network:
        with seeded(seed):
            return Network(nn.Sequential(), nn.Linear(shape[0], n_classes))


@dataclass(frozen=True)
class ToyWeights(ToyModel):
    """Starts from weights in a file."""

    weights: str = ""

    def files(self, data_root: Path | None) -> Mapping[str, Path]:
        return {"weights": Path(self.weights)}

    def build(self, shape: tuple[int, ...], n_classes: int, seed: int) -> Network:
        network = super().build(shape, n_classes, seed)
        with torch.no_grad():
            network.head.weight.copy_(load_file(self.weights)["w"].T)
        return network


@dataclass(frozen=True)
class ToyTraining(TrainingDefense):
    """Fewer epochs, or a failure on purpose."""

    epochs: int = 1
    fail: bool = False

    paper = "none"
    cost = "nothing"

    def recipe(self, recipe: Recipe) -> Recipe:
        require(not self.fail, "this defense fails on purpose.")
        return Recipe(self.epochs, recipe.batch_size, recipe.lr)


@dataclass(frozen=True)
class ToyRelease(ReleaseDefense):
    """Halves the distance to the uniform answer."""

    weight: float = 0.5

    paper = "none"
    cost = "nothing"
    zero: ClassVar[dict[str, float]] = {"weight": 1.0}

    def release(self, scores: Tensor, query: Query) -> Tensor:
        return self.weight * scores + (1 - self.weight) / scores.shape[1]


@dataclass(frozen=True)
class ToyPrior(Prior):
    """A constant."""

    knowledge = frozenset()

    value: float = 0.5

    def fit(self, knowledge: Knowledge, seed: int, device: str) -> dict[str, Tensor]:
        return {"value": torch.tensor([self.value])}


@dataclass(frozen=True)
class ToyAttack(Attack):
    """Asks for every candidate; ``does`` says how it misbehaves."""

    access: Literal["none", "labels", "scores", "weights"] = "scores"
    does: str = "work"
    mark: str = ""
    number: int = 0

    goal = "attribute"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K3"})
    paper = "none"
    adaptive_to = ("toy_training", "toy_release")

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        if self.mark:
            with Path(self.mark).open("a") as file:
                file.write(f"{self.does}\n")
        if self.does == "raise":
            raise ValueError("this attack fails on purpose")
        if self.does == "crash" or (self.does == "crash_once" and self._first()):
            os._exit(7)
        if self.does == "hang":
            time.sleep(3600)
        if self.does == "diverge":
            raise DivergedError("NaN on purpose")
        if self.does == "slow":
            time.sleep(0.3)
        partial, sensitive = knowledge.partial, knowledge.card.sensitive
        assert partial is not None and sensitive is not None
        candidates = sensitive.candidates(partial.x)
        n, v, d = candidates.shape
        if self.access in ("labels", "scores") and not exposure.affords(n * v):
            asked = (exposure.left or 0) // v
            values = torch.full((n, v), 1 / v)
            if asked:
                scores = self._answers(exposure, candidates[:asked].reshape(asked * v, d))
                rows = partial.y[:asked].view(asked, 1, 1).expand(asked, v, 1)
                values[:asked] = scores.reshape(asked, v, -1).gather(2, rows).squeeze(2)
            return Reconstruction(values, {"stop_reason": "budget"})
        if self.access == "none" or self.does == "idle":
            return Reconstruction(torch.rand(n, v, generator=generator(seed)))
        if self.access == "weights":
            scores = torch.softmax(exposure.network()(candidates.reshape(n * v, d)), 1)
        else:
            scores = self._answers(exposure, candidates.reshape(n * v, d))
        picked = scores.reshape(n, v, -1).gather(2, partial.y.view(n, 1, 1).expand(n, v, 1))
        return Reconstruction(picked.squeeze(2), {"stop_reason": "finished"})

    def _answers(self, exposure: Exposure, x: Tensor) -> Tensor:
        if self.access == "labels":
            return torch.nn.functional.one_hot(exposure.labels(x), 2).float()
        return exposure.scores(x)

    def doubled(self) -> ToyAttack | None:
        return replace(self, number=2 * self.number) if self.number else None

    def _first(self) -> bool:
        return Path(self.mark).read_text().count("\n") == 1
