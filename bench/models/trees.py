"""Decision trees, random forests and boosted trees of scikit-learn, as networks of leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge, Gt, Le
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

from bench.contract import Count, Network, Recipe
from bench.models.recipe import Solved
from bench.models.shares import NEVER, logits_of

_BUFFERS = ("feature", "threshold", "left", "right", "counts", "leaf")


class Leaves(nn.Module):
    """Which leaf of every tree a record falls into.

    Its buffers are ``[trees, nodes]`` and padded. A record goes left where ``x[feature] <=
    threshold``; ``left`` and ``right`` are -1 at a leaf. ``counts`` is the number of training
    records that reached the node, and ``leaf`` is the row of a leaf in the head, -1 elsewhere.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    counts: Tensor
    leaf: Tensor

    def __init__(self, trees: int = 1, nodes: int = 1) -> None:
        super().__init__()
        nothing = torch.full((trees, nodes), -1)
        for name in _BUFFERS:
            empty = torch.zeros(trees, nodes) if name == "threshold" else nothing.clone()
            self.register_buffer(name, empty)
        self.leaf[:, 0] = torch.arange(trees)
        self.counts.zero_()

    def rows(self, x: Tensor) -> Tensor:
        """Rows of the head int64 ``[n, trees]``."""
        trees = torch.arange(len(self.feature), device=x.device)
        at = torch.zeros(len(x), len(trees), dtype=torch.long, device=x.device)
        while True:
            left = self.left[trees, at]
            inner = left >= 0
            if not bool(inner.any()):
                return self.leaf[trees, at]
            value = x.gather(1, self.feature[trees, at].clamp_min(0))
            below = value <= self.threshold[trees, at]
            at = torch.where(inner, torch.where(below, left, self.right[trees, at]), at)

    def forward(self, x: Tensor) -> Tensor:
        """Indicator of the leaves ``[n, n_leaves]``."""
        rows = self.rows(x.flatten(1))
        indicator = x.new_zeros(len(x), int(self.leaf.max()) + 1)
        return indicator.scatter_(1, rows, 1.0)


class Bags(Leaves):
    """Leaves of trees that may each see a bootstrap sample.

    ``counts`` is the number of different training records that reached a node and ``draws`` how
    often they were drawn, so without the bootstrap the two are equal.
    """

    draws: Tensor

    def __init__(self, trees: int = 1, nodes: int = 1) -> None:
        super().__init__(trees, nodes)
        self.register_buffer("draws", torch.zeros_like(self.counts))


class TreeNetwork(Network):
    """Trees in the shape of a network: the block names the leaves, the head holds their values."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, n_classes]``: the sum of the leaves' values, by look-up."""
        leaves = self.blocks[0]
        assert isinstance(leaves, Leaves)
        rows = leaves.rows(self.front(x).flatten(1))
        logits: Tensor = self.head.weight.T[rows].sum(1) + self.head.bias
        return logits

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take the shape of the trees from the state, then load it strictly."""
        device = self.head.weight.device
        trees, nodes = state_dict["blocks.0.feature"].shape
        width, leaves = state_dict["head.weight"].shape
        block = self.blocks[0]
        assert isinstance(block, Leaves)
        self.blocks[0] = type(block)(trees, nodes).to(device)
        self.head = nn.Linear(leaves, width).to(device)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


class ForestNetwork(TreeNetwork):
    """Trees whose head holds shares of the classes: the outputs are the logs of their sum.

    A softmax of summed logits would be a product of the trees' answers; a forest answers with
    their mean.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, n_classes]``: the softmax gives the mean of the trees' shares."""
        return logits_of(super().forward(x))

    def trace(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The indicator of the leaves, and the logits."""
        hidden, shares = super().trace(x)
        return hidden, logits_of(shares)


def plant(
    network: Network, trees: Sequence[Any], values: Sequence[npt.NDArray[np.float64]], bias: Tensor
) -> None:
    """Put scikit-learn trees into ``network``.

    Args:
        network: a :class:`TreeNetwork`; its state is replaced.
        trees: ``sklearn`` ``Tree`` structures.
        values: of each tree, what its nodes add to the logits ``[nodes, width]``.
        bias: ``[width]``.
    """
    nodes = max(tree.node_count for tree in trees)
    block = network.blocks[0]
    assert isinstance(block, Leaves)
    empty = type(block)(len(trees), nodes).state_dict()
    state = {f"blocks.0.{k}": v.clone() for k, v in empty.items()}
    state["blocks.0.leaf"].fill_(-1)
    rows: list[Tensor] = []
    first = 0
    for i, (tree, value) in enumerate(zip(trees, values, strict=True)):
        n, is_leaf = tree.node_count, tree.children_left < 0
        # The greatest float32 that is not above the threshold: a record of float32 then falls to
        # the same side as in scikit-learn.
        threshold = tree.threshold.astype(np.float32)
        above = threshold > tree.threshold
        threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
        index = np.where(is_leaf, first + np.cumsum(is_leaf) - 1, -1)
        for name, column in {
            "feature": np.maximum(tree.feature, -1),
            "threshold": threshold,
            "left": tree.children_left,
            "right": tree.children_right,
            "counts": tree.n_node_samples,
            "leaf": index,
            "draws": tree.weighted_n_node_samples.astype(np.int64),
        }.items():
            if f"blocks.0.{name}" not in state:
                continue
            state[f"blocks.0.{name}"][i, :n] = torch.from_numpy(np.ascontiguousarray(column))
        rows.append(torch.from_numpy(value[is_leaf]).float())
        first += int(is_leaf.sum())
    state["head.weight"] = torch.cat(rows).T.contiguous()
    state["head.bias"] = bias.float()
    network.load_state_dict(state)


@dataclass(frozen=True)
class _Trees(Solved):
    """What tree models share: they have no gradient and no neurons, and leaves count records."""

    modalities = frozenset({"table", "basket"})
    offers: ClassVar[frozenset[str]] = frozenset({"leaves"})

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A single leaf that says nothing, whatever the seed."""
        network = TreeNetwork(nn.Sequential(Leaves()), nn.Linear(1, width))
        nn.init.zeros_(network.head.weight)
        nn.init.zeros_(network.head.bias)
        return network


def _arrays(x: Tensor, target: Tensor) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return x.reshape(len(x), prod(x.shape[1:])).cpu().numpy(), target.cpu().numpy()


@dataclass(frozen=True)
class DecisionTree(_Trees):
    """A classification tree (CART, Breiman et al. 1984), by scikit-learn.

    It is fully grown by default, so it remembers its records, as an undefended tree does.

    Attributes:
        max_depth: largest number of levels below the root; null means no limit.
        min_samples_leaf: least number of records in a leaf.
        max_leaf_nodes: largest number of leaves; null means no limit.
    """

    max_depth: Count | None = None
    min_samples_leaf: Count = 1
    max_leaf_nodes: Annotated[int, Ge(2)] | None = None

    offers = frozenset({"leaves", "shares"})
    reference = "tree"

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """Grow the tree; ``seed`` breaks ties between splits."""
        tree = DecisionTreeClassifier(
            max_depth=self.max_depth,
            min_samples_leaf=max(self.min_samples_leaf, recipe.min_leaf),
            ccp_alpha=recipe.prune,
            max_leaf_nodes=self.max_leaf_nodes,
            random_state=seed % 2**32,
        )
        tree.fit(*_arrays(x, target))
        width = network.head.out_features
        shares = np.zeros((tree.tree_.node_count, width))
        # Classes absent from train keep a share of 0.
        shares[:, tree.classes_] = tree.tree_.value[:, 0, :]
        shares /= shares.sum(1, keepdims=True)
        logits = np.where(shares > 0, np.log(np.maximum(shares, 1e-45)), NEVER)
        plant(network, [tree.tree_], [logits], torch.zeros(width))


@dataclass(frozen=True)
class RandomForest(_Trees):
    """A random forest (Breiman 2001), by scikit-learn.

    Its trees are fully grown by default and ask for the square root of the number of columns at
    a split; the answer is the mean of their shares of the classes.

    Attributes:
        trees: number of trees.
        max_depth: largest number of levels below the root; null means no limit.
        min_samples_leaf: least number of different records in a leaf.
        bootstrap: every tree sees as many draws with replacement as there are records; otherwise
            every tree sees all records once.
    """

    trees: Count = 100
    max_depth: Count | None = None
    min_samples_leaf: Count = 1
    bootstrap: bool = True

    offers = frozenset({"leaves", "shares"})
    reference = "forest"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A single leaf that finds all classes alike, whatever the seed."""
        network = ForestNetwork(nn.Sequential(Bags()), nn.Linear(1, width))
        nn.init.constant_(network.head.weight, 1 / width)
        nn.init.zeros_(network.head.bias)
        return network

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """Grow the trees; ``seed`` draws their records and the columns of their splits."""
        forest = RandomForestClassifier(
            n_estimators=self.trees,
            max_depth=self.max_depth,
            min_samples_leaf=max(self.min_samples_leaf, recipe.min_leaf),
            ccp_alpha=recipe.prune,
            bootstrap=self.bootstrap,
            random_state=seed % 2**32,
        )
        forest.fit(*_arrays(x, target))
        width = network.head.out_features
        trees, values = [], []
        for grown in forest.estimators_:
            tree = grown.tree_
            shares = np.zeros((tree.node_count, width))
            # Classes absent from train keep a share of 0.
            shares[:, forest.classes_] = tree.value[:, 0, :]
            shares /= shares.sum(1, keepdims=True)
            trees.append(tree)
            values.append(shares / self.trees)
        plant(network, trees, values, torch.zeros(width))


@dataclass(frozen=True)
class Boosting(_Trees):
    """Gradient-boosted trees (Friedman 2001), by scikit-learn.

    Attributes:
        trees: number of boosting rounds; each grows one tree, or one for every class if there are
            more than two.
        max_depth: largest number of levels of a tree.
        lr: shrinkage of the vote of every tree.
        min_samples_leaf: least number of records in a leaf.
    """

    trees: Count = 100
    max_depth: Count = 3
    lr: Annotated[float, Gt(0), Le(1)] = 0.1
    min_samples_leaf: Count = 1

    reference = "boosting"

    def solve(self, network: Network, x: Tensor, target: Tensor, recipe: Recipe, seed: int) -> None:
        """Boost; ``seed`` breaks ties between splits."""
        model = GradientBoostingClassifier(
            n_estimators=self.trees,
            max_depth=self.max_depth,
            learning_rate=self.lr,
            min_samples_leaf=max(self.min_samples_leaf, recipe.min_leaf),
            ccp_alpha=recipe.prune,
            random_state=seed % 2**32,
        )
        values, labels = _arrays(x, target)
        model.fit(values, labels)
        width, seen = network.head.out_features, model.classes_
        trees, votes = [], []
        for round_ in model.estimators_:
            for k, regressor in enumerate(round_):
                tree = regressor.tree_
                vote = np.zeros((tree.node_count, width))
                # Two classes are one problem: the raw score is the second one's log odds.
                vote[:, seen[1] if len(seen) == 2 else seen[k]] = self.lr * tree.value[:, 0, 0]
                trees.append(tree)
                votes.append(vote)
        bias = torch.full((width,), NEVER)
        bias[torch.from_numpy(seen)] = 0.0
        plant(network, trees, votes, bias)
        with torch.no_grad():
            # The votes are added to the shares of the classes, as in scikit-learn.
            start = model.decision_function(values[:1])[0]
            ours = network(torch.from_numpy(values[:1]))[0, torch.from_numpy(seen)]
            wanted = np.array([0.0, start]) if len(seen) == 2 else np.asarray(start)
            offset = torch.from_numpy(wanted).float() - ours
            network.head.bias[torch.from_numpy(seen)] += offset
