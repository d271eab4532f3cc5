from __future__ import annotations

from typing import Any

import pytest
import torch

from attacks.common.priors import PcaPrior
from attacks.miface import MIFace
from attacks.prior_inversion import PriorInversion
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(
    "attack",
    [MIFace(alpha=20), *(PriorInversion(access=a) for a in ("weights", "scores", "labels"))],
)
def test_an_image_attack_runs_where_the_target_is(attack: Any) -> None:
    network = target(photographs(PEOPLE, 4, seed=1)).to("cuda")
    held = knowledge(prior=PcaPrior(8).fit(knowledge(), 0, "cuda"))
    out = attack.run(exposed(network, attack.access), held, 0, "cuda")
    assert out.values.shape == (PEOPLE, *SHAPE)
    assert out.values.is_cuda and bool(torch.isfinite(out.values).all())
