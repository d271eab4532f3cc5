from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attacks.class_mean import ClassMean
from bench.contract import Knowledge, UserError
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target

LABELS = torch.tensor([3, 0, 3, 5])


def run(held: Knowledge) -> torch.Tensor:
    exposure = exposed(target(photographs(PEOPLE, 4, seed=1)), "none")
    return ClassMean().run(exposure, held, 0, "cpu").values


def shared() -> Knowledge:
    """Public images of the very classes, none of class 5."""
    public = photographs(PEOPLE - 1, 3, seed=9)
    return replace(knowledge(), public=public, victim_labels=LABELS)


def test_a_label_gives_its_class_mean() -> None:
    held, out = shared(), run(shared())
    for row, label in zip(out[:3], LABELS.tolist(), strict=False):
        expected = held.public.x[held.public.y == label].mean(0)
        assert torch.allclose(row, expected, atol=1e-6)


def test_a_label_without_public_images_gives_the_mean() -> None:
    assert torch.allclose(run(shared())[3], shared().public.x.mean(0), atol=1e-6)


def test_other_peoples_labels_say_nothing() -> None:
    held = shared()
    out = run(replace(held, card=replace(held.card, shared_classes=False)))
    assert out.shape == (4, *SHAPE)
    assert torch.equal(out, held.public.x.mean(0).expand(4, *SHAPE))


def test_refusals() -> None:
    with pytest.raises(UserError, match="published labels"):
        run(knowledge())
