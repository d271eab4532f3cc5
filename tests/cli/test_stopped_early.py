"""A polite kill while the program still loads ends it as politely as later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_WHILE_TORCH_LOADS = """
import atexit, os, signal, sys

class Kills:
    def find_spec(self, name, path=None, target=None):
        if name == "torch._C":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Kills())
atexit.register(lambda: print("whole:", hasattr(sys.modules.get("torch"), "compile"), flush=True))
"""


def test_an_import_that_would_lose_an_interrupt_is_done_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_WHILE_TORCH_LOADS)
    words = ["suite=smoke", "tracking=none", "backend=local", f"store={tmp_path}/s"]
    ended = subprocess.run(
        [sys.executable, "-c", "from bench.cli import main; main()", "run", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 130, ended.stderr[-2000:]
    assert "Traceback" not in ended.stderr
    assert "whole: True" in ended.stdout
