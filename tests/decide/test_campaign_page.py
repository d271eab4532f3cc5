"""What a campaign says of a model, as text, Markdown, HTML and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.decide import campaign as campaigns
from bench.decide import campaign_rows, document
from bench.decide.campaign import Campaign
from bench.decide.decision import Decision
from tests.decide import made
from tests.decide.made import Row
from tests.decide.test_recommend import ask

SECTIONS = (
    "How much leaks",
    "Of whom",
    "What to put in front of this model",
    "Since campaign spring",
    "Over retrained copies",
    "Defenses of training, on a stand-in",
    "What to do",
    "What this does not show",
)


def attack(L: float | None, half: float | None = 0.05, **changes: Any) -> dict[str, Any]:
    low, high = (None, None) if L is None or half is None else (L - half, L + half)
    told = {"L": L, "L_lo": low, "L_hi": high, "M": L, "M_lo": low, "M_hi": high}
    return {"goal": "attribute", "access": "scores", "attack": "map", **told, "queries": 160.0} | (
        changes
    )


def defense(name: str, L: float | None = 0.1) -> dict[str, Any]:
    own = {key: value for key, value in attack(L).items() if key not in ("access", "attack")}
    return {**own, "defense": name, "utility": 0.8, "dU": -0.01, "dU_lo": -0.02, "dU_hi": 0.0}


def decision(**rows: Row) -> Decision:
    return ask(made.sources(rows or {"shield": Row()}))


def campaign(**changes: Any) -> Campaign:
    whole = Campaign(
        name="autumn",
        model="scorer",
        dataset="loans",
        access="scores",
        target="f" * 64,
        started="2026-11-01T00:00:00+00:00",
        given={"answers": "probabilities", "digits": 3, "top_k": 2},
        members_known=True,
        victims=40,
        rows=[attack(0.6), attack(0.2, attack="guess", access="labels")],
        defenses=[defense("shield"), defense("none", 0.6)],
        groups={"city: Bern": 0.4},
        exposed={"victims": 80, "certain": 3},
        sent={"sent": 440, "recalled": 12, "refusals": 1},
        decision=decision(),
        compared=campaign_rows.compared([attack(0.6)], [attack(0.1)]),
        against="spring",
        copies=[
            {
                "goal": "attribute",
                "access": "scores",
                "attack": "map",
                "L": [0.5, 0.7],
                "mean": 0.6,
                "sd": 0.14,
            }
        ],
        stand_in=[defense("dp_sgd")],
    )
    return replace(whole, **changes)


def shown(found: Campaign, private: str = "") -> tuple[str, str, str]:
    page = campaigns.document(found, private)
    return document.text(page, 200), document.markdown(page), document.html(page)


@pytest.mark.parametrize(
    ("now", "last", "verdict"),
    [
        (attack(0.6), attack(0.1), "more"),
        (attack(0.1), attack(0.6), "less"),
        (attack(0.15), attack(0.1), "no clear change"),
        (attack(0.1), attack(0.1), "no clear change"),
        (attack(0.9, half=None), attack(0.1), "no clear change"),
        (attack(0.9), attack(0.1, half=None), "no clear change"),
    ],
)
def test_a_change_is_clear_beyond_what_chance_explains(
    now: dict[str, Any], last: dict[str, Any], verdict: str
) -> None:
    (row,) = campaign_rows.compared([now], [last])
    assert row["verdict"] == verdict
    assert row["change"] == pytest.approx(now["L"] - last["L"])


def test_two_intervals_that_touch_may_differ_clearly() -> None:
    """The error of a difference is the root of both squares, here 0.0707 for halves of 0.05."""
    assert campaign_rows.compared([attack(0.175)], [attack(0.1)])[0]["verdict"] == "more"
    assert campaign_rows.compared([attack(0.165)], [attack(0.1)])[0]["verdict"] == "no clear change"


def test_only_what_ran_both_times_and_is_known_is_compared() -> None:
    now = [attack(0.6), attack(0.5, attack="new"), attack(None, attack="dark")]
    last = [attack(0.1, access="labels"), attack(0.1, goal="record"), attack(0.2, attack="dark")]
    assert campaign_rows.compared(now, last) == []
    assert campaign_rows.compared(now, []) == []


def test_every_section_is_on_every_page() -> None:
    for text in shown(campaign()):
        for section in SECTIONS:
            assert section in text
        assert "440" in text
    page = shown(campaign())[2]
    assert "autumn" in page
    assert "scorer" in page


def test_sections_without_content_are_left_out() -> None:
    bare = campaign(
        groups={}, exposed={}, sent={}, compared=(), against="", copies=(), stand_in=(), defenses=()
    )
    for text in shown(bare):
        for section in SECTIONS[1:6]:
            assert section not in text
        assert "How much leaks" in text


def test_figures_of_a_stand_in_are_marked_as_no_evidence() -> None:
    for text in shown(campaign()):
        assert "no evidence" in " ".join(text.split())


def test_what_is_not_known_is_said_so() -> None:
    found = campaign(rows=[attack(None, queries=None)], members_known=False, decision=None)
    for text in shown(replace(found, compared=(), copies=(), stand_in=())):
        assert "not known" in text
        assert "nan" not in text.lower().split()
        assert "None" not in text
        assert "without members" in " ".join(text.split())
    (row,) = campaigns.data(found)["rows"]
    assert row["L"] is None


def test_the_private_file_is_named_on_the_private_page_alone() -> None:
    assert all("exposed.csv" in text for text in shown(campaign(), "x/exposed.csv"))
    assert not any("exposed.csv" in text for text in shown(campaign()))


def test_the_verdict_and_its_tone_follow_from_what_is_known() -> None:
    good = decision(none=replace(made.NONE, L={"guess": 0.05, "map": 0.1}, M=0.0), shield=Row())
    for found, keeps, tone in (
        (campaign(), False, "bad"),
        (campaign(decision=good), True, "good"),
        (campaign(decision=good, unfinished={"dead": 2}), False, "bad"),
        (campaign(decision=None, undecided="It is too little."), False, "warn"),
    ):
        assert found.keeps == keeps
        assert campaigns.verdict(found)[1] == tone
        assert campaigns.data(found)["keeps"] == keeps


def test_an_unfinished_campaign_says_why_and_what_to_do() -> None:
    found = campaign(unfinished={"The server is gone.": 7})
    for text in shown(found):
        assert "not finished" in text
        assert "7 trials" in text
        assert "The server is gone." in text


def test_a_file_is_shown_as_its_owner_can_check_it() -> None:
    given = {"file_sha256": "5a" * 32}
    assert f"sha256 {'5a' * 32}" in shown(campaign(given=given))[0]
    assert "f" * 16 in shown(campaign())[0]


def test_an_unfinished_campaign_recommends_nothing() -> None:
    assert "shield (recommended)" in shown(campaign())[0]
    found = campaign(unfinished={"The server is gone.": 7})
    assert campaigns.data(found)["recommended"] is None
    assert not any("recommended" in text for text in shown(found))


def test_a_rejected_model_says_what_speaks_against_it() -> None:
    found = campaign()
    assert found.decision is not None
    (own,) = [c for c in found.decision.rejected if c.defense == "none"]
    why = campaigns.data(found)["why_not"]
    assert why == [reason for _, reason in own.reasons]
    assert why[0][:20] in " ".join(shown(found)[0].split())
    assert campaigns.data(campaign(decision=None))["why_not"] == []


def test_names_with_markup_do_no_harm() -> None:
    evil = "<script>alert(1)</script>"
    found = campaign(
        model=evil,
        name=evil,
        dataset=evil,
        against=evil,
        rows=[attack(0.6, attack=evil)],
        groups={evil: 0.1},
        unfinished={evil: 1},
    )
    assert "<script>alert" not in shown(found, evil)[2]


def test_it_is_json_as_it_is() -> None:
    told = json.loads(json.dumps(campaigns.data(campaign()), allow_nan=False))
    assert told["redteam"] == 1
    assert told["recommended"] == "shield"
    assert told["copies"][0]["L"] == [0.5, 0.7]
    assert told["stand_in"][0]["defense"] == "dp_sgd"
