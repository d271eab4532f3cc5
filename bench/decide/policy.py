"""A policy: the bars of each tier and the rules of the gate, as data (PROTOCOL 8.1, 8.3)."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.contract.documents import read_yaml
from bench.contract.errors import UserError, nearest, require
from bench.decide.persons import folded
from bench.decide.rulebook import RULES, Severity
from bench.engine.conf import config_dir

SHIPPED = "default"
"""Name of the policy that comes with the program."""
_SHOWN = 80
"""Most characters of a value that a sentence repeats."""


class Frozen(BaseModel):
    """What a person writes: every key known, every number finite, no text without end."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=2000)


Told = TypeVar("Told", bound=BaseModel)


class EpsilonRule(Frozen):
    """Whether a tier asks for differential privacy."""

    rule: Literal["required", "expected", "optional"] = "optional"
    preferred: float | None = Field(None, gt=0, le=1000)
    """Above it a sign-off is needed."""
    most: float | None = Field(8.0, gt=0, le=1000)
    """Above it an epsilon counts for nothing; null: any counts."""


class Bars(Frozen):
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


class Class(Frozen):
    """The goals that a class of data requires; absent keys fit everything."""

    sector: str | None = None
    modality: str | None = None
    require: list[str] = Field(min_length=1)


class Kind(Frozen):
    """Categories of data that belong together."""

    names: list[str] = Field(min_length=1)
    sectors: list[str] = []
    """Whose data may hold them; empty: anybody's."""
    modalities: list[str] = []
    """Kinds of data that may hold them; empty: all."""
    tier: str = ""
    """The most lenient tier that such data may be judged by; empty: any."""


class Seeds(Frozen):
    """How many independently trained targets make evidence."""

    ranked: int = Field(10, ge=2, le=10_000)
    provisional: int = Field(5, ge=2, le=10_000)


class OneTarget(Frozen):
    """Least evidence on one target that was given: there is no second one to train."""

    seeds: int = Field(3, ge=1, le=10_000)
    """How often the attacks are run on it."""
    victims: int = Field(100, ge=1, le=10**9)
    """People that each attack is tried on, where victims are records."""


class Band(Frozen):
    """A band of likelihood."""

    up_to: float = Field(ge=0, le=1)
    band: str


class Policy(Frozen):
    """Everything a decision needs besides evidence."""

    name: str
    tiers: dict[str, Tier] = Field(min_length=1, max_length=100)
    """The strictest first."""
    goals: list[Class] = Field(min_length=1)
    federated: list[str] = []
    categories: list[Kind] = []
    seeds: Seeds = Seeds()
    one_target: OneTarget = OneTarget()
    max_age_days: int = Field(180, ge=1, le=3650)
    max_waiver_days: int = Field(365, ge=1, le=3650)
    signers: str = ""
    """File of the keys of those whose re-runs count, beside the policy; empty: none is named."""
    rules: dict[str, Severity | dict[str, Severity]] = {}
    """What a breach does, or that by tier; else what :data:`bench.decide.rulebook.RULES` says."""
    likelihood: list[Band] = Field(min_length=1)
    risk: dict[str, dict[str, str]]

    @field_validator("rules", mode="before")
    @classmethod
    def _severities(cls, given: Any) -> Any:
        """YAML reads a bare ``off`` as false."""
        if not isinstance(given, dict):
            return given
        rules = {}
        for name, told in given.items():
            by = told if isinstance(told, dict) else {"": told}
            read = {tier: "off" if value is False else value for tier, value in by.items()}
            if not read or not all(value in get_args(Severity) for value in read.values()):
                raise ValueError(
                    f"'{str(name)[:_SHOWN]}' must be one of {', '.join(get_args(Severity))}, or "
                    "one of them by tier"
                )
            rules[name] = read if isinstance(told, dict) else read[""]
        return rules

    @model_validator(mode="after")
    def _tiers_are_known(self) -> Policy:
        places = [
            (f"rules.{n}", t) for n, by in self.rules.items() if isinstance(by, dict) for t in by
        ]
        places += [(f"categories ({k.names[0]})", k.tier) for k in self.categories if k.tier]
        for place, tier in places:
            if tier not in self.tiers:
                raise ValueError(f"{place} names the tier '{tier[:_SHOWN]}', which tiers lacks")
        return self

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
        return self.later(tier, self.tier_of(sector))

    def later(self, tier: str, least: str) -> bool:
        """Whether ``tier`` is more lenient than ``least``; nothing is than the empty one."""
        order = list(self.tiers)
        return least != "" and order.index(tier) > order.index(least)

    def kind_of(self, category: str) -> Kind | None:
        """The entry of the table that names a category, however it is written; None: none does."""
        name = folded(category)
        return next((k for k in self.categories if name in map(folded, k.names)), None)

    def required(self, sector: str, modality: str) -> list[str]:
        """Goals that must be measured for such data."""
        for entry in self.goals:
            if entry.sector in (None, sector) and entry.modality in (None, modality):
                return entry.require
        raise UserError(
            f"Policy '{self.name}' says nothing of {modality} data in sector '{sector}'; add a "
            "line to its goals, the last one without sector and modality."
        )

    def severity(self, rule: str, tier: str) -> Severity:
        """What a breach of ``rule`` does in ``tier``."""
        usual = RULES[rule].severity
        own = self.rules.get(rule, usual)
        return own.get(tier, usual) if isinstance(own, dict) else own

    @property
    def digest(self) -> str:
        """sha256 of all that the policy says."""
        return hashlib.sha256(json.dumps(self._said(), sort_keys=True).encode()).hexdigest()

    def differences(self) -> list[str]:
        """Every key by which it differs from the shipped policy, with both values, sorted."""
        own, other = (dict(_leaves(policy._said())) for policy in (self, shipped()))
        return [
            f"{key}: {_short(own.get(key))} (shipped: {_short(other.get(key))})"
            for key in sorted({*own, *other})
            if own.get(key) != other.get(key) and key != "name"
        ]

    @property
    def title(self) -> str:
        """Its name, and whether it is the shipped policy whatever it is called."""
        changed = len(self.differences())
        if not changed:
            return f"'{self.name[:_SHOWN]}' (as shipped)"
        keys = f"{changed} key{'s differ' if changed > 1 else ' differs'} from the shipped one"
        wrong = f"NOT the shipped '{SHIPPED}': " if folded(self.name) == SHIPPED else ""
        return f"'{self.name[:_SHOWN]}' ({wrong}{keys})"

    def _said(self) -> dict[str, Any]:
        """Its contents, with the order of tiers, and each rule's severity in each tier."""
        said = self.model_dump(mode="json")
        said["signers"] = _sha256(self.signers)
        said["order of tiers"] = list(self.tiers)
        said["rules"] = {
            rule: {tier: self.severity(rule, tier) for tier in self.tiers} for rule in RULES
        }
        return said

    def band(self, upper: float) -> str:
        """The band of likelihood of an upper end of L."""
        return next((b.band for b in self.likelihood if upper <= b.up_to), self.likelihood[-1].band)


def bars_of(policy: Policy, tier: str, own: Mapping[str, float]) -> Bars:
    """The bars of a tier, or one's own.

    Raises:
        UserError: there is no such tier, or not exactly one of both is given, whole.
    """
    require(bool(tier) != bool(own), "Give either --tier, or --tau, --mu and --loss.")
    require(
        not own or set(own) == {"tau", "mu", "loss"},
        f"Bars of your own need all of --tau, --mu and --loss; given: {', '.join(own)}.",
    )
    return policy.tier(tier) if tier else Bars.model_validate(own)


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
    unknown = [rule[:_SHOWN] for rule in policy.rules if rule not in RULES]
    require(
        not unknown,
        f"'{path}', rules: there is no rule '{''.join(unknown[:1])}'."
        f"{nearest(''.join(unknown[:1]), RULES)}",
    )
    for key, rule in RULES.items():
        soft = {policy.severity(key, tier) for tier in policy.tiers} - {"block"}
        require(
            not (rule.firm and soft),
            f"'{path}', rules: '{key}' cannot be {min(soft, default='')}; no policy may soften "
            f"that {rule.holds[:1].lower()}{rule.holds[1:]}.",
        )
    return policy.model_copy(
        update={"signers": str(path.parent / policy.signers) if policy.signers else ""}
    )


@functools.cache
def shipped() -> Policy:
    """The policy that comes with the program."""
    return load(SHIPPED)


def _sha256(path: str) -> str:
    """What a file holds, in short; empty where none is named or it is not there."""
    file = Path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest() if path and file.is_file() else ""


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of nested mappings, by its place; lists are single values."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{place}.{key}" if place else str(key))
    else:
        yield place, value


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


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
    place = ".".join(str(part)[:_SHOWN] for part in found["loc"])
    if found["type"] == "extra_forbidden":
        fields = kind.model_fields if len(found["loc"]) == 1 else {}
        hint = nearest(str(found["loc"][-1])[:_SHOWN], fields).rstrip(".") if fields else ""
        return f"{place}: there is no such key.{hint}" if hint else f"{place}: no such key is known"
    if found["type"] == "missing":
        return f"{place}: it is missing; 'invbench gate --template' shows every key"
    more = len(error.errors()) - 1
    rest = f" (and {more} more)" if more else ""
    message = found["msg"][:1].lower() + found["msg"][1:]
    if isinstance(found["input"], dict):
        return f"{place or 'the whole'}: {message[:400]}{rest}"
    return f"{place}: {message[:400]}, not {_short(_plain(found['input']))}{rest}"


def _plain(value: Any) -> Any:
    """What JSON can say of a value."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)[:_SHOWN]
