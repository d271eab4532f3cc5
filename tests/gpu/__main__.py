"""All checks of a GPU in one command, under 8 minutes: ``python -m tests.gpu --json FILE``.

The same conclusions on GPU and CPU, grants and memory, the speed of replicas and of MIFace. Without
a GPU nothing is checked (exit code 2); ``--device cpu`` goes through it all on the CPU, where no
goal counts, and ``--quick`` makes it short. Exit code 0: all is well; 1: something is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.gpu.checks import CHECKS

LIMIT_S = 480


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", choices=tuple(CHECKS), action="append")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was checked. --device cpu tries the checks.")
        return 2
    began = time.perf_counter()
    document: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if given.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "quick": given.quick,
        "checks": {},
    }
    for name in given.only or CHECKS:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="ivgpu") as folder:
            finding = CHECKS[name](given.device, Path(folder), given.quick)
        seconds = round(time.perf_counter() - started, 1)
        document["checks"][name] = {
            "seconds": seconds,
            "figures": finding.figures,
            "wrong": finding.wrong,
        }
        print(f"{name}: {seconds} s; {json.dumps(finding.figures)}", flush=True)
        for sentence in finding.wrong:
            print(f"    {sentence}", flush=True)
        if given.json:  # what was measured stays, whatever comes next
            given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    document["seconds"] = round(time.perf_counter() - began, 1)
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{document['seconds']} s of {LIMIT_S}")
    wrong = any(check["wrong"] for check in document["checks"].values())
    return 1 if wrong or document["seconds"] > LIMIT_S else 0


if __name__ == "__main__":
    sys.exit(main())
