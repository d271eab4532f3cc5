"""Ways to a PASS by evidence that is not what it says: records, packs, days."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.contract.record import TrialRecord
from tests.decide import made
from tests.decide.attempt import besides, holds, honest_records, honest_row, known, on, says, way
from tests.decide.made import Row

Trials = Iterable[TrialRecord]


def _of(row: Row) -> Callable[[], Trials]:
    return lambda: honest_records(row)


def _kept(wanted: Callable[[TrialRecord], bool], seeds: int = 10) -> Callable[[], Trials]:
    return lambda: [r for r in honest_records(seeds=seeds) if wanted(r)]


def _edited(**score: float) -> Callable[[], Trials]:
    """One row's figures edited by hand."""

    def edited(r: TrialRecord) -> TrialRecord:
        if r.cell.defense != "shield" or r.cell.attack != "map" or r.score is None:
            return r
        return r.model_copy(update={"score": r.score.model_copy(update=score)})

    return lambda: map(edited, honest_records())


def _one_attack() -> Trials:
    """Genuine records of one attack, against which the defense looks well."""
    bare = Row(L={"probe": 0.6}, M=0.2)
    return made.records({"none": bare, "shield": honest_row(L={"probe": 0.05})})


def _bare_of_sets() -> Trials:
    """Records that name no standard set, as older ones do."""
    for r in honest_records():
        yield r.model_copy(
            update={"attack": r.attack.model_copy(update={"standard": {}, "member": {}})}
        )


def _renamed(trials: Trials, suite: str) -> Trials:
    return [r.model_copy(update={"trial_id": f"{suite}-{r.trial_id}"}) for r in trials]


_LEAKY = Row(L={"guess": 0.45}, M=0.0, ledger=made.ledger(), fields={"layer": {"min_leaf": 50}})

RECORDS = (
    way("L of one row edited", "BLOCK", "evidence_altered", holds(_edited(L=0.01))),
    way("M of one row edited", "BLOCK", "evidence_altered", holds(_edited(M=0.0))),
    way("baseline of one row raised", "refused", "", holds(_edited(s_base=0.62))),
    way(
        "records that the plan does not list",
        "BLOCK",
        "evidence_altered",
        holds(honest_records, trials={}),
    ),
    way(
        "cut down to one attack, plan and digests renewed",
        "BLOCK",
        "standard_attacks_missing",
        holds(_one_attack),
    ),
    way(
        "standard attack on half of the seeds only",
        "BLOCK",
        "standard_attacks_missing",
        holds(_kept(lambda r: r.cell.attack != "map" or r.cell.seed < 5)),
    ),
    way(
        "the failed control left out of records and plan",
        "BLOCK",
        "controls_missing",
        holds(_kept(lambda r: r.control != "untrained")),
    ),
    way(
        "no control at all",
        "BLOCK",
        "controls_missing",
        holds(_kept(lambda r: not r.control)),
    ),
    way(
        "names of standard sets taken out of the records",
        "BLOCK",
        "standard_attacks_missing",
        holds(_bare_of_sets),
    ),
    way(
        "the best 10 of 12 seeds",
        "BLOCK",
        "seeds_selected",
        holds(_kept(lambda r: r.cell.seed not in (0, 4), seeds=12)),
    ),
    way("four seeds", "BLOCK", "no_ranked_evidence", holds(lambda: honest_records(seeds=4))),
    way("nine seeds", "CONDITIONAL", "provisional_seeds", holds(lambda: honest_records(seeds=9))),
    way(
        "mean within the bar, upper end beyond",
        "BLOCK",
        "leakage_above_bar",
        holds(_of(honest_row(L={"guess": 0.0, "map": 0.17}, step=0.06))),
    ),
    way(
        "another attack than the named one leaks",
        "BLOCK",
        "leakage_above_bar",
        holds(_of(honest_row(L={"guess": 0.25, "map": 0.05}))),
    ),
    way(
        "labels leak more than scores do, in another pack",
        "BLOCK",
        "leakage_above_bar",
        besides(
            lambda: _renamed(
                made.records({"none": Row(L={"guess": 0.6}), "shield": _LEAKY}), "labels"
            )
        ),
    ),
    way(
        "a weaker attack tells members apart",
        "BLOCK",
        "member_leakage_above_bar",
        holds(_of(honest_row(fields={"M": {"guess": 0.1}}))),
    ),
    way(
        "no attack adapts to the defense",
        "BLOCK",
        "no_ranked_evidence",
        holds(_of(honest_row(fields={"adaptive": []}))),
    ),
    way(
        "settings that the protocol refuses",
        "BLOCK",
        "no_ranked_evidence",
        holds(_of(honest_row(fields={"layer": {"min_leaf": 50, "reproduction": True}}))),
    ),
    way(
        "a modified working copy",
        "BLOCK",
        "no_ranked_evidence",
        holds(lambda: honest_records(flags=["dirty"])),
    ),
    way("no ledger", "BLOCK", "dp_claim_unsupported", holds(_of(honest_row(ledger=None)))),
    way(
        "canaries refute the claim",
        "BLOCK",
        "dp_audit_exceeds_claim",
        holds(_of(honest_row(audit=2.5))),
    ),
    way(
        "T1 with an epsilon whose tuning is not accounted for",
        "BLOCK",
        "dp_required",
        says("tier", "T1"),
        holds(
            _of(
                honest_row(
                    ledger=made.ledger(epsilon_total=None, epsilon_total_basis="not_accounted")
                )
            )
        ),
    ),
    way(
        "noise that follows from a seed",
        "CONDITIONAL",
        "dp_noise_seeded",
        holds(_of(honest_row(ledger=made.ledger(rng="seeded (not for release)")))),
    ),
    way(
        "an older protocol",
        "BLOCK",
        "benchmark_outdated",
        holds(lambda: honest_records(protocol_version="0")),
    ),
    way(
        "dated after the day of judgement",
        "BLOCK",
        "evidence_too_old",
        holds(
            lambda: honest_records(created_utc="2026-05-01T00:00:00+00:00"),
            name="20260501T000000000-made",
            started_utc="2026-05-01T00:00:00+00:00",
        ),
    ),
    way(
        "dated by a word",
        "refused",
        "",
        holds(lambda: honest_records(created_utc="yesterday")),
    ),
)
"""Records that are not what they say."""

PACK = (
    way(
        "re-dated after somebody signed to have run it again",
        "BLOCK",
        "evidence_redated",
        known(reruns={"Other lab": "2026-02-01T00:00:00+00:00"}),
    ),
    way(
        "re-dated after a re-run was noted",
        "BLOCK",
        "evidence_redated",
        known(notes={"verification": {"pack": "made", "utc": "2026-02-01T00:00:00+00:00"}}),
    ),
    way(
        "run named after another day than it began on",
        "BLOCK",
        "evidence_redated",
        known(
            parts=({"name": "20250301T000000000-made", "started_utc": "2026-03-01T00:00:00+00:00"},)
        ),
    ),
    way(
        "trials re-dated long after their run",
        "BLOCK",
        "evidence_redated",
        known(
            parts=(
                {
                    "started_utc": "2025-03-01T00:00:00+00:00",
                    "trials": {r.trial_id: "" for r in honest_records(seeds=1)},
                },
            )
        ),
    ),
    way(
        "somebody found otherwise",
        "BLOCK",
        "verification_failed",
        known(notes={"verification": {"outcome": "failed"}}),
    ),
    way(
        "verification typed by hand",
        "CONDITIONAL",
        "not_independently_verified",
        known(reruns={}, notes={"verification": {"outcome": "verified", "by": "Other lab"}}),
    ),
    way(
        "run again by its maker",
        "CONDITIONAL",
        "not_independently_verified",
        known(reruns={"The Makers": ""}, notes={"submitter": "the  makers"}),
    ),
    way(
        "run again by the owner",
        "CONDITIONAL",
        "not_independently_verified",
        known(reruns={"RISK TEAM": ""}),
    ),
    way("too old", "BLOCK", "evidence_too_old", on("2026-08-29")),
    way("judged on a day before it", "BLOCK", "evidence_too_old", on("2026-02-20")),
)
"""What was said of the pack, and the day."""
