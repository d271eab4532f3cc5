"""Where a run's code comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any


def git_state() -> dict[str, Any]:
    """Commit and dirtiness of the checkout that runs; empty for an installed package."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    if not (root / ".git").exists():
        return {}
    try:
        changed = git("status", "--porcelain", "--", "bench", "attacks", "defenses", "conf")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return {}
