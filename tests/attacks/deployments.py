"""Every option of conf/attack, made small, and a tiny deployment for each of them to attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from attacks.common.shadows import stand_in
from bench.contract import Attack, Exposure, Knowledge, Network, Prior, Split, Task
from bench.contract.knowledge import metered
from bench.engine.components import build
from bench.engine.config import compose_grid, list_options
from tests.attacks import clients, deletions, images, rows, shops, tables

SMALL: Mapping[str, Any] = {
    "candidates": 3,
    "channels": 8,
    "draws": 2,
    "epochs": 2,
    "gan_steps": 2,
    "hidden": 8,
    "limit": 0.2,
    "population": 4,
    "probes": 4,
    "samples": 12,
    "steps": 3,
    "sweeps": 1,
    "trees": 5,
}
"""Options that cost time, and values with which they cost little."""


@dataclass(frozen=True)
class Option:
    """One variant of an option file: the attack, made small, and its prior."""

    name: str
    attack: Any
    prior: Prior | None


def small(component: Any) -> Any:
    """The same component with the values of :data:`SMALL` where it has such options."""
    names = {field.name for field in fields(component)}
    changed = {name: value for name, value in SMALL.items() if name in names}
    if type(component).__name__ == "MIFace":
        changed["alpha"] = 3
    if "records" in names:
        changed["records"] = 2 * component.batch_size
    if "restarts" in names:
        changed["restarts"] = min(2, component.restarts)
    return replace(component, **changed)


@cache
def options() -> tuple[Option, ...]:
    """Every variant of every file in conf/attack."""
    rows_of_files = compose_grid([f"attack=[{','.join(list_options('attack'))}]"]).options["attack"]
    variants = []
    for row in rows_of_files:
        layer = dict(row.layers[0])
        prior = layer.pop("prior", None)
        variants.append(
            Option(
                row.name,
                small(build(layer, row.where)),
                None if prior is None else small(build(prior, row.where)),
            )
        )
    return tuple(variants)


def deployment(
    option: Option, task: Task, budget: int | None = None
) -> tuple[Exposure, Knowledge, set[str]]:
    """What the attack of an option is handed, and the codes of the knowledge it has read so far."""
    attack = option.attack
    exposure, knowledge = _WORLDS[attack.goal](attack, task)
    exposure.budget = budget
    if option.prior is not None:
        tensors = fitted(option, task, knowledge)
        knowledge = replace(knowledge, prior=tensors)
    watched, read = metered(knowledge, attack.knowledge)
    return exposure, watched, read


_FITTED: dict[tuple[Any, str, str, str], dict[str, Tensor]] = {}


def fitted(option: Option, task: Task, knowledge: Knowledge) -> dict[str, Tensor]:
    """The tensors of the option's prior, fitted once for each kind of data."""
    assert option.prior is not None
    key = (option.prior, knowledge.card.name, task, str(knowledge.card.shape))
    if key not in _FITTED:
        watched, _ = metered(knowledge, option.prior.knowledge)
        _FITTED[key] = option.prior.fit(watched, 0, "cpu")
    return _FITTED[key]


def _exposure(attack: Attack, network: nn.Module, scores: Any = None) -> Exposure:
    def answer(x: Tensor) -> Tensor:
        return network(x).softmax(1) if scores is None else scores(x)

    return Exposure(attack.access, answer, lambda x: answer(x).argmax(1), network)


def _faces(attack: Attack, task: Task) -> tuple[Exposure, Knowledge]:
    network = images.target(images.photographs(images.PEOPLE, 4, seed=1))
    return _exposure(attack, network), images.knowledge()


def _attributes(attack: Attack, task: Task) -> tuple[Exposure, Knowledge]:
    outcome = task == "regression"
    card = tables.grid_card(3, outcome=True) if outcome else tables.table_card(3)
    make = tables.measured if outcome else tables.table
    victims, public = make(card, 40, 1), make(card, 60, 0)
    width = card.shape[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = nn.Sequential(nn.Linear(width, 6), nn.ReLU())
        network = Network(nn.Sequential(block), nn.Linear(6, 1 if outcome else 2)).eval()
    if "leaves" in attack.needs:
        network = tables.stump(width, 2)

    def scores(x: Tensor) -> Tensor:
        return network(x) if outcome else network(x).softmax(1)

    seen = scores(victims.x).detach()
    observed = seen.argmax(1) if attack.access == "labels" else seen
    like = None if outcome else stand_in("logistic", 1.0, 2, ())
    knowledge = tables.told(
        card, public, victims, observed=observed, task=task, train_like=like, train_size=40
    )
    return _exposure(attack, network, scores), knowledge


def _outputs(attack: Attack, task: Task) -> tuple[Exposure, Knowledge]:
    labels = attack.access == "labels"
    if "image" in attack.modalities:
        victims = images.photographs(images.PEOPLE, 2, seed=1)
        network = images.target(images.photographs(images.PEOPLE, 4, seed=1))
        exposure = _exposure(attack, network)
        seen = network(victims.x).softmax(1).detach()
        held = images.knowledge()
        public = replace(held.public, y=held.public.y % images.PEOPLE)
        return exposure, replace(
            held,
            public=public,
            classes=None,
            observed=seen.argmax(1) if labels else seen,
            victim_labels=victims.y,
        )
    baskets = shops.baskets()
    victims, public = baskets[:20], baskets[20:80]
    if task == "recommendation":
        network = shops.linear(shops.ease())

        def lists(x: Tensor) -> Tensor:
            return network(x).topk(5, 1).indices

        exposure = Exposure(attack.access, network, lists, network)
        seen = (lists(victims) if labels else network(victims)).detach()
        return exposure, shops.told(seen, public)
    head = nn.Linear(shops.ITEMS, 3)
    with torch.no_grad():
        head.weight.copy_(shops.ease()[:3])
        head.bias.zero_()
    network = Network(nn.Sequential(), head).eval()
    card = replace(shops.card(), class_names=("a", "b", "c"), tasks=("classification",))
    known = Split(public, network(public).argmax(1), torch.arange(len(public)))
    seen = network(victims).softmax(1).detach()
    knowledge = Knowledge(
        card,
        known,
        observed=seen.argmax(1) if labels else seen,
        victim_labels=seen.argmax(1),
    )
    return _exposure(attack, network), knowledge


def _updates(attack: Attack, task: Task) -> tuple[Exposure, Knowledge]:
    if attack.access == "malicious_server":
        exposure, knowledge, _, _ = clients.corrupt(clients.mlp(nn.ReLU), attack.federation)
    elif "image" in attack.modalities:
        exposure, knowledge, _, _ = clients.world(clients.mlp(), attack.federation)
    else:
        exposure, knowledge, _ = rows.world(rows.mlp(), attack.federation)
    return exposure, knowledge


def _records(attack: Attack, task: Task) -> tuple[Exposure, Knowledge]:
    network = rows.forest(trees=3) if "shares" in attack.needs else rows.mlp(classes=2)
    knowledge = Knowledge(rows.card(), rows.split(rows.rows(60, 2)), classes=torch.arange(2))
    return _exposure(attack, network), knowledge


def _deletions(attack: Attack, task: Task) -> tuple[Exposure, Knowledge]:
    members, public = deletions.split(task, 60, 1), deletions.split(task, 60, 2)
    return deletions.world(task, members, public, access=attack.access)


_WORLDS = {
    "class_representative": _faces,
    "attribute": _attributes,
    "output_reconstruction": _outputs,
    "gradient_reconstruction": _updates,
    "training_instance": _records,
    "deleted_record": _deletions,
}
