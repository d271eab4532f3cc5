"""A policy: the bars of each tier and the rules of the gate, as data (PROTOCOL 8.1, 8.3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.contract.documents import read_yaml
from bench.contract.errors import UserError, nearest, require
from bench.engine.conf import config_dir

Severity = Literal["block", "conditional", "off"]
RULES: Mapping[str, str] = {
    "no_ranked_evidence": "There is ranked evidence for every required goal at the exposed access",
    "leakage_above_bar": "The upper end of L is within the tier's bar",
    "member_leakage_above_bar": "The upper end of M is within the tier's bar",
    "dp_sampling_mismatch": "The sampling that was accounted for is the one that was executed",
    "dp_claim_unsupported": "The claimed epsilon is backed by the ledger of the evidence",
    "dp_audit_exceeds_claim": "The audit does not contradict the claimed epsilon",
    "data_hash_unknown": "The data has a known hash, the one the evidence was made with",
    "evidence_too_old": "The evidence is recent",
    "benchmark_outdated": "The evidence follows today's protocol and major version",
    "artifact_mismatch": "The released weights are weights that were evaluated",
    "dp_required": "The tier's required guarantee of differential privacy is there",
    "verification_failed": "Nobody who re-ran the evidence found something else",
    "dp_sign_off_missing": "An epsilon above the preferred one is signed off by the DPO",
    "provisional_seeds": "The evidence has as many seeds as a ranked row asks",
    "subgroup_missing": "Subgroups have been assessed",
    "dp_expected": "Where differential privacy is expected it is there",
    "not_independently_verified": "Somebody else has re-run the evidence",
    "required_goal_declined": "Every goal the class of data requires is assessed",
    "tier_too_lenient": "The tier is the one that the policy has for such data, or a stricter one",
    "dp_noise_seeded": "The noise behind the claimed epsilon cannot be computed again",
}
"""The gate's rules: name and what has to hold."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Told = TypeVar("Told", bound=BaseModel)


class EpsilonRule(_Frozen):
    """Whether a tier asks for differential privacy."""

    rule: Literal["required", "expected", "optional"] = "optional"
    preferred: float | None = Field(None, gt=0)
    """Above it a sign-off is needed."""
    most: float | None = Field(8.0, gt=0)
    """Above it an epsilon counts for nothing; null: any counts."""


class Bars(_Frozen):
    """What a defense must keep within; ``tau`` bounds L, ``mu`` M, ``loss`` the utility lost."""

    tau: float = Field(ge=0, le=1)
    mu: float = Field(ge=0, le=1)
    loss: float = Field(ge=0, le=1)
    utility: str = ""
    """Metric that ``loss`` is meant in; empty: the boards' own."""
    epsilon: EpsilonRule = EpsilonRule()


class Tier(Bars):
    """The bars for a class of data."""

    data: str
    severity: str
    sectors: list[str] = []
    """Whose data belongs here at least, unless a stricter tier has them."""


class Class(_Frozen):
    """The goals that a class of data requires; absent keys fit everything."""

    sector: str | None = None
    modality: str | None = None
    require: list[str] = Field(min_length=1)


class Seeds(_Frozen):
    """How many independently trained targets make evidence."""

    ranked: int = Field(10, ge=2)
    provisional: int = Field(5, ge=2)


class Band(_Frozen):
    """A band of likelihood."""

    up_to: float
    band: str


class Policy(_Frozen):
    """Everything a decision needs besides evidence."""

    name: str
    tiers: dict[str, Tier]
    """The strictest first."""
    goals: list[Class]
    federated: list[str] = []
    seeds: Seeds = Seeds()
    max_age_days: int = Field(180, ge=1)
    rules: dict[str, Severity] = {}
    likelihood: list[Band]
    risk: dict[str, dict[str, str]]

    def tier(self, name: str) -> Tier:
        """The tier of that name."""
        require(
            name in self.tiers,
            f"Policy '{self.name}' has no tier '{name}'.{nearest(name, self.tiers)}",
        )
        return self.tiers[name]

    def tier_of(self, sector: str) -> str:
        """The strictest tier that the policy puts a sector's data in; empty: none."""
        return next((name for name, tier in self.tiers.items() if sector in tier.sectors), "")

    def lenient(self, tier: str, sector: str) -> bool:
        """Whether ``tier`` comes after the one that the sector's data belongs in."""
        order, least = list(self.tiers), self.tier_of(sector)
        return least != "" and order.index(tier) > order.index(least)

    def required(self, sector: str, modality: str) -> list[str]:
        """Goals that must be measured for such data."""
        for entry in self.goals:
            if entry.sector in (None, sector) and entry.modality in (None, modality):
                return entry.require
        raise UserError(
            f"Policy '{self.name}' says nothing of {modality} data in sector '{sector}'; add a "
            "line to its goals, the last one without sector and modality."
        )

    def severity(self, rule: str) -> Severity:
        """What a finding under ``rule`` does."""
        return self.rules.get(rule, "block")

    def band(self, upper: float) -> str:
        """The band of likelihood of an upper end of L."""
        return next((b.band for b in self.likelihood if upper <= b.up_to), self.likelihood[-1].band)


def load(name: str | Path = "default") -> Policy:
    """A shipped policy by its name, or one of your own by its path.

    Raises:
        UserError: there is none, or it cannot be understood.
    """
    path = Path(name)
    folder = config_dir() / "policy"
    if not path.suffix:
        path = folder / f"{name}.yaml"
    require(
        path.is_file(),
        f"There is no policy '{name}'; give the path of a YAML file, or one of: "
        f"{', '.join(sorted(p.stem for p in folder.glob('*.yaml')))}.",
    )
    policy = parse(Policy, path)
    require(
        set(policy.rules) <= set(RULES),
        f"'{path}', rules: there is no rule '{min(set(policy.rules) - set(RULES), default='')}'."
        f"{nearest(min(set(policy.rules) - set(RULES), default=''), RULES)}",
    )
    return policy


def parse(kind: type[Told], path: Path) -> Told:
    """A YAML file as ``kind``.

    Raises:
        UserError: it cannot be read, or says something else; the message names the place.
    """
    told = read_yaml(path)
    require(isinstance(told, dict), f"'{path}' must hold keys and values; it does not.")
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        raise UserError(f"'{path}', {_first(error, kind)}.") from error


def _first(error: ValidationError, kind: type[BaseModel]) -> str:
    found = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        fields = kind.model_fields if len(found["loc"]) == 1 else {}
        hint = nearest(str(found["loc"][-1]), fields).rstrip(".") if fields else ""
        return f"{place}: there is no such key.{hint}" if hint else f"{place}: no such key is known"
    if found["type"] == "missing":
        return f"{place}: it is missing; 'invbench gate --template' shows every key"
    more = len(error.errors()) - 1
    rest = f" (and {more} more)" if more else ""
    message = found["msg"][:1].lower() + found["msg"][1:]
    return f"{place}: {message}, not {found['input']!r}{rest}"
