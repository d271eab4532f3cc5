"""A deployed model as its owner describes it: the gate's other input (PROTOCOL 8.3)."""

from __future__ import annotations

import hashlib
import re
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from bench.contract.errors import UserError, nearest
from bench.contract.secrets import redacted
from bench.decide.policy import Frozen, parse
from bench.decide.rulebook import RULES
from bench.goals import goals as goals_known

_HEX = r"^[0-9a-f]{64}$"
_V2_MODEL = re.compile(r"^[^?#]*/v2/models/[^/?#]+")
Role = Literal["model owner", "security lead", "dpo"]
ROLES: tuple[Role, ...] = ("model owner", "security lead", "dpo")


class DataUsed(Frozen):
    """What the model was trained on."""

    sources: list[str] = Field(min_length=1, max_length=100)
    dataset: str = Field(min_length=1)
    sha256: str | None = Field(None, pattern=_HEX)
    privacy_unit: Literal["record", "person", "class"]
    categories: list[str] = Field(min_length=1, max_length=100)
    sector: str


class Exposed(Frozen):
    """Who gets what of the model."""

    access: Literal["labels", "scores", "weights"]
    users: str
    query_cap: int | None = Field(None, ge=1, le=10**12)
    weights_shared_with: list[str] = Field([], max_length=100)
    federated: bool = False

    @property
    def effective(self) -> Literal["labels", "scores", "weights"]:
        """Whoever is given the weights has them, whatever the interface offers."""
        return "weights" if self.weights_shared_with else self.access


class Defended(Frozen):
    """What guards it."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Artifact(Frozen):
    """What is released: the digest of its weights or file, a file to take it of, or an address."""

    sha256: str | None = Field(None, pattern=_HEX)
    path: Path | None = None
    url: str | None = Field(None, pattern=r"^https?://[^\s]+$")

    @model_validator(mode="after")
    def _one(self) -> Artifact:
        if sum(value is not None for value in (self.sha256, self.path, self.url)) != 1:
            raise ValueError("give one of sha256, path and url")
        if self.url is not None and redacted(self.url) != self.url:
            raise ValueError("url holds what looks like a credential; leave that out")
        return self


class Claim(Frozen):
    """The guarantee of differential privacy that is claimed."""

    epsilon: float = Field(gt=0, le=1e6)
    delta: float = Field(ge=0, lt=1)
    unit: Literal["record", "person", "class"]
    sampling: str
    """What the accountant assumed: ``poisson`` or ``full_batch``."""


class Relevance(Frozen):
    """Whether a goal of the threat table matters, and why."""

    relevant: bool
    reason: str = Field(min_length=1)


class SignOff(Frozen):
    """Who approved."""

    role: Role
    name: str = Field(min_length=1)
    date: date


class Waiver(Frozen):
    """Who lets a conditional finding pass, why and until when."""

    rule: str
    name: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date

    @field_validator("rule")
    @classmethod
    def _known(cls, rule: str) -> str:
        if rule not in RULES:
            raise ValueError(f"there is no such rule.{nearest(rule, RULES).rstrip('.')}")
        return rule


class Deployed(Frozen):
    """A model that is to be released."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\- ]*$")
    version: str
    owner: str
    purpose: str
    necessity: str
    tier: str
    data: DataUsed
    exposure: Exposed
    model: str = Field(min_length=1)
    stand_in: str = ""
    """A model of the evidence whose boards fill what ``model`` has none of; empty: none does."""
    defense: Defended
    artifact: Artifact | None = None
    dp: Claim | None = None
    evidence: list[str] = Field(min_length=1, max_length=100)
    goals: dict[str, Relevance] = Field(default_factory=dict)
    subgroups: str | None = None
    monitoring: str
    incident_contact: str
    incidents: list[AwareDatetime] = Field([], max_length=100)
    """Moments of incidents; only evidence recorded after all of them counts."""
    sign_offs: list[SignOff] = Field([], max_length=100)
    waivers: list[Waiver] = Field([], max_length=100)

    @field_validator("goals")
    @classmethod
    def _goals(cls, goals: dict[str, Relevance]) -> dict[str, Relevance]:
        for goal in goals:
            if goal not in goals_known():
                raise ValueError(
                    f"there is no goal '{goal}'.{nearest(goal, goals_known()).rstrip('.')}"
                )
        return goals


def load(path: Path) -> Deployed:
    """The description in a YAML file; a path of weights in it is beside that file.

    Raises:
        UserError: it cannot be read, or a key is missing, unknown or wrong.
    """
    told = parse(Deployed, path)
    artifact = told.artifact
    if artifact is None or artifact.path is None:
        return told
    return told.model_copy(
        update={"artifact": artifact.model_copy(update={"path": path.parent / artifact.path})}
    )


def digest(artifact: Artifact | None) -> tuple[str, ...]:
    """Everything by which evidence may name what is released, the first to be shown.

    A digest that was given may be either of the two that a file has: that of its weights, made as
    a trial's ``target.sha256`` is, which only a safetensors file has, or that of its bytes. An
    address may end in a slash or not, and that of a model of the protocol V2 in ``/infer`` or not.

    Returns:
        Digests, or an address; empty: none given.

    Raises:
        UserError: the file cannot be read.
    """
    if artifact is None:
        return ()
    if artifact.url is not None:
        from bench.models.external.http.tensors import infer_url

        given = artifact.url.rstrip("/")
        forms = [given, infer_url(given)] if _V2_MODEL.search(given) else [given, f"{given}/"]
        return tuple(dict.fromkeys([artifact.url, *forms]))
    if artifact.path is None:
        return (artifact.sha256 or "",)
    try:
        whole = hashlib.sha256(artifact.path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(
            f"The model '{artifact.path}' cannot be read ({error.strerror or error}); name the "
            "file of the model, .safetensors or any other that was attacked, or give "
            "artifact.sha256."
        ) from error
    if artifact.path.suffix != ".safetensors":
        return (whole,)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from bench.engine.stages.target import digest_of

    try:
        return (digest_of(load_file(artifact.path)), whole)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The weights '{artifact.path}' cannot be read ({' '.join(str(error).split())}); name "
            "a safetensors file, or give artifact.sha256."
        ) from error


TEMPLATE = """\
# A model that is to be released; `invbench gate default THIS_FILE` judges it.
name: credit-scoring            # also its name in the registry
version: "1"
owner: Credit risk team
purpose: Rank loan applications for manual review
necessity: Reviewers cannot read every application; a rule list did worse
tier: T2                        # of the policy: how harmful the data is

data:
  sources: [Statlog German credit]
  dataset: german               # its name in the evidence
  sha256: "{sha}"   # of the data, as 'invbench data' prints it
  privacy_unit: record          # record | person | class
  categories: [credit history, savings, employment]
  sector: credit

exposure:
  access: scores                # labels | scores | weights: what customers get
  users: two internal applications
  query_cap: 10000              # a month and account; null: none
  weights_shared_with: []       # whoever is named has white-box access
  federated: false              # whether clients share gradients or updates

model: mlp                      # its name in the evidence; of a campaign on the model itself, that of the model it attacked
# stand_in: mlp                 # a model that the benchmark trained like it: fills goals and accesses that a campaign lacks
defense:
  name: freezing                # the row's name on the board, settings included
  params: {{}}
artifact:                       # of the released weights; compared with what was evaluated
  sha256: "{sha}"   # or path: model.safetensors (or .onnx, ...), beside this file, or url: https://...
# dp:                           # only where differential privacy is claimed
#   epsilon: 8.0
#   delta: 1.0e-5
#   unit: record
#   sampling: poisson           # what the accountant assumed

evidence: [results/published/credit]   # packs, or names of suites in the store

goals:                          # the threat table; what is left out is as the policy requires
  class_representative: {{relevant: false, reason: classes are decisions and not people}}
  attribute: {{relevant: true, reason: an insider could infer savings from a score}}
subgroups: null                 # how subgroups were assessed and what it showed
monitoring: volume per account, weekly
incident_contact: privacy@example.org
incidents: []                   # - 2026-01-31T09:30:00+00:00, as 'invbench audit --incident' prints it

# Who signs has seen the evidence: sign-offs dated before its newest trial do not count.
sign_offs: []                   # - {{role: dpo, name: A. Person, date: 2026-01-31}} (also: model owner, security lead)
waivers: []                     # - {{rule: dp_expected, name: A. Person, reason: ..., expires: 2026-06-30}}
""".format(sha="0" * 64)  # noqa: E501
