"""Submissions join the boards they fit, and are refused where they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.contract.errors import UserError
from bench.contract.record import TrialRecord
from bench.exchange.merge import merge
from bench.exchange.pack import Pack
from bench.report import boards, coverage, frame
from tests.report import fake_records as fake

SEEDS = range(3)


def _trials(defenses: tuple[str, ...], attacks: tuple[str, ...], seeds=SEEDS) -> list[TrialRecord]:
    return [
        fake.trial("diabetes", "mlp", d, a, s) for d in defenses for a in attacks for s in seeds
    ]


def _pack(records: list[TrialRecord], name: str = "", **manifest: Any) -> Pack:
    trials = {r.trial_id: r.cell.key() for r in records}
    told = {"suite": "fake", "overrides": [name], "trials": trials, **manifest}
    return Pack("fake", records, told, notes={"submitter": name} if name else {}, digest=name)


def _scored(record: TrialRecord, **values: Any) -> TrialRecord:
    assert record.score is not None
    return record.model_copy(update={"score": record.score.model_copy(update=values)})


BASE = ("none", "dropout")
WEAK = ("imputer", "neuron")


def _strong() -> list[TrialRecord]:
    """An attack that reads all, at the same access, against the undefended target only."""
    return [
        _scored(r, L=0.9, value=0.962).model_copy(
            update={
                "cell": r.cell.model_copy(update={"attack": "reader"}),
                "trial_id": f"reader-{r.cell.defense}-{r.cell.seed}",
            }
        )
        for r in _trials(("none",), ("neuron",))
    ]


def _rows(found: Pack) -> dict[str, Any]:
    rows = boards.build(frame.build(found.records, "fake")).rows
    return {row["defense"]: row for row in rows.to_dict("records")}


def test_a_stronger_attack_raises_the_rows_it_was_run_against_and_no_other() -> None:
    base = _pack(_trials(BASE, WEAK))
    both = merge(base, _pack([*_strong(), *_trials(("none",), ("imputer",))], "them"))
    before, after = _rows(base), _rows(both)
    assert before["none"]["worst_attack"] == "neuron"
    assert after["none"]["worst_attack"] == "reader"
    assert after["none"]["L_raw"] == pytest.approx(0.9)
    for name in ("L_raw", "worst_attack", "utility"):
        assert after["dropout"][name] == before["dropout"][name]
    records = list(both.records)
    assert {r.trial_id for r in records} == set(both.manifest["trials"]), "and no other is promised"
    assert len(records) == len({r.trial_id for r in records}) == len(both.manifest["trials"])
    assert [s["submitter"] for s in both.notes["submissions"]] == ["them"]
    assert both.notes["submissions"][0]["joined"] == 3
    assert [m["overrides"] for m in both.manifest["merged"]] == [[""], ["them"]]


def test_a_new_defense_becomes_a_row() -> None:
    base = _pack(_trials(BASE, WEAK))
    both = merge(base, _pack(_trials(("none", "dp_sgd[epsilon=1]"), WEAK), "them"))
    assert set(_rows(both)) == {"none", "dropout", "dp_sgd[epsilon=1]"}
    twice = merge(both, _pack(_strong(), "others"))
    assert [s["submitter"] for s in twice.notes["submissions"]] == ["them", "others"]
    assert len(twice.manifest["merged"]) == 3


def test_controls_of_the_base_are_kept_and_new_ones_join() -> None:
    control = _scored(_trials(("none",), ("neuron",), (0,))[0], L=0.0).model_copy(
        update={"control": "untrained", "trial_id": "c-base"}
    )
    cell = control.cell.model_copy(update={"defense": "untrained"})
    control = control.model_copy(update={"cell": cell})
    theirs = control.model_copy(update={"trial_id": "c-theirs"})
    other = control.model_copy(
        update={"trial_id": "c-new", "cell": control.cell.model_copy(update={"attack": "reader"})}
    )
    base = _pack([*_trials(BASE, WEAK), control])
    both = merge(base, _pack([*_strong(), theirs, other], "them"))
    assert {r.trial_id for r in both.records if r.control} == {"c-base", "c-new"}


def test_further_seeds_of_a_submission_do_not_join() -> None:
    base = _pack(_trials(BASE, WEAK))
    more = _pack(_trials(("none", "freezing"), ("imputer", "map[access=scores]"), range(5)), "them")
    with pytest.raises(UserError, match="did not run neuron against 'freezing'"):
        merge(base, more)
    more = _pack(_trials(("none", "dp_sgd[epsilon=1]"), WEAK, range(5)), "them")
    assert {r.cell.seed for r in merge(base, more).records} == set(SEEDS)


def test_an_attack_that_the_plan_ruled_out_need_not_have_run() -> None:
    base = _pack(_trials(BASE, (*WEAK, "map[access=scores]")))
    mine = _trials(("label_only",), WEAK)
    with pytest.raises(UserError, match=r"did not run map\[access=scores\] against 'label_only'"):
        merge(base, _pack(mine, "them"))
    out = {"what": "diabetes x mlp x label_only x map[access=scores]", "reason": "labels only"}
    assert "label_only" in _rows(merge(base, _pack(mine, "them", skipped=[out])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: r.model_copy(update={"protocol_version": "9"}),
            "cannot share a board: protocol version is 1.0 in .* and 9 in them: none/reader",
        ),
        (
            lambda r: r.model_copy(
                update={"data": r.data.model_copy(update={"facts": {"sha256": "0" * 64}})}
            ),
            r"data \(sha256\) of data set diabetes, seed 0",
        ),
        (
            lambda r: r.model_copy(update={"cell": r.cell.model_copy(update={"attack": "neuron"})}),
            "'them' has another trial under the name diabetes/mlp/none/neuron/0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        merge(_pack(_trials(BASE, WEAK)), _pack([change(r) for r in _strong()], "them"))


def test_a_trial_that_the_two_score_differently_is_refused() -> None:
    base = _trials(BASE, WEAK)
    mine = [*_strong(), _scored(base[3], value=0.1)]
    with pytest.raises(UserError, match=r"scores 0\.\d+ here and 0.1 in 'them'"):
        merge(_pack(base), _pack(mine, "them"))
    near = base[3].score
    assert near is not None
    merge(_pack(base), _pack([*_strong(), _scored(base[3], value=near.value + 1e-4)], "them"))


def test_fewer_seeds_than_the_boards_have_are_refused() -> None:
    few = [r for r in _strong() if r.cell.seed == 0]
    with pytest.raises(UserError, match=r"lacks seeds 1-2 of diabetes/mlp.*seeds=3"):
        merge(_pack(_trials(BASE, WEAK)), _pack(few, "them"))


def test_a_submission_whose_control_failed_is_refused() -> None:
    wrong = [
        r.model_copy(
            update={
                "control": "untrained",
                "trial_id": f"c{r.cell.seed}",
                "cell": r.cell.model_copy(update={"defense": "untrained"}),
            }
        )
        for r in _strong()
    ]
    with pytest.raises(UserError, match="'them' cannot join: its control C1 failed"):
        merge(_pack(_trials(BASE, WEAK)), _pack([*_strong(), *wrong], "them"))


def test_a_row_that_the_attack_did_not_meet_is_told_so() -> None:
    base = _pack(_trials(BASE, WEAK))
    both = merge(base, _pack([*_strong(), *_trials(("none",), ("imputer",))], "them"))
    rows = _rows(both)
    assert "missing" not in _rows(base)["dropout"]["flags"]
    assert "missing" in rows["dropout"]["flags"]
    assert "missing" not in rows["none"]["flags"]
    gaps = [r for r in both.records if coverage.not_run(r)]
    assert {(r.cell.key(), r.status) for r in gaps} == {
        (f"diabetes/mlp/dropout/reader/{seed}", "skipped") for seed in SEEDS
    }
    [told] = both.notes["submissions"]
    assert told["unmet"] == ["reader was not run against dropout of diabetes/mlp"]
    # What the plan rules out is no gap, nor is a row that does not act at that access.
    out = {"what": "diabetes x mlp x dropout x reader", "reason": "it cannot"}
    ruled = merge(base, _pack(_strong(), "them", skipped=[out]))
    assert not any(coverage.not_run(r) for r in ruled.records)
    idle = _pack(_trials((*BASE, "top_k[k=3]"), WEAK))
    [told] = merge(idle, _pack(_strong(), "them")).notes["submissions"]
    assert "top_k" not in str(told["unmet"])


def _against(defense: str) -> list[TrialRecord]:
    """The strong attack against one more defense."""
    return [
        _scored(r, L=0.8, value=0.924).model_copy(
            update={
                "cell": r.cell.model_copy(update={"attack": "reader"}),
                "trial_id": f"reader-{defense}-{r.cell.seed}",
            }
        )
        for r in _trials((defense,), ("neuron",))
    ]


def test_what_was_unmet_may_be_brought_later() -> None:
    both = merge(_pack(_trials(BASE, WEAK)), _pack(_strong(), "them"))
    later = merge(both, _pack([*_strong(), *_against("dropout")], "others"))
    assert _rows(later)["dropout"]["worst_attack"] == "reader"
    assert not any(coverage.not_run(r) for r in later.records)
    records = list(later.records)
    assert {r.trial_id for r in records} == set(later.manifest["trials"])
    assert len(records) == len({r.trial_id for r in records})
    again = merge(both, _pack(_trials(("none",), WEAK), "nothing new"))
    assert {r.trial_id for r in again.records} == {r.trial_id for r in both.records}


def test_submissions_join_in_any_order() -> None:
    base = _pack(_trials(BASE, WEAK))
    attack = _pack([*_strong(), *_against("dropout")], "attack")
    defense = _pack(_trials(("none", "dp_sgd[epsilon=1]"), WEAK), "defense")
    one, other = merge(base, attack, defense), merge(base, defense, attack)
    for both in (one, other):
        assert "missing" in _rows(both)["dp_sgd[epsilon=1]"]["flags"]
    assert {r.trial_id for r in one.records} == {r.trial_id for r in other.records}
    with pytest.raises(UserError, match="did not run reader against 'dp_sgd"):
        merge(merge(base, attack), defense)


def test_chosen_seeds_of_a_row_are_refused_though_others_have_them_all() -> None:
    mine = _trials(("none", "dp_sgd[epsilon=1]"), WEAK)
    chosen = [
        r
        for r in mine
        if (r.cell.defense, r.cell.attack, r.cell.seed) != ("dp_sgd[epsilon=1]", "neuron", 1)
    ]
    with pytest.raises(UserError, match=r"lacks seeds 1 of neuron against 'dp_sgd\[epsilon=1\]'"):
        merge(_pack(_trials(BASE, WEAK)), _pack(chosen, "them"))


def test_what_its_manifest_does_not_list_or_has_no_record_is_refused() -> None:
    base = _pack(_trials(BASE, WEAK))
    whole = _pack(_strong(), "them")
    with pytest.raises(UserError, match=r"reader/2 \(reader-none-\) has no record"):
        merge(base, replace(whole, records=list(whole.records)[:-1]))
    with pytest.raises(UserError, match="is not among the trials that its manifest lists"):
        merge(base, replace(whole, manifest={**whole.manifest, "trials": {}}))


def test_a_trial_that_failed_does_not_join() -> None:
    records = _strong()
    records[1] = records[1].model_copy(update=fake.broken("diverged", "Diverged", "NaN."))
    with pytest.raises(UserError, match=r"1 of its trials did not end well: .*\(diverged\)"):
        merge(_pack(_trials(BASE, WEAK)), _pack(records, "them"))


def test_a_submission_brings_no_pictures_of_trials_of_others() -> None:
    base = _pack(_trials(BASE, WEAK))
    mine = list(_strong())
    theirs = next(iter(base.records)).trial_id
    given = replace(_pack(mine, "them"), pictures={mine[0].trial_id: b"a", theirs: b"b"})
    assert merge(base, given).pictures == {mine[0].trial_id: b"a"}
