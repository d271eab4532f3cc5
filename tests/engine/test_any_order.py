from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.engine.graph import KINDS, Plan
from bench.engine.messages import Bundle, Done, Job, Returned
from bench.engine.settings import Infrastructure
from bench.engine.store import Store
from tests.engine.ready_made import Canned, PlanMaker, done, drive, failed, grid_of

CELLS = st.sets(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=12
)
PATIENT = Infrastructure(losses=10**6, first_wait_s=0, most_wait_s=0)


class Trouble:
    """Runs bundles badly: some jobs fail for good, and much goes wrong on the way.

    Args:
        bad: which jobs always fail.
        seed: of all else: losses, crashes, what is left over, damage on the way.
        trouble: share of bundles with which something goes wrong.
    """

    def __init__(self, bad: set[str], seed: int, trouble: float) -> None:
        self.bad, self.trouble = bad, trouble
        self.random = random.Random(seed)
        self.ended: Counter[str] = Counter()
        self.crashed: set[str] = set()
        self.unlucky: Counter[str] = Counter()

    def __call__(self, bundle: Bundle) -> Returned:
        results: dict[str, Done] = {}
        wrong = self.random.random() < self.trouble
        stop = self.random.randrange(len(bundle.jobs) + 1) if wrong else len(bundle.jobs)
        for job in bundle.jobs[:stop]:
            broken = any(p in results and results[p].status != "done" for p in job.parents.values())
            missing = any(
                p not in results and p not in bundle.parcels for p in job.parents.values()
            )
            if broken or missing:
                continue
            results[job.node] = self._run(job, wrong)
        rest = [job.node for job in bundle.jobs[stop:]]
        lost = "the machine is gone" if rest and self.random.random() < 0.5 else None
        begun = rest[0] if lost and self.random.random() < 0.5 else None
        if lost is None and not results:
            lost = "the machine is gone"
        return Returned(bundle.id, results, begun, lost, "host")

    def _run(self, job: Job, wrong: bool) -> Done:
        if wrong and self.unlucky[job.node] < 2:
            self.unlucky[job.node] += 1
            kind = self.random.choice(["crashed", "damaged", "unfit"])
            if kind == "crashed" and job.node not in self.crashed:
                self.crashed.add(job.node)
                return failed("crashed")
            if kind == "damaged" and job.parents:
                return Done("damaged", damaged={next(iter(job.parents)): "cut off on its way"})
            if kind == "unfit":
                return replace(failed("unfit"), seconds=0.0)
        self.ended[job.node] += 1
        return failed() if job.node in self.bad else done(job)


def _said(root: Path, plan: Plan) -> dict[str, Any]:
    """What the store has of every node and trial, times apart."""
    store = Store(root)
    said: dict[str, Any] = {}
    for kind in (*KINDS, "trial"):
        for key in store.ids(kind) | store.failures(kind):
            record = store.record(kind, key)
            if record is None:
                record = store.failure(kind, key)
            assert record is not None
            said[f"{kind}/{key}"] = _timeless(record)
    return said


def _timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in ("created_utc", "attempt")}


@example(
    cells={(d, t, a) for d in (1, 2) for t in range(3) for a in (0, 3)},
    seed=43413,
    bad=0.15,
    trouble=0.7,
)
@settings(max_examples=25, deadline=None)
@given(cells=CELLS, seed=st.integers(0, 2**16), bad=st.floats(0, 0.3), trouble=st.floats(0, 0.7))
def test_whatever_happens_on_the_way_the_records_are_the_same(
    cells: set[tuple[int, int, int]], seed: int, bad: float, trouble: float
) -> None:
    maker = PlanMaker()
    for cell in sorted(cells):
        maker.trial(*cell[:2], f"toy{cell[2]}", "alike" if seed % 2 else None)
    plan = maker.plan()
    rng = random.Random(seed)
    never = {key for key in plan.nodes if rng.random() < bad}
    history = (
        {f"{kind} {word}": 0.01 for kind in KINDS for word in _words(plan)} if seed % 3 else {}
    )
    with tempfile.TemporaryDirectory() as folder:
        quiet, rough = Path(folder, "quiet"), Path(folder, "rough")
        drive(plan, quiet, Canned(answer=Trouble(never, seed, 0.0)), history=history)
        worker = Trouble(never, seed, trouble)
        backend = Canned(answer=worker, slots_=1 + seed % 4, pick=rng.randrange)
        ended: Counter[str] = Counter()
        outcome = drive(plan, rough, backend, [_Counting(ended)], history, infrastructure=PATIENT)
        assert outcome.state == "ended"
        assert ended == Counter(trial.id for trial in plan.trials), "each ends exactly once"
        assert _said(rough, plan) == _said(quiet, plan)
        assert set(worker.ended.values()) <= {1}, "what has ended is not run again"
        again = Canned()
        assert drive(plan, rough, again, history=history).statuses == outcome.statuses
        assert not again.sent


def _words(plan: Plan) -> set[str]:
    return {node.label.rpartition("/")[0] for node in plan.nodes.values()}


class _Counting:
    """Counts the trials that it is told of."""

    def __init__(self, ended: Counter[str]) -> None:
        self.ended = ended

    def node(self, *_: object) -> None:
        """Of no interest."""

    def trial(self, key: str, status: str, fresh: bool) -> None:
        """One has ended."""
        self.ended[key] += 1

    def tick(self, running: int) -> None:
        """Of no interest."""


def _damaging(most: int) -> Canned:
    times: Counter[str] = Counter()

    def answer(bundle: Bundle) -> Returned:
        results = {}
        for job in bundle.jobs:
            results[job.node] = done(job)
            if job.kind == "evaluator" and times["all"] < most:
                times["all"] += 1
                results[job.node] = Done("damaged", damaged={"data": "it was cut off on its way"})
        return Returned(bundle.id, results)

    return Canned(answer=answer)


def test_what_arrives_damaged_although_it_is_stored_well_is_sent_again_a_few_times(
    tmp_path: Path,
) -> None:
    outcome = drive(grid_of(1, 1, 2), tmp_path / "a", _damaging(2))
    assert outcome.count("done") == 2
    assert outcome.set_aside == []
    backend = _damaging(10**6)
    outcome = drive(grid_of(1, 1, 2), tmp_path / "b", backend)
    assert outcome.count("skipped") == 2
    assert len(backend.sent) < 20


def test_what_is_damaged_in_the_store_is_set_aside_and_made_again(tmp_path: Path) -> None:
    plan = grid_of(1, 2, 2)
    drive(plan, tmp_path, Canned())
    store = Store(tmp_path)
    (data,) = store.ids("data")
    target = min(store.ids("target"))
    whole = _said(tmp_path, plan)
    for kind in ("trial", "attack"):
        for key in store.ids(kind):
            store.remove(kind, key)
    _damage(tmp_path, [data, target])
    store.close()
    backend = Canned()
    outcome = drive(plan, tmp_path, backend)
    assert outcome.count("done") == 4
    assert {place for place, _, _ in outcome.set_aside} == {f"data/{data}", f"target/{target}"}
    assert _said(tmp_path, plan) == whole
    remade = Counter(job.kind for bundle in backend.sent for job in bundle.jobs)
    assert remade == {"attack": 5, "data": 1, "target": 1}


def _damage(root: Path, keys: list[str]) -> None:
    import sqlite3

    with sqlite3.connect(root / "store.sqlite") as connection:
        for key in keys:
            connection.execute(
                "UPDATE results SET record = replace(record, '\"attempt\":1', '\"attempt\":2') "
                "WHERE key = ?",
                (key,),
            )
    connection.close()
