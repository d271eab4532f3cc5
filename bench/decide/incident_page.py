"""The record of an incident as data and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.decide import document
from bench.decide.candidates import leak
from bench.decide.document import Block, Code, Document, Drawn, Points, Section, Table
from bench.decide.incident import Incident, controls
from bench.decide.learned import Learned
from bench.goals import goal_named

if TYPE_CHECKING:
    from bench.engine.audit import Audit

FORM = 1
"""Version of the form of ``incident.json``."""


def data(o: Incident) -> dict[str, Any]:
    """Everything as plain data."""
    return {
        "incident": FORM,
        "id": o.id,
        "aware": o.aware.isoformat(),
        "model": o.model.__dict__,
        "evidence": {"suites": o.suites, "scenario": o.scenario and o.scenario.__dict__},
        "accounts": [
            {
                "account": account.name,
                "access": account.access,
                "first_query": account.alarm.first,
                "alarm": account.alarm.time,
                "alarm_query": account.alarm.query,
                "last_query": account.alarm.last,
                "queries": account.alarm.queries,
                "learned_by_alarm": [_plain(item) for item in account.by_alarm],
                "learned_by_end": [_plain(item) for item in account.by_end],
            }
            for account in o.accounts
        ],
        "duties": [
            {
                "law": due.law.name,
                **due.duty.model_dump(exclude_none=True),
                "official": due.law.official,
                "deadline": due.deadline and due.deadline.isoformat(),
            }
            for due in o.dues
        ],
        "controls": [{"do": step, "command": command} for step, command in controls(o)],
        "audit": o.audit.document(),
    }


def _plain(item: Learned) -> dict[str, Any]:
    known: Mapping[str, Any] = item.L.__dict__ if item.L.known else {}
    figures = {"L": dict(known) or None}
    names = ("goal", "asked", "attack", "needs", "tried", "sentence")
    return {**{name: getattr(item, name) for name in names}, **figures}


def page(o: Incident) -> Document:
    """The record as a page."""
    n, audit = len(o.accounts), o.audit
    rate = "and without --benign at no promised rate"
    if audit.benign is not None:
        rate = f"each at a rate of at most {audit.fpr:g}"
    times = "" if audit.dated else " (seconds of the log, whose start is not stated)"
    return Document(
        f"Probing of {o.model.name or 'a model'}",
        "Incident record",
        f"{n} account{'s' * (n != 1)} flagged",
        "bad",
        f"{n} of {audit.audited:,} accounts in {_log(audit)} asked as who probes a model asks. A "
        f"flag is a suspicion: detectors flag ordinary accounts too, {rate}.",
        [
            ("Record", o.id),
            ("Aware since", _moment(o.aware)),
            ("First deadline", _first(o)),
            ("Model", o.model.name or "not named: give --model"),
            ("Its defense", o.model.defense or "not named"),
            ("Contact", o.model.contact or "not named"),
            (
                "Log",
                f"{audit.log}: {audit.queries:,} queries, {audit.first} to {audit.last}{times}",
            ),
            ("Evidence", ", ".join(o.suites) or "none: give --model"),
        ],
        [
            Section("What was noticed", _noticed(o)),
            Section("What the accounts had asked", _asked(o)),
            Section("What they may have learned", _learnt(o)),
            Section("Who must be told, by when", _told(o)),
            Section("What to do now", _steps(o)),
            Section("What is not known", [Points(_unknown(o))]),
        ],
        "No legal advice. Deadlines are computed from the moment of awareness stated above.",
    )


def _log(audit: Audit) -> str:
    return "standard input" if audit.log == "-" else f"'{audit.log}'"


def _moment(when: datetime | None) -> str:
    return "no fixed moment" if when is None else f"{when:%Y-%m-%d %H:%M %Z}".strip()


def _first(o: Incident) -> str:
    due = min((d for d in o.dues if d.deadline), key=lambda d: str(d.deadline), default=None)
    return f"{_moment(due.deadline)}: {due.duty.tell} ({due.law.name})" if due else "none"


def _noticed(o: Incident) -> list[Block]:
    rows = [
        (f.account, f.time, f.detector, f"{f.query:,}", f"{f.statistic:.4g}", f"{f.limit:.4g}")
        for account in o.accounts
        for f in account.flags
    ]
    return [
        Table(("account", "when", "detector", "at its query", "statistic", "threshold"), rows),
        Points(o.audit.notes),
    ]


def _asked(o: Incident) -> list[Block]:
    rows = [
        (
            account.name,
            account.access,
            account.alarm.first,
            f"{account.alarm.query:,}",
            f"{account.alarm.queries - account.alarm.query:,}",
            account.alarm.last,
        )
        for account in o.accounts
    ]
    head = ("account", "got", "first query", "queries up to the alarm", "after it", "last query")
    return [Table(head, rows)]


def _learnt(o: Incident) -> list[Block]:
    if o.scenario is None:
        return ["Not estimated: neither the model nor its evidence is known; --model names it."]
    rows = []
    for account in o.accounts:
        for when, items in (("alarm", account.by_alarm), ("end", account.by_end)):
            rows += [(account.name, when, *_cells(item)) for item in items]
    return [
        f"Estimated from the boards of {', '.join(o.suites)}, {o.scenario.dataset} with "
        f"{o.scenario.model}, row '{o.model.defense}'. L is 0 where nothing is learned that "
        "the data's own statistics do not tell, and 1 where everything is; the figure is of the "
        "strongest attack that asked no more than the account, its victims together.",
        Table(("account", "by the", "threat", "queries", "L", "attack, and what it asked"), rows),
    ]


def _cells(item: Learned) -> tuple[Any, ...]:
    words, L = goal_named(item.goal).words, item.L
    threat, asked = f"{words.code} {words.event}", f"{item.asked:,}"
    if not L.known:
        return threat, asked, "not known", item.sentence or f"{item.attack}: too few seeds"
    value, lo, hi = (min(1.0, max(0.0, v)) for v in (L.value, L.lo, L.hi))
    what = f"{item.attack}, {item.needs:,} queries; strongest of {item.tried}"
    doubt = f"; {item.sentence}" if item.sentence else ""
    return threat, asked, Drawn(leak(L), value, lo, hi, 0.0), f"{what}{doubt}"


def _told(o: Incident) -> list[Block]:
    rows = [
        (
            _moment(due.deadline),
            due.duty.tell,
            due.duty.when + (f"; not if {due.duty.unless}" if due.duty.unless else ""),
            f"{due.law.name}, {due.duty.article}",
        )
        for due in sorted(o.dues, key=lambda d: (d.deadline is None, str(d.deadline)))
    ]
    read = dict.fromkeys(f"{due.duty.article} {due.duty.read}" for due in o.dues)
    laws = {due.law.name: due.law for due in o.dues}.values()
    return [
        "This is no legal advice. Whether this is a breach that must be notified is for the data "
        "protection officer to decide; a flag alone does not say so.",
        Table(("last moment", "tell", "rule", "law"), rows),
        Points([f"{law.name} ({law.text}) applies {law.applies}: {law.official}" for law in laws]),
        f"The rules are put in our words. The text was read at: {'; '.join(read)}.",
    ]


def _steps(o: Incident) -> list[Block]:
    blocks: list[Block] = []
    for i, (step, command) in enumerate(controls(o), 1):
        blocks += [f"{i}. {step}", *([Code(command)] if command else [])]
    return blocks


def _unknown(o: Incident) -> list[str]:
    items = [
        "Whether the accounts attacked the model: detectors see how they asked, not why.",
        "What several accounts learned together: each is counted alone.",
        "What was learned before the log begins, or by ways that it does not record.",
        "Figures are of the benchmark's own attacks on targets like the model; another attack may "
        "need fewer queries.",
    ]
    late = [ran.detector for ran in o.audit.detectors if ran.limit is None]
    return [*items, f"What {', '.join(late)} would have seen: not run."] if late else items


def write(o: Incident, folder: Path) -> Path:
    """Write ``incident.json``, ``incident.html`` and ``incident.md`` into a folder.

    Returns:
        The page.

    Raises:
        UserError: they cannot be written there.
    """
    pages = page(o)
    files = {
        "incident.json": json.dumps(
            data(o), indent=1, ensure_ascii=False, allow_nan=False, default=str
        ),
        "incident.md": document.markdown(pages),
        "incident.html": document.html(pages),
    }
    for name, content in files.items():
        document.save(folder / name, content)
    return folder / "incident.html"
