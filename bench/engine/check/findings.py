"""What a check found, and how anything that goes wrong in one becomes a finding."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from bench.contract import UserError

LOG = logging.getLogger("bench.engine.check")
"""Where the traceback of an error within a check goes, at the level ``DEBUG``."""


@dataclass(frozen=True)
class Check:
    """One thing that a component's contract asks, tried.

    Attributes:
        name: the option and what should hold: ``rounding: keeps the argmax``.
        holds: whether it did.
        reason: where it did not hold, what was seen and what to do; where it held, a remark worth
            reading, or nothing.
    """

    name: str
    holds: bool
    reason: str = ""

    @property
    def line(self) -> str:
        """The check as one line of text."""
        word = "FAIL" if not self.holds else "note" if self.reason else "ok  "
        return f"{word}  {self.name}" + (f": {self.reason}" if self.reason else "")


class Untestable(UserError):
    """There is nothing here to try the component on: for the user to mend, not the component."""


def require_that(name: str, holds: bool, reason: str) -> Check:
    """A check that holds, or fails with this reason."""
    return Check(name, holds, "" if holds else reason)


def attempt(name: str, reason_against: Callable[[], str]) -> Check:
    """A check that holds where the function finds no reason against it.

    Args:
        name: the option and what should hold.
        reason_against: gives an empty text where it holds. An error that it raises is a reason too.
    """
    try:
        reason = reason_against()
    except Untestable:
        raise
    except (Exception, SystemExit) as error:
        return Check(name, False, told(error))
    return Check(name, not reason, reason)


def guarded(name: str, checks: Iterable[Check]) -> Iterator[Check]:
    """The checks, up to the first error outside of one, which becomes the last of them.

    Args:
        name: the option and what could not be done.
        checks: a generator of checks.
    """
    try:
        yield from checks
    except Untestable:
        raise
    except (Exception, SystemExit) as error:
        yield Check(name, False, told(error))


def told(error: BaseException) -> str:
    """An error as one line; its traceback goes to the log."""
    LOG.debug("This error became a finding:", exc_info=error)
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


@contextmanager
def global_seeds(seed: int) -> Iterator[None]:
    """Seed every generator that belongs to the process, and put them back afterwards.

    What follows from its own seed alone does not notice.
    """
    kept = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


def first_difference(before: dict[str, object], after: dict[str, object]) -> str:
    """Name of the first value that is another one now; empty if none is."""
    return next((name for name, value in before.items() if after[name] != value), "")


def process_state() -> dict[str, object]:
    """What a component must leave as it found it, by name."""
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "whether gradients are recorded": torch.is_grad_enabled(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "NumPy's global generator": [str(np.asarray(v).tolist()) for v in np.random.get_state()],
        "Python's global generator": random.getstate(),
    }
