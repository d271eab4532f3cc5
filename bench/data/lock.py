"""Trust on first use: the hash a file had when it was fetched, noted beside it."""

from __future__ import annotations

from pathlib import Path

from bench.contract import UserError, require
from bench.data import common


def lock_of(path: Path) -> Path:
    """Where the hash of ``path`` is noted, in the format of ``sha256sum --check``."""
    return path.with_name(f"{path.name}.sha256")


def noted(path: Path) -> str | None:
    """The hash noted for ``path``; None if there is no note.

    Raises:
        UserError: a note that holds no hash.
    """
    lock = lock_of(path)
    if not lock.exists():
        return None
    try:
        value = lock.read_text(encoding="ascii").split()[0]
        common.check_sha256_option("", value)
    except (OSError, UnicodeDecodeError, IndexError, UserError) as error:
        raise UserError(
            f"'{lock}' holds no SHA-256; remove it if you trust '{path}' as it is."
        ) from error
    return value


def note(path: Path, sha256: str) -> None:
    """Note the hash of ``path``."""
    lock_of(path).write_text(f"{sha256}  {path.name}\n", encoding="ascii")


def check(name: str, path: Path, expected: str | None) -> tuple[str, str]:
    """Hash a file and compare with what is expected, else with what was noted at first use.

    Args:
        name: the data set.
        path: its file.
        expected: 64 hex digits; None: a note decides, and without one any copy is accepted.

    Returns:
        The hash, and what it was checked against: ``pinned``, ``first use`` or ``nothing``.

    Raises:
        UserError: the file cannot be read, or it is another one.
    """
    sha256 = common.sha256_of_files([path])
    common.check_sha256(name, f"file '{path}'", expected, sha256)
    if expected is not None:
        return sha256, "pinned"
    before = noted(path)
    require(
        before in (None, sha256),
        f"Data set '{name}': file '{path}' has sha256 {sha256}, and {before} when it was fetched; "
        f"remove it and run 'invbench data fetch {name}' again, or remove '{lock_of(path).name}' "
        "if the new file is meant.",
    )
    return sha256, "nothing" if before is None else "first use"
