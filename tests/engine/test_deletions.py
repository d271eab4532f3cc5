"""Models before and after a deletion, through the whole engine: a threat with boards of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attacks.hrec import HRec
from bench.contract import Gateway, TrainingDefense
from bench.contract.record import TrialRecord
from bench.data.diabetes import Diabetes
from bench.data.victims import draw
from bench.engine.config import compose_grid
from bench.engine.deployment import Deployment
from bench.engine.execution import execute
from bench.engine.plan import make_plan
from bench.models import training
from bench.models.ridge import Ridge
from bench.report.closure import close
from bench.report.frame import build
from defenses.functional_mechanism import FunctionalMechanism

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    root = tmp_path_factory.mktemp("deletions")
    words = [
        "dataset=[diabetes_progression]",
        "model=[ridge]",
        "defense=[none,functional_mechanism]",
        "attack=[hrec]",
        "controls=[]",
        "seeds=1",
        "backend=local",
        "tracking=none",
        "progress=none",
        f"store={root / 'runs'}",
        f"report_dir={root}",
    ]
    grid = compose_grid(words, CONF)
    return list(execute(grid, make_plan(grid), CONF).outcome.records)


def test_deleted_records_are_rebuilt_unless_noise_is_drawn_anew(records: list[TrialRecord]) -> None:
    found = {(r.cell.defense, r.cell.attack): r for r in records}
    plain, private = found["none", "hrec"], found["functional_mechanism", "hrec"]
    base = found["none", "typical_record"]
    assert (plain.access, plain.goal) == ("deletions", "deleted_record")
    assert plain.score is not None and private.score is not None and base.score is not None
    assert plain.score.members > plain.score.nonmembers + 0.3
    assert plain.score.extra["cosine"] > 0.85 and plain.score.extra["identified"] > 0.5
    assert private.score.members < base.score.members + 0.1
    assert private.score.extra["identified"] < 0.2


def test_they_have_boards_of_their_own(records: list[TrialRecord]) -> None:
    closed = close(build(records, "toy"))
    assert set(closed["access"]) == {"deletions"} and set(closed["attack"]) == {"hrec"}


def test_a_model_that_is_not_at_its_optimum_is_left_out() -> None:
    words = ["dataset=[diabetes]", "model=[softmax]", "attack=[hrec]", "controls=[]", "seeds=1"]
    plan = make_plan(compose_grid(words, CONF))
    assert any("optimum" in reason for _, reason in plan.skipped)


def changes(*layers: TrainingDefense) -> tuple[torch.Tensor, torch.Tensor, Deployment]:
    """Weights after the deletion of two members and two others, the victims' record numbers."""
    splits = Diabetes(bands=None).load(0, None)
    network, _ = training.train(Ridge(), layers, splits, 0, "cpu")
    deployed = Deployment(splits, Ridge(), layers, (), 0, network, "cpu")
    victims = draw(splits, 0, 2)
    exposure = deployed.expose(HRec(), victims, 0, Gateway())
    return exposure.deletions()["head.weight"], victims.member, deployed


def test_the_owner_trains_without_the_record_of_a_member_only() -> None:
    after, member, deployed = changes()
    train = deployed.splits.train
    victims = draw(deployed.splits, 0, 2)
    without = []
    for i in range(len(train)):
        kept = torch.arange(len(train)) != i
        network = Ridge().build(deployed.splits.card.shape, 1, 0)
        Ridge().solve(network, train.x[kept], train.y[kept], Ridge().recipe, 0)
        without.append(network.head.weight.detach())
    gone = (torch.stack(without) - after[:, None]).abs().amax((2, 3)).argmin(1)
    for record, row, is_member in zip(victims.records.x, train.x[gone], member, strict=True):
        assert record.equal(row) == bool(is_member)
    assert len(set(gone.tolist())) == len(gone)


def test_noise_is_drawn_anew_for_every_training() -> None:
    layer = FunctionalMechanism(epsilon=5.0)
    after, _, deployed = changes(layer)
    before = deployed.network.head.weight.detach()
    fewer = replace(deployed.splits, train=deployed.splits.train.take(torch.arange(1, 177)))
    same_noise, _ = training.train(Ridge(), [layer], fewer, deployed.seed, "cpu")
    moved = (after - before).norm(dim=(1, 2)).min()
    assert moved > 10 * (same_noise.head.weight.detach() - before).norm()
