"""Packages that an extra of this one installs, so that only those who use them need them."""

from __future__ import annotations

from importlib.util import find_spec

from bench.contract.errors import require


def require_package(package: str, extra: str, purpose: str, otherwise: str = "") -> None:
    """Look for a package without importing it.

    Args:
        package: as it is imported.
        extra: which extra of ours installs it.
        purpose: what needs it, as the beginning of a sentence.
        otherwise: what can be done without it, as the end of that sentence.

    Raises:
        UserError: it is not installed.
    """
    require(
        find_spec(package) is not None,
        f"{purpose} needs the package {package}, which is not installed; install the extra "
        f"'{extra}': pip install 'inversion-bench[{extra}]'{otherwise and f', or {otherwise}'}.",
    )
