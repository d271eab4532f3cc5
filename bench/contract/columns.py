"""How a table or a basket is laid out: which encoded columns make one value of the record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract.data import Card
from bench.contract.errors import require

SAME = 1e-6
"""Gower's distance below which two records are the same."""


@dataclass(frozen=True)
class Layout:
    """The values of a record, first its categories, then its flags, then its numbers.

    Attributes:
        width: encoded columns d.
        index: int64 ``[g, m]``: encoded columns of each one-hot category, padded with ``d``.
        flags: int64 ``[f]``: encoded columns that are 0 or 1 by themselves.
        numbers: int64 ``[q]``: encoded columns that hold a number.
        low: least public value of each number ``[q]``.
        high: largest.
        scale: public standard deviation of each number ``[q]``, above 0.
    """

    width: int
    index: Tensor
    flags: Tensor
    numbers: Tensor
    low: Tensor
    high: Tensor
    scale: Tensor

    @classmethod
    def of(cls, card: Card, public: Tensor) -> Layout:
        """Read it off the card; columns no field names are flags if they are 0 or 1 in public.

        Args:
            card: of a table or of baskets.
            public: public records ``[n, d]``.

        Raises:
            UserError: the records are pictures.
        """
        require(
            card.modality != "image",
            f"Data set '{card.name}' holds pictures; columns are those of tables and baskets.",
        )
        width = card.shape[0]
        spans = [c.columns for c in card.fields if c.kind == "category"]
        groups = [list(range(*span)) for span in spans if span[1] - span[0] > 1]
        single = {span[0] for span in spans if span[1] - span[0] == 1}
        named = {i for c in card.fields for i in range(*c.columns)}
        binary = ((public == 0) | (public == 1)).all(0).tolist()
        flags = [
            i
            for i in range(width)
            if i in single or (i not in named and (binary[i] or card.modality == "basket"))
        ]
        taken = {i for group in groups for i in group} | set(flags)
        longest = max(map(len, groups), default=1)
        padded = [group + [width] * (longest - len(group)) for group in groups]
        numbers = torch.tensor([i for i in range(width) if i not in taken], dtype=torch.int64)
        known = public.cpu()[:, numbers]
        device = public.device
        return cls(
            width,
            torch.tensor(padded, dtype=torch.int64).view(len(groups), longest).to(device),
            torch.tensor(flags, dtype=torch.int64, device=device),
            numbers.to(device),
            known.amin(0).to(device),
            known.amax(0).to(device),
            # Not std(): it warns where there are no numbers.
            (known - known.mean(0)).square().mean(0).sqrt().clamp_min(1e-6).to(device),
        )

    @property
    def discrete(self) -> int:
        """Number of categories and flags."""
        return len(self.index) + len(self.flags)

    @property
    def size(self) -> int:
        """Number of values in a record."""
        return self.discrete + len(self.numbers)

    def grouped(self, x: Tensor) -> Tensor:
        """The one-hot columns of ``x`` ``[..., d]`` as ``[..., g, m]``, -inf in the padding."""
        return F.pad(x, (0, 1), value=-torch.inf)[..., self.index]

    def join(self, categories: Tensor, flags: Tensor, numbers: Tensor) -> Tensor:
        """Encoded records ``[..., d]`` of ``[..., g, m]``, ``[..., f]`` and ``[..., q]``."""
        parts = torch.cat([categories.flatten(-2), flags, numbers], -1)
        return parts.index_select(-1, self._place)

    @cached_property
    def _place(self) -> Tensor:
        """Where each encoded column stands among categories, flags and numbers."""
        columns = torch.cat([self.index.flatten(), self.flags, self.numbers])
        place = torch.empty(self.width + 1, dtype=torch.int64, device=columns.device)
        place[columns] = torch.arange(len(columns), device=columns.device)
        return place[: self.width]

    def project(self, x: Tensor) -> Tensor:
        """The valid record nearest to each of ``x`` ``[..., d]``; numbers stay as they are."""
        groups = self.grouped(x)
        categories = torch.zeros_like(groups)
        categories.scatter_(-1, groups.argmax(-1, keepdim=True), 1.0)
        return self.join(categories, (x[..., self.flags] >= 0.5).to(x), x[..., self.numbers])

    def values(self, x: Tensor) -> Tensor:
        """One value per column before encoding ``[..., size]``: code, 0 or 1, or number."""
        codes = self.grouped(x).argmax(-1).to(x)
        return torch.cat([codes, (x[..., self.flags] >= 0.5).to(x), x[..., self.numbers]], -1)

    def right(self, guess: Tensor, truth: Tensor, tolerance: float) -> Tensor:
        """Which values of ``guess`` are those of ``truth``: bool ``[..., size]``.

        Categories must be equal, numbers within ``tolerance`` public standard deviations.
        Arguments ``[..., d]`` are broadcast.
        """
        apart = (self.values(guess) - self.values(truth)).abs()
        bound = torch.cat([apart.new_full((self.discrete,), 0.5), tolerance * self.scale.to(apart)])
        return apart <= bound

    def gower(self, x: Tensor, pool: Tensor) -> Tensor:
        """Gower's distance ``[n, k]`` in [0, 1] of ``x`` ``[n, d]`` to ``pool`` ``[k, d]``.

        The mean over values: whether categories differ, and the numbers' difference over the
        public range (Gower 1971, section 2), at most 1.
        """
        x, pool = self.project(x), self.project(pool)
        # Products of 0/1 columns count exactly, and faster than comparisons.
        one = self.index.flatten()
        one = one[one < self.width]
        same = x[:, one] @ pool[:, one].T
        a, b = x[:, self.flags], pool[:, self.flags]
        flips = a.sum(1, keepdim=True) + b.sum(1) - 2 * a @ b.T
        apart = len(self.index) - same + flips
        span = (self.high - self.low).clamp_min(1e-6).to(x)
        for place, reach in zip(self.numbers.tolist(), span, strict=True):
            far = (x[:, place, None] - pool[None, :, place]).abs() / reach
            apart = apart + far.clamp_max(1.0)
        return apart / self.size
