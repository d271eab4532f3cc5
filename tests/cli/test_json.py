"""Every verb that reads prints one JSON document with ``--json``, and nothing else on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from bench.cli import cli, printing
from bench.engine.execution import execute, prepare
from tests.cli import deciding
from tests.cli.deciding import Call, caller

CONF = Path(__file__).parents[1] / "conf"

NOT_READING = {
    "run": "computes; its results are read by report, show and status",
    "submit": "writes a pack, which verify reads",
    "sync": "writes to MLflow",
    "slurm": "writes a batch file",
    "ui": "starts a server",
    "completion": "prints a line for a shell",
    "cluster start": "starts a cluster",
    "cluster join": "joins one",
    "cluster stop": "stops one",
    "data fetch": "downloads",
}
TESTED_ELSEWHERE = {
    "redteam": "tests/cli/test_redteam.py: it needs a model to attack",
}


def verbs(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, f"{path}{name} ")
        else:
            yield path + name, command


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    words = [
        "suite=toy",
        "label=toy",
        "seeds=1",
        "attack=[toy]",
        f"store={folder / 'store'}",
        f"report_dir={folder / 'reports'}",
        "backend=local",
        "tracking=none",
        "progress=none",
    ]
    execute(*prepare(words, CONF), CONF)
    return folder / "store"


@pytest.fixture
def commands(store: Path, tmp_path: Path) -> dict[str, tuple[list[object], int]]:
    """Words after each verb that reads, and the exit code that it has without ``--json``."""
    pack = deciding.evidence(tmp_path)
    toys = ["--config-dir", CONF]
    here = [
        *toys,
        "suite=toy",
        "label=toy",
        "seeds=1",
        "attack=[toy]",
        f"store={store}",
        f"report_dir={tmp_path / 'reports'}",
        "backend=local",
        "tracking=none",
        "progress=none",
    ]
    free = [word for word in here if word != "attack=[toy]"]
    log = tmp_path / "log.csv"
    log.write_text("time,account,label\n" + "".join(f"{i},u{i % 40},1\n" for i in range(400)))
    packed = tmp_path / "packed"
    models = tmp_path / "models.yaml"
    models.write_text("models: []\n")
    uri = f"tracking.uri=sqlite:///{tmp_path / 'm.db'}"
    trial = "toy/toy/none/toy/0"
    return {
        "ls": (["attacks", "--for", "diabetes"], 0),
        "data list": (["diabetes"], 0),
        "data verify": (["diabetes"], 0),
        "plan": (here, 0),
        "status": (here, 0),
        "show": ([trial, *here], 0),
        "why": ([trial, *here], 0),
        "reproduce": ([trial, *toys, f"store={store}"], 0),
        "report": (["toy", *here], 0),
        "compare": ([pack, pack], 0),
        "recommend": ([pack, "--access", "scores", "--tier", "T2"], 0),
        "gate": (["default", deciding.described(tmp_path), "--today", "2026-04-01"], 0),
        "inventory": ([uri], 0),
        "audit": ([log, "--detector", "volume"], 0),
        "doctor": ([f"store={store}"], 0),
        "verify": ([packed, *toys, "--sample", "0"], 0),
        "check": (["model=ridge"], 0),
        "tune": (["attack=toy", "against=none", "trials=1", "space={number: [1]}", *free], 0),
        "submit": (["toy", *here, "--to", packed, "--by", "me", "--allow-dirty"], 0),
    }


def test_every_verb_that_reads_has_the_option(commands: dict[str, Any]) -> None:
    lacking, idle = [], []
    for name, command in verbs(cli):
        has = any("--json" in parameter.opts for parameter in command.params)
        if not has and name not in NOT_READING:
            lacking.append(name)
        if has and (name in NOT_READING or name not in {*commands, *TESTED_ELSEWHERE}):
            idle.append(name)
    assert not lacking, "give them --json, or say in NOT_READING why they do not read"
    assert not idle, "run them in the test below"


@pytest.fixture
def call(monkeypatch, capsys) -> Call:
    return caller(monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow about itself
def test_it_is_one_document_and_says_what_it_is(call: Call, commands: dict[str, Any]) -> None:
    wrong = {}
    assert call("submit", *commands.pop("submit")[0])[0] == 0
    for name, (words, wanted) in commands.items():
        code, out, err = call(*name.split(), *words, "--json")
        try:
            document = json.loads(out, parse_constant=_refuse)
        except ValueError as error:
            wrong[name] = f"{error}: {out[:200]} {err[-500:]}"
            continue
        schema, _, version = document["schema"].partition("/")
        if (code, schema, version) != (wanted, f"invbench.{name.replace(' ', '.')}", "1"):
            wrong[name] = f"{code} {document['schema']} {err[-500:]}"
    assert not wrong


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def test_what_json_lacks_is_null(capsys) -> None:
    numbers = {"a": float("nan"), "b": [float("inf"), -float("inf")], "c": {"d": 1.5}}
    printing.print_json("x/1", numbers)
    told = json.loads(capsys.readouterr().out, parse_constant=_refuse)
    assert told == {"schema": "invbench.x/1", "a": None, "b": [None, None], "c": {"d": 1.5}}


def test_it_is_read_back_whatever_the_terminal_can_show(capsys, tmp_path) -> None:
    printing.print_json("x/1", {"name": "日本 × é", "path": tmp_path})
    text = capsys.readouterr().out
    assert text.isascii() and json.loads(text)["name"] == "日本 × é"


def test_a_mistake_stays_a_sentence(call: Call, tmp_path: Path) -> None:
    place = tmp_path / "nowhere"
    code, out, err = call("show", "absent", "--json", f"store={place}", "tracking=none")
    assert (code, out) == (2, "") and err.startswith("invbench: ")
    assert not place.exists(), "who looks makes nothing"


def test_the_gate_says_the_same_both_ways(call: Call, tmp_path: Path) -> None:
    deciding.evidence(tmp_path)
    words: list[object] = ["gate", "default", deciding.described(tmp_path, waivers=[])]
    plain, document = (
        call(*words, "--today", "2026-04-01"),
        call(*words, "--today", "2026-04-01", "--json"),
    )
    assert plain[0] == document[0] != 0
    assert plain[1].startswith(json.loads(document[1])["verdict"])
