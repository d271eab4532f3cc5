from __future__ import annotations

import pytest
import torch

from attacks.imputers import Imputer
from attacks.learners import WINNERS, known_features, macro_auc
from bench.contract import Split, UserError
from tests.attacks.tables import table, table_card, told


@pytest.mark.parametrize("n_values", [2, 4])
def test_it_learns_what_the_known_columns_say(n_values: int) -> None:
    card = table_card(n_values)
    public, victims = table(card, 200, 0, signal=2.0), table(card, 100, 1, signal=2.0)
    out = Imputer(trees=30).fit(told(card, public, victims), 0, "cpu")
    p = out["probabilities"]
    assert p.shape == (100, n_values)
    assert torch.allclose(p.sum(1), torch.ones(100, dtype=p.dtype))
    assert float(p.min()) > 0
    assert victims.s is not None
    assert macro_auc(victims.s.numpy(), p.numpy()) > 0.75
    assert int(out["winner"]) == int(out["cv"].argmax())


def test_nothing_to_learn_is_chance() -> None:
    card = table_card()
    public, victims = table(card, 200, 0, signal=0.0), table(card, 300, 1, signal=0.0)
    p = Imputer(trees=30).fit(told(card, public, victims), 0, "cpu")["probabilities"]
    assert victims.s is not None
    assert macro_auc(victims.s.numpy(), p.numpy()) == pytest.approx(0.5, abs=0.1)


def test_the_true_label_is_used() -> None:
    card = table_card(n_known=1)
    public, victims = table(card, 200, 0, signal=0.0), table(card, 100, 1, signal=0.0)
    assert public.s is not None and victims.s is not None
    public, victims = (Split(d.x, d.s, d.person, d.s) for d in (public, victims))  # type: ignore[arg-type]
    p = Imputer(trees=30).fit(told(card, public, victims), 0, "cpu")["probabilities"]
    assert victims.s is not None
    assert macro_auc(victims.s.numpy(), p.numpy()) > 0.99


def test_the_sensitive_columns_are_never_read() -> None:
    card = table_card()
    public, victims = table(card, 100, 0), table(card, 50, 1)
    other = Split(victims.x.clone(), victims.y, victims.person)
    other.x[:, :2] = 7.0
    aux = Split(public.x.clone(), public.y, public.person, public.s)
    aux.x[:, :2] = torch.nan
    imputer = Imputer(trees=10)
    a = imputer.fit(told(card, public, victims), 3, "cpu")
    b = imputer.fit(told(card, aux, other), 3, "cpu")
    assert torch.equal(a["probabilities"], b["probabilities"])


def test_same_seed_same_tensors_and_the_global_generator_is_left_alone() -> None:
    card = table_card(3)
    knowledge = told(card, table(card, 90, 0), table(card, 20, 1))
    state = torch.get_rng_state()
    a, b = (Imputer(n_aux=60, trees=10).fit(knowledge, 5, "cpu") for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(state, torch.get_rng_state())


def test_n_aux_limits_what_is_learnt_from() -> None:
    card = table_card()
    knowledge = told(card, table(card, 200, 0), table(card, 20, 1))
    a, b = (Imputer(n_aux=n, trees=10).fit(knowledge, 5, "cpu") for n in (20, None))
    assert not torch.equal(a["probabilities"], b["probabilities"])


def test_a_value_that_public_data_lack_is_unlikely_but_possible() -> None:
    card = table_card(3)
    public = table(card, 200, 0)
    assert public.s is not None
    public = public.take(public.s != 1)
    out = Imputer(trees=10).fit(told(card, public, table(card, 40, 1)), 0, "cpu")
    assert 0 < float(out["probabilities"][:, 1].max()) < 0.05


def test_one_public_value_gives_the_prior() -> None:
    card = table_card()
    public = table(card, 60, 0)
    assert public.s is not None
    public = public.take(public.s == 0)
    out = Imputer(trees=10).fit(told(card, public, table(card, 4, 1)), 0, "cpu")
    assert WINNERS[int(out["winner"])] == "marginal"
    assert torch.equal(out["probabilities"], out["value_prior"].repeat(4, 1))


def test_values_too_rare_to_fold_still_give_an_answer() -> None:
    card = table_card()
    public = table(card, 40, 0)
    assert public.s is not None
    keep = (public.s == 0) | (public.s.cumsum(0) == 1)
    out = Imputer(trees=10).fit(told(card, public.take(keep), table(card, 4, 1)), 0, "cpu")
    assert WINNERS[int(out["winner"])] == "logistic"


@pytest.mark.parametrize("bad", [{"n_aux": 1}, {"folds": 1}, {"trees": 0}, {"most": 1}])
def test_wrong_options_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        Imputer(**bad)
