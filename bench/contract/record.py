"""The record of a trial: typed, versioned, immutable JSON (PROTOCOL 6).

A record is a view joined from the outcomes of the nodes it names; it is written once and never
edited. Non-finite numbers are None: JSON has no NaN.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from bench.contract.ledger import PrivacyLedger
from bench.contract.names import Identity, Name

SCHEMA_VERSION = "1.11.0"
"""Version of this schema; readers refuse a newer major version."""

Status = Literal[
    "done",
    "failed",
    "timeout",
    "oom",
    "crashed",
    "diverged",
    "skipped",
    "cancelled",
]
STATUSES: tuple[Status, ...] = get_args(Status)

Control = Literal[
    "untrained",
    "shuffled",
    "random_labels",
    "temperature",
    "zero",
    "repeat",
    "doubled",
    "overfit",
    "early_stopped",
    "canary",
]
CONTROLS: tuple[Control, ...] = get_args(Control)
"""Control trials (PROTOCOL 3.6). A name in brackets says what it is a control of: the cell of
``doubled`` has the attack ``doubled[miface]``."""


ENVIRONMENT = (
    "host",
    "processor",
    "machine",
    "capability",
    "blas",
    "threads",
    "device",
    "driver",
    "python",
    "torch",
    "numpy",
    "commit",
)
"""Facts of which all must be equal before two results are asked to be equal bit for bit."""
ELSEWHERE = "elsewhere"
"""Key of ``env`` under which stands what differs where other nodes of a trial were made: facts by
the kind of node, of a baseline by its name."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Failure(_Frozen):
    """Why a node did not end in ``done``."""

    type: str
    """Exception class, or ``Timeout``, ``WorkerCrashed``, ``Upstream``."""
    message: str
    """One sentence."""
    traceback: str = ""
    """Traceback text of the worker."""
    node: str = ""
    """Identity of the node that failed, where it is not this one (``skipped: upstream``)."""


class Cell(_Frozen):
    """The coordinates of a trial in its grid."""

    dataset: Name
    model: Name
    defense: Name
    """Row name, variants included: ``dp_sgd[epsilon=3]``."""
    attack: Name
    """Attack name, variants included."""
    seed: int = Field(ge=0, le=1_000_000)
    """Repeat number."""

    def key(self) -> str:
        """``dataset/model/defense/attack/seed``."""
        return f"{self.dataset}/{self.model}/{self.defense}/{self.attack}/{self.seed}"


class Data(_Frozen):
    """What was attacked."""

    sector: Name
    modality: Name
    source: str
    terms: str
    privacy_unit: str
    publishable: bool
    """Whether a published report may show records."""
    option: str = ""
    """Option of the data set, whose name the data set's own may differ from."""
    sensitive: str = ""
    """Name of the sensitive attribute (tables)."""
    asked_about: str = Field("", validation_alias=AliasChoices("asked_about", "secret"))
    """The same as the end of a question: ``whether a patient is given insulin``."""
    class_names: list[str] = []
    facts: dict[str, Any] = {}
    """sha256, n_rows, n_train, n_test, n_public, class_counts, duplicates_across_splits, ..."""


class Target(_Frozen):
    """The trained model behind the defense."""

    params: dict[str, Any] = {}
    """Options of the model."""
    n_params: int | None = None
    epochs: int | None = None
    steps: int | None = None
    final_loss: float | None = None
    train_accuracy: float | None = None
    public_records: int = 0
    """Public records the defense used."""
    sha256: str = ""
    """Digest of the weights; of a model that was given, of its file and how it is read."""
    given: dict[str, Any] = {}
    """What was found out about a model that was given: its inputs, outputs, answers and classes;
    ``file_sha256``, the digest of its file, or the ``url`` of its endpoint."""


class DefenseInfo(_Frozen):
    """What the owner did."""

    family: str = ""
    """Option it is a setting of."""
    settings: int = 1
    """Settings of that option that were tried: in the suite, in a search before it, by itself."""
    tunable: bool = True
    """Whether it has an option that trades protection for usefulness."""
    stages: list[str] = []
    """Where it acts: ``training``, ``release``, ``serve``."""
    layers: list[dict[str, Any]] = []
    """Layers in order, each with ``_target_`` and its options."""
    covers: list[str] = []
    """Access levels at which it acts; elsewhere the row is flagged ``no_effect``."""
    adaptive_attacks: list[str] = []
    """Of records before schema 1.7: attacks that the defense claimed to be adaptive."""
    paper: str = ""


class AttackInfo(_Frozen):
    """How it was attacked."""

    family: str = ""
    """Option it is a setting of."""
    settings: int = 1
    """Settings of that option in the suite."""
    params: dict[str, Any] = {}
    paper: str = ""
    standard: dict[str, int] = {}
    """Standard sets of the goal, and how many of their members can attack such a deployment."""
    member: dict[str, int] = {}
    """Standard sets that this attack belongs to, and its place in each."""
    knowledge: list[str] = []
    """Knowledge codes that it declares, K0..K7."""
    knowledge_read: list[str] = []
    """Codes of what it and its prior really read; K0 is public and is not metered."""
    adaptive_to: list[str] = []
    """Defenses that it adapts to (PROTOCOL 3.5)."""
    info: dict[str, Any] = {}
    """What the attack reports: stop reasons, steps, convergence."""
    sha256: str = ""
    """Digest of the reconstruction."""


class Budget(_Frozen):
    """What the attacker spent."""

    queries: int = 0
    queries_cap: int | None = None
    forward_passes: int = 0
    backward_passes: int = 0
    updates: int = 0
    """Clients' updates observed."""
    refused: int = 0
    """Queries that stayed without an answer."""
    cover: int = 0
    """Natural queries sent besides, to hide among."""
    accounts: int = 0
    """Accounts asked through."""
    duration_s: float = 0.0
    """Seconds the campaign took by its own clock."""


class Audit(_Frozen):
    """What who watches the queries noticed (PROTOCOL 7)."""

    detected: bool
    """Whether a detector refused any of the attacker's accounts."""
    stopped: bool
    """Whether the attacker was left without an account, or out of time."""
    answered_before: int | None = None
    """Answers the first refused account had by then."""
    accounts_refused: int = 0
    blocked: float
    """Share of fresh benign accounts that are refused something in a month."""
    customers: int
    """Benign accounts that share is of."""


class Scored(_Frozen):
    """Leakage on the common scale (PROTOCOL 2.0)."""

    metric: str
    value: float
    """s: the attack's success."""
    s_base: float
    """Success of the best attacker without the model, with the same knowledge."""
    s_base_attack: str
    """Which baseline that was."""
    s_ceil: float
    """The metric for the private truth itself."""
    L: float | None
    """(s - s_base) / (s_ceil - s_base), unclipped; None where the headroom is below 0.10."""
    M: float | None
    """Member-specific leakage: members minus matched non-members; None where nobody knows who was
    trained on."""
    L_error: float | None = None
    """Standard error of L over the people attacked, where there is one target only."""
    M_error: float | None = None
    members: float
    nonmembers: float
    victims: int = 0
    """Members that the score is of; 0: not recorded (before schema 1.8)."""
    extra: dict[str, float] = {}
    group_gain: dict[str, float] = {}
    """Attributes: gain over the baseline among the members of each subgroup, ``column=value``."""


class Utility(_Frozen):
    """Usefulness of the released model on the test split."""

    metric: str
    value: float
    reference: float | None = None
    """The same metric of a plain scikit-learn baseline on the same split."""
    all: dict[str, float | None] = {}
    """accuracy, balanced_accuracy, auroc, log_loss, ece15, brier, ks, rate_shift; of a number
    within_20pct, mae, rmse, r2; of lists recall_at_20, ndcg_at_20, coverage_at_20; None: not
    available."""
    draws: dict[str, list[float]] = {}
    """The metric, accuracy, brier and auroc of resampled customers, where there is one target."""


class Times(_Frozen):
    """Seconds of one worker's wall time."""

    train_s: float | None = None
    attack_s: float | None = None
    """Trainings that its process had done for another attack count as if it had done them."""
    score_s: float | None = None
    answer_ms: float | None = None
    """Milliseconds in which the deployment answers 1,000 records, its defenses included."""
    peak_rss_mb: float | None = None


class PrivacyAudit(_Frozen):
    """What canaries say of the claimed epsilon (PROTOCOL 4.4), of a twin trained among them."""

    canaries: int = 0
    """Units with a wrong label, some of them left out; 0: not audited."""
    guesses: int = 0
    """How many were guessed about."""
    right: int = 0
    epsilon_lower: float | None = None
    """What the training certainly exceeds, at 95 % confidence; None: not audited."""
    epsilon_most: float | None = None
    """What the lower bound would be, were every guess right: no larger claim could be refuted."""
    epsilon: float
    """What the twin's ledger claims; of the target where there was no twin."""
    refuted: bool | None = None
    """Whether the guesses refute the claim; None: not audited, or recorded before schema 1.8."""
    sees: str = ""
    """What the guesses are from: ``steps``, all of them with their noise, or ``weights``, those at
    the end; before schema 1.8 ``""``, the answers."""
    unit: str = ""
    """Unit whose presence was guessed: that of the claim."""
    reason: str = ""
    """Why it was not audited."""


class TrialRecord(_Frozen):
    """One trial: one cell of the grid, ended."""

    schema_version: str = Field(SCHEMA_VERSION, pattern=r"^\d{1,4}(\.\d{1,4}){2}$")
    protocol_version: Name
    benchmark_version: Name
    trial_id: Identity
    cell: Cell
    goal: Name
    access: Name
    """What the attack used, not what the deployment offered."""
    status: Status
    control: str = ""
    """Name of the control this trial serves (PROTOCOL 3.6); empty for a row of a board."""
    error: Failure | None = None
    data: Data
    target: Target = Target()
    defense: DefenseInfo = DefenseInfo()
    privacy: PrivacyLedger | None = None
    """Ledger of a differentially private training (PROTOCOL 4.1)."""
    privacy_audit: PrivacyAudit | None = None
    attack: AttackInfo = AttackInfo()
    budget: Budget = Budget()
    audit: Audit | None = None
    evaluator: dict[str, float] = {}
    """Held-out accuracy and oracle score of each evaluator."""
    score: Scored | None = None
    utility: Utility | None = None
    flags: list[str] = []
    """``no_effect``, ``no_headroom``, ``little_headroom``, ``dirty``, ``single_target`` (a model
    that was given: seeds differ in attacks and victims, not in the target): what one trial can
    tell; boards add their own."""
    times: Times = Times()
    nodes: dict[str, str] = {}
    """Node kind to node identity: where every part of this record comes from."""
    env: dict[str, Any] = {}
    """Facts of ``ENVIRONMENT`` and ``peak_rss_mb`` of the attack's worker, ``git`` (commit and
    dirtiness of the driver's checkout), and what ``elsewhere`` says of the other nodes."""
    created_utc: str

    @field_validator("env")
    @classmethod
    def _git_is_a_mapping(cls, env: dict[str, Any]) -> dict[str, Any]:
        """What names the commit must name it as everybody reads it."""
        git = env.get("git", {})
        if not (isinstance(git, dict) and isinstance(git.get("commit") or "", str)):
            raise ValueError("'git' must hold 'commit', a text")
        return env


def json_schema() -> dict[str, Any]:
    """The JSON schema of a trial record."""
    return TrialRecord.model_json_schema()
