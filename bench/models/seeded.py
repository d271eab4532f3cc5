"""The global random generators, borrowed and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed the global generators inside the block and restore them after it.

    For what takes no generator of its own: ``torch.nn`` initialisation and dropout.
    """
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.device(device)] if cuda else []):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed: it seeds every device
        if cuda:
            torch.cuda.manual_seed_all(seed)
        yield
