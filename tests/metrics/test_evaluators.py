from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.contract import Federation, Split, UserError, check_splits, generator
from bench.engine.knowledge import knowledge_of
from bench.goals import goal_named
from bench.metrics import evaluators, judge_network
from tests.metrics.faces import PEOPLE, SHAPE, faces, judged


def test_the_committee_knows_the_people() -> None:
    """PROTOCOL 3.6, C5."""
    _, facts = judged()
    for name in evaluators.COMMITTEE:
        assert facts[f"heldout_acc_{name}"] >= 0.9
        assert facts[f"oracle_{name}"] >= 0.9
    assert facts["committee_ceiling"] >= 0.95 and facts["committee_oracle"] >= 0.95
    members = {*evaluators.COMMITTEE, "committee"}
    single = {"committee_ceiling", "committee_oracle", "public_named_committee"}
    assert set(facts) == single | {"refit_members", "refit_others"} | {
        f"{kind}_{name}" for kind in ("heldout_acc", "oracle") for name in evaluators.COMMITTEE
    } | {f"public_far_{name}" for name in members}
    assert all(0 <= facts[f"public_far_{name}"] <= 1 / PEOPLE for name in members)


def test_a_public_person_is_nobody_private() -> None:
    truth, _ = judged()
    splits = truth.splits
    scores = evaluators.judge(truth.evaluator, splits.public.x)
    for name in evaluators.COMMITTEE:
        assert (evaluators.named(scores[name]) == PEOPLE).float().mean() >= 0.75
    anyone = torch.stack(
        [evaluators.committee(scores, torch.full((36,), c)) for c in range(PEOPLE)]
    )
    assert not anyone.any()
    shut = evaluators.closed(scores)
    assert all(int(evaluators.named(shut[name]).max()) < PEOPLE for name in evaluators.COMMITTEE)


def test_strangers_nobody_trained_on_are_rejected() -> None:
    """New people, enrolled nowhere: rarely taken for a given private person."""
    truth, _ = judged()
    new = faces(40, 2, 1).train.x[PEOPLE:]
    scores = evaluators.judge(truth.evaluator, new)
    claims = [evaluators.committee(scores, torch.full((len(new),), c)) for c in range(PEOPLE)]
    assert torch.stack(claims).float().mean() < 0.08


def test_what_is_level_with_a_stranger_is_nobody() -> None:
    scores = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.3, 0.2], [0.4, 0.3, 0.4], [0.1, 0.2, 0.9]])
    assert evaluators.named(scores).tolist() == [2, 1, 2, 2]


@pytest.mark.parametrize(("people", "strangers"), [(2, 3), (2, 1), (PEOPLE, 2)])
def test_few_people_are_enough(
    people: int, strangers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_network, "STEPS", 100)
    splits = faces(people)
    few = splits.public.take(splits.public.y < strangers)
    tensors, facts = evaluators.fit(replace(splits, public=few), 0, "cpu")
    assert facts["committee_ceiling"] >= 0.8
    assert ("public_far_committee" in facts) == (strangers > 1)
    assert all(bool(torch.isfinite(v).all()) for v in tensors.values())


@pytest.mark.parametrize("shape", [(1, 64, 52), (3, 40, 40)])
def test_any_size_and_colour(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_network, "STEPS", 100)
    splits = faces(3)

    def grow(split: Split) -> Split:
        x = torch.nn.functional.interpolate(split.x, shape[1:], mode="bilinear")
        return replace(split, x=x.clamp(0, 1).repeat(1, shape[0], 1, 1))

    card = replace(splits.card, shape=shape)
    parts = {name: grow(getattr(splits, name)) for name in ("train", "test", "public")}
    _, facts = evaluators.fit(replace(splits, card=card, **parts), 0, "cpu")
    assert facts["committee_ceiling"] >= 0.9


def test_it_is_deterministic_and_leaves_the_global_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge_network, "STEPS", 60)
    splits = faces(3)
    before = torch.random.get_rng_state()
    first, again = (evaluators.fit(splits, 5, "cpu")[0] for _ in range(2))
    other = evaluators.fit(splits, 6, "cpu")[0]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["cnn.head.weight"], other["cnn.head.weight"])


def test_held_out_images_teach_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_network, "STEPS", 60)
    splits = faces(3)
    noise = replace(splits.test, x=torch.rand(splits.test.x.shape, generator=generator(1)))
    plain, facts = evaluators.fit(splits, 5, "cpu")
    blind, blind_facts = evaluators.fit(replace(splits, test=noise), 5, "cpu")
    taught = {k for k in plain if k.startswith(evaluators.OTHERS)} | {"ceiling"}
    assert all(torch.equal(plain[k], blind[k]) for k in plain.keys() - taught)
    assert blind_facts["heldout_acc_cnn"] < facts["heldout_acc_cnn"]


def test_lda_whitens_what_differs_within_people() -> None:
    truth, _ = judged()
    train, tensors = truth.splits.train, truth.evaluator
    z = train.x.flatten(1) @ tensors["lda.weight"].T + tensors["lda.bias"]
    means = torch.stack([z[train.y == c].mean(0) for c in range(PEOPLE)])
    within = (z - means[train.y]).var(0)
    # Shrinkage keeps directions without scatter small; public people share the scatter.
    assert 0.5 < within[:20].median() < 2 and within.max() < 4
    half = evaluators.judge(tensors, torch.lerp(truth.splits.public.x.mean(0), train.x, 0.5))["lda"]
    assert (evaluators.named(half) == train.y).float().mean() > 0.9


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
        return torch.nn.functional.one_hot(torch.tensor(classes), 4).float()

    scores = {"cnn": naming(0, 0, 0), "lda": naming(0, 0, 1), "hog": naming(0, 3, 3)}
    truth = torch.zeros(3, dtype=torch.int64)
    assert evaluators.committee(scores, truth).tolist() == [True, True, False]


def test_augmentation_is_its_generators() -> None:
    x = faces().train.x[:6]
    first, again, other = (judge_network.augment(x, generator(seed)) for seed in (0, 0, 1))
    assert first.shape == (6, *SHAPE)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_fillers_stand_in_the_line_up_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_network, "STEPS", 200)
    splits = faces(3)
    # The last four of the twelve strangers are fillers now.
    filler = splits.public.y >= 8
    spared = splits.public.take(filler)
    apart = replace(splits, public=splits.public.take(~filler), fillers=spared)
    check_splits(apart)
    tensors, _ = evaluators.fit(apart, 0, "cpu")
    scores = evaluators.judge(tensors, spared.x)
    # A picture of a filler is nobody's.
    claims = [evaluators.committee(scores, torch.full((len(spared),), c)) for c in range(3)]
    assert not torch.stack(claims).any()

    known = knowledge_of(
        apart,
        goal_named("class_representative"),
        None,
        {},
        (),
        None,
        Federation(),
        "classification",
        "cpu",
    )
    assert torch.equal(known.public.x, apart.public.x)
    assert not torch.isin(spared.person, known.public.person).any()
    with pytest.raises(UserError, match="'public' and 'fillers'"):
        check_splits(replace(splits, fillers=spared))


def test_a_member_gap_has_a_committee_on_each_side() -> None:
    """No judge of a side has seen the other side's pictures of private people."""
    truth, facts = judged()
    splits, tensors = truth.splits, truth.evaluator
    assert facts["refit_members"] >= 0.9 and facts["refit_others"] >= 0.9
    for side, own in ((evaluators.MEMBERS, splits.train), (evaluators.OTHERS, splits.test)):
        refit = evaluators.refitted(tensors, side)
        for name in evaluators.COMMITTEE:
            mine = evaluators.judge(refit, own.x)[name].gather(1, own.y[:, None])
            unseen = splits.test if side == evaluators.MEMBERS else splits.train
            theirs = evaluators.judge(refit, unseen.x)[name].gather(1, unseen.y[:, None])
            assert mine.mean() > theirs.mean()


def test_where_no_class_is_a_person_there_is_no_judge() -> None:
    splits = faces(3)
    disease = replace(splits.card, privacy_unit="record")
    assert evaluators.fit(replace(splits, card=disease), 0, "cpu") == ({}, {})
    card = replace(splits.card, modality="table", shape=(4,))
    rows = Split(torch.zeros(3, 4), torch.arange(3), torch.arange(3))
    assert evaluators.fit(replace(splits, card=card, train=rows), 0, "cpu") == ({}, {})
