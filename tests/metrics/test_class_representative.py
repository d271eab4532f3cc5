from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.contract import DivergedError, Reconstruction, Score, UserError, generator
from bench.metrics import evaluators
from bench.metrics.class_representative import METRIC, score
from tests.metrics.faces import PEOPLE, SHAPE, judged


def given(values: Tensor) -> Score:
    return score(Reconstruction(values), judged()[0])


def members() -> Tensor:
    train = judged()[0].splits.train
    return torch.stack([train.x[train.y == c][0] for c in range(PEOPLE)])


def test_the_private_truth_scores_one() -> None:
    out = given(members())
    assert out.metric == METRIC
    assert out.value == out.members == 1.0
    assert out.ceiling == pytest.approx(judged()[1]["committee_ceiling"])
    assert out.extra["ssim"] == pytest.approx(1.0, abs=1e-4)
    assert out.extra["psnr"] > 60
    assert out.extra["feature_gap"] < 0
    assert out.extra["template_gap"] > 0
    assert out.extra["top5_cnn"] >= out.extra["top1_cnn"] >= out.extra["strict"]


def test_held_out_images_are_nearer_to_held_out_images() -> None:
    test = judged()[0].splits.test
    out = given(torch.stack([test.x[test.y == c][0] for c in range(PEOPLE)]))
    assert out.value >= 0.9
    assert out.extra["template_gap"] < 0
    assert out.members <= out.nonmembers


def test_permuted_targets_drop_to_chance() -> None:
    """FIELD 2, defect 10: success belongs to a target, not to a position."""
    for turn in range(1, PEOPLE):
        assert given(members().roll(turn, 0)).value == 0.0
    truth = judged()[0]
    order = torch.randperm(PEOPLE, generator=generator(3))
    shuffled = replace(truth, classes=torch.arange(PEOPLE)[order])
    assert score(Reconstruction(members()[order]), shuffled).value == 1.0


def test_a_generator_that_ignores_the_target_scores_chance() -> None:
    """FIELD 2, defect 9: one image can be right for one class at most."""
    public = judged()[0].splits.public.x
    for image in (*members(), public.mean(0), public[0], torch.rand(SHAPE), torch.zeros(SHAPE)):
        out = given(image.expand(PEOPLE, *SHAPE))
        assert out.value <= 1 / PEOPLE + 1e-6
        assert max(out.extra[f"top1_{k}"] for k in evaluators.COMMITTEE) <= 1 / PEOPLE + 1e-6


def test_the_controls_are_beside_the_headline() -> None:
    out = given(members())
    assert out.extra["permuted"] == 0.0 and out.extra["chance"] == 1 / PEOPLE
    assert out.extra["rank"] == 1.0 and out.extra["stranger"] == 0.0
    assert out.extra["closed_set"] == 1.0
    wrong = given(members().roll(-1, 0))
    assert wrong.value == 0.0 and wrong.extra["permuted"] == 1.0 and wrong.extra["rank"] > 1


def test_the_public_picture_that_is_most_like_each_person_reveals_nobody() -> None:
    """The hole of a closed line-up: another person's picture, chosen by the judge itself."""
    truth = judged()[0]
    splits = truth.splits
    scores = evaluators.judge(truth.evaluator, splits.public.x)
    for name in evaluators.COMMITTEE:
        out = given(splits.public.x[scores[name][:, :PEOPLE].argmax(0)])
        assert out.value == out.members == out.nonmembers == 0.0
        assert out.extra["stranger"] > 0.8
    assert out.extra["closed_set"] > 0.2


def test_outcomes_are_per_target_and_agree_with_the_headline() -> None:
    out = given(members().roll(1, 0))
    assert {len(v) for v in out.outcomes.values()} == {PEOPLE}
    assert float(out.outcomes["success"].float().mean()) == out.value
    votes = torch.stack([out.outcomes[f"vote_{k}"] for k in evaluators.COMMITTEE])
    named = (votes == out.outcomes["target"]).sum(0)
    assert torch.equal(named, out.outcomes["votes"])
    assert all(torch.isfinite(torch.tensor(v)) for v in out.extra.values())


def test_a_subset_of_classes_is_judged_among_all_people() -> None:
    truth = replace(judged()[0], classes=torch.tensor([5, 2]))
    assert score(Reconstruction(members()[[5, 2]]), truth).value == 1.0
    assert score(Reconstruction(members()[[2, 5]]), truth).value == 0.0


def test_values_outside_an_image_are_clipped() -> None:
    plain, wild = given(members()), given(torch.where(members() >= 1, 7.0, members()))
    assert plain.extra == wild.extra


def test_refusals() -> None:
    broken = members()
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(DivergedError, match="NaN or Inf"):
        given(broken)
    with pytest.raises(UserError, match="one image per class"):
        given(members()[:3])
    with pytest.raises(UserError, match="needs the target classes"):
        score(Reconstruction(members()), replace(judged()[0], classes=None))
