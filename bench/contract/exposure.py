"""The metered object an attack is handed: it offers exactly the access and counts every query."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.contract.errors import AccessError, BudgetError

Access = Literal["none", "labels", "scores", "weights"]
ACCESS_ORDER: tuple[Access, ...] = ("none", "labels", "scores", "weights")
"""From least to most: an attacker with more may simulate one with less."""


def at_least(access: Access, wanted: Access) -> bool:
    """Whether ``access`` offers everything that ``wanted`` does."""
    return ACCESS_ORDER.index(access) >= ACCESS_ORDER.index(wanted)


@dataclass
class Meter:
    """What an attack has used.

    Attributes:
        queries: records sent to the deployment's interface; a batch of m is m queries.
        forward_passes: records passed through the white-box network.
        backward_passes: records whose gradient was taken through the white-box network.
    """

    queries: int = 0
    forward_passes: int = 0
    backward_passes: int = 0


class Exposure:
    """What a deployment exposes to one attack.

    The deployed model is held in closures, not attributes: the three methods are the only way in.

    Args:
        access: what is offered; asking for more raises :class:`AccessError`.
        scores: maps records ``[n, *shape]`` to released scores ``[n, n_classes]``.
        labels: maps records ``[n, *shape]`` to released labels int64 ``[n]``.
        network: the white-box network returning logits ``[n, n_classes]``; ``weights`` only.
        budget: most queries allowed; None means unlimited.
    """

    def __init__(
        self,
        access: Access,
        scores: Callable[[Tensor], Tensor],
        labels: Callable[[Tensor], Tensor],
        network: nn.Module | None = None,
        budget: int | None = None,
    ) -> None:
        self.access = access
        self.budget = budget
        self.meter = Meter()
        self._ask = {"scores": scores, "labels": labels}
        self._network: Callable[[], nn.Module] | None = None
        if network is not None and at_least(access, "weights"):
            self._network = lambda: _metered(network, self.meter)

    def _query(self, kind: Access, x: Tensor) -> Tensor:
        if not at_least(self.access, kind):
            raise AccessError(
                f"The exposure offers '{self.access}', the attack asked for '{kind}'."
            )
        if self.budget is not None and self.meter.queries + len(x) > self.budget:
            raise BudgetError(
                f"{len(x)} more queries would exceed the budget of {self.budget} "
                f"({self.meter.queries} used)."
            )
        self.meter.queries += len(x)
        with torch.no_grad():
            return self._ask[kind](x)

    def labels(self, x: Tensor) -> Tensor:
        """Released labels int64 ``[n]`` of records ``[n, *shape]``; costs n queries."""
        return self._query("labels", x)

    def scores(self, x: Tensor) -> Tensor:
        """Released scores ``[n, n_classes]`` of records ``[n, *shape]``; costs n queries."""
        return self._query("scores", x)

    def network(self) -> nn.Module:
        """A differentiable copy of the deployed network, in evaluation mode, returning logits.

        Its parameters are frozen; gradients flow to the input only. Passes are metered.
        """
        if self._network is None:
            raise AccessError(
                f"The exposure offers '{self.access}', the attack asked for 'weights'."
            )
        return self._network()


class _Metered(nn.Module):
    def __init__(self, network: nn.Module, meter: Meter) -> None:
        super().__init__()
        self.network = network
        self._meter = meter

    def forward(self, x: Tensor) -> Tensor:
        self._meter.forward_passes += len(x)
        out: Tensor = self.network(x)
        if out.requires_grad:
            rows, meter = len(x), self._meter

            def count(_: Any) -> None:
                meter.backward_passes += rows

            out.register_hook(count)  # type: ignore[no-untyped-call]
        return out


def _metered(network: nn.Module, meter: Meter) -> nn.Module:
    clone = copy.deepcopy(network).eval()
    clone.requires_grad_(False)
    return _Metered(clone, meter).eval()
