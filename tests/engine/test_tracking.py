from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest

from bench.api.publish import write
from bench.contract import UserError
from bench.engine.execution import execute, prepare
from bench.engine.store import FAULTS, Store
from bench.engine.tracking import sink
from bench.engine.tracking.server import connect
from bench.exchange import sources
from bench.exchange.pack import Pack
from tests.engine.canned import Canned, canned, manifest, runs

# MLflow and what it imports warn on their own behalf; what is tested here is ours.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tracking' / 'mlflow.db'}"


@pytest.fixture
def store(tmp_path: Path) -> Canned:
    return Canned(tmp_path / "store", canned(8))


def test_mlflow_holds_what_the_store_holds_and_nothing_twice(
    toy_words, toy_conf: Path, tmp_path: Path, uri: str
) -> None:
    words = toy_words("attack=[toy,toy_raise]", "tracking=mlflow", f"tracking.uri={uri}", "seeds=1")
    words.remove("tracking=none")
    done = execute(*prepare(words, toy_conf), toy_conf)
    assert done.sink is not None
    pages = tmp_path / "pages"
    write(sources.of_execution(Store(done.grid.settings.store), done.manifest), pages)
    done.sink.close(done.manifest, pages)
    assert done.sink.problem is None
    assert done.sink.written == len(done.outcome.records)

    records, shown, manifest = sink.fetch(uri, "toy")
    assert sorted(r.trial_id for r in records) == sorted(r.trial_id for r in done.outcome.records)
    assert {r.trial_id: r for r in records} == {r.trial_id: r for r in done.outcome.records}

    store = Store(done.grid.settings.store)
    one, two = tmp_path / "a", tmp_path / "b"
    write(sources.of_execution(store, store.newest("toy")), one)
    write(Pack("toy", records, manifest, shown), two)
    files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert files == {path.relative_to(two) for path in two.rglob("*") if path.is_file()}
    for name in files:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name

    assert sink.sync(store, uri, store.newest("toy"), None) == 0

    # One trial is lost in the store, and the same in MLflow: both say so with the same bytes.
    lost = next(r for r in records if r.status == "done" and r.access == "scores")
    store.remove("trial", lost.trial_id)
    assert write(sources.of_execution(store, store.newest("toy")), one).lacking
    assert write(Pack("toy", [r for r in records if r is not lost], manifest, shown), two).lacking
    for name in files:
        if (one / name).exists() or (two / name).exists():
            assert (one / name).read_bytes() == (two / name).read_bytes(), name

    client = connect(uri)
    experiment = client.get_experiment_by_name("toy")
    there = runs(uri, "toy")
    assert there.keys() == set(done.outcome.statuses)
    good = next(r for r in there.values() if r.data.tags["status"] == "done")
    assert {"L", "M", "utility", "queries"} <= set(good.data.metrics)
    assert good.data.params["dataset"] == "toy"
    parents = client.search_runs([experiment.experiment_id], "tags.kind = 'execution'")
    [parent] = parents
    assert parent.data.metrics == {}, "no column a board"
    assert parent.inputs.dataset_inputs[0].dataset.name == "toy"
    assert parent.data.params["attack"] == "toy, toy_raise"
    assert parent.data.params["seeds"] == "1"
    artifacts = {a.path for a in client.list_artifacts(parent.info.run_id)}
    assert {"leaderboard.csv", "leaderboard.md", "site"} <= artifacts
    tags = good.data.tags
    assert (tags["control"], tags["goal"], tags["budget"]) == ("none", "attribute", "unlimited")
    assert tags["attack_family"] in ("toy", "toy_guess")
    assert {r.data.tags["mlflow.parentRunId"] for r in there.values()} == {parents[0].info.run_id}


def test_a_run_that_breaks_leaves_no_thread_behind(
    toy_words, toy_conf: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("bench.engine.driving.driver.Driver.run", breaks)
    words = toy_words("tracking=mlflow", f"tracking.uri={uri}", "seeds=1", "attack=[toy]")
    words.remove("tracking=none")
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="on purpose"):
        execute(*prepare(words, toy_conf), toy_conf)
    assert not set(threading.enumerate()) - before


def test_a_run_goes_on_without_its_server(toy_words, toy_conf: Path, uri: str) -> None:
    away = "http://127.0.0.1:9"
    words = toy_words("tracking=mlflow", f"tracking.uri={away}", "seeds=1", "attack=[toy]")
    words.remove("tracking=none")
    done = execute(*prepare(words, toy_conf), toy_conf)
    assert done.sink is not None
    done.sink.close(done.manifest, None)
    assert done.outcome.count("done") == len(done.plan.trials)
    assert done.sink.problem is not None
    assert away in done.sink.problem

    store = Store(done.grid.settings.store)
    with pytest.raises(UserError, match="cannot be used"):
        sink.sync(store, away, store.newest("toy"), None)
    assert sink.sync(store, uri, store.newest("toy"), None) == len(done.plan.trials)


def test_an_unknown_suite_is_one_sentence(uri: str) -> None:
    with pytest.raises(UserError, match="no finished execution of suite 'absent'"):
        sink.fetch(uri, "absent")


def test_damaged_artifacts_are_left_out_and_named(store: Canned, tmp_path: Path, uri: str) -> None:
    asked = manifest(store.rows)
    assert sink.sync(store, uri, asked, None) == len(store.rows)
    [bundle] = tmp_path.rglob("records/*.zip")
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    one, two, three, *_ = members
    members[one] = members[one].replace(b'"L": ', b'"L": 1')
    members[two] = members[three]  # whole, and of another trial
    del members[three]
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    records, _, _ = sink.fetch(uri, "canned")
    lost = {name.removesuffix(".json") for name in (one, two, three)}
    assert {r.trial_id for r in records} == store.rows.keys() - lost
    assert len([p for p in FAULTS if p.parts[0] == "mlflow"]) == 3
    FAULTS.clear()
    client = connect(uri)
    for key, run in runs(uri, "canned").items():
        if key in lost:
            client.delete_run(run.info.run_id)
    assert sink.sync(store, uri, asked, None) == 3, "as the message says"
    assert len(sink.fetch(uri, "canned")[0]) == len(store.rows)
    assert not FAULTS
    [kept] = tmp_path.rglob("artifacts/execution.json")
    kept.write_text(kept.read_text()[:-20])
    with pytest.raises(UserError, match="sync"):
        sink.fetch(uri, "canned")
