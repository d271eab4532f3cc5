"""Reconstruct classes by feeding a decoder of answers what a sure answer would be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.common.decoder import CHUNK, Decoder, DecoderOptions, fit_decoder
from attacks.common.kept_labels import KEPT_LABELS
from attacks.common.latent import mean_images, objective, require_classes
from bench.contract import Attack, Exposure, Knowledge, Reconstruction
from bench.contract.options import Count, Positive


@dataclass(frozen=True)
class ClassDecoder(DecoderOptions, Attack):
    """What a decoder of answers shows when it is told that the answer is the class.

    The decoder is that of Yang, Zhang, Chang and Liang (CCS 2019, their training-class inference).
    By labels it is fed the class's one-hot label. By scores it is fed several answers: the
    one-hot vector, and the mean answer to the ``nearest`` public images with the largest score of
    the class, raised to each power in ``sharpen``. The deployment is asked about every decoded
    image, and the one with the largest released margin of the class is returned.

    Attributes:
        nearest: public images whose answers are averaged.
        sharpen: powers of the mean answer; larger is nearer to one-hot.
    """

    nearest: Count = 5
    sharpen: tuple[Positive, ...] = (1.0, 2.0, 4.0)

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "Yang, Zhang, Chang, Liang, CCS 2019, sections 3 and 5 (arXiv 1902.08552)"

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """By labels, releases that keep them."""
        return KEPT_LABELS if self.access == "labels" else ()

    def doubled(self) -> ClassDecoder:
        """The same attack with twice the epochs and the patience."""
        return replace(self, epochs=2 * self.epochs, patience=2 * self.patience)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``: ``stop_reason`` (``trained``, or ``budget`` where it allows no training and the
        public mean is returned), ``fed`` per class, and what the decoder says.
        """
        classes = require_classes(knowledge, device)
        fed_each = 1 + len(self.sharpen) if self.access == "scores" else 0
        later = fed_each * len(classes)
        decoder = fit_decoder(self, exposure, knowledge, seed, device, later)
        if decoder is None:
            values = mean_images(knowledge, len(classes), device)
            return Reconstruction(values, {"stop_reason": "budget"})
        info = {"stop_reason": "trained", **decoder.info}
        if self.access == "labels":
            return Reconstruction(decoder(classes), info | {"fed": ["label"] * len(classes)})
        fed = self._answers(decoder, classes, knowledge.card.n_classes)
        images = decoder(fed.flatten(0, 1))
        if not exposure.affords(len(images)):
            return Reconstruction(
                images[: len(classes)], info | {"fed": ["one_hot"] * len(classes)}
            )
        scores = torch.cat([exposure.scores(part) for part in torch.split(images, CHUNK)])
        margin = -objective(scores.clamp_min(1e-12).log(), "margin").view(
            len(fed), len(classes), -1
        )
        own = classes.view(1, -1, 1).expand(len(fed), -1, 1)
        best = margin.gather(2, own).squeeze(2).argmax(0)
        names = ["one_hot", *(f"power {power:g}" for power in self.sharpen)]
        values = images.view(len(fed), len(classes), *images.shape[1:])
        return Reconstruction(
            values[best, torch.arange(len(classes), device=best.device)],
            info | {"fed": [names[row] for row in best.tolist()]},
        )

    def _answers(self, decoder: Decoder, classes: Tensor, n_classes: int) -> Tensor:
        """Answers to feed ``[1 + powers, t, n_classes]``, rows summing to 1."""
        answers = decoder.answers
        near = answers[:, classes].topk(min(self.nearest, len(answers)), dim=0).indices
        mean = answers[near].mean(0)
        one_hot = F.one_hot(classes, n_classes).to(mean)
        powers = [mean.clamp_min(0.0) ** power for power in self.sharpen]
        return torch.stack(
            [one_hot, *(p / p.sum(1, keepdim=True).clamp_min(1e-12) for p in powers)]
        )
