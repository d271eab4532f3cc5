from __future__ import annotations

import json
from typing import Any

import pytest

from bench.contract.record import Cell, TrialRecord
from bench.report import boards, controls, frame
from tests.report import fake_records as fake

ATTACK = "latent[loss=logit]"


def _record(
    defense: str = "none",
    attack: str = ATTACK,
    seed: int = 0,
    control: str = "",
    name: tuple[str, str] | None = None,
    extra: dict[str, float] | None = None,
    sha: str = "a",
    **score: Any,
) -> TrialRecord:
    """A trial of the faces; ``name`` renames its defense and attack."""
    record = fake.trial("faces", "mlp", defense, attack, seed)
    shown = name or (defense, attack)
    return record.model_copy(
        update={
            "control": control,
            "trial_id": f"{'/'.join(shown)}/{control}/{seed}",
            "cell": Cell(
                dataset="faces", model="mlp", defense=shown[0], attack=shown[1], seed=seed
            ),
            "score": record.score.model_copy(update={"extra": extra or {}, **score}),
            "attack": record.attack.model_copy(update={"sha256": sha}),
        }
    )


def _plain(seeds: int = 4, **changes: Any) -> list[TrialRecord]:
    return [_record(seed=s, **changes) for s in range(seeds)]


def _check(records: list[TrialRecord], name: str) -> dict[str, Any]:
    table = controls.judge(frame.build(records, "fake"))
    (row,) = table[table["check"] == name].to_dict("records")
    return row


def _untrained(leaks: list[float], attack: str = ATTACK) -> list[TrialRecord]:
    return [
        _record(seed=s, control="untrained", name=("untrained", attack), L=leak)
        for s, leak in enumerate(leaks)
    ]


def test_an_untrained_target_must_give_nothing() -> None:
    assert _check(_plain() + _untrained([0.0, 0.05, -0.05, 0.02]), "untrained")["state"] == "pass"
    found = _check(_plain() + _untrained([0.3, 0.35, 0.28, 0.31]), "untrained")
    assert (found["state"], found["of"], found["code"]) == ("fail", ATTACK, "C1")


def test_one_lucky_attack_of_many_is_no_failure() -> None:
    lucky = _untrained([0.02, 0.12, 0.14, 0.01], "lucky")
    many = [r for i in range(12) for r in _untrained([0.0, 0.01, -0.01, 0.0], f"other{i}")]
    assert _check(_plain() + lucky + many, "untrained")["state"] == "pass"


def test_a_control_that_did_not_finish_is_unknown() -> None:
    broken = _untrained([0.0, 0.0])
    broken[1] = broken[1].model_copy(update=fake.broken("failed", "ValueError", "No."))
    assert _check(_plain() + broken, "untrained")["state"] == "unknown"
    assert _check(_plain(1) + _untrained([0.0]), "untrained")["state"] == "unknown"


def test_a_failing_control_voids_the_scenario_and_no_other() -> None:
    records = fake.build() + _untrained([0.3, 0.35, 0.28])
    found = boards.build(frame.build(records, "fake"))
    void = found.rows[frame.flagged(found.rows, "void")]
    assert set(zip(void["dataset"], void["model"], strict=True)) == {("faces", "mlp")}
    assert len(void) == len(found.rows.query("dataset == 'faces' and model == 'mlp'"))
    kinds = {kind for key, notes in found.notes.items() for kind, _ in notes if key[1] == "faces"}
    assert "void" in kinds
    assert "untrained" not in set(found.rows["defense"])


def test_permuted_targets_are_at_chance() -> None:
    level = {"chance": 0.05}
    assert _check(_plain(extra=level | {"permuted": 0.05}), "permuted")["state"] == "pass"
    assert _check(_plain(extra=level | {"permuted": 0.4}), "permuted")["state"] == "fail"


def test_baselines_are_at_chance() -> None:
    blind = _plain(attack="public_mean", extra={"chance": 0.05}, value=0.5)
    assert _check(_plain() + blind, "baselines")["state"] == "fail"
    blind = _plain(attack="public_mean", extra={"chance": 0.05}, value=0.06)
    assert _check(_plain() + blind, "baselines")["state"] == "pass"


@pytest.mark.parametrize(
    ("heldout", "oracle", "state"), [(0.97, 0.9, "pass"), (0.94, 0.9, "fail"), (0.97, 0.8, "fail")]
)
def test_judges_must_know_the_people(heldout: float, oracle: float, state: str) -> None:
    judges = {"committee_ceiling": heldout, "committee_oracle": oracle}
    records = [r.model_copy(update={"evaluator": judges}) for r in _plain()]
    assert _check(records, "evaluators")["state"] == state


@pytest.mark.parametrize(
    ("gains", "state"),
    [
        ([0.0, 0.01, 0.02, 0.0], "pass"),
        ([0.1, 0.12, 0.08, 0.11], "fail"),
        ([0.3, -0.2, 0.2, -0.1], "pass"),
    ],
)
def test_doubling_the_steps_adds_little(gains: list[float], state: str) -> None:
    plain = _plain(value=0.5)
    twice = [
        _record(seed=s, control="doubled", name=("none", f"doubled[{ATTACK}]"), value=0.5 + gain)
        for s, gain in enumerate(gains)
    ]
    assert _check(plain + twice, "doubled")["state"] == state
    assert _check(plain[:2] + twice, "doubled")["state"] == "unknown"


def _again(control: str, sha: str, env: dict[str, Any] | None = None, **score: Any) -> TrialRecord:
    """The first plain trial again, or under a defense of no strength."""
    name = {"repeat": ("none", f"repeat[{ATTACK}]"), "zero": ("zero[dropout]", ATTACK)}[control]
    made = _record(control=control, name=name, sha=sha, **score)
    return made.model_copy(update={"env": {**made.env, **(env or {})}})


@pytest.mark.parametrize("control", ["repeat", "zero"])
def test_the_same_again_is_the_same_bit_for_bit(control: str) -> None:
    for sha, state in (("a", "pass"), ("b", "fail")):
        found = _check([*_plain(), _again(control, sha)], control)
        assert found["state"] == state
    assert found["of"] == {"repeat": ATTACK, "zero": "dropout"}[control]


@pytest.mark.parametrize("control", ["repeat", "zero"])
@pytest.mark.parametrize(
    "env",
    [{"host": "another"}, {"device": "A GPU"}, {"elsewhere": {"target": {"replicas": 16}}}],
    ids=["host", "device", "replicas"],
)
def test_elsewhere_the_same_again_is_within_the_tolerance(control: str, env: dict) -> None:
    plain = _plain(L=0.5, M=0.1)
    for score, state in (
        ({"L": 0.509}, "pass"),
        ({"L": 0.511}, "fail"),
        ({"L": 0.5, "M": 0.12}, "fail"),
        ({"L": None, "value": 0.9}, "fail"),
    ):
        again = _again(control, "b", env, **{"M": 0.1, **score})
        assert _check([*plain, again], control)["state"] == state, score
    moved = _again(control, "b", env, L=0.5, M=0.1)
    assert moved.utility is not None
    useless = moved.utility.model_copy(update={"value": moved.utility.value - 0.02})
    useless_again = moved.model_copy(update={"utility": useless})
    assert _check([*plain, useless_again], control)["state"] == "fail"


def test_it_is_said_how_many_were_compared_bit_for_bit_and_what_differed() -> None:
    attacks = [ATTACK, "brep"]
    plain = [_record(attack=attack) for attack in attacks]
    again = [
        _record(attack=attack, control="repeat", name=("none", f"repeat[{attack}]"))
        for attack in attacks
    ]
    again[1] = again[1].model_copy(update={"env": {**again[1].env, "host": "another"}})
    found = _check([*plain, *again], "repeat")
    assert found["state"] == "pass"
    assert all(text in found["bar"] for text in ("1 compared bit for bit", "1 by a tolerance"))
    assert "host: one -> another" in found["bar"]


def test_records_that_do_not_state_their_environment_are_compared_within_the_tolerance() -> None:
    bare = [r.model_copy(update={"env": {}}) for r in _plain(L=0.5, M=0.1)]
    again = _again("repeat", "b", L=0.505, M=0.1).model_copy(update={"env": {}})
    assert _check([*bare, again], "repeat")["state"] == "pass"


def test_temperature_must_not_look_safer() -> None:
    plain = _plain(L=0.8)
    for leak, state in ((0.8, "pass"), (0.3, "fail")):
        flat = [
            _record(seed=s, control="temperature", name=("temperature", ATTACK), L=leak + s / 100)
            for s in range(4)
        ]
        assert _check(plain + flat, "temperature")["state"] == state


def test_the_canary_must_be_as_strong_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "stored", lambda: {ATTACK: {"success": 0.9, "se": 0.03}})
    for value, state in ((0.85, "pass"), (0.6, "fail")):
        bird = _record(control="canary", name=("canary", ATTACK), value=value)
        assert _check([*_plain(), bird], "canary")["state"] == state
    unknown = _record(control="canary", name=("canary", "new"))
    assert _check([*_plain(), unknown], "canary")["state"] == "unknown"


def test_the_stored_canary_is_sane() -> None:
    for name, entry in controls.stored().items():
        assert set(entry) == {"success", "se"}, name
        assert 0 <= entry["success"] <= 1
        assert 0 < entry["se"] < 0.2
    json.dumps(dict(controls.stored()))


def test_no_control_is_no_check() -> None:
    table = controls.judge(frame.build(_plain(), "fake"))
    assert set(table["check"]) == {"utility"}


def _trained(control: str, gaps: list[float]) -> list[TrialRecord]:
    return [
        _record(seed=s, control=control, name=(control, ATTACK), M=gap)
        for s, gap in enumerate(gaps)
    ]


def test_an_overfit_target_must_say_more_of_its_members() -> None:
    overfit, early = [0.2, 0.25, 0.22, 0.21], [0.01, 0.0, 0.02, -0.01]
    found = _check(
        _plain() + _trained("overfit", overfit) + _trained("early_stopped", early), "overfit"
    )
    assert (found["state"], found["of"], found["code"]) == ("pass", ATTACK, "C3")
    for gaps, base in ((early, [-0.1] * 4), (overfit, [0.4] * 4)):
        records = _plain() + _trained("overfit", gaps) + _trained("early_stopped", base)
        assert _check(records, "overfit")["state"] == "fail"
    assert _check(_plain() + _trained("overfit", overfit), "overfit")["state"] == "unknown"
