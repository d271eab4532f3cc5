from __future__ import annotations

import argparse
import io
from collections import OrderedDict
from itertools import pairwise
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from bench.contract import UserError
from bench.models.external.files.state import fit_state, open_state
from tests.models.external.given import images, network, right


def saved(value: Any, **options: Any) -> bytes:
    written = io.BytesIO()
    torch.save(value, written, **options)
    return written.getvalue()


def test_every_usual_wrapping_is_read() -> None:
    state = network().state_dict()
    prefixed = {f"module.{key}": value for key, value in state.items()}
    for content in (
        saved(state),
        saved(state, _use_new_zipfile_serialization=False),
        save(dict(state)),
        saved({"state_dict": state, "epoch": 3}),
        saved({"model": prefixed, "optimizer": {"lr": 0.1}}),
        saved({"model_state_dict": prefixed}),
    ):
        read = open_state(content, "m.pt")
        assert set(read) == set(state)
        assert all(torch.equal(read[key], state[key]) for key in state)


def test_what_is_no_weights_is_refused() -> None:
    for content in (
        saved(network()),
        saved({"state_dict": {"a": torch.ones(1)}, "args": argparse.Namespace(lr=1)}),
        saved(torch.ones(3)),
        saved({}),
        saved({"a": torch.ones(1), "b": 3}),
        saved({"a": torch.ones(2, 2).to_sparse()}),
        saved(network().state_dict())[:-300],
        save({"a": torch.ones(9)})[:-5],
        b"no file of torch",
    ):
        with pytest.raises(UserError, match=r"m\.pt"):
            open_state(content, "m.pt")


def test_equal_names_fit_in_any_order_and_type() -> None:
    model, other = network(), nn.Sequential(*network())
    state = {k: v.double() for k, v in reversed(list(model.state_dict().items()))}
    state = {k: v for k, v in state.items() if "num_batches" not in k}
    for value in other.state_dict().values():
        value.zero_()
    fitted, note = fit_state(state, other, "m.pt")
    other.load_state_dict(fitted)
    assert note == ""
    assert (right(other, images()) == right(model, images())).all()


def mlp(*sizes: int) -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*layers)


def test_other_names_fit_by_shapes_and_the_report_says_so() -> None:
    model = mlp(4, 8, 8, 8, 3)
    renamed = OrderedDict(
        (f"net.layer{2 * int(key.split('.')[0])}.{key.split('.')[1]}", value)
        for key, value in model.state_dict().items()
    )
    # safetensors keeps no order: layer10 comes before layer2 by name.
    for content in (saved(renamed), save(dict(renamed))):
        fitted, note = fit_state(open_state(content, "m.pt"), mlp(4, 8, 8, 8, 3), "m.pt")
        assert "shapes" in note
        assert all(torch.equal(fitted[key], value) for key, value in model.state_dict().items())


def test_layers_that_could_be_swapped_are_not_guessed() -> None:
    first, last = mlp(4, 4), mlp(4, 4)
    state = {f"left.{key}": value for key, value in first.state_dict().items()}
    state |= {f"right.{key}": value for key, value in last.state_dict().items()}
    with pytest.raises(UserError, match="left"):
        fit_state(state, mlp(4, 4, 4), "m.pt")


def test_what_does_not_fit_is_listed_with_shapes() -> None:
    state = dict(mlp(4, 8, 3).state_dict())
    with pytest.raises(UserError, match=r"\[8, 4\].*\[9, 4\]"):
        fit_state(state, mlp(4, 9, 3), "m.pt")
    with pytest.raises(UserError, match=r"2\.weight"):
        fit_state(state, mlp(4, 8, 3, 2), "m.pt")


def test_weights_that_are_not_finite_are_refused() -> None:
    state = dict(mlp(4, 3).state_dict())
    state["0.weight"] = torch.full((3, 4), torch.nan)
    with pytest.raises(UserError, match="NaN"):
        fit_state(state, mlp(4, 3), "m.pt")
