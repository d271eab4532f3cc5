"""The checks of a GPU: tests where there is one, and one of them in short elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.gpu.__main__ import main
from tests.gpu.checks import CHECKS


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("name", CHECKS)
def test_it_holds_on_the_gpu(name: str, tmp_path: Path) -> None:
    assert CHECKS[name]("cuda", tmp_path, False).wrong == []


def test_the_command_writes_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    code = main(["--device", "cpu", "--quick", "--only", "miface", "--json", str(file)])
    assert code == 0
    document = json.loads(file.read_text())
    assert document["checks"]["miface"]["figures"]["ratio"] > 0
    assert document["device"] == "cpu" and document["checks"]["miface"]["wrong"] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_nothing_is_said_to_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "no CUDA device" in capsys.readouterr().out
