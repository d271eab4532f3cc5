"""What a data set understood of a user's own files, for ``invbench data verify``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

Sections = Mapping[str, Sequence[Mapping[str, Any] | str]]
"""Title of a section to its lines: mappings of equal keys make a table, texts are sentences.
The section ``warnings`` holds sentences about what looks like a mistake."""


@runtime_checkable
class Understands(Protocol):
    """A data set that can say what it read. It may show values, so nothing of it enters records."""

    def understood(self, data_root: Path | None) -> Sections:
        """What was read, before it was split.

        Args:
            data_root: folder of data sets; None if there is none.

        Raises:
            UserError: the files cannot be read.
        """
