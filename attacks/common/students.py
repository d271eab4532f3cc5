"""Students of the target: small networks distilled from its answers on what the attacker holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.latent import CHUNK
from attacks.common.selection import Views
from bench.contract import DivergedError, require, seeded

WIDTHS = ((8, 16), (16, 32), (8, 16, 32), (12, 24), (24, 48), (12, 24, 48))
"""Channels of the blocks of the first, second, ... student: no two have the same architecture."""


def build(shape: tuple[int, ...], n_classes: int, widths: tuple[int, ...]) -> nn.Sequential:
    """A small convolutional network for images ``[n, *shape]``, returning logits.

    Blocks of a 3x3 convolution, group normalisation, SiLU and 2x2 pooling, as many as the image
    has room for; on images of 24 pixels or more the first convolution has a stride of 2.
    """
    stride = 2 if min(shape[1:]) >= 24 else 1
    sides = [-(-side // stride) for side in shape[1:]]
    layers: list[nn.Module] = []
    before = shape[0]
    for after in widths[: max(1, min(sides).bit_length() - 1)]:
        step = 1 if layers else stride
        layers += [nn.Conv2d(before, after, 3, step, 1), nn.GroupNorm(4, after), nn.SiLU()]
        if min(sides) > 1:
            layers.append(nn.MaxPool2d(2))
            sides = [side // 2 for side in sides]
        before = after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * sides[0] * sides[1], n_classes))


def distill(
    teacher: nn.Module,
    images: Tensor,
    n_classes: int,
    students: int,
    epochs: int,
    rng: torch.Generator,
    *,
    batch_size: int = 32,
    lr: float = 5e-3,
    temperature: float = 1.0,
    views: Views | None = None,
) -> tuple[list[nn.Module], list[float]]:
    """Students that answer as the teacher does (Hinton et al., 2015; LOMMA, section 4.2).

    They learn together, on the same views, with the divergence of the teacher's softened scores
    from theirs. The temperature is relative to the teacher's own logits, so that neither flat nor
    saturated scores hide what it knows. Rates fall to 0 by a half cosine.

    Args:
        teacher: returns logits ``[n, n_classes]``.
        images: what the attacker holds, ``[n, *shape]`` in [0, 1]; no labels are used.
        n_classes: of the teacher.
        students: how many, each of another architecture.
        epochs: passes over ``images``.
        rng: of initial weights, order and views, on the images' device.
        batch_size: images per step.
        lr: of Adam.
        temperature: of the softened scores, in standard deviations of the teacher's logits over
            ``images`` (averaged over classes); the students' own logits are in that unit.
        views: random views the teacher is asked about; null: the images as they are.

    Returns:
        The students, frozen and in evaluation mode, and the share of ``images`` on which each
        names the teacher's class.

    Raises:
        UserError: more students than architectures.
        DivergedError: a loss became NaN or Inf.
    """
    require(
        0 <= students <= len(WIDTHS),
        f"students is {students}; give 0 to {len(WIDTHS)}: each has an architecture of its own.",
    )
    if students == 0:
        return [], []
    device, shape = images.device, tuple(images.shape[1:])
    with seeded(int(torch.randint(2**31, (1,), generator=rng, device=device))):
        learners = [build(shape, n_classes, widths).to(device) for widths in WIDTHS[:students]]
    with torch.no_grad():
        logits = torch.cat([teacher(part) for part in torch.split(images, CHUNK)])
    scale = temperature * logits.std(0).mean().clamp_min(1e-6)

    def losses(rows: Tensor) -> list[Tensor]:
        x = images[rows] if views is None else views(images[rows], rng)
        with torch.no_grad():
            soft = (teacher(x) / scale).log_softmax(1)
        answers = [m(x).log_softmax(1) for m in learners]
        return [F.kl_div(own, soft, reduction="batchmean", log_target=True) for own in answers]

    frozen = teach(learners, losses, len(images), epochs, rng, batch_size=batch_size, lr=lr)
    named = logits.argmax(1)
    return frozen, [float((labels(m, images) == named).float().mean()) for m in frozen]


def teach(
    students: Sequence[nn.Module],
    losses: Callable[[Tensor], list[Tensor]],
    count: int,
    epochs: int,
    rng: torch.Generator,
    *,
    batch_size: int,
    lr: float,
) -> list[nn.Module]:
    """Train all students on the same batches, by Adam with a rate that falls by a half cosine.

    Args:
        students: in training mode.
        losses: of rows int64 ``[b]``: one for each student.
        count: number of rows.
        epochs: passes over the rows.
        rng: of their order.
        batch_size: rows per step.
        lr: of Adam.

    Returns:
        The students, frozen and in evaluation mode.

    Raises:
        DivergedError: a loss became NaN or Inf.
    """
    optimiser = torch.optim.Adam([p for m in students for p in m.parameters()], lr, fused=True)
    steps = epochs * -(-count // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        order = torch.randperm(count, generator=rng, device=rng.device)
        for rows in torch.split(order, batch_size):
            loss = reduce(torch.add, losses(rows))
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    if not bool(torch.isfinite(loss)):
        raise DivergedError(f"A student's distillation diverged; lower its learning rate ({lr}).")
    return [m.requires_grad_(False).eval() for m in students]


@torch.no_grad()
def labels(network: nn.Module, x: Tensor) -> Tensor:
    """Classes int64 ``[n]`` that a network names for images ``[n, *shape]``."""
    return torch.cat([network(part).argmax(1) for part in torch.split(x, CHUNK)])
