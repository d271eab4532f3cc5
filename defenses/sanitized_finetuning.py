"""First layers kept from a training on real records, the others learnt from a sanitized copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from bench.contract import (
    Count,
    FitReport,
    Network,
    Positive,
    Recipe,
    Split,
    TrainingContext,
    TrainingDefense,
    generator,
    require,
)
from bench.contract import seed as derive
from defenses.common.descent import training_accuracy
from defenses.common.pretraining import pretrained
from defenses.common.sanitizers import gaussian_noise, microaggregate, synthetic


@dataclass(frozen=True)
class SanitizedFinetuning(TrainingDefense):
    """Train on the records, freeze the first blocks, learn the others anew on a sanitized copy.

    The last layers, which connect features with labels, then never see a record as it is. The first
    layers do, unless ``source`` says that they come from public records; that is the order of
    TL-DMI (Ho et al. CVPR 2024) with the private part sanitized. Somebody who has the weights still
    holds blocks that private records shaped. Labels are those of the records. The recipe of the
    model is used for both trainings.

    Attributes:
        layers: number of blocks that are kept, at most all of the network's; null is plain training
            and no defense.
        source: records that the kept blocks are trained on, ``private`` or ``public``.
        sanitizer: with ``k_anonymity``, classes of ``k`` records by Mondrian, of pictures on their
            principal components; with ``noise``, Gaussian noise of ``std``; with ``synthetic``,
            records drawn from a Gaussian on ``components`` principal components of every class.
        k: least number of records in a class. Values worth a sweep are 2, 5, 20 and 50.
        std: standard deviation of the noise, in units of a column's public spread, or for pictures
            of the range of a pixel.
        components: largest number of principal components of a class.
    """

    layers: Count | None = 1
    source: Literal["private", "public"] = "private"
    sanitizer: Literal["k_anonymity", "noise", "synthetic"] = "k_anonymity"
    k: Annotated[int, Ge(2)] = 5
    std: Positive = 0.3
    components: Count = 20

    # It does not cover gradients: clients share updates on records as they are.
    covers = frozenset({"labels", "scores", "weights", "deletions"})
    cost = "a second training; the sanitized copy"
    needs = frozenset({"steps", "blocks"})
    tasks = ("classification",)
    paper = (
        "Ho, Hao, Chandrasegaran, Nguyen, Cheung, CVPR 2024 (arXiv 2405.05588), turned round; "
        "sanitizers: LeFevre, DeWitt, Ramakrishnan, ICDE 2006, and plain Gaussians"
    )
    zero: ClassVar[Mapping[str, Any]] = {"layers": None}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Fix the first blocks, as they are once the network is trained.

        Raises:
            UserError: more blocks to keep than there are.
        """
        if self.layers is not None:
            require(
                self.layers <= len(network.blocks),
                f"SanitizedFinetuning.layers is {self.layers}, but the network has "
                f"{len(network.blocks)} blocks; give at most {len(network.blocks)}.",
            )
            self._first(network, trainable=False)
        return network

    def fit(
        self, network: Network, train: Split, recipe: Recipe, context: TrainingContext
    ) -> FitReport:
        """Train twice, in place.

        Raises:
            UserError: public records of one class only, or fewer records than ``k``.
            DivergedError: a training loss became NaN or Inf.
        """
        if self.layers is None:
            return super().fit(network, train, recipe, context)
        if self.source == "private":
            self._first(network, trainable=True)
            first = context.trainer.fit(network, train, recipe, context.seed)
            self._first(network, trainable=False)
        else:
            source, first = pretrained(context, recipe, "SanitizedFinetuning.source is public")
            network.blocks.load_state_dict(source.blocks.state_dict())
        fresh = context.trainer.build(
            network.head.out_features, derive(context.seed, part="second training")
        )
        for block, fresh_block in zip(
            [*list(network.blocks)[self.layers :], network.head],
            [*list(fresh.blocks)[self.layers :], fresh.head],
            strict=True,
        ):
            block.load_state_dict(fresh_block.state_dict())
        copy = self.sanitized(train, context)
        second = context.trainer.fit(
            network, copy, recipe, derive(context.seed, part="second training")
        )
        return replace(
            second,
            epochs=first.epochs + second.epochs,
            steps=first.steps + second.steps,
            train_accuracy=training_accuracy(network, train, context),
            public_records=first.public_records,
        )

    def sanitized(self, train: Split, context: TrainingContext) -> Split:
        """The copy of ``train`` that the last layers learn from; labels as they were."""
        card, public = context.card, context.public.x
        seed = derive(context.seed, part="sanitizer")
        if self.sanitizer == "synthetic":
            return synthetic(train, card, public, self.components, seed)
        if self.sanitizer == "noise":
            return replace(
                train, x=gaussian_noise(train.x, card, public, self.std, generator(seed))
            )
        return replace(train, x=microaggregate(train.x, card, public, self.k))

    def _first(self, network: Network, trainable: bool) -> None:
        for block in list(network.blocks)[: self.layers]:
            block.requires_grad_(trainable)
