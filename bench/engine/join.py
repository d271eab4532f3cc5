"""A trial's record is a view: a pure join of the outcomes of the nodes it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bench import __version__
from bench.contract import PrivacyLedger, Score
from bench.contract.identity import PROTOCOL_VERSION
from bench.contract.record import (
    ELSEWHERE,
    ENVIRONMENT,
    SCHEMA_VERSION,
    AttackInfo,
    Audit,
    Budget,
    Data,
    DefenseInfo,
    Failure,
    PrivacyAudit,
    Scored,
    Status,
    Target,
    Times,
    TrialRecord,
    Utility,
)
from bench.goals import goal_named
from bench.metrics.leakage import leakage, member_gap, victim_errors

if TYPE_CHECKING:
    from bench.engine.graph import Trial


M = TypeVar("M")


class Once(Protocol):
    """Gives a part of a record, and may give the same one to all trials that share it."""

    def __call__(self, name: str, made_of: Sequence[object], make: Callable[[], M]) -> M:
        """The part.

        Args:
            name: of the field it is for.
            made_of: the objects that decide what it is; they are not changed afterwards.
            make: makes it.
        """


def _anew(name: str, made_of: Sequence[object], make: Callable[[], M]) -> M:
    return make()


def join(trial: Trial, nodes: Mapping[str, Mapping[str, Any]]) -> TrialRecord:
    """The record of a trial whose nodes are all done; see :func:`fields`."""
    return TrialRecord(**fields(trial, nodes))


def fields(
    trial: Trial, nodes: Mapping[str, Mapping[str, Any]], once: Once = _anew
) -> dict[str, Any]:
    """Every field of the record of a trial whose nodes are all done, by name.

    Args:
        trial: the cell.
        nodes: node identity to node record, of which ``output``, ``env`` and ``created_utc`` are
            read, for ``trial.nodes`` and ``trial.baselines``.
        once: makes the parts that trials share.
    """
    info = trial.info
    part = {kind: nodes[key] for kind, key in trial.nodes.items()}
    out = {kind: node["output"] for kind, node in part.items()}
    report = out["target"]["report"]
    scored = _scored(trial, nodes, once)
    flags = list(trial.flags)
    if scored.L is None:
        flags.append("no_headroom")
    elif _little_headroom(trial, scored, out["data"]["facts"]):
        flags.append("little_headroom")
    env = _environment(trial, nodes)
    git = env.get("git", {})
    if git.get("dirty"):
        flags.append("dirty")
    return {
        **_head(trial),
        "status": "done",
        "error": None,
        "data": once("data", (info, out["data"]), lambda: _data(trial, out["data"])),
        "target": once("target", (info["model"], out["target"]), lambda: _target(trial, out)),
        "defense": once("defense", (info["defense"],), lambda: DefenseInfo(**info["defense"])),
        "privacy": once("privacy", (out["target"],), lambda: PrivacyLedger(**report["privacy"]))
        if report["privacy"]
        else None,
        "privacy_audit": once("audit", (out["audit"],), lambda: PrivacyAudit(**out["audit"]))
        if out.get("audit")
        else None,
        "attack": AttackInfo(
            **info["attack"],
            info=out["attack"]["info"],
            knowledge_read=out["attack"]["knowledge_read"],
            sha256=out["attack"]["sha256"],
        ),
        "budget": Budget(**out["attack"]["budget"]),
        "audit": _audit(out),
        "evaluator": {k: v for k, v in out["evaluator"]["facts"].items() if v is not None},
        "score": scored,
        "utility": once("utility", (out["utility"], out["reference"]), lambda: _utility(out)),
        "flags": flags,
        "times": Times(
            train_s=out["target"]["train_s"],
            attack_s=out["attack"]["attack_s"],
            score_s=out["attack"]["score_s"],
            answer_ms=out["utility"]["answer_ms"],
            peak_rss_mb=env.pop("peak_rss_mb", None),
        ),
        "env": env,
        "created_utc": max(node["created_utc"] for node in part.values()),
    }


def _target(trial: Trial, out: Mapping[str, Mapping[str, Any]]) -> Target:
    report = out["target"]["report"]
    # Loss and accuracy on private records are no part of what a ledger accounts for.
    private = bool(report["privacy"])
    return Target(
        params=dict(trial.info["model"]),
        n_params=out["target"]["n_params"],
        epochs=report["epochs"],
        steps=report["steps"],
        final_loss=None if private else report["final_loss"],
        train_accuracy=None if private else report["train_accuracy"],
        public_records=report["public_records"],
        sha256=out["target"]["sha256"],
        given=out["target"].get("given", {}),
    )


def _environment(trial: Trial, nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Where the attack ran, and what differs where the other parts of the trial were made."""
    env = dict(nodes[trial.nodes["attack"]]["env"])
    others = {kind: nodes[key]["env"] for kind, key in trial.nodes.items()}
    others |= {f"baseline {name}": nodes[key]["env"] for name, key in trial.baselines.items()}
    here = list(map(env.get, ENVIRONMENT))
    elsewhere = {
        name: {k: other.get(k) for k in ENVIRONMENT if other.get(k) != env.get(k)}
        for name, other in others.items()
        if list(map(other.get, ENVIRONMENT)) != here
    }
    # Sums of several networks in one program need not round as those of one.
    if (replicas := nodes[trial.nodes["target"]]["output"].get("replicas", 1)) > 1:
        elsewhere["target"] = elsewhere.get("target", {}) | {"replicas": replicas}
    return env | ({ELSEWHERE: elsewhere} if elsewhere else {})


def _audit(out: Mapping[str, Mapping[str, Any]]) -> Audit | None:
    """None where nobody watches, or the attack asks nothing."""
    if "blocked" not in out["utility"] or not out["attack"]["budget"]["accounts"]:
        return None
    refusals = out["attack"]["refusals"]
    return Audit(
        detected=any(r["detected"] for r in refusals),
        stopped=out["attack"]["budget"]["refused"] > 0,
        answered_before=refusals[0]["answered"] if refusals else None,
        accounts_refused=len(refusals),
        blocked=out["utility"]["blocked"],
        customers=out["utility"]["customers"],
    )


_MOST_IMPUTED = 0.85
"""AUC of the imputer above which a sensitive attribute is as good as known (PROTOCOL 2.3)."""


def _little_headroom(trial: Trial, scored: Scored, facts: Mapping[str, Any]) -> bool:
    if not goal_named(trial.goal).hides_attribute:
        return False
    return "no_headroom" in facts or (scored.metric == "auc" and scored.s_base > _MOST_IMPUTED)


def unfinished(
    trial: Trial, status: Status, failure: Failure, created_utc: str, facts: Mapping[str, Any]
) -> TrialRecord:
    """The record of a trial that did not end in ``done``: a failure is a result."""
    return TrialRecord(
        **_head(trial),
        status=status,
        error=failure,
        data=_data(trial, facts),
        defense=DefenseInfo(**trial.info["defense"]),
        attack=AttackInfo(**trial.info["attack"]),
        budget=Budget(queries_cap=trial.info["attack"]["params"].get("budget")),
        flags=list(trial.flags),
        created_utc=created_utc,
    )


def _head(trial: Trial) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        "benchmark_version": __version__,
        "trial_id": trial.id,
        "cell": {**dict(trial.case.cell), "seed": trial.repeat},
        "goal": trial.goal,
        "access": trial.access,
        "control": trial.control,
        "nodes": dict(trial.nodes),
    }


def _data(trial: Trial, data: Mapping[str, Any]) -> Data:
    card = data.get("card", {})
    return Data(
        sector=trial.info["sector"],
        modality=trial.info["modality"],
        source=card.get("source", ""),
        terms=card.get("terms", ""),
        privacy_unit=card.get("privacy_unit", ""),
        publishable=card.get("publishable", False),
        option=trial.info["option"],
        sensitive=(card.get("sensitive") or {}).get("name", ""),
        asked_about=trial.info["asked_about"],
        class_names=list(card.get("class_names", ())),
        facts=dict(data.get("facts", {})),
    )


def _score(node: Mapping[str, Any]) -> Score:
    return Score(**node["output"]["score"])


def _scored(trial: Trial, nodes: Mapping[str, Mapping[str, Any]], once: Once) -> Scored:
    score = _score(nodes[trial.nodes["attack"]])
    bases = {
        name: once("score", (nodes[key]["output"],), partial(_score, nodes[key]))
        for name, key in trial.baselines.items()
    }
    name = max(sorted(bases), key=lambda n: bases[n].value)
    base = bases[name]
    known = nodes[trial.nodes["data"]]["output"]["card"].get("members_known", True)
    errors = victim_errors(
        goal_named(trial.goal).gains,
        score.ceiling,
        nodes[trial.nodes["attack"]]["output"].get("resampled", {}),
        nodes[trial.baselines[name]]["output"].get("resampled", {}),
    )
    return Scored(
        metric=score.metric,
        value=score.value,
        s_base=base.value,
        s_base_attack=name,
        s_ceil=score.ceiling,
        L=leakage(score.value, base.value, score.ceiling),
        M=member_gap(goal_named(trial.goal).gains, score, base) if known else None,
        L_error=errors[0],
        M_error=errors[1] if known else None,
        members=score.members,
        nonmembers=score.nonmembers,
        victims=score.victims,
        extra={k: v for k, v in score.extra.items() if v is not None and not k.startswith(_GROUP)},
        group_gain=_group_gain(score, base),
    )


_GROUP = "auc["


def _group_gain(score: Score, base: Score) -> dict[str, float]:
    """How much better than the baseline the attack is in every subgroup."""
    return {
        k[len(_GROUP) : -1]: v - base.extra[k]
        for k, v in score.extra.items()
        if k.startswith(_GROUP) and k in base.extra
    }


def _utility(out: Mapping[str, Any]) -> Utility:
    metric = out["utility"]["metric"]
    return Utility(
        metric=metric,
        value=out["utility"]["utility"][metric],
        reference=out["reference"]["reference"].get(metric),
        all=out["utility"]["utility"],
        draws=out["utility"].get("resampled", {}),
    )
