"""No file that a run and its verbs write holds a credential, whichever way it came in."""

from __future__ import annotations

import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.contract import Exposure, Knowledge, Reconstruction
from bench.engine.store import Store
from tests.cli.conftest import CONF
from tests.toys import ToyAttack

# MLflow and what it imports warn on their own behalf.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
MARK = "hunter2MARKED"
MEMORY = f"Top 10 memory users:\nPID\tMEM(GB)\tCOMMAND\n12\t1.0\tpsql --pw {MARK}\n"


@dataclass(frozen=True)
class Remote(ToyAttack):
    """Tells everything that it knows of the place it asks.

    Attributes:
        endpoint: where it asks.
    """

    endpoint: str = ""

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """What it always does, or an error that holds what must not be told."""
        if self.does == "raise":
            raise RuntimeError(f"{self.endpoint} refused {MARK}; {MEMORY}")
        return super().run(exposure, knowledge, seed, device)


def texts(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, members of archives unpacked."""
    for path in (p for p in folder.rglob("*") if p.is_file()):
        yield str(path), path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as pack:
                yield from ((f"{path}/{name}", pack.read(name)) for name in pack.namelist())


def test_no_output_holds_a_credential(
    verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    uri = f"https://jane:{MARK}@models.example/v1?api_key={MARK}"
    for name, does in (("remote", "work"), ("remote_raise", "raise")):
        (conf / "attack" / f"{name}.yaml").write_text(
            f"# Asks elsewhere\n{name}:\n  _target_: tests.cli.test_secrets.Remote\n"
            f"  does: {does}\n  endpoint: '{uri}'\n"
        )
    out = tmp_path / "out"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", MARK)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    words = [
        "--config-dir",
        conf,
        "suite=toy",
        "label=toy",
        "seeds=1",
        "defense=[none]",
        "attack=[toy,remote,remote_raise]",
        f"store={out / 'store'}",
        f"report_dir={out / 'report'}",
        "backend=local",
        "progress=plain",
    ]
    away = f"tracking.uri='http://jane:{MARK}@127.0.0.1:9/?token={MARK}'"
    said = [verb("run", *words, away)]
    assert said[0][0] == 1, "the attack that raises failed"
    computed = Store(out / "store").ids("attack")
    database = f"tracking.uri=sqlite:///{out / 'mlflow' / 'runs.db'}"
    said += [
        verb("run", *words, database),
        verb("sync", *words, away),
        verb("status", *words, away),
        verb("doctor", *words, away),
        verb("doctor", *words, away, "--export", out / "plain"),
        verb("run", *words, "attack=[toy,remote]", "label=whole", "tracking=none"),
        verb("submit", "whole", *words, "--to", out / "p.zip", "--by", "me", "--allow-dirty"),
        verb("ui", *words, away),
        verb("plan", *words, away, f"nothing.password={MARK}"),
    ]
    assert Store(out / "store").ids("attack") == computed, "resumed: nothing ran again"
    cells = [f"toy/toy/none/{name}/0" for name in ("remote", "remote_raise")]
    said += [verb(v, cell, *words, away) for cell in cells for v in ("show", "why")]
    assert MARK not in str([(err, printed) for _, printed, err in said])
    held = dict(texts(out))
    assert any(name.endswith(".log") for name in held)
    assert any("runs.db" in name for name in held)
    assert any("p.zip/" in name for name in held)
    assert any(
        name.endswith("record.json") and b"***@models" in text for name, text in held.items()
    )
    assert not [name for name, text in held.items() if MARK.encode() in text]
    with sqlite3.connect(out / "mlflow" / "runs.db") as base:
        assert base.execute("select count(*) from runs").fetchone()[0] > 1


def test_a_recorded_uri_is_refused_with_what_to_write(verb, tmp_path: Path) -> None:
    code, _, err = verb("inventory", "tracking.uri=http://***@host:5000")
    assert code == 2
    assert "MLFLOW_TRACKING_PASSWORD" in err
