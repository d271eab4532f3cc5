"""The convolutional network among the judges of pictures of people (PROTOCOL 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import Split, generator, seeded

STEPS, MOST_STEPS = 300, 600
MOST_FOR_PEOPLE = 3000
_BATCH, _LR = 32, 2e-3
_SHARPNESS = 16.0
"""Logits are cosines times this number."""


class EvaluatorNet(nn.Module):
    """Three strided convolutions with group normalisation, a 128-wide layer and a cosine head.

    Args:
        channels: number of colour channels of the images.
        people: number of people that it tells apart, the private ones first.
    """

    def __init__(self, channels: int, people: int) -> None:
        super().__init__()

        def block(inward: int, outward: int) -> nn.Sequential:
            conv = nn.Conv2d(inward, outward, 3, stride=2, padding=1)
            return nn.Sequential(conv, nn.GroupNorm(8, outward), nn.SiLU())

        self.body = nn.Sequential(
            block(channels, 16),
            block(16, 32),
            block(32, 64),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(1024, 128),
            nn.SiLU(),
        )
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(128, people, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, people]`` of images ``[n, c, h, w]``."""
        direction = F.normalize(self.drop(self.body(x)))
        return _SHARPNESS * direction @ F.normalize(self.head.weight).T


def augment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Small turns, shifts, zooms, blur, light and noise, all drawn from ``rng`` (on the CPU).

    The blur matters: reconstructions are smoother than photographs, and an evaluator that has never
    seen a smooth face rejects the right one (PROTOCOL 0, finding 4).
    """
    n = len(x)

    def draw(width: float) -> Tensor:
        return (torch.rand(n, generator=rng).to(x.device) * 2 - 1) * width

    turn, zoom = draw(0.12), 1 + draw(0.1)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    theta = torch.stack(
        [torch.stack([cos, -sin, draw(0.1)], 1), torch.stack([sin, cos, draw(0.1)], 1)], 1
    )
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.lerp(blurred, x, torch.rand(n, 1, 1, 1, generator=rng).to(x.device))
    x = (x - 0.5) * (1 + draw(0.2)).view(-1, 1, 1, 1) + 0.5 + draw(0.1).view(-1, 1, 1, 1)
    return x + 0.03 * torch.randn(x.shape, generator=rng).to(x.device)


def steps_for(members: int, people: int) -> int:
    """Steps of training: more for many pictures of members, and for many people to tell apart.

    Of 900 people of LFW at 32 pixels, 600 steps named 48 % of the held-out pictures of 60 right
    and 3000 steps 71 %.
    """
    longer = min(MOST_STEPS, STEPS * max(1, -(-members // 200)))
    return max(longer, min(MOST_FOR_PEOPLE, STEPS * (people // 100)))


def fit(parts: Sequence[Split], people: int, steps: int, seed: int, device: str) -> EvaluatorNet:
    """Train on equal shares of a batch from each part, so that strangers are no majority.

    Args:
        parts: pictures and owners; empty ones are left out.
        people: number of owners.
        steps: of the optimiser.
        seed: decides weights, batches and augmentation.
        device: torch device name.

    Returns:
        The network on the CPU, in evaluation mode.
    """
    rng = generator(seed)
    sides = [(split.x.to(device), split.y.to(device)) for split in parts if len(split)]
    share = _BATCH // len(sides)
    with seeded(seed, device):
        net = EvaluatorNet(sides[0][0].shape[1], people).to(device)
        optimiser = torch.optim.AdamW(net.parameters(), _LR, weight_decay=1e-2, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LR, total_steps=steps)
        for _ in range(steps):
            rows = [torch.randint(len(x), (share,), generator=rng).to(device) for x, _ in sides]
            x = torch.cat([side[0][row] for side, row in zip(sides, rows, strict=True)])
            y = torch.cat([side[1][row] for side, row in zip(sides, rows, strict=True)])
            optimiser.zero_grad()
            loss = F.cross_entropy(net(augment(x, rng)), y, label_smoothing=0.1)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return net.cpu().eval()
