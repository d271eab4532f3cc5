"""Seeds as named axes: only the axes that should matter enter the hash.

All defenses see the same split and the same initial weights in repeat *r* because their seeds are
made from ``dataset`` and ``repeat`` only; an attack's noise is its own because its name is an axis
of its seed. The comparison of two defenses is therefore paired by construction (PROTOCOL 3.1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed(base: int, **axes: str | int) -> int:
    """Derive a seed from a base seed and the named axes that matter.

    Args:
        base: the suite's base seed.
        **axes: axis name to value, for example ``dataset="faces", repeat=0``. The order of the
            axes does not matter, their names and values do.

    Returns:
        An integer in [0, 2**31), which torch, NumPy and scikit-learn all accept.
    """
    text = json.dumps([base, sorted(axes.items())], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def generator(value: int, device: str = "cpu") -> torch.Generator:
    """A torch generator seeded with ``value`` on ``device``."""
    return torch.Generator(device=device).manual_seed(value)


@contextmanager
def seeded(value: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them after it.

    For what takes no generator of its own: ``torch.nn`` initialisation and dropout.
    """
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.device(device)] if cuda else []):
        # Not torch.manual_seed: it seeds every device, and without one remembers who has asked.
        torch.default_generator.manual_seed(value)
        if cuda:
            torch.cuda.manual_seed_all(value)
        yield
