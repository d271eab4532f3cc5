"""Do shared updates give away the records behind them (PROTOCOL 2.2, 2.3)?

A picture is judged by its matched PSNR, a row of a table by how many of its columns are right.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from bench.contract import DivergedError, Reconstruction, Score, Splits, Truth, require
from bench.contract.columns import Layout
from bench.metrics.images import psnr, ssim

IMAGES, TABLES = "records_recovered", "columns_recovered"
"""Headline metric of each modality."""

LEAST = 25.0
"""dB below which nothing counts as recovered."""
MARGIN = 3.0
"""dB by which a reconstruction must beat the record's nearest other record."""
TOLERANCE = 0.319
"""Public standard deviations within which a number is recovered (Vero et al., ICML 2023, 5)."""
_SAME = 1e-8
"""Mean squared error (80 dB) below which two records are one picture at 8 bits."""


def assign(values: Tensor, records: Tensor) -> Tensor:
    """For each record of a client, the row of ``values`` that is meant for it.

    Hungarian assignment on the mean squared error, client by client: an update does not tell the
    order of its batch.

    Args:
        values: ``[clients, batch, d]``.
        records: the same shape.

    Returns:
        int64 ``[clients, batch]``, a permutation per client.
    """
    cost = torch.cdist(records, values, compute_mode="donot_use_mm_for_euclid_dist").square()
    return torch.stack([torch.from_numpy(linear_sum_assignment(c.numpy())[1]) for c in cost])


def nearest_other(records: Tensor, pool: Tensor) -> Tensor:
    """PSNR ``[n]`` in dB of each record to the nearest different one of ``pool``.

    Pictures that are the same at 8 bits are one picture: to recover either is to recover both.
    """
    flat = pool.flatten(1)
    parts = [
        torch.cdist(part, flat, compute_mode="donot_use_mm_for_euclid_dist").square()
        for part in torch.split(records.flatten(1), 64)
    ]
    error = torch.cat(parts) / flat.shape[1]
    error = error.masked_fill(error < _SAME, torch.inf)
    out: Tensor = -10 * error.amin(1).log10()
    return out


def label_overlap(found: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Share of every client's labels that were found, as multisets: ``[clients]``.

    Args:
        found: int64 ``[clients, batch]``.
        labels: the same shape.
        n_classes: number of classes.
    """
    counts = (F.one_hot(found, n_classes).sum(1), F.one_hot(labels, n_classes).sum(1))
    return torch.minimum(*counts).sum(1) / labels.shape[1]


@torch.no_grad()
def score(reconstruction: Reconstruction, truth: Truth) -> Score:
    """Judge one record per victim; every victim is a row, whatever became of its reconstruction.

    Args:
        reconstruction: ``values`` ``[n, *shape]``; ``labels`` int64 ``[n]`` or None.
        truth: with ``victims`` client by client and the ``federation``.

    Returns:
        ``value``: the headline over all victims; ``members`` and ``nonmembers``: of each side; the
        ceiling is 1. ``extra`` and ``outcomes`` (per victim, in the victims' order) are those of
        the modality's judge, and with labels ``label_recovery`` (overlap of the multisets of each
        client) and ``label_matched`` (label of the matched row).

    Raises:
        DivergedError: the reconstruction holds NaN or Inf.
        UserError: it has another shape than one record and one label per victim.
    """
    splits = truth.splits
    image = splits.card.modality == "image"
    metric = IMAGES if image else TABLES
    require(
        truth.victims is not None and truth.federation is not None,
        f"The metric '{metric}' needs victims and the federation they take part in.",
    )
    assert truth.victims is not None and truth.federation is not None
    clients = truth.federation.clients
    records, member = truth.victims.records.x.float().cpu(), truth.victims.member.cpu()
    y = truth.victims.records.y.cpu()
    values = reconstruction.values.detach().float().cpu()
    require(
        values.shape == records.shape,
        f"The attack returned values of shape {tuple(values.shape)}; the metric '{metric}' needs "
        f"one {'image' if image else 'record'} per victim, {tuple(records.shape)}.",
    )
    labels = reconstruction.labels
    require(
        labels is None or labels.shape == y.shape,
        f"The attack returned {0 if labels is None else len(labels)} labels; the metric "
        f"'{metric}' needs one per victim, {len(y)}, or None.",
    )
    if not bool(torch.isfinite(values).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")

    judge = _judge_images if image else _judge_tables
    rows, hit, outcomes, extra = judge(values, records, clients, splits)
    outcomes |= {
        "member": member,
        "client": torch.arange(clients).repeat_interleave(len(records) // clients),
    }
    if labels is not None:
        labels, wide = labels.cpu(), (clients, len(records) // clients)
        outcomes["label_matched"] = labels[rows] == y
        overlap = label_overlap(labels.view(wide), y.view(wide), splits.card.n_classes)
        extra["label_recovery"] = float(overlap.mean())
        extra["label_matched"] = float(outcomes["label_matched"].float().mean())
    return Score(
        metric=metric,
        value=float(hit.mean()),
        members=float(hit[member].mean()),
        nonmembers=float(hit[~member].mean()),
        ceiling=1.0,
        victims=clients,
        extra=extra,
        outcomes=outcomes,
    )


Judged = tuple[Tensor, Tensor, dict[str, Tensor], dict[str, float]]
"""Which row of the reconstruction each victim was matched to ``[n]``, the headline per victim
``[n]``, outcomes and extras."""


def _judge_images(values: Tensor, records: Tensor, clients: int, splits: Splits) -> Judged:
    """A picture is recovered at a PSNR above 25 dB and above the nearest other picture's plus 3 dB.

    What is no nearer than another picture of the same kind reveals the kind, not the record.

    Args:
        values: ``[n, c, h, w]``, clipped to [0, 1] before they are judged.
        records: the victims', the same shape.
        clients: number of clients.
        splits: the data; other pictures are its private and held-out ones.

    Returns:
        Headline: recovered or not. ``extra``: ``psnr_mean`` and ``psnr_median`` (at most 100 dB),
        ``ssim``, ``exact`` (equal when rounded to 8 bits), ``nearest_other`` (median dB).
    """
    values = values.clamp(0.0, 1.0)
    wide = clients, len(records) // clients, -1
    order = assign(values.reshape(wide), records.reshape(wide))
    rows = (order + wide[1] * torch.arange(clients).unsqueeze(1)).flatten()
    values = values[rows]

    quality = psnr(values, records)
    other = nearest_other(records, torch.cat([splits.train.x, splits.test.x]).float().cpu())
    success = (quality > LEAST) & (quality > other + MARGIN)
    outcomes = {
        "success": success,
        "psnr": quality,
        "nearest_other": other,
        "ssim": ssim(values, records),
        "exact": ((255 * values).round() == (255 * records).round()).flatten(1).all(1),
    }
    extra = {
        "psnr_mean": float(quality.mean()),
        "psnr_median": float(quality.median()),
        "ssim": float(outcomes["ssim"].mean()),
        "exact": float(outcomes["exact"].float().mean()),
        "nearest_other": float(other.median()),
    }
    return rows, success.float(), outcomes, extra


def _judge_tables(values: Tensor, records: Tensor, clients: int, splits: Splits) -> Judged:
    """The share of a record's columns that are right (Vero et al., ICML 2023, section 5).

    A category must be the same, a number lie within 0.319 public standard deviations. The rows of
    a client are matched by the Hungarian algorithm on that share. Many columns are guessed from
    the marginals alone, so the share of whole records stands beside it.

    Args:
        values: ``[n, d]``; of a category the largest of its columns counts.
        records: the victims', the same shape.
        clients: number of clients.
        splits: the data.

    Returns:
        Headline: the share of columns. ``extra``: ``exact`` (all of a record's columns right),
        ``categorical`` and ``numeric`` (where there are such columns). ``outcomes``: ``success``
        (all right), ``share``, and ``categorical`` and ``numeric`` shares.
    """
    layout = Layout.of(splits.card, splits.public.x.float().cpu())
    batch = len(records) // clients
    wide = clients, batch, -1
    guess, wanted = values.view(wide).unsqueeze(1), records.view(wide).unsqueeze(2)
    right = layout.right(guess, wanted, TOLERANCE)  # [clients, victim, row, columns]
    worth = right.double().mean(-1)
    order = torch.stack(
        [torch.from_numpy(linear_sum_assignment(c.numpy(), maximize=True)[1]) for c in worth]
    )
    rows = (order + batch * torch.arange(clients).unsqueeze(1)).flatten()
    right = layout.right(values[rows], records, TOLERANCE)
    outcomes = {"success": right.all(1), "share": right.double().mean(1)}
    for name, part in (
        ("categorical", right[:, : layout.discrete]),
        ("numeric", right[:, layout.discrete :]),
    ):
        if part.shape[1]:
            outcomes[name] = part.double().mean(1)
    extra = {k: float(v.double().mean()) for k, v in outcomes.items() if k != "share"}
    extra["exact"] = extra.pop("success")
    return rows, outcomes["share"], outcomes, extra
