"""What federated clients share: one round of updates on the victims' records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from bench.contract import (
    Federation,
    Network,
    Task,
    TrainingDefense,
    Weights,
    generator,
    overrides,
    require,
    seeded,
)
from bench.contract.task import loss as task_loss


def updates(
    network: Network,
    layers: Sequence[TrainingDefense],
    x: Tensor,
    y: Tensor,
    federation: Federation,
    task: Task,
    rng: torch.Generator,
    device: str,
    sent: Sequence[Weights] = (),
) -> dict[str, Tensor]:
    """One round: every client trains from the same weights and shares its defended update.

    A client takes ``local_steps`` steps of plain SGD on the mean loss of its whole batch,
    in training mode. Its update is ``(before - after) / local_lr``, the sum of its steps'
    gradients. The layers' ``share`` hooks then act on each client's update in order.

    Args:
        network: the global weights; parameters without ``requires_grad`` are not shared. Left as
            it is.
        layers: training-time defenses of the target.
        x: victims' records ``[n, *shape]``, client by client.
        y: ``[n]``, labels or outcomes.
        federation: as observed: ``n`` is its ``clients * batch_size``; where it is ``aggregated``,
            every ``aggregated`` clients train apart and the mean of what they share is returned.
        task: what the network predicts.
        rng: of this round: stochastic layers of the network and the defenses' noise.
        device: torch device name; the network is on it.
        sent: what a malicious server sends in the place of ``network``'s parameters: one mapping
            for all clients, or one for each of the ``aggregated`` places in a group. Nothing: the
            server is honest.

    Returns:
        By parameter name, ``[federation.clients, *parameter.shape]``.

    Raises:
        UserError: what is sent is no set of weights of this network.
    """
    layer_seed, noise_seed = (
        int(torch.randint(2**31, (), generator=rng, device=rng.device)) for _ in range(2)
    )
    groups, together = federation.clients, federation.aggregated
    clients = (groups * together, federation.batch_size // together)
    x, y = x.to(device).view(*clients, *x.shape[1:]), y.to(device).view(clients)
    trained = {k: p.detach() for k, p in network.named_parameters() if p.requires_grad}

    start, each = _start(trained, sent, groups, together)

    def loss(weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return task_loss(task, functional_call(network, dict(weights), (x,)), y)

    was_training = network.training
    network.train()
    with seeded(layer_seed, device):
        first = vmap(grad(loss), in_dims=(each, 0, 0), randomness="different")
        total: dict[str, Tensor] = first(start, x, y)
        later = vmap(grad(loss), randomness="different")
        for _ in range(federation.local_steps - 1):
            weights = {k: start[k] - federation.local_lr * total[k] for k in start}
            step = later(weights, x, y)
            total = {k: total[k] + step[k] for k in total}
    network.train(was_training)

    hooks = [layer for layer in layers if overrides(layer, "share")]
    if hooks:
        noise = generator(noise_seed, device)
        shared: list[Mapping[str, Tensor]] = []
        for client in range(clients[0]):
            update: Mapping[str, Tensor] = {k: v[client] for k, v in total.items()}
            for layer in hooks:
                update = layer.share(update, noise)
            shared.append(update)
        total = {k: torch.stack([update[k] for update in shared]) for k in total}
    if together == 1:
        return total
    return {k: v.view(groups, together, *v.shape[1:]).mean(1) for k, v in total.items()}


def _start(
    trained: Weights, sent: Sequence[Weights], groups: int, places: int
) -> tuple[Weights, int | None]:
    """The weights at which clients start, and the dimension of the clients in them, if any."""
    if not sent:
        return trained, None
    require(
        len(sent) in (1, places),
        f"The server sent {len(sent)} models; send one to all clients, or one to each of the "
        f"{places} places in a group.",
    )
    models = [{**trained, **_checked(trained, model)} for model in sent]
    if len(models) == 1:
        return models[0], None
    # Clients lie group by group: place p of every group is sent model p.
    return {k: torch.stack([m[k] for m in models] * groups) for k in trained}, 0


def _checked(trained: Weights, model: Weights) -> dict[str, Tensor]:
    for name, value in model.items():
        require(
            name in trained,
            f"The server sent '{name}', which is no trained parameter of the clients' network; "
            f"allowed: {', '.join(trained)}.",
        )
        require(
            value.shape == trained[name].shape and bool(torch.isfinite(value).all()),
            f"The server sent '{name}' of shape {tuple(value.shape)}; the clients' network takes "
            f"finite values of shape {tuple(trained[name].shape)}.",
        )
    return {k: v.detach().to(trained[k]) for k, v in model.items()}
