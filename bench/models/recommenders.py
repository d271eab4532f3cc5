"""Recommenders: from what a customer bought to a score for everything the shop sells."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import lapack
from scipy.sparse import linalg
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import (
    Count,
    DivergedError,
    Network,
    Positive,
    Recipe,
    Share,
    Task,
    seeded,
    sparse,
)
from bench.models.recipe import Solved, Trained

_FLOAT32_CONDITION = 1e3
"""Condition number up to which float32 inverts with a relative error of about 1e-4 or less."""


@dataclass(frozen=True)
class Ease(Solved):
    """EASE, the linear item-to-item model in closed form (Steck, WWW 2019, section 3).

    Attributes:
        penalty: lambda, the L2 penalty on the weights, in units of a customer.
    """

    penalty: Positive = 100.0

    takes_sparse = True
    modalities = frozenset({"basket"})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    offers: ClassVar[frozenset[str]] = frozenset()
    reference = "item_knn"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A model that recommends nothing, whatever the seed."""
        network = Network(nn.Sequential(), nn.Linear(prod(shape), width, bias=False))
        nn.init.zeros_(network.head.weight)
        return network

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """``B = I - P diag(1 / diag P)`` with ``P = (X'X + lambda I)^-1`` (eq. 8), in float64.

        Of baskets in compressed rows see :func:`_inverse`.
        """
        if sparse.is_sparse(x):
            _store(network.head.weight.detach(), *_inverse(x, self.penalty))
            return
        bought = x.flatten(1).double()
        eye = torch.eye(bought.shape[1], dtype=bought.dtype, device=bought.device)
        p = torch.linalg.inv(bought.T @ bought + self.penalty * eye)
        weight = eye - p / p.diagonal()
        weight.fill_diagonal_(0.0)
        with torch.no_grad():
            network.head.weight.copy_(weight.T)


@dataclass(frozen=True)
class PureSvd(Solved):
    """PureSVD, a factorisation that serves new customers too (Cremonesi et al., RecSys 2010).

    ``scores = x V V'`` with the leading right singular vectors of the members' baskets.

    Attributes:
        factors: number of singular vectors.
    """

    factors: Count = 10

    takes_sparse = True
    modalities = frozenset({"basket"})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    offers: ClassVar[frozenset[str]] = frozenset()
    reference = "item_knn"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A model that recommends nothing, whatever the seed."""
        factors = min(self.factors, prod(shape))
        into = nn.Linear(prod(shape), factors, bias=False)
        network = Network(nn.Sequential(into), nn.Linear(factors, width, bias=False))
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """Eigenvectors of ``X'X`` in float64, largest first; each is signed by its largest item."""
        into, head = network.blocks[0], network.head
        assert isinstance(into, nn.Linear)
        if sparse.is_sparse(x):
            vectors = _leading_vectors(x, into.out_features)
        else:
            bought = x.flatten(1).double()
            vectors = torch.linalg.eigh(bought.T @ bought).eigenvectors.flip(1)
        v = vectors[:, : into.out_features]
        v = v * v.gather(0, v.abs().argmax(0, keepdim=True)).sign()
        with torch.no_grad():
            into.weight.copy_(v.T)
            head.weight.copy_(v)


def _inverse(x: Tensor, penalty: float) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """``P = (X'X + lambda I)^-1`` of the items that anybody bought, and which these are.

    An item that nobody bought stands alone in ``X'X``: its weights are 0. The others are inverted
    in place by Cholesky's factors, so that one matrix is all the memory it takes: in float32 where
    its condition number leaves four digits, else in float64.

    Returns:
        The lower triangle of P ``[m, m]`` (what stands above it means nothing), and the items.
    """
    bought = sparse.scipy_matrix(x).astype(np.float64)
    live = np.flatnonzero(np.asarray(bought.sum(axis=0)).ravel()).astype(np.int64)
    gram = (bought.T @ bought).tocsr()[live][:, live]
    if len(live) > 2:
        largest = linalg.eigsh(gram, 1, v0=np.ones(len(live)), return_eigenvectors=False)[0]
    else:
        largest = np.linalg.norm(gram.toarray(), 2)
    condition = 1.0 + float(largest) / penalty
    kind = np.float32 if condition <= _FLOAT32_CONDITION else np.float64
    p = np.zeros((len(live), len(live)), kind, order="F")
    gram.astype(kind).toarray(out=p)
    p[np.diag_indices(len(live))] += kind(penalty)
    factor, invert = lapack.get_lapack_funcs(("potrf", "potri"), (p,))
    p, failed = factor(p, lower=True, overwrite_a=True, clean=False)
    if not failed:
        p, failed = invert(p, lower=True, overwrite_c=True)
    if failed:
        raise DivergedError("EASE's matrix cannot be inverted; raise its penalty.")
    return p, live


def _store(weight: Tensor, p: npt.NDArray[Any], live: npt.NDArray[np.int64]) -> None:
    """Put ``B'`` of EASE into ``weight``, some rows at a time.

    Args:
        weight: zeros ``[n_items, n_items]``.
        p: of :func:`_inverse`.
        live: the items that it is of.
    """
    items, diagonal = torch.from_numpy(live), np.diagonal(p).copy()
    for start in range(0, len(live), sparse.ROWS):
        stop = min(start + sparse.ROWS, len(live))
        # Rows of a symmetric matrix of which the lower triangle is there.
        rows = np.concatenate([p[start:stop, :start], p[start:, start:stop].T], axis=1)
        corner = rows[:, start:stop]
        lower = np.tril_indices(stop - start, -1)
        corner[lower] = corner.T[lower]
        own = np.arange(stop - start)
        rows = -rows / diagonal[start:stop, None]
        rows[own, start + own] = 0.0
        weight[items[start:stop, None], items] = torch.from_numpy(rows).to(weight)


def _leading_vectors(x: Tensor, count: int) -> Tensor:
    """Leading right singular vectors ``[n_items, count]`` of compressed baskets, largest first."""
    bought = sparse.scipy_matrix(x).astype(np.float64)
    n = bought.shape[1]
    if count >= n - 1:  # more than ARPACK finds
        gram = torch.from_numpy((bought.T @ bought).toarray())
        every: Tensor = torch.linalg.eigh(gram).eigenvectors.flip(1)
        return every
    gram = linalg.LinearOperator((n, n), matvec=lambda v: bought.T @ (bought @ v), dtype=np.float64)
    values, vectors = linalg.eigsh(gram, count, v0=np.ones(n))
    return torch.as_tensor(vectors[:, np.argsort(-values)].copy())


class _Scaled(nn.Module):
    """A basket scaled to unit length."""

    rowwise = True

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x.flatten(1), dim=1)


@dataclass(frozen=True)
class AutoEncoder(Trained):
    """Mult-DAE, the denoising auto-encoder of Liang et al. (WWW 2018, section 2.3).

    It has one hidden layer of ``tanh`` units over baskets of unit length, and a multinomial
    likelihood over all items. Half of the items of a basket are dropped in training.

    Attributes:
        hidden: number of hidden units (200 in the paper, for catalogues of 20,000 films).
        corruption: share of the basket that is dropped in training. It is part of the model, since
            an auto-encoder without it learns to repeat what was bought.
    """

    epochs: Count = 30
    batch_size: Count = 100
    hidden: Count = 64
    corruption: Share = 0.5

    modalities = frozenset({"basket"})
    tasks: ClassVar[tuple[Task, ...]] = ("recommendation",)
    offers: ClassVar[frozenset[str]] = frozenset({"descent", "steps", "blocks"})
    stacks = True
    reference = "item_knn"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A freshly initialised network; the same seed gives the same weights."""
        with seeded(seed):
            encoder = nn.Sequential(
                _Scaled(),
                nn.Dropout(self.corruption),
                nn.Linear(prod(shape), self.hidden),
                nn.Tanh(),
            )
            return Network(nn.Sequential(encoder), nn.Linear(self.hidden, width))
