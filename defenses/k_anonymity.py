"""Train on a k-anonymous copy of the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from bench.contract import Count, Split, TrainingContext, TrainingDefense
from defenses.common.sanitizers import columns_of, microaggregate


@dataclass(frozen=True)
class KAnonymity(TrainingDefense):
    """Mondrian: equivalence classes of at least ``k`` records that look the same.

    LeFevre, DeWitt and Ramakrishnan (ICDE 2006) cut the quasi-identifiers greedily in many
    dimensions. Every record takes the mean of its class for numbers and the most common value for
    categories, where the paper publishes ranges and counts. Labels stay as they are, so all records
    of a class may have the same label: k-anonymity bounds who a record is, not what is learnt about
    its class. It is not differential privacy, and queries are answered for records as they are.

    Attributes:
        k: least number of records in a class; 1 is no defense. Values worth a sweep are 2, 5, 20
            and 50.
        attributes: the quasi-identifiers, by their names before encoding; null means every column.
    """

    k: Count = 5
    attributes: Annotated[tuple[str, ...], MinLen(1)] | None = None

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    cost = "one sort of the records per level of the partition"
    modalities = frozenset({"table"})
    paper = "LeFevre, DeWitt, Ramakrishnan, ICDE 2006 (Mondrian multidimensional k-anonymity)"
    zero: ClassVar[Mapping[str, Any]] = {"k": 1}
    hides = ("attributes", "all")

    def sanitize(self, train: Split, context: TrainingContext) -> Split:
        """The records with the quasi-identifiers of their class; labels as they were."""
        columns = columns_of(context.card, self.attributes, "KAnonymity.attributes")
        return replace(
            train, x=microaggregate(train.x, context.card, context.public.x, self.k, columns)
        )
