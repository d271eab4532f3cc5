"""What an adversary wants: everything that the program must know of one goal, in one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.contract.access import Access


@dataclass(frozen=True)
class Words:
    """What pages and documents say of a goal; no result depends on it.

    Attributes:
        code: of the protocol (PROTOCOL 1.1).
        title: what it is called.
        question: what a board answers; ``{secret}`` stands for what is hidden of a person, as
            ``whether a patient is given insulin``.
        event: what happens to a person, as the end of a sentence.
        pictures: what the pictures of a reconstruction show, from top to bottom; empty: there are
            none.
    """

    code: str
    title: str
    question: str
    event: str
    pictures: str = ""


@dataclass(frozen=True)
class StandardSet:
    """Attacks that fail in different ways: the least that the worst case of a board rests on.

    A set that was published is not changed: a better one has the next number. Overrides of a run
    do not reach it.

    Attributes:
        name: what boards call it, ending in its number: ``standard-faces-weights-1``.
        modality: data that it is for.
        access: of the boards that it is for; members may need less.
        members: attacks, each as the name of an option and what it sets of that option's file.
    """

    name: str
    modality: Literal["image", "table", "basket"]
    access: Access
    members: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Goal:
    """What an adversary wants.

    Attributes:
        name: as configs, records and boards write it.
        judge: module whose ``score`` gives the goal's metric.
        victims: who is attacked: every class of the target, members and as many held-out records,
            or the clients of one round of training.
        most: most members who are attacked, and as many held-out records, where each costs a
            training; 0: as many as a run says.
        baselines: options of the attackers without a model that its leakage is measured from.
        words: what pages say of it.
        rows: rows of a reconstruction: one a victim; one a victim or a single one for all; any
            number.
        hides_attribute: whether the attacker is told the victims' records without the sensitive
            attribute.
        tells_labels: whether the attacker is told the victims' published labels.
        asks: whether an attack on answers must send queries; the answers for the victims' records
            may be all that there is.
        gains: whether the member gap is one of gains over the baseline (PROTOCOL 2.3).
        members: whether it is about members of the training set: without the member gap nothing is
            known of them.
        recognised: whether evaluators recognise the reconstructions, so that boards rest on them
            (PROTOCOL C5).
        controls: controls in which its attacks must find nothing, or as much as ever (PROTOCOL
            3.6).
        standard: sets of attacks that its boards rest on at least, one for an access.
        observed_as: name of the goal of an attacker who has also seen what the deployment answered
            for the victims' own, complete records (K6): more than asking it allows, so it has
            boards of its own. Empty: that is no other goal.
    """

    name: str
    judge: str
    victims: Literal["classes", "records", "clients"]
    baselines: tuple[str, ...]
    words: Words
    rows: Literal["one", "shared", "any"] = "one"
    hides_attribute: bool = False
    tells_labels: bool = False
    asks: bool = True
    gains: bool = False
    members: bool = False
    recognised: bool = False
    controls: frozenset[str] = frozenset()
    standard: tuple[StandardSet, ...] = ()
    observed_as: str = ""
    most: int = 0
