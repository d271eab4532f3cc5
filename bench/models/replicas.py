"""Networks of one architecture that are trained in one program, with the outcome of each alone.

Small networks on small batches spend their time between the products and not in them. So those of
several targets are stacked: a layer is one batched product over all of them. Each replica keeps its
own records, batches, generators, recipe, early stopping and report. The products are written such
that a replica's sums are added up in the order in which they are alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract import (
    FitReport,
    Model,
    Network,
    Splits,
    Step,
    TrainingDefense,
    overrides,
    sparse,
)
from bench.contract.task import loss
from bench.models.fitting import Fitting
from bench.models.meeting import Outcome, Together, side_by_side
from bench.models.stacked import Part, parts_of
from bench.models.training import share, train

_MOST_WEIGHTS = {"cpu": 400_000, "cuda": 20_000_000}
"""Weights of a network from which on its products take the time, and stacking gains nothing."""

_MOST = {"cpu": 16, "cuda": 256}
"""Networks in one program: more gain nothing."""

_MOST_BYTES = 2**30
"""Bytes of records that one program holds in a second copy."""

_OWN = ("epochs", "lr", "schedule")
"""Options of a model in which replicas may differ."""


def group_of(model: Model, layers: Sequence[TrainingDefense], data: str = "") -> str | None:
    """What targets have in common that should be trained in one program.

    Nothing of the data is looked at: :func:`train_together` trains apart what then differs.

    Args:
        model: the architecture.
        layers: the training part of the defense.
        data: name of the data set.

    Returns:
        A text that is equal where two targets of one data set may share a program; None where a
        program of its own would gain nothing.
    """
    if not model.stacks or any(overrides(layer, "penalty") for layer in layers):
        return None
    if any(overrides(layer, "fit") and not layer.by_trainer for layer in layers):
        return None
    options = {f.name: getattr(model, f.name) for f in fields(model)}  # type: ignore[arg-type]
    own = ", ".join(f"{k}={v!r}" for k, v in options.items() if k not in _OWN)
    hooks = ("adapt", "augment", "share", "fit")
    kinds = [
        type(layer).__name__ for layer in layers if any(overrides(layer, hook) for hook in hooks)
    ]
    return f"{data}: " + " + ".join([f"{type(model).__name__}({own})", *kinds])


@dataclass(frozen=True)
class Training:
    """One training of a target, as :func:`bench.models.training.train` takes it."""

    model: Model
    layers: Sequence[TrainingDefense]
    splits: Splits
    seed: int


def train_together(
    trainings: Sequence[Training], device: str
) -> list[Outcome[tuple[Network, FitReport]]]:
    """Train several targets, those networks in one program that can be.

    Args:
        trainings: what to train.
        device: torch device name.

    Returns:
        Of each the network and what training did, or the exception that it ended with.
    """
    return side_by_side([partial(_train, one, device) for one in trainings], fit, device)


def _train(one: Training, device: str, together: Together) -> tuple[Network, FitReport]:
    return train(one.model, one.layers, one.splits, one.seed, device, together=together)


def fit(fittings: Sequence[Fitting]) -> list[tuple[FitReport | Exception, float, int]]:
    """Train networks in place, those in one program that can be, each as if it were alone.

    Returns:
        Of each its report or what went wrong, its share of the seconds, and the size of its
        program: 1 where it was trained alone.
    """
    answers: dict[int, tuple[FitReport | Exception, float, int]] = {}
    for places in _groups(fittings):
        started = time.perf_counter()
        group = [fittings[place] for place in places]
        reports = _Program(group).run() if len(group) > 1 else [_alone(group[0])]
        seconds = (time.perf_counter() - started) / len(group)
        answers |= {
            place: (report, seconds, len(group))
            for place, report in zip(places, reports, strict=True)
        }
    return [answers[place] for place in range(len(fittings))]


def _alone(fitting: Fitting) -> FitReport | Exception:
    try:
        return fitting.loop.alone(fitting)
    except Exception as error:
        return error


def _groups(fittings: Sequence[Fitting]) -> list[list[int]]:
    """Places of the networks that are trained in one program each."""
    groups: list[list[int]] = []
    open_groups: dict[Any, list[int]] = {}
    for place, fitting in enumerate(fittings):
        shape = _shape(fitting)
        if shape is None:
            groups.append([place])
            continue
        group = open_groups.get(shape)
        size = 0 if group is None else len(group) + 1
        most = _MOST[torch.device(fitting.loop.device).type]
        if group is None or size > most or size * fitting.x.nbytes > _MOST_BYTES:
            group = open_groups[shape] = []
            groups.append(group)
        group.append(place)
    return groups


def _shape(fitting: Fitting) -> tuple[Any, ...] | None:
    """What must be equal of two trainings in one program; None: it has to be trained alone."""
    network, loop, recipe = fitting.network, fitting.loop, fitting.recipe
    device = torch.device(loop.device).type
    weights = sum(p.numel() for p in network.parameters())
    if (
        device not in _MOST_WEIGHTS
        or weights > _MOST_WEIGHTS[device]
        or sparse.is_sparse(fitting.x)
        or any(overrides(layer, "penalty") for layer in loop.layers)
        or type(network) is not Network
    ):
        return None
    parts = tuple(Part.key(part, device) for _, part in parts_of(network))
    if None in parts:
        return None
    x, y = fitting.x, fitting.y
    changing = [type(layer).__name__ for layer in loop.layers if overrides(layer, "augment")]
    records = (x.shape, x.dtype, y.shape, y.dtype, loop.task, loop.device, loop.card.n_classes)
    return parts, records, recipe.batch_size, recipe.optimizer, tuple(changing)


class _Program:
    """The training of several networks at once.

    The weights of the networks are views of stacked ones while it runs, so that a layer, an
    optimiser or an evaluation that takes one network sees its present weights.
    """

    def __init__(self, fittings: Sequence[Fitting]) -> None:
        self.fittings = list(fittings)
        first = fittings[0]
        self.task, self.device = first.loop.task, first.loop.device
        # Networks that one defense trains at once have the same records.
        held = {(f.x.data_ptr(), f.y.data_ptr()): f for f in reversed(fittings)}
        self.x = torch.cat([f.x for f in held.values()])
        same = self.task == "recommendation" and first.x.dim() == 2
        self.y = self.x if same else torch.cat([f.y for f in held.values()])
        places = {key: place * len(first.x) for place, key in enumerate(held)}
        self.start = {id(f): places[f.x.data_ptr(), f.y.data_ptr()] for f in fittings}
        seeds = [f.layer_seed for f in fittings]
        self.generators = {
            id(f): torch.Generator(self.device).manual_seed(seed)
            for f, seed in zip(fittings, seeds, strict=True)
        }
        settings: dict[Any, list[Fitting]] = {}
        for f in fittings:
            r = f.recipe
            settings.setdefault((r.lr, r.weight_decay, r.schedule, r.epochs), []).append(f)
        self.optimizers = [
            (members[0].recipe, members[0].recipe.optimizer_of(_all(members)))
            for members in settings.values()
        ]
        self.augmenting = any(overrides(layer, "augment") for layer in first.loop.layers)

    def run(self) -> list[FitReport | Exception]:
        """Train all of them; of each its report or what went wrong."""
        everyone = list(self.fittings)
        answers: dict[int, FitReport | Exception] = {}
        for f in everyone:
            f.network.train()
        self._stack()
        epoch = 0
        while self.fittings:
            losses, steps = self._epoch(epoch)
            ended = []
            for f, loss_sum in zip(self.fittings, losses, strict=True):
                try:
                    if f.ended(epoch, loss_sum, steps):
                        answers[id(f)] = f.report()
                        ended.append(f)
                except Exception as error:
                    answers[id(f)] = error
                    ended.append(f)
            if ended:
                self._leave(ended)
            epoch += 1
        return [answers[id(f)] for f in everyone]

    def _stack(self) -> None:
        """Put the weights of those that are left side by side."""
        networks = [f.network for f in self.fittings]
        named = [dict(network.named_parameters()) for network in networks]
        self.weights = {}
        with torch.no_grad():
            for name, parameter in named[0].items():
                stacked = torch.stack([parameters[name] for parameters in named])
                for parameters, own in zip(named, stacked.unbind(), strict=True):
                    parameters[name].data = own
                self.weights[name] = stacked.requires_grad_(parameter.requires_grad)
        self.learned = [name for name, w in self.weights.items() if w.requires_grad]
        self.parameters = [p[name] for name in self.learned for p in named]
        every = zip(*(parts_of(network) for network in networks), strict=True)
        self.parts = [
            Part([m for _, m in part], (f"{part[0][0]}.weight", f"{part[0][0]}.bias"))
            for part in every
        ]

    def _leave(self, ended: Sequence[Fitting]) -> None:
        """Let networks go that have been trained, with weights of their own."""
        gone = set()
        for f in ended:
            for parameter in f.network.parameters():
                parameter.data, parameter.grad = parameter.data.clone(), None
                gone.add(id(parameter))
        for _, optimizer in self.optimizers:
            group = optimizer.param_groups[0]
            for parameter in group["params"]:
                if id(parameter) in gone:
                    optimizer.state.pop(parameter, None)
            group["params"] = [p for p in group["params"] if id(p) not in gone]
        self.optimizers = [pair for pair in self.optimizers if pair[1].param_groups[0]["params"]]
        left = {id(f) for f in self.fittings} - {id(f) for f in ended}
        self.fittings = [f for f in self.fittings if id(f) in left]
        if self.fittings:
            self._stack()

    def _epoch(self, epoch: int) -> tuple[list[float], int]:
        """One pass of each over its records.

        Returns:
            Of each the sum of the losses of its records, and the number of steps.
        """
        for recipe, optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = recipe.lr_at(epoch)
        generators = [self.generators[id(f)] for f in self.fittings]
        orders = torch.stack([self.start[id(f)] + f.shuffled() for f in self.fittings])
        steps = [f.step(epoch) for f in self.fittings]
        totals = torch.zeros(len(self.fittings), device=self.device)
        batches = torch.split(orders, self.fittings[0].recipe.batch_size, 1)
        for batch in batches:
            rows, size = batch.flatten(), batch.shape
            x = self.x.index_select(0, rows).view(*size, *self.x.shape[1:])
            y = self.y.index_select(0, rows).view(*size, *self.y.shape[1:])
            if self.augmenting:
                x, y = self._augmented(x, y, steps, generators)
            for part in self.parts:
                x = part(x, self.weights, generators)
            errors = self._errors(x, y)
            self._descend(errors)
            totals += errors.detach() * size[1]
        return totals.tolist(), len(batches)

    def _augmented(
        self, x: Tensor, y: Tensor, steps: Sequence[Step], generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Records and targets of a step as the layers of each replica change them."""
        changed = []
        for f, own_x, own_y, step, rng in zip(self.fittings, x, y, steps, generators, strict=True):
            pair = own_x, own_y
            with _drawing(rng):
                for layer in f.loop.layers:
                    pair = layer.augment(f.network, *pair, step)
            changed.append(pair)
        return torch.stack([x for x, _ in changed]), torch.stack([y for _, y in changed])

    def _errors(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of each, ``[R]``, of outputs ``[R, n, width]``."""
        heat = [f.recipe.temperature for f in self.fittings]
        warm = any(one != 1.0 for one in heat)
        if warm:
            outputs = outputs / outputs.new_tensor(heat).view(-1, 1, 1)
        rows = outputs.flatten(0, 1), y.flatten(0, 1)
        errors = loss(self.task, *rows, reduction="none").view(len(heat), -1).mean(1)
        return errors * errors.new_tensor([one**2 for one in heat]) if warm else errors

    def _descend(self, errors: Tensor) -> None:
        """One step of each by the gradient of its error, ``[R]``."""
        stacked = torch.autograd.grad(errors.sum(), [self.weights[name] for name in self.learned])
        every = (gradient for gradients in stacked for gradient in gradients.unbind())
        for parameter, gradient in zip(self.parameters, every, strict=True):
            parameter.grad = gradient
        for f in self.fittings:
            if f.loop.sharing:
                share(f.network, f.loop.sharing, f.noise)
        for _, optimizer in self.optimizers:
            optimizer.step()


def _all(fittings: Sequence[Fitting]) -> nn.ModuleList:
    return nn.ModuleList([f.network for f in fittings])


@contextmanager
def _drawing(rng: torch.Generator) -> Iterator[None]:
    """Let what takes no generator draw from ``rng``."""
    cuda = rng.device.type == "cuda"
    read, write = (
        (torch.cuda.get_rng_state, torch.cuda.set_rng_state)
        if cuda
        else (torch.get_rng_state, torch.set_rng_state)
    )
    before = read()
    write(rng.get_state())
    try:
        yield
    finally:
        rng.set_state(read())
        write(before)
