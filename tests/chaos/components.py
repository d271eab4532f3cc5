"""The attack of the chaos suite: long enough to be hit in the middle, and it leaves a mark."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench.contract import Exposure, Knowledge, Reconstruction
from tests.toys import ToyAttack

MARKS = "INVBENCH_CHAOS_MARKS"
"""Environment variable: the file to which every attack that ends adds a line."""


@dataclass(frozen=True)
class SlowAttack(ToyAttack):
    """Sleeps, attacks, and says in a file outside the store that it has come to its end."""

    sleep_s: float = 1.0

    adaptive_to = ("toy_training", "toy_release")

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        time.sleep(self.sleep_s)
        guess = super().run(exposure, knowledge, seed, device)
        if place := os.environ.get(MARKS):
            with Path(place).open("a") as file:
                file.write(f"{self.number} {seed}\n")
        return guess
