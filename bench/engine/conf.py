"""The folders of options, and what lies in them; reading them loads neither Hydra nor PyTorch."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import Any

from bench.contract.documents import parse_yaml, read_yaml
from bench.contract.names import Heading, words


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


def list_options(group: str, extra_dir: Path | None = None) -> dict[str, Heading]:
    """Names of a group's options and what people call each: the first lines of its file.

    A file begins with a comment of two lines, a title and a sentence. Where there is one line
    alone, it is the sentence, and the title is the name in words.

    Args:
        group: folder below ``conf``.
        extra_dir: a user's own options.
    """
    folder = "attack" if group == "baseline" else group
    headings: dict[str, Heading] = {}
    for root in (config_dir(), extra_dir):
        base = root / folder if root is not None else None
        if base is None or not base.is_dir():
            continue
        for path in sorted(base.rglob("*.yaml")):
            name = str(path.relative_to(base).with_suffix(""))
            headings[name] = _heading(path.read_text(encoding="utf-8"), words(path.stem))
    return headings


def _heading(text: str, name: str) -> Heading:
    lines = (line for line in text.splitlines() if "@package" not in line)
    comments = [
        line.lstrip("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines)
    ]
    match comments:
        case [title, sentence, *_] if title and sentence:
            return Heading(title, sentence)
        case [sentence, *_]:
            return Heading(name[:1].upper() + name[1:], sentence)
    return Heading(name[:1].upper() + name[1:], "")


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
