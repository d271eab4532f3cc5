"""Are reconstructed records training records, or only what the population looks like (G4)?"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contract import DivergedError, Reconstruction, Score, Truth, generator, require
from bench.contract.columns import SAME, Layout

METRIC = "nearer_member"

DRAWS = 16
"""Subsets of the larger side that are compared, so that no single one decides."""
_NEAR = 16
"""Neighbours kept of each side, so that people may be left out: of 16 some are always drawn."""


@torch.no_grad()
def score(reconstruction: Reconstruction, truth: Truth) -> Score:
    """Share of the reconstructions that are nearer to a member than to any held-out record.

    The distance is Gower's (1971): the share of columns that differ, numbers in units of their
    public range. Members and held-out records are compared at matched counts (PROTOCOL 1.1, G4):
    of the larger side 16 fixed subsets of the smaller side's size are drawn, and the results
    averaged, since the nearest of more is nearer by itself. A tie counts half.

    Args:
        reconstruction: ``values`` ``[m, d]``; of a category the largest of its columns counts.
        truth: the splits.

    Returns:
        ``value`` and ``members``: that share; ``nonmembers``: the share nearer to a held-out
        record, so .5 is no leak and the two add up to 1. The ceiling is 1. ``extra``: how many
        equal a member (``exact_members``) or a held-out record (``exact_heldout``), the mean
        distances to the nearest of each (``distance_members``, ``distance_heldout``,
        ``distance_public``), and ``distinct``, the share of different reconstructions.
        ``outcomes``: per reconstruction ``success`` (0, .5, 1, or the mean over subsets), the
        three distances, and of its 16 nearest in the first subset of each side the distance
        (``near_members``, ``near_heldout``) and the person (``near_members_person``, even, and
        ``near_heldout_person``, odd: nobody is on both sides).

    Raises:
        DivergedError: the reconstruction holds NaN or Inf.
        UserError: no records, records of another shape, or pictures.
    """
    splits = truth.splits
    values = reconstruction.values.detach().float().cpu()
    require(
        len(values) > 0 and tuple(values.shape[1:]) == splits.card.shape,
        f"The attack returned values of shape {tuple(values.shape)}; the metric '{METRIC}' needs "
        f"at least one record of shape {splits.card.shape}.",
    )
    if not bool(torch.isfinite(values).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")
    public = splits.public.x.float().cpu()
    layout = Layout.of(splits.card, public)
    train, test = splits.train.x.float().cpu(), splits.test.x.float().cpu()
    subsets = matched(len(train), len(test))
    subsets_drawn = max(map(len, subsets))

    parts, nearest = [], []
    for part in torch.split(values, 256):
        near = [layout.gower(part, pool) for pool in (train, test)]
        sides = [
            torch.stack([d[:, rows].amin(1) for rows in side])
            for d, side in zip(near, subsets, strict=True)
        ]
        parts.append(torch.stack([side.expand(subsets_drawn, -1) for side in sides]))
        first = [d[:, side[0]] for d, side in zip(near, subsets, strict=True)]
        nearest.append([d.topk(min(_NEAR, d.shape[1]), largest=False) for d in first])
    member, heldout = torch.cat(parts, 2)  # each [draws, m]
    won = (member < heldout - SAME).double() + (member > heldout + SAME).double().neg()
    success = ((1 + won) / 2).mean(0)
    known = torch.cat([layout.gower(part, public).amin(1) for part in torch.split(values, 256)])
    outcomes = {
        "success": success,
        "distance_members": member.mean(0),
        "distance_heldout": heldout.mean(0),
        "distance_public": known,
    }
    extra = {k: float(v.mean()) for k, v in outcomes.items() if k != "success"}
    people = (2 * splits.train.person.cpu(), 2 * splits.test.person.cpu() + 1)
    for at, side in enumerate(("members", "heldout")):
        rows = subsets[at][0][torch.cat([part[at].indices for part in nearest])]
        outcomes[f"near_{side}"] = torch.cat([part[at].values for part in nearest])
        outcomes[f"near_{side}_person"] = people[at][rows]
    extra["exact_members"] = float((member < SAME).double().mean())
    extra["exact_heldout"] = float((heldout < SAME).double().mean())
    extra["distinct"] = len(torch.unique(layout.project(values), dim=0)) / len(values)
    value = float(success.mean())
    return Score(
        metric=METRIC,
        value=value,
        members=value,
        nonmembers=1.0 - value,
        ceiling=1.0,
        victims=len(success),
        extra=extra,
        outcomes=outcomes,
    )


def matched(members: int, heldout: int) -> tuple[list[Tensor], list[Tensor]]:
    """Row numbers of each side, as many as the smaller side has; one subset where they are equal.

    The larger side's subsets are fixed: they depend on the two counts alone.
    """
    n, most = min(members, heldout), max(members, heldout)
    rng = generator(0)
    draws = 1 if members == heldout else DRAWS
    larger = [torch.randperm(most, generator=rng)[:n] for _ in range(draws)]
    whole = [torch.arange(n)]
    return (larger, whole) if members >= heldout else (whole, larger)
