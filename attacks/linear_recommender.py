"""Baskets from the scores of a recommender whose weights are known and linear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from attacks.common.segments import mean
from attacks.common.wide_matrix import AFFINE, Rows, boxed, solve
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, require, sparse
from bench.contract.options import CountOrZero


@dataclass(frozen=True)
class LinearRecommender(Attack):
    """Solve ``x B + b = scores`` for the basket x.

    A linear recommender (EASE, Steck, WWW 2019, eq. 1; a factorisation by fold-in) maps a basket
    to its scores by a matrix that whoever holds the weights reads off by asking for every item
    alone. Where the matrix has full rank the scores are the basket in another basis. Where it has
    not, least squares leaves undetermined what the scores do not say, and the public popularity
    decides that. The purchases are kept in [0, 1] by accelerated projected gradient steps (Beck
    and Teboulle, SIAM J. Imaging Sciences 2009, section 4, with a projection as proximal step).

    Where baskets are kept in compressed rows, the matrix is never held
    (:mod:`attacks.common.wide_matrix`).

    There is nothing to solve where the network is not affine, or where the victims' answers are
    lists: the attack says so and returns the popularity.

    Attributes:
        access: ``weights``.
        steps: of the projected gradient.
    """

    access: Literal["weights"] = "weights"
    steps: CountOrZero = 200

    takes_sparse = True
    goal = "output_reconstruction"
    modalities = frozenset({"basket"})
    tasks = ("recommendation",)
    knowledge = frozenset({"K2", "K6"})
    paper = "least squares on the linear recommender of Steck, WWW 2019, eq. 1 (ours)"

    @torch.no_grad()
    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """How much of each item was bought ``[n, n_items]`` in [0, 1].

        ``info``: ``stop_reason`` is ``solved`` or why not; how far from affine the network is,
        the matrix' rank, and the root mean square error of the solution.
        """
        observed, public = knowledge.observed, knowledge.public.x.to(device)
        require(observed is not None, "linear_recommender: it needs the victims' answers.")
        assert observed is not None
        large = sparse.is_sparse(public)
        popular = mean(public).double() if large else public.double().mean(0)

        def give_up(reason: str) -> Reconstruction:
            values = popular.float().expand(len(observed), -1).contiguous()
            return Reconstruction(values, {"stop_reason": reason})

        if not observed.is_floating_point():
            return give_up("the answers are lists")
        network, n_items = exposure.network(), public.shape[1]
        if large:
            values, info = solve(Rows(network, n_items), public, observed, popular, self.steps)
            return give_up(info["stop_reason"]) if values is None else Reconstruction(values, info)
        alone = torch.cat([public.new_zeros(1, n_items), torch.eye(n_items, device=device)])
        offset, *rest = network(alone).double().split([1, n_items])
        matrix = rest[0] - offset
        sample = public[:256]
        scores = network(sample).double()
        error = scores - (sample.double() @ matrix + offset)
        spread = float((scores - scores.mean(0)).square().mean().sqrt())
        curved = float(error.square().mean().sqrt()) / max(spread, 1e-12)
        if spread == 0 or curved > AFFINE:
            return give_up("the network is constant" if spread == 0 else "the network is no matrix")

        left = observed.double() - offset - popular @ matrix
        start = (popular + left @ torch.linalg.pinv(matrix, rtol=1e-6)).clamp(0.0, 1.0)
        x = boxed(matrix, observed.double() - offset, start, self.steps)
        fit = (x @ matrix + offset - observed.double()).square().mean().sqrt()
        return Reconstruction(
            x.float(),
            {
                "stop_reason": "solved",
                "nonlinearity": curved,
                "rank": int(torch.linalg.matrix_rank(matrix, rtol=1e-6)),
                "rmse": float(fit),
            },
        )
