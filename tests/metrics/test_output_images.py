"""The images' side of the output-reconstruction goal."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.contract import DivergedError, Reconstruction, Score, Truth, UserError, Victims
from bench.contract.data import Split
from bench.metrics.leakage import leakage
from bench.metrics.output_reconstruction import IMAGES, score
from tests.metrics.faces import judged


def truth_of(x: Tensor, y: Tensor, member: Tensor) -> Truth:
    return replace(judged()[0], victims=Victims(Split(x, y, y), member))


def world() -> tuple[Tensor, Tensor, Tensor]:
    splits = judged()[0].splits
    n = len(splits.test)
    x = torch.cat([splits.train.x[:n], splits.test.x])
    y = torch.cat([splits.train.y[:n], splits.test.y])
    return x, y, torch.arange(2 * n) < n


def given(values: Tensor) -> Score:
    return score(Reconstruction(values), truth_of(*world()))


def blank() -> Tensor:
    return judged()[0].splits.public.x.mean(0).expand_as(world()[0])


def test_the_truth_is_worth_one_and_the_public_mean_nothing() -> None:
    x, _, member = world()
    out = given(x)
    assert out.metric == IMAGES and out.value == out.members == out.nonmembers == out.ceiling == 1.0
    assert out.extra["ssim"] == pytest.approx(1.0, abs=1e-4) and out.extra["psnr"] == 100.0
    assert out.extra["identity"] == out.extra["identity_nonmembers"] == 1.0
    assert given(blank()).value == given(blank()).nonmembers == 0.0
    assert torch.equal(out.outcomes["member"], member)
    assert {len(v) for v in out.outcomes.values()} == {len(x)}


def test_leakage_is_one_less_the_ratio_of_errors() -> None:
    """PROTOCOL 2.2: ``L = 1 - MSE / MSE(label-only)`` with the label-only guess as baseline."""
    x, _, member = world()
    guess, label_only = (torch.lerp(blank(), x, t) for t in (0.7, 0.4))
    e, base = ((v - x)[member].square().mean().item() for v in (guess, label_only))
    found = leakage(given(guess).value, given(label_only).value, 1.0)
    assert found == pytest.approx(1 - e / base, abs=1e-5)


def test_each_side_is_judged_on_its_own_victims() -> None:
    x, _, member = world()
    out = given(torch.where(member.view(-1, 1, 1, 1), x, blank()))
    assert (out.value, out.members, out.nonmembers) == (1.0, 1.0, 0.0)


def test_worse_than_the_public_mean_is_zero_and_said() -> None:
    out = given(1 - blank())
    assert out.value == 0.0 and out.extra["skill_members"] < 0.0
    assert out.extra["mse"] > out.extra["mse_public_mean"]


def test_values_outside_an_image_are_clipped() -> None:
    x = world()[0]
    assert given(torch.where(x >= 1, 7.0, x)).extra == given(x).extra


def test_another_persons_picture_is_not_identified() -> None:
    x, y, member = world()
    out = score(Reconstruction(x.roll(len(x) // 4, 0)), truth_of(x, y, member))
    assert out.extra["identity"] <= 0.2


def test_identity_is_claimed_of_people_only() -> None:
    x, y, member = world()
    known = truth_of(x, y, member)
    card = replace(known.splits.card, privacy_unit="record")
    scans = replace(known, splits=replace(known.splits, card=card))
    out = score(Reconstruction(x), scans)
    assert not [k for k in out.extra if k.startswith("identity")]
    assert score(Reconstruction(x), replace(known, evaluator={})).value == 1.0


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UserError, match="one image per victim"):
        given(world()[0][:3])
    with pytest.raises(DivergedError):
        given(world()[0] * torch.nan)
    with pytest.raises(UserError, match="needs victims"):
        score(Reconstruction(world()[0]), replace(judged()[0], victims=None))
