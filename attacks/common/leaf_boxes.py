"""What the leaves of a forest say of the records that fell into them: boxes and class counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from attacks.common.networks import Leaves
from bench.contract import Network, require
from bench.contract.columns import Layout

Ints = npt.NDArray[np.int64]
Signs = npt.NDArray[np.int8]

_WHOLE = 0.05
"""Distance from a whole number up to which a class count is float32's rounding of one."""


@dataclass(frozen=True)
class Tree:
    """The leaves of one tree.

    Attributes:
        boxes: int8 ``[leaves, questions]``: 1 where a record of the leaf must answer yes to the
            question, -1 where no, 0 where either will do.
        paths: the same, of the questions on the way to the leaf alone, without what follows.
        draws: int64 ``[leaves, classes]``: how many draws of each class fell into the leaf.
        different: int64 ``[leaves]``: how many different records they were.
    """

    boxes: Signs
    paths: Signs
    draws: Ints
    different: Ints


@dataclass(frozen=True)
class Questions:
    """Everything that the trees ask, once each: is ``x[column] > cut``?

    Of a column that holds 0 or 1 all cuts are the same question.

    Attributes:
        column: int64 ``[questions]``, ascending.
        cut: float64 ``[questions]``, ascending within a column.
        groups: of each one-hot category its questions.
        closed: of each, whether every column of the category is asked for, so that one is 1.
        runs: of each number its questions, in the order of their cuts.
    """

    column: Ints
    cut: npt.NDArray[np.float64]
    groups: tuple[Ints, ...]
    closed: tuple[bool, ...]
    runs: tuple[Ints, ...]

    def close(self, answers: Signs) -> Signs:
        """``answers`` int8 ``[n, questions]`` with all that follows from each row.

        Above a cut is above every lower one; one column of a category is 1 and no other.
        """
        known = answers.copy()
        for run in self.runs:
            # Yes to a cut is yes to those below it, and no to a cut no to those above it.
            yes, no = known[:, run] == 1, known[:, run] == -1
            known[:, run] = np.where(np.logical_or.accumulate(yes[:, ::-1], 1)[:, ::-1], 1, 0)
            known[:, run] = np.where(np.logical_or.accumulate(no, 1), -1, known[:, run])
        for group, closed in zip(self.groups, self.closed, strict=True):
            part = known[:, group]
            has_one = (part == 1).any(1, keepdims=True)
            part = np.where(has_one & (part == 0), -1, part)
            last = closed & ((part == 0).sum(1, keepdims=True) == 1) & ~has_one
            known[:, group] = np.where(last & (part == 0), 1, part)
        return known


def apart(boxes: Signs, others: Signs) -> npt.NDArray[np.bool_]:
    """Whether no record lies in both of two boxes, bool ``[n, m]``."""
    yes, no = (boxes == 1).astype(np.float32), (boxes == -1).astype(np.float32)
    clashes = yes @ (others == -1).T.astype(np.float32) + no @ (others == 1).T.astype(np.float32)
    return np.asarray(clashes > 0)


def read(network: Network, layout: Layout, most: int) -> tuple[Questions, list[Tree]]:
    """The questions and the leaves of the first trees of a forest, or of a decision tree.

    A forest's head holds the shares of the classes over the number of trees, a decision tree's
    the logarithms of the shares; shares times draws are the class counts.

    Args:
        network: a random forest or a decision tree of :mod:`bench.models.trees`.
        layout: of the records.
        most: trees that are read.

    Raises:
        UserError: the head holds no shares that fit the counts.
    """
    block: Any = network.blocks[0]
    leaves: Leaves = block
    trees = len(leaves.feature)
    held = network.head.weight.detach().double().cpu()
    held = held * trees if hasattr(block, "draws") else held.exp()
    # A forest of scikit-learn weighs a record by how often it was drawn.
    draws: Tensor = getattr(block, "draws", leaves.counts)
    paths = [_paths(leaves, t) for t in range(min(most, trees))]
    questions = _questions(paths, layout)
    found = []
    for t, steps in enumerate(paths):
        nodes = np.array(sorted(steps))
        number = draws[t].cpu().numpy()[nodes]
        share = held[:, leaves.leaf[t].cpu()[nodes]].T.numpy()
        exact = share * number[:, None]
        counts = np.rint(exact).astype(np.int64)
        require(
            bool((np.abs(exact - counts) < _WHOLE).all() and (counts.sum(1) == number).all()),
            "The leaves of the target do not hold the shares of the classes among their training "
            "records, so their class counts are unknown; attack a random forest or a decision "
            "tree whose defenses leave its leaves as they were grown.",
        )
        answers = _answers([steps[node] for node in nodes], questions, layout)
        different = leaves.counts[t].cpu().numpy()[nodes].astype(np.int64)
        found.append(Tree(questions.close(answers), answers, counts, different))
    return questions, found


Step = tuple[int, float, bool]
"""Column, threshold, and whether the record lies above it."""


def _paths(leaves: Leaves, tree: int) -> dict[int, list[Step]]:
    """Of every leaf of a tree the steps from the root."""
    feature, threshold, left, right = (
        getattr(leaves, name)[tree].tolist() for name in ("feature", "threshold", "left", "right")
    )
    found: dict[int, list[Step]] = {}
    stack: list[tuple[int, list[Step]]] = [(0, [])]
    while stack:
        node, steps = stack.pop()
        if left[node] < 0:
            found[node] = steps
            continue
        for child, above in ((left[node], False), (right[node], True)):
            stack.append((child, [*steps, (feature[node], threshold[node], above)]))
    return found


def _questions(paths: Sequence[dict[int, list[Step]]], layout: Layout) -> Questions:
    numbers = set(layout.numbers.tolist())
    asked = {
        (column, cut if column in numbers else 0.5)
        for tree in paths
        for steps in tree.values()
        for column, cut, _ in steps
    }
    ordered = sorted(asked)
    column = np.array([c for c, _ in ordered], dtype=np.int64)
    cut = np.array([v for _, v in ordered], dtype=np.float64)
    groups, closed = [], []
    for padded in layout.index.tolist():
        members = [c for c in padded if c < layout.width]
        group = np.flatnonzero(np.isin(column, members))
        if len(group):
            groups.append(group)
            closed.append(len(group) == len(members))
    runs = tuple(np.flatnonzero(column == number) for number in sorted(numbers))
    return Questions(
        column, cut, tuple(groups), tuple(closed), tuple(run for run in runs if len(run))
    )


def _answers(steps: Sequence[list[Step]], questions: Questions, layout: Layout) -> Signs:
    """What the steps to each leaf answer, int8 ``[leaves, questions]``."""
    numbers = set(layout.numbers.tolist())
    place = {
        (int(c), float(v)): q
        for q, (c, v) in enumerate(zip(questions.column, questions.cut, strict=True))
    }
    answers = np.zeros((len(steps), len(place)), dtype=np.int8)
    for row, path in enumerate(steps):
        for column, cut, above in path:
            question = place[column, cut if column in numbers else 0.5]
            answers[row, question] = 1 if above else -1
    return answers
