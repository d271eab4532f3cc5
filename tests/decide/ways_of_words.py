"""Ways to a PASS by what people write: descriptions, names, policies."""

from __future__ import annotations

from tests.decide import made
from tests.decide.attempt import Change, describes, rules, rules_text, says, way

_FACE = says("data.sector", "face")


def waiver(**changes: str) -> tuple[Change, Change]:
    """A description without subgroups, which somebody waives."""
    waiver = {"rule": "subgroup_missing", "name": "Ada Ng", "reason": "small model"}
    return says("subgroups", None), says(
        "waivers", [{**waiver, "expires": "2026-06-30", **changes}]
    )


def signed(*people: tuple[str, str], day: str = "2026-03-20") -> Change:
    return says("sign_offs", [{"role": role, "name": name, "date": day} for role, name in people])


DESCRIPTION = (
    way("no digest of the data", "BLOCK", "data_hash_unknown", says("data.sha256", None)),
    way("other data", "BLOCK", "data_hash_unknown", says("data.sha256", "0" * 64)),
    way("no weights", "BLOCK", "artifact_mismatch", says("artifact", None)),
    way("other weights", "BLOCK", "artifact_mismatch", says("artifact.sha256", "f" * 64)),
    way(
        "weights of the undefended target",
        "BLOCK",
        "artifact_mismatch",
        says("artifact.sha256", made.weights("none", 0)),
    ),
    way(
        "more access than was attacked",
        "BLOCK",
        "no_ranked_evidence",
        says("exposure.access", "weights"),
    ),
    way(
        "weights shared with a vendor",
        "BLOCK",
        "no_ranked_evidence",
        says("exposure.weights_shared_with", ["a vendor"]),
    ),
    way("clients share updates", "BLOCK", "no_ranked_evidence", says("exposure.federated", True)),
    way("another sector", "BLOCK", "sector_mismatch", says("data.sector", "survey")),
    way(
        "sector face with category genome",
        "BLOCK",
        "categories_unfit",
        _FACE,
        says("data.categories", ["genome"]),
    ),
    way(
        "pictures of people in a table",
        "BLOCK",
        "categories_unfit",
        says("data.categories", ["face image"]),
    ),
    way("a category nobody knows", "BLOCK", "categories_unfit", says("data.categories", ["vibes"])),
    way(
        "another privacy unit",
        "BLOCK",
        "privacy_unit_mismatch",
        says("data.privacy_unit", "person"),
    ),
    way(
        "weaker options than were evaluated",
        "BLOCK",
        "defense_params_differ",
        says("defense.params", {"min_leaf": 1}),
    ),
    way(
        "options that the evidence does not name",
        "BLOCK",
        "defense_params_differ",
        says("defense.params", {"depth": 3}),
    ),
    way("a milder tier", "CONDITIONAL", "tier_too_lenient", says("tier", "T3")),
    way(
        "the required goal is called irrelevant",
        "BLOCK",
        "required_goal_declined",
        says("goals", {"attribute": {"relevant": False, "reason": "we say so"}}),
    ),
    way(
        "a goal that nobody attacked",
        "BLOCK",
        "no_ranked_evidence",
        says("goals", {"training_instance": {"relevant": True, "reason": "outliers"}}),
    ),
    way("a smaller epsilon than spent", "BLOCK", "dp_claim_unsupported", says("dp.epsilon", 1.0)),
    way("a smaller delta", "BLOCK", "dp_claim_unsupported", says("dp.delta", 1e-9)),
    way("another unit of the guarantee", "BLOCK", "dp_claim_unsupported", says("dp.unit", "class")),
    way("another sampling", "BLOCK", "dp_sampling_mismatch", says("dp.sampling", "full_batch")),
    way("an epsilon that is no number", "refused", "", says("dp.epsilon", float("nan"))),
    way("no claim where one is expected", "CONDITIONAL", "dp_expected", says("dp", None)),
    way("owner TODO", "BLOCK", "placeholder_text", says("owner", "TODO")),
    way("an owner nobody can see", "BLOCK", "placeholder_text", says("owner", "\u200b\u2060")),
    way("no contact", "BLOCK", "placeholder_text", says("incident_contact", "-")),
    way("an empty contact", "BLOCK", "placeholder_text", says("incident_contact", "")),
    way("purpose in dummy text", "BLOCK", "placeholder_text", says("purpose", "Lorem ipsum dolor")),
    way("users n/a", "BLOCK", "placeholder_text", says("exposure.users", "N/A")),
    way("necessity tbd, in wide letters", "BLOCK", "placeholder_text", says("necessity", "ＴＢＤ")),
    way("subgroups none", "CONDITIONAL", "subgroup_missing", says("subgroups", "none")),
    way("a key given twice", "refused", "", describes("tier: T3\n")),
    way("a key nobody knows", "refused", "", says("waiver", [])),
)
"""Descriptions that the evidence does not bear out, or that say nothing."""

PEOPLE = (
    way(
        "one person in three roles",
        "BLOCK",
        "sign_offs_unfit",
        signed(*((role, "Ada Ng") for role in ("model owner", "security lead", "dpo"))),
    ),
    way(
        "one person in two roles, spelled with a Cyrillic letter",
        "BLOCK",
        "sign_offs_unfit",
        signed(("dpo", "Ada Ng"), ("security lead", "NG,  \u0410da")),
    ),
    way("signed by '-'", "BLOCK", "sign_offs_unfit", signed(("dpo", "-"))),
    way(
        "signed before the evidence",
        "BLOCK",
        "sign_offs_unfit",
        signed(("dpo", "Ada Ng"), day="2026-02-01"),
    ),
    way("signed ahead", "BLOCK", "sign_offs_unfit", signed(("dpo", "Ada Ng"), day="2026-05-01")),
    way("signed by who ran it again", "BLOCK", "sign_offs_unfit", signed(("dpo", "other LAB"))),
    way("signed by the owner as DPO", "BLOCK", "sign_offs_unfit", signed(("dpo", "risk team"))),
    way("waiver to 9999", "BLOCK", "waivers_unfit", *waiver(expires="9999-12-31")),
    way("waiver by ' '", "BLOCK", "waivers_unfit", *waiver(name=" ")),
    way("waiver by a role", "BLOCK", "waivers_unfit", *waiver(name="DPO")),
    way("waiver without a reason", "BLOCK", "waivers_unfit", *waiver(reason="n/a")),
    way("waiver that has ended", "CONDITIONAL", "subgroup_missing", *waiver(expires="2026-03-31")),
    way("waiver of a rule nobody knows", "refused", "", *waiver(rule="subgroups")),
    way(
        "waiver of a rule that blocks",
        "BLOCK",
        "artifact_mismatch",
        says("artifact", None),
        says(
            "waivers",
            [
                {
                    "rule": "artifact_mismatch",
                    "name": "Ada Ng",
                    "reason": "known",
                    "expires": "2026-06-30",
                }
            ],
        ),
    ),
)
"""Who signs, and who waives."""

POLICY = (
    way(
        "'default' with a rule off",
        "PASS",
        "shown",
        rules("rules.artifact_mismatch", "off"),
        says("artifact", None),
    ),
    way("'default' with wider bars", "PASS", "shown", rules("tiers.T2.tau", 1.0)),
    way("'default' with the mild tier first", "PASS", "shown", rules("tiers.T1.sectors", [])),
    way("checks of the evidence off", "refused", "", rules("rules.evidence_altered", "off")),
    way("re-dating conditional", "refused", "", rules("rules.evidence_redated", "conditional")),
    way("a bar that is no number", "refused", "", rules("tiers.T2.tau", float("nan"))),
    way("a bar without end", "refused", "", rules("tiers.T2.mu", float("inf"))),
    way("a bar beyond 1", "refused", "", rules("tiers.T2.mu", 2)),
    way("evidence never too old", "refused", "", rules("max_age_days", 1e9)),
    way("waivers for ever", "refused", "", rules("max_waiver_days", 10**9)),
    way(
        "an integer of 5,000 digits",
        "refused",
        "",
        rules_text("max_age_days: 180", f"max_age_days: {'9' * 5000}"),
    ),
    way("nesting without end", "refused", "", rules_text("name: default", f"name: {'[' * 5000}")),
    way(
        "an alias that multiplies",
        "refused",
        "",
        rules_text("name: default", "name: &a default\nx: [*a, *a]"),
    ),
    way("a rule nobody knows", "refused", "", rules("rules.leakage", "off")),
    way("a tier nobody knows", "refused", "", rules("rules.dp_expected", {"T9": "off"})),
    way(
        "a rule given twice",
        "refused",
        "",
        rules_text("  dp_required: block\n", "  dp_required: block\n  dp_required: off\n"),
    ),
)
"""Policies that ask less, and files that break readers."""
