from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from attacks.common.imputers import Imputer
from attacks.common.learners import WINNERS, known_features, macro_auc
from bench.contract import Split
from bench.engine.config import compose_grid
from tests.attacks.tables import grid_card, measured, table, table_card, told


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


@pytest.mark.parametrize("n_values", [2, 3])
def test_the_auc_is_that_of_scikit_learn(n_values: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(n_values, size=400)
    scores = (rng.normal(size=(400, n_values)) + np.eye(n_values)[truth]).round(1)  # with ties
    columns = [roc_auc_score(truth == v, scores[:, v]) for v in range(n_values)]
    assert macro_auc(truth, scores) == pytest.approx(np.mean(columns), abs=1e-12)


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


@pytest.mark.parametrize("n_values", [3, 10])
def test_a_number_is_imputed_over_its_grid(n_values: int) -> None:
    card = grid_card(n_values)
    public, victims = measured(card, 300, 0, signal=3.0), measured(card, 200, 1, signal=3.0)
    out = Imputer(trees=30).fit(told(card, public, victims), 0, "cpu")
    p = out["probabilities"]
    assert torch.allclose(p.sum(1), torch.ones(200, dtype=p.dtype))
    assert float(p.min()) > 0
    assert card.sensitive is not None
    grid = torch.tensor(card.sensitive.codes, dtype=torch.float64)[:, 0]
    # Noise of 1 on three times the number: the posterior's mean is within a third or so of it.
    error = ((p @ grid) - victims.x[:, 0]).square().mean().sqrt()
    assert float(error) < 0.45
    guess = p.argmax(1)
    assert victims.s is not None
    assert float((guess - victims.s).abs().double().mean()) < 0.15 * n_values
    assert out["cv"].max() > 0.8


def test_a_number_without_a_trace_is_left_at_its_spread() -> None:
    card = grid_card(5)
    knowledge = told(card, measured(card, 300, 0), measured(card, 50, 1))
    victims = replace(knowledge.partial, y=torch.arange(50) % 2)  # type: ignore[type-var]
    p = Imputer(trees=30).fit(replace(knowledge, partial=victims), 0, "cpu")["probabilities"]
    assert float(p.mean(0).min()) > 0.05 and float(p.mean(0).max()) < 0.4


def test_the_cells_of_a_grid_in_any_order() -> None:
    card = grid_card(4)
    assert card.sensitive is not None
    order = [2, 0, 3, 1]
    shuffled = replace(
        card,
        sensitive=replace(card.sensitive, codes=tuple(card.sensitive.codes[i] for i in order)),
    )
    public, victims = measured(card, 100, 0), measured(card, 20, 1)
    a = Imputer(trees=10).fit(told(card, public, victims), 0, "cpu")["probabilities"]
    assert public.s is not None
    where = torch.tensor(order).argsort()
    moved = replace(public, s=where[public.s])
    b = Imputer(trees=10).fit(told(shuffled, moved, victims), 0, "cpu")["probabilities"]
    assert torch.allclose(a[:, order], b)


def test_the_outcome_of_a_regression_is_known() -> None:
    card = grid_card(2, outcome=True)
    public, victims = measured(card, 200, 0, noise=0.1), measured(card, 100, 1, noise=0.1)
    assert known_features(card, victims).shape == (100, 3 + 1)
    p = Imputer(trees=30).fit(told(card, public, victims), 0, "cpu")["probabilities"]
    assert float((p.argmax(1) == victims.s).double().mean()) > 0.9


def test_most_caps_what_is_learnt_from() -> None:
    card = table_card()
    knowledge = told(card, table(card, 200, 0), table(card, 20, 1))
    capped = Imputer(most=50, trees=10).fit(knowledge, 5, "cpu")
    few = Imputer(n_aux=50, trees=10).fit(knowledge, 5, "cpu")
    assert torch.equal(capped["probabilities"], few["probabilities"])
    count = capped["value_prior"] * 52
    assert torch.allclose(count, count.round())


def test_sizes_of_what_the_attacker_holds_can_be_swept() -> None:
    rows = compose_grid(["attack=[imputation_sizes]"]).options["attack"]
    assert [row.layers[0]["prior"]["n_aux"] for row in rows] == [50, 500, 5000]
