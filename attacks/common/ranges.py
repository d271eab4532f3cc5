"""Ranges of options that several attacks share, beside those of the contract."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Lt

AtLeastTwo = Annotated[int, Ge(2)]
"""A whole number of at least 2: fewer records cannot be split into two parts."""
Shift = Annotated[float, Ge(0), Lt(0.5)]
"""The largest random shift of an image, as a share of its side."""
