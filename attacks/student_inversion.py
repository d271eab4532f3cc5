"""Class inversion through students that were trained on the deployment's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.gan import eigenfaces
from attacks.common.kept_labels import KEPT_LABELS
from attacks.common.latent import CHUNK, Latent, mean_images, require_classes
from attacks.common.latent_descent import LatentDescent, averaged
from attacks.common.latent_search import chosen
from attacks.common.students import labels, teach
from bench.contract import (
    Attack,
    DivergedError,
    Exposure,
    Knowledge,
    Reconstruction,
    generator,
    seeded,
)
from bench.contract.options import Count, NonNegative, Positive

TRAINED = ("adversarial_training", "freezing", "random_erasing", "trap_mid")
"""Trainings whose scores mislead along pixels; students learn them among faces."""


class Perceptrons(nn.Module):
    """Perceptrons with one hidden layer of SiLU, all evaluated in the same products.

    Args:
        layers: the two layers of each.
    """

    first_weight: Tensor
    first_bias: Tensor
    last_weight: Tensor
    last_bias: Tensor

    def __init__(self, layers: Sequence[tuple[nn.Linear, nn.Linear]]) -> None:
        super().__init__()
        for name, parts in zip(("first", "last"), zip(*layers, strict=True), strict=True):
            weight = torch.stack([part.weight.detach().T for part in parts]).contiguous()
            bias = torch.stack([part.bias.detach() for part in parts]).unsqueeze(1)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(bias))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[perceptrons, n, n_classes]`` of inputs ``[n, d]``."""
        each = x.expand(len(self.first_weight), *x.shape)
        hidden = F.silu(torch.baddbmm(self.first_bias, each, self.first_weight))
        return torch.baddbmm(self.last_bias, hidden, self.last_weight)


class Committee(nn.Module):
    """The mean of several students' log scores."""

    def __init__(self, look: Look, students: nn.Module) -> None:
        super().__init__()
        self.look, self.students = look, students

    def forward(self, x: Tensor) -> Tensor:
        """Log scores, up to a constant a row, ``[n, n_classes]`` of images ``[n, *shape]``."""
        scores: Tensor = self.students(self.look(x)).log_softmax(2).mean(0)
        return scores


@dataclass(frozen=True)
class StudentInversion(Attack):
    """Train students on the deployment's answers, and invert the students by their weights.

    The deployment is asked about public images, mixtures of two of them, and images that the prior
    draws. Students learn its answers, and
    :class:`attacks.common.latent_descent.LatentDescent` searches the prior for the image that all
    students take for the class and that resembles no public person. A label is enough: an answer
    that keeps the right label keeps what the students learn from. A surrogate trained on hard
    labels is also the idea of LOKT (Nguyen et al., NeurIPS 2023), who train a conditional
    generator for it; here is none.

    Attributes:
        access: ``scores`` or ``labels``.
        queries: answers asked for; a smaller budget asks for fewer.
        students: perceptrons trained, from different initial weights.
        components: principal components of the questions that they see.
        width: of their hidden layer.
        epochs: passes over all answers.
        learning_rate: of Adam, decayed to 0 by a half cosine.
        restarts: runs per class, averaged in the latent.
        steps: of the search.
        search_rate: learning rate of the search.
        prior_weight: weight of ``|z|^2 / 2``, against a loss of unit spread.
        avoid: weight of the likeness to public people, against a loss of unit spread.
        repeats: answers asked for every image, averaged or put to the vote, where the release is
            randomised (PROTOCOL 3.5); they share the queries.
    """

    access: Literal["scores", "labels"] = "labels"
    queries: Count = 12200
    students: Count = 3
    components: Count = 128
    width: Count = 256
    epochs: Count = 40
    learning_rate: Positive = 2e-3
    restarts: Count = 8
    steps: Count = 150
    search_rate: Positive = 0.1
    prior_weight: NonNegative = 0.003
    avoid: NonNegative = 1.0
    repeats: Count = 1

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "Surrogate by hard labels: Nguyen et al., NeurIPS 2023 (LOKT); no generator is trained"

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """Releases that keep the label; by scores also trainings that a student models."""
        return (*KEPT_LABELS, *TRAINED) if self.access == "scores" else KEPT_LABELS

    def doubled(self) -> StudentInversion:
        """The same attack with twice the epochs and steps."""
        return replace(self, epochs=2 * self.epochs, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``: ``agreement`` (share of the tenth of the questions that no student was
        trained on where the students name the deployment's class), ``asked`` (answers), and what
        :func:`attacks.common.latent_search.chosen` says of the search. Where the budget pays for
        fewer than ten images, the public mean is returned and ``stop_reason`` is ``budget``.

        Raises:
            UserError: the knowledge lacks the prior or the classes.
            DivergedError: the training or the search produced NaN or Inf.
        """
        classes = require_classes(knowledge, device)
        latent = Latent.of(knowledge, device)
        public = knowledge.public.to(device)
        rng = generator(seed, device)
        count = self.queries if exposure.left is None else min(self.queries, exposure.left)
        count //= self.repeats
        if count < 10:
            values = mean_images(knowledge, len(classes), device)
            return Reconstruction(values, {"stop_reason": "budget"})
        x = questions(public.x, latent, count, rng)
        answers = self._ask(exposure, x, knowledge.card.n_classes)
        held = max(1, count // 10)
        network = self._students(x[held:], answers[held:], rng)
        agreed = labels(network, x[:held]) == answers[:held].argmax(1)
        search = LatentDescent(
            loss="margin",
            restarts=self.restarts,
            steps=self.steps,
            rate=self.search_rate,
            prior_weight=self.prior_weight,
            jitter=1,
            avoid=self.avoid,
        )
        bank = latent.bank(public.x, 128, rng)
        ended = averaged(search.run(network, latent, bank, classes, public, rng), self.restarts)
        if not bool(torch.isfinite(ended.z).all()):
            raise DivergedError(
                f"The search produced NaN or Inf; lower search_rate ({self.search_rate})."
            )
        result = chosen(latent, ended, 1, "radius")
        more = {"agreement": float(agreed.float().mean()), "asked": count * self.repeats}
        return replace(result, info={**result.info, **more})

    def _ask(self, exposure: Exposure, x: Tensor, n_classes: int) -> Tensor:
        """What the deployment answers as distributions ``[n, n_classes]``."""
        total = x.new_zeros(len(x), n_classes)
        for _ in range(self.repeats):
            if self.access == "labels":
                parts = [exposure.labels(part) for part in torch.split(x, CHUNK)]
                total += F.one_hot(torch.cat(parts), n_classes).to(total)
            else:
                total += torch.cat([exposure.scores(part) for part in torch.split(x, CHUNK)])
        total = total.clamp_min(0.0)
        sums = total.sum(1, keepdim=True)
        # An answer of zeros only says nothing.
        return torch.where(sums > 0, total / sums.clamp_min(1e-12), 1 / n_classes)

    def _students(self, x: Tensor, answers: Tensor, rng: torch.Generator) -> Committee:
        """Perceptrons that answer as the deployment does, frozen."""
        look, n_classes = Look.of(x, self.components), answers.shape[1]
        seen = look(x)
        with seeded(int(torch.randint(2**31, (1,), generator=rng, device=rng.device))):
            layers = [
                (nn.Linear(seen.shape[1], self.width), nn.Linear(self.width, n_classes))
                for _ in range(self.students)
            ]
        students = Perceptrons(layers).to(x.device)

        def losses(rows: Tensor) -> list[Tensor]:
            # The sum of the means: no student's gradient depends on another's.
            apart = -(students(seen[rows]).log_softmax(2) * answers[rows]).sum(2)
            return [apart.mean(1).sum()]

        count, lr = len(x), self.learning_rate
        (taught,) = teach([students], losses, count, self.epochs, rng, batch_size=128, lr=lr)
        return Committee(look, taught)


class Look(nn.Module):
    """Images as their principal components ``[n, k]``, each of them of the images' own scale.

    A perceptron of pixels spends nearly all its time on its first layer, and learns nothing from
    pixels that change together.
    """

    mean: Tensor
    axes: Tensor

    def __init__(self, mean: Tensor, axes: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("axes", axes)

    @classmethod
    def of(cls, x: Tensor, components: int) -> Look:
        """Components of at most 1,000 images ``[n, *shape]``."""
        mean, _, axes = eigenfaces(x[:1000].flatten(1))
        return cls(mean, axes[:components])

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[n, *shape]``."""
        return (x.flatten(1) - self.mean) @ self.axes.T


def questions(public: Tensor, latent: Latent, count: int, rng: torch.Generator) -> Tensor:
    """Images ``[count, *shape]`` in random order: public ones, mixtures, and draws of the prior.

    All public images where the count allows it; of the rest, half are mixtures of two public
    images in random proportions and half are draws of the prior.
    """
    order = torch.randperm(len(public), generator=rng, device=rng.device)
    own = public[order[:count]]
    mixed = (count - len(own)) // 2
    pairs = torch.randint(len(public), (2, mixed), generator=rng, device=rng.device)
    share = torch.rand(mixed, *[1] * (public.dim() - 1), generator=rng, device=rng.device)
    mixtures = torch.lerp(public[pairs[0]], public[pairs[1]], share)
    z = latent.draw(count - len(own) - mixed, rng)
    drawn = [latent.decode(part) for part in torch.split(z, CHUNK)] if len(z) else []
    x = torch.cat([own, mixtures, *drawn])
    return x[torch.randperm(len(x), generator=rng, device=rng.device)]
