from __future__ import annotations

import dataclasses

import pytest
import torch

from bench.contract import Knowledge, Split, metered
from bench.contract.errors import KnowledgeError
from tests.attacks.tables import table
from tests.attacks.tables import table_card as card_of
from tests.attacks.tables import told as knowledge_of


def _knowledge() -> Knowledge:
    card = card_of()
    return knowledge_of(card, table(card, 10, 0), table(card, 5, 1))


def test_what_is_read_is_noted() -> None:
    watched, read = metered(_knowledge(), {"K2", "K3", "K4"})
    assert read == set()
    assert isinstance(watched, Knowledge)
    assert isinstance(watched.public, Split)
    assert read == {"K2"}
    assert watched.partial is not None
    assert watched.card.name, "the card is public"
    assert read == {"K2", "K3"}


def test_either_kind_of_public_data_counts_as_what_was_declared() -> None:
    watched, read = metered(_knowledge(), {"K1"})
    assert len(watched.public)
    assert read == {"K1"}


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("public", "K2"),
        ("partial", "K3"),
        ("defense", "K4"),
        ("observed", "K6"),
        ("train_like", "K7"),
    ],
)
def test_what_is_not_declared_cannot_be_read(field: str, code: str) -> None:
    watched, read = metered(_knowledge(), {"K2", "K3", "K4", "K6", "K7"} - {code})
    with pytest.raises(KnowledgeError, match=code):
        getattr(watched, field)
    assert read == set()


def test_a_copy_is_no_way_round() -> None:
    watched, _ = metered(_knowledge(), {"K2"})
    with pytest.raises(KnowledgeError):
        dataclasses.replace(watched, classes=torch.arange(2))
