"""A claimed epsilon is tried by canaries: broken private trainings are refuted, a true one not."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contract import FitReport, Splits
from bench.engine.config import compose_grid
from bench.engine.execution import execute
from bench.engine.plan import make_plan
from bench.engine.stages import audit
from bench.models.canaries import Planted, Steps
from bench.models.mlp import Mlp
from bench.models.training import Loop, train
from defenses.common import private_steps
from defenses.dp_sgd import DpSgd
from defenses.drop_attribute import DropAttribute
from tests.models.records import images, numbers, table

MODEL = Mlp(hidden=(8,))
SGD = DpSgd(epochs=10)


def tried(
    defense: DpSgd, splits: Splits, seed: int = 0, watched: bool = True, **model: Any
) -> dict[str, Any] | str:
    """What an audit says of a training."""
    task = splits.card.tasks[0]
    twin = audit.plant(splits, task, defense.unit, seed + 100)
    assert twin is not None
    steps = Steps()
    layers = [defense, Planted(twin.canaries, twin.owner, (defense,), steps)]
    among = dataclasses.replace(splits, train=twin.train)
    network = dataclasses.replace(MODEL, **model)
    _, report = train(network, layers, among, seed, "cpu", steps if watched else None)
    return audit.read(report.privacy, steps, twin.included)


def said(*args: Any, **kwargs: Any) -> dict[str, Any]:
    found = tried(*args, **kwargs)
    assert isinstance(found, dict), found
    return found


class Broken(private_steps.PrivateSteps):
    """Claims its noise and its clipping, and makes other steps."""

    noise = 1.0
    clips = True

    def __init__(self, *args: Any, sigma: float, clip_norm: float, **kwargs: Any) -> None:
        far = clip_norm if self.clips else 1e4
        self._claimed = sigma
        super().__init__(*args, sigma=sigma * self.noise * clip_norm / far, clip_norm=far, **kwargs)

    @property
    def history(self) -> list[tuple[float, float, int]]:
        return [(self._claimed, rate, steps) for _, rate, steps in super().history]


@pytest.mark.parametrize(
    ("noise", "clips"), [(1e-6, True), (0.1, True), (1.0, False)], ids=["no", "tenth", "no clip"]
)
@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_a_broken_training_is_refuted(
    monkeypatch: pytest.MonkeyPatch, noise: float, clips: bool, epsilon: float
) -> None:
    fault = type("Fault", (Broken,), {"noise": noise, "clips": clips})
    monkeypatch.setattr(private_steps, "PrivateSteps", fault)
    found = said(dataclasses.replace(SGD, epsilon=epsilon), table(n=200))
    assert found["canaries"] == 400 and found["sees"] == "steps"
    assert found["refuted"] and found["epsilon_lower"] > found["epsilon"]
    assert found["epsilon_most"] > 8


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_a_true_one_is_not_refuted_and_comes_near_its_claim(epsilon: float) -> None:
    found = [
        said(dataclasses.replace(SGD, epsilon=epsilon), table(seed, n=150), seed)
        for seed in range(3)
    ]
    assert not any(one["refuted"] for one in found)
    assert all(one["epsilon_lower"] < one["epsilon"] < one["epsilon_most"] for one in found)
    if epsilon == 8:
        assert min(one["epsilon_lower"] for one in found) > 2, "the audit is strong"


@pytest.mark.parametrize(
    "options",
    [{"optimizer": "adam"}, {"clipping": "adaptive"}, {"clipping": "per_layer"}],
    ids=lambda options: next(iter(options.values())),
)
def test_every_way_to_step_can_be_watched(options: dict[str, Any]) -> None:
    found = said(dataclasses.replace(SGD, **options), table(n=200))
    assert found["sees"] == "steps" and not found["refuted"]
    assert found["right"] > 0.5 * found["guesses"] + 2 * math.sqrt(found["guesses"] / 4)


def test_without_a_watch_only_the_weights_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = said(SGD, table(n=200), watched=False)
    assert whole["sees"] == "weights" and not whole["refuted"]
    monkeypatch.setattr(private_steps, "PrivateSteps", type("Fault", (Broken,), {"noise": 1e-6}))
    found = said(dataclasses.replace(SGD, epsilon=1.0), table(n=200), watched=False)
    assert found["refuted"]


def test_people_are_audited_as_people(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = table(n=400)
    pairs = Splits(
        plain.card,
        *(
            dataclasses.replace(part, person=part.person // 2)
            for part in (plain.train, plain.test, plain.public)
        ),
    )
    twin = audit.plant(pairs, "classification", "person", 3)
    assert twin is not None and len(twin.included) == 400
    assert all(len(set(twin.canaries.y[twin.owner == i].tolist())) == 1 for i in range(400))
    people = twin.canaries.person[twin.included[twin.owner]]
    assert torch.isin(people, twin.train.person).all()
    absent = twin.canaries.person[~twin.included[twin.owner]]
    assert not torch.isin(absent, twin.train.person).any()

    defense = dataclasses.replace(SGD, unit="person")
    found = said(defense, pairs)
    assert found["unit"] == "person" and found["canaries"] == 400 and not found["refuted"]
    monkeypatch.setattr(private_steps, "PrivateSteps", type("Fault", (Broken,), {"noise": 0.1}))
    assert said(defense, pairs)["refuted"]


def test_outcomes_and_pictures_too(monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(SGD, batch_size=16)
    monkeypatch.setattr(private_steps, "PrivateSteps", type("Fault", (Broken,), {"noise": 0.1}))
    for splits in (numbers(n=100), images(people=8)):
        assert said(small, splits)["refuted"]


def test_a_watch_changes_nothing() -> None:
    calls: list[float] = []
    splits = table(n=96)
    alone, _ = train(MODEL, [SGD], splits, 0, "cpu")
    watched, report = train(MODEL, [SGD], splits, 0, "cpu", calls.append)
    for a, b in zip(alone.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)
    assert report.privacy is not None
    assert calls == [SGD.clip_norm / int(report.privacy.expected_batch)] * report.steps


def test_canaries_are_known_after_a_defense_of_records() -> None:
    splits = table(n=60)
    twin = audit.plant(splits, "classification", "record", 0)
    assert twin is not None

    class Coarser(DropAttribute):
        def sanitize(self, train, context):  # type: ignore[no-untyped-def]
            return dataclasses.replace(train, x=(100 * train.x).round() / 100)

    layer, steps = object.__new__(Coarser), Steps()
    loop = Loop(MODEL, splits.card, "classification", "cpu")
    context = loop.context(splits.public, 0)
    network = Planted(twin.canaries, twin.owner, (layer,), steps).adapt(loop.build(2, 0), context)
    x = layer.sanitize(twin.canaries, context).x
    assert torch.equal(network.canaries.places(x).sort().values, torch.arange(len(x)))
    assert (network.canaries.places(splits.public.x) == -1).all()


def test_a_canary_adds_nothing_but_a_gradient_of_its_own() -> None:
    splits = table(n=60)
    twin = audit.plant(splits, "classification", "record", 0)
    assert twin is not None
    steps = Steps()
    loop = Loop(MODEL, splits.card, "classification", "cpu")
    plain = loop.build(2, 0)
    network = Planted(twin.canaries, twin.owner, (), steps).adapt(
        loop.build(2, 0), loop.context(splits.public, 0)
    )
    assert steps.weights is not None
    with torch.no_grad():
        steps.weights.fill_(3.0)
    x, y = twin.canaries.x, twin.canaries.y
    assert torch.equal(network(x), plain(x))
    torch.nn.functional.cross_entropy(network(x[7:8]), y[7:8]).backward()
    assert steps.weights.grad is not None
    moved = steps.weights.grad[0].nonzero().squeeze(1)
    assert moved.tolist() == [int(twin.owner[7])] and steps.weights.grad[0, moved] < 0


def test_half_of_the_canaries_are_left_out_and_the_twin_has_the_targets_size() -> None:
    splits = table(n=300)
    twin = audit.plant(splits, "classification", "record", 3)
    assert twin is not None and len(twin.included) == 600
    assert abs(len(twin.train) - 300) < 60 and len(twin.train) == int(twin.included.sum())
    again = audit.plant(splits, "classification", "record", 3)
    assert again is not None and torch.equal(again.included, twin.included)
    # Where nobody else is held out, half of the people are canaries.
    few = images(people=20)
    faces = audit.plant(few, "classification", "person", 3)
    assert faces is not None and len(faces.included) == 10
    assert audit.plant(images(people=4), "classification", "person", 3) is None
    # Records that are alike cannot be told apart.
    flat = dataclasses.replace(splits.train, x=torch.zeros_like(splits.train.x))
    alike = dataclasses.replace(splits, train=flat, test=flat)
    assert audit.plant(alike, "classification", "record", 3) is None


def test_what_claims_an_epsilon_is_audited_once_a_target(tmp_path: Path) -> None:
    words = [
        "dataset=[diabetes]",
        "model=[softmax]",
        "defense=[none,dp_sgd,clip_only,dp_rounded,pate]",
        "attack=[attribute_map]",
        "seeds=1",
        "controls=[]",
        "backend=local",
        "tracking=none",
        "progress=none",
        f"store={tmp_path / 'runs'}",
        f"report_dir={tmp_path}",
        "defense.dp_sgd.epochs=3",
    ]
    grid = compose_grid(words)
    plan = make_plan(grid)
    done = execute(grid, plan)
    assert sum(node.kind == "audit" for node in plan.nodes.values()) == 3, "one target, one audit"
    audits = {r.cell.defense: r.privacy_audit for r in done.outcome.records}
    assert audits["none"] is None and audits["clip_only"] is None, "they claim nothing"
    found = audits["dp_sgd"]
    assert found is not None and found.canaries > 200 and found.right <= found.guesses
    assert found.epsilon_lower is not None and found.epsilon_most is not None
    assert 0 <= found.epsilon_lower <= found.epsilon <= 8 < found.epsilon_most
    assert found.refuted is False and found.sees == "steps"
    assert audits["dp_rounded"] is not None
    pate = audits["pate"]
    assert pate is not None and pate.refuted is None and pate.canaries == 0
    assert "value changes" in pate.reason and pate.epsilon > 0


def test_a_report_without_a_ledger_is_a_reason() -> None:
    plain = tried(dataclasses.replace(SGD, epsilon=None), table(n=96))
    assert isinstance(plain, str)
    report = FitReport(1, 1, 0.0, 0.0)
    assert isinstance(audit.read(report.privacy, Steps(), torch.ones(4) > 0), str)
