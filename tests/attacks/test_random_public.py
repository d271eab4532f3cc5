from __future__ import annotations

import torch

from attacks.random_public import RandomPublic
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target


def test_every_class_gets_a_public_image_and_nothing_is_asked() -> None:
    exposure = exposed(target(photographs(PEOPLE, 2, seed=1)), "none")
    held = knowledge()
    first, again, other = (
        RandomPublic().run(exposure, held, seed, "cpu").values for seed in (0, 0, 1)
    )
    assert first.shape == (PEOPLE, *SHAPE)
    known = (first.unsqueeze(1) == held.public.x.unsqueeze(0)).flatten(2).all(2)
    assert known.any(1).all()
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert exposure.meter.queries == exposure.meter.forward_passes == 0
