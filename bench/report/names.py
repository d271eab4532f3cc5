"""What people call the things that records name: options, settings, sectors and questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bench.contract.access import ACCESS
from bench.contract.names import Heading, words
from bench.contract.record import Data
from bench.contract.secrets import HIDDEN
from bench.goals import goal_named
from bench.report.boards import BoardKey
from bench.report.text import at_most

_BRIEF = re.compile(r"\((\S+)\)$")
"""What the literature calls it, behind a title."""
SECTORS = {
    "credit": "Credit scoring",
    "face": "Face recognition",
    "medical": "Medicine",
    "retail": "Retail",
    "survey": "Surveys",
}
"""What the sectors of the built-in data sets are called; others are called by their name."""
_SAID_ELSEWHERE = frozenset({"access", "budget"})
"""Settings that the heading of a board states."""


@dataclass(frozen=True)
class Names:
    """Titles and sentences of options, with the machine's own names where nothing is known.

    Attributes:
        headings: by group (``dataset``, ``model``, ``defense``, ``attack``) and option.
    """

    headings: Mapping[tuple[str, str], Heading] = field(default_factory=dict)

    def title(self, group: str, option: str) -> str:
        """Title of an option."""
        known = self.headings.get((group, option))
        return known.title if known is not None else _capital(words(option))

    def sentence(self, group: str, option: str) -> str:
        """What an option is; empty where nothing is known of it."""
        known = self.headings.get((group, option))
        return known.sentence if known is not None else ""

    def parts(
        self, group: str, name: str, option: str = "", brief: bool = False
    ) -> tuple[str, str]:
        """A row's title and its settings in words: ``Rounded scores`` and ``decimals 1``.

        Args:
            group: as in ``headings``.
            name: of the row, with its settings in brackets: ``rounding[decimals=1]``.
            option: the row's option, where the row is not called by it.
            brief: for small places: ``DP-SGD`` where the title ends in ``(DP-SGD)``.
        """
        bare, _, rest = name.partition("[")
        title = self.title(group, option or bare)
        short = _BRIEF.search(title) if brief else None
        return short[1] if short else title, ", ".join(settings(rest.removesuffix("]")))

    def row(self, group: str, name: str, option: str = "", brief: bool = False) -> str:
        """The :meth:`parts` of a row in one: ``Rounded scores, decimals 1``."""
        return ", ".join(filter(None, self.parts(group, name, option, brief)))

    def dataset(self, name: str, card: Data) -> str:
        """Title of a data set; one that its owner named keeps that name.

        Args:
            name: of the data set in the records.
            card: what the records say of it.
        """
        bare = name.partition("[")[0]
        return self.row("dataset", name) if not card.option or bare == card.option else name

    def target(self, dataset: str, model: str, card: Data) -> str:
        """A model of a data set: ``German credit, neural network``."""
        return f"{self.dataset(dataset, card)}, {_small(self.row('model', model))}"

    def board(self, key: BoardKey, card: Data) -> str:
        """What a board answers, and for whom.

        ``Credit scoring (German credit, neural network): can someone learn whether an applicant
        has a checking account?``
        """
        where = self.target(key.dataset, key.model, card)
        return f"{sector(key.sector)} ({where}): {_small(question(key.goal, card))}"


def sector(name: str) -> str:
    """What a sector is called."""
    return SECTORS.get(name, _capital(words(name)))


def question(goal: str, card: Data) -> str:
    """The question of a goal about the people of a data set."""
    # Records of schema 1.10.0 have lost these words: their name looked like that of a credential.
    known = "" if card.asked_about == HIDDEN else card.asked_about
    secret = known or f"a person's {words(card.sensitive) or 'secret attribute'}"
    return goal_named(goal).words.question.format(secret=secret)


def sees(access: str, budget: float) -> str:
    """What the attacker of a board sees: ``Attacker sees scores, at most 1,000 queries``."""
    return ", ".join(filter(None, (f"Attacker sees {ACCESS[access].title}", at_most(budget))))


def settings(text: str) -> Iterator[str]:
    """Settings in words: ``epsilon=3,by_person=true`` gives ``epsilon 3`` and ``by person``.

    What the heading of a board says, access and budget, is left out.
    """
    for part in _parts(text):
        key, _, value = part.partition("=")
        name = words(key.rpartition(".")[2])
        if key in _SAID_ELSEWHERE:
            continue
        if not value:
            yield part
        elif value.lower() in ("true", "false", "null", "none"):
            yield name if value.lower() == "true" else f"no {name}"
        else:
            yield f"{name} {words(value)}"


def _parts(text: str) -> Iterator[str]:
    """Text between commas that are not inside of brackets."""
    depth, start = 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "[{(") - (sign in "]})")
        if sign == "," and depth == 0:
            yield text[start:place].strip()
            start = place + 1
    if text[start:].strip():
        yield text[start:].strip()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _small(text: str) -> str:
    """Text for the middle of a sentence: names with further capitals, such as EASE, keep theirs."""
    first = text.partition(" ")[0]
    return text if first[1:] != first[1:].lower() else text[:1].lower() + text[1:]
