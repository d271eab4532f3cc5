"""The gate's rules: one pure function each, by the names of :mod:`bench.decide.rulebook`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from bench.decide.case import Case
from bench.decide.rulebook import RULES
from bench.decide.rules import agreement, leakage, origin, people, privacy, standards

CHECKS: Mapping[str, Callable[[Case], Iterable[str]]] = {
    **leakage.CHECKS,
    **standards.CHECKS,
    **origin.CHECKS,
    **agreement.CHECKS,
    **privacy.CHECKS,
    **people.CHECKS,
}
"""What each rule finds against a model, in sentences; nothing where it holds."""


def breaches(case: Case) -> Iterator[tuple[str, str]]:
    """Every breach of a rule: its name and a sentence, in the order of the rules."""
    for rule in RULES:
        for sentence in dict.fromkeys(CHECKS[rule](case)):
            yield rule, sentence
