"""Rules on a claim of differential privacy: ledger, sampling, audit, sign-off."""

from __future__ import annotations

from collections.abc import Iterator

from bench.decide.case import Case
from bench.decide.rules.leakage import reasons

_EXACT = 1 - 1e-9


def dp_sampling_mismatch(case: Case) -> Iterator[str]:
    """Another sampling than the one that was executed."""
    claim, ledger = case.model.dp, case.ledger
    if claim and ledger and ledger.sampling != claim.sampling:
        yield f"{claim.sampling} sampling was accounted for, {ledger.sampling} was executed"


def dp_claim_unsupported(case: Case) -> Iterator[str]:
    """A claim beyond the ledger's, or without one."""
    claim, ledger, g = case.model.dp, case.ledger, case.candidate.guarantee
    if claim is None:
        return
    if ledger is None or g is None:
        yield f"epsilon {claim.epsilon:g} is claimed, but '{case.candidate.defense}' has no ledger"
        return
    if claim.epsilon < g.epsilon * _EXACT or claim.delta < ledger.delta * _EXACT:
        yield (
            f"({claim.epsilon:g}, {claim.delta:g}) is claimed, the ledger has "
            f"({g.epsilon:.3f}, {ledger.delta:g})"
        )
    if claim.unit != ledger.unit and not (claim.unit == "person" and g.personal):
        yield f"a guarantee of one {claim.unit} is claimed, the ledger's is of one {ledger.unit}"


def dp_audit_exceeds_claim(case: Case) -> Iterator[str]:
    """Canaries that contradict the claim."""
    yield from reasons(case, "dp_audit_exceeds_claim")
    claim = case.model.dp
    if claim is None or case.ledger is None:
        return
    bounds = case.trials.dropna(subset="epsilon_lower")
    released = bounds[bounds["target_sha"].isin(case.names)]["epsilon_lower"]
    over = bounds.groupby("seed")["epsilon_lower"].first() > claim.epsilon
    if over.mean() > 0.5 or (released > claim.epsilon).any():
        yield (
            f"canaries show an epsilon of at least {bounds['epsilon_lower'].max():.2f}, "
            f"{claim.epsilon:g} is claimed"
        )


def dp_required(case: Case) -> Iterator[str]:
    """No guarantee where the tier requires one."""
    yield from reasons(case, "dp_required")
    g = case.candidate.guarantee
    required = case.question.bars.epsilon.rule == "required"
    if required and case.model.dp is None and g is not None and g.formal:
        yield "the description claims no differential privacy"


def dp_expected(case: Case) -> Iterator[str]:
    """No guarantee that counts where the tier expects one."""
    claim, ask, g = case.model.dp, case.question.bars.epsilon, case.candidate.guarantee
    if ask.rule != "expected":
        return
    if claim is None:
        yield f"tier {case.model.tier} expects differential privacy; none is claimed"
    elif g is not None and not g.formal:
        yield "the epsilon leaves out tuning"
    elif g is not None and ask.most is not None and g.epsilon > ask.most:
        yield f"the epsilon of {g.epsilon:.2f} is above {ask.most:g}"


def dp_sign_off_missing(case: Case) -> Iterator[str]:
    """An epsilon above the preferred one that no DPO signed off."""
    ask, g = case.question.bars.epsilon, case.candidate.guarantee
    preferred = ask.preferred if ask.rule == "required" else None
    if case.model.dp is None or g is None or preferred is None:
        return
    if g.epsilon > preferred and "dpo" not in case.signed:
        yield (
            f"epsilon {g.epsilon:.2f} is above the preferred {preferred:g}; no DPO signed it off"
        )


def dp_noise_seeded(case: Case) -> Iterator[str]:
    """Noise that whoever knows the seed can take away."""
    if case.model.dp is not None and case.ledger is not None and "seeded" in case.ledger.rng:
        yield "the noise came from a seed: who knows it can take the noise away"


CHECKS = {
    "dp_sampling_mismatch": dp_sampling_mismatch,
    "dp_claim_unsupported": dp_claim_unsupported,
    "dp_audit_exceeds_claim": dp_audit_exceeds_claim,
    "dp_required": dp_required,
    "dp_expected": dp_expected,
    "dp_sign_off_missing": dp_sign_off_missing,
    "dp_noise_seeded": dp_noise_seeded,
}
