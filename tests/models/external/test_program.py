from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bench.contract import UserError
from bench.models.external.files.program import open_program
from tests.models.external.given import images, network, program, right


@pytest.mark.parametrize("dynamic", [True, False])
def test_it_answers_like_torch_and_has_gradients(dynamic: bool) -> None:
    model = network()
    opened = open_program(program(model, images(3), dynamic), "m.pt2")
    for count in (1, 3, 7):
        x = images(count)
        np.testing.assert_allclose(opened.ask(x).scores, right(model, x), atol=1e-4)
    assert opened.module is not None
    given = torch.from_numpy(images(2)).requires_grad_()
    opened.module.eval()(given).sum().backward()
    assert given.grad is not None
    assert given.grad.abs().sum() > 0
    assert opened.facts["operators"]["torch.ops.aten.conv2d.default"] == 1


def test_attention_is_read() -> None:
    torch.manual_seed(0)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
            self.head = nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.reshape(x.shape[0], -1, 6)
            return self.head(self.layer(rows).mean(1) * torch.tensor(0.5))

    model = Attention().eval()
    opened = open_program(program(model, images(3)), "m.pt2")
    np.testing.assert_allclose(opened.ask(images(5)).scores, right(model, images(5)), atol=1e-4)


def test_records_that_do_not_fit_are_refused() -> None:
    opened = open_program(program(network(), images(3)), "m.pt2")
    with pytest.raises(UserError, match="shape"):
        opened.ask(np.zeros((2, 1, 6, 7), np.float32))
    with pytest.raises(UserError, match="columns"):
        opened.ask(pd.DataFrame({"age": [1.0]}))


def test_a_program_that_still_trains_is_refused() -> None:
    with pytest.raises(UserError, match="eval"):
        open_program(program(network().train(), images(3)), "m.pt2")
    dropout = nn.Sequential(nn.Flatten(), nn.Dropout(0.5)).train()
    with pytest.raises(UserError, match="eval"):
        open_program(program(dropout, images(3)), "m.pt2")


def changed(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as copy:
        for name, held in members.items():
            copy.writestr(zipfile.ZipInfo(name), held)
    return written.getvalue()


def member(members: dict[str, bytes], end: str) -> str:
    return next(name for name in members if name.endswith(end))


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def attacks(mark: Path) -> dict[str, Callable[[dict[str, bytes]], None]]:
    code = f"__import__('pathlib').Path('{mark}').touch()"

    def replace(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
        def change(members: dict[str, bytes]) -> None:
            name = member(members, "models/model.json")
            assert old in members[name].decode()
            members[name] = members[name].decode().replace(old, new).encode()

        return change

    def size(members: dict[str, bytes]) -> None:
        name = member(members, "models/model.json")
        graph = json.loads(members[name])
        sizes = graph["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = code
        members[name] = json.dumps(graph).encode()

    def weights(members: dict[str, bytes]) -> None:
        name = member(members, "weights_config.json")
        settings = json.loads(members[name])
        next(iter(settings["config"].values()))["use_pickle"] = True
        members[name] = json.dumps(settings).encode()
        members[member(members, "weights/weight_0")] = pickle.dumps(Touch(mark))

    def samples(members: dict[str, bytes]) -> None:
        written = io.BytesIO()
        torch.save(Touch(mark), written)
        members[member(members, "sample_inputs/model.pt")] = written.getvalue()

    def constant(members: dict[str, bytes]) -> None:
        name = member(members, "constants_config.json")
        about = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
        members[name] = json.dumps({"config": {"c": {**about, "tensor_meta": None}}}).encode()
        folder = name.rpartition("/")[0]
        members[f"{folder}/opaque_obj_0"] = pickle.dumps(Touch(mark))

    def library(members: dict[str, bytes]) -> None:
        top = next(iter(members)).partition("/")[0]
        members[f"{top}/data/aotinductor/model/model.so"] = b"\x7fELF"

    return {
        "size": size,
        "weights": weights,
        "samples": samples,
        "constant": constant,
        "library": library,
        "argument": replace(
            '"forward_arg_names": ["input"]', f'"forward_arg_names": ["input={code}"]'
        ),
        "name": replace('"name": "relu"', f'"name": "relu\\n{code}"'),
        "operator": replace("torch.ops.aten.relu.default", "torch.hub.load"),
        "file": replace("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default"),
    }


@pytest.mark.parametrize("which", sorted(attacks(Path("x"))))
def test_nothing_in_an_archive_is_run(which: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    content = changed(program(network(), images(3)), attacks(mark)[which])
    with pytest.raises(UserError):
        open_program(content, "m.pt2")
    assert not mark.exists()


def test_guards_and_traces_are_left_out(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    model = network()

    def guarded(members: dict[str, bytes]) -> None:
        name = member(members, "models/model.json")
        graph = json.loads(members[name])
        graph["guards_code"] = [f"__import__('pathlib').Path('{mark}').touch() is None"]
        graph["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = "[9, {}]"
        for node in graph["graph_module"]["graph"]["nodes"]:
            node["metadata"] = {"stack_trace": f"\n{mark}"}
        members[name] = json.dumps(graph).encode()

    opened = open_program(changed(program(model, images(3)), guarded), "m.pt2")
    np.testing.assert_allclose(opened.ask(images(2)).scores, right(model, images(2)), atol=1e-4)
    assert not mark.exists()


def test_a_file_that_is_cut_off_is_refused() -> None:
    content = program(network(), images(3))
    for part in (content[:-200], b"PK\x03\x04", b"text"):
        with pytest.raises(UserError, match=r"m\.pt2"):
            open_program(part, "m.pt2")
