from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.contract import UserError
from bench.engine.execution import Execution, execute, prepare
from bench.engine.store import Store

ALL = "attack=[toy,toy_raise,toy_diverge]"


@pytest.fixture
def go(
    toy_words: Callable[..., list[str]], toy_conf: Path, tmp_path: Path
) -> Callable[..., Execution]:
    def run(*words: str, backend: str = "local") -> Execution:
        grid, plan = prepare(toy_words(*words, backend=backend), toy_conf)
        return execute(grid, plan, toy_conf)

    run.words, run.conf, run.store = toy_words(), toy_conf, tmp_path / "store"
    return run


def test_a_run_records_every_trial_and_a_second_computes_nothing(go) -> None:
    first = go()
    assert first.outcome.count("done") == len(first.plan.trials) == 14
    assert sum(first.outcome.computed.values()) == len(first.plan.nodes)
    second = go()
    assert sum(second.outcome.computed.values()) == 0
    assert second.outcome.cached == sum(n.kind != "prior" for n in first.plan.nodes.values())
    assert second.outcome.records == first.outcome.records


def test_a_record_holds_together(go) -> None:
    records = {r.cell.key(): r for r in go().outcome.records}
    one = records["toy/toy/none/toy/0"]
    assert one.score is not None and one.utility is not None
    s = one.score
    assert pytest.approx((s.value - s.s_base) / (s.s_ceil - s.s_base)) == s.L
    assert s.s_base_attack == "toy_guess"
    assert one.budget.queries > 0
    assert one.times.train_s is not None
    assert one.data.facts["n_rows"] == 120
    assert set(one.nodes) == {"data", "evaluator", "reference", "target", "utility", "attack"}
    # A release defense joins the undefended attack to its own utility.
    release = records["toy/toy/toy_release/toy_labels/0"]
    assert release.flags[0] == "no_effect"
    assert release.score == records["toy/toy/none/toy_labels/0"].score


def test_failures_are_results_and_stand_until_asked(go) -> None:
    first = go(ALL, "seeds=1", "defense=[none]")
    statuses = {r.cell.attack: r.status for r in first.outcome.records}
    assert statuses == {
        "toy": "done",
        "toy_raise": "failed",
        "toy_diverge": "diverged",
        "toy_guess": "done",
    }
    broken = next(r for r in first.outcome.records if r.status == "failed")
    assert broken.error is not None
    assert broken.error.type == "ValueError"
    assert "on purpose" in broken.error.traceback
    again = go(ALL, "seeds=1", "defense=[none]")
    assert sum(again.outcome.computed.values()) == 0
    assert [r.status for r in again.outcome.records] == [r.status for r in first.outcome.records]
    third = go(ALL, "seeds=1", "defense=[none]", "rerun=failed")
    assert third.outcome.count("failed") == 1
    store = Store(third.grid.settings.store)
    (key,) = {
        k
        for k in store.failures("attack")
        if store.failure("attack", k)["label"] == "toy/toy/none/toy_raise/0"
    }
    assert len(store.attempts("attack", key)) == 2


def test_dependants_of_a_failed_target_are_skipped_with_the_reason(go) -> None:
    done = go("defense.toy_training.fail=true", "seeds=1")
    by_cell = {r.cell.key(): r for r in done.outcome.records}
    skipped = by_cell["toy/toy/toy_training/toy/0"]
    assert skipped.status == "skipped"
    assert skipped.error is not None
    assert skipped.error.type == "Upstream"
    assert "on purpose" in skipped.error.message
    assert skipped.error.node in done.plan.nodes
    assert by_cell["toy/toy/none/toy/0"].status == "done"
    assert done.outcome.count("skipped") == 2


def test_rerun_all_computes_everything_again_to_the_same_records(go) -> None:
    first = go("seeds=1")
    again = go("seeds=1", "rerun=all")
    assert sum(again.outcome.computed.values()) == len(first.plan.nodes)
    assert [r.score for r in again.outcome.records] == [r.score for r in first.outcome.records]


def test_requests_that_can_never_be_met_are_refused_before_anything_starts(go) -> None:
    with pytest.raises(UserError, match=r"resources.attack.*8 CPUs.*has 2 CPUs and 0 GPUs"):
        go("resources.default.num_cpus=8", "backend.isolate=true", "backend.num_cpus=2")


def test_a_crash_that_was_to_be_retried_does_not_stand(go) -> None:
    words = ("seeds=1", "attack=[toy]", "defense=[none]")
    plan = prepare([*go.words, *words], go.conf)[1]
    node = next(n for n in plan.nodes.values() if n.kind == "target")
    store = Store(go.store)
    record = {
        "label": node.label,
        "status": "crashed",
        "attempt": 1,
        "created_utc": "2026-01-01T00:00:00+00:00",
        "error": {"type": "WorkerCrashed", "message": "the driver died before it tried again"},
    }
    store.put_failure("target", node.id, record)
    assert go(*words, "retries=0").outcome.count("skipped") == 2
    assert go(*words).outcome.count("done") == 2


@pytest.mark.slow
def test_isolated_tasks_time_out_crash_and_are_retried(go, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    done = go(
        "attack=[toy,toy_hang,toy_crash]",
        "attack.toy.does=crash_once",
        f"attack.toy.mark={mark}",
        "defense=[none]",
        "seeds=1",
        "backend.isolate=true",
        "backend.num_cpus=2",
        "+timeout_s.attack=4",
    )
    found = {r.cell.attack: r for r in done.outcome.records}
    assert {k: r.status for k, r in found.items()} == {
        "toy": "done",
        "toy_hang": "timeout",
        "toy_crash": "crashed",
        "toy_guess": "done",
    }
    assert mark.read_text().count("crash_once") == 2
    assert found["toy_hang"].error is not None
    assert "raise timeout_s.attack" in found["toy_hang"].error.message
    store = Store(done.grid.settings.store)
    attempts = [store.attempts("attack", key) for key in store.failures("attack")]
    assert sum(map(len, attempts)) == 1 + 1 + 2


def test_an_interrupt_keeps_what_is_done(go, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.engine.backends.local import InProcess

    real, seen = InProcess.poll, []

    def stop_after_ten(self, timeout):
        if len(seen) == 10:
            raise KeyboardInterrupt
        seen.append(1)
        return real(self, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "poll", stop_after_ten)
        first = go("seeds=1")
    assert first.outcome.interrupted
    assert sum(first.outcome.computed.values()) == 10
    second = go("seeds=1")
    assert sum(second.outcome.computed.values()) == len(first.plan.nodes) - 10
    assert second.outcome.count("done") == len(first.plan.trials)


@pytest.mark.ray
@pytest.mark.slow
def test_ray_gives_the_same_records_and_the_same_failures(go, tmp_path: Path) -> None:
    # The deadline leaves room for a new worker to import torch after another has crashed.
    words = (
        "attack=[toy,toy_labels,toy_raise,toy_crash,toy_hang]",
        "defense=[none,toy_training]",
        "exclude=[{attack: 'toy_[rch]*', defense: toy_training}]",
        "+timeout_s.attack=20",
        "seeds=1",
    )
    one = ("backend.num_cpus=2",)
    ray = go(*words, *one, f"store={tmp_path}/ray", backend="ray")
    by_bytes = go(
        "seeds=1", *one, "backend.shared_store=false", f"store={tmp_path}/bytes", backend="ray"
    )
    local = go("seeds=1", f"store={tmp_path}/local")
    statuses = {r.cell.attack: r.status for r in ray.outcome.records if r.cell.defense == "none"}
    assert statuses == {
        "toy": "done",
        "toy_labels": "done",
        "toy_guess": "done",
        "toy_raise": "failed",
        "toy_crash": "crashed",
        "toy_hang": "timeout",
    }
    for other in (ray, by_bytes):
        found = {r.cell.key(): (r.trial_id, r.score, r.utility) for r in other.outcome.records}
        for record in local.outcome.records:
            key = record.cell.key()
            if other is ray and record.cell.defense == "toy_release":
                continue
            assert found[key] == (record.trial_id, record.score, record.utility)


def test_an_unreachable_cluster_is_one_sentence(go) -> None:
    with pytest.raises(UserError, match=r"Ray cluster '127.0.0.1:1' cannot be reached"):
        go("backend.address=127.0.0.1:1", backend="ray")
