"""What an attack with the weights sees of a network, with its type."""

from __future__ import annotations

from typing import cast

from torch import nn

from bench.contract import Network


def inside(exposed: nn.Module) -> Network:
    """The network with its blocks and its head, of what an exposure hands out.

    A pass through it is not metered: pass records through ``exposed``.
    """
    return cast(Network, exposed.network)
