"""The folders of options, and what lies in them; reading them loads neither Hydra nor PyTorch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.contract.documents import parse_yaml, read_yaml


def config_dir() -> Path:
    """The folder of the built-in options, in a checkout or in an installed wheel.

    An installed package carries it inside: what else is called ``conf`` beside it is not ours.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def importable(extra_dir: Path | None) -> tuple[str, ...]:
    """Folders in which a user's own packages are looked for: here, and beside his options."""
    return (str(Path.cwd()), *([] if extra_dir is None else [str(extra_dir.resolve())]))


def list_options(group: str, extra_dir: Path | None = None) -> dict[str, str]:
    """Names of a group's options and the comment that says what each is."""
    folder = "attack" if group == "baseline" else group
    out: dict[str, str] = {}
    for root in (config_dir(), extra_dir):
        base = root / folder if root is not None else None
        if base is None or not base.is_dir():
            continue
        for path in sorted(base.rglob("*.yaml")):
            comments = [
                line.lstrip("# ").strip()
                for line in path.read_text(encoding="utf-8").splitlines()[:6]
                if line.startswith("#") and "@package" not in line
            ]
            out[str(path.relative_to(base).with_suffix(""))] = comments[0] if comments else ""
    return out


def read_option(group: str, name: str) -> dict[str, Any]:
    """What the file of a built-in option says, without any override."""
    body: dict[str, Any] = read_yaml(config_dir() / group / f"{name}.yaml", "Option")[name]
    return body


def option_of_class(group: str, target: str, extra_dir: Path | None = None) -> dict[str, Any]:
    """The first option of a group that names a class; empty if none does."""
    for root in (config_dir(), extra_dir):
        for path in sorted((root / group).rglob("*.yaml")) if root is not None else ():
            text = path.read_text(encoding="utf-8")
            if re.search(rf"^  _target_: {re.escape(target)}\s*$", text, re.MULTILINE):
                body: dict[str, Any] = parse_yaml(text, f"Option '{path}'")[path.stem]
                return body
    return {}
