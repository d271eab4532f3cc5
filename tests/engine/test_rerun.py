"""Trials run again from a manifest, and what is said of how they compare."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from bench.contract.record import TrialRecord
from bench.engine import rerun
from bench.engine.config import compose_grid
from bench.engine.execution import execute, prepare
from bench.engine.plan import make_plan
from bench.engine.store import Store
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
    assert (like.outcome, like.gap, like.environment) == ("identical", 0.0, ())
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
        "suite=a", "backend=ray", "backend.address=auto", "store=/there", "data_root=/there",
        "defense.dp_sgd.epsilon=3", "~attack.x", "+dataset.table.file=t.csv", "tracking.uri=http://x",
        "resources.default.num_gpus=1", "seeds=10",
    ]  # fmt: skip
    assert rerun.identity_words({"overrides": words}) == [
        "suite=a", "defense.dp_sgd.epsilon=3", "~attack.x", "+dataset.table.file=t.csv", "seeds=10",
    ]  # fmt: skip


@pytest.mark.parametrize("defense", ["none", "toy_training", "toy_release"])
def test_the_commands_by_hand_run_the_very_trial(done, toy_conf: Path, defense: str) -> None:
    old = [r for r in done.outcome.records if r.cell.defense == defense and not r.control][-1]
    command = next(c for c in rerun.by_hand(old, done.manifest) if c.startswith("invbench run "))
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


@pytest.mark.parametrize(
    ("changes", "outcome", "words"),
    [
        ({}, "identical", "bit for bit"),
        ({"times": {"train_s": 99.0}}, "identical", "bit for bit"),
        ({"target": {"sha256": "x"}, "env": {"torch": "9"}}, "close", "weights of the target"),
        ({"target": {"sha256": "x"}}, "different", "machine, libraries and source are the same"),
        ({"score": {"L": 0.5}, "env": {"torch": "9"}}, "different", "more than 0.01"),
    ],
)
def test_what_counts_as_reproduced(changes: dict, outcome: str, words: str) -> None:
    like = rerun.compare(_trial(), _trial(**changes))
    assert like.outcome == outcome
    assert words in like.said
    if "env" in changes:
        assert like.environment == ("torch: 2.9.0+cpu -> 9",)


def test_a_small_difference_is_close_elsewhere_and_different_here() -> None:
    old = _trial()
    assert old.score is not None
    moved = {"L": old.score.L + 0.009}
    assert rerun.compare(old, _trial(score=moved)).outcome == "different"
    assert rerun.compare(old, _trial(score=moved, env={"device": "cuda"})).outcome == "close"
    newer = _trial(score=moved).model_copy(update={"trial_id": "another"})
    assert rerun.compare(old, newer).outcome == "close"


def test_without_headroom_the_score_is_compared() -> None:
    old = _trial(score={"L": None, "value": 0.5})
    new = _trial(score={"L": None, "value": 0.53}, env={"device": "cuda"})
    like = rerun.compare(old, new)
    assert like.gap == pytest.approx(0.03)
    assert "s differs by 0.03" in like.said


def test_a_failure_is_reproduced_by_the_same_failure() -> None:
    failed = _trial().model_copy(update=fake.broken("failed", "ValueError", "Singular."))
    assert rerun.compare(failed, failed).outcome == "identical"
    assert rerun.compare(_trial(), failed).outcome == "different"
    assert rerun.compare(failed, _trial()).outcome == "different"
