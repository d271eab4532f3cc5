"""The contract of models, tried: a network that can be trained, repeated, attacked and defended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.contract import Model, Network, Splits, common_task
from bench.engine.check.findings import Check, attempt, global_seeds, require_that, told
from bench.engine.check.probes import Ground, few, quicker, same_weights
from bench.engine.config import Option

_RECORDS = 256
"""Records of each split that a model is trained on: enough to see that it can be trained."""

_BASELINE = 64
"""Records that the plain baseline is fitted on: enough to see that there is one."""

_ROUNDING = 1e-4
"""Difference of outputs that the order of sums may make."""


def try_model(option: Option, part: Model, ground: Ground) -> Iterator[Check]:
    """Build it, train it twice, and answer with it in batches of every size."""
    from bench.metrics import reference

    place, data = ground.dataset(part.modalities, tasks=part.tasks)
    splits = few(data.of_repeat(0).load(0, ground.data_root), _RECORDS)
    task = common_task(data.tasks, part.tasks)
    assert task is not None
    shape, width = splits.card.shape, splits.card.width(task)
    try:
        built: Any = part.build(shape, width, 0)
    except (Exception, SystemExit) as error:
        yield Check(
            f"{option.name}: builds a network for {place.name}",
            False,
            f"{told(error)}. 'build' must do for any shape and width of its modalities, here "
            f"{shape} and {width}; try a model for one data set with '--on dataset=NAME'",
        )
        return
    yield require_that(
        f"{option.name}: builds a Network",
        isinstance(built, Network),
        f"'build' returned {type(built).__name__}, it must return a bench.contract.Network: "
        "defenses and attacks rely on its 'blocks' and its 'head'",
    )
    if not isinstance(built, Network):
        return
    solved = type(part).solve is not Model.solve
    yield attempt(
        f"{option.name}: its initial weights follow from its seed",
        lambda: _initial(part, shape, width, built, solved),
    )
    yield attempt(
        f"{option.name}: gives outputs on {place.name}",
        lambda: _outputs(built.eval(), splits.test.x[:5], width),
    )
    yield from _trained(option, quicker(part), splits, width, place.name)
    yield attempt(
        f"{option.name}: names a baseline to keep up with",
        lambda: (
            ""
            if reference.fit(few(splits, _BASELINE), task, part.reference, 0)
            else f"'reference' is '{part.reference}', which bench.metrics.reference does not know "
            f"for {task}"
        ),
    )


def _initial(part: Model, shape: tuple[int, ...], width: int, built: Network, solved: bool) -> str:
    weights = built.state_dict()
    with global_seeds(1):
        again = part.build(shape, width, 0).state_dict()
    if not same_weights(weights, again):
        return (
            "two networks of one seed differ; draw the weights from the seed alone, as with "
            "bench.contract.seeded"
        )
    if not solved and same_weights(weights, part.build(shape, width, 1).state_dict()):
        return "two seeds gave the same weights; draw them from the seed"
    return ""


def _outputs(network: Network, x: Tensor, width: int) -> str:
    with torch.no_grad():
        outputs = network(x)
    if tuple(outputs.shape) != (len(x), width):
        return f"{len(x)} records gave {tuple(outputs.shape)}, not {(len(x), width)}"
    if outputs.dtype != torch.float32:
        return f"it gave {outputs.dtype}, not torch.float32"
    if not bool(torch.isfinite(outputs).all()):
        return "it gave NaN or Inf for finite records"
    return ""


def _trained(
    option: Option, part: Model, splits: Splits, width: int, place: str
) -> Iterator[Check]:
    """What holds of the network once the shared loop, or its own ``solve``, has trained it."""
    from bench.models.training import initial, restore, train

    made: list[Network] = []

    def trains() -> str:
        network, _ = train(part, [], splits, 0, "cpu")
        made.append(network)
        start = initial(part, [], splits, 0, "cpu")
        if same_weights(start.state_dict(), network.state_dict()):
            return "training left its weights as they were"
        return _outputs(network, splits.test.x[:5], width)

    yield attempt(f"{option.name}: can be trained on {place}", trains)
    if not made:
        return
    network = made[0]

    def repeats() -> str:
        with global_seeds(1):
            again, _ = train(part, [], splits, 0, "cpu")
        return (
            ""
            if same_weights(network.state_dict(), again.state_dict())
            else "two trainings with one seed differ; use generators made from the seed, or the "
            "global ones within the shared loop only"
        )

    def restores() -> str:
        again = restore(part, [], splits, 0, network.state_dict(), "cpu")
        return _apart(again(x), network(x), "a network loaded from the trained weights answers")

    x = splits.test.x[:32]
    yield attempt(f"{option.name}: its training follows from its seed", repeats)
    yield attempt(f"{option.name}: answers each record by itself", lambda: _by_itself(network, x))
    yield attempt(f"{option.name}: can be loaded again", restores)
    yield attempt(
        f"{option.name}: its trace ends in its outputs",
        lambda: _apart(network.trace(x)[1], network(x), "'trace' answers"),
    )
    if "descent" in part.offers:
        yield attempt(f"{option.name}: offers a gradient", lambda: _gradient(network, x))


def _by_itself(network: Network, x: Tensor) -> str:
    alone = torch.cat([network(x[i : i + 1]) for i in range(len(x))])
    problem = _apart(alone, network(x), "a batch is answered")
    return problem and problem + "; in evaluation mode an answer may rest on its record alone"


def _apart(one: Tensor, other: Tensor, what: str) -> str:
    """The difference of two outputs in words; empty if they are equal but for rounding."""
    if one.shape != other.shape:
        return f"{what} with shape {tuple(one.shape)}, not {tuple(other.shape)}"
    apart = float((one - other).detach().abs().max())
    scale = max(1.0, float(other.detach().abs().max()))
    return "" if apart <= _ROUNDING * scale else f"{what} differently, by up to {apart:.2g}"


def _gradient(network: Network, x: Tensor) -> str:
    asked = x[:4].clone().requires_grad_()
    with torch.enable_grad():
        network(asked).square().sum().backward()
    if asked.grad is None or not bool(torch.isfinite(asked.grad).all()):
        return "its 'offers' say 'descent', and the gradient by its input is not finite"
    if not bool(asked.grad.any()):
        return (
            "its 'offers' say 'descent', and the gradient by its input is 0 everywhere; leave "
            "'descent' out if it is not differentiable"
        )
    return ""
