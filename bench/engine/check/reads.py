"""Which files a component really reads: what its ``files`` hook says is held against it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LISTENING: list[set[Path]] = []
_CODE = (".py", ".pyc", ".so", ".pyi")
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr/share", "/usr/lib")


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _LISTENING or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    mode, flags = arguments[1], arguments[2]
    writes = (
        any(c in mode for c in "wxa+")
        if isinstance(mode, str)
        else bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
    )
    if not writes:
        path = Path(os.fsdecode(arguments[0])).absolute()
        for paths in _LISTENING:
            paths.add(path)


@contextmanager
def opened_files() -> Iterator[set[Path]]:
    """Absolute paths of the files that are opened for reading meanwhile.

    What a library opens without Python, as pyarrow and safetensors do, is not noticed: look at what
    options name as well.
    """
    if not getattr(_listen, "installed", False):
        sys.addaudithook(_listen)
        _listen.installed = True  # type: ignore[attr-defined]
    paths: set[Path] = set()
    _LISTENING.append(paths)
    try:
        yield paths
    finally:
        _LISTENING.remove(paths)


def undeclared(
    opened: Iterable[Path], declared: Iterable[Path], besides: Iterable[Path]
) -> list[Path]:
    """Files that were read without being declared.

    Args:
        opened: what was opened.
        declared: files and folders that a component says it reads.
        besides: folders whose files do not count, such as those of options.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    known = [*declared, *besides, cache, *map(Path, {sys.prefix, sys.base_prefix, *_SYSTEM})]
    return sorted(
        path
        for path in opened
        if path.suffix not in _CODE
        and path.is_file()
        and not any(path.is_relative_to(place) for place in known)
    )
