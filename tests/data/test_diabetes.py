from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes

from bench.contract import Splits, UserError
from bench.data.diabetes import Diabetes


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Diabetes().load(0, None)


def test_sizes_and_facts(splits: Splits) -> None:
    facts = splits.facts
    assert facts["n_rows"] == 442 == facts["n_train"] + facts["n_test"] + facts["n_public"]
    assert facts["n_train"] >= 100, "PROTOCOL 2.3: fewer members leave no headroom"
    assert facts["sensitive_imputer_auc"] < 0.85
    assert all(0.4 < share < 0.6 for share in facts["sensitive_prevalence"].values())
    assert facts["duplicates_across_splits"] == 0
    everybody = torch.cat([splits.train.person, splits.test.person, splits.public.person])
    assert sorted(everybody.tolist()) == list(range(442))


def test_the_label_is_above_the_public_median(splits: Splits) -> None:
    target = load_diabetes(scaled=False).target
    cut = np.median(target[splits.public.person.numpy()])
    for split in (splits.train, splits.test, splits.public):
        assert np.array_equal(split.y.numpy(), target[split.person.numpy()] > cut)


def test_sex_is_the_sensitive_column(splits: Splits) -> None:
    raw = load_diabetes(scaled=False)
    sensitive = splits.card.sensitive
    assert sensitive is not None and splits.train.s is not None
    sex = raw.data[splits.train.person.numpy(), raw.feature_names.index("sex")]
    assert np.array_equal(splits.train.s.numpy(), sex - 1)
    completed = sensitive.candidates(sensitive.hide(splits.train.x))
    own = completed[torch.arange(len(splits.train)), splits.train.s]
    assert torch.equal(own, splits.train.x)


def test_the_seed_decides(splits: Splits) -> None:
    assert torch.equal(Diabetes().load(0, None).train.x, splits.train.x)
    assert not torch.equal(Diabetes().load(1, None).train.person, splits.train.person)


def test_more_bands() -> None:
    dataset = Diabetes(bands=4)
    splits = dataset.load(0, None)
    assert dataset.n_classes == splits.card.n_classes == 4
    assert torch.bincount(splits.public.y).tolist() == [34, 33, 33, 33]


@pytest.mark.parametrize("name", ["bmi", "bp"])
def test_a_number_may_be_sensitive(name: str, splits: Splits) -> None:
    numeric = Diabetes(sensitive=name).load(0, None)
    sensitive = numeric.card.sensitive
    assert sensitive is not None and sensitive.numeric and numeric.train.s is not None
    assert torch.equal(numeric.train.person, splits.train.person), "the split is the same"
    raw = load_diabetes(scaled=False)
    value = raw.data[numeric.train.person.numpy(), raw.feature_names.index(name)]
    grid = np.array(list(map(float, sensitive.values)))
    assert len(grid) == 15
    nearest = np.abs(value[:, None] - grid).min(1)
    chosen = np.abs(value - grid[numeric.train.s.numpy()])
    assert np.allclose(chosen, nearest, atol=1e-3)
    assert numeric.facts["sensitive_imputer_r2"] < 0.5
    assert "sensitive_prevalence" not in numeric.facts


def test_another_array_is_refused() -> None:
    with pytest.raises(UserError, match=r"expected 0{64}"):
        Diabetes(sha256="0" * 64).load(0, None)
    assert Diabetes(sha256=None).load(0, None).facts["sha256"] != ""
