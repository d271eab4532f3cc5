"""Targets trained in one program against the same targets one by one, in one run.

``python -m tests.perf.replicas`` trains 16 replicas of the tabular MLP of the credit suite on
records shaped like Adult and German, on the CPU and, where there is one, on the GPU; then other
networks. Figures are ratios of one run: the goals are 3.5 on a CPU and 10 on a GPU. ``--json FILE``
writes them down.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench.contract import Card, Model, Split, Splits, TrainingDefense, generator
from bench.contract.task import Task
from bench.models.mlp import Mlp
from bench.models.recommenders import AutoEncoder
from bench.models.replicas import Training, train_together
from bench.models.softmax import Softmax
from bench.models.training import train
from defenses.dropout import Dropout
from defenses.label_smoothing import LabelSmoothing
from tests.perf.queries import one_thread

REPLICAS = 16
ROUNDS = 3
CASES: dict[str, tuple[Model, list[TrainingDefense], int, int, Task]] = {
    "mlp, adult": (Mlp(epochs=3, batch_size=64), [], 1600, 97, "classification"),
    "mlp, german": (Mlp(epochs=9, batch_size=64), [], 400, 61, "classification"),
    "mlp, batches of 32": (Mlp(epochs=3), [], 1000, 60, "classification"),
    "mlp, dropout": (Mlp(epochs=3), [Dropout()], 1000, 60, "classification"),
    "mlp, label smoothing": (Mlp(epochs=3), [LabelSmoothing()], 1000, 60, "classification"),
    "softmax": (Softmax(epochs=3), [], 1000, 60, "classification"),
    "autoencoder": (AutoEncoder(epochs=3), [], 1000, 170, "recommendation"),
}
"""Model, defense, records, columns and task."""


def splits(n: int, columns: int, task: Task, seed: int) -> Splits:
    """Random records: what they show does not matter for the speed."""
    rng = generator(seed)
    x = torch.randn(n + 20, columns, generator=rng)
    if task == "recommendation":
        x = (x > 1.3).float()
    y = (x[:, 0] + torch.randn(n + 20, generator=rng) > 0).long()
    modality: Any = "basket" if task == "recommendation" else "table"
    names = () if task == "recommendation" else ("no", "yes")
    card = Card(
        "random", "credit", modality, (columns,), names, "record", "made up", "none", True,
        tasks=(task,),
    )  # fmt: skip
    whole = Split(x, y, torch.arange(n + 20))
    rest = whole.take(torch.arange(n, n + 20))
    return Splits(card, whole.take(torch.arange(n)), rest, rest, {})


def measure(name: str, device: str) -> dict[str, float]:
    """Median factor, and milliseconds a step of one network, alone and among the others."""
    model, layers, n, columns, task = CASES[name]
    trainings = [
        Training(model, layers, splits(n, columns, task, seed), seed) for seed in range(REPLICAS)
    ]
    alone, together, steps = [], [], 0
    for _ in range(ROUNDS):
        started = _now(device)
        for one in trainings:
            steps = train(one.model, one.layers, one.splits, one.seed, device)[1].steps
        alone.append(_now(device) - started)
        started = _now(device)
        outcomes = train_together(trainings, device)
        together.append(_now(device) - started)
    assert not any(isinstance(outcome.value, Exception) for outcome in outcomes)
    factors = [one / other for one, other in zip(alone, together, strict=True)]
    per_step = 1000 / (REPLICAS * steps)
    return {
        "factor": statistics.median(factors),
        "alone_ms": statistics.median(alone) * per_step,
        "together_ms": statistics.median(together) * per_step,
        "in_one_program": max(outcome.replicas for outcome in outcomes),
    }


def _now(device: str) -> float:
    """Seconds of this process on a CPU, where others may be at work too; wall time on a GPU."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def report(to: Path | None = None) -> Iterator[str]:
    """A line a case.

    Args:
        to: where the figures are written down; None: nowhere.
    """
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for device in devices:
        yield f"{REPLICAS} replicas in one program against one by one, {device}"
        figures[device] = {}
        with one_thread():
            for name in CASES:
                got = figures[device][name] = measure(name, device)
                yield (
                    f"  {name:20} {got['factor']:5.1f} x  ({got['alone_ms']:.3f} ms a step alone, "
                    f"{got['together_ms']:.3f} ms among {got['in_one_program']:.0f})"
                )
    if to is not None:
        to.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    for line in report(parser.parse_args().json):
        print(line, flush=True)
