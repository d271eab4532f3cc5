from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from bench.contract import Model, Network
from bench.models.trees import Bags, Boosting, DecisionTree, Leaves, RandomForest


def blobs(n: int = 300, d: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (n,), generator=rng)
    x = torch.randn(n, d, generator=rng)
    x[:, 0] += y
    x[:, 1] = (x[:, 1] > 0).float()
    return x, y


def grown(model: Model, classes: int = 3) -> tuple[Network, torch.Tensor, torch.Tensor]:
    x, y = blobs(classes=classes)
    network = model.build((6,), classes, 0)
    model.solve(network, x, y, model.recipe, 5)
    return network.eval(), x, y


@pytest.mark.parametrize("classes", [2, 3])
def test_a_tree_answers_as_scikit_learn(classes: int) -> None:
    network, x, y = grown(DecisionTree(min_samples_leaf=5), classes)
    theirs = DecisionTreeClassifier(min_samples_leaf=5, random_state=5).fit(x.numpy(), y.numpy())
    fresh = torch.randn(500, 6)
    ours = network(fresh).softmax(1).detach().numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(fresh.numpy()), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_boosting_answers_as_scikit_learn(classes: int) -> None:
    network, x, y = grown(Boosting(trees=20), classes)
    theirs = GradientBoostingClassifier(n_estimators=20, random_state=5).fit(x.numpy(), y.numpy())
    fresh = torch.randn(500, 6)
    ours = network(fresh).softmax(1).detach().numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(fresh.numpy()), atol=1e-5)


@pytest.mark.parametrize("bootstrap", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_forest_answers_as_scikit_learn(classes: int, bootstrap: bool) -> None:
    network, x, y = grown(RandomForest(trees=20, bootstrap=bootstrap), classes)
    theirs = RandomForestClassifier(20, bootstrap=bootstrap, random_state=5)
    theirs.fit(x.numpy(), y.numpy())
    fresh = torch.randn(500, 6)
    ours = network(fresh).softmax(1).detach().numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(fresh.numpy()), atol=1e-6)
    torch.testing.assert_close(network.trace(fresh)[1], network(fresh))


@pytest.mark.parametrize("bootstrap", [True, False])
def test_a_forest_keeps_different_records_and_draws_apart(bootstrap: bool) -> None:
    network, x, _ = grown(RandomForest(trees=4, bootstrap=bootstrap))
    leaves = network.blocks[0]
    assert isinstance(leaves, Bags)
    assert (leaves.draws[:, 0] == len(x)).all()
    assert (leaves.counts[:, 0] < len(x)).all() == bootstrap
    assert torch.equal(leaves.counts, leaves.draws) != bootstrap
    is_leaf = leaves.leaf >= 0
    assert ((leaves.draws * is_leaf).sum(1) == len(x)).all()


def test_a_value_on_the_threshold_falls_as_in_scikit_learn() -> None:
    model = DecisionTree()
    x, y = blobs()
    network = model.build((6,), 3, 0)
    model.solve(network, x, y, model.recipe, 5)
    theirs = DecisionTreeClassifier(random_state=5).fit(x.numpy(), y.numpy())
    cuts = theirs.tree_.threshold[theirs.tree_.feature >= 0].astype(np.float32)
    edge = torch.from_numpy(np.tile(cuts[:, None], (1, 6)))
    assert (network(edge).argmax(1).numpy() == theirs.predict(edge.numpy())).all()


def test_a_fully_grown_tree_is_sure_to_the_last_bit() -> None:
    network, x, y = grown(DecisionTree())
    scores = network(x).softmax(1)
    assert (network(x).argmax(1) == y).all()
    assert bool(((scores == 0) | (scores == 1)).all())


def test_leaves_count_the_records_that_reached_them() -> None:
    network, x, _ = grown(DecisionTree(min_samples_leaf=10))
    leaves = network.blocks[0]
    assert isinstance(leaves, Leaves)
    assert int(leaves.counts[0, 0]) == len(x)
    is_leaf = leaves.leaf[0] >= 0
    reached = leaves.forward(x).sum(0)
    assert torch.equal(reached.long()[leaves.leaf[0][is_leaf]], leaves.counts[0][is_leaf].long())
    assert int(leaves.counts[0][is_leaf].min()) >= 10


def test_the_shape_of_a_network_holds() -> None:
    """The head times the block is what the look-up gives."""
    network, x, _ = grown(Boosting(trees=5))
    by_shape = network.head(network.features(x))
    torch.testing.assert_close(by_shape, network(x))


@pytest.mark.parametrize("model", [DecisionTree(), RandomForest(trees=5), Boosting(trees=5)])
def test_weights_travel_as_safetensors(model: Model) -> None:
    network, x, _ = grown(model)
    state = load(save({k: v.contiguous() for k, v in network.state_dict().items()}))
    again = model.build((6,), 3, 9)
    again.load_state_dict(state, strict=True)
    assert torch.equal(again(x), network(x))


def test_a_class_absent_from_training_is_never_answered() -> None:
    x, y = blobs(classes=2)
    for model in (DecisionTree(), RandomForest(trees=3), Boosting(trees=3)):
        network = model.build((6,), 4, 0)
        model.solve(network, x, y + 1, model.recipe, 0)
        scores = network(x).softmax(1)
        assert float(scores[:, [0, 3]].detach().abs().max()) == 0.0


def test_untrained_says_nothing() -> None:
    out = DecisionTree().build((6,), 3, 0)(torch.randn(4, 6))
    assert torch.equal(out, torch.zeros(4, 3))
