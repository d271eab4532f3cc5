from __future__ import annotations

import torch

from attacks.common.candidates import value_prior
from attacks.majority import Majority
from tests.attacks.tables import exposed, world


def test_majority_says_the_same_of_everyone() -> None:
    _, knowledge = world(3)
    assert knowledge.public.s is not None
    out = Majority().run(exposed(torch.softmax, "none"), knowledge, 0, "cpu").values
    count = torch.bincount(knowledge.public.s, minlength=3)
    assert bool((out == out[0]).all())
    assert torch.allclose(out[0], (count + 1).double() / (count.sum() + 3))
    assert torch.allclose(out[0], value_prior(knowledge))
