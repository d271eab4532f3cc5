"""Who is attacked: training members and as many matched non-members."""

from __future__ import annotations

import torch

from bench.contract import Split, Splits, Victims, generator, require, sparse


def draw(splits: Splits, seed: int, limit: int = 1000) -> Victims:
    """Draw victims: equal numbers of members and non-members, shuffled together.

    Members come from ``train``, non-members from ``test``: the same population, the same classes,
    only one of them seen by the target (PROTOCOL 2.0, member-specific leakage).

    Args:
        splits: the data.
        seed: decides who is drawn and in which order.
        limit: most victims per side; the smaller split may give fewer.

    Returns:
        ``2 n`` dense records, ``n = min(limit, len(train), len(test))``, and who is a member.

    Raises:
        UserError: ``limit`` below 1 or an empty split.
    """
    n = min(limit, len(splits.train), len(splits.test))
    require(
        n >= 1,
        f"Data set '{splits.card.name}' offers no victims: limit is {limit} (allowed: 1 or more), "
        f"'train' has {len(splits.train)} records, 'test' {len(splits.test)}; raise what is 0.",
    )
    rng = generator(seed)
    members = splits.train.take(torch.randperm(len(splits.train), generator=rng)[:n])
    others = splits.test.take(torch.randperm(len(splits.test), generator=rng)[:n])
    order = torch.randperm(2 * n, generator=rng)
    return Victims(_join(members, others).take(order), (torch.arange(2 * n) < n)[order])


def _join(a: Split, b: Split) -> Split:
    s = None if a.s is None or b.s is None else torch.cat([a.s, b.s])
    x = torch.cat([sparse.dense(a.x), sparse.dense(b.x)])
    return Split(x, torch.cat([a.y, b.y]), torch.cat([a.person, b.person]), s)
