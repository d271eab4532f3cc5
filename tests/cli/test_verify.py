from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.contract.record import TrialRecord
from bench.exchange import pack
from bench.exchange.rerun import compare
from bench.exchange.verify import judged
from bench.report import boards, frame, tables
from tests.cli.conftest import CONF
from tests.report import fake_records as fake

RUN = ("--config-dir", CONF, "progress=none", "--allow-code", "tests")


def _again(path: Path, to: Path, change: Callable[[TrialRecord], TrialRecord]) -> TrialRecord:
    """Write a pack anew, digests and all, with one record changed; that record as it was."""
    found = pack.read(path)
    records = list(found.records)
    at = next(i for i, r in enumerate(records) if r.access == "scores")
    old, records[at] = records[at], change(records[at])
    pack.write(replace(found, records=records), to)
    return old


def _score(record: TrialRecord, **values: float) -> TrialRecord:
    assert record.score is not None
    return record.model_copy(update={"score": record.score.model_copy(update=values)})


@pytest.mark.slow
def test_an_honest_pack_is_verified_and_the_outcome_is_noted(verb, packed, tmp_path: Path) -> None:
    path = packed("strong", to="folder")
    before = pack.read(path).digest
    code, out, err = verb("verify", path, "--sample", "2", "--write", "--by", "me", *RUN)
    assert code == 0, out + err
    assert out.count("identical: toy/toy/") == 2
    assert "all of the 2 trials run again agree" in out
    noted = pack.read(path)
    assert noted.digest == before, "what is said of a pack later is no part of it"
    assert noted.notes["submitter"] == "strong"
    said = noted.notes["verification"]
    assert said == json.loads((path / "verification.json").read_text())
    assert (said["by"], said["outcome"], said["pack"]) == ("me", "verified", before)
    assert [t["outcome"] for t in said["trials"]] == ["identical"] * 2
    assert said["environment"]["torch"]


def test_without_training_it_only_says_that_it_follows(verb, packed) -> None:
    code, out, _ = verb("verify", packed("weak"), "--sample", "0")
    assert code == 0
    assert out.splitlines()[-1].startswith("Consistent: ")
    assert "no trial was run again" in out


def test_one_digit_changed_is_caught_and_named(verb, packed, tmp_path: Path) -> None:
    path, to = packed("weak"), tmp_path / "changed.zip"
    old = _again(path, to, lambda r: _score(r, L=(r.score.L or 0.0) + 0.1 if r.score else 0.0))
    code, out, _ = verb("verify", to, "--sample", "0")
    assert code == 1
    assert f"NOT verified: {old.cell.key()} ({old.trial_id[:12]}): L is " in out
    assert "give" in out


def test_a_byte_changed_is_caught_by_its_digest(verb, packed) -> None:
    path = packed("weak", to="folder")
    data = bytearray((path / pack.RECORDS).read_bytes())
    data[len(data) // 2] ^= 1
    (path / pack.RECORDS).write_bytes(data)
    code, out, _ = verb("verify", path, "--sample", "0")
    assert code == 1
    assert f"NOT verified: '{pack.RECORDS}' in '{path}' is not what the pack was made with" in out


def test_a_leaderboard_that_drifted_is_named(verb, packed) -> None:
    path = packed("strong", to="folder")
    found = pack.read(path)
    made = boards.build(frame.build(found.records, found.suite))
    table = tables.leaderboard_csv(made, found.suite)
    pack.write(found, path, {"leaderboard.csv": table.encode()})
    code, out, _ = verb("verify", path, "--sample", "0")
    assert code == 0, out
    assert "3 rows of leaderboard.csv" in out
    value = f"{made.rows['utility'].iloc[0]:.6g}"
    assert value in table
    pack.write(found, path, {"leaderboard.csv": table.replace(value, "0.123456", 1).encode()})
    code, out, _ = verb("verify", path, "--sample", "0")
    assert code == 1
    assert f"utility is 0.123456, the records give {value}" in out


@pytest.mark.slow
def test_a_consistent_lie_is_caught_by_running_it_again(verb, packed, tmp_path: Path) -> None:
    def lie(record: TrialRecord) -> TrialRecord:
        s = record.score
        assert s is not None
        value = s.value - 0.2
        return _score(record, value=value, L=(value - s.s_base) / (s.s_ceil - s.s_base))

    path, to = packed("strong"), tmp_path / "lie.zip"
    old = _again(path, to, lie)
    code, out, _ = verb("verify", to, "--sample", "0")
    assert code == 0, "nothing but running it can tell"
    code, out, _ = verb("verify", to, "--sample", "99", *RUN)
    assert code == 1
    assert f"NOT verified: {old.cell.key()}: not the same (score)" in out


def test_elsewhere_a_trial_may_fall_anywhere_in_its_rows_interval() -> None:
    old = fake.trial("diabetes", "mlp", "none", "neuron", 0)
    new = _score(old, L=old.score.L + 0.05 if old.score and old.score.L else 0.0)
    there = new.model_copy(update={"env": {**new.env, "device": "cuda"}})
    leak = there.score.L if there.score else None
    assert leak is not None

    def outcome(record: TrialRecord, ends: tuple[float, float] | None) -> str:
        said = {"L": ends} if ends else None
        return str(judged(old, record, compare(old, record), said)["outcome"])

    assert outcome(there, (leak - 0.1, leak + 0.1)) == "within the interval"
    assert outcome(there, (leak + 0.02, leak + 0.1)) == "different"
    assert outcome(there, (leak + 0.005, leak + 0.005)) == "within the interval", "no spread"
    assert outcome(there, None) == "different"
    assert outcome(new, (leak - 0.1, leak + 0.1)) == "different", "nothing excuses it here"
    gap = there.score.M + 0.05 if there.score and there.score.M is not None else 0.05
    assert outcome(_score(there, M=gap), (leak - 0.1, leak + 0.1)) == "different", "M is off too"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.zip"], "is no pack"),
        (["nowhere.zip", "--sample", "-1"], "--sample is -1"),
        (["nowhere.zip", "--write"], "give --by NAME"),
    ],
)
def test_mistakes(verb, words: list[str], message: str) -> None:
    code, _, err = verb("verify", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_data_that_is_elsewhere_leaves_trials_out_and_says_how_many(
    verb, packed, tmp_path: Path
) -> None:
    path, to = packed("weak"), tmp_path / "elsewhere.zip"
    found = pack.read(path)
    words = [*found.manifest["overrides"], "+dataset.toy.needs_file=absent.csv"]
    told = {**found.manifest, "overrides": words, "command": pack.command_of(words)}
    pack.write(replace(found, manifest=told), to)
    code, out, _ = verb("verify", to, *RUN)
    assert code == 0
    assert "not run: nothing can be run here; 9 trials are not in the grid here" in out
    assert out.splitlines()[-1].startswith("Consistent: ")


def _rewritten(path: Path, to: Path, keep: Callable[[TrialRecord], bool], **manifest: Any) -> str:
    """Write a pack anew with some of its records, and its manifest agreeing; its output."""
    found = pack.read(path)
    records = [r for r in found.records if keep(r)]
    trials = {r.trial_id: r.cell.key() for r in records}
    told = {**found.manifest, "trials": trials, **manifest}
    pack.write(replace(found, records=records, manifest=told), to)
    return to.name


def test_a_trial_left_out_of_the_records_alone_is_named(verb, packed, tmp_path: Path) -> None:
    path, to = packed("weak"), tmp_path / "less.zip"
    found = pack.read(path)
    pack.write(replace(found, records=list(found.records)[1:]), to)
    code, out, _ = verb("verify", to, "--sample", "0")
    assert code == 1
    assert out.splitlines()[-1].endswith("has no record.")


def test_a_trial_left_out_everywhere_is_missed_in_its_grid(verb, packed, tmp_path: Path) -> None:
    path, to = packed("weak"), tmp_path / "less.zip"
    dropped = "toy/toy/toy_training/toy[does=idle]/1"
    _rewritten(path, to, lambda r: r.cell.key() != dropped)
    code, out, _ = verb("verify", to, "--sample", "0")
    assert code == 0, "without its grid nobody can tell"
    code, out, _ = verb("verify", to, *RUN)
    assert code == 1
    assert f"NOT verified: {dropped} is in its grid and has no record" in out


def test_what_is_only_said_to_be_ruled_out_is_named(verb, packed, tmp_path: Path) -> None:
    path, to = packed("weak"), tmp_path / "claims.zip"
    claim = {"what": "toy x toy x toy_training x other", "reason": "cannot", "count": 3}
    _rewritten(path, to, lambda r: True, skipped=[claim])
    code, out, _ = verb("verify", to, *RUN)
    assert code == 1
    assert "it says that toy x toy x toy_training x other was ruled out" in out


def test_other_seeds_under_the_names_of_these_are_noticed(
    verb, packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds 1 and 2 called each other: the records hold, but the grid has other trials there."""
    path, to = packed("weak"), tmp_path / "swapped.zip"
    found = pack.read(path)
    commit = {"commit": "c0ffee", "dirty": False}

    def swapped(record: TrialRecord) -> TrialRecord:
        seed = {1: 2, 2: 1}.get(record.cell.seed, record.cell.seed)
        return record.model_copy(
            update={
                "cell": record.cell.model_copy(update={"seed": seed}),
                "env": {**record.env, "git": commit},
                "flags": [flag for flag in record.flags if flag != "dirty"],
            }
        )

    records = [swapped(r) for r in found.records]
    trials = {r.trial_id: r.cell.key() for r in records}
    told = {**found.manifest, "trials": trials, "config_dir": None}
    pack.write(replace(found, records=records, manifest=told), to)
    code, out, _ = verb("verify", to, "--sample", "0")
    assert code == 0, out
    monkeypatch.setattr("bench.exchange.verify.git_state", lambda: commit)
    code, out, _ = verb("verify", to, *RUN)
    assert code == 1
    assert "is another trial than the one of that name in its grid" in out


def test_another_protocol_is_refused_by_name(verb, packed, tmp_path: Path) -> None:
    path, to = packed("weak"), tmp_path / "old.zip"
    found = pack.read(path)
    old = [r.model_copy(update={"protocol_version": "0"}) for r in found.records]
    pack.write(replace(found, records=old), to)
    code, out, _ = verb("verify", to)
    assert code == 1
    assert "NOT verified: its records are of protocol version 0, this program is of" in out


def test_a_text_that_drifted_is_named(verb, packed) -> None:
    path = packed("strong", to="folder")
    found = pack.read(path)
    said = found.tables["leaderboard.md"].decode().replace("| none |", "| nope |", 1)
    pack.write(found, path, {**found.tables, "leaderboard.md": said.encode()})
    code, out, _ = verb("verify", path, "--sample", "0")
    assert code == 1
    assert "NOT verified: leaderboard.md, line " in out


def test_options_that_are_not_here_are_asked_for(verb, packed) -> None:
    code, _, err = verb("verify", packed("weak"))
    assert code == 2
    assert "leaderboard.csv" in err, "what needs no grid is said first"
    assert "cannot be composed here" in err
    assert "--config-dir" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_from_another_source_it_is_judged_by_the_interval_and_that_is_said(
    verb, packed, tmp_path: Path
) -> None:
    path = packed("strong")
    code, out, err = verb("verify", path, "--sample", "1", *RUN, "victims=20")
    assert "  changed: " in out, out + err
    assert "have another identity here" in out
    assert "row's interval for one seed" in out or "close" in out
    found, to = pack.read(path), tmp_path / "far.zip"

    def away(record: TrialRecord) -> TrialRecord:
        score = record.score
        if score is None or record.access == "none":
            return record
        return _score(record, value=score.s_base - 9 * (score.s_ceil - score.s_base), L=-9.0)

    far = [away(r) for r in found.records]
    pack.write(replace(found, records=far), to)
    code, out, _ = verb("verify", to, "--sample", "1", *RUN, "victims=20")
    assert code == 1
    assert "Its source has changed since: check out its commit and verify there" in out
