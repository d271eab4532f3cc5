"""Evidence with known figures: every seed is its mean plus or minus one given step.

Ten values ``m - d``, ``m + d`` have the mean m and the t interval ``m +- 2.2622 * d / 3``, that is
``m +- 0.7541 d``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.contract import PrivacyLedger
from bench.contract.record import (
    AttackInfo,
    Budget,
    Cell,
    Data,
    DefenseInfo,
    PrivacyAudit,
    Scored,
    Target,
    Times,
    TrialRecord,
    Utility,
)
from bench.decide import evidence
from bench.decide.evidence import Source
from bench.exchange.pack import Pack

WIDTH = 0.7541
"""Half the width of an interval in steps."""
DATA_SHA = "da7a" * 16
ACCESS = {
    "imputer": "none",
    "guess": "labels",
    "probe": "scores",
    "map": "scores",
    "open": "weights",
}
STANDARD = {
    "guess": "standard-tables-labels-1",
    "map": "standard-tables-scores-1",
    "open": "standard-tables-weights-1",
}
"""The only attack of each standard set that can attack what is made here."""


@dataclass(frozen=True)
class Row:
    """A defense: leakage by attack, member leakage, utility, each as a mean; ``step`` around L."""

    L: Mapping[str, float] = field(default_factory=lambda: {"guess": 0.0, "map": 0.05})
    M: float = 0.0
    utility: float = 0.80
    step: float = 0.01
    ledger: PrivacyLedger | None = None
    audit: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the record: ``stages``, ``n_params``, ``public``, ``adaptive``, options of
    the only layer (``layer``), and ``M`` by attack. An attack may be ``map[budget=1000]``."""


NONE = Row(L={"guess": 0.30, "map": 0.60}, M=0.20)


def ledger(epsilon: float = 2.0, **changes: Any) -> PrivacyLedger:
    told: dict[str, Any] = {
        "epsilon": epsilon,
        "delta": 1e-5,
        "accountant": "prv",
        "epsilon_rdp": epsilon + 0.2,
        "unit": "record",
        "neighbour_relation": "add_remove",
        "sampling": "poisson",
        "sample_rate": 0.1,
        "steps": 100,
        "noise_multiplier": 1.1,
        "clip_norm": 1.0,
        "expected_batch": 40.0,
        "empty_batches": 0,
        "epsilon_total_basis": "single_run",
        "rng": "secure",
        "libraries": {"opacus": "1.6.0"},
        "epsilon_total": epsilon,
    }
    return PrivacyLedger(**{**told, **changes})


def weights(defense: str, seed: int) -> str:
    return (f"{sum(defense.encode()):04x}{seed:04x}" * 8)[:64]


def records(rows: Mapping[str, Row], seeds: int = 10, **changes: Any) -> list[TrialRecord]:
    """A trial for each defense, attack and seed, and the controls of the undefended target.

    ``changes`` replace fields of all records.
    """
    out = _controls(rows["none"], changes) if "none" in rows else []
    for defense, row in rows.items():
        for seed in range(seeds):
            for attack in ("imputer", *row.L):
                out.append(_trial(defense, row, attack, seed, changes))
    return out


def _controls(undefended: Row, changes: Mapping[str, Any]) -> list[TrialRecord]:
    """The first attack a second time, and every attack on two targets that were never trained."""
    first = next(iter(undefended.L))
    again = _trial("none", undefended, first, 0, changes)
    controls = [("repeat", again.cell.model_copy(update={"attack": f"repeat[{first}]"}), again)]
    nothing = replace(undefended, L=dict.fromkeys(undefended.L, 0.0), M=0.0, audit=None)
    for seed in range(2):
        for attack in nothing.L:
            trial = _trial("untrained", nothing, attack, seed, changes)
            controls.append(("untrained", trial.cell, trial))
    return [
        trial.model_copy(
            update={"control": name, "cell": cell, "trial_id": f"control-{name}-{trial.trial_id}"}
        )
        for name, cell, trial in controls
    ]


def _trial(
    defense: str, row: Row, attack: str, seed: int, changes: Mapping[str, Any]
) -> TrialRecord:
    sign = 1 if seed % 2 else -1
    option, _, limit = attack.partition("[budget=")
    cap = int(limit.rstrip("]")) if limit else None
    leak = row.L[attack] + sign * row.step if attack in row.L else 0.0
    member = row.fields.get("M", {}).get(attack, row.M)
    member = member + sign * 0.001 if attack in row.L else 0.0
    told: dict[str, Any] = {
        "protocol_version": "1",
        "benchmark_version": "0.1.0",
        "trial_id": re.sub(r"[<>/]", "_", f"{defense}-{attack}-{seed}").lstrip("_"),
        "cell": Cell(dataset="loans", model="mlp", defense=defense, attack=attack, seed=seed),
        "goal": "attribute",
        "access": ACCESS[option],
        "status": "done",
        "data": Data(
            sector="credit",
            modality="table",
            source="made up",
            terms="none",
            privacy_unit="record",
            publishable=False,
            facts={"sha256": DATA_SHA, "n_public": 100},
        ),
        "target": Target(
            n_params=row.fields.get("n_params", 1000),
            public_records=row.fields.get("public", 0),
            sha256=weights(defense, seed),
        ),
        "defense": DefenseInfo(
            family=defense,
            stages=row.fields.get("stages", ["training"]),
            layers=[{"_target_": "made", **row.fields.get("layer", {})}],
            covers=["labels", "scores", "weights"],
        ),
        "privacy": row.ledger,
        "privacy_audit": None
        if row.audit is None
        else PrivacyAudit(
            canaries=100,
            guesses=50,
            right=40,
            epsilon_lower=row.audit,
            epsilon=row.ledger.epsilon if row.ledger else 1.0,
        ),
        "attack": AttackInfo(
            family=option,
            standard=dict.fromkeys(STANDARD.values(), 1),
            member={STANDARD[option]: 0} if option in STANDARD else {},
            adaptive_to=[defense] if option in row.fields.get("adaptive", ACCESS) else [],
        ),
        "budget": Budget(
            queries=cap or {"imputer": 0, "map": 5000}.get(attack, 500), queries_cap=cap
        ),
        "score": Scored(
            metric="auc",
            value=0.6 + 0.4 * leak,
            s_base=0.6,
            s_base_attack="imputer",
            s_ceil=1.0,
            L=leak,
            M=member,
            members=0.6 + member,
            nonmembers=0.6,
            victims=1000,
            group_gain={"age=old": 0.01 * sign + 0.02} if attack == "map" else {},
        ),
        "utility": Utility(
            metric="auroc",
            value=row.utility + sign * 0.002,
            reference=0.79,
            all={"auroc": row.utility + sign * 0.002},
        ),
        "times": Times(train_s=row.fields.get("train_s", 1.0), attack_s=1.0),
        "nodes": {"target": f"t-{defense}-{seed}", "attack": f"a-{defense}-{attack}-{seed}"},
        "created_utc": "2026-03-01T00:00:00+00:00",
    }
    return TrialRecord(**{**told, **changes})


def sources(
    rows: Mapping[str, Row], seeds: int = 10, notes: Mapping[str, Any] | None = None, **changes: Any
) -> tuple[Source, ...]:
    """Evidence of the given rows and of the undefended target."""
    return evidence.read([pack({"none": NONE, **rows}, seeds, notes, **changes)])


def signed(sources: Iterable[Source], **by: str) -> tuple[Source, ...]:
    """The same evidence, which these people signed to have run again, each on that day."""
    names = {name.replace("_", " "): day for name, day in by.items()}
    return tuple(replace(source, reruns=names) for source in sources)


def pack(
    rows: Mapping[str, Row], seeds: int = 10, notes: Mapping[str, Any] | None = None, **changes: Any
) -> Pack:
    return of_records(records(rows, seeds, **changes), notes)


def of_records(
    records: Sequence[TrialRecord], notes: Mapping[str, Any] | None = None, /, **changes: Any
) -> Pack:
    """A pack whose plan is these records and no others; ``changes`` are made to the plan."""
    manifest = {"suite": "made", "trials": {r.trial_id: r.cell.key() for r in records}, **changes}
    return Pack("made", records, manifest, {}, notes or {})
