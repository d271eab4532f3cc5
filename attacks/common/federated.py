"""What attacks on shared updates have in common: the protocol, the observation, the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from attacks.common.factored import FactoredCosine
from attacks.common.networks import inside
from bench.contract import Exposure, Federation, Knowledge, require
from bench.contract.columns import Layout
from bench.contract.options import Count, Positive, check_options

_KEEPS_THE_INPUT = (nn.Flatten, nn.Dropout, nn.Identity)
_NUMBERS = 2**25
"""Most numbers of dummy gradients held at once: 128 MiB a copy, and backward keeps a few."""


@dataclass(frozen=True)
class Federated:
    """Options that say which protocol is attacked.

    Attributes:
        batch_size: records of one client.
        local_steps: 1: FedSGD; more: FedAvg, which the attack simulates step by step.
        local_lr: learning rate of the local steps.
        state: global weights at which updates are shared: ``initial`` or ``trained``.
        records: victims over all clients, a multiple of ``2 * batch_size``.
    """

    batch_size: Count = 1
    local_steps: Count = 1
    local_lr: Positive = 0.01
    state: Literal["initial", "trained"] = "initial"
    records: Count = 32

    def __post_init__(self) -> None:
        check_options(self)
        _ = self.federation

    @property
    def federation(self) -> Federation:
        """The protocol under attack."""
        return Federation(
            self.batch_size, self.local_steps, self.local_lr, self.state, self.records
        )


def adaptations(rounds: int, mask: bool, distance: str = "squared") -> tuple[str, ...]:
    """Defenses that an attack on updates adapts to by its options.

    Args:
        rounds: of the same clients, averaged against noise.
        mask: whether it compares what survived pruning only.
        distance: a name in :data:`DISTANCES`; ``sign`` is against quantisation.
    """
    adapted = {
        "clip_noise": rounds > 1,
        "gradient_pruning": mask,
        "gradient_quantisation": distance == "sign",
    }
    return tuple(name for name, adapts in adapted.items() if adapts)


@dataclass(frozen=True)
class Observed:
    """What the clients shared, and the means to imitate them.

    Attributes:
        network: the global network, weights at which the updates were computed.
        weights: its trained parameters, by their names in ``update``.
        update: by parameter name ``[clients, *parameter.shape]``, in units of a gradient.
        federation: the protocol.
        shape: of one record.
        n_classes: number of classes.
        public: public records ``[n, *shape]``.
    """

    network: nn.Module
    weights: Mapping[str, Tensor]
    update: Mapping[str, Tensor]
    federation: Federation
    shape: tuple[int, ...]
    n_classes: int
    public: Tensor

    @classmethod
    def of(cls, exposure: Exposure, knowledge: Knowledge, device: str, rounds: int = 1) -> Observed:
        """Observe ``rounds`` rounds of the same clients and average them.

        Raises:
            UserError: the knowledge names no protocol.
        """
        federation = knowledge.federation
        require(
            federation is not None,
            "The attack reads shared updates and was told no protocol; its goal is "
            "gradient_reconstruction.",
        )
        assert federation is not None
        network = exposure.network()
        seen = [exposure.updates() for _ in range(rounds)]
        update = {k: torch.stack([each[k].to(device) for each in seen]).mean(0) for k in seen[0]}
        parameters = dict(network.named_parameters())
        return cls(
            network,
            {k: parameters[f"network.{k}"].detach() for k in update},
            update,
            federation,
            knowledge.card.shape,
            knowledge.card.n_classes,
            knowledge.public.x.to(device),
        )

    @property
    def target(self) -> Tensor:
        """The updates as rows ``[clients, P]``."""
        return _rows(self.update)

    def parts(self, copies: int = 1) -> Iterator[Tensor]:
        """Clients, int64, in parts whose dummy gradients fit in memory ``copies`` times."""
        size = sum(w.numel() for w in self.weights.values())
        clients = torch.arange(self.federation.clients)
        yield from torch.split(clients, max(1, _NUMBERS // (size * copies)))

    def gradients(self, x: Tensor, targets: Tensor) -> Tensor:
        """What clients holding dummy records would share, differentiable in both arguments.

        FedAvg's local steps are simulated (Geiping et al., NeurIPS 2020, section 6).

        Args:
            x: ``[rows, batch_size, *shape]``.
            targets: label distributions ``[rows, batch_size, n_classes]``.

        Returns:
            ``[rows, P]``, in the order of :attr:`target`.
        """

        def loss(weights: Mapping[str, Tensor], x: Tensor, targets: Tensor) -> Tensor:
            named = {f"network.{k}": w for k, w in weights.items()}
            return F.cross_entropy(functional_call(self.network, named, (x,)), targets)

        weights, lr = dict(self.weights), self.federation.local_lr
        total = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")(weights, x, targets)
        for _ in range(self.federation.local_steps - 1):
            now = {k: w - lr * total[k] for k, w in weights.items()}
            step = vmap(grad(loss), randomness="different")(now, x, targets)
            total = {k: total[k] + step[k] for k in total}
        return _rows(total)

    def distance(
        self, name: str, mask: bool, part: Tensor, targets: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """The distance of what dummy records would share to what the clients did.

        Args:
            name: in :data:`DISTANCES`.
            mask: compare what survived pruning only.
            part: clients, int64; row r of the dummies belongs to ``part[r % len(part)]``.
            targets: label distributions of all rows ``[rows, batch_size, n_classes]``.

        Returns:
            A differentiable function of records ``[rows, batch_size, *shape]``, to ``[rows]``.
        """
        if name == "cosine" and not mask:
            update = {k: t[part.to(t.device)] for k, t in self.update.items()}
            steps, lr = self.federation.local_steps, self.federation.local_lr
            factored = FactoredCosine.of(self.network, update, steps, lr)
            if factored is not None:
                return lambda x: factored(x, targets)
        rows = self.target[part].repeat(len(targets) // len(part), 1)
        match = matching(DISTANCES[name], rows, mask)
        return lambda x: match(self.gradients(x, targets))

    def labels(self) -> Tensor:
        """Every client's labels from the gradient of the head, int64 ``[clients, batch_size]``.

        The head's bias has gradient ``d_k = mean_i (p_ik - [y_i = k])`` and its weights the same
        per record times the features. ``d`` is the least-squares fit of both with public mean
        features, which averages a defense's noise. One record: only its own class has
        ``d_k < 0`` (Zhao et al. 2020, section 3.2). More: the count of class k is
        ``batch_size * (p_k - d_k)`` with public mean scores p, taken greedily, largest first
        (Wainakh et al., PoPETs 2022, with auxiliary knowledge). Sorted within a client.
        """
        steps, batch = self.federation.local_steps, self.federation.batch_size
        head = inside(self.network).head
        features: list[Tensor] = []
        handle = head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        with torch.no_grad():
            scores = torch.cat([self.network(x).softmax(1) for x in torch.split(self.public, 256)])
        handle.remove()
        mean = torch.cat(features).mean(0)
        d = self.update["head.weight"] @ mean
        norm = mean.square().sum()
        if "head.bias" in self.update:
            d, norm = d + self.update["head.bias"], norm + 1
        d = d / (steps * norm.clamp_min(1e-12))
        if batch == 1:
            return d.argmin(1, keepdim=True)
        left = batch * (scores.mean(0) - d)
        picked = []
        for _ in range(batch):
            picked.append(left.argmax(1))
            left = left - F.one_hot(picked[-1], self.n_classes)
        return torch.stack(picked, 1).sort(1).values

    def first_linear(self) -> tuple[str, str, nn.Module | None]:
        """The first layer, if it is fully connected and shared with its bias.

        Returns:
            Its name, or "" and the reason; and the layer after it, None if there is none.
        """
        layers = [
            (name, module)
            for name, module in inside(self.network).named_modules()
            # A sequence without children is that of a network without hidden blocks.
            if next(module.children(), None) is None
            and not isinstance(module, (*_KEEPS_THE_INPUT, nn.Sequential))
        ]
        if not layers:
            return "", "the network has no layer", None
        name, first = layers[0]
        after = layers[1][1] if len(layers) > 1 else None
        if not isinstance(first, nn.Linear):
            return "", f"the first layer is {type(first).__name__}, not fully connected", after
        if f"{name}.weight" not in self.update or f"{name}.bias" not in self.update:
            return "", "the first layer shares no weight or no bias", after
        return name, "", after

    def guess(self, layout: Layout | None = None) -> Tensor:
        """The public mean ``[n, *shape]`` for every victim: what is said where nothing is read."""
        shape = (self.federation.clients, self.federation.batch_size, *self.shape)
        return self.records(self.public.mean(0).expand(shape), layout)[0]

    def records(self, x: Tensor, layout: Layout | None = None) -> tuple[Tensor, int]:
        """Records ``[n, *shape]`` of ``[clients, batch_size, *shape]``.

        Pictures are clipped to [0, 1]; rows of a table, whose ``layout`` is given, become the
        nearest valid ones. A failed row keeps its place: it is the public mean. Also returns how
        many failed.
        """
        x = x.reshape(-1, *self.shape)
        failed = ~torch.isfinite(x).flatten(1).all(1)
        mean = self.public.mean(0)
        keep = ~failed.view(-1, *[1] * len(self.shape))
        x = torch.where(keep, x, mean)
        return x.clamp(0.0, 1.0) if layout is None else layout.project(x), int(failed.sum())


def _rows(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([t.flatten(1) for t in tensors.values()], 1)


Distance = Callable[[Tensor, Tensor], Tensor]
"""From dummy and shared updates, both ``[rows, P]``, to ``[rows]``."""


def squared(dummy: Tensor, shared: Tensor) -> Tensor:
    """Squared distance relative to the shared update's squared norm (Zhu et al. 2019, eq. 4)."""
    return (dummy - shared).square().sum(1) / shared.square().sum(1).clamp_min(1e-30)


def cosine(dummy: Tensor, shared: Tensor) -> Tensor:
    """One minus the cosine (Geiping et al. 2020, eq. 4): a clipped norm tells nothing less."""
    return 1 - F.cosine_similarity(dummy, shared, dim=1, eps=1e-30)


def disagreement(dummy: Tensor, shared: Tensor) -> Tensor:
    """Share of the dummy's L1 norm whose sign contradicts the shared update's: 0 if none does."""
    wrong = F.relu(-dummy * shared.sign()).sum(1)
    return wrong / dummy.abs().sum(1).clamp_min(1e-30)


DISTANCES: dict[str, Distance] = {"squared": squared, "cosine": cosine, "sign": disagreement}


def matching(distance: Distance, shared: Tensor, mask: bool) -> Callable[[Tensor], Tensor]:
    """The distance to ``shared`` ``[rows, P]``; ``mask`` compares what survived pruning only."""
    survived = (shared != 0).to(shared.dtype) if mask else None

    def loss(dummy: Tensor) -> Tensor:
        return distance(dummy if survived is None else dummy * survived, shared)

    return loss


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels ``[rows]`` of ``[rows, b, c, h, w]``."""
    return x.diff(dim=-1).abs().flatten(1).mean(1) + x.diff(dim=-2).abs().flatten(1).mean(1)
