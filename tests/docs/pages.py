"""Pages of the documentation as programs: what a reader would type, typed in order.

A page is played in a folder of its own. Every block of ``sh`` and ``python`` is run; comments on
the lines directly above a block say more of it::

    <!-- file: NAME -->       write the block as this file (any language)
    <!-- needs: NAME ... -->  skip the block, unless these data sets lie below INVBENCH_DATA_ROOT
    <!-- exit: CODE -->       the last command ends with this exit code
    <!-- not run: REASON -->  nobody runs the block here
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = {"sh": ["bash", "-euo", "pipefail"], "python": [sys.executable]}
"""Languages whose blocks are run, and by what."""
PATIENCE_S = 1200

_FENCE = re.compile(r"^( *)```(\w*).*$")
_COMMENT = re.compile(r"^ *<!-- *(file|needs|exit|not run)\b:?(.*?)-->$")
_DATA_ROOT = "INVBENCH_DATA_ROOT"


class PageError(Exception):
    """A page cannot be played, or a block of it does not do what the page says."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and what the comments above it say."""

    line: int
    language: str
    text: str = field(repr=False)
    words: dict[str, str]

    @property
    def is_run(self) -> bool:
        """Whether a reader would run it, and so does a test."""
        return self.language in RUN and not {"file", "not run"} & self.words.keys()

    @property
    def lacks(self) -> list[str]:
        """Data sets that the block needs and this machine does not have."""
        folder = os.environ.get(_DATA_ROOT)
        names = self.words.get("needs", "").split()
        return [name for name in names if not folder or not (Path(folder) / name).is_dir()]


@dataclass
class Played:
    """What became of the blocks of a page."""

    run: int = 0
    excused: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    cpu_s: float = 0.0

    def __str__(self) -> str:
        told = f"{self.run} run in {self.cpu_s:.0f} s of a core, {len(self.excused)} excused"
        return told + (f", {len(self.lacking)} without their data" if self.lacking else "")


def pages() -> list[Path]:
    """The README and all pages of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page.

    Raises:
        PageError: a comment lacks what it has to say.
    """
    words: dict[str, str] = {}
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if comment := _COMMENT.match(line):
            words[comment[1]] = comment[2].strip()
            if not words[comment[1]]:
                raise PageError(f"line {number}: '{comment[1]}' without a word after it")
        elif fence := _FENCE.match(line):
            close = f"{fence[1]}```"
            held = []
            for _, inner in lines:
                if inner.rstrip() == close:
                    break
                held.append(inner)
            else:
                raise PageError(f"line {number}: the block does not end")
            body = textwrap.dedent("\n".join(held)) + "\n"
            yield Block(number, fence[2], body, words)
            words = {}
        else:
            words = {}


def play(text: str, folder: Path, cache: Path) -> Played:
    """Do in a folder what a page shows.

    Args:
        text: of the page.
        folder: empty; the home folder and the working directory of the commands.
        cache: what programs remember between pages.

    Raises:
        PageError: a block ended with another exit code than the page says.
    """
    played = Played()
    published = folder / "results" / "published"
    published.parent.mkdir(parents=True)
    published.symlink_to(ROOT / "results" / "published")
    for block in list(blocks(text)):
        if name := block.words.get("file"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language in RUN and (reason := block.words.get("not run")):
            played.excused.append(f"line {block.line}: {reason}")
        elif block.is_run and block.lacks:
            played.lacking.append(f"line {block.line}: {', '.join(block.lacks)}")
        elif block.is_run:
            played.cpu_s += _run(block, folder, cache)
            played.run += 1
    return played


def _run(block: Block, folder: Path, cache: Path) -> float:
    script = folder / f".block.{block.language}"
    script.write_text(block.text, encoding="utf-8")
    home = {"HOME": str(folder), "XDG_CACHE_HOME": str(cache)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    before = _children()
    try:
        ended = subprocess.run(
            [*RUN[block.language], script],
            cwd=folder,
            env={**os.environ, **home, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        script.unlink()
    if ended.returncode != int(block.words.get("exit", 0)):
        raise PageError(
            f"line {block.line}: exit code {ended.returncode} of\n{block.text}\n{ended.stdout}"
        )
    return _children() - before


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Play the named pages, or all of them, and say what became of them."""
    import tempfile

    wanted = [Path(word).resolve() for word in sys.argv[1:]] or pages()
    with tempfile.TemporaryDirectory() as cache:
        for page in wanted:
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                played = play(page.read_text(encoding="utf-8"), Path(folder), Path(cache))
            print(
                f"{page.relative_to(ROOT)}: {played}; {time.monotonic() - start:.0f} s", flush=True
            )
            for line in played.excused:
                print(f"    not run, {line}")
