"""Bundles for tests of back ends: jobs that end in every way a job can end."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.contract import Splits
from bench.engine.config import compose_grid
from bench.engine.messages import Blob, Bundle, Job
from bench.engine.plan import make_plan
from bench.engine.seal import DamagedError, digest_of
from bench.engine.settings import Resources
from tests.toys import ToyTable

PACKAGES = ("bench", "attacks", "defenses", "tests")
ONE_CPU = Resources(num_cpus=1, num_gpus=0)
Does = Literal[
    "work", "raise", "exit", "leave", "segv", "hang", "kill", "grow", "shout", "stop", "wait", "gpu"
]


@dataclass(frozen=True)
class Table(ToyTable):
    """A toy table whose loading ends as ``does`` says."""

    does: Does = "work"
    mark: str = ""

    def load(self, seed: int, data_root: Path | None) -> Splits:
        if self.mark:
            with Path(self.mark).open("a") as file:
                file.write(f"{os.getpid()}\n")
        match self.does:
            case "raise":
                raise OSError("no such thing")
            case "exit":
                raise SystemExit(0)
            case "leave":
                os._exit(0)
            case "segv":
                ctypes.string_at(0)
            case "hang":
                time.sleep(3600)
            case "wait":
                time.sleep(seed / 10)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "grow":
                kept.append(bytearray(b"x" * 2**29))
            case "shout":
                raise ValueError("token=abcdefgh " + "x" * 20_000_000)
            case "gpu":
                raise RuntimeError("CUDA error: no kernel image is available")
            case "work":
                pass
        return super().load(seed, data_root)


kept: list[bytearray] = []
"""Memory that a job does not give back."""


class Folder:
    """A folder of large files, as the store keeps them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> Blob:
        self.root.mkdir(parents=True, exist_ok=True)
        digest = digest_of(data)
        (self.root / digest).write_bytes(data)
        return Blob(digest, len(data))

    def get(self, digest: str) -> bytes:
        path = self.root / digest
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DamagedError(path, "it is not there") from error
        if digest_of(data) != digest:
            raise DamagedError(path, "what it holds is not what was written")
        return data


def table(node: str, does: Does = "work", timeout_s: float = 60.0, **options: Any) -> Job:
    """A job that loads a table."""
    config: dict[str, Any] = {"_target_": "tests.engine.jobs.Table", "does": does, **options}
    seed = config.pop("seed", 0)
    return Job(node, "data", {"dataset": config, "seed": seed}, {}, timeout_s=timeout_s)


def chain(words: list[str], conf: Path) -> tuple[Job, ...]:
    """Every node of a small grid as a job, parents before children."""
    plan = make_plan(compose_grid(words, conf))
    return tuple(
        Job(
            key,
            node.kind,
            node.payload,
            node.parents,
            {role: plan.nodes[parent].payload for role, parent in node.parents.items()},
            node.identity["source"],
            node.texts,
            node.readings,
        )
        for key, node in plan.nodes.items()
    )


def bundle(*jobs: Job, id: int = 1, resources: Resources = ONE_CPU, **more: Any) -> Bundle:
    """Jobs as one bundle of a project whose components are those of the tests."""
    return Bundle(id, jobs, resources=resources, packages=PACKAGES, **more)


def statuses(results: Mapping[str, Any]) -> dict[str, str]:
    """Identity to status."""
    return {node: done.status for node, done in results.items()}
