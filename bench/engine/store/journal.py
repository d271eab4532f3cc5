"""How an SQLite file may be written where it lies."""

from __future__ import annotations

from pathlib import Path

_LOCAL = {
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs"),
    *("tmpfs", "ramfs", "overlay", "ecryptfs"),
}
"""File systems on which several processes may share memory, which SQLite's WAL needs."""


def journal_of(folder: Path) -> str:
    """``wal`` where the folder's file system is this machine's own, else ``delete``."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "wal"
    kind, longest = "", -1
    place = folder.resolve()
    for line in lines.splitlines():
        mount, _, after = line.partition(" - ")
        point = mount.split()[4].replace("\\040", " ")
        if place.is_relative_to(point) and len(point) >= longest:
            kind, longest = after.split()[0], len(point)
    return "wal" if kind in _LOCAL else "delete"
