from __future__ import annotations

import torch

from bench.contract import generator, seed


def test_only_named_axes_matter() -> None:
    assert seed(0, dataset="faces", repeat=1) == seed(0, repeat=1, dataset="faces")
    assert len({seed(0, dataset="faces", repeat=r) for r in range(100)}) == 100
    assert seed(0, dataset="faces", repeat=1) != seed(0, model="faces", repeat=1)
    assert seed(0, repeat=1) != seed(1, repeat=1)


def test_seeds_are_golden_and_accepted_everywhere() -> None:
    value = seed(0, dataset="faces", repeat=0)
    assert value == 137231977
    assert 0 <= value < 2**31


def test_generator_is_its_own() -> None:
    state = torch.get_rng_state()
    first = torch.rand(3, generator=generator(5))
    assert torch.equal(first, torch.rand(3, generator=generator(5)))
    assert torch.equal(state, torch.get_rng_state())
