"""The inventory that a team keeps in git: who uses each model, shares it, and where it answers.

PROTOCOL 8.4. What the registry says of the same models is compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bench.contract.access import at_least
from bench.contract.errors import require
from bench.decide import deployed
from bench.decide.deployed import Deployed
from bench.decide.policy import Frozen, parse
from bench.decide.registry import Entry

Given = Literal["labels", "scores", "weights"]


class User(Frozen):
    """Who uses a model."""

    who: str = Field(min_length=1)
    purpose: str = Field(min_length=1)
    accounts: int | None = Field(None, ge=0)


class Sharing(Frozen):
    """Who was given what of a model."""

    who: str = Field(min_length=1)
    what: Given
    since: date
    terms: str = Field(min_length=1)


class Point(Frozen):
    """Where a model answers."""

    place: str = Field(min_length=1)
    """URL, queue, notebook or file."""
    kind: Literal["url", "queue", "notebook", "batch", "device"]
    access: Given
    authentication: str = Field(min_length=1)
    query_cap: int | None = Field(None, ge=1)


class Listed(Frozen):
    """A model of the inventory."""

    description: Path
    """The gate's description, beside the inventory."""
    users: list[User] = Field(min_length=1)
    sharing: list[Sharing] = Field(default_factory=list)
    exposure: list[Point] = Field(min_length=1)


class _Inventory(Frozen):
    models: list[Listed] = Field(min_length=1)


@dataclass(frozen=True)
class Kept:
    """A model as the team keeps it: its description, and what the inventory adds."""

    path: Path
    described: Deployed
    listed: Listed

    @property
    def key(self) -> tuple[str, str]:
        """Name and version."""
        return self.described.name, self.described.version


def load(path: Path) -> list[Kept]:
    """The inventory in a YAML file, with the descriptions that it names.

    Raises:
        UserError: a file cannot be read, a key is missing, unknown or wrong, or a model is listed
            twice.
    """
    kept = [
        Kept(place, deployed.load(place), listed)
        for listed in parse(_Inventory, path).models
        for place in [path.parent / listed.description]
    ]
    keys = [model.key for model in kept]
    for name, version in keys:
        require(
            keys.count((name, version)) == 1,
            f"'{path}' lists version {version} of '{name}' twice; keep one.",
        )
    return kept


def plain(kept: Kept) -> dict[str, Any]:
    """What the inventory adds to a model, as plain data."""
    return {
        "description": str(kept.path),
        **kept.listed.model_dump(mode="json", include={"users", "sharing", "exposure"}),
    }


COLUMNS = ("model", "version", "users", "shared with", "where it answers")


def row(kept: Kept) -> list[str]:
    """A line of the table of :data:`COLUMNS`."""
    listed = kept.listed
    points = (
        f"{p.place} ({p.access}, {p.authentication}, "
        f"{f'at most {p.query_cap:,} queries' if p.query_cap else 'no query cap'})"
        for p in listed.exposure
    )
    shared = (f"{s.who} ({s.what} since {s.since}: {s.terms})" for s in listed.sharing)
    return [*kept.key, *("; ".join(x) for x in ((u.who for u in listed.users), shared, points))]


def differences(kept: Sequence[Kept], entries: Sequence[Entry]) -> list[str]:
    """Where the team's files and the registry, or two of the files, do not agree, in sentences."""
    registered = {(entry.name, entry.version): entry for entry in entries}
    sentences = [
        f"{entry.name} {entry.version} is registered, and the inventory does not list it"
        for key, entry in registered.items()
        if key not in {model.key for model in kept}
    ]
    for model in kept:
        name = " ".join(model.key)
        sentences += [f"{name}: {text}" for text in _within(model)]
        entry = registered.get(model.key)
        if entry is None:
            sentences.append(f"{name} is listed, and the registry has no such version")
        else:
            sentences += [f"{name}: {text}" for text in _against(model.described, entry)]
    return sentences


def _within(model: Kept) -> Iterator[str]:
    """What users get beyond what the description says, by which the gate judged."""
    exposure, listed = model.described.exposure, model.listed
    for point in listed.exposure:
        if not at_least(exposure.effective, point.access):
            yield (
                f"'{point.place}' gives {point.access}, its description says "
                f"{exposure.effective} at most"
            )
        cap = exposure.query_cap
        if cap is not None and (point.query_cap is None or point.query_cap > cap):
            yield (
                f"'{point.place}' allows {point.query_cap or 'any number of'} queries, its "
                f"description {cap}"
            )
    holders = {share.who for share in listed.sharing if share.what == "weights"}
    for who in sorted(holders ^ set(exposure.weights_shared_with)):
        here, there = (
            ("inventory", "description") if who in holders else ("description", "inventory")
        )
        yield f"'{who}' has the weights by the {here}, and not by the {there}"


def _against(described: Deployed, entry: Entry) -> Iterator[str]:
    """Fields of the registry that say something else than the description."""
    wanted: Mapping[str, str] = {
        "owner": described.owner,
        "tier": described.tier,
        "model": described.model,
        "defense_id": described.defense.name,
        "access_exposed": described.exposure.effective,
        "query_cap": str(described.exposure.query_cap or ""),
        "users": described.exposure.users,
        "weights_shared_with": "; ".join(described.exposure.weights_shared_with),
        "dataset": described.data.dataset,
    }
    for key, value in wanted.items():
        if entry.get(key) != value:
            yield f"{key} is '{value}' in the description, '{entry.get(key)}' in the registry"
    incident = entry.get("incident")
    if incident and datetime.fromisoformat(incident) not in described.incidents:
        yield f"the incident of {incident} is in the registry, and not in the description"


TEMPLATE = """\
# The models that a team answers for; 'invbench inventory --from THIS_FILE --check' compares it with the registry.
models:
  - description: credit/model.yaml      # as 'invbench gate --template' prints it; beside this file
    users:
      - {who: Loan officers, purpose: rank applications, accounts: 40}
    sharing:                            # who was given what: labels | scores | weights
      - {who: Partner Bank, what: scores, since: 2026-01-31, terms: "contract 12, no passing on"}
    exposure:                           # every place where it answers
      - place: https://api.example.org/credit
        kind: url                       # url | queue | notebook | batch | device
        access: scores                  # labels | scores | weights
        authentication: OAuth, a key a user
        query_cap: 10000                # a month and account; leave it out where there is none
"""  # noqa: E501
