"""Serving: who asked what and when, who is refused, and the record that is kept of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.contract.stream import Stream


@dataclass(frozen=True)
class Traffic:
    """Queries in the order of their time.

    Attributes:
        x: records that are asked about ``[n, *shape]``.
        account: who asked, int64 ``[n]``.
        time: seconds since the start, float64 ``[n]``, ascending.
    """

    x: Tensor
    account: Tensor
    time: Tensor

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Verdict:
    """What a monitor decides on each query.

    Attributes:
        admitted: whether it is answered, bool ``[n]``.
        wait: seconds that it is held back before it is answered, float64 ``[n]``; None means no
            wait.
    """

    admitted: Tensor
    wait: Tensor | None = None


class Monitor(ABC):
    """Watches one deployment and remembers what every account has asked.

    Attributes:
        detects: whether a refusal says "this account probes" and not only "this account asks much".
    """

    detects: bool = False

    @abstractmethod
    def admit(self, traffic: Traffic, answers: Tensor) -> Verdict:
        """Decide on the next queries; a decision takes effect on the very next one.

        Args:
            traffic: in order of time, later than everything before.
            answers: what would be answered: scores ``[n, width]``, or labels int64 ``[n]``.
        """


def digest(x: Tensor) -> Tensor:
    """A 64-bit hash of every record, int64 ``[n]``: equal records have equal hashes.

    Args:
        x: records ``[n, *shape]``, floating point.
    """
    bits = x.detach().flatten(1).to(torch.float32).contiguous().view(torch.int32)
    if bits.shape[1] % 2:
        bits = torch.nn.functional.pad(bits, (0, 1))
    words = bits.view(torch.int64)
    rng = torch.Generator().manual_seed(0x5EED)
    odd = torch.randint(-(2**62), 2**62, (words.shape[1],), generator=rng).to(x.device) * 2 + 1
    parts = []
    size = 2**16 if x.device.type == "cpu" else 2**24  # as much as a cache holds
    for part in torch.split(words, max(1, size // words.shape[1])):
        # The high bits of a product depend on every bit of its factors; the low ones do not.
        mixed = part >> 29
        mixed.bitwise_xor_(part).mul_(odd)
        parts.append(mixed.sum(1))
    code = torch.cat(parts) if parts else words.new_zeros(0)
    code = (code ^ (code >> 31)) * 0x1CE4E5B9BF58476D
    return code ^ (code >> 29)


@dataclass
class Trail:
    """The append-only audit trail of one exposure: one row per query sent.

    Attributes:
        time: seconds since the start, float64 ``[n]`` per batch.
        account: int64 ``[n]`` per batch.
        digest: of the record, int64 ``[n]`` per batch.
        label: answered (largest score), int64 ``[n]`` per batch; -1 where refused.
        confidence: largest score answered, float32 ``[n]`` per batch; NaN where none was.
    """

    time: list[Tensor] = field(default_factory=list)
    account: list[Tensor] = field(default_factory=list)
    digest: list[Tensor] = field(default_factory=list)
    label: list[Tensor] = field(default_factory=list)
    confidence: list[Tensor] = field(default_factory=list)

    def add(self, traffic: Traffic, answers: Tensor, admitted: Tensor, rows: int) -> None:
        """Append the first ``rows`` of a batch.

        Args:
            traffic: what was asked.
            answers: scores ``[n, width]``, labels int64 ``[n]`` or lists int64 ``[n, k]``.
            admitted: bool ``[n]``.
            rows: how many were sent.
        """
        answers, admitted = answers[:rows], admitted[:rows]
        if answers.is_floating_point():
            confidence, label = answers.max(1)
        else:
            label = answers if answers.dim() == 1 else answers[:, 0]
            confidence = torch.full_like(label, torch.nan, dtype=torch.float32)
        self.time.append(traffic.time[:rows].cpu())
        self.account.append(traffic.account[:rows].cpu())
        self.digest.append(digest(traffic.x[:rows]).cpu())
        self.label.append(torch.where(admitted, label, -1).cpu())
        self.confidence.append(torch.where(admitted, confidence.float(), torch.nan).cpu())

    def columns(self) -> dict[str, Tensor]:
        """The whole trail by column."""
        return {name: torch.cat(parts) for name, parts in vars(self).items() if parts}


_ROWS = 1000
"""Largest number of queries sent at once: those after a refusal are sent for nothing."""


class Gateway:
    """What stands between an attacker's client and the deployment.

    Args:
        monitors: the serve part of the defense, in order.
        stream: how the attacker sends the queries.
        natural: records of cover traffic ``[m, *shape]``, asked in turn.
    """

    def __init__(
        self,
        monitors: Sequence[Monitor] = (),
        stream: Stream | None = None,
        natural: Tensor | None = None,
    ) -> None:
        self.monitors = list(monitors)
        self.stream = stream or Stream()
        self.natural = natural
        self.trail = Trail()
        self.account = 0
        self.sent = 0
        """Number of queries of the attacker's own from the present account."""
        self.clock = 0.0
        self.covered = 0
        """Number of natural queries sent."""
        self.refusals: list[tuple[int, int, bool]] = []
        """Account, queries it had been answered, and whether a detector refused it."""
        self._answered = 0
        self._owed = 0.0

    @property
    def end(self) -> float:
        """Seconds after which the campaign is over."""
        return self.stream.days * 86400

    @property
    def used(self) -> int:
        """Accounts that have asked something."""
        return min(self.account + 1, self.stream.accounts) if self.clock else 0

    @property
    def open(self) -> bool:
        """Whether another query could be answered."""
        return self.account < self.stream.accounts and self.clock < self.end

    def serve(self, x: Tensor, answer: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Send records through the attacker's accounts.

        Args:
            x: ``[n, *shape]``.
            answer: the deployment's answer to records.

        Returns:
            Answers as if none were refused, and which were answered, bool ``[n]``: the first ones.
        """
        answers = answer(x)
        if not self.monitors:
            traffic = self._traffic(x, len(x))
            admitted = torch.ones(len(x), dtype=torch.bool, device=x.device)
            self.clock = float(traffic.time[-1])
            self.trail.add(traffic, answers, admitted, len(x))
            self._answered += len(x)
            return answers, admitted
        done = 0
        while done < len(x) and self.open:
            most = min(len(x) - done, _ROWS)
            if self.stream.per_account is not None:
                most = min(most, self.stream.per_account - self.sent)
            part = slice(done, done + most)
            done += self._send(x[part], answers[part], answer)
            if self.stream.per_account is not None and self.sent >= self.stream.per_account:
                self._next_account()
        admitted = torch.arange(len(x), device=x.device) < done
        return answers, admitted

    def _send(self, x: Tensor, answers: Tensor, answer: Callable[[Tensor], Tensor]) -> int:
        """Send through the present account; how many of ``x`` were answered before a refusal."""
        sent, answered, own = self._covered(x, answers, answer)
        traffic = self._traffic(sent, len(sent))
        admitted = torch.ones(len(sent), dtype=torch.bool, device=x.device)
        wait = torch.zeros(len(sent), dtype=torch.float64, device=x.device)
        detected = False
        for monitor in self.monitors:
            verdict = monitor.admit(traffic, answered)
            # An attacker stops at a refusal, so a verdict on later queries does not matter.
            kept = verdict.admitted.cumprod(0).bool()
            if bool((admitted & ~kept).any()):
                detected = monitor.detects
            admitted &= kept
            if verdict.wait is not None:
                wait += verdict.wait
        in_time = traffic.time + wait.cumsum(0) <= self.end
        late = bool((admitted & ~in_time).any())
        admitted &= in_time
        refused = not bool(admitted.all())
        last = int(admitted.sum()) + refused
        self.clock = float(traffic.time[last - 1]) + float(wait[admitted].sum())
        self.trail.add(traffic, answered, admitted, last)
        passed = int((admitted & own).sum())
        self.sent += passed
        self._answered += int(admitted.sum())
        if late:
            self.clock = self.end
        elif refused:
            self.refusals.append((self.account, self._answered, detected))
            self._next_account()
        return passed

    def _covered(
        self, x: Tensor, answers: Tensor, answer: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The batch with natural queries spread among its own; answers; which are its own."""
        own = torch.ones(len(x), dtype=torch.bool, device=x.device)
        if self.stream.cover == 0 or self.natural is None:
            return x, answers, own
        ratio = self.stream.cover / (1 - self.stream.cover)
        self._owed += len(x) * ratio
        extra = int(self._owed)
        self._owed -= extra
        at = torch.arange(self.covered, self.covered + extra) % len(self.natural)
        self.covered += extra
        mixed = torch.cat([x, self.natural[at].to(x.device)])
        answered = torch.cat([answers, answer(mixed[len(x) :])])
        own_time = torch.arange(len(x)) * (1 + ratio)
        natural_time = (torch.arange(extra) + 0.5) * (1 + ratio) / ratio
        place = torch.cat([own_time, natural_time]).argsort(stable=True).to(x.device)
        own = (place < len(x)).to(x.device)
        return mixed[place], answered[place], own

    def _traffic(self, x: Tensor, n: int) -> Traffic:
        steps = torch.arange(1, n + 1, dtype=torch.float64, device=x.device)
        time = self.clock + steps * self.stream.interval_s
        return Traffic(x, torch.full((n,), self.account, device=x.device), time)

    def _next_account(self) -> None:
        self.account += 1
        self.sent = 0
        self._answered = 0


def refusal(answers: Tensor) -> Tensor:
    """What a refused query is answered with, so that it says nothing: ``[n, ...]`` as ``answers``.

    It is equal scores, the first class, or an empty list.
    """
    if answers.is_floating_point():
        return torch.full_like(answers, 1.0 / answers.shape[1])
    return torch.full_like(answers, 0 if answers.dim() == 1 else -1)
