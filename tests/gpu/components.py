"""An attack that wants memory of the device: what a grant and its cap are tested with."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from bench.contract import Exposure, Knowledge, Reconstruction
from tests.toys import ToyAttack


@dataclass(frozen=True)
class Greedy(ToyAttack):
    """Holds a share of the GPU's memory for a moment, and says where and when."""

    share: float = 0.1
    hold_s: float = 1.0

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        began = time.time()
        held = None
        if device != "cpu":
            total = torch.cuda.get_device_properties(device).total_memory
            held = torch.empty(int(self.share * total), dtype=torch.uint8, device=device)
        time.sleep(self.hold_s)
        guess = super().run(exposure, knowledge, seed, "cpu")
        del held
        facts = {"pid": os.getpid(), "device": device, "began": began, "ended": time.time()}
        return Reconstruction(guess.values, {**guess.info, **facts})
