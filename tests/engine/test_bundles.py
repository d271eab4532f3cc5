from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench.engine.graph import Plan
from bench.engine.messages import Bundle, Done, Returned
from bench.engine.settings import Resources
from tests.engine.ready_made import Canned, all_done, done, drive, grid_of


def known(seconds: float) -> dict[str, float]:
    """A history in which every node of the canned grids takes so long."""
    labels = ["data", "data/evaluator", "data/logistic", "data/guess"]
    for target in range(20):
        own = f"data/mlp{target}/none"
        labels += [own, f"{own}/utility", *(f"{own}/toy{attack}" for attack in range(40))]
    kinds = ("data", "evaluator", "reference", "target", "utility", "attack")
    names = [*kinds, *(f"{kind} {label}" for kind in kinds for label in labels)]
    return dict.fromkeys(names, seconds)


def jobs_of(sent: list[Bundle]) -> list[list[str]]:
    return [[job.kind for job in bundle.jobs] for bundle in sent]


def test_small_nodes_of_a_target_are_one_message(tmp_path: Path) -> None:
    backend = Canned(slots_=1)
    plan = grid_of(1, 3, 8)
    outcome = drive(plan, tmp_path, backend, history=known(0.001))
    assert outcome.count("done") == 24
    assert len(backend.sent) < len(plan.nodes) / 5
    with_target = [kinds for kinds in jobs_of(backend.sent) if "target" in kinds]
    assert any(kinds.count("attack") >= 4 for kinds in with_target)
    for bundle in backend.sent:
        before: set[str] = set()
        for job in bundle.jobs:
            assert set(job.parents.values()) <= before | set(bundle.parcels)
            before.add(job.node)


def test_what_nobody_knows_and_what_is_long_goes_by_itself(tmp_path: Path) -> None:
    unknown = Canned(slots_=1, answer=_slow)
    drive(grid_of(1, 2, 3), tmp_path / "unknown", unknown)
    assert {len(bundle.jobs) for bundle in unknown.sent} == {1}
    long = Canned(slots_=1, answer=_slow)
    drive(grid_of(1, 2, 3), tmp_path / "long", long, history=known(30.0))
    assert {len(bundle.jobs) for bundle in long.sent} == {1}


def _slow(bundle: Bundle) -> Returned:
    results = {
        job.node: Done("done", output=done(job).output, seconds=30.0, env={}) for job in bundle.jobs
    }
    return Returned(bundle.id, results)


def test_options_that_are_new_go_with_others_once_three_were_short(tmp_path: Path) -> None:
    plan = grid_of(1, 1, 30, attack="toy[number={}]")
    short = Canned(slots_=1)
    drive(plan, tmp_path / "short", short)
    sizes = [number for kinds in jobs_of(short.sent) if (number := kinds.count("attack"))]
    assert sizes[:4] == [1] * 4, "the baseline, and three others before anything is expected"
    assert max(sizes) > 10 and len(sizes) < 10
    long = Canned(slots_=1, answer=_slow)
    drive(plan, tmp_path / "long", long)
    assert {len(bundle.jobs) for bundle in long.sent} == {1}


def test_long_attacks_of_one_kind_on_one_target_go_together_while_all_slots_have_work(
    tmp_path: Path,
) -> None:
    plan = grid_of(1, 4, 3, attack="toy[number={}]")
    labels = {node.label.rpartition("/")[0]: node.kind for node in plan.nodes.values()}
    history = {f"{kind} {label}": 12.0 for label, kind in labels.items()}
    backend = Canned(slots_=2)
    drive(plan, tmp_path, backend, history=history)
    together = [
        {job.parents["target"] for job in bundle.jobs}
        for bundle in backend.sent
        if len(bundle.jobs) == 2
    ]
    assert len(together) >= 3, "two of 12 s each are the most"
    assert all(len(targets) == 1 for targets in together)
    assert max(len(bundle.jobs) for bundle in backend.sent) == 2
    last = [job.parents["target"] for bundle in backend.sent[-2:] for job in bundle.jobs]
    assert len(last) == 2, "at the end no slot waits for the other"


def test_baselines_run_before_targets_so_that_a_trial_ends_with_its_attack(tmp_path: Path) -> None:
    backend = Canned(slots_=1)
    drive(grid_of(2, 2, 2), tmp_path, backend, history=known(30.0))
    kinds = [kind for bundle in jobs_of(backend.sent) for kind in bundle]
    assert kinds[:6] == ["data"] * 2 + ["evaluator", "attack"] * 2


def test_workers_are_asked_for_before_there_is_work_for_all_of_them(tmp_path: Path) -> None:
    plan = grid_of(1, 3, 8)
    asked: list[int] = []

    class Asked(Canned):
        def want(self, waiting: Mapping[Resources, int]) -> None:
            asked.append(sum(waiting.values()))

    drive(plan, tmp_path, Asked(slots_=2))
    assert asked[0] == len(plan.nodes)
    assert asked[-1] == 0


def test_no_slot_idles_while_another_has_a_long_bundle(tmp_path: Path) -> None:
    wide = Canned(slots_=8, pick=lambda number: number - 1)
    drive(grid_of(1, 1, 32), tmp_path, wide, history=known(0.4))
    attacks = [sum(job.kind == "attack" for job in bundle.jobs) for bundle in wide.sent]
    assert max(attacks) <= 8


def test_a_bundle_has_at_most_256_jobs(tmp_path: Path) -> None:
    backend = Canned(slots_=1)
    drive(grid_of(1, 20, 40), tmp_path, backend, history=known(1e-6))
    assert 128 < max(len(bundle.jobs) for bundle in backend.sent) <= 256


def test_a_request_of_its_own_makes_a_bundle_of_its_own(tmp_path: Path) -> None:
    backend = Canned(slots_=4)
    gpu = Resources(num_cpus=1, num_gpus=0.5)
    resources = {"default": Resources(num_cpus=1, num_gpus=0), "target": gpu}
    outcome = drive(grid_of(2, 2, 4), tmp_path, backend, history=known(0.01), resources=resources)
    assert outcome.count("done") == 16
    for bundle in backend.sent:
        kinds = {job.kind for job in bundle.jobs}
        assert (kinds == {"target"}) == (bundle.resources == gpu)


def _replicas(plan: Plan, root: Path, slots: int) -> Counter[int]:
    backend = Canned(slots_=slots)
    assert drive(plan, root, backend).count("done") == len(plan.trials)
    groups = [group for bundle in backend.sent for group in bundle.groups]
    for bundle in backend.sent:
        if bundle.groups:
            assert bundle.groups == (tuple(job.node for job in bundle.jobs),)
    return Counter(len(group) for group in groups)


def _without_targets(bundle: Bundle) -> Returned:
    results = {job.node: done(job) for job in bundle.jobs if job.kind != "target"}
    return Returned(bundle.id, results, lost="the machine is gone")


def test_targets_alike_are_one_program_unless_slots_would_idle(tmp_path: Path) -> None:
    plan = grid_of(20, 1, 1, replica="alike")
    assert _replicas(plan, tmp_path / "one", 1) == {16: 1, 4: 1}
    drive(plan, tmp_path / "four", Canned(answer=_without_targets))
    assert _replicas(plan, tmp_path / "four", 4) == {5: 4}
    assert not _replicas(grid_of(4, 1, 1), tmp_path / "none", 1)


def test_a_program_of_replicas_that_is_lost_twice_is_run_one_by_one(tmp_path: Path) -> None:
    lost: list[int] = []

    def answer(bundle: Bundle) -> Returned:
        if bundle.groups and len(lost) < 2:
            lost.append(bundle.id)
            return Returned(bundle.id, {}, lost="the machine is gone")
        return all_done(bundle)

    backend = Canned(slots_=1, answer=answer)
    outcome = drive(grid_of(3, 1, 1, replica="alike"), tmp_path, backend)
    assert outcome.count("done") == 3
    assert outcome.losses == {"the machine is gone": 6}
    assert sum(bool(bundle.groups) for bundle in backend.sent) == 2
