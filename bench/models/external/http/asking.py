"""Records are asked in order, each only once, and within the budget."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.contract import UserError
from bench.contract.identity import canonical
from bench.models.external.http import explaining
from bench.models.external.http.protocols import rows
from bench.models.external.http.readings import Reading
from bench.models.external.http.sending import Reply, Sender
from bench.models.external.http.transcript import Answer, Asked, BudgetSpent, Transcript
from bench.models.external.opened import Answered, Inputs

_LONGEST_WAIT_S = 900.0
"""An endpoint that asks to wait longer is asked again by another run."""
_LONGEST_BACK_OFF_S = 30.0
_REFUSALS = 10
"""Refusals for the rate, for each allowed failure: to wait is no failure."""
_jitter = random.Random()


@dataclass(frozen=True)
class Speech:
    """How one endpoint is asked.

    Attributes:
        protocol: its name.
        url: where it answers.
        request: the body for some records.
        read: what an answer says, of so many records.
        most: records that a request may hold; None: any number.
    """

    protocol: str
    url: str
    request: Callable[[Inputs], Any]
    read: Callable[[Any], Reading]
    most: int | None = None


@dataclass(frozen=True)
class _Question:
    """Records, and the row of each."""

    inputs: Inputs
    row_of: Mapping[Asked, int]

    def records(self, asked: Sequence[Asked]) -> Inputs:
        """The records asked for, in this order."""
        chosen = [self.row_of[one] for one in asked]
        if isinstance(self.inputs, pd.DataFrame):
            return self.inputs.iloc[chosen]
        return self.inputs[chosen]


class Asker:
    """Asks one endpoint; what others asked, it does not ask again.

    Args:
        speech: how the endpoint is asked.
        sender: the session with it.
        transcript: shared with every other asker.
        batch: records a request.
        retries: further tries after a failure.
        fresh: whether it asks anew what it repeats, as where each answer is drawn anew.
    """

    def __init__(
        self,
        speech: Speech,
        sender: Sender,
        transcript: Transcript,
        batch: int,
        retries: int,
        fresh: bool = True,
    ) -> None:
        self._speech = speech
        self._sender = sender
        self._transcript = transcript
        self._size = min(batch, transcript.most or batch)
        self._retries = retries
        self._fresh = fresh
        self._before: Counter[bytes] = Counter()
        self._told = transcript.told()
        self._lock = threading.Lock()

    def __call__(self, inputs: Inputs) -> Answered:
        """Answer records in their order.

        Raises:
            UserError: the endpoint cannot be asked, or its answers cannot be read.
        """
        with self._lock:
            asked = self._numbered(inputs)
            question = _Question(inputs, {one: row for row, one in enumerate(asked)})
            try:
                answers = self._answers(question, asked)
            finally:
                self._transcript.release()
            # Only now: after an error the same records are looked up again, not asked anew.
            self._before.update(digest for digest, _ in asked)
            return self._joined([answers[one] for one in asked])

    def _numbered(self, inputs: Inputs) -> list[Asked]:
        if not self._fresh:
            return [(digest, 0) for digest in digests(inputs)]
        seen: Counter[bytes] = Counter()
        asked = []
        for digest in digests(inputs):
            asked.append((digest, self._before[digest] + seen[digest]))
            seen[digest] += 1
        return asked

    def _answers(self, question: _Question, asked: Sequence[Asked]) -> dict[Asked, Answer]:
        answers = self._transcript.known(asked)
        self._transcript.note(recalled=len(answers))
        left = [one for one in dict.fromkeys(asked) if one not in answers]
        pause = 0.05
        while left:
            before = len(answers)
            at = 0
            while at < len(left):
                batch = left[at : at + self._size]
                at += len(batch)
                answers |= self._batch(question, batch)
            left = [one for one in left if one not in answers]
            # Another process is asking what is left.
            pause = 0.05 if len(answers) > before else min(1.0, 2 * pause)
            if left:
                time.sleep(pause)
        return answers

    def _batch(self, question: _Question, batch: Sequence[Asked]) -> dict[Asked, Answer]:
        """Answers for those that nobody else is asking."""
        answers, left = self._transcript.claim(batch)
        if answers:
            self._transcript.note(recalled=len(answers))
        while left:
            answers |= self._exchange(question, left[: self._size])
            left = [one for one in left if one not in answers and self._transcript.holds(one)]
        return answers

    def _exchange(self, question: _Question, part: list[Asked]) -> dict[Asked, Answer]:
        """Send one request until it is answered; nothing is answered where it was too large."""
        failures = refusals = 0
        while True:
            self._transcript.wait(len(part))
            part = self._paid([one for one in part if self._transcript.holds(one)])
            if not part:
                return {}
            reply = self._post(question, part)
            too_large = explaining.too_large(reply) and len(part) > 1
            if too_large or explaining.unprocessed(reply):
                self._transcript.refund(len(part))
            if explaining.good(reply):
                return self._kept(question.records(part), part, reply)
            if too_large:
                self._size = len(part) // 2
                self._transcript.allow(self._size)
                return {}
            refusals += reply.status == 429
            failures += reply.status != 429
            self._transcript.note(refusals=int(reply.status == 429))
            if not self._again(reply, failures, refusals):
                raise self._explained(question.records(part), reply)
            self._transcript.note(retries=int(reply.status != 429))
            self._transcript.hold(back_off(failures + refusals, reply.retry_after))

    def _paid(self, part: list[Asked]) -> list[Asked]:
        """As many of the records as the budget still allows, counted as sent."""
        while part:
            try:
                self._transcript.spend(len(part))
                return part
            except BudgetSpent as spent:
                if not spent.left:
                    raise
                part = part[: spent.left]
        return part

    def _post(self, question: _Question, part: Sequence[Asked]) -> Reply:
        try:
            body = json.dumps(
                self._speech.request(question.records(part)), allow_nan=False
            ).encode()
            return self._sender.post(self._speech.url, body)
        except UserError:
            self._transcript.refund(len(part))  # Nothing was sent.
            raise

    def _again(self, reply: Reply, failures: int, refusals: int) -> bool:
        if (reply.retry_after or 0) > _LONGEST_WAIT_S and reply.status in (429, 503):
            raise UserError(
                f"The endpoint asks to wait {reply.retry_after:.0f} seconds before the next "
                "request. Run the same campaign again after that: no record that was answered is "
                "asked again."
            )
        if reply.status == 429:
            return refusals <= _REFUSALS * (self._retries + 1)
        return explaining.again(reply) and failures <= self._retries

    def _explained(self, inputs: Inputs, reply: Reply) -> UserError:
        speech, headers = self._speech, self._sender.headers
        text = headers.hidden(reply.body.decode(errors="replace"))
        reply = replace(reply, body=explaining.without(inputs, text).encode())
        return explaining.explained(reply, speech.url, speech.protocol, headers)

    def _kept(self, inputs: Inputs, part: Sequence[Asked], reply: Reply) -> dict[Asked, Answer]:
        found = self._reading(inputs, reply)
        if len(found) != len(part):
            raise UserError(
                f"The endpoint was asked {len(part)} records and answered {len(found)}. It must "
                "answer each record once and in order. Check `protocol`, and with the protocol "
                "template `response`; if it takes one record a request, set `batch` to 1."
            )
        answers = self._settled(found)
        self._transcript.keep(part, answers)
        return dict(zip(part, answers, strict=True))

    def _reading(self, inputs: Inputs, reply: Reply) -> Reading:
        headers = self._sender.headers
        try:
            return self._speech.read(explaining.parsed(reply, headers))
        except UserError as error:
            # What is quoted from the answer may hold a short value of a header, or of a record.
            wrong = UserError(explaining.without(inputs, headers.hidden(str(error))))
        raise wrong

    def _settled(self, found: Reading) -> list[Answer]:
        """The answers in the columns that the endpoint told first."""
        scores = found.scores
        classes = list(found.classes)
        if scores is not None and "columns" not in self._told:
            told: dict[str, Any] = {"columns": scores.shape[1]}
            self._told = self._transcript.told(told | ({"classes": classes} if classes else {}))
        if scores is not None and classes:
            scores = _in_order(scores, classes, self._told.get("classes") or classes)
        if scores is not None and scores.shape[1] != self._told["columns"]:
            raise UserError(
                f"The endpoint answered {scores.shape[1]} scores for a record, and "
                f"{self._told['columns']} before. It must answer every class each time. If its "
                "model was changed meanwhile, start with a new transcript."
            )
        labels = found.labels or ()
        return [
            Answer(
                scores=None if scores is None else scores[row],
                label=labels[row] if labels else None,
            )
            for row in range(len(found))
        ]

    def _joined(self, answers: Sequence[Answer]) -> Answered:
        if "columns" not in self._told:
            # Another asker may have been told first, and its answers are recalled.
            self._told = self._transcript.told()
        labels = [answer.label for answer in answers]
        scores = [_scores(answer) for answer in answers]
        plain = [row for row in scores if row is not None]
        # A server may write the score 1.0 as 1, which alone reads like a label.
        mixed = any(answer.scores is not None for answer in answers)
        return Answered(
            scores=_stacked(plain, len(answers)) if mixed or self._one_score() else None,
            labels=None if None in labels or self._one_score() else _labels(labels),
            classes=tuple(self._told.get("classes", ())) if plain else (),
        )

    def _one_score(self) -> bool:
        return bool(self._told.get("columns") == 1)


def back_off(tries: int, retry_after: float | None) -> float:
    """Seconds to wait before another try, with some at random, so that not all come at once."""
    if retry_after is not None:
        # An endpoint that asks for too little is left alone for longer each time.
        return retry_after + _jitter.uniform(0, min(_LONGEST_BACK_OFF_S, 0.05 * 2.0**tries))
    most = min(_LONGEST_BACK_OFF_S, 0.25 * 2.0**tries)
    return _jitter.uniform(most / 2, most)


def digests(inputs: Inputs) -> list[bytes]:
    """What tells each record from others, from which it cannot be read."""
    if isinstance(inputs, pd.DataFrame):
        names = [str(name) for name in inputs.columns]
        return [_digest(canonical([names, row]).encode()) for row in rows(inputs)]
    whole = np.ascontiguousarray(inputs)
    if whole.dtype.kind == "f":
        whole = whole + np.zeros((), whole.dtype)  # -0.0 is the same number as 0.0.
    head = f"{whole.dtype.str}{whole.shape[1:]}".encode()
    return [_digest(head + row.tobytes()) for row in whole]


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()[:16]


def _in_order(
    scores: npt.NDArray[Any], classes: Sequence[str], order: Sequence[str]
) -> npt.NDArray[Any]:
    """Columns in the order of the classes told first, NaN for a class that is left out."""
    if new := [name for name in classes if name not in order]:
        raise UserError(
            f"The endpoint answered scores for classes that it did not name at first: "
            f"{', '.join(new[:10])}. Let it answer a score for every class each time, or point "
            "`response` at its labels alone."
        )
    ordered = np.full((len(scores), len(order)), np.nan)
    ordered[:, [list(order).index(name) for name in classes]] = scores
    return ordered


def _scores(answer: Answer) -> npt.NDArray[Any] | None:
    if answer.scores is None and isinstance(answer.label, int):
        return np.array([float(answer.label)])
    return answer.scores


def _stacked(scores: Sequence[npt.NDArray[Any]], n: int) -> npt.NDArray[Any]:
    if len(scores) != n or len({len(row) for row in scores}) > 1:
        raise UserError(
            "The endpoint answered some records with scores and others without, or with different "
            "numbers of them. Name the part of the answer that holds the scores with `output`."
        )
    return np.stack(scores) if scores else np.zeros((0, 1))


def _labels(labels: Sequence[str | int | None]) -> npt.NDArray[Any] | None:
    if all(isinstance(label, int) for label in labels):
        return np.array(labels, dtype=np.int64)
    return np.array([str(label) for label in labels])
