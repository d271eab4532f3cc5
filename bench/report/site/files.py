"""Files of a report: each replaced whole or not at all, and those of an older one removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from bench.contract.errors import UserError
from bench.contract.files import write_whole

LIST = "site.json"
"""Names of the files that belong to the report."""


def put(out: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` below ``out``, in order; then remove what an earlier report left there.

    Raises:
        UserError: the folder cannot be written.
    """
    listed = json.dumps(sorted({*files, LIST}), indent=0) + "\n"
    try:
        for name, data in {**files, LIST: listed.encode()}.items():
            path = out / name
            if name == LIST:
                _tidy(out, {*files, LIST})
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
    except OSError as error:
        raise UserError(
            f"The report cannot be written to '{out}': {error.strerror or error}; "
            "name another folder or make room there."
        ) from error


def _tidy(out: Path, kept: set[str]) -> None:
    try:
        old = json.loads((out / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for name in old if isinstance(old, list) else ():
        path = PurePosixPath(str(name))
        # A list that somebody changed must not lead out of the folder.
        if str(name) not in kept and not path.is_absolute() and ".." not in path.parts:
            (out / path).unlink(missing_ok=True)
