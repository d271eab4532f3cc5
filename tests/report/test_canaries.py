"""An audit that could not fail has not passed, on pages and in files."""

from __future__ import annotations

import csv
import io
from typing import Any

from bench.contract.record import PrivacyAudit, TrialRecord
from bench.report import boards, canaries, frame, tables
from tests.report import fake_records as fake


def audited(*told: dict[str, Any] | None) -> list[TrialRecord]:
    """Records whose claims were audited so, seed by seed; None: no audit is recorded."""
    found = []
    for plain in fake.build(len(told)):
        said = told[plain.cell.seed] if plain.privacy is not None else None
        audit = None
        if said is not None and plain.privacy is not None:
            audit = PrivacyAudit(**({"epsilon": plain.privacy.epsilon, "unit": "record"} | said))
        found.append(plain.model_copy(update={"privacy_audit": audit}))
    return found


def guessed(refuted: bool | None, lower: float = 0.5, most: float | None = 20.0) -> dict[str, Any]:
    numbers = {"canaries": 400, "guesses": 380, "right": 300}
    return numbers | {"refuted": refuted, "epsilon_lower": lower, "epsilon_most": most}


def verdicts(*told: dict[str, Any] | None) -> tuple[str, str]:
    """The verdict of a claim of 0.996, and what a page says of it."""
    table = frame.build(audited(*told), "s")
    done = table[table["status"] == "done"]
    rows = canaries.audits(done, ["defense"])
    assert (rows.loc[rows["audit"] == "", "epsilon_lower"].isna()).all(), "who claims nothing"
    (row,) = rows[rows["defense"] == "dp_sgd[epsilon=1]"].to_dict("records")
    return row["audit"], canaries.sentence(row)


def test_a_claim_that_could_have_been_refuted_and_was_not() -> None:
    verdict, said = verdicts(guessed(False), guessed(False, 0.7))
    assert verdict == "not refuted"
    assert said == "at least 0.70, not refuted; could refute up to 20.00"


def test_one_seed_of_three_is_told_and_two_refute() -> None:
    assert verdicts(guessed(True, 9.0), guessed(False), guessed(False)) == (
        "not refuted",
        "at least 9.00, refuted on 1 of 3 seeds; could refute up to 20.00",
    )
    assert verdicts(guessed(True, 9.0), guessed(True), guessed(False))[0] == "refuted"


def test_what_could_not_fail_has_not_passed() -> None:
    verdict, said = verdicts(guessed(False, 0.5, 0.9), guessed(False, 0.5, 0.8))
    assert verdict == "no test" and said.endswith("no test: claims above 0.90 cannot be refuted")
    # Old records may not say what they could refute.
    assert verdicts(guessed(None, 0.5, None))[0] == "no test"
    assert verdicts(guessed(None, 99.0))[0] == "refuted"


def test_what_was_not_audited_says_why() -> None:
    because = {"reason": "there are too few people that differ"}
    assert verdicts(because) == (
        "not audited",
        "not audited: there are too few people that differ",
    )
    assert verdicts(None) == ("not audited", "not audited")
    assert verdicts(because, guessed(False))[0] == "not refuted"


def test_files_say_so() -> None:
    table = frame.build(audited(guessed(False), guessed(False, 0.7)), "s")
    rows = boards.build(table)
    text = tables.leaderboard_csv(rows, "s")
    by_claim = {bool(row["epsilon"]): row for row in csv.DictReader(io.StringIO(text))}
    assert by_claim[True]["audit"] == "not refuted"
    assert float(by_claim[True]["epsilon_lower"]) == 0.7
    assert float(by_claim[True]["epsilon_most"]) == 20
    assert by_claim[False]["audit"] == by_claim[False]["epsilon_most"] == ""
