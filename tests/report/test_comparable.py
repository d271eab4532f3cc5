"""The guard: one fact changed at a time is refused, a legitimate set never is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.contract.errors import UserError
from bench.contract.record import TrialRecord
from bench.report import comparable
from tests.report import fake_records as fake


def _records() -> list[TrialRecord]:
    """A board as the engine writes it: with the nodes that its trials share."""
    return [
        r.model_copy(
            update={
                "nodes": {
                    **r.nodes,
                    "data": f"data-{r.cell.dataset}-{r.cell.seed}",
                    "evaluator": f"judges-{r.cell.dataset}-{r.cell.seed}",
                    "reference": f"plain-{r.cell.dataset}-{r.cell.seed}",
                }
            }
        )
        for r in fake.build(seeds=2, datasets=("diabetes", "faces"))
    ]


def _changed(record: TrialRecord, part: str, **values: Any) -> TrialRecord:
    inner = getattr(record, part).model_copy(update=values)
    return record.model_copy(update={part: inner})


def _node(kind: str) -> Callable[[TrialRecord], TrialRecord]:
    return lambda r: r.model_copy(update={"nodes": {**r.nodes, kind: "another"}})


def _computed(record: TrialRecord, mean: float, sha: str = "0" * 64) -> TrialRecord:
    facts = {**record.data.facts, "sha256": sha, "computed_mean": mean}
    return _changed(record, "data", facts=facts)


MUTATIONS: dict[str, tuple[Callable[[TrialRecord], TrialRecord], list[str]]] = {
    "protocol": (
        lambda r: r.model_copy(update={"protocol_version": "2.0"}),
        ["protocol version is 1.0 in", "and 2.0 in"],
    ),
    "schema": (
        lambda r: r.model_copy(update={"schema_version": "2.0.0"}),
        ["major version of the record schema is 1 in", "and 2 in"],
    ),
    "data": (
        lambda r: _changed(r, "data", facts={**r.data.facts, "sha256": "f" * 64}),
        ["data (sha256) of data set diabetes, seed 1", "ffffffffffff", "on the same file"],
    ),
    "computed": (
        lambda r: _changed(r, "data", facts={**r.data.facts, "computed_mean": 0.4611}),
        ["mean of the computed data of data set diabetes, seed 1 is 0.4685 in", "and 0.4611 in"],
    ),
    "split": (_node("data"), ["data split of data set diabetes, seed 1", "another"]),
    "evaluator": (_node("evaluator"), ["evaluator of data set diabetes, seed 1", "another"]),
    "reference": (_node("reference"), ["plain baseline of data set diabetes", "another"]),
    "usefulness": (
        lambda r: _changed(r, "utility", metric="accuracy"),
        ["utility metric of data set diabetes, model mlp is auroc", "and accuracy"],
    ),
    "measure": (
        lambda r: _changed(r, "score", metric="accuracy"),
        ["metric of the score of data set diabetes, model mlp, goal attribute is auc"],
    ),
    "base": (
        lambda r: _changed(r, "score", s_base=0.64),
        ["success without the model", "0.62", "0.64", "same baselines, victims"],
    ),
    "ceiling": (lambda r: _changed(r, "score", s_ceil=0.9), ["ceiling of the score", "0.9"]),
    "model": (
        lambda r: _changed(r, "target", params={"width": 64}),
        ["settings of the model of data set diabetes, model mlp is width=128", "width=64"],
    ),
    "attack": (
        lambda r: _changed(r, "attack", params={"steps": 10}),
        ["attack map[access=scores] is steps=300", "and steps=10", "a name of its own"],
    ),
    "knowledge": (
        lambda r: _changed(r, "attack", knowledge=["K5"]),
        ["knowledge of the attack", "K5"],
    ),
    "cap": (
        lambda r: _changed(r, "budget", queries_cap=50),
        ["most queries of the attack", "is None in", "and 50 in", "the same budget"],
    ),
    "aim": (
        lambda r: r.model_copy(update={"access": "weights"}),
        ["goal and access of the attack", "attribute at scores", "attribute at weights"],
    ),
    "defense": (
        lambda r: _changed(r, "defense", layers=[{"_target_": "defenses.other"}]),
        ["settings of the defense", "_target_=defenses.other"],
    ),
}


@pytest.mark.parametrize("fact", MUTATIONS)
def test_each_changed_fact_is_refused_by_name_with_both_values_and_rows(fact: str) -> None:
    change, words = MUTATIONS[fact]
    records = _records()
    cell = "diabetes/mlp/dropout/map[access=scores]/1"
    at = next(i for i, r in enumerate(records) if r.cell.key() == cell)
    if fact == "knowledge":
        records = [_changed(r, "attack", knowledge=["K2"]) for r in records]
    if fact == "computed":
        records = [_computed(r, 0.4685) for r in records]
    records[at] = change(records[at])
    facts = comparable.gather(records)
    # What is said without a doubt of the others is never blamed.
    assert [d.fact for d in facts.differences()] == [fact]
    [difference] = facts.differences()
    assert difference.rows[1] == ("dropout/map[access=scores]",)
    with pytest.raises(UserError) as refused:
        facts.check("tries")
    said = str(refused.value)
    assert said.startswith("The trials of 'tries' cannot share a board: ")
    assert all(word in said for word in [*words, "dropout/map[access=scores]"]), said


def test_every_fact_has_a_mutation() -> None:
    assert set(MUTATIONS) == set(comparable._FACTS)


def test_a_legitimate_set_is_never_refused() -> None:
    records = _records()
    assert comparable.differences(records) == []
    assert comparable.differences(list(reversed(records))) == []
    comparable.gather(records).check("fake")


def test_what_may_differ() -> None:
    """Queries spent, weights, time, machine, and what a failure cannot know."""
    records = _records()
    one = records[0]
    free = [
        _changed(one, "budget", queries=7),
        _changed(one, "target", sha256="other", train_accuracy=0.1),
        one.model_copy(update={"env": {"torch": "9"}, "benchmark_version": "9.9"}),
        one.model_copy(update={"schema_version": "1.99.0"}),
        _changed(one, "score", s_base=one.score.s_base + 0.001) if one.score else one,
        one.model_copy(
            update={
                "status": "failed",
                "score": None,
                "utility": None,
                "target": type(one.target)(),
                "nodes": {},
            }
        ),
    ]
    assert comparable.differences([*records, *free]) == []


def test_computed_data_may_be_rounded_otherwise_on_another_processor() -> None:
    records = [_computed(r, 0.4685) for r in _records()]
    elsewhere = [_computed(r, 0.4685 + comparable.ROUNDING / 2, "f" * 64) for r in records]
    assert comparable.differences([*records, *elsewhere]) == []
    read = [_changed(r, "data", facts={**r.data.facts, "sha256": "f" * 64}) for r in _records()]
    assert comparable.differences([*_records(), *read]), "a file has the same bits everywhere"


def test_other_scenarios_have_facts_of_their_own() -> None:
    records = _records()
    assert {r.data.facts["sha256"] for r in records} != {records[0].data.facts["sha256"]}
    other = [
        _changed(r, "attack", params={"steps": 1}) for r in records if r.cell.dataset == "faces"
    ]
    kept = [r for r in records if r.cell.dataset != "faces"]
    assert comparable.differences([*kept, *other]) == []


def test_many_differences_are_counted_not_listed() -> None:
    records = _records()
    other = [_changed(_node("data")(r), "data", facts={"sha256": "x"}) for r in records]
    other = [r.model_copy(update={"protocol_version": "2.0"}) for r in other]
    other = [_node("evaluator")(r) for r in other]
    lines = comparable.told(comparable.gather([*records, *other]).differences())
    assert len(lines) == 4
    assert lines[0].startswith("protocol version is 1.0")
    assert lines[1].endswith("(and 3 more like it)")
    assert lines[3] == "also different: evaluator"


def test_between_says_whose_value_it_is() -> None:
    records = _records()
    [found] = comparable.between(
        records, [r.model_copy(update={"protocol_version": "2.0"}) for r in records]
    )
    assert found.values == ("1.0", "2.0")
    assert found.rows[0][0].startswith("A: ")
    assert found.rows[1][0].startswith("B: ")
