"""By which digest whoever releases a model's file can name it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from bench.models.external.component import External
from bench.models.logistic import Logistic
from tests.models.records import table


def digest_in_facts(given: External) -> str:
    data = table()
    network = given.network(data.card, 2, 1)
    given.solve(network, data.train.x, data.train.y, given.recipe, 0)
    return str(network.facts["file_sha256"])


def test_facts_of_weights_hold_the_digest_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(dict(Logistic().network(table().card, 2, 0).state_dict()), path)
    found = digest_in_facts(External(path=str(path), architecture=Logistic()))
    assert found == hashlib.sha256(path.read_bytes()).hexdigest()


def test_facts_of_a_whole_network_hold_it_too(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    network = nn.Sequential(nn.Linear(6, 2), nn.Softmax(1))
    shape = {"n": torch.export.Dim("n")}
    program = torch.export.export(network, (torch.rand(4, 6),), dynamic_shapes=({0: shape["n"]},))
    torch.export.save(program, path)
    found = digest_in_facts(External(path=str(path)))
    assert found == hashlib.sha256(path.read_bytes()).hexdigest()
