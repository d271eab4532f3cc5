"""MLflow's Model Registry as the inventory: one version a judged model (PROTOCOL 8.4)."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from bench.contract.errors import nearest, require
from bench.decide.incident import expired_on, overdue
from bench.decide.verdict import Judgement
from bench.engine.tracking.server import connect, experiment_of, reachable
from bench.goals import goals

EXPERIMENT = "inventory"
_LONGEST = 5000
_PREFIX = "privacy."


@dataclass(frozen=True)
class Entry:
    """A registered model: one line of the inventory."""

    name: str
    version: str
    tags: Mapping[str, str]

    def get(self, key: str) -> str:
        """The tag ``privacy.<key>``; empty where there is none."""
        return self.tags.get(_PREFIX + key, "")

    def expired(self, today: date) -> bool:
        """Whether its evidence or a waiver has run out; so has what was never dated."""
        until = self.get("valid_until")
        return not until or date.fromisoformat(until) < today


def tags(o: Judgement) -> dict[str, str]:
    """The registry's fields, all text."""
    m, c = o.model, o.candidate
    told: dict[str, Any] = {
        "tier": m.tier,
        "unit": m.data.privacy_unit,
        "access_exposed": m.exposure.effective,
        "goals_assessed": ",".join(sorted({goals()[r.goal].words.code for r in c.measured})),
        "benchmark_release": o.releases,
        "trial_set_sha256": o.evidence_digest,
        "model_sha256": "" if o.address else o.weights,
        "model_url": o.address,
        "evidence_of": o.evidence_of,
        "defense_id": c.defense,
        "defense_params": ", ".join(f"{k}={v}" for k, v in m.defense.params.items()),
        "adaptive": str(bool(c.measured) and all(r.adaptive for r in c.measured)).lower(),
        "dU": _number(c.use.loss.value),
        "dU_lower95": _number(c.use.loss.lo),
        "query_cap": m.exposure.query_cap,
        "audit_detector": m.monitoring,
        "pia_id": o.pia_id,
        "pia_status": o.status,
        "gate": o.verdict,
        "approver": ", ".join(f"{s.name} ({s.role})" for s in o.signed.values()),
        "valid_until": o.valid_until,
        "known_limits": " ".join([*o.limits, *o.untested]),
        "model": m.model,
        "users": m.exposure.users,
        "weights_shared_with": "; ".join(m.exposure.weights_shared_with),
        "incident_contact": m.incident_contact,
        "data_sources": "; ".join(m.data.sources),
        "dataset": m.data.dataset,
        "data_sha256": m.data.sha256,
        "sector": m.data.sector,
        "owner": m.owner,
        "evidence": "; ".join(o.suites),
        "policy": o.policy.name,
        "policy_sha256": o.policy.digest,
        "policy_differences": "; ".join(o.differences),
    }
    for goal in {r.goal for r in c.measured}:
        rows, code = [r for r in c.measured if r.goal == goal], goals()[goal].words.code
        # Of several packs that measured it the least favourable one counts.
        attack, worst = max(
            (r.judged_L for r in rows), key=lambda pair: pair[1].hi if pair[1].known else math.inf
        )
        members = [r.judged_M[1].hi for r in rows if r.judged_M[1].known]
        told |= {
            f"Lstar_{code}": _number(worst.value),
            f"Lstar_{code}_upper95": _number(worst.hi),
            f"M_{code}_upper95": _number(max(members, default=math.nan)),
            f"attack_worst_{code}": attack,
        }
    if o.ledger is not None and m.dp is not None:
        told |= {
            "dp.eps": m.dp.epsilon,
            "dp.delta": m.dp.delta,
            "dp.accountant": o.ledger.accountant,
            "dp.sampling": o.ledger.sampling,
            "dp.eps_total_basis": o.ledger.epsilon_total_basis,
            "dp.audit_lb": o.audit_lower,
        }
    return {
        _PREFIX + key: str(value)[:_LONGEST]
        for key, value in told.items()
        if value is not None and str(value)
    }


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""


def register(uri: str, o: Judgement, files: Mapping[str, str]) -> tuple[str, bool]:
    """Put a judged model into the registry.

    The same description, evidence, weights and policy are the same version: its tags and files are
    brought up to date. ``production`` names a version that passed and was approved; ``candidate``
    the one judged last.

    Args:
        uri: of MLflow.
        o: what the gate said.
        files: names and contents of the assessment.

    Returns:
        The version, and whether it is new.

    Raises:
        UserError: the server cannot be reached.
    """
    client = connect(uri)
    with reachable(uri), tempfile.TemporaryDirectory() as folder:
        name = o.model.name
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        found = next(
            (
                v
                for v in client.search_model_versions(f"name = '{name}'")
                if v.tags.get(f"{_PREFIX}pia_id") == o.pia_id
            ),
            None,
        )
        new = found is None
        if found is None:
            experiment = experiment_of(client, uri, EXPERIMENT)
            run = client.create_run(
                experiment, run_name=f"{name} {o.model.version}", tags={"kind": "assessment"}
            )
            client.set_terminated(run.info.run_id)
            found = client.create_model_version(
                name,
                f"{run.info.artifact_uri}/assessment",
                run.info.run_id,
                description=f"{o.model.purpose} (version {o.model.version} of its owner)",
            )
        past = _incidents(client, name)
        for file, content in files.items():
            path = Path(folder) / file
            path.write_text(content, encoding="utf-8")
            client.log_artifact(found.run_id, str(path), "assessment")
        wanted = {**tags(o), f"{_PREFIX}owner_version": o.model.version}
        open_since = overdue(o.evidence_first, past)
        if open_since:
            wanted |= _expired(datetime.fromisoformat(open_since))
        for key in set(found.tags) - set(wanted):
            if key.startswith(_PREFIX):
                client.delete_model_version_tag(name, found.version, key)
        for key, value in wanted.items():
            client.set_model_version_tag(name, found.version, _legal(key), value)
        _point(client, name, str(found.version), o, bool(open_since))
    return str(found.version), new


def _point(client: Any, name: str, version: str, o: Judgement, incident: bool) -> None:
    aliases = client.get_registered_model(name).aliases
    client.set_registered_model_alias(name, "candidate", version)
    if o.verdict == "PASS" and o.status == "approved" and not incident:
        client.set_registered_model_alias(name, "production", version)
    elif str(aliases.get("production")) == version:
        client.delete_registered_model_alias(name, "production")


def _expired(aware: datetime) -> dict[str, str]:
    """Tags of a version whose evidence is older than an incident."""
    return {
        f"{_PREFIX}incident": aware.isoformat(),
        f"{_PREFIX}pia_status": "expired",
        f"{_PREFIX}valid_until": str(expired_on(aware)),
    }


def _incidents(client: Any, name: str) -> list[str]:
    versions = client.search_model_versions(f"name = '{name}'")
    return sorted({v.tags[key] for v in versions if (key := f"{_PREFIX}incident") in v.tags})


def incidents(uri: str, name: str) -> list[str]:
    """Moments of the incidents of a model that the registry knows of (ISO 8601).

    Raises:
        UserError: the server cannot be reached.
    """
    client = connect(uri)
    with reachable(uri):
        return _incidents(client, name)


def mark(uri: str, name: str, aware: datetime) -> int:
    """Mark the evidence of every version of a model as expired since an incident.

    A version that is judged by evidence of after it clears itself when it is registered.

    Args:
        uri: of MLflow.
        name: of the model.
        aware: the moment of the incident.

    Returns:
        How many versions were marked.

    Raises:
        UserError: the server cannot be reached, or has no such model.
    """
    client = connect(uri)
    with reachable(uri):
        known = sorted(model.name for model in client.search_registered_models())
        require(
            name in known,
            f"The registry has no model '{name}', so nothing was marked.{nearest(name, known)}",
        )
        versions = client.search_model_versions(f"name = '{name}'")
        for version in versions:
            for key, value in _expired(aware).items():
                client.set_model_version_tag(name, version.version, key, value)
        if "production" in client.get_registered_model(name).aliases:
            client.delete_registered_model_alias(name, "production")
    return len(versions)


def _legal(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", key)


def versions(uri: str) -> list[Entry]:
    """The registered models with an assessment, the newest of each of its owner's versions last.

    Raises:
        UserError: the server cannot be reached.
    """
    client = connect(uri)
    newest: dict[tuple[str, str], Entry] = {}
    with reachable(uri):
        token = None
        listed = []
        while True:
            page = client.search_model_versions(max_results=1000, page_token=token)
            listed += list(page)
            token = page.token
            if not token:
                break
    for v in sorted(listed, key=lambda v: int(v.version)):
        if f"{_PREFIX}pia_id" in v.tags:
            entry = Entry(v.name, v.tags.get(f"{_PREFIX}owner_version", v.version), v.tags)
            newest.pop((v.name, entry.version), None)
            newest[v.name, entry.version] = entry
    return list(newest.values())


def inventory(uri: str, today: date) -> list[Entry]:
    """As :func:`versions`; the expired ones first, then by name.

    Raises:
        UserError: the server cannot be reached.
    """
    return sorted(versions(uri), key=lambda e: (not e.expired(today), e.name, e.version))
