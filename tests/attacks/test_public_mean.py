from __future__ import annotations

import torch

from attacks.public_mean import PublicMean
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target


def test_every_class_gets_the_mean_and_nothing_is_asked() -> None:
    exposure = exposed(target(photographs(PEOPLE, 2, seed=1)), "none")
    held = knowledge()
    out = PublicMean().run(exposure, held, 0, "cpu").values
    assert out.shape == (PEOPLE, *SHAPE)
    assert torch.equal(out, held.public.x.mean(0).expand_as(out))
    assert exposure.meter.queries == exposure.meter.forward_passes == 0
