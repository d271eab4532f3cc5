"""Controls: targets from which an attack must get nothing, or from which it must still get much.

They stand where a defense would, so that every attack meets them exactly as it meets a defense
(PROTOCOL 3.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.contract import (
    Count,
    FitReport,
    Fraction,
    Model,
    Network,
    Owner,
    Positive,
    Query,
    Recipe,
    ReleaseDefense,
    Split,
    TrainingContext,
    TrainingDefense,
    generator,
    require,
    seeded,
    sparse,
)
from bench.contract import seed as derive
from bench.contract.task import TASKS, agreement, targets

CANARY = Path(__file__).with_name("canary.safetensors")
"""Weights of the frozen canary: softmax regression on 40 generated people, half precision."""


@dataclass(frozen=True)
class Untrained(TrainingDefense):
    """A network as it was initialised: it knows nothing about anybody (C1)."""

    paper: ClassVar[str] = "control (PROTOCOL 3.6, C1)"

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Leave ``network`` as it is."""
        with torch.no_grad():
            outputs = network.eval()(train.x.to(context.device)).cpu()
        accuracy = agreement(context.task, outputs, targets(context.task, train).cpu())
        return FitReport(0, 0, 0.0, accuracy)


@dataclass(frozen=True)
class Shuffled(ReleaseDefense):
    """A model whose answers are dealt out to other records: it knows nothing of anybody (C1).

    It stands for :class:`Untrained` where a model was given and cannot be made anew. Every record
    is answered as one of up to ``pool`` public records was; which one follows from the record
    itself, so that the same record is always answered alike and no two that differ have more in
    common than any two.

    Attributes:
        pool: most public records whose answers are dealt out.
    """

    pool: Count = 256

    tasks = TASKS
    blind: ClassVar[bool] = True
    paper: ClassVar[str] = "control (PROTOCOL 3.6, C1)"

    @property
    def relabels(self) -> bool:
        """Labels are dealt out, too."""
        return True

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        """The answers to some public records."""
        public = owner.public.x
        order = torch.randperm(len(public), generator=generator(seed))[: self.pool]
        return {"answers": owner.scores(sparse.dense(sparse.take(public, order.to(public.device))))}

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """The answer to another record."""
        answers = query.fitted["answers"]
        places = [
            int.from_bytes(digest[:8], "big") % len(answers)
            for digest in sparse.row_digests(query.x.cpu())
        ]
        return answers[torch.tensor(places, dtype=torch.long, device=answers.device)]

    def recommend(self, scores: Tensor, x: Tensor) -> Tensor | None:
        """The best of what is released, as ever."""
        return None


@dataclass(frozen=True)
class RandomLabels(TrainingDefense):
    """A network trained on shuffled labels: its classes are no people (C1)."""

    paper: ClassVar[str] = "control (PROTOCOL 3.6, C1)"

    def sanitize(self, train: Split, context: TrainingContext) -> Split:
        """The same records with their labels shuffled among them."""
        rng = generator(derive(context.seed, part="shuffled labels"))
        order = torch.randperm(len(train), generator=rng).to(train.y.device)
        return Split(train.x, train.y[order], train.person, train.s)


@dataclass(frozen=True)
class Overfit(TrainingDefense):
    """The undefended target trained for many more epochs: leakage about members must show (C3).

    Attributes:
        factor: how many times the epochs of the model.
    """

    factor: Annotated[float, Gt(1)] = 3.0

    needs = frozenset({"steps"})
    paper: ClassVar[str] = "control (PROTOCOL 3.6, C3)"

    def recipe(self, recipe: Recipe) -> Recipe:
        """The same recipe with more epochs."""
        return replace(recipe, epochs=round(recipe.epochs * self.factor))


@dataclass(frozen=True)
class EarlyStopped(TrainingDefense):
    """The undefended target stopped long before it remembers anybody (C3).

    Attributes:
        fraction: share of the epochs of the model; at least one epoch is left.
    """

    fraction: Fraction = 0.1

    needs = frozenset({"steps"})
    paper: ClassVar[str] = "control (PROTOCOL 3.6, C3)"

    def recipe(self, recipe: Recipe) -> Recipe:
        """The same recipe with fewer epochs."""
        return replace(recipe, epochs=max(1, round(recipe.epochs * self.fraction)))


@dataclass(frozen=True)
class Temperature(TrainingDefense):
    """The undefended network with its logits divided by ``temperature``.

    It looks safer and is not: its labels are the same, and its scores can be sharpened again. An
    attack that gets less from it is badly tuned and has not met a defense.

    Attributes:
        temperature: divides the logits; above 1 it flattens the scores.
    """

    temperature: Positive = 10.0

    by_trainer: ClassVar[bool] = True
    paper: ClassVar[str] = "control (PROTOCOL 3.6)"

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train without a defense, then scale the head."""
        report = context.trainer.fit(network, train, recipe, context.seed)
        with torch.no_grad():
            for parameter in network.head.parameters():
                parameter.div_(self.temperature)
        return report


@dataclass(frozen=True)
class Canary(Model):
    """A target that never changes: what differs between two releases is not the target (C8)."""

    modalities = frozenset({"image"})
    reference = "logistic"

    @property
    def recipe(self) -> Recipe:
        """Of how its weights were made; it is never trained again."""
        return Recipe(epochs=60, batch_size=32, lr=0.03, optimizer="sgd")

    def files(self, data_root: Path | None) -> Mapping[str, Path]:
        """The frozen weights; see the base class."""
        return {"weights": CANARY}

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """The frozen network, whatever the seed.

        Raises:
            UserError: the data is not what it was made for.
        """
        state = {name: value.float() for name, value in load_file(CANARY).items()}
        made = tuple(state["head.weight"].shape)
        require(
            made == (width, torch.Size(shape).numel()),
            f"The canary takes {made[1]} pixels of {made[0]} people, not {list(shape)} of {width}.",
        )
        with seeded(seed):
            network = Network(nn.Sequential(), nn.Linear(made[1], made[0]))
        network.load_state_dict(state, strict=True)
        return network
