"""Inverse decoders: networks that turn what a deployment answers back into an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.latent import last_fifth
from attacks.common.ranges import AtLeastTwo
from bench.contract import Exposure, Knowledge, generator, require, seeded
from bench.contract.options import Count, Positive, check_options
from bench.contract.seeding import seed as derive

CHUNK = 256
"""Records per call to an exposure."""


@dataclass(frozen=True)
class DecoderOptions:
    """How a decoder is trained: the options of every attack that uses one.

    Attributes:
        access: ``scores`` or ``labels``.
        channels: of the largest feature map, halved from each block to the one before the image.
        epochs: passes over the public images.
        patience: passes without a smaller held-out error before it stops.
        batch_size: images per step.
        lr: Adam's learning rate, betas (0.5, 0.999); the paper's is 2e-4, for some 10^5 images.
        shift: c of ``max(log p + c, 0)``; null: 1 less the least log score ever answered, so that
            a withheld score stands one unit below the others.
        align: centre every answer and scale it to unit spread, and keep every coordinate in the
            range of the training answers. A target is surer of the people it knows than of the
            strangers a decoder is trained on, which would extrapolate. False: as published.
        holdout: share of the public people whose images choose the epoch.
        repeats: answers asked for each public image. Each is a training pair of its own: the
            decoder learns the expectation over a randomised release.
    """

    access: Literal["scores", "labels"] = "scores"
    channels: Annotated[int, Ge(8)] = 64
    epochs: Count = 100
    patience: Count = 15
    batch_size: AtLeastTwo = 32
    lr: Positive = 2e-3
    shift: Positive | None = None
    align: bool = True
    holdout: Annotated[float, Gt(0), Le(0.5)] = 0.1
    repeats: Count = 1

    def __post_init__(self) -> None:
        check_options(self)


class DecoderNet(nn.Module):
    """Transposed convolutions from a vector to an image, as in Yang et al. (CCS 2019).

    A linear layer gives a feature map of at most 7 pixels a side; blocks of ``ConvT(4, stride 2)``,
    batch normalisation and ReLU double it up to the image, which is cropped to its shape and
    squashed by a sigmoid. The last bias is an image of its own; the network starts at ``mean``
    whatever its input.

    Args:
        inputs: length of the vector.
        mean: mean image ``[c, h, w]`` in [0, 1].
        channels: of the first feature map.
    """

    def __init__(self, inputs: int, mean: Tensor, channels: int) -> None:
        super().__init__()
        c, height, width = mean.shape
        doublings = max(1, math.ceil(math.log2(max(height, width) / 7)))
        self.grid = tuple(-(-side // 2**doublings) for side in (height, width))
        self.size = (height, width)
        self.inputs = nn.Linear(inputs, channels * math.prod(self.grid))
        self.first = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        blocks: list[nn.Module] = []
        for _ in range(doublings - 1):
            less = max(8, channels // 2)
            conv = nn.ConvTranspose2d(channels, less, 4, stride=2, padding=1, bias=False)
            blocks += [conv, nn.BatchNorm2d(less), nn.ReLU()]
            channels = less
        last = nn.ConvTranspose2d(channels, c, 4, stride=2, padding=1, bias=False)
        nn.init.zeros_(last.weight)
        blocks.append(last)
        self.blocks = nn.Sequential(*blocks)
        self.bias = nn.Parameter(torch.logit(mean, eps=1e-3))

    def forward(self, a: Tensor) -> Tensor:
        """Images ``[n, c, h, w]`` in (0, 1) of vectors ``[n, inputs]``."""
        x = self.blocks(self.first(self.inputs(a).view(len(a), -1, *self.grid)))
        return torch.sigmoid(x[:, :, : self.size[0], : self.size[1]] + self.bias)


@dataclass(frozen=True)
class Decoder:
    """A fitted decoder and the answers it was fitted on.

    Attributes:
        encode: answers (scores ``[n, n_classes]`` or labels ``[n]``) to vectors.
        net: vectors to images.
        answers: what the deployment answered, ``[m, n_classes]`` or ``[m]``.
        info: ``epochs`` (kept), ``holdout_mse``, ``mean_mse`` (of the mean training image on the
            same held-out people), and the convergence figure of PROTOCOL C7.
    """

    encode: Callable[[Tensor], Tensor]
    net: nn.Module
    answers: Tensor
    info: dict[str, float]

    @torch.no_grad()
    def __call__(self, answers: Tensor) -> Tensor:
        """Images ``[n, c, h, w]`` of answers."""
        parts = torch.split(self.encode(answers), CHUNK)
        return torch.cat([self.net(part) for part in parts])


def fit_decoder(
    options: DecoderOptions,
    exposure: Exposure,
    knowledge: Knowledge,
    seed: int,
    device: str,
    later: int = 0,
) -> Decoder | None:
    """Ask the deployment about the public images and learn the way back.

    The queries are ordinary pictures, one (or ``repeats``) each, and are answered exactly as the
    victims' were: truncated, rounded or as labels.

    Args:
        options: of the decoder.
        exposure: it is asked about the public images.
        knowledge: with the public images.
        seed: of the order of the images and of the network.
        device: where the network is trained.
        later: queries that the attack still wants to ask; they are kept back of a budget where
            they are at most a quarter of it.

    Returns:
        None where the budget allows fewer than 4 queries; it is spent on a random part of the
        public images otherwise.

    Raises:
        UserError: there are fewer than 4 public images.
    """
    public = knowledge.public.to(device)
    require(len(public) >= 4, f"An inverse decoder needs 4 public images; there are {len(public)}.")
    order = torch.randperm(len(public), generator=generator(derive(seed, step="order")))
    rows = order.to(device).repeat(options.repeats)
    if exposure.left is not None:
        rows = rows[: exposure.left - (later if later <= exposure.left // 4 else 0)]
    if len(rows) < 4:
        return None
    ask = exposure.scores if options.access == "scores" else exposure.labels
    answers = torch.cat([ask(public.x[part]) for part in torch.split(rows, CHUNK)])
    encode = _encoder(answers, knowledge.card.n_classes, options.shift, options.align)
    held = _held_out(public.person[rows], options.holdout)
    net, info = _train(options, encode(answers), public.x[rows], held, derive(seed, step="net"))
    return Decoder(encode, net, answers, info)


def _encoder(
    answers: Tensor, n_classes: int, shift: float | None, align: bool
) -> Callable[[Tensor], Tensor]:
    """Vectors of answers: one-hot labels, or ``max(log p + c, 0)`` standardised like ``answers``.

    Standardising only rescales the first layer's weights; it spares Adam the large common offset.
    """
    if not answers.is_floating_point():
        return lambda labels: F.one_hot(labels, n_classes).float()
    if shift is None:
        answered = answers[answers > 0]
        least = float(answered.min()) if len(answered) else 1.0
        shift = 1.0 - math.log(max(least, 1e-20))

    def raw(scores: Tensor) -> Tensor:
        z = (scores.clamp_min(1e-30).log() + shift).clamp_min(0.0)
        if align:
            z = z - z.mean(1, keepdim=True)
            z = z / z.std(1, keepdim=True).clamp_min(1e-3)
        return z

    seen = raw(answers)
    mean, deviation = seen.mean(0), seen.std(0).clamp_min(1e-3)
    if not align:
        return lambda scores: (raw(scores) - mean) / deviation
    low, high = seen.amin(0), seen.amax(0)
    return lambda scores: (raw(scores).clamp(low, high) - mean) / deviation


def _held_out(person: Tensor, share: float) -> Tensor:
    """Which rows choose the epoch: the people seen last, bool ``[m]``.

    Whole people, for the victims are strangers too: other pictures of a training face would let
    the decoder memorise faces unpunished.
    """
    people = torch.unique(person)
    if len(people) < 2:
        first = min(len(person) * (1 - share), len(person) - 1)
        return torch.arange(len(person), device=person.device) >= first
    last = torch.stack([(person == p).nonzero().amin() for p in people]).argsort(descending=True)
    return torch.isin(person, people[last[: max(1, round(share * len(people)))]])


def _train(
    options: DecoderOptions, a: Tensor, x: Tensor, held: Tensor, seed: int
) -> tuple[nn.Module, dict[str, float]]:
    """Least squares by Adam; the weights of the epoch with the least held-out error are kept."""
    (a, x), (a_held, x_held) = (a[~held], x[~held]), (a[held], x[held])
    with seeded(seed):
        net = DecoderNet(a.shape[1], x.mean(0).cpu(), options.channels)
    net = net.to(a.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.Adam(net.parameters(), options.lr, betas=(0.5, 0.999), fused=True)
    steps = -(-len(a) // options.batch_size)
    rng = generator(seed)
    # Untrained, the network is the mean training image: no decoder is kept that is worse.
    blank = float(F.mse_loss(x.mean(0).expand_as(x_held), x_held))
    kept, best, best_epoch = {k: v.clone() for k, v in net.state_dict().items()}, blank, 0
    trace = [-best]
    for epoch in range(1, options.epochs + 1):
        net.train()
        order = torch.randperm(len(a), generator=rng).to(a.device)
        # Equal batches: batch normalisation cannot learn from a single leftover image.
        for rows in order.tensor_split(min(steps, max(1, len(a) // 2))):
            adam.zero_grad(set_to_none=True)
            torch.autograd.backward(F.mse_loss(net(a[rows]), x[rows]))
            adam.step()
        net.eval()
        with torch.no_grad():
            error = float(F.mse_loss(net(a_held), x_held))
        if error < best:
            best, best_epoch = error, epoch
            kept = {k: v.clone() for k, v in net.state_dict().items()}
        trace.append(-best)
        if epoch - best_epoch >= options.patience:
            break
    net.load_state_dict(kept)
    return net.eval(), {
        "epochs": best_epoch,
        "holdout_mse": best,
        "mean_mse": blank,
        "improvement_last_fifth": last_fifth(torch.tensor(trace)),
    }
