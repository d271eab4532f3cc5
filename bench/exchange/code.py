"""Code of others that a pack needs: found, and shown with its digests, without running it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from bench.contract.errors import require
from bench.engine.components import CORE_PACKAGES
from bench.engine.conf import importable
from bench.engine.config import Grid
from bench.exchange import admission
from bench.exchange.admission import RefusedError


@dataclass(frozen=True)
class Foreign:
    """A pack whose grid is composed here: of a stranger, unlike what this user's store has.

    Attributes:
        where: the pack, for messages.
        allowed: packages of others whose code the user lets run.
    """

    where: str
    allowed: tuple[str, ...] = ()

    def admit(self, grid: Grid) -> None:
        """Refuse a grid before anything of it is imported.

        Raises:
            RefusedError: it needs code that is not allowed, or has more cells than any suite.
        """
        for package in grid.settings.plugins:
            if package not in self.allowed:
                raise RefusedError(
                    f"'{self.where}' {admission.needs_code(package)} (its suite names it in "
                    "'plugins')."
                )
        cells = grid.settings.seeds * len(grid.settings.budgets)
        for rows in grid.options.values():
            cells *= len(rows)
        if cells > admission.MOST_CELLS:
            raise RefusedError(
                f"'{self.where}' gives a grid of {cells} cells, {admission.MOST_CELLS} are "
                "allowed; get the pack again."
            )


def files(package: str, config_dir: Path | None = None) -> list[tuple[Path, str]]:
    """Every file of a package that would be imported here, with its SHA-256; nothing is imported.

    Args:
        package: top-level package or module.
        config_dir: a user's own options: packages beside them are found, too.

    Raises:
        UserError: it is no name of a package, is one of ours, or is not here.
    """
    require(
        package.isidentifier() and package not in CORE_PACKAGES,
        f"--allow-code {package!a}: give the name of a package that is not ours.",
    )
    spec = PathFinder.find_spec(package, [*sys.path, *importable(config_dir)])
    folders = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    paths = sorted({p for folder in folders for p in folder.rglob("*") if p.is_file()})
    paths = paths or [path for path in (origin,) if path is not None and path.is_file()]
    require(
        bool(paths),
        f"--allow-code {package}: there is no such package here; put it beside your options and "
        "name them with --config-dir, or into the folder you are in.",
    )
    return [(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


def shown(packages: Collection[str], config_dir: Path | None = None) -> list[str]:
    """What a user sees before code of others runs: every file with its digest, a line each.

    Raises:
        UserError: as :func:`files`.
    """
    lines = []
    for package in packages:
        listed = files(package, config_dir)
        lines += [f"Code of '{package}' that runs now, {len(listed)} files:"]
        lines += [f"  {digest}  {path}" for path, digest in listed]
    return lines
