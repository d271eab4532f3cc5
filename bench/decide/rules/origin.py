"""Rules on where evidence comes from: whole, of this data and these weights, dated, repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bench import __version__
from bench.contract.identity import PROTOCOL_VERSION
from bench.decide.case import Case
from bench.decide.evidence import Source
from bench.decide.incident import overdue
from bench.decide.persons import person
from bench.decide.rules.leakage import reasons
from bench.engine.provenance import committed
from bench.report.coverage import LOST

_CLOCKS = timedelta(days=1)
"""By how much clocks may differ: a time zone."""
_STOOD_STILL = timedelta(days=30)
"""How long a run may have stood still between its beginning and its last trial."""
_MOST_S = 3e8
"""Ten years: what trials took is not believed beyond it."""
_SHOWN = 5


def evidence_altered(case: Case) -> Iterator[str]:
    """What the packs state and their records do not give."""
    for source in case.named:
        for fault in source.faults[:_SHOWN]:
            yield f"'{source.suite}': {fault}"
        if len(source.faults) > _SHOWN:
            yield f"'{source.suite}': {len(source.faults) - _SHOWN} more such faults"


def evidence_redated(case: Case) -> Iterator[str]:
    """Times of the evidence that cannot all be true."""
    for source in case.named:
        for sentence in _contradictions(source):
            yield f"'{source.suite}': {sentence}"


def _contradictions(source: Source) -> Iterator[str]:
    trials = source.table[source.table["status"] != LOST]
    created = trials["created"].map(datetime.fromisoformat)
    first, last = created.min(), created.max()
    commits = source.facts.environments.get("git commit", ())
    made = [datetime.fromisoformat(text) for text in map(committed, commits) if text]
    if made and len(made) == len(commits) and first < min(made) - _CLOCKS:
        yield f"its oldest trial is of {first:%F}, its oldest commit of {min(made):%F}"
    if made and last < max(made) - _CLOCKS:
        yield f"its newest trial is of {last:%F}, its newest commit of {max(made):%F}"
    noted = source.verification
    again = [(f"{name} signed it", text) for name, text in source.makers.items()]
    again += [(f"{name} signed to have run it again", text) for name, text in source.reruns.items()]
    if noted and noted.get("pack") == source.pack_digest:
        again.append(("it is noted to have been run again", str(noted.get("utc") or "")))
    for who, text in again:
        if text and not (when := _time(text)):
            yield f"{who} on '{text[:40]}', which is no time"
        elif text and when and when < last - _CLOCKS:
            yield f"{who} on {when:%F}, and its newest trial is of {last:%F}"
    for part in source.parts:
        ran = trials["trial_id"].isin(set(part.get("trials", ())))
        spent = float(trials.loc[ran, ["train_s", "attack_s"]].sum().sum())
        yield from _since(part, spent, created[ran].max() if ran.any() else None)


def _since(part: Mapping[str, Any], spent: float, newest: datetime | None) -> Iterator[str]:
    """What contradicts the beginning of a run: its name, or a trial long after it had to end."""
    text, name = str(part.get("started_utc") or ""), str(part.get("name") or "")
    began = _time(text)
    if text and began is None:
        yield f"its run began on '{text[:40]}', which is no time"
    if began is None:
        return
    if name[:8].isdigit() and name[:8] != f"{began:%Y%m%d}":
        yield f"its run is called {name[:18]} and is said to have begun on {began:%F}"
    if newest and newest > began + timedelta(seconds=min(spent, _MOST_S)) + _STOOD_STILL:
        yield (
            f"its run began on {began:%F} and its trials take {spent / 3600:.1f} hours by "
            f"their own times, yet one is of {newest:%F}"
        )


def _time(text: str) -> datetime | None:
    """A time that evidence states, in UTC where it names no zone; None: it is none."""
    try:
        stated = datetime.fromisoformat(text)
    except ValueError:
        return None
    return stated if stated.tzinfo else stated.replace(tzinfo=UTC)


def data_hash_unknown(case: Case) -> Iterator[str]:
    """No digest of the data, or another one than the evidence's."""
    stated = case.model.data.sha256
    used = {sha for table in (case.trials, case.filling) for sha in table["data_sha"] if sha}
    if stated is None:
        yield "the description has no data.sha256"
    elif used != {stated}:
        other = ", ".join(sorted(sha[:12] for sha in used)) or "unknown data"
        yield f"the model's data is {stated[:12]}, the evidence was made with {other}"


def artifact_mismatch(case: Case) -> Iterator[str]:
    """No name of the released model, or one that was not evaluated."""
    if not case.names:
        yield "the description names no weights"
        return
    done = case.trials[case.trials["status"] == "done"]
    trained = done[~done["single"].astype(bool)]
    given = sorted({_names(row) for row in done[done["single"].astype(bool)].itertuples()})
    elsewhere = [
        str(row.model)
        for source in case.named
        for row in source.table.drop_duplicates(["model", "known_as", "target_sha"]).itertuples()
        if row.single and row.model != case.scenario.model and {*case.names} & {*_names(row)}
    ]
    released = _shown(case.names[0])
    for names in given:
        if not {*case.names} & {*names}:
            yield (
                f"the model that was attacked is {_shown(names[0])}, and {released} is to be "
                "released: the evidence is of another one"
            )
    if (len(trained) or not given) and not {*case.names} & set(trained["target_sha"]):
        yield (
            f"the released weights {released} are none of the "
            f"{trained['target_sha'].nunique()} that were evaluated"
        )
    if elsewhere and not any({*case.names} & {*names} for names in given):
        yield f"{released} itself was attacked as '{elsewhere[0]}': name that under 'model'"


def _names(row: Any) -> tuple[str, ...]:
    """Digests and addresses by which a trial's target can be told."""
    return tuple(filter(None, (*row.known_as, row.target_sha)))


def _shown(name: str) -> str:
    """A digest in short, or an address."""
    return name if "://" in name else name[:12]


def evidence_too_old(case: Case) -> Iterator[str]:
    """Evidence of before the policy's limit, or of days to come."""
    age = (case.today - case.first).days
    if age > case.policy.max_age_days:
        yield (
            f"the oldest trial is {age} days old ({case.first}); "
            f"{case.policy.max_age_days} are allowed"
        )
    if case.last - case.today > _CLOCKS:
        yield f"the newest trial is dated {case.last}, after the day of judgement"


def incident_since_evidence(case: Case) -> Iterator[str]:
    """Evidence of before an incident: whoever probed the model knew what it does not show."""
    moments = [moment.isoformat() for moment in case.model.incidents]
    newest = overdue(case.first_moment.isoformat(), moments)
    if newest:
        yield (
            f"the oldest trial is of {case.first_moment:%F %H:%M}, before the incident of {newest}"
        )


def benchmark_outdated(case: Case) -> Iterator[str]:
    """Evidence of an older major version of the program or the protocol."""
    for s in case.sources:
        versions = s.facts.environments.get("benchmark version", ())
        old = [v for v in versions if _major(v) < _major(__version__)]
        if old or _major(s.facts.protocol) < _major(PROTOCOL_VERSION):
            yield (
                f"'{s.suite}' is of version {', '.join(versions)}, protocol {s.facts.protocol}; "
                f"today's are {__version__} and {PROTOCOL_VERSION}"
            )


def _major(version: str) -> int:
    digits = version.partition(".")[0]
    return int(digits) if digits.isdigit() and len(digits) < 10 else -1


def verification_failed(case: Case) -> Iterator[str]:
    """Somebody ran the evidence again and found something else."""
    yield from reasons(case, "verification_failed")
    for s in case.named:
        if s.refuted and s not in case.sources:
            yield f"whoever re-ran '{s.suite}' found something else"


def not_independently_verified(case: Case) -> Iterator[str]:
    """Evidence that nobody but its maker and the owner signed to have run again."""
    owner = person(case.model.owner)
    for s in case.sources:
        others = {name for name in s.reruns if person(name) not in (owner, person(s.submitter))}
        if others:
            continue
        noted = str(s.verification.get("by") or "")[:80]
        why = [f"that '{noted}' did is only typed into it"] if noted else []
        why += [f"a signature does not count: {text[:200]}" for text in dict.fromkeys(s.untrusted)]
        yield "; ".join(
            [f"nobody but its maker or the owner signed to have run '{s.suite}' again", *why]
        )


CHECKS = {
    "evidence_altered": evidence_altered,
    "evidence_redated": evidence_redated,
    "data_hash_unknown": data_hash_unknown,
    "artifact_mismatch": artifact_mismatch,
    "evidence_too_old": evidence_too_old,
    "incident_since_evidence": incident_since_evidence,
    "benchmark_outdated": benchmark_outdated,
    "verification_failed": verification_failed,
    "not_independently_verified": not_independently_verified,
}
