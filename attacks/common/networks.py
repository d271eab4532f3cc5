"""What an attack with the weights sees of a network, with its type."""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn

from bench.contract import Network


class Leaves(Protocol):
    """What is read of the block of a tree model, see :class:`bench.contract.Network`."""

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    counts: Tensor
    leaf: Tensor


def inside(exposed: nn.Module) -> Network:
    """The network with its blocks and its head, of what an exposure hands out.

    A pass through it is not metered: pass records through ``exposed``.
    """
    return cast(Network, exposed.network)
