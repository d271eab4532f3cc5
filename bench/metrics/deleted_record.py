"""Does a deletion give away the deleted record (PROTOCOL 2.7)?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import DivergedError, Reconstruction, Score, Truth, require
from bench.contract.columns import Layout
from bench.metrics.gradient_reconstruction import TABLES, TOLERANCE


@torch.no_grad()
def score(reconstruction: Reconstruction, truth: Truth) -> Score:
    """Judge one record per victim: the share of its columns that are right.

    The rule for a column is that of gradient reconstruction. Only members had a record that was
    deleted, so the success is theirs; for a victim who is none, somebody else's was deleted.

    Args:
        reconstruction: ``values`` ``[n, d]``, or ``[1, d]`` for all victims; of a category the
            largest of its columns counts. ``labels`` int64 ``[n]`` or None.
        truth: with ``victims``.

    Returns:
        ``value`` and ``members``: of the members; ``nonmembers``: of the others; the ceiling is 1.
        ``extra``, of the members: ``cosine`` (of the records as they are encoded, the figure of
        Bertran et al., NeurIPS 2024), ``cosine_centred`` (of both less the public mean, in public
        standard deviations; 0 for the public mean itself), ``exact`` (all columns right),
        ``identified`` (nearer to the deleted record than to any other member or held-out record,
        in public standard deviations), and with labels ``label_matched``.

    Raises:
        DivergedError: the reconstruction holds NaN or Inf.
        UserError: it has another shape than one record and one label per victim.
    """
    require(truth.victims is not None, f"The metric '{TABLES}' of deletions needs victims.")
    assert truth.victims is not None
    splits, member = truth.splits, truth.victims.member.cpu()
    records, y = truth.victims.records.x.float().cpu(), truth.victims.records.y.cpu()
    values = reconstruction.values.detach().float().cpu()
    if len(values) == 1:
        values = values.expand(len(records), -1)
    labels = reconstruction.labels
    require(
        values.shape == records.shape and (labels is None or labels.shape == y.shape),
        f"The attack returned values of shape {tuple(values.shape)} and "
        f"{'no' if labels is None else len(labels)} labels; the metric '{TABLES}' of deletions "
        f"needs one record per victim, {tuple(records.shape)}, and as many labels or none.",
    )
    if not bool(torch.isfinite(values).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")
    public = splits.public.x.float().cpu()
    layout = Layout.of(splits.card, public)
    right = layout.right(values, records, TOLERANCE)
    share = right.double().mean(1)
    centre, scale = public.mean(0), public.std(0, correction=0).clamp_min(1e-3)
    outcomes = {
        "cosine": F.cosine_similarity(values, records),
        "cosine_centred": F.cosine_similarity(
            (values - centre) / scale, (records - centre) / scale
        ),
        "exact": right.all(1),
        "identified": _nearest(
            values / scale, records / scale, torch.cat([splits.train.x, splits.test.x]) / scale
        ),
    }
    if labels is not None:
        outcomes["label_matched"] = labels.cpu() == y
    return Score(
        metric=TABLES,
        value=float(share[member].mean()),
        members=float(share[member].mean()),
        nonmembers=float(share[~member].mean()),
        ceiling=1.0,
        victims=int(member.sum()),
        extra={k: float(v[member].double().mean()) for k, v in outcomes.items()},
        outcomes={**outcomes, "share": share, "member": member},
    )


def _nearest(values: Tensor, records: Tensor, pool: Tensor) -> Tensor:
    """Whether no record of ``pool`` ``[k, d]`` is nearer to each value than its own record."""
    own = (values - records).norm(dim=1)
    others = torch.cdist(values, pool.cpu(), compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    # The pool holds the record itself: equal up to rounding is its own.
    nearest: Tensor = own <= others * (1 + 1e-5)
    return nearest
