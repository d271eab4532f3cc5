from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.contract import UserError
from bench.contract.record import TrialRecord
from bench.exchange import pack, parts
from bench.exchange.merge import merge
from bench.exchange.pack import Pack
from bench.exchange.records import Records
from bench.exchange.submit import check
from bench.report import boards, frame
from tests.report import fake_records as fake


def test_a_stronger_attack_raises_the_rows_it_met(packed) -> None:
    base, more = pack.read(packed("weak")), pack.read(packed("strong"))

    def leakage(found: Pack) -> dict[str, tuple[str, float]]:
        rows = boards.build(frame.build(found.records, "toy")).rows
        return {r.defense: (r.worst_attack, r.L_raw) for r in rows.itertuples()}

    before, after = leakage(base), leakage(merge(base, more))
    assert set(before) == set(after) == {"none", "toy_training", "toy_release"}
    assert {attack for attack, _ in before.values()} == {"toy[does=idle]"}
    assert after["none"][0] == "toy[does=work]"
    assert after["none"][1] > before["none"][1] + 0.1


def test_a_file_names_no_machine_and_is_the_same_twice(packed, stores, tmp_path: Path) -> None:
    path = packed("weak")
    again = packed("weak", to="again.zip")
    assert path.read_bytes() == again.read_bytes()
    index = parts.read(path)[pack.INDEX].decode()
    assert str(tmp_path) not in index
    assert str(stores["weak"].parent) not in index
    assert not any(k in index for k in ('"pid"', "backend=", "store="))


def test_only_what_an_attack_or_a_defense_is_about(packed) -> None:
    everything = list(pack.read(packed("strong")).records)
    mine = list(pack.read(packed("strong", "--defense", "toy_training", to="d.zip")).records)
    assert {r.cell.defense for r in mine} == {"none", "toy_training"}
    attack = list(pack.read(packed("strong", "--attack", "toy", to="a.zip")).records)
    assert len(attack) == len(everything) > len(mine)
    assert "none" in {r.access for r in attack}


def test_a_dirty_working_copy_is_refused_unless_it_is_allowed() -> None:
    records = fake.build(seeds=2, datasets=("faces",))
    records = [r for r in records if r.status == "done"]
    clean = _pack(records)
    kept = Records(lambda: clean.records)
    trials, environments = check(clean, kept, None, None, allow_dirty=False)
    assert set(trials) == {r.trial_id for r in records}
    assert environments[0]["torch"] == "2.9.0+cpu"
    dirty = _pack([r.model_copy(update={"flags": ["dirty"]}) for r in records])
    with pytest.raises(UserError, match="modified working copy"):
        check(dirty, Records(lambda: dirty.records), None, None, allow_dirty=False)
    check(dirty, Records(lambda: dirty.records), None, None, allow_dirty=True)


def test_missing_and_failed_trials_are_refused() -> None:
    records = [r for r in fake.build(seeds=2, datasets=("baskets",)) if r.status == "done"]
    whole = _pack(records)
    missing = replace(whole, records=records[1:])
    with pytest.raises(UserError, match="1 of its planned trials"):
        check(missing, Records(lambda: missing.records), None, None, allow_dirty=False)
    failed = _pack([records[0].model_copy(update=fake.broken("oom", "Oom", "No.")), *records[1:]])
    with pytest.raises(UserError, match=r"\(oom\)"):
        check(failed, Records(lambda: failed.records), None, None, allow_dirty=False)


def test_a_failed_control_is_refused() -> None:
    records = [r for r in fake.build(seeds=3, datasets=("baskets",)) if r.status == "done"]
    found = _pack([*records, *(fake_control(r) for r in records if r.cell.attack == "yang")])
    with pytest.raises(UserError, match="a control failed that its boards rest on: C1 of baskets"):
        check(found, Records(lambda: found.records), None, None, allow_dirty=False)


def fake_control(record: TrialRecord) -> TrialRecord:
    """A target that was never trained, from which an attack learns all the same."""
    cell = record.cell.model_copy(update={"defense": f"untrained[{record.cell.defense}]"})
    assert record.score is not None
    return record.model_copy(
        update={
            "control": "untrained",
            "cell": cell,
            "trial_id": f"control-{record.trial_id}",
            "score": record.score.model_copy(update={"L": 0.6}),
        }
    )


def test_a_defense_that_nothing_adapted_to_is_refused() -> None:
    records = [r for r in fake.build(seeds=2, datasets=("diabetes",)) if r.status == "done"]
    found = _pack(records)
    with pytest.raises(
        UserError, match="no attack that adapts to it ran on diabetes/mlp/attribute"
    ):
        check(found, Records(lambda: found.records), None, "dropout", allow_dirty=False)
    adapted = _pack(
        [
            r.model_copy(
                update={"attack": r.attack.model_copy(update={"adaptive_to": ["dropout"]})}
            )
            for r in records
        ]
    )
    check(adapted, Records(lambda: adapted.records), None, "dropout", allow_dirty=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attack", "toi"], "has no attack 'toi'. Did you mean 'toy'?"),
        (["--defense", "toy_trainin"], "Did you mean 'toy_training'?"),
        (["--attack", "toy", "--defense", "none"], "exclude each other"),
    ],
)
def test_mistakes(verb, stores, tmp_path: Path, words: list[str], message: str) -> None:
    code, _, err = verb(
        "submit", "toy", f"store={stores['weak']}", "--to", tmp_path / "x.zip", *words
    )
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x.zip").exists()


def _pack(records: list[TrialRecord]) -> Pack:
    trials = {r.trial_id: r.cell.key() for r in records}
    manifest = {"suite": "fake", "overrides": [], "trials": trials, "git": {"dirty": False}}
    return Pack("fake", records, manifest)
