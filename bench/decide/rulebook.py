"""The gate's rules as data: what has to hold, what a breach does, what to do (PROTOCOL 8.3).

The function that judges each stands in :mod:`bench.decide.rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["block", "conditional", "off"]
"""``conditional``: a named waiver with an expiry date lets it pass."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        holds: what has to hold, in words.
        mend: what to do where it does not.
        severity: what a breach does unless a policy says otherwise.
        firm: whether no policy may soften it.
    """

    holds: str
    mend: str
    severity: Severity = "block"
    firm: bool = False


_RUN_AGAIN = "run the suite again and name the new evidence"

RULES: Mapping[str, Rule] = {
    "evidence_altered": Rule(
        "What the evidence states follows from its own records",
        "get the pack again from whoever made it; 'invbench verify PACK --sample 0' lists "
        "everything that does not follow",
        firm=True,
    ),
    "evidence_redated": Rule(
        "The times in the evidence do not contradict each other",
        f"get the pack again from whoever made it, or {_RUN_AGAIN}",
        firm=True,
    ),
    "no_ranked_evidence": Rule(
        "There is ranked evidence for every required goal at the exposed access",
        "run a grid with attacks on that goal at that access, ten seeds or more",
    ),
    "standard_attacks_missing": Rule(
        "Every standard attack of each required goal met the defense",
        "run the grid again with 'standard=true', which adds the attacks that it lacks; of the "
        "published packs, retail alone was made so",
    ),
    "controls_missing": Rule(
        "The controls that boards rest on ran to their end",
        "run the grid again with 'controls=[untrained,repeat]', as suites do unless told otherwise",
    ),
    "seeds_selected": Rule(
        "The seeds are all from 0 up to the last, none left out",
        "publish every seed of the run, failed ones as well",
    ),
    "given_model_undertested": Rule(
        "Attacks on one given model were run often enough, on enough people",
        "run the campaign again with more seeds or victims; other trained targets are not asked "
        "for",
    ),
    "leakage_above_bar": Rule(
        "The upper end of L is within the tier's bar",
        "ask 'invbench recommend' for a defense that keeps the bar, or expose less",
    ),
    "member_leakage_above_bar": Rule(
        "The upper end of M is within the tier's bar",
        "ask 'invbench recommend' for a defense that keeps the bar, or expose less",
    ),
    "dp_sampling_mismatch": Rule(
        "The sampling that was accounted for is the one that was executed",
        "state the sampling of the ledger under dp.sampling",
    ),
    "dp_claim_unsupported": Rule(
        "The claimed epsilon is backed by the ledger of the evidence",
        "claim what the ledger has, or remove 'dp' from the description",
    ),
    "dp_audit_exceeds_claim": Rule(
        "The audit does not contradict the claimed epsilon",
        "mend the training or its accounting; no waiver makes a refuted epsilon true",
    ),
    "data_hash_unknown": Rule(
        "The data has a known hash, the one the evidence was made with",
        "give data.sha256 as 'invbench data verify' prints it; evidence of other data is of "
        "another model",
    ),
    "evidence_too_old": Rule("The evidence is recent", _RUN_AGAIN),
    "incident_since_evidence": Rule(
        "The evidence was recorded after every incident of the model",
        "attack the model again with '--rerun all' and name the new evidence",
        firm=True,
    ),
    "benchmark_outdated": Rule(
        "The evidence follows today's protocol and major version", _RUN_AGAIN
    ),
    "artifact_mismatch": Rule(
        "The released weights are weights that were evaluated",
        "release one of the evaluated targets, or evaluate the weights that are to be released",
    ),
    "sector_mismatch": Rule(
        "The description and the evidence are of the same sector",
        "state the sector of the evidence's data",
    ),
    "privacy_unit_mismatch": Rule(
        "The description and the evidence protect the same unit",
        "state the privacy unit of the evidence's data",
    ),
    "categories_unfit": Rule(
        "The categories of data are known, and fit the sector and the kind of data",
        "name categories of the policy's table 'categories', or add yours to it in a policy of "
        "your own",
    ),
    "defense_params_differ": Rule(
        "The defense has the options that it was evaluated with",
        "state the options that the evidence was made with, or evaluate those that are deployed",
    ),
    "placeholder_text": Rule(
        "Owner, contact, purpose and all other answers are filled in", "write the real answer"
    ),
    "dp_required": Rule(
        "The tier's required guarantee of differential privacy is there",
        "no published pack accounts for tuning: run a suite with defense=[none,dp_sgd], "
        "defense.dp_sgd.epsilon_total_basis=single_run (options fixed beforehand) or "
        "defense.dp_sgd.tuning_runs=N, of the protected unit, and claim the ledger's epsilon",
    ),
    "verification_failed": Rule(
        "Nobody who re-ran the evidence found something else",
        "find out why the evidence does not repeat; then run the suite again",
        firm=True,
    ),
    "sign_offs_unfit": Rule(
        "Each role is signed by a person of their own who has seen the evidence",
        "have one person a role sign, after the evidence was recorded, or remove the sign-off",
    ),
    "waivers_unfit": Rule(
        "Each waiver has a real name, a reason and an end within the policy's limit",
        "give the waiver a person, a reason and a nearer day",
    ),
    "members_unknown": Rule(
        "It is known whom the model was trained on, so that M can be judged",
        "give the records that the model was trained on as 'members' of the table, or have it "
        "waived that nobody can tell members from others",
        "conditional",
    ),
    "dp_sign_off_missing": Rule(
        "An epsilon above the preferred one is signed off by the DPO",
        "have the DPO sign under 'sign_offs'",
        "conditional",
    ),
    "provisional_seeds": Rule(
        "The evidence has as many seeds as a ranked row asks",
        "run the suite again with more seeds",
        "conditional",
    ),
    "subgroup_missing": Rule(
        "Subgroups have been assessed", "state how under 'subgroups'", "conditional"
    ),
    "dp_expected": Rule(
        "Where differential privacy is expected it is there",
        "evaluate and claim a private training, or have it waived with a reason",
        "conditional",
    ),
    "not_independently_verified": Rule(
        "Somebody else has run the evidence again and signed that",
        "have somebody else run 'invbench verify PACK --by NAME --sign KEY', and name the keys "
        "that you trust with --signers",
        "conditional",
    ),
    "required_goal_declined": Rule(
        "Every goal the class of data requires is assessed",
        "remove the goal from 'goals', or have its absence waived",
        "conditional",
    ),
    "tier_too_lenient": Rule(
        "The tier is the one that the policy has for such data, or a stricter one",
        "state the stricter tier",
        "conditional",
    ),
    "dp_noise_seeded": Rule(
        "The noise behind the claimed epsilon cannot be computed again",
        "train the released model with secure randomness",
        "conditional",
    ),
}
"""The gate's rules by name, in the order in which findings are worked out."""
