"""The training set of a random forest, by constraint programming."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attacks.common.forest_program import Solution, placed, solve, solver
from attacks.common.leaf_boxes import Questions, Signs, Tree, read
from attacks.common.networks import inside
from bench.contract import Attack, Count, Exposure, Knowledge, Reconstruction, Split
from bench.contract.columns import Layout
from bench.contract.options import NonNegative, Positive

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ForestReconstruction(Attack):
    """A training set that would have grown the trees as they are, the most probable one found.

    Ferry, Fukasawa, Pascal and Vidal (ICML 2024) write a constraint program for CP-SAT: binary
    variables are the values of the training records, and in every tree the records must reproduce
    the class counts of every leaf. Their program is followed, as their published code states it;
    of the paper itself the abstract and excerpts were read. Without the bootstrap every record
    lies once in a leaf of every tree. With it a tree sees a record any number of times, and the
    program looks for the likeliest data.

    What differs from theirs:

    - scikit-learn also tells how many *different* records reached a leaf. So a leaf needs at least
      that many records of its class, and how often each was drawn drops out: their variables for
      the draws are not needed. The likelihood of a leaf with ``n`` records of which ``m`` were
      drawn is proportional to ``C(n, m)``, summed over all bags; theirs is of the best bag. (In a
      leaf of several classes this is an upper bound.)
    - Records have no order, so they are put into the leaves of the largest tree beforehand.
    - ``prior_weight`` adds the log prior of the public marginals given the class. Theirs has none
      and takes any training set that fits; 0 is that.
    - Where no solution is found in time, half of the trees are tried, and so on; from one tree
      the boxes of its leaves are known without a search.

    Binary columns and one-hot categories are recovered as values (their setting). A number is
    recovered as the interval between two thresholds and returned as the median of the public
    records in it, or its midpoint. A single tree, so a decision tree too, gives no more than
    boxes. Boosted trees are refused: their leaves hold votes, not counts.

    Where it works: 50 records of Adult with 19 binary columns, 30 fully grown trees. The share of
    wrong values after the best matching (the paper's error) was .02 without the bootstrap (mean of
    3 seeds) and .07 with it (2 seeds); it is .23 for random records and .12 for public ones. With
    10 records in every leaf it was .10 without the bootstrap. Where it does not: the program grows
    with records times leaves, so of a large table few trees are read and their boxes are wide; the
    paper's training sets have 100 records.

    The solver runs in one thread with a fixed seed and a limit that does not depend on the clock.

    Attributes:
        access: ``weights``.
        trees: most trees that are read, the first ones.
        pairs: most pairs of a record with a leaf or a threshold in the program; of the trees as
            many are read as fit.
        limit: deterministic seconds of the solver; one takes from one to some seconds.
        prior_weight: weight of the log prior; 0: none.
    """

    access: Literal["weights"] = "weights"
    trees: Count = 30
    pairs: Count = 200_000
    limit: Positive = 20.0
    prior_weight: NonNegative = 1.0

    goal = "training_instance"
    modalities = frozenset({"table", "basket"})
    needs = frozenset({"leaves", "shares"})
    knowledge = frozenset({"K2"})
    paper = "Ferry, Fukasawa, Pascal and Vidal, ICML 2024 (arXiv 2402.19232)"

    def doubled(self) -> ForestReconstruction:
        """Twice the solver's time."""
        return replace(self, limit=2 * self.limit)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Valid records ``[n, d]``, as many as the trees were grown on.

        ``info``: why it stopped, how many trees the solution explains, and the solver's time.

        Raises:
            UserError: OR-tools is not installed, or the leaves hold no class counts.
        """
        solver()
        public = Split(knowledge.public.x.cpu(), knowledge.public.y.cpu(), knowledge.public.person)
        layout = Layout.of(knowledge.card, public.x)
        network = inside(exposure.network())
        questions, trees = read(network, layout, self.trees)
        fits = self._affordable(questions, trees)
        if fits < len(trees):
            questions, trees = read(network, layout, max(1, fits))
        odds = self.prior_weight * _odds(questions, layout, public, trees[0].draws.shape[1])
        solution, left = None, self.limit
        while solution is None and fits > 1:
            solution = solve(questions, trees[:fits], odds, left, seed)
            fits, left = (fits, left) if solution else (fits // 2, left / 2)
        reason = "best found in time"
        if solution is None:
            solution, fits, reason = _boxes(questions, trees), 1, "the leaves of one tree"
        elif solution.proven:
            reason = "no training set is more probable"
        records = _filled(solution, questions, layout, public)
        return Reconstruction(
            records.to(device), {"stop_reason": reason, "trees": fits, "work": solution.spent}
        )

    def _affordable(self, questions: Questions, trees: list[Tree]) -> int:
        """How many of the trees fit the program; 0 if not even one does."""
        leaves = np.cumsum([len(tree.draws) for tree in trees])
        each = leaves + len(questions.column)
        return int((int(trees[0].draws.sum()) * each <= self.pairs).sum())


def _boxes(questions: Questions, trees: list[Tree]) -> Solution:
    """What the largest tree says by itself."""
    tree = max(trees, key=lambda tree: len(tree.draws))
    answers, options = placed(tree, len(questions.column))
    share = tree.draws.sum(0)
    classes = [max(row, key=lambda c: share[c]) for row in options]
    return Solution(answers, np.array(classes), False, 0.0)


def _shares(counts: Tensor, labels: Tensor, classes: int) -> Reals:
    """Share of each alternative in every class ``[classes, v]``, drawn towards that in all.

    Args:
        counts: one-hot ``[n, v]``: which alternative each public record has.
        labels: int64 ``[n]``.
        classes: their number.
    """
    overall = (counts.double().sum(0) + 1) / (len(counts) + counts.shape[1])
    own = torch.zeros(classes, counts.shape[1], dtype=torch.float64)
    own.index_add_(0, labels, counts.double())
    size = torch.bincount(labels, minlength=classes).double()
    return np.asarray(((own + overall) / (size.unsqueeze(1) + 1)).numpy())


def _odds(questions: Questions, layout: Layout, public: Split, classes: int) -> Reals:
    """What a yes adds to the log prior, ``[classes, questions]``: public shares in each class."""
    odds = np.zeros((classes, len(questions.column)))
    flags = set(layout.flags.tolist())
    for q, column in enumerate(questions.column.tolist()):
        if column in flags:
            on = public.x[:, column] > 0.5
            share = _shares(torch.stack([~on, on], 1), public.y, classes)
            odds[:, q] = np.log(share[:, 1]) - np.log(share[:, 0])
    for group, closed in zip(questions.groups, questions.closed, strict=True):
        asked = public.x[:, torch.from_numpy(questions.column[group])] > 0.5
        rest = [] if closed else [~asked.any(1, keepdim=True)]
        share = np.log(_shares(torch.cat([asked, *rest], 1), public.y, classes))
        odds[:, group] = share[:, : len(group)] - (0.0 if closed else share[:, -1:])
    for run in questions.runs:
        number = public.x[:, int(questions.column[run[0]])].double().contiguous()
        interval = torch.bucketize(number, torch.from_numpy(questions.cut[run]))
        one = torch.nn.functional.one_hot(interval, len(run) + 1)
        odds[:, run] = np.diff(np.log(_shares(one, public.y, classes)), axis=1)
    return odds


def _filled(solution: Solution, questions: Questions, layout: Layout, public: Split) -> Tensor:
    """Records with the answers of ``solution``; what they leave open is what is usual."""
    answers: Signs = solution.answers
    classes = int(max(solution.classes.max(), int(public.y.max()))) + 1
    x = torch.zeros(len(answers), layout.width)
    asked = {int(c): q for q, c in enumerate(questions.column)}
    own = torch.from_numpy(solution.classes)

    def usual(columns: list[int]) -> Tensor:
        share = _shares(public.x[:, columns] > 0.5, public.y, classes)
        return torch.from_numpy(share)[own]

    for padded in layout.index.tolist():
        members = [c for c in padded if c < layout.width]
        worth = usual(members)
        for place, column in enumerate(members):
            if column in asked:
                # A settled answer outweighs every share, which is at most 1.
                worth[:, place] += 2.0 * torch.from_numpy(answers[:, asked[column]])
        x[:, members] = torch.nn.functional.one_hot(worth.argmax(1), len(members)).float()
    for column in layout.flags.tolist():
        on = public.x[:, [column]] > 0.5
        share = _shares(torch.cat([~on, on], 1), public.y, classes)
        likely = torch.from_numpy(share[:, 1] > share[:, 0])[own]
        answer = torch.from_numpy(
            answers[:, asked[column]] if column in asked else np.zeros(len(x))
        )
        x[:, column] = torch.where(answer == 0, likely, answer > 0).float()
    for place, column in enumerate(layout.numbers.tolist()):
        run = np.flatnonzero(questions.column == column)
        ends = (float(layout.low[place]), float(layout.high[place]))
        x[:, column] = _numbers(answers[:, run], questions.cut[run], public.x[:, column], ends)
    return x


def _numbers(answers: Signs, cuts: Reals, known: Tensor, ends: tuple[float, float]) -> Tensor:
    """A number ``[n]`` in each interval: the median of the public ones in it, or its midpoint."""
    values = torch.zeros(len(answers))
    memory: dict[tuple[float, float], float] = {}
    for k, row in enumerate(answers):
        low = float(cuts[row == 1].max()) if (row == 1).any() else -np.inf
        high = float(cuts[row == -1].min()) if (row == -1).any() else np.inf
        if (low, high) not in memory:
            within = known[(known > low) & (known <= high)]
            # An interval that lies outside of the public range has one end only.
            bottom, top = max(low, min(ends[0], high)), min(high, max(ends[1], low))
            middle = (bottom + top) / 2
            memory[low, high] = float(within.median()) if len(within) else middle
        values[k] = memory[low, high]
    return values
