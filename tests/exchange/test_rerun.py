"""Trials run again from a manifest, and what is said of how they compare."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from bench.contract.record import TrialRecord
from bench.engine.config import compose_grid
from bench.engine.execution import execute, prepare
from bench.engine.plan import make_plan
from bench.engine.store import Store
from bench.exchange import reproduce, rerun
from tests.edited import edit
from tests.report import fake_records as fake

WORDS = ("attack=[toy]", "seeds=2", "controls=[untrained]", "control_seeds=1")


@pytest.fixture
def done(toy_words, toy_conf: Path):
    return execute(*prepare(toy_words(*WORDS), toy_conf), toy_conf)


def _trial(**changes) -> TrialRecord:
    record = fake.trial("diabetes", "mlp", "none", "neuron", 0)
    for part, values in changes.items():
        inner = getattr(record, part)
        new = {**inner, **values} if isinstance(inner, dict) else inner.model_copy(update=values)
        record = record.model_copy(update={part: new})
    return record


def test_a_trial_is_run_again_bit_for_bit_with_nothing_but_what_it_needs(
    done, tmp_path: Path
) -> None:
    old = next(r for r in done.outcome.records if r.cell.defense == "toy_training")
    grid, plan = rerun.plan_again(done.manifest, tmp_path / "fresh")
    trial = rerun.match(plan, old)
    assert trial is not None
    assert trial.id == old.trial_id
    [new] = rerun.rerun(grid, plan, [trial]).values()
    like = rerun.compare(old, new)
    assert like.outcome == "identical"
    assert set(like.gaps.values()) == {0.0}
    assert all(like.facts.values())
    fresh = Store(tmp_path / "fresh")
    assert fresh.ids("trial") == {old.trial_id}
    assert len(fresh.ids("target")) == 1
    assert fresh.ids("attack") == {trial.nodes["attack"], *trial.baselines.values()}


def test_controls_are_matched_with_controls(done) -> None:
    _, plan = rerun.plan_again(done.manifest, Path("unused"))
    for record in done.outcome.records:
        trial = rerun.match(plan, record)
        assert trial is not None
        assert (trial.id, trial.control) == (record.trial_id, record.control)
    gone = done.outcome.records[0].model_copy(deep=True)
    cell = gone.cell.model_copy(update={"seed": 99})
    assert rerun.match(plan, gone.model_copy(update={"cell": cell})) is None


def test_where_a_suite_ran_is_forgotten_and_what_it_is_kept() -> None:
    words = [
        "suite=a",
        "backend=ray",
        "backend.address=auto",
        "store=/there",
        "data_root=/there",
        "defense.dp_sgd.epsilon=3",
        "~attack.x",
        "+dataset.table.file=t.csv",
        "tracking.uri=http://x",
        "resources.default.num_gpus=1",
        "seeds=10",
    ]
    assert rerun.identity_words({"overrides": words}) == [
        "suite=a",
        "defense.dp_sgd.epsilon=3",
        "~attack.x",
        "+dataset.table.file=t.csv",
        "seeds=10",
    ]


@pytest.mark.parametrize("defense", ["none", "toy_training", "toy_release"])
def test_the_commands_by_hand_run_the_very_trial(done, toy_conf: Path, defense: str) -> None:
    old = [r for r in done.outcome.records if r.cell.defense == defense and not r.control][-1]
    command = next(
        c for c in reproduce.by_hand(old, done.manifest) if c.startswith("invbench run ")
    )
    words = [w for w in shlex.split(command)[2:] if "=" in w]
    plan = make_plan(compose_grid(words, toy_conf))
    assert old.trial_id in {t.id for t in plan.trials}
    assert len(plan.trials) < len(done.plan.trials)


def test_changes_are_named_with_and_without_the_earlier_documents(
    done, tmp_path: Path, monkeypatch
) -> None:
    old = next(r for r in done.outcome.records if r.cell.defense == "none" and not r.control)
    edit(monkeypatch, "target", "tests.toys")
    _, plan = rerun.plan_again(done.manifest, tmp_path / "fresh")
    trial = rerun.match(plan, old)
    assert trial is not None
    store = Store(done.grid.settings.store)
    [line] = rerun.changes(store, plan, old.nodes, trial.nodes)
    assert line.startswith("target: source of tests.toys changed")
    [line] = rerun.changes(None, plan, old.nodes, trial.nodes)
    assert line.startswith("target: it was ")


ELSEWHERE = {"env": {"torch": "9"}}
OTHER_WEIGHTS = {"target": {"sha256": "x"}}


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "identical"),
        ({"times": {"train_s": 99.0}}, "identical"),
        ({**OTHER_WEIGHTS, **ELSEWHERE}, "close"),
        (OTHER_WEIGHTS, "different"),
        ({"score": {"L": 0.5}, **ELSEWHERE}, "different"),
    ],
)
def test_what_counts_as_reproduced(changes: dict, outcome: str) -> None:
    like = rerun.compare(_trial(), _trial(**changes))
    assert like.outcome == outcome
    assert like.environment == (("torch: 2.9.0+cpu -> 9",) if "env" in changes else ())
    assert all(line in like.said for line in like.environment if outcome != "identical")


@pytest.mark.parametrize("figure", ["L", "M", "utility"])
def test_a_small_difference_is_close_elsewhere_and_different_here(figure: str) -> None:
    old = _trial()

    def moved(by: float, **more: Any) -> TrialRecord:
        part, name = ("utility", "value") if figure == "utility" else ("score", figure)
        return _trial(**{part: {name: getattr(getattr(old, part), name) + by}, **more})

    assert rerun.compare(old, moved(0.009)).outcome == "different"
    assert rerun.compare(old, moved(0.009, **ELSEWHERE)).outcome == "close"
    newer = moved(0.009).model_copy(update={"trial_id": "another"})
    assert rerun.compare(old, newer).outcome == "close"
    far = rerun.compare(old, moved(0.011, **ELSEWHERE))
    assert far.outcome == "different"
    assert f"{figure} differs by 0.011" in far.said


def test_a_gpu_need_not_repeat_its_bits() -> None:
    gpu = {"env": {"device": "A GPU"}}
    like = rerun.compare(_trial(**gpu), _trial(**OTHER_WEIGHTS, **gpu))
    assert (like.outcome, like.environment) == ("close", ())


def test_an_environment_that_a_record_does_not_state_is_not_taken_for_equal() -> None:
    bare = _trial().model_copy(update={"env": {"device": "cpu"}})
    assert rerun.compare(bare, bare).outcome == "identical"
    changed = bare.model_copy(update={"target": bare.target.model_copy(update={"sha256": "x"})})
    assert rerun.compare(bare, changed).outcome == "close"


def test_without_headroom_the_score_is_compared() -> None:
    old = _trial(score={"L": None, "value": 0.5})
    like = rerun.compare(old, _trial(score={"L": None, "value": 0.53}, **ELSEWHERE))
    assert like.outcome == "different"
    assert like.gaps["s"] == pytest.approx(0.03)
    assert "L" not in like.gaps


def test_a_figure_that_only_one_of_two_has_is_no_small_difference() -> None:
    assert rerun.compare(_trial(), _trial(score={"M": None}, **ELSEWHERE)).outcome == "different"
    alike = _trial(score={"M": None}), _trial(score={"M": None}, **ELSEWHERE)
    assert rerun.compare(*alike).outcome == "identical"


def test_a_failure_is_reproduced_by_the_same_failure() -> None:
    failed = _trial().model_copy(update=fake.broken("failed", "ValueError", "Singular."))
    assert rerun.compare(failed, failed).outcome == "identical"
    assert rerun.compare(_trial(), failed).outcome == "different"
    assert rerun.compare(failed, _trial()).outcome == "different"
