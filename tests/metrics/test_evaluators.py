from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from bench.contract import Split, generator
from bench.metrics import evaluators
from tests.metrics.faces import PEOPLE, SHAPE, faces, judged


def test_the_committee_knows_the_people() -> None:
    """PROTOCOL 3.6, C5."""
    _, facts = judged()
    for name in evaluators.COMMITTEE:
        assert facts[f"heldout_acc_{name}"] >= 0.9
        assert facts[f"oracle_{name}"] >= 0.9
    assert facts["committee_ceiling"] >= 0.95
    assert set(facts) == {"committee_ceiling"} | {
        f"{kind}_{name}" for kind in ("heldout_acc", "oracle") for name in evaluators.COMMITTEE
    }


def test_it_is_deterministic_and_leaves_the_global_generator_alone() -> None:
    splits = faces(3)
    before = torch.random.get_rng_state()
    first, again = (evaluators.fit(splits, 5, "cpu")[0] for _ in range(2))
    other = evaluators.fit(splits, 6, "cpu")[0]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["cnn.head.weight"], other["cnn.head.weight"])


def test_held_out_images_teach_it_nothing() -> None:
    splits = faces(3)
    noise = replace(splits.test, x=torch.rand(splits.test.x.shape, generator=generator(1)))
    plain, facts = evaluators.fit(splits, 5, "cpu")
    blind, blind_facts = evaluators.fit(replace(splits, test=noise), 5, "cpu")
    assert all(torch.equal(plain[k], blind[k]) for k in plain if k != "ceiling")
    assert blind_facts["heldout_acc_cnn"] < facts["heldout_acc_cnn"]


@pytest.mark.parametrize("people", [2, PEOPLE])
def test_lda_is_one_linear_map(people: int) -> None:
    truth, _ = judged(people)
    train, test = truth.splits.train, truth.splits.test
    x = train.x.flatten(1).double().numpy()
    rank = min(100, len(x) - people)
    pca = PCA(rank, svd_solver="full").fit(x)
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    lda.fit(pca.transform(x), train.y.numpy())
    expected = lda.predict(pca.transform(test.x.flatten(1).double().numpy()))
    scores = evaluators.judge(truth.evaluator, test.x, train)["lda"]
    assert scores.shape == (len(test), people)
    assert scores.argmax(1).tolist() == expected.tolist()


def test_templates_ignore_light_and_a_missing_person_scores_least() -> None:
    train = faces().train
    mean = train.x.mean(0)
    x = train.x[:4] * 0.5 + mean * 0.5 + 0.1
    near = evaluators.match(x, train, mean, PEOPLE)
    assert torch.allclose(near.gather(1, train.y[:4, None]), torch.ones(4, 1), atol=1e-4)
    some = train.take(train.y != 2)
    assert (evaluators.match(x, some, mean, PEOPLE)[:, 2] == -1).all()


def test_galleries_are_matched_per_person() -> None:
    train, test = faces().train, faces().test
    a, b = evaluators.matched_galleries(train, test.take(test.y != 1))
    assert a.y.bincount(minlength=PEOPLE).tolist() == b.y.bincount(minlength=PEOPLE).tolist()
    assert a.y.bincount(minlength=PEOPLE)[1] == 0
    assert len(a) == 3 * (PEOPLE - 1)


def test_two_votes_are_enough() -> None:
    def naming(*classes: int) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(classes), 3).float()

    scores = {"cnn": naming(0, 0, 0), "lda": naming(0, 0, 1), "ncc": naming(0, 2, 2)}
    truth = torch.zeros(3, dtype=torch.int64)
    assert evaluators.committee(scores, truth).tolist() == [True, True, False]


def test_augmentation_is_its_generators() -> None:
    x = faces().train.x[:6]
    first, again, other = (evaluators.augment(x, generator(seed)) for seed in (0, 0, 1))
    assert first.shape == (6, *SHAPE)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_tables_need_no_judge() -> None:
    splits = faces(3)
    card = replace(splits.card, modality="table", shape=(4,))
    rows = Split(torch.zeros(3, 4), torch.arange(3), torch.arange(3))
    assert evaluators.fit(replace(splits, card=card, train=rows), 0, "cpu") == ({}, {})
