"""Incidents: deadlines, what queries are worth, what clears a model, and the page."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import Access, UserError
from bench.decide import duties, incident, incident_page
from bench.decide.evidence import Scenario, Source
from bench.decide.incident import Affected, Incident, overdue
from bench.decide.learned import Learned, learned, offers
from bench.engine.audit.result import Audit, Flag, Ran
from bench.engine.conf import config_dir
from bench.engine.config import compose_grid
from tests.decide import made
from tests.decide.made import Row

LOANS = Scenario("loans", "mlp", "credit", "table")
AWARE = datetime(2026, 3, 20, 9, 30, tzinfo=UTC)
LAWS = duties.load()
SHIELD = Row(L={"guess": 0.10, "map": 0.40})


def flag(account: str = "p<1>", query: int = 600, queries: int = 5000, **changes: str) -> Flag:
    told = {"time": "2026-03-19T10:00:00Z", "first": "2026-03-18T10:00:00Z", **changes}
    return Flag(account, "volume", query, told["time"], 9.5, 4.0, queries, told["first"], "later")


def audit(*flags: Flag, answers: str = "scores") -> Audit:
    names = tuple(dict.fromkeys(f.account for f in flags))
    ran = (Ran("volume", 4.0, "", 40), Ran("ood", None, "no records", 0))
    return Audit(
        "q.csv",
        None,
        0.01,
        9000,
        50,
        names,
        True,
        "2026-03-01",
        "2026-03-20",
        answers,
        ran,
        flags,
        ("x",),
    )


@cache
def sources() -> tuple[Source, ...]:
    return made.sources({"shield": SHIELD}, seeds=6)


def worth(defense: str, access: Access, asked: int, found=None) -> Learned:
    (offer,) = offers(found or sources(), LOANS, defense, access)
    return learned(offer, asked)


def record(*flags: Flag, model: Affected | None = None, sector: str = "medical") -> Incident:
    affected = model or Affected("scoring", "shield", "scores", "T2", sector, (), "x@y.z", "m.yaml")
    dues = [*duties.due(duties.load(), sector, AWARE)]
    return incident.incident(audit(*flags or (flag(),)), affected, sources(), LOANS, dues, AWARE)


def test_deadlines_of_both_laws() -> None:
    last = {(d.law.name, d.duty.article): d.deadline for d in duties.due(duties.load(), "", AWARE)}
    assert last["GDPR", "Art. 33(1)"] == datetime(2026, 3, 23, 9, 30, tzinfo=UTC)
    assert last["GDPR", "Art. 34(1)"] is None
    assert last["HIPAA", "45 CFR 164.404(b)"] == datetime(2026, 5, 19, 23, 59, 59, tzinfo=UTC)
    assert last["HIPAA", "45 CFR 164.408(c)"] == datetime(2027, 3, 1, 23, 59, 59, tzinfo=UTC)
    assert {d.law.name for d in duties.due(duties.load(), "credit", AWARE)} == {"GDPR"}


@settings(max_examples=50)
@given(st.integers(0, 60 * 366 * 24 * 60), st.integers(-12, 14))
def test_a_deadline_is_never_short(minutes: int, zone: int) -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    aware = moment.astimezone(timezone(timedelta(hours=zone)))
    for due in duties.due(LAWS, "", aware):
        if due.deadline is not None:
            assert due.deadline - aware >= timedelta(hours=due.duty.hours or 24 * 60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("hours: 72", "hours: 72\n        days: 3"),
        ("hours: 72", "hours: 0"),
        ("hours: 72", "hour: 72"),
        ("https://overview.legal", "overview.legal"),
    ],
)
def test_a_wrong_duty_is_refused(tmp_path: Path, change: str, message: str) -> None:
    text = (config_dir() / "duties.yaml").read_text(encoding="utf-8")
    assert change in text
    path = tmp_path / "duties.yaml"
    path.write_text(text.replace(change, message, 1), encoding="utf-8")
    with pytest.raises(UserError):
        duties.load(path)


@pytest.mark.parametrize(
    ("access", "asked", "attack", "value"),
    [
        ("scores", 499, "", None),
        ("scores", 500, "guess", 0.10),
        ("scores", 5000, "map", 0.40),
        ("labels", 5000, "guess", 0.10),
    ],
)
def test_queries_are_worth_what_attacks_with_no_more_gave(
    access, asked: int, attack: str, value: float | None
) -> None:
    told = worth("shield", access, asked)
    assert (told.goal, told.attack) == ("attribute", attack)
    if value is None:
        assert not told.L.known and "500 at least on 1,000 victims" in told.sentence
    else:
        assert told.L.value == pytest.approx(value) and told.L.lo < value < told.L.hi
        assert told.needs <= asked


def test_nothing_is_guessed_from_another_defense_or_more_access() -> None:
    found = made.sources({"shield": Row(L={"open": 0.9})}, seeds=2)
    for defense, sentence in (("other", "no attack on 'other'"), ("shield", "no attack was")):
        told = worth(defense, "scores", 10**6, found)
        assert not told.L.known and sentence in told.sentence


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9000), st.integers(0, 9000))
def test_more_queries_are_never_worth_less(a: int, b: int) -> None:
    few, many = (worth("shield", "scores", n) for n in sorted((a, b)))
    assert not few.L.known or many.L.hi >= few.L.hi


def test_the_record_tells_alarm_from_end() -> None:
    (account,) = record(flag(query=900), flag(query=600)).accounts
    assert account.alarm.query == 600
    assert account.by_alarm[0].attack == "guess" and account.by_end[0].attack == "map"


def test_who_holds_the_weights_has_them_whatever_the_log_says() -> None:
    model = Affected("scoring", "shield", "scores", "T2", "credit", ("partner",))
    made_of = record(flag("partner"), flag("other"), model=model)
    assert {a.name: a.access for a in made_of.accounts} == {"partner": "weights", "other": "scores"}
    assert any("replace the model" in step for step, _ in incident.controls(made_of))


def test_without_an_alarm_there_is_no_incident() -> None:
    with pytest.raises(UserError, match="No account was flagged"):
        incident.incident(audit(), Affected(), (), None, (), AWARE)


def test_commands_can_be_pasted() -> None:
    model = Affected("scoring", "rounding[decimals=1]", "scores", "T2", "credit", (), "", "m.yaml")
    commands = [c for _, c in incident.controls(record(model=model)) if c]
    runs = [shlex.split(c)[2:] for c in commands if c.startswith("invbench run")]
    assert len(runs) == 2 and any(c.startswith("invbench gate default m.yaml") for c in commands)
    names = []
    for words in runs:
        kept = [w for w in words if w.startswith(("'defense", "defense"))]
        names.append([o.name for o in compose_grid(kept).options["defense"]])
    assert names[0] == [
        "none",
        "rounding[decimals=1]",
        "query_budget[queries=300]",
        "rate_limit",
        "label_only",
    ]
    assert names[1] == ["none", "rounding[decimals=1]"]


def test_the_files_hold_the_same_and_no_markup_of_the_log(tmp_path: Path) -> None:
    page = incident_page.write(record(flag("<script>x_y|z")), tmp_path / "deep" / "out")
    html, markdown = page.read_text(), page.with_suffix(".md").read_text()
    told = json.loads(page.with_suffix(".json").read_text())
    assert "<script>" not in html and "<script>" not in markdown
    assert told["accounts"][0]["account"] == "<script>x_y|z"
    assert told["duties"][0]["deadline"] == "2026-03-23T09:30:00+00:00"
    assert told["accounts"][0]["learned_by_end"][0]["L"]["value"] == pytest.approx(0.40)
    for text in ("2026-03-23 09:30", "No legal advice", "0.40 [", "164.404(b)", "invbench run"):
        assert text in html and text in markdown.replace("\\_", "_")


@pytest.mark.parametrize(
    ("first", "moments", "newest"),
    [
        ("2026-03-01T00:00:00+00:00", [], ""),
        ("2026-03-01T00:00:00+00:00", ["2026-02-28T23:59:59+00:00"], ""),
        ("2026-03-01T00:00:00+00:00", ["2026-03-01T00:30:00+01:00"], ""),
        ("2026-03-01T00:00:00+00:00", ["2026-03-01T00:00:00+00:00"], "2026-03-01T00:00:00+00:00"),
        (
            "2026-03-01T00:00:00+00:00",
            ["2026-01-01T00:00Z", "2026-04-01T00:00Z"],
            "2026-04-01T00:00Z",
        ),
    ],
)
def test_only_evidence_of_after_every_incident_clears(
    first: str, moments: list[str], newest: str
) -> None:
    assert overdue(first, moments) == newest
