"""A trial that was planned and has no record: no board may rest on fewer in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.contract.record import Cell, TrialRecord
from bench.exchange import compare
from bench.report import boards, controls, coverage, families, frame, site, tables
from bench.report.coverage import LOST
from bench.report.facts import Facts
from tests.report import fake_records as fake

SUITE = "fake"
WHOLE = [r for r in fake.build(3, ("diabetes",)) if r.status == "done"]
PLAN = {r.trial_id: r.cell.key() for r in WHOLE}
Gone = Callable[[TrialRecord], bool]


def _read(gone: Gone, records: list[TrialRecord] = WHOLE) -> tuple[pd.DataFrame, Facts]:
    planned = {r.trial_id: r.cell.key() for r in records}
    return frame.read([r for r in records if not gone(r)], SUITE, planned)


def _missing(made: boards.Boards) -> set[tuple[str, str]]:
    """Defense and access of the rows that are flagged."""
    rows = made.rows[frame.flagged(made.rows, "missing")]
    return set(rows[["defense", "access"]].itertuples(index=False, name=None))


def _every(made: boards.Boards) -> set[tuple[str, str]]:
    return set(made.rows[["defense", "access"]].itertuples(index=False, name=None))


def _is(defense: str = "", attack: str = "", seed: int | None = None) -> Gone:
    return lambda r: (
        defense in ("", r.cell.defense)
        and attack in ("", r.cell.attack)
        and seed in (None, r.cell.seed)
    )


def test_where_nothing_is_lost_a_plan_changes_nothing() -> None:
    table, facts = _read(lambda r: False)
    pd.testing.assert_frame_equal(table, frame.build(WHOLE, SUITE))
    assert (facts.coverage.planned, facts.coverage.sentence) == (len(WHOLE), "")
    assert not _missing(boards.build(table))


@pytest.mark.parametrize("lost", [r for r in WHOLE if r.access != "none"][::7], ids=str)
def test_any_trial_that_is_lost_flags_its_row(lost: TrialRecord) -> None:
    table, facts = _read(lambda r: r.trial_id == lost.trial_id)
    made = boards.build(table)
    assert facts.coverage.lost == (lost.cell.key(),)
    assert f"{len(WHOLE) - 1} of {len(WHOLE)} planned trials are there" in facts.coverage.sentence
    flagged = _missing(made)
    assert {defense for defense, _ in flagged} - {lost.cell.defense} <= (
        {"top_k[k=3]", "label_only"} if lost.cell.defense == "none" else set()
    ), "no other row is flagged, but for those that repeat what 'none' says"
    acts = "no_effect" not in lost.flags
    assert ((lost.cell.defense, lost.access) in flagged) == acts


@pytest.mark.parametrize(
    ("gone", "flagged"),
    [
        (_is("dropout", "neuron"), {("dropout", "weights")}),
        (_is("dropout", seed=2), {("dropout", access) for access in fake.ALL}),
        (_is("dropout"), {("dropout", access) for access in fake.ALL}),
        (_is("none", "neuron"), {(d, "weights") for d in ("none", "top_k[k=3]", "label_only")}),
    ],
    ids=["all seeds of one attack", "one seed", "the whole row", "one attack on none"],
)
def test_all_that_is_lost_of_one_row_is_seen_there(gone: Gone, flagged: set) -> None:
    assert _missing(boards.build(_read(gone)[0])) == flagged


@pytest.mark.parametrize(
    "gone", [_is(seed=1), _is("none")], ids=["one seed of all", "the undefended row"]
)
def test_what_every_row_lacks_or_is_compared_with_is_seen(gone: Gone) -> None:
    made = boards.build(_read(gone)[0])
    assert _every(made) == _every(boards.build(frame.build(WHOLE, SUITE))), "no row vanishes"
    flagged = _missing(made)
    assert {("none", access) for access in fake.ALL} <= flagged
    if gone(WHOLE[0].model_copy(update={"cell": _cell("dropout", "neuron", 1)})):
        assert flagged == _every(made)
        assert (made.rows["n_seeds"] == 2).all()
    else:
        assert all("no_reference" in dict(notes) for notes in made.notes.values())


def _cell(defense: str, attack: str, seed: int) -> Cell:
    return Cell(dataset="diabetes", model="mlp", defense=defense, attack=attack, seed=seed)


def test_an_attack_that_is_lost_everywhere_flags_every_row_and_is_named() -> None:
    table, facts = _read(_is(attack="neuron"))
    made = boards.build(table)
    never = {("freezing", access) for access in ("labels", "scores")}  # not planned against it
    assert _missing(made) == _every(made) - never
    assert facts.coverage.unplaced == facts.coverage.lost
    assert "diabetes/mlp/dropout/neuron (3 seeds)" in facts.coverage.sentence


def test_figures_rest_on_what_is_there_alone() -> None:
    gone = _is("dropout", "neuron", 2)
    table, _ = _read(gone)
    made, plain = (
        boards.build(table),
        boards.build(frame.build([r for r in WHOLE if not gone(r)], SUITE)),
    )
    same = ["defense", "access", "L", "L_lo", "M", "utility", "dL_p", "rank", "front", "n_seeds"]
    pd.testing.assert_frame_equal(made.rows[same], plain.rows[same])


def test_seeds_of_which_nothing_is_there_are_missing_from_every_row() -> None:
    records = [r for r in fake.build(9, ("diabetes",)) if r.status == "done"]
    made = boards.build(_read(lambda r: r.cell.seed > 1, records)[0])
    assert made.rows["L"].notna().any(), "a run that has begun shows what it has"
    assert _missing(made) == _every(made)


def test_a_baseline_that_is_lost_is_stated_and_flags_no_row() -> None:
    table, facts = _read(_is(attack="imputer", seed=0))
    assert not _missing(boards.build(table))
    assert len(facts.coverage.lost) == len(fake.DEFENSES)


def test_a_control_that_is_lost_is_not_finished_and_flags_no_row() -> None:
    def control(name: str, attack: str, defense: str) -> TrialRecord:
        like = fake.trial("diabetes", "mlp", "none", "neuron", 0)
        cell = _cell(defense, attack, 0)
        return like.model_copy(update={"trial_id": name, "control": name, "cell": cell})

    records = [
        *WHOLE,
        control("repeat", "repeat[neuron]", "none"),
        control("zero", "neuron", "zero[dropout]"),
        control("untrained", "neuron", "untrained"),
    ]
    for name in ("repeat", "zero", "untrained"):
        table, facts = _read(lambda r, name=name: r.control == name, records)  # type: ignore[misc]
        checks = controls.judge(table).set_index("check")
        assert checks.loc[name, "state"] == "unknown"
        assert len(facts.coverage.lost) == 1
        assert not _missing(boards.build(table))


@pytest.mark.parametrize(
    ("defense", "attack"),
    [
        ("d[file=a/b.csv,x=[1,2]]", "neuron"),
        ("dropout", "map[access=scores,path=/a/b]"),
        ("stack[a+b=c]", "repeat[map[file=a/b]]"),
    ],
)
def test_names_may_hold_brackets_and_slashes(defense: str, attack: str) -> None:
    plain = fake.trial("diabetes", "mlp", "none", "neuron", 0)
    beside, odd = (
        plain.model_copy(update={"trial_id": name, "cell": _cell(d, attack, 0)})
        for name, d in (("beside", "none"), ("odd", defense))
    )
    more = [beside] if attack != "neuron" else []
    table, facts = _read(lambda r: r.trial_id == "odd", [*WHOLE, *more, odd])
    [row] = table[table["status"] == LOST].to_dict("records")
    assert (row["defense"], row["attack"], row["seed"]) == (defense, attack, 0)
    assert facts.coverage.unplaced == ()


def test_what_cannot_be_placed_is_stated_by_its_cell() -> None:
    plan = {**PLAN, "x": "elsewhere/mlp/none/neuron/0", "y": "no cell at all"}
    table, facts = frame.read(WHOLE, SUITE, plan)
    assert facts.coverage.unplaced == ("elsewhere/mlp/none/neuron/0", "no cell at all")
    assert len(table) == len(WHOLE)
    assert "elsewhere/mlp/none/neuron (1 seed)" in facts.coverage.sentence


def test_a_record_of_the_same_cell_stands_in_its_row() -> None:
    table, facts = frame.read(WHOLE, SUITE, {**PLAN, "older": WHOLE[3].cell.key()})
    assert facts.coverage.lost == (WHOLE[3].cell.key(),)
    assert LOST not in set(table["status"])


def test_every_output_says_it(tmp_path: Path) -> None:
    lost = _is("dropout", "neuron", 2)
    records = [r for r in WHOLE if not lost(r)]
    written = site.write(records, {}, SUITE, tmp_path, {}, planned=PLAN)
    count = f"{len(WHOLE) - 1} of {len(WHOLE)} planned trials are there"
    assert written.trials == len(records)
    assert count in written.lacking
    for name in ("index.html", "methods.html", "leaderboard.md", "leaderboard.tex"):
        assert count in (tmp_path / name).read_text(encoding="utf-8"), name
    row = "dropout (8 of 9)"
    for name in ("boards/diabetes-mlp-attribute-weights.html", "leaderboard.md", "leaderboard.tex"):
        assert row in (tmp_path / name).read_text(encoding="utf-8"), name
    board = pd.read_csv(tmp_path / "leaderboard.csv").query("access == 'weights'")
    assert set(board.loc[board["trials_lost"] == 1, "defense"]) == {"dropout"}
    trials = pd.read_csv(tmp_path / "trials.csv").query(f"status == '{LOST}'")
    assert list(trials["trial_id"]) == [r.trial_id for r in WHOLE if lost(r)]


def test_tables_without_a_loss_have_no_further_columns() -> None:
    csv = tables.leaderboard_csv(boards.build(_read(lambda r: False)[0]), SUITE)
    assert csv.splitlines()[0] == ",".join(x for x in tables.LEADERBOARD if x != "budget")


def test_a_tuned_row_is_flagged_too() -> None:
    picked = families.tuned(_read(_is("none", "neuron", 2))[0])
    flags = picked.query("family == 'none' and access == 'weights'")["flags"].iloc[0]
    assert "missing" in flags


@pytest.mark.parametrize("gone", [_is("freezing", "map[access=scores]"), _is("freezing")])
def test_of_a_row_that_lacks_trials_nothing_is_concluded(gone: Gone) -> None:
    fewer = [r for r in WHOLE if not gone(r)]
    for a, b in ((WHOLE, fewer), (fewer, WHOLE)):
        found = compare.compare(a, b, planned=(PLAN, PLAN))
        moved = found.moves[~found.moves["verdict"].isin(["same", "unclear"])]
        assert set(moved["defense"]) <= {"freezing"}
        assert set(moved["verdict"]) <= {"lacks trials"}
        lacking = found.changed[found.changed["what"] == "lacks trials"]
        assert set(lacking["defense"]) == {"freezing"}
        assert found.fails("worse")
        assert any("planned trials are there" in note for note in found.notes)
        assert set(found.changed["what"]) == {"lacks trials"}, "nothing came, went or changed"
    assert not compare.compare(WHOLE, WHOLE, planned=(PLAN, PLAN)).fails("any")


def test_the_sentence_of_many_is_short() -> None:
    cells = tuple(f"d/m/none/a{i}/0" for i in range(100))
    assert len(coverage.Coverage(200, cells).sentence) < 400
