"""The given model as a component and as a network: options, state, copies, gradients, identity."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.contract import Card, Splits, UserError
from bench.contract.rows import rows_of
from bench.contract.task import TASKS
from bench.models import training
from bench.models.external.component import External
from bench.models.external.network import GivenNetwork
from bench.models.mlp import Mlp
from tests.attacks.tables import table, table_card
from tests.models.external import functions
from tests.models.external.given import program, torch_onnx
from tests.models.external.grids import Grid, loaded, loans, written
from tests.models.external.served import Served, probabilities

CARD = table_card(n_classes=3)
WIDTH = CARD.shape[0]


def splits(card: Card = CARD) -> Splits:
    return Splits(card, table(card, 60, 0), table(card, 40, 1), table(card, 40, 2))


def module(softmax: bool = True) -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 3)]
    return nn.Sequential(*layers, *([nn.Softmax(1)] if softmax else [])).eval()


def file(folder: Path, kind: str = "onnx", softmax: bool = True) -> Path:
    path = folder / f"model.{kind}"
    x = np.zeros((2, WIDTH), np.float32)
    made = torch_onnx if kind == "onnx" else program
    path.write_bytes(made(module(softmax), x))
    return path


def opened(model: External, data: Splits | None = None) -> GivenNetwork:
    network, _ = training.train(model, [], data or splits(), 0, "cpu")
    assert isinstance(network, GivenNetwork)
    return network


def shares(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.softmax(network(x), 1)


def right(x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return module()(x)


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "a.onnx", "url": "http://h/invocations"},
        {"path": "a.onnx", "function": "a:b"},
        {"path": "a.safetensors"},
        {"path": "a.onnx", "architecture": Mlp()},
        {"function": "a:b", "access": "weights"},
        {"path": "a.skops", "access": "weights"},
        {"url": "http://h/invocations", "transcript": "t"},
        {"url": "http://h/invocations", "budget": 3},
        {"url": "http://h/invocations", "budget": 3, "transcript": "t", "access": "weights"},
        {"url": "http://[::1/score", "budget": 3, "transcript": "t", "authorised": True},
        {"url": "http://[::1/score", "budget": 3, "transcript": "t"},
        {"protocol": "kserv"},
        {"batch": 0},
        {"retries": -1},
        {"rate_per_s": 0.0},
        {"path": "a.onnx", "access": "gradients"},
        {"path": "a.onnx", "std": (0.0,)},
        {"path": "a.pt", "architecture": Mlp(), "classes": ("b", "a")},
        {"path": "a.pt", "architecture": Mlp(), "answers": "logits"},
        {"path": "a.pt", "architecture": Mlp(), "output": "scores"},
    ],
)
def test_options_that_contradict_each_other_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        External(**wrong)


def test_without_a_place_it_is_listed_and_not_attacked() -> None:
    listed = External()
    with pytest.raises(UserError, match="exactly one of path=FILE"):
        _ = listed.called


def test_what_it_exposes_and_offers_follows_from_its_options() -> None:
    assert External(path="a.onnx").exposes == "scores"
    assert not External(path="a.onnx").offers
    assert "descent" in External(path="a.onnx", access="weights").offers
    assert External(path="a.onnx").alike is None
    built = External(path="a.pt", architecture=Mlp(), access="weights")
    assert built.offers == Mlp().offers - {"steps"}
    assert built.alike == Mlp()
    assert External(url="http://127.0.0.1/x", budget=1, transcript="t").counted
    with pytest.raises(UserError, match="authorised"):
        External(url="http://h/x/", budget=1, transcript="t")


def test_an_untrained_network_answers_all_records_alike(tmp_path: Path) -> None:
    data = splits()
    blank = training.initial(External(path=str(file(tmp_path))), [], data, 0, "cpu")
    answered = shares(blank, data.test.x)
    assert (answered == answered[0]).all()
    assert blank.state_dict() == {}
    again = training.restore(External(path="gone.onnx"), [], data, 0, {}, "cpu")
    assert (shares(again, data.test.x) == answered).all()


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
@pytest.mark.parametrize("access", ["scores", "weights"])
def test_state_survives_store_and_reload(kind: str, access: Any, tmp_path: Path) -> None:
    from safetensors.torch import load, save

    data = splits()
    path = file(tmp_path, kind)
    model = External(path=str(path), access=access, classes=("2", "0", "1"))
    network = opened(model, data)
    expected = right(data.test.x)[:, [1, 2, 0]]
    torch.testing.assert_close(shares(network, data.test.x), expected, atol=1e-5, rtol=1e-4)
    state = load(save(network.state_dict()))
    path.unlink()  # The store has all of it.
    back = training.restore(model, [], data, 0, state, "cpu")
    assert torch.equal(shares(back, data.test.x), shares(network, data.test.x))


def test_a_copy_answers_alike_and_has_parameters_of_its_own(tmp_path: Path) -> None:
    data = splits()
    network = opened(External(path=str(file(tmp_path)), access="weights"), data)
    twin = copy.deepcopy(network)
    before = shares(network, data.test.x)
    assert torch.equal(shares(twin, data.test.x), before)
    assert twin.training == network.training
    for parameter in twin.parameters():
        parameter.data.zero_()
    for buffer in twin.module.buffers() if twin.module is not None else ():
        buffer.data.zero_()
    assert torch.equal(shares(network, data.test.x), before)
    asked = opened(External(path=str(file(tmp_path))), data)
    assert torch.equal(shares(copy.deepcopy(asked), data.test.x), shares(asked, data.test.x))


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
@pytest.mark.parametrize("softmax", [True, False])
def test_gradients_agree_with_finite_differences(kind: str, softmax: bool, tmp_path: Path) -> None:
    data = splits()
    network = opened(External(path=str(file(tmp_path, kind, softmax)), access="weights"), data)
    x = data.test.x[:4].clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(network(x), torch.tensor([0, 1, 2, 0]), reduction="sum")
    (slope,) = torch.autograd.grad(loss, x)
    step = 1e-2
    for column in range(WIDTH):
        moved = torch.zeros(WIDTH)
        moved[column] = step
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                outputs = network(x + sign * moved)
            ends.append(
                nn.functional.cross_entropy(outputs, torch.tensor([0, 1, 2, 0]), reduction="none")
            )
        numeric = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(slope[:, column], numeric, atol=2e-3, rtol=2e-2)
    assert slope.abs().max() > 0.01


def test_one_record_is_answered_as_among_many(tmp_path: Path) -> None:
    data = splits()
    network = opened(External(path=str(file(tmp_path))), data)
    alone = torch.cat([shares(network, row[None]) for row in data.test.x])
    torch.testing.assert_close(alone, shares(network, data.test.x))
    assert network(data.test.x[:0]).shape == (0, 3)


def given(model: Any, card: Card = CARD, **options: Any) -> GivenNetwork:
    functions.GIVEN["model"] = model
    place = "tests.models.external.functions:answers"
    return opened(External(function=place, **options), splits(card))


def test_labels_alone_are_no_scores() -> None:
    says = lambda records: np.arange(len(records)) % 3  # noqa: E731
    with pytest.raises(UserError, match="labels"):
        given(says)
    with pytest.raises(UserError, match="labels"):
        given(says, answers="labels")
    network = given(says, access="labels")
    assert network(torch.zeros(3, WIDTH)).argmax(1).tolist() == [0, 1, 2]


def test_one_column_of_texts_is_labels_and_more_are_refused() -> None:
    column = np.array([["0"], ["2"]])
    network = given(lambda records: np.resize(column, (len(records), 1)), access="labels")
    assert network(torch.zeros(2, WIDTH)).argmax(1).tolist() == [0, 2]
    for wrong in (np.array([["a", "b"]]), np.array([[None, {}]], dtype=object)):
        with pytest.raises(UserError):
            given(lambda records, wrong=wrong: np.resize(wrong, (len(records), 2)))


def test_what_a_function_says_of_a_record_is_logged_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fails(records: Any) -> Any:
        raise ValueError("no such job: imprisoned")

    with pytest.raises(UserError, match="ValueError") as caught:
        given(fails)
    assert "imprisoned" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "imprisoned" in caplog.text


def test_the_number_of_classes_must_be_the_cards() -> None:
    with pytest.raises(UserError):
        given(lambda records: np.full((len(records), 4), 0.25))
    with pytest.raises(UserError):
        given(lambda records: np.full((len(records), 2), 0.5))


def test_endings_may_be_written_large(tmp_path: Path) -> None:
    data = splits()
    built = Mlp(hidden=(4,))
    state = tmp_path / "M.PT"
    torch.save(built.network(CARD, 3, 0).state_dict(), state)
    training.train(External(path=str(state), architecture=built), [], data, 0, "cpu")
    with pytest.raises(UserError):
        External(path=str(state))
    whole = file(tmp_path).rename(tmp_path / "M.ONNX")
    assert opened(External(path=str(whole), access="weights"), data).module is not None
    raw = loaded(written(tmp_path, preprocessing="model"))
    answers = rows_of(raw.card, raw.train.x).assign(p_n=0.25, p_p=0.75)
    answers.to_parquet(tmp_path / "A.PARQUET")
    opened(External(path=str(tmp_path / "A.PARQUET")), raw)


def test_an_architecture_reads_encoded_records_alone(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    raw = loaded(written(tmp_path, preprocessing="model"))
    model = Mlp(hidden=(4,))
    path = tmp_path / "m.safetensors"
    save_file(model.network(raw.card, 2, 0).state_dict(), path)
    with pytest.raises(UserError, match="preprocessing"):
        training.train(External(path=str(path), architecture=model), [], raw, 0, "cpu")


def test_gradients_do_not_go_through_a_preprocessing_that_is_not_known(tmp_path: Path) -> None:
    """The network reads raw numbers, and the encoded ones would fit its shape."""
    numbers = {"age": "number", "income": "number", "ill": "number"}
    frames = {}
    for seed, part in enumerate(("members", "holdout", "public")):
        frames[part] = loans(60, seed)[["age", "income", "y"]].assign(ill=np.arange(60) % 7)
    card = written(tmp_path, frames=frames, columns=numbers, preprocessing="model")
    raw = loaded(card)
    assert raw.train.x.shape[1] == 3
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 2), nn.Softmax(1)).eval()
    path = tmp_path / "m.onnx"
    path.write_bytes(torch_onnx(layers, np.zeros((2, 3), np.float32)))
    training.train(External(path=str(path)), [], raw, 0, "cpu")
    with pytest.raises(UserError, match="preprocessing"):
        training.train(External(path=str(path), access="weights"), [], raw, 0, "cpu")


def test_a_recommender_is_given_where_the_data_offers_classes_too() -> None:
    from bench.data.baskets import Baskets

    data = Baskets().load(0, None)
    weight = np.random.default_rng(0).normal(size=(data.card.shape[0],) * 2)
    functions.GIVEN["model"] = lambda records: records @ weight
    place = "tests.models.external.functions:answers"
    assert External(function=place).tasks == TASKS
    assert External(path="a.pt", architecture=Mlp()).tasks == Mlp().tasks
    network = opened(External(function=place, task="recommendation"), data)
    x = data.test.x[:5]
    expected = torch.from_numpy(x.numpy() @ weight).float()
    torch.testing.assert_close(network(x), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError):
        opened(External(function=place), data)


def identities(folder: Path, *words: str) -> set[str]:
    grid = Grid(folder, folder / "card.yaml")
    plan = grid.plan("model=external", "model.external.name=m", "attack=csmia", *words)
    return {key for key, node in plan.nodes.items() if node.kind == "target"}


def test_only_what_decides_an_answer_changes_an_identity(tmp_path: Path) -> None:
    written(tmp_path, rows=30)
    path = file(tmp_path)
    here = f"model.external.path={path}"
    same = identities(tmp_path, here)
    moved = tmp_path / "elsewhere.onnx"
    moved.write_bytes(path.read_bytes())
    assert identities(tmp_path, f"model.external.path={moved}") == same
    assert identities(tmp_path, here, "model.external.classes=[p,n]") != same
    moved.write_bytes(path.read_bytes() + b"1")
    assert identities(tmp_path, f"model.external.path={moved}") != same


def test_how_an_endpoint_is_reached_changes_no_identity(tmp_path: Path) -> None:
    written(tmp_path, rows=30)
    base = ["model.external.url=http://127.0.0.1:9/invocations", "model.external.budget=5"]
    base.append(f"model.external.transcript={tmp_path}/t")
    same = identities(tmp_path, *base)
    further = [
        "model.external.budget=6",
        "model.external.timeout_s=3",
        "model.external.retries=0",
        "model.external.rate_per_s=3",
        "model.external.batch=2",
        "model.external.verify=false",
        "model.external.headers={Authorization: TOKEN}",
        "model.external.transcript=other",
    ]
    assert identities(tmp_path, *base[:1], *further) == same
    for word in ("model.external.campaign=b", "model.external.served_as=b"):
        assert identities(tmp_path, *base, word) != same, word


def skipped(grid: Grid, *words: str) -> dict[str, str]:
    return {what.split(" x ")[-1]: why for (what, why), _ in grid.plan(*words).skipped.items()}


def test_what_cannot_reach_a_given_model_is_left_out_with_a_reason(tmp_path: Path) -> None:
    grid = Grid(tmp_path, written(tmp_path, rows=30))
    base = ["model=external", f"model.external.path={file(tmp_path)}"]
    out = skipped(grid, *base, "defense=[none,dp_sgd,rounding]", "defense.dp_sgd.sweep=null")
    assert list(out) == ["dp_sgd"]
    assert "trained by somebody else" in out["dp_sgd"]
    shadow = ["attack=[csmia,shadow_attribute]", "attack.shadow_attribute.sweep=null"]
    out = skipped(grid, *base, *shadow)
    assert "model.external.shadows" in out["shadow_attribute"]
    shadows = "model.external.shadows={_target_: bench.models.trees.RandomForest}"
    assert not skipped(grid, *base, *shadow, shadows)
    trials = grid.plan(*base, "model.external.access=labels").trials
    assert {trial.access for trial in trials} <= {"labels", "none"}
    assert all("single_target" in trial.flags for trial in trials)


def test_an_endpoint_that_names_its_classes_is_read_by_name_from_the_first_time(
    tmp_path: Path,
) -> None:
    card = dataclasses.replace(table_card(n_classes=3), shape=(3,), class_names=("c", "a", "b"))
    x = torch.rand(4, 3)
    with Served() as served:
        model = External(
            url=served.url("/one"),
            protocol="template",
            request='{"instance": "$record"}',
            response="$.result",
            budget=99,
            transcript=str(tmp_path / "t.db"),
        )
        for _ in range(2):
            network = model.network(card, 2, 0)
            model.solve(network, x, x, model.recipe, 0)
            expected = torch.from_numpy(probabilities(x))[:, [2, 0, 1]].float()
            torch.testing.assert_close(shares(network, x), expected)
