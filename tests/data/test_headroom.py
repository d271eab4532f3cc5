from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.contract import Card, Sensitive, Split, Splits
from bench.data import headroom, tables


def splits(n: int = 300, leak: float = 0.0, values: int = 2, share: float | None = None) -> Splits:
    """Equal thirds; the one known column follows the sensitive value by ``leak``."""
    rng = np.random.default_rng(1)
    s = rng.integers(0, values, 3 * n) if share is None else (rng.random(3 * n) < share) * 1
    x = np.column_stack([np.eye(values)[s], rng.normal(size=3 * n) + leak * s])
    card = Card(
        name="toy",
        sector="medical",
        modality="table",
        shape=(values + 1,),
        class_names=("no", "yes"),
        privacy_unit="record",
        source="",
        terms="",
        publishable=False,
        sensitive=tables.one_hot_sensitive("sex", tuple("abcde"[:values]), (0, values)),
    )
    records = Split(
        torch.tensor(x, dtype=torch.float32),
        torch.tensor(rng.integers(0, 2, 3 * n)),
        torch.arange(3 * n),
        torch.tensor(s),
    )
    return Splits(card, *(records.take(torch.arange(i * n, (i + 1) * n)) for i in range(3)))


def test_the_imputer_finds_what_the_other_columns_tell() -> None:
    assert headroom.imputer_auc(splits()) == pytest.approx(0.5, abs=0.12)
    assert headroom.imputer_auc(splits(leak=6.0)) > 0.99
    assert headroom.imputer_auc(splits(leak=6.0, values=3)) > 0.85


def test_a_number_is_imputed_by_its_share_of_variance() -> None:
    def r2(leak: float) -> float:
        base = splits()
        number = Sensitive("bmi", ("0", "1"), (2, 3), ((0.0,), (1.0,)), numeric=True)
        for split in (base.train, base.test, base.public):
            split.x[:, 2] = leak * split.x[:, 0] + 0.1 * split.x[:, 2]
        card = Card(**{**vars(base.card), "sensitive": number})
        return headroom.imputer_r2(Splits(card, base.train, base.test, base.public))

    assert r2(0.0) < 0.1
    assert r2(5.0) > 0.99


def test_room_is_there_and_nothing_is_said() -> None:
    facts = headroom.headroom(splits())
    assert sum(facts["sensitive_prevalence"].values()) == pytest.approx(1.0)
    assert "no_headroom" not in facts


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"leak": 6.0}, "AUC without the model is 0.99|AUC without the model is 1.000"),
        ({"share": 0.02}, "of the members have 'b', outside 5 % to 95 %"),
        ({"n": 60}, "there are 60 members, fewer than 100"),
    ],
)
def test_no_room_is_said_in_a_sentence(options: dict[str, float], words: str) -> None:
    sentence = headroom.headroom(splits(**options))["no_headroom"]  # type: ignore[arg-type]
    assert any(part in sentence for part in words.split("|"))
    assert sentence.startswith("'sex' leaves no headroom: ") and sentence.endswith(".")


def test_one_value_in_public_leaves_nothing_to_learn() -> None:
    base = splits()
    assert base.public.s is not None
    base.public.s[:] = 0
    assert headroom.imputer_auc(base) == 0.5


def test_a_value_the_public_records_lack_is_survived() -> None:
    base = splits(values=3)
    assert base.public.s is not None
    keep = base.public.s < 2
    fewer = Splits(base.card, base.train, base.test, base.public.take(keep))
    assert 0.3 < headroom.imputer_auc(fewer) < 0.7


def test_many_public_records_are_thinned() -> None:
    base = splits(n=6000, leak=1.0)
    assert len(headroom._learn(base)) == headroom.IMPUTER_ROWS
    assert headroom.imputer_auc(base) == pytest.approx(0.76, abs=0.02)
