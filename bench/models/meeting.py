"""Trainings that go on side by side, and meet where each of them wants a network trained."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import torch

from bench.contract import FitReport
from bench.models.fitting import Fitting

T = TypeVar("T")
Together = Callable[[Sequence[Fitting]], list[FitReport]]
Train = Callable[[Sequence[Fitting]], Sequence[tuple[FitReport | Exception, float, int]]]
"""Trains networks; of each the report or what went wrong, seconds, and how many were trained in
the same program."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of one of several trainings.

    Attributes:
        value: what it returned, or what it raised.
        seconds: its own, and its share of those spent for several.
        replicas: the most networks that were trained in one program with one of its own.
    """

    value: T | Exception
    seconds: float
    replicas: int


def side_by_side(
    trainings: Sequence[Callable[[Together], T]], train: Train, device: str = "cpu"
) -> list[Outcome[T]]:
    """Run functions until each wants a network trained, then train what they all want at once.

    Each function runs in a thread of its own, but only one at a time, with the global generators as
    it left them: so it gives what it would have given alone. That way the code of a defense that
    trains several networks one after the other stays as it is.

    Args:
        trainings: each gets what it calls to have a network trained.
        train: trains the networks that all of them wait for.
        device: torch device name.
    """
    if len(trainings) == 1:
        return [_by_itself(trainings[0], train)]
    sides = [_Side(training, device) for training in trainings]
    try:
        for side in sides:
            side.go_on()
        while waiting := [side for side in sides if side.wants]:
            answers = iter(train([fitting for side in waiting for fitting in side.wants]))
            for side in waiting:
                side.take(list(islice(answers, len(side.wants))))
            for side in waiting:
                side.go_on()
    finally:
        for side in sides:
            side.give_up()
    return [Outcome(side.value, side.seconds, side.replicas) for side in sides]


def _by_itself(training: Callable[[Together], T], train: Train) -> Outcome[T]:
    """The same of one function, in the thread at hand."""
    started, most = time.perf_counter(), 1

    def together(fittings: Sequence[Fitting]) -> list[FitReport]:
        nonlocal most
        answers = train(fittings)
        most = max([most, *(replicas for _, _, replicas in answers)])
        return _reports([answer for answer, _, _ in answers])

    value: T | Exception
    try:
        value = training(together)
    except Exception as error:
        value = error
    return Outcome(value, time.perf_counter() - started, most)


def _reports(answers: Sequence[FitReport | Exception]) -> list[FitReport]:
    """The reports; raises the first exception instead, if there is one."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return [answer for answer in answers if isinstance(answer, FitReport)]


class _GivenUp(BaseException):
    """Ends a thread whose training nobody waits for any more."""


class _Side(threading.Thread, Generic[T]):
    """One of the functions, in a thread that runs only while everybody else waits."""

    def __init__(self, training: Callable[[Together], T], device: str) -> None:
        super().__init__(daemon=True, name="replica")
        self.wants: Sequence[Fitting] = ()
        self.answers: list[FitReport | Exception] = []
        self.value: T | Exception = RuntimeError("The training was given up.")
        self.seconds, self.replicas = 0.0, 1
        self._training = training
        self._cuda = torch.device(device).type == "cuda"
        self._threads = torch.get_num_threads()
        self._may_run, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._given_up = False
        self.start()

    def go_on(self) -> None:
        """Let it run until it wants a network trained, or has ended."""
        started = time.perf_counter()
        self._may_run.release()
        self._waits.acquire()
        self.seconds += time.perf_counter() - started

    def take(self, answers: Sequence[tuple[FitReport | Exception, float, int]]) -> None:
        """Take what came of the networks that it wants trained."""
        self.wants, self.answers = (), [answer for answer, _, _ in answers]
        self.seconds += sum(seconds for _, seconds, _ in answers)
        self.replicas = max(self.replicas, *(replicas for _, _, replicas in answers))

    def give_up(self) -> None:
        """End it, wherever it waits; nothing happens if it has ended."""
        self._given_up = True
        self._may_run.release()

    def run(self) -> None:
        """The thread; see :class:`threading.Thread`."""
        self._may_run.acquire()
        if self._given_up:
            return
        torch.set_num_threads(self._threads)
        try:
            self.value = self._training(self._together)
        except _GivenUp:
            return
        except Exception as error:
            self.value = error
        finally:
            self._waits.release()

    def _together(self, fittings: Sequence[Fitting]) -> list[FitReport]:
        """Wait until networks have been trained; the generators are given back as they were."""
        if not fittings:
            return []
        states: list[Any] = [torch.get_rng_state()]
        if self._cuda:
            states.append(torch.cuda.get_rng_state())
        self.wants = fittings
        self._waits.release()
        self._may_run.acquire()
        if self._given_up:
            raise _GivenUp
        torch.set_rng_state(states[0])
        if self._cuda:
            torch.cuda.set_rng_state(states[1])
        return _reports(self.answers)
