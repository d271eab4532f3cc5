"""The verbs at a stranger's pack."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.exchange import pack
from bench.exchange.code import files
from tests.cli.conftest import CONF

SECRET = "canary-3f1c"


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that one is in, with a module that tells when it is imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    trace = tmp_path / "it_ran"
    (folder / "evilmod.py").write_text(f"open({str(trace)!r}, 'w').close()\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CANARY", SECRET)
    yield trace


def _changed(path: Path, to: Path, **manifest: Any) -> Path:
    """A pack with another manifest, whose digests agree."""
    found = pack.read(path)
    told = {**found.manifest, **manifest}
    told["command"] = pack.command_of(told["overrides"])
    pack.write(replace(found, manifest=told), to)
    return to


CELL = "toy/toy/none/toy[does=idle]/0"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("verify", ["plugins=[evilmod]"]),
        ("verify", ["++attack.toy={_target_:evilmod.A}"]),
        ("reproduce", ["plugins=[tests,evilmod]"]),
        ("reproduce", [r"label=$\{oc.env:CANARY\}"]),
        ("reproduce", ["seeds=100000000"]),
    ],
)
def test_running_it_again_runs_nothing_of_it(
    verb, packed, evil: Path, tmp_path: Path, name: str, words: list[str]
) -> None:
    path = _changed(packed("weak"), tmp_path / "evil.zip", overrides=["suite=toy", *words])
    given = (path,) if name == "verify" else (CELL, "--from", path)
    code, out, err = verb(name, *given, "--config-dir", CONF, "progress=none")
    assert code == 2, out + err
    assert words[-1] in err or words[0] in err
    assert SECRET not in out + err
    assert err.count("\n") == 1
    assert not evil.exists()


@pytest.mark.slow
def test_a_plugins_pack_is_data_until_its_code_is_allowed(
    verb, packed, evil: Path, tmp_path: Path
) -> None:
    words = ["suite=toy", "plugins=[tests,evilmod]", "seeds=3", "attack=[toy]"]
    path = _changed(packed("weak"), tmp_path / "team.zip", overrides=words)
    for given in (
        ("verify", path, "--sample", "0"),
        ("report", path, "--to", tmp_path / "site"),
        ("compare", path, path),
        ("show", CELL, "--from", path),
    ):
        code, out, err = verb(*given)
        assert code == 0, out + err
    assert not evil.exists()
    allowed = ("--allow-code", "tests", "--allow-code", "evilmod")
    code, out, err = verb("verify", path, "--config-dir", CONF, *allowed[:2], "progress=none")
    assert code == 2
    assert "--allow-code evilmod" in err
    assert files("evilmod")[0][0].name == "evilmod.py"
    code, out, err = verb("verify", path, "--config-dir", CONF, *allowed, "progress=none")
    assert f"{files('evilmod')[0][1]}  " in err, "its files and digests are shown"
    assert "evilmod.py" in err
    code, _, err = verb("verify", path, "--allow-code", "no_such_package")
    assert code == 2
    assert "there is no such package here" in err
    code, _, err = verb("verify", path, "--allow-code", "bench")
    assert code == 2


def test_a_suite_of_another_folder_is_not_written_there(verb, packed, tmp_path: Path) -> None:
    path = packed("weak", to="folder")
    index = json.loads((path / pack.INDEX).read_text(encoding="utf-8"))
    (path / pack.INDEX).write_text(json.dumps(index | {"suite": "../../x"}), encoding="utf-8")
    code, _, err = verb("report", path, f"report_dir={tmp_path / 'a' / 'b'}")
    assert code == 2
    assert "suite '../../x'" in err
    assert not (tmp_path / "x").exists()


def test_an_edited_figure_is_shown_and_joined_nowhere(verb, packed, tmp_path: Path) -> None:
    path, to = packed("weak"), tmp_path / "edited.zip"
    found = pack.read(path)
    records = [
        r.model_copy(update={"score": r.score.model_copy(update={"L": 0.0, "M": 0.0})})
        if r.score and r.access == "scores"
        else r
        for r in found.records
    ]
    pack.write(replace(found, records=records), to)
    for given in (("report", to), ("compare", path, to), ("report", path, "--with", to)):
        code, _, err = verb(*given, f"report_dir={tmp_path / 'r'}")
        assert code == 2, given
        assert "does not follow from its own records" in err


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="install openssh-client: no ssh-keygen")
def test_submit_and_verify_sign_and_readers_are_told(
    verb, packed, stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"us@example.org {key.with_suffix('.pub').read_text()}", encoding="utf-8")
    path = packed("weak", "--sign", key)
    before = pack.read(path).digest
    code, out, err = verb("verify", path, "--sample", "0", "--by", "checker", "--sign", key)
    assert code == 0, out + err
    assert "made: signed in the name of weak, key SHA256:" in " ".join(out.split())
    assert pack.read(path).digest == before
    code, out, _ = verb("verify", path, "--sample", "0", "--signers", allowed)
    out = " ".join(out.split())  # lines are as wide as the terminal
    assert code == 0
    assert "made: signed by us@example.org, key SHA256:" in out
    assert "run again (0 of 0 agreed): signed by us@example.org" in out
    monkeypatch.setenv("INVBENCH_SIGNERS", str(allowed))
    code, _, err = verb("report", path, "--to", tmp_path / "site")
    assert code == 0, err
    pages = "".join(p.read_text(encoding="utf-8") for p in (tmp_path / "site").rglob("*.html"))
    assert "signed by us@example.org, key SHA256:" in pages
    code, _, err = verb("submit", "toy", f"store={stores['weak']}", "--to", tmp_path / "n.zip",
                        "--allow-dirty", "--sign", key)  # fmt: skip
    assert code == 2
    assert "give --by NAME" in err
    assert not (tmp_path / "n.zip").exists()
