"""Deleted records from the change of a linear model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from attacks.hrec import HRec
from bench.contract import Exposure, Network, Task, UserError
from tests.attacks import rows
from tests.attacks.deletions import VICTIMS, split, world

TASKS: tuple[Task, ...] = ("regression", "classification")


def cosine(found: Tensor, wanted: Tensor, public: Tensor) -> float:
    """Mean cosine of both less the public mean."""
    mean = public.mean(0)
    return float(cosine_similarity(found - mean, wanted - mean).mean())


@pytest.mark.parametrize("task", TASKS)
def test_whoever_knows_the_second_moments_gets_the_record_exactly(task: Task) -> None:
    members = split(task, 300, 1)
    exposure, knowledge = world(task, members, members)
    found = HRec().run(exposure, knowledge, 0, "cpu")
    torch.testing.assert_close(found.values, members.x[:VICTIMS], atol=0.02, rtol=0.0)
    if task == "classification":
        assert found.labels is not None and found.labels.equal(members.y[:VICTIMS])
    else:
        assert found.labels is None


@pytest.mark.parametrize("task", TASKS)
def test_public_records_do_in_the_place_of_the_members(task: Task) -> None:
    members = split(task, 300, 1)
    alike = []
    for m in (60, 2000):
        public = split(task, m, 2)
        found = HRec().run(*world(task, members, public), 0, "cpu").values
        alike.append(cosine(found, members.x[:VICTIMS], public.x))
    few, many = alike
    assert 0.5 < few < many and many > 0.95


def test_a_network_of_more_than_one_layer_is_refused() -> None:
    network: Network = rows.mlp()
    state = {k: v.expand(2, *v.shape) for k, v in network.state_dict().items()}
    exposure = Exposure("deletions", network, network, network, after=lambda: state)
    _, knowledge = world(
        "classification", split("classification", 20, 1), split("classification", 20, 2)
    )
    with pytest.raises(UserError, match="one linear layer"):
        HRec().run(exposure, knowledge, 0, "cpu")
    assert isinstance(network.head, nn.Linear)
