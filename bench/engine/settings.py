"""Every setting of a run besides the components of its grid, typed and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bench.contract.record import Control

_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*$"
"""Parts of a path that stays below its folder: none begins with a dot or a dash."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RayBackend(_Strict):
    """Options of ``backend=ray``."""

    name: Literal["ray"]
    address: str = "local"
    num_cpus: int | None = Field(None, ge=1)
    num_gpus: int | None = Field(None, ge=0)
    shared_store: bool | Literal["auto"] = "auto"
    """Whether workers read the store by path; ``auto`` asks each of them."""
    open_cluster: bool = False
    """Whether a cluster may be used that asks nobody for a token."""
    max_workers: int | None = Field(None, ge=1)
    """Workers to ask the cluster for, so that it may grow; None: as many as fit its machines."""
    silent_s: float = Field(30.0, ge=5)
    """Seconds after which a worker that gives no sign of life is given up."""
    worker_memory_gb: float | None = Field(None, gt=0)
    """A worker that holds more memory between bundles is replaced; None: a default."""

    @field_validator("address")
    @classmethod
    def _on_the_cluster(cls, address: str) -> str:
        if address.startswith("ray://"):
            raise ValueError(
                "Ray Client (ray://) is not supported: start the run on a machine of the cluster, "
                "with backend.address=auto or <host:port>"
            )
        return address


class LocalBackend(_Strict):
    """Options of ``backend=local``."""

    name: Literal["local"]
    isolate: bool = False
    num_cpus: int = Field(1, ge=1)
    num_gpus: int = Field(0, ge=0)
    worker_memory_gb: float | None = Field(None, gt=0)
    """A worker that holds more memory between bundles is replaced; None: a default."""


class Tracking(_Strict):
    """Options of ``tracking``."""

    name: Literal["mlflow", "none"]
    uri: str


class Resources(_Strict):
    """What a node asks of the cluster."""

    num_cpus: int = Field(1, ge=1)
    num_gpus: float = Field(0.0, ge=0)


class Infrastructure(_Strict):
    """What the run bears when machines fail: no trial ends because of it."""

    losses: int = Field(20, ge=0)
    """Times that a node may be lost with its machine before it is left without a result."""
    first_wait_s: float = Field(1.0, ge=0)
    """Seconds before a lost node is tried again; doubled each time."""
    most_wait_s: float = Field(60.0, ge=0)
    patience_s: float = Field(300.0, ge=0)
    """Seconds to wait while no machine has room for anything, before the run stops."""


class Reported(_Strict):
    """A figure that a paper reports, and where the report finds ours to put beside it.

    ``measured`` is a column of :func:`bench.report.frame.build`, or ``error``, 1 minus the utility.
    """

    what: str
    value: str
    source: str
    measured: Literal[
        "utility",
        "utility_mae",
        "utility_rmse",
        "utility_r2",
        "utility_auroc",
        "error",
        "score",
        "L",
        "M",
        "accuracy",
        "precision",
        "recall",
        "f1",
        "mcc",
        "g_mean",
        "ppv_top_100",
        "steps",
        "queries",
        "attack_s",
    ]
    dataset: str = "*"
    model: str = "*"
    defense: str = "none"
    attack: str = "*"


class Tuned(_Strict):
    """How many settings of an option were tried before this run; ``tune`` says it."""

    group: Literal["attack", "defense"]
    name: str
    settings: int = Field(ge=1)


class Settings(_Strict):
    """Every setting besides the grid's components."""

    suite: str = Field(pattern=_NAME)
    label: str = Field(pattern=_NAME)
    """What the run is called: its report, its experiment and its executions."""
    seeds: int = Field(ge=1)
    base_seed: int = Field(ge=0)
    victims: int = Field(ge=1)
    face_network: bool
    """Whether dlib's face network is among the judges of pictures of people."""
    controls: list[Control]
    control_seeds: int = Field(ge=1)
    streams: list[dict[str, float | int | None]]
    tuned: list[Tuned]
    standard: bool
    """Whether the standard sets of attacks run on every board of the grid."""
    budgets: list[Annotated[int, Field(ge=0)] | None] = Field(min_length=1)
    exclude: list[dict[Literal["dataset", "model", "defense", "attack"], str]]
    rerun: Literal["failed", "all", "never"]
    data_root: Path | None
    store: Path
    report_dir: Path
    plugins: list[str]
    reported: list[Reported]
    progress: Literal["auto", "bar", "plain", "none"]
    retries: int = Field(ge=0)
    timeout_s: dict[str, float]
    resources: dict[str, Resources]
    infrastructure: Infrastructure
    backend: RayBackend | LocalBackend = Field(discriminator="name")
    tracking: Tracking

    @field_validator("store", "report_dir", "data_root", mode="before")
    @classmethod
    def _folder(cls, place: Any) -> Any:
        if "://" in str(place):
            raise ValueError("must be a folder that this machine can reach by path, no URI")
        return place

    def timeout(self, kind: str) -> float:
        """Seconds a node of ``kind`` may run."""
        return self.timeout_s.get(kind, self.timeout_s["default"])

    def resource(self, kind: str) -> Resources:
        """What a node of ``kind`` asks for."""
        return self.resources.get(kind, self.resources["default"])
