"""Do shared updates give away the records behind them? Matched PSNR (PROTOCOL 2.2)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from bench.contract import DivergedError, Reconstruction, Score, Truth, require
from bench.metrics.images import psnr, ssim

METRIC = "records_recovered"

LEAST = 25.0
"""dB below which nothing counts as recovered."""
MARGIN = 3.0
"""dB by which a reconstruction must beat the record's nearest other record."""
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
    """Judge one image per victim; every victim is a row, whatever became of its reconstruction.

    A record is recovered if its matched reconstruction reaches a PSNR above 25 dB and above that
    of the nearest different private or held-out record plus 3 dB: what is no nearer than another
    picture of the same kind reveals the kind, not the record.

    Args:
        reconstruction: ``values`` ``[n, c, h, w]``, clipped to [0, 1] before they are judged;
            ``labels`` int64 ``[n]`` or None.
        truth: with ``victims`` client by client and the ``federation``.

    Returns:
        ``value``: share of all victims recovered; ``members`` and ``nonmembers``: of each side.
        ``extra``: ``psnr_mean`` and ``psnr_median`` (at most 100 dB), ``ssim``, ``exact`` (equal
        when rounded to 8 bits), ``nearest_other`` (median dB), and with labels
        ``label_recovery`` (overlap of the multisets of each client) and ``label_matched`` (label
        of the matched row). ``outcomes``: per victim, in the victims' order.

    Raises:
        DivergedError: the reconstruction holds NaN or Inf.
        UserError: it has another shape than one image and one label per victim.
    """
    require(
        truth.victims is not None and truth.federation is not None,
        f"The metric '{METRIC}' needs victims and the federation they take part in.",
    )
    assert truth.victims is not None and truth.federation is not None
    splits, clients = truth.splits, truth.federation.clients
    records, member = truth.victims.records.x.float().cpu(), truth.victims.member.cpu()
    y = truth.victims.records.y.cpu()
    values = reconstruction.values.detach().float().cpu()
    require(
        values.shape == records.shape,
        f"The attack returned values of shape {tuple(values.shape)}; the metric '{METRIC}' needs "
        f"one image per victim, {tuple(records.shape)}.",
    )
    labels = reconstruction.labels
    require(
        labels is None or labels.shape == y.shape,
        f"The attack returned {0 if labels is None else len(labels)} labels; the metric "
        f"'{METRIC}' needs one per victim, {len(y)}, or None.",
    )
    if not bool(torch.isfinite(values).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")
    values = values.clamp(0.0, 1.0)

    wide = clients, len(records) // clients, -1
    order = assign(values.reshape(wide), records.reshape(wide))
    rows = (order + wide[1] * torch.arange(clients).unsqueeze(1)).flatten()
    values = values[rows]

    quality = psnr(values, records)
    other = nearest_other(records, torch.cat([splits.train.x, splits.test.x]).float().cpu())
    success = (quality > LEAST) & (quality > other + MARGIN)
    outcomes = {
        "member": member,
        "client": torch.arange(clients).repeat_interleave(wide[1]),
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
    if labels is not None:
        labels = labels.cpu()
        outcomes["label_matched"] = labels[rows] == y
        overlap = label_overlap(labels.view(wide[:2]), y.view(wide[:2]), splits.card.n_classes)
        extra["label_recovery"] = float(overlap.mean())
        extra["label_matched"] = float(outcomes["label_matched"].float().mean())
    hit = success.float()
    return Score(
        metric=METRIC,
        value=float(hit.mean()),
        members=float(hit[member].mean()),
        nonmembers=float(hit[~member].mean()),
        ceiling=1.0,
        extra=extra,
        outcomes=outcomes,
    )
