"""Where a run's code comes from."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]


def git_state() -> dict[str, Any]:
    """Commit and dirtiness of the checkout that runs; empty for an installed package."""
    changed = _git("status", "--porcelain", "--", "bench", "attacks", "defenses", "conf")
    head = _git("rev-parse", "HEAD")
    return {} if head is None else {"commit": head, "dirty": bool(changed)}


@cache
def commit() -> str:
    """Commit of the checkout that this process runs; empty for an installed package."""
    return _git("rev-parse", "HEAD") or ""


def _git(*words: str) -> str | None:
    """What git says of the checkout; None without one."""
    if not (_ROOT / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", "-C", str(_ROOT), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def provenance(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of where its numbers come from; the same from the store and MLflow."""
    return {
        "command": manifest["command"],
        "planned": len(manifest["trials"]),
        "skipped": manifest["skipped"],
        "reported": manifest.get("reported", []),
        "git_commit": manifest["git"].get("commit", ""),
        "git_dirty": manifest["git"].get("dirty", False),
    }


@cache
def committed(commit: str) -> str:
    """When a commit was made (RFC 3339); empty where the checkout does not know it."""
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        return ""
    return _git("show", "--no-patch", "--format=%cI", commit) or ""
