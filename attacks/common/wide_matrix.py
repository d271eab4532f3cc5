"""Baskets from the answers of a linear recommender whose matrix is too wide to be taken apart.

With 16,470 items the matrix has 271 million entries: its pseudo-inverse, and steps over all items,
would take hours. Two things make it short. A factorisation has few directions, and in these the
problem is small. Of a matrix with many directions, few items explain an answer: they are found
by how much of what is unexplained they would explain (matching pursuit; Needell and Tropp, CoSaMP,
2009, step 1), and the same least squares in the unit box is solved for these items alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract import generator, sparse

AFFINE = 1e-3
"""Largest root mean square error of the affine model, relative to the scores' deviation."""
_DIRECTIONS = 128
"""A matrix of fewer directions is solved in them."""
_NEW = 32
"""Items that a round adds to what may be in a basket."""
_ROUNDS = 4
_EXPLAINED = 1e-3
"""Part of an answer that may stay unexplained; beyond it further items are sought."""
_BOUGHT = 1e-2
"""How much of an item counts as bought when further ones are sought."""
_AT_A_TIME = 64
"""Victims who are solved together."""
_NOTHING = 1e-6
"""An item whose row is this much shorter than the longest says nothing in the scores."""


@dataclass(frozen=True)
class Rows:
    """The rows of the matrix of an affine network, asked for a few at a time.

    Attributes:
        network: maps baskets ``[n, n_items]`` in compressed rows to scores ``[n, n_items]``.
        n_items: size of the catalogue.
    """

    network: nn.Module
    n_items: int

    def scores(self, x: Tensor) -> Tensor:
        """Of baskets in compressed rows, ``[n, n_items]``."""
        scores: Tensor = self.network(x)
        return scores

    def offset(self) -> Tensor:
        """The scores of an empty basket, ``[n_items]``."""
        return self.scores(sparse.compressed(torch.zeros(1, self.n_items)))[0]

    def of(self, items: Tensor, offset: Tensor) -> Tensor:
        """The rows ``[k, n_items]`` of items int64 ``[k]``."""
        starts = torch.arange(len(items) + 1)
        ones = torch.ones(len(items))
        parts = dict(zip(sparse.PARTS, (starts, items, ones), strict=True))
        return self.scores(sparse.from_parts(parts, self.n_items)).sub_(offset)

    def parts(self, offset: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows, some at a time, each time with the items that they are of."""
        for items in torch.split(torch.arange(self.n_items), sparse.ROWS):
            yield items, self.of(items, offset)


def solve(
    rows: Rows, public: Tensor, observed: Tensor, popular: Tensor, steps: int
) -> tuple[Tensor | None, dict[str, Any]]:
    """How much of each item was bought, float32 ``[n, n_items]`` in [0, 1], and what was done.

    Args:
        rows: the recommender.
        public: baskets in compressed rows.
        observed: the victims' scores ``[n, n_items]``.
        popular: share of the public baskets that hold each item, ``[n_items]``.
        steps: of the projected gradient.

    Returns:
        None, and why, where there is nothing to solve.
    """
    offset = rows.offset()
    curved, spread = _nonlinearity(rows, public, offset)
    if spread == 0 or curved > AFFINE:
        why = "the network is constant" if spread == 0 else "the network is no matrix"
        return None, {"stop_reason": why}
    target, info = observed - offset, {"stop_reason": "solved", "nonlinearity": curved}
    basis, length = _directions(rows, offset)
    if basis is not None:
        values, rank = _in_directions(rows, basis, offset, target, popular, steps)
        return values, info | {"rank": rank}
    values, rest = _by_items(rows, offset, length, target, popular, steps)
    return values, info | {"unexplained": rest}


def _nonlinearity(rows: Rows, public: Tensor, offset: Tensor) -> tuple[float, float]:
    """How far the scores of public baskets are from the sums of their items', and their spread."""
    sample = next(sparse.blocks(public, 256))
    matrix = sparse.scipy_matrix(sample)
    items = torch.unique(torch.from_numpy(matrix.indices).long())
    alone = rows.of(items, offset)
    scores = rows.scores(sample)
    sums = torch.from_numpy(matrix[:, items.numpy()] @ alone.numpy())
    error = scores - offset - sums
    spread = float((scores - scores.mean(0)).square().mean().sqrt())
    return float(error.square().mean().sqrt()) / max(spread, 1e-12), spread


def _directions(rows: Rows, offset: Tensor) -> tuple[Tensor | None, Tensor]:
    """A basis ``[n_items, q]`` of what the rows span where q is small; their lengths ``[n_items]``.

    A few random combinations of the rows span whatever few directions they have (Halko,
    Martinsson and Tropp, SIAM Review 2011, section 4).
    """
    count = min(_DIRECTIONS, rows.n_items)
    mixing = torch.randn(count, rows.n_items, generator=generator(0))
    sketch = torch.zeros(count, rows.n_items)
    squares = torch.zeros(rows.n_items)
    for items, part in rows.parts(offset):
        squares[items] = part.square().sum(1)
        sketch += mixing[:, items] @ part
    _, sizes, vectors = torch.linalg.svd(sketch.double(), full_matrices=False)
    few = sizes > 1e-5 * sizes[0]
    basis = vectors[few].T
    whole = len(basis.T) < count or count == rows.n_items
    return basis if whole else None, squares.sqrt()


def _in_directions(
    rows: Rows, basis: Tensor, offset: Tensor, target: Tensor, popular: Tensor, steps: int
) -> tuple[Tensor, int]:
    """The least squares of the whole catalogue, in few directions: values and the rank."""
    matrix = torch.cat([part.double() @ basis for _, part in rows.parts(offset)])
    inverse = torch.linalg.pinv(matrix, rtol=1e-6)
    values = []
    for part in torch.split(target, _AT_A_TIME):  # as many as a cache holds
        wanted = part.double() @ basis
        start = (popular + (wanted - popular @ matrix) @ inverse).clamp(0.0, 1.0)
        values.append(boxed(matrix.float(), wanted.float(), start.float(), steps))
    return torch.cat(values), int(torch.linalg.matrix_rank(matrix, rtol=1e-6))


def _by_items(
    rows: Rows, offset: Tensor, length: Tensor, target: Tensor, popular: Tensor, steps: int
) -> tuple[Tensor, float]:
    """The least squares of the items that explain an answer; the mean part left unexplained.

    Items that the scores say nothing of are as likely as they are popular, all others are 0.
    """
    silent = length <= _NOTHING * length.max()
    values = torch.where(silent, popular.float(), 0.0).repeat(len(target), 1)
    live = (~silent).nonzero().squeeze(1)
    rest, size = target.clone(), target.norm(dim=1).clamp_min(1e-12)
    for _ in range(_ROUNDS):
        who = (rest.norm(dim=1) > _EXPLAINED * size).nonzero().squeeze(1)
        if len(who) == 0:
            break
        new = _explaining(rows, offset, length, live, rest[who], values[who])
        for some, theirs in zip(
            torch.split(who, _AT_A_TIME), torch.split(new, _AT_A_TIME), strict=True
        ):
            bought = (values[some] > _BOUGHT) & ~silent
            bought.scatter_(1, theirs, True)
            items = bought.any(0).nonzero().squeeze(1)
            own = rows.of(items, offset)
            for victim, mine in zip(some.tolist(), bought[:, items], strict=True):
                matrix = own[mine]
                share = _in_box(matrix, target[victim], steps)
                values[victim, live] = 0.0
                values[victim, items[mine]] = share
                rest[victim] = target[victim] - share @ matrix
    return values, float((rest.norm(dim=1) / size).mean())


def _explaining(
    rows: Rows, offset: Tensor, length: Tensor, live: Tensor, rest: Tensor, values: Tensor
) -> Tensor:
    """The items int64 ``[n, k]`` that would explain most of what is left of each answer."""
    worth = torch.full_like(rest, -torch.inf)
    for items in torch.split(live, sparse.ROWS):
        worth[:, items] = (rest @ rows.of(items, offset).T).div_(length[items])
    worth[values > _BOUGHT] = -torch.inf
    return worth.topk(min(_NEW, len(live)), 1).indices


def _in_box(matrix: Tensor, target: Tensor, steps: int) -> Tensor:
    """Least squares ``x @ matrix = target`` in the unit box, float32 ``[k]``, for a few rows."""
    matrix, wanted = matrix.double(), target.double().unsqueeze(0)
    # Not torch.linalg.lstsq: its last bits differ from call to call for one and the same input.
    free = wanted @ matrix.T @ torch.linalg.pinv(matrix @ matrix.T, hermitian=True)
    start = free.clamp(0.0, 1.0)
    # What is best without the box, and lies in it, is best in it.
    x = start if torch.allclose(start, free, atol=1e-4) else boxed(matrix, wanted, start, steps)
    return x[0].float()


def boxed(matrix: Tensor, target: Tensor, x: Tensor, steps: int) -> Tensor:
    """Least squares ``x @ matrix = target`` in the unit box, from ``x`` ``[n, d]`` on."""
    pull, narrow = target @ matrix.T, matrix.shape[1] < matrix.shape[0]
    gram = matrix.T @ matrix if narrow else matrix @ matrix.T
    rate = 1 / torch.linalg.eigvalsh(gram)[-1].clamp_min(1e-12)
    ahead, momentum = x, 1.0
    for _ in range(steps):
        slope = (ahead @ matrix) @ matrix.T if narrow else ahead @ gram
        new = (ahead - rate * (slope - pull)).clamp(0.0, 1.0)
        after = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / after * (new - x)
        x, momentum = new, after
    return x
