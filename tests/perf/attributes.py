"""Attribute attacks: their time against that of the bare model on as many records, in one run.

30,000 victims, 10 candidate values and 50 columns, on one thread; beside it, what an imputer
takes to learn from 15,000 public records.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch.nn.functional import one_hot

from attacks.attribute_map import AttributeMap
from attacks.black_box import BlackBox
from attacks.common.imputers import Imputer
from attacks.csmia import CSMIA
from attacks.fjrmia import Fjrmia
from attacks.lomia import LOMIA
from attacks.membership import Membership
from attacks.neuron import Neuron
from attacks.score_classifier import ScoreClassifier
from attacks.tree_counts import TreeCounts
from attacks.yeom import Yeom
from bench.contract import Attack, Card, Exposure, Knowledge, Network, Sensitive, Split, generator
from bench.models.mlp import Mlp
from bench.models.trees import Boosting
from tests.perf.queries import one_thread

VICTIMS, PUBLIC, VALUES, KNOWN = 30_000, 15_000, 10, 50
ATTACKS: tuple[Attack, ...] = (
    BlackBox(),
    AttributeMap(),
    AttributeMap("labels"),
    CSMIA(),
    LOMIA(),
    Fjrmia(),
    Yeom(),
    Membership(signal="threshold"),
    Membership(),
    Neuron(),
    ScoreClassifier(),
    TreeCounts(),
)


def records(n: int, n_values: int, seed: int) -> Split:
    """Random records: what they show does not matter for the speed."""
    g = generator(seed)
    s = torch.randint(n_values, (n,), generator=g)
    x = torch.cat([one_hot(s, n_values), torch.randn(n, KNOWN, generator=g)], 1).float()
    x[:, n_values] += s
    return Split(x, (x[:, n_values] > n_values / 2).long(), torch.arange(n), s)


def card(n_values: int) -> Card:
    codes = tuple(tuple(row) for row in torch.eye(n_values).tolist())
    secret = Sensitive("secret", tuple(map(str, range(n_values))), (0, n_values), codes)
    return Card(
        "noise", "credit", "table", (n_values + KNOWN,), ("a", "b"), "record", "", "", True, secret
    )


def knowledge(n_values: int) -> tuple[Knowledge, Split]:
    victims, public, told = (
        records(VICTIMS, n_values, 1),
        records(PUBLIC, n_values, 0),
        card(n_values),
    )
    assert told.sensitive is not None
    partial = Split(told.sensitive.hide(victims.x), victims.y, victims.person)
    prior = {"probabilities": torch.full((VICTIMS, n_values), 1 / n_values, dtype=torch.float64)}
    held = Knowledge(told, public, partial=partial, prior=prior)
    return held, victims


def trained(public: Split, attack: Attack) -> Network:
    if "leaves" not in attack.needs:
        return Mlp().build(tuple(public.x.shape[1:]), 2, 0).eval()
    model = Boosting(trees=100)
    network = model.build(tuple(public.x.shape[1:]), 2, 0).eval()
    model.solve(network, public.x[:2000], public.y[:2000], model.recipe, 0)
    return network


def report() -> list[str]:
    """One line an attack, then one an imputer."""
    with one_thread():
        return [*_attacks(), *_imputers()]


def _attacks() -> Iterator[str]:
    held, victims = knowledge(VALUES)
    assert held.card.sensitive is not None and held.partial is not None
    completed = held.card.sensitive.candidates(held.partial.x).flatten(0, 1)
    for attack in ATTACKS:
        network = trained(held.public, attack)
        with torch.no_grad():
            network(completed[:4096])  # warms up
            started = time.perf_counter()
            for part in completed.split(65536):
                network(part)
            alone = time.perf_counter() - started
            seen = torch.softmax(network(victims.x), 1)

        def scores(x: torch.Tensor, network: Network = network) -> torch.Tensor:
            return torch.cat([network(part).softmax(1) for part in x.split(65536)])

        exposure = Exposure(attack.access, scores, lambda x: scores(x).argmax(1), network)
        more = Knowledge(**{**vars(held), "observed": seen})
        started = time.perf_counter()
        attack.run(exposure, more, 0, "cpu")
        seconds = time.perf_counter() - started
        yield (
            f"{type(attack).__name__:16} by {attack.access:8} {VICTIMS} victims x {VALUES} values: "
            f"{seconds:6.2f} s, {seconds / alone:6.1f} times the bare model's {alone:.2f} s"
        )


def _imputers() -> Iterator[str]:
    for n_values in (2, VALUES):
        held, _ = knowledge(n_values)
        started = time.perf_counter()
        Imputer().fit(held, 0, "cpu")
        yield (
            f"imputer of {n_values} values on {PUBLIC} public records: "
            f"{time.perf_counter() - started:.1f} s"
        )


if __name__ == "__main__":
    print("\n".join(report()), flush=True)
