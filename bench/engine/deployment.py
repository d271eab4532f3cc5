"""A trained network behind its defenses: what it answers, and what its clients share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.contract import (
    Access,
    Attack,
    Exposure,
    Federation,
    Model,
    Network,
    ReleaseDefense,
    Splits,
    Task,
    TrainingDefense,
    Victims,
    generator,
)
from bench.contract import seed as derive
from bench.contract.task import answers, top_list
from bench.engine.components import build
from bench.models import federated, training


@dataclass(frozen=True)
class Deployment:
    """A target as it is deployed.

    Attributes:
        splits: the data it was trained on.
        model: its architecture.
        layers: training part of its defense.
        release: release part of its defense.
        seed: of its training.
        network: trained, in evaluation mode.
        device: torch device name.
    """

    splits: Splits
    model: Model
    layers: Sequence[TrainingDefense]
    release: Sequence[ReleaseDefense]
    seed: int
    network: Network
    device: str

    @classmethod
    def restore(
        cls,
        splits: Splits,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        release: Sequence[Mapping[str, Any]],
        device: str,
        packages: tuple[str, ...],
    ) -> Deployment:
        """Rebuild it from the options and the weights of a target node, strictly."""
        model = build(config["model"], "model", packages)
        layers = [build(layer, "defense", packages) for layer in config["defense"]]
        network = training.restore(model, layers, splits, config["seed"], weights, device)
        released = [build(r, "defense", packages) for r in release]
        return cls(splits, model, layers, released, config["seed"], network, device)

    @property
    def task(self) -> Task:
        """What the target predicts."""
        return training.task_of(self.model, self.splits.card)

    def scores(self, x: Tensor) -> Tensor:
        """Released scores ``[n, width]``."""
        out = answers(self.task, self._outputs(x))
        for layer in self.release:
            out = layer.release(out)
        return out

    def labels(self, x: Tensor) -> Tensor:
        """Released labels int64 ``[n]``: of the model's own scores, which every defense keeps.

        A recommender shows a list of items int64 ``[n, k]`` instead, best first.
        """
        outputs = self._outputs(x)
        if self.task != "recommendation":
            return outputs.argmax(dim=1)
        for layer in reversed(self.release):
            shown = layer.recommend(outputs, x)
            if shown is not None:
                return shown
        return top_list(outputs, x)

    def _outputs(self, x: Tensor, rows: int = 65536) -> Tensor:
        """Raw outputs ``[n, width]``, in parts that fit in memory."""
        return torch.cat([self.network(part) for part in torch.split(x, rows)])

    def offered(self, access: Access) -> Access:
        """What is left of ``access`` behind the release part."""
        for layer in self.release:
            access = layer.offered(access)
        return access

    def expose(self, attack: Attack, victims: Victims | None, seed: int) -> Exposure:
        """What an attack is handed: its own access, and no more."""
        network, share = self.network, None
        if attack.access == "gradients" and victims is not None:
            network, share = self._federated(attack.federation, victims, seed)
        return Exposure(attack.access, self.scores, self.labels, network, updates=share)

    def _federated(
        self, federation: Federation, victims: Victims, seed: int
    ) -> tuple[Network, Callable[[], Mapping[str, Tensor]]]:
        """The global model that the victims' clients train on, and a round of their updates."""
        network = self.network
        if federation.state == "initial":
            network = training.initial(self.model, self.layers, self.splits, self.seed, self.device)
        records = victims.records.to(self.device)
        rng = generator(derive(seed, part="clients"), self.device)
        return network, lambda: federated.updates(
            network, self.layers, records.x, records.y, federation, self.task, rng, self.device
        )
