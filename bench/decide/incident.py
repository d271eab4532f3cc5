"""The record of an incident: what was noticed, what it may have revealed, whom to tell, what to do.

PROTOCOL 8.5. Plain data from an audit of a log, the evidence of the model and the duties of law.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, cast

from bench.contract.access import Access
from bench.contract.errors import require
from bench.decide.duties import Due
from bench.decide.evidence import Scenario, Source
from bench.decide.learned import Learned, Offer, learned, offers

if TYPE_CHECKING:
    from bench.engine.audit import Audit, Flag


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
    defense: str = ""
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
    alarms: dict[str, list[Flag]] = {}
    for flag in sorted(audit.flags, key=lambda f: f.query):
        alarms.setdefault(flag.account, []).append(flag)
    on_offer: dict[Access, tuple[Offer, ...]] = {}
    for name in audit.flagged:
        flags = tuple(alarms[name])
        shared = name in model.shared_with
        access = cast(Access, "weights" if shared else audit.answers or model.access or "scores")
        if access not in on_offer:
            on_offer[access] = offers(sources, scenario, model.defense, access) if scenario else ()
        worth = [
            tuple(learned(offer, asked) for offer in on_offer[access])
            for asked in (flags[0].query, flags[0].queries)
        ]
        accounts.append(Account(name, access, flags, *worth))
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
        return [*steps, ("Attack the model again; name its evidence for the commands.", "")]
    after, place = f"{o.id}-after", f"--dataset {o.scenario.dataset} --model {o.scenario.model}"
    asked = max(1, min(account.alarm.query for account in o.accounts) // 2)
    option, setting = _option(o.model.defense)
    budget = f"defense.query_budget.sweep={{queries:[{asked}]}}"
    limits = f"{option},query_budget,rate_limit,label_only]{setting} {budget}"
    tier = f"--tier {o.model.tier}" if o.model.tier else "--tier T2"
    access = o.accounts[0].access
    steps += [
        (
            "Measure what a query budget (half of what the first alarm took), a rate limit and "
            "labels alone would have prevented, beside the model's own defense.",
            _run(o, limits, f"{o.id}-limits"),
        ),
        (
            "Choose among them.",
            f"invbench recommend {o.id}-limits {place} --access {access} {tier}",
        ),
        (
            "Attack the model as it is again, every trial anew: only evidence recorded after the "
            "incident clears it.",
            _run(o, f"{option}]{setting}", after),
        ),
    ]
    if o.model.described:
        steps.append(
            (
                f"Name '{after}' as evidence in '{o.model.described}', add the line "
                f'incidents: ["{o.aware.isoformat()}"] to it, and let the gate judge again.',
                f"invbench gate default {shlex.quote(o.model.described)} --register",
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
