"""The metered object an attack is handed: it offers exactly the access and counts every query."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.contract.access import Access, at_least
from bench.contract.errors import AccessError, BudgetError, require
from bench.contract.options import Count, Positive, check_options
from bench.contract.serving import Gateway, refusal


@dataclass(frozen=True)
class Federation:
    """How clients share what they learn: the training protocol that leaks gradients.

    Attributes:
        batch_size: records of one client.
        local_steps: 1: FedSGD, the update is the gradient of the client's mean cross-entropy;
            more: FedAvg, every local step of plain SGD uses the client's whole batch.
        local_lr: learning rate of the local steps.
        state: the global weights the updates are computed at: ``initial`` or ``trained``.
        records: victims' records over all clients, a multiple of ``2 * batch_size``: half of them
            members, half held-out.
        aggregated: clients of whose updates only the mean is observed (secure aggregation). To an
            attacker they are one client: ``batch_size`` is then that of all of them together.
    """

    batch_size: Count = 1
    local_steps: Count = 1
    local_lr: Positive = 0.01
    state: Literal["initial", "trained"] = "initial"
    records: Count = 32
    aggregated: Count = 1

    def __post_init__(self) -> None:
        check_options(self)
        require(
            self.records % (2 * self.batch_size) == 0,
            f"records is {self.records}; give a multiple of twice batch_size ({self.batch_size}).",
        )

    @property
    def clients(self) -> int:
        """Number of updates observed in a round."""
        return self.records // self.batch_size

    def aggregate(self, clients: int) -> Federation:
        """The same protocol as observed when only means over ``clients`` updates are.

        Raises:
            UserError: the victims' records do not make up such groups.
        """
        return replace(
            self, batch_size=self.batch_size * clients, aggregated=self.aggregated * clients
        )


Weights = Mapping[str, Tensor]
"""Parameters or updates by parameter name."""


@dataclass
class Meter:
    """What an attack has used.

    Attributes:
        queries: records sent to the deployment's interface; a batch of m is m queries.
        forward_passes: records passed through the white-box network.
        backward_passes: records whose gradient was taken through the white-box network.
        updates: clients' updates observed; a second round of the same clients counts again.
        refused: queries that stayed without an answer.
    """

    queries: int = 0
    refused: int = 0
    forward_passes: int = 0
    backward_passes: int = 0
    updates: int = 0


class Exposure:
    """What a deployment exposes to one attack.

    The deployed model is held in closures, not attributes: the methods are the only way in.

    Args:
        access: what is offered; asking for more raises :class:`AccessError`.
        scores: maps records ``[n, *shape]`` to released scores ``[n, n_classes]``.
        labels: maps records ``[n, *shape]`` to released labels int64 ``[n]``.
        network: the white-box network returning logits ``[n, n_classes]``; from ``weights`` on.
        budget: most queries allowed; None means unlimited.
        updates: one round of every client's update, each tensor ``[clients, *shape]`` by
            parameter name; from ``gradients`` on.
        tampered: the same round where every place of a group of clients is sent weights of the
            server's choice, one mapping a place; ``malicious_server`` only.
        after: the network's parameters after each victim's deletion, each tensor
            ``[victims, *shape]`` by parameter name; ``deletions`` only.
        gate: what stands before the deployment's interface; None: nothing but an audit trail.
    """

    def __init__(
        self,
        access: Access,
        scores: Callable[[Tensor], Tensor],
        labels: Callable[[Tensor], Tensor],
        network: nn.Module | None = None,
        budget: int | None = None,
        updates: Callable[[], Weights] | None = None,
        gate: Gateway | None = None,
        tampered: Callable[[Sequence[Weights]], Weights] | None = None,
        after: Callable[[], Weights] | None = None,
    ) -> None:
        self.access = access
        self.budget = budget
        self.meter = Meter()
        self._ask = {"scores": scores, "labels": labels}
        gate = gate or Gateway()
        self._serve = gate.serve
        self._open: Callable[[], bool] = lambda: gate.open
        self._network: Callable[[], nn.Module] | None = None
        if network is not None and at_least(access, "weights"):
            self._network = lambda: _metered(network, self.meter)
        self._updates = updates if at_least(access, "gradients") else None
        self._tampered = tampered if at_least(access, "malicious_server") else None
        self._after = after if at_least(access, "deletions") else None

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
            answers, answered = self._serve(x, self._ask[kind])
        refused = len(x) - int(answered.sum())
        if refused:
            self.meter.refused += refused
            answers[~answered] = refusal(answers[~answered])
        return answers

    @property
    def left(self) -> int | None:
        """Queries left of the budget; None: as many as it likes."""
        return None if self.budget is None else self.budget - self.meter.queries

    def affords(self, queries: int) -> bool:
        """Whether ``queries`` more fit the budget."""
        return self.left is None or queries <= self.left

    @property
    def open(self) -> bool:
        """Whether another query could still be answered.

        Once it cannot, every further one is refused: scores come back equal, labels as the first
        class, lists empty. Of a batch the first ones are answered, the rest refused;
        ``meter.refused`` counts them.
        """
        return self._open()

    def labels(self, x: Tensor) -> Tensor:
        """Released labels int64 ``[n]`` of records ``[n, *shape]``; costs n queries."""
        return self._query("labels", x)

    def scores(self, x: Tensor) -> Tensor:
        """Released scores ``[n, n_classes]`` of records ``[n, *shape]``; costs n queries."""
        return self._query("scores", x)

    def network(self) -> nn.Module:
        """A differentiable copy of the deployed network, in evaluation mode, returning logits.

        Its parameters are frozen; gradients flow to the input only. Passes are metered. The
        parameters are named as in :meth:`updates`, with ``network.`` in front.
        """
        if self._network is None:
            raise AccessError(
                f"The exposure offers '{self.access}', the attack asked for 'weights'."
            )
        return self._network()

    def updates(self, sent: Weights | Sequence[Weights] | None = None) -> Weights:
        """What the clients shared in one round, after their defenses.

        Each tensor is ``[clients, *parameter.shape]``, by parameter name; parameters that are not
        trained are absent. In units of a gradient: ``(before - after) / local_lr`` of the local
        steps. A further call is a further round of the same clients: noise is drawn anew, and every
        client counts again.

        Args:
            sent: ``malicious_server`` only: what the server sends to the clients in the place of
                the global weights. Parameters that are absent keep their global values; those that
                are not trained stay with the clients and cannot be sent. One mapping is for all
                clients; a sequence has one for each of the ``aggregated`` places in a group whose
                updates are summed. None: the global weights.

        Raises:
            AccessError: the exposure offers less.
            UserError: a sent parameter does not exist, is not trained, has another shape, or is
                not finite; or the sequence has another length.
        """
        wanted: Access = "gradients" if sent is None else "malicious_server"
        if self._updates is None or (sent is not None and self._tampered is None):
            raise AccessError(
                f"The exposure offers '{self.access}', the attack asked for '{wanted}'."
            )
        if sent is None:
            shared = self._updates()
        else:
            assert self._tampered is not None
            shared = self._tampered([sent] if isinstance(sent, Mapping) else sent)
        self.meter.updates += len(next(iter(shared.values())))
        return shared

    def deletions(self) -> Weights:
        """The network's parameters after one deletion for each victim, in the victims' order.

        Each tensor is ``[victims, *parameter.shape]``, by parameter name; :meth:`network` is how
        it was before. The record of a victim who is a member was deleted. Of one who is not, there
        was nothing to delete: another member's record was. The owner trained again without it,
        with randomness of its own.

        Raises:
            AccessError: the exposure offers less.
        """
        if self._after is None:
            raise AccessError(
                f"The exposure offers '{self.access}', the attack asked for 'deletions'."
            )
        return self._after()


class _Count(torch.autograd.Function):
    """The identity on logits; rows are counted as they pass, under ``torch.func.vmap`` too."""

    @staticmethod
    def forward(out: Tensor, meter: Meter) -> Tensor:
        meter.forward_passes += len(out)
        return out.view_as(out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Meter], output: Tensor) -> None:
        ctx.meter = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _CountBack.apply(grads[0], ctx.meter), None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: Any, out: Tensor, meter: Meter) -> tuple[Tensor, int]:
        return _flat(_Count, in_dims, out, meter), 0


class _CountBack(torch.autograd.Function):
    """The identity on the logits' gradient."""

    @staticmethod
    def forward(grad: Tensor, meter: Meter) -> Tensor:
        meter.backward_passes += len(grad)
        return grad.view_as(grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Meter], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad: Tensor, meter: Meter) -> tuple[Tensor, int]:
        return _flat(_CountBack, in_dims, grad, meter), 0


def _flat(count: Any, in_dims: Any, x: Tensor, meter: Meter) -> Tensor:
    x = x.movedim(in_dims[0], 0)
    out: Tensor = count.apply(x.flatten(0, 1), meter)
    return out.view_as(x)


_TRANSFORM: Callable[[], Any] | None = getattr(
    getattr(torch._C, "_functorch", None), "peek_interpreter_stack", None
)
"""Whether a ``torch.func`` transform is at work; None where this PyTorch does not tell."""


class _Metered(nn.Module):
    def __init__(self, network: nn.Module, meter: Meter) -> None:
        super().__init__()
        self.network = network
        self._meter = meter

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x)
        if _TRANSFORM is None or _TRANSFORM() is not None:
            counted: Tensor = _Count.apply(out, self._meter)  # type: ignore[no-untyped-call]
            return counted
        # Outside of torch.func a hook counts the same at a fraction of the cost.
        self._meter.forward_passes += len(x)
        if out.requires_grad:
            rows = len(x)
            out.register_hook(lambda _: self.count(0, rows))  # type: ignore[no-untyped-call]
        return out

    def count(self, forward: int, backward: int) -> None:
        self._meter.forward_passes += forward
        self._meter.backward_passes += backward


def counted(network: nn.Module, forward: int, backward: int) -> None:
    """Count passes that an attack works out by itself from the weights of the network.

    Args:
        network: of :meth:`Exposure.network`; of any other nothing is counted.
        forward: records passed through it.
        backward: records whose gradient was taken through it.
    """
    if isinstance(network, _Metered):
        network.count(forward, backward)


def _metered(network: nn.Module, meter: Meter) -> nn.Module:
    clone = copy.deepcopy(network).eval()
    clone.requires_grad_(False)
    return _Metered(clone, meter).eval()
