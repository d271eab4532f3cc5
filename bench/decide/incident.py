"""The record of an incident: what was noticed, what it may have revealed, whom to tell, what to do.

PROTOCOL 8.5. Plain data from an audit of a log, the evidence of the model and the duties of law.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.contract.access import Access
from bench.contract.errors import require
from bench.decide import document
from bench.decide.document import Block, Code, Document, Drawn, Points, Section, Table
from bench.decide.duties import Due
from bench.decide.evidence import Scenario, Source
from bench.decide.learned import Learned, learned
from bench.goals import goal_named

if TYPE_CHECKING:
    from bench.engine.audit import Audit, Flag

FORM = 1
"""Version of the form of ``incident.json``."""


@dataclass(frozen=True)
class Affected:
    """The model whose log was audited.

    Attributes:
        name: in the inventory; empty: it is not known.
        defense: the row of the boards that guards it.
        access: what accounts get; empty: what the log shows.
        tier, sector: of its description; empty: not known.
        shared_with: who has its weights.
        contact: whom its description names for incidents.
        described: the description's file, for the commands; empty: none.
    """

    name: str = ""
    defense: str = "none"
    access: str = ""
    tier: str = ""
    sector: str = ""
    shared_with: tuple[str, ...] = ()
    contact: str = ""
    described: str = ""


@dataclass(frozen=True)
class Account:
    """A flagged account.

    Attributes:
        name: in the log. access: what it had.
        flags: its alarms, the first one first.
        by_alarm: what its queries up to the first alarm may have told it, by goal.
        by_end: the same of all its queries in the log.
    """

    name: str
    access: Access
    flags: tuple[Flag, ...]
    by_alarm: tuple[Learned, ...]
    by_end: tuple[Learned, ...]

    @property
    def alarm(self) -> Flag:
        """The first one."""
        return self.flags[0]


@dataclass(frozen=True)
class Incident:
    """What is known of an incident.

    Attributes:
        aware: the moment from which deadlines run, with its time zone.
        audit: of the log.
        model: whose log it is.
        scenario: of the evidence; None: there is none.
        suites: names of the evidence.
        attacks: options of the attacks in it.
        accounts: the flagged ones.
        dues: whom to tell, by when.
    """

    aware: datetime
    audit: Audit
    model: Affected
    scenario: Scenario | None
    suites: tuple[str, ...]
    attacks: tuple[str, ...]
    accounts: tuple[Account, ...]
    dues: tuple[Due, ...]

    @property
    def id(self) -> str:
        """Names it: the day, and a digest of the log's flags and the model."""
        named = [
            self.model.name,
            self.audit.log,
            [list(f.__dict__.values()) for f in self.audit.flags],
        ]
        digest = hashlib.sha256(json.dumps(named, default=str).encode()).hexdigest()[:6]
        return f"incident-{self.aware:%Y%m%d}-{digest}"


def incident(
    audit: Audit,
    model: Affected,
    sources: Sequence[Source],
    scenario: Scenario | None,
    dues: Sequence[Due],
    aware: datetime,
) -> Incident:
    """Put together what is known.

    Args:
        audit: of the log.
        model: whose log it is.
        sources: its evidence; may be none.
        scenario: of the evidence; None: there is none.
        dues: whom to tell, by when.
        aware: the moment of awareness, with a time zone.

    Raises:
        UserError: no account was flagged: there is nothing to record.
    """
    require(
        bool(audit.flags),
        "No account was flagged, so there is no incident to record; leave out --incident.",
    )
    accounts = []
    for name in audit.flagged:
        flags = tuple(sorted((f for f in audit.flags if f.account == name), key=lambda f: f.query))
        shared = name in model.shared_with
        access = cast(Access, "weights" if shared else audit.answers or model.access or "scores")
        told = [
            tuple(learned(sources, scenario, model.defense, access, asked)) if scenario else ()
            for asked in (flags[0].query, flags[0].queries)
        ]
        accounts.append(Account(name, access, flags, *told))
    attacks = {
        name.partition("[")[0]
        for source in sources
        if scenario is not None
        for name, access in source.trials(scenario)[["attack", "access"]].itertuples(index=False)
        if access != "none"
    }
    return Incident(
        aware,
        audit,
        model,
        scenario,
        tuple(dict.fromkeys(source.suite for source in sources)),
        tuple(sorted(attacks)),
        tuple(accounts),
        tuple(dues),
    )


def overdue(evidence_first: str, incidents: Sequence[str]) -> str:
    """The newest of some incidents that evidence does not cover; empty: it covers all.

    Evidence counts only if every trial of it was recorded after the incident.

    Args:
        evidence_first: when its oldest trial was recorded (RFC 3339).
        incidents: moments of awareness (ISO 8601 with a time zone).
    """
    first = datetime.fromisoformat(evidence_first)
    newest = max(incidents, key=datetime.fromisoformat, default="")
    return newest if newest and datetime.fromisoformat(newest) >= first else ""


def expired_on(aware: datetime) -> date:
    """The last day that evidence of before an incident is valid: the day before it."""
    return aware.date() - timedelta(days=1)


# ---------------------------------------------------------------- what to do
def controls(o: Incident) -> list[tuple[str, str]]:
    """What to do, and the command for it; empty where there is none here."""
    names = ", ".join(f"'{account.name}'" for account in o.accounts[:5])
    more = f" and {len(o.accounts) - 5} more" if len(o.accounts) > 5 else ""
    steps = [
        (f"Block {names}{more} at the gateway, and keep the log as it is.", ""),
        ("Replace the accounts' keys and tokens, and those of whoever shared them.", ""),
    ]
    if any(account.access == "weights" for account in o.accounts):
        steps.append(("Who holds the weights needs no queries: replace the model.", ""))
    if o.scenario is None:
        return [*steps, ("Attack the model again; name its evidence for the command.", "")]
    after, place = f"{o.id}-after", f"--dataset {o.scenario.dataset} --model {o.scenario.model}"
    asked = max(1, min(account.alarm.query for account in o.accounts) // 2)
    limits = f"query_budget,rate_limit,label_only] defense.query_budget.sweep={{queries:[{asked}]}}"
    tier = f"--tier {o.model.tier}" if o.model.tier else "--tier T2"
    access = o.accounts[0].access
    steps += [
        (
            "Measure what a query budget (half of what the first alarm took), a rate limit and "
            "labels alone would have prevented.",
            _run(o, limits, f"{o.id}-limits"),
        ),
        (
            "Choose among them.",
            f"invbench recommend {o.id}-limits {place} --access {access} {tier}",
        ),
        (
            "Attack the model as it is again, every trial anew: only evidence recorded after the "
            "incident clears it.",
            _run(o, f"{_option(o.model.defense)[0]}]{_option(o.model.defense)[1]}", after),
        ),
    ]
    if o.model.described:
        steps.append(
            (
                f"Name '{after}' as evidence in '{o.model.described}', add the line "
                f'incidents: ["{o.aware.isoformat()}"] to it, and let the gate judge again.',
                f"invbench gate default {o.model.described} --register",
            )
        )
    return steps


def _run(o: Incident, defenses: str, label: str) -> str:
    assert o.scenario is not None
    first, _, rest = defenses.partition("]")
    listed = ",".join(dict.fromkeys(["none", *first.split(",")]))
    words = [
        f"'dataset=[{o.scenario.dataset}]'",
        f"'model=[{o.scenario.model}]'",
        f"'defense=[{listed}]'",
        *(f"'{word}'" for word in rest.split()),
        f"'attack=[{','.join(o.attacks)}]'",
        "seeds=10",
        f"label={label}",
        "--rerun all",
        "data_root=FOLDER",
    ]
    return f"invbench run {' '.join(words)}"


def _option(row: str) -> tuple[str, str]:
    """Option of a defense's row, and the override that gives the row its settings."""
    name, _, settings = row.partition("[")
    pairs = [pair.partition("=") for pair in settings.removesuffix("]").split(",") if pair]
    sweep = ",".join(f"{key}:[{value}]" for key, _, value in pairs)
    return name, f" defense.{name}.sweep={{{sweep}}}" if sweep else ""


# ---------------------------------------------------------------- as data and as a page
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
    times = "" if audit.dated else " (seconds of the log, whose start is not stated)"
    told = " ".join(f"{d.law.name} {d.duty.article}." for d in o.dues[:1])
    return Document(
        f"Probing of {o.model.name or 'a model'}",
        "Incident record",
        f"{n} account{'s' * (n != 1)} flagged",
        "bad",
        f"{n} of {audit.audited:,} accounts in {_log(audit)} asked as who probes a model asks. A "
        "flag is a suspicion: a detector also flags some ordinary accounts, at a rate of "
        f"{audit.fpr:g} each by design.",
        [
            ("Record", o.id),
            ("Aware since", _moment(o.aware)),
            ("First deadline", _first(o)),
            ("Model", o.model.name or "not named: give --model"),
            ("Its defense", o.model.defense),
            ("Contact", o.model.contact or "not named"),
            (
                "Log",
                f"{audit.log}: {audit.queries:,} queries, {audit.first} to {audit.last}{times}",
            ),
            ("Evidence", ", ".join(o.suites) or "none named: give --evidence or --model"),
        ],
        [
            Section("What was noticed", _noticed(o)),
            Section("What the accounts had asked", _asked(o)),
            Section("What they may have learned", _learnt(o)),
            Section("Who must be told, by when", _told(o)),
            Section("What to do now", _steps(o)),
            Section("What is not known", [Points(_unknown(o))]),
        ],
        f"No legal advice. Deadlines are computed from the moment of awareness given above. {told}",
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
        return ["Not estimated: no evidence was named. --model or --evidence names it."]
    rows = []
    for account in o.accounts:
        for when, items in (("alarm", account.by_alarm), ("end", account.by_end)):
            rows += [(account.name, when, *_cells(item)) for item in items]
    bare = (
        "The model's defense is not known (no --model): figures are of the undefended target. "
        if not o.model.name
        else ""
    )
    return [
        f"Estimated from the boards of {', '.join(o.suites)}, {o.scenario.dataset} with "
        f"{o.scenario.model}, row '{o.model.defense}'. {bare}L is 0 where nothing is learned that "
        "the data's own statistics do not tell, and 1 where everything is; the figure is of the "
        "strongest attack that asked no more than the account, its victims together.",
        Table(("account", "by the", "threat", "queries", "L", "attack, and what it asked"), rows),
    ]


def _cells(item: Learned) -> tuple[Any, ...]:
    words, L = goal_named(item.goal).words, item.L
    threat, asked = f"{words.code} {words.event}", f"{item.asked:,}"
    if not L.known:
        return threat, asked, "not known", item.sentence or f"{item.attack}: too few seeds"
    shown = f"{L.value:.2f} [{L.lo:.2f}, {L.hi:.2f}]"
    ends = (min(1.0, max(0.0, v)) for v in (L.value, L.lo, L.hi))
    what = f"{item.attack}, {item.needs:,} queries; strongest of {item.tried}"
    doubt = f"; {item.sentence}" if item.sentence else ""
    return threat, asked, Drawn(shown, *ends, 0.0), f"{what}{doubt}"


def _told(o: Incident) -> list[Block]:
    rows = [
        (
            _moment(due.deadline),
            due.duty.tell,
            due.duty.when + (f"; not if {due.duty.unless}" if due.duty.unless else ""),
            f"{due.law.name} {due.duty.article}; read at {due.duty.read}",
        )
        for due in sorted(o.dues, key=lambda d: (d.deadline is None, str(d.deadline)))
    ]
    laws = list(dict.fromkeys(due.law for due in o.dues))
    return [
        "This is no legal advice. Whether this is a breach that must be notified is for the data "
        "protection officer to decide; a flag alone does not say so.",
        Table(("last moment", "tell", "rule", "source"), rows),
        Points([f"{law.name} ({law.text}) applies {law.applies}: {law.official}" for law in laws]),
    ]


def _steps(o: Incident) -> list[Block]:
    return [
        block
        for i, (step, command) in enumerate(controls(o), 1)
        for block in (f"{i}. {step}", *([Code(command)] if command else []))
    ]


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
