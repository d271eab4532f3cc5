"""MIFace: gradient descent on pixels from a plain image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le, MinLen
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.latent import best_restart, last_fifth, require_classes
from bench.contract import Attack, Exposure, Knowledge, Reconstruction
from bench.contract.options import Count, Fraction, Positive, Probability


def denoise(x: Tensor) -> Tensor:
    """3x3 median filter of images ``[n, c, h, w]``."""
    n, c, h, w = x.shape
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return F.unfold(padded, 3).view(n, c, 9, h, w).median(2).values


def sharpen(x: Tensor) -> Tensor:
    """Unsharp mask of images ``[n, c, h, w]``: what a 3x3 mean removes is added once more."""
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (2 * x - blurred).clamp(0.0, 1.0)


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"denoise": denoise, "sharpen": sharpen}


def cost_and_gradient(network: nn.Module, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The cost ``1 - p_c(x)`` ``[n]`` and its gradient ``[n, *shape]``, exact when saturated.

    The cost is the sum of the other classes' probabilities, which keeps its digits where
    ``1 - p_c`` rounds to 0; its gradient by their logits is ``p_c p_j``, by the class's own
    ``-p_c (1 - p_c)``, again without cancellation. It does vanish where p_c does: that is the
    algorithm's own weakness.

    Args:
        network: returns logits ``[n, n_classes]``, not probabilities.
        x: images ``[n, *shape]``.
        classes: int64 ``[n]``.
    """
    x = x.detach().requires_grad_()
    logits = network(x)
    with torch.no_grad():
        own, p = classes.unsqueeze(1), logits.softmax(1)
        p_own, others = p.gather(1, own), p.scatter(1, own, 0.0)
        cost = others.sum(1, keepdim=True)
        slope = others.scatter_(1, own, -cost).mul_(p_own)
    (gradient,) = torch.autograd.grad(logits, x, slope)
    return cost.squeeze(1), gradient


PROBES = 512
"""Queries per call of a numeric gradient: a batch that stays in the processor's cache."""


def numeric_cost_and_gradient(
    scores: Callable[[Tensor], Tensor], x: Tensor, classes: Tensor, difference: float
) -> tuple[Tensor, Tensor]:
    """The cost ``1 - p_c(x)`` ``[n]`` and its gradient ``[n, *shape]`` by central differences.

    Every pixel of every image is moved by ``difference`` each way, within [0, 1]: ``2 d + 1``
    queries an image of d pixels, in batches that run across images.

    Args:
        scores: released scores ``[m, n_classes]`` of images ``[m, *shape]``.
        x: images ``[n, *shape]`` in [0, 1].
        classes: int64 ``[n]``.
        difference: how far a pixel is moved.
    """
    flat = x.flatten(1)
    n, d = flat.shape
    high, low = (flat + difference).clamp(max=1.0), (flat - difference).clamp(min=0.0)
    moved = torch.stack([high, low], 2).flatten()
    p = torch.empty_like(moved)
    batch = flat.new_empty(PROBES, d)
    line = torch.arange(PROBES, device=x.device)
    for start in range(0, len(moved), PROBES):
        rows = line[: len(moved) - start]
        probe = start + rows
        owner, pixel = probe // (2 * d), probe // 2 % d
        part = batch[: len(rows)]
        torch.index_select(flat, 0, owner, out=part)
        part[rows, pixel] = moved[probe]
        answers = scores(part.view(-1, *x.shape[1:]))
        p[probe] = answers[rows, classes[owner]]
    up, down = p.view(n, d, 2).unbind(2)
    here = torch.cat([scores(part) for part in torch.split(x, PROBES)])
    slope = (down - up) / (high - low)
    return 1 - here.gather(1, classes.unsqueeze(1)).squeeze(1), slope.view_as(x)


class _Runs:
    """Descents as one batch; those that have ended are kept aside, so no step selects rows.

    Args:
        x: first images ``[n, *shape]``, overwritten as the runs go on.
        classes: int64 ``[n]``.
        cost: ``[n]``, at ``x``.
        gradient: of the cost, ``[n, *shape]``.
        beta: length of the window of costs.
    """

    def __init__(
        self, x: Tensor, classes: Tensor, cost: Tensor, gradient: Tensor, beta: int
    ) -> None:
        n = len(x)
        # Of all runs.
        self.final, self.final_cost = x.clone(), cost.clone()
        self.steps = torch.zeros(n, dtype=torch.int64, device=x.device)
        self.reasons = [""] * n
        self.ended = cost.new_zeros(())
        self.trace = [(self.ended, cost)]
        # Of those that go on.
        self.row = torch.arange(n, device=x.device)
        self.x, self.classes, self.gradient = x, classes, gradient
        self.best, self.cost = x.clone(), cost
        self.other = self.best  # The best images are here or are the present ones.
        self.window = x.new_empty(n, beta)
        self.window[:, 0] = cost

    def move(self, step_size: float) -> None:
        """A step of descent within [0, 1]; an image that is the best so far is left in peace."""
        out, self.other = (self.other, self.x) if self.best is self.x else (self.x, self.other)
        torch.add(self.x, self.gradient, alpha=-step_size, out=out).clamp_(0.0, 1.0)
        self.x = out
        del self.gradient  # Its memory is warm: the next one takes it.

    def see(self, cost: Tensor, gradient: Tensor, step: int) -> Tensor:
        """Take note of a step; which runs (bool) the window of costs stops."""
        better = cost < self.cost
        if bool(better.all()):
            self.best, self.cost = self.x, cost
        else:
            self.cost = torch.where(better, cost, self.cost)
            torch.where(
                better.view(-1, *[1] * (self.x.dim() - 1)), self.x, self.best, out=self.best
            )
        self.gradient = gradient
        self.trace.append((self.ended, self.cost))
        beta = self.window.shape[1]
        full = step >= beta
        stalled = cost >= self.window.amax(1) if full else torch.zeros_like(better)
        self.window[:, step % beta] = cost
        return stalled

    def end(self, ended: Tensor, reasons: list[str], step: int) -> None:
        """Put the runs at ``ended`` (bool) aside, each with its reason, after ``step`` steps."""
        rows, go = self.row[ended], ~ended
        self.final[rows], self.steps[rows] = self.best[ended], step
        self.final_cost[rows] = self.cost[ended]
        self.ended = self.ended + self.cost[ended].sum()
        for row, reason in zip(rows.tolist(), reasons, strict=True):
            self.reasons[row] = reason
        for name in ("row", "x", "classes", "gradient", "best", "cost", "window"):
            setattr(self, name, getattr(self, name)[go])
        self.other = self.best

    def keep(self, paid: int, step: int) -> None:
        """Put aside all but the first ``paid`` runs, for want of queries."""
        late = torch.arange(len(self.row), device=self.row.device) >= paid
        if bool(late.any()):
            self.end(late, ["budget"] * int(late.sum()), step)

    def end_all(self, reason: str, step: int) -> None:
        """Put the others aside as well."""
        self.end(self.row >= 0, [reason] * len(self.row), step)


def _paid(exposure: Exposure, price: int, runs: int) -> int:
    """How many of the first runs the rest of the budget pays for, each at ``price`` queries."""
    return runs if exposure.left is None or price == 0 else min(runs, exposure.left // price)


@dataclass(frozen=True)
class MIFace(Attack):
    """Algorithm 1 of Fredrikson et al. 2015, for all classes and starts at once.

    ``x <- Process(clip(x - step_size * gradient of (1 - p_c(x))))`` from a plain image, keeping
    the best image seen. A run stops when its cost reaches ``gamma``, when the cost is no smaller
    than the largest of its last ``beta`` costs, or after ``alpha`` steps.

    By scores the gradient is numeric, as in the paper's black-box attack: two queries a pixel and
    step. Rounded scores hide a small ``difference``; a run whose gradient vanishes altogether ends
    as ``flat``, for it would not move again. A budget that does not pay for a step of every run is
    spent on the first runs.

    Attributes:
        access: ``weights`` or ``scores``.
        alpha: most steps.
        beta: length of the window of costs.
        gamma: cost ``1 - p_c`` at which a run is finished.
        step_size: the paper's lambda.
        process: filters applied after every step, of ``denoise`` and ``sharpen``.
        starts: grey level of the first image of each run, 0 (the paper's: black) to 1. The run
            with the lowest cost is returned: from black the gradient of some networks vanishes,
            from grey that of others.
        difference: scores: how far a pixel is moved each way, in grey levels of [0, 1].
    """

    access: Literal["weights", "scores"] = "weights"
    alpha: Count = 5000
    beta: Count = 100
    gamma: Fraction = 0.001
    step_size: Positive = 0.1
    process: tuple[Literal["denoise", "sharpen"], ...] = ()
    starts: Annotated[tuple[Probability, ...], MinLen(1)] = (0.0,)
    difference: Annotated[float, Gt(0), Le(1)] = 0.05

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K0"})
    paper = "Fredrikson, Jha, Ristenpart, CCS 2015, Algorithm 1; section 5: numeric gradients"

    def doubled(self) -> MIFace:
        """The same attack with twice the steps."""
        return replace(self, alpha=2 * self.alpha)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``: per class the stop reason (``gamma``, ``window``, ``alpha``; by scores also
        ``flat`` and ``budget``), steps and lowest cost of the chosen run, and the convergence
        figure: the share of the mean cost's whole decrease that fell in the last fifth of the
        steps.
        """
        targets = require_classes(knowledge, device)
        classes = targets.repeat(len(self.starts))
        grey = torch.tensor(self.starts, device=device).repeat_interleave(len(targets))
        shape = knowledge.card.shape
        x = grey.view(-1, *[1] * len(shape)).repeat(1, *shape)
        look = self._gradients(exposure)
        price = 2 * math.prod(shape) + 1 if self.access == "scores" else 0
        paid = _paid(exposure, price, len(x))
        # A cost that is not known is the largest there is.
        cost, gradient = x.new_ones(len(x)), torch.zeros_like(x)
        if paid == len(x):
            cost, gradient = look(x, classes)
        elif paid:
            cost[:paid], gradient[:paid] = look(x[:paid], classes[:paid])
        runs = _Runs(x, classes, cost, gradient, self.beta)
        runs.keep(paid, 0)
        for step in range(1, self.alpha + 1):
            runs.keep(_paid(exposure, price, len(runs.row)), step - 1)
            if price and not self.process:
                stuck = (runs.gradient == 0).flatten(1).all(1)
                if bool(stuck.any()):
                    runs.end(stuck, ["flat"] * int(stuck.sum()), step - 1)
            if len(runs.row) == 0:
                break
            runs.move(self.step_size)
            for name in self.process:
                runs.x = FILTERS[name](runs.x)
            stalled = runs.see(*look(runs.x, runs.classes), step)
            solved = runs.cost <= self.gamma
            stop = stalled | solved
            if bool(stop.any()):
                why = ["gamma" if done else "window" for done in solved[stop].tolist()]
                runs.end(stop, why, step)
        runs.end_all("alpha", self.alpha)
        rows = best_restart(-runs.final_cost, len(self.starts))
        return Reconstruction(
            runs.final[rows],
            {
                "stop_reasons": [runs.reasons[row] for row in rows.tolist()],
                "steps": runs.steps[rows].tolist(),
                "cost": runs.final_cost[rows].tolist(),
                "improvement_last_fifth": last_fifth(
                    torch.stack([ended + cost.sum() for ended, cost in runs.trace])
                ),
            },
        )

    def _gradients(self, exposure: Exposure) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Cost and gradient of images and classes, at the attack's access."""
        if self.access == "weights":
            network = exposure.network()
            return lambda x, c: cost_and_gradient(network, x, c)
        return lambda x, c: numeric_cost_and_gradient(exposure.scores, x, c, self.difference)
